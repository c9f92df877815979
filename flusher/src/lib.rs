//! **Movement**: what moves down a tree, and when.
//!
//! Policy is pure and returned as a value ([`remedy`]); mechanism acts on it. Jobs prepare
//! everything outside the publish mutex and publish by copying the path in the current view
//! ([`edit`]).

#[doc(hidden)]
pub mod bench_support;
mod claims;
mod due;
pub mod edit;
mod flush;
pub mod forest;
mod limits;
mod mover;
mod read_work;
mod reconcile;
pub mod remedy;
mod restructure;
mod segment_writer;
mod spill;
#[cfg(test)]
mod tests;

pub use edit::EdgeName;
pub use forest::{Forest, JobResult, Outcome, Views};
pub use limits::Limits;
pub use mover::{Mover, MoverCounters};
pub use read_work::ReadWork;
pub use spill::Generation;
