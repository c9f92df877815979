//! Recorded histories of threads that run transactions side by side, judged by the cycles in them.
//!
//! ```text
//! workload   threads, random transactions, flushes meanwhile; each writes down what it saw
//! eras       the same on a disk that crashes, several times in one history
//! checker    order of versions -> ww, wr, rw and start edges -> which cycles there are
//! ```
//!
//! Seeds decide what the threads do and not when: a failure may not come again at once.

pub mod checker;
pub mod eras;
mod graph;
pub mod history;
pub mod workload;
