//! A simulated machine for crash tests: a disk that forgets what was not synced.
//!
//! | file | owns |
//! |---|---|
//! | `disk` | what the running process sees; faults and crashes by schedule |
//! | `power_cut` | what the machine finds after the power came back |
//! | `image` | the bytes of one file, cheap to clone |
//! | `random` | numbers from a seed |
//! | `workload` | what a simulated user does |
//! | `model` | what may be found after a crash |
//! | `operators` | how operands are merged, in the model and in the database |
//! | `machine` | a database, its disk and its model; crashes and recoveries |
//! | `life` | whole lives of random databases, with everything that can go wrong |
//! | `histories` | what transactions did, and whether that may be |
//! | `soak` | real threads on a real folder, for hours |
//! | `replay` | which seeds are run, and how a failing one is run again |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]
#![expect(missing_docs, reason = "the names of steps and choices say what they are")]

pub mod disk;
pub mod histories;
mod image;
pub mod life;
pub mod machine;
pub mod model;
pub mod operators;
pub mod power_cut;
pub mod random;
pub mod replay;
pub mod soak;
pub mod workload;
