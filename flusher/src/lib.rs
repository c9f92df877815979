//! **Movement**: what moves down a tree, and when.
//!
//! Policy is pure and returned as a value ([`remedy`]); mechanism acts on it. Jobs prepare
//! everything outside the publish mutex and publish by copying the path in the current view
//! ([`edit`]).

mod ahead;
#[doc(hidden)]
pub mod bench_support;
mod claims;
mod cleaner;
mod counters;
mod deletes;
mod drain;
mod due;
pub mod edit;
mod effort;
mod empty;
mod flush;
pub mod forest;
mod gather;
mod groups;
mod limits;
mod merge;
mod mover;
pub mod policy;
mod read_work;
mod reconcile;
mod relocate;
pub mod remedy;
mod segment_writer;
mod spill;
mod split;
mod stop;
mod taken;
mod tend;
#[cfg(test)]
mod tests;
mod top;

pub use cleaner::{Cleaned, Cleaner, Credit, IDLE_WRITES_PER_BYTE};
pub use counters::{MoverCounters, Spread};
pub use drain::Drain;
pub use edit::EdgeName;
pub use effort::FarOut;
pub use forest::{Forest, JobResult, Outcome, Views};
pub use limits::Limits;
pub use mover::Mover;
pub use policy::Pick;
pub use read_work::ReadWork;
pub use segment_writer::SegmentWriter;
pub use spill::Generation;
pub use stop::Stop;
