//! The real engine under schedules that are chosen, not met.
//!
//! ```text
//! seed -> scheduler -> which thread goes on at each lock, atomic, wait, channel and disk call
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `explore` | how many schedules a model sees, and how a failing one is run again |
//! | `scheduler` | which thread goes on: at random, or by priorities that change a few times |
//! | `disk` | the simulated disk, each call of which is a moment for other threads |
//!
//! The models are in `tests`. Locks, atomics and threads are those of `cachetable::sync`, built
//! with
//! `--cfg shuttle`. Every order that is explored is one of whole operations: what weak memory adds
//! to that is not seen here.

#[cfg(not(shuttle))]
compile_error!("build it with `--cfg shuttle`: start cargo in tests/schedules");

pub mod disk;
pub mod explore;
mod scheduler;
