//! **Residency**: what of a database is in memory, what is on disk, and what is under way between.
//!
//! This crate never calls the tree: it knows handles, segments and extents, and who owns them.

pub mod allocator;
mod batch;
pub mod block_file;
pub mod budget;
mod cachetable;
mod checkpointer;
pub mod clock;
pub mod crew;
mod fault;
mod fetch;
pub mod ledger;
mod reserved;
mod room;
mod run_cursor;
mod space;
pub mod stats;
mod step;
pub mod storage;
pub mod sync;
mod untold;
mod versions;
mod write_behind;
mod writer;

pub use cachetable::{BLOCK_FILE, Cachetable, EncoderPool, Meters, encoder_pool};
pub use checkpointer::{Captured, Flip};
pub use fault::{Fault, Poison};
pub use fetch::Caching;
pub use reserved::Reserved;
pub use run_cursor::{Asked, HeldRows, Lookup, ReadAhead, RowVersions, RunCursor, Stretch};
pub use space::is_full;
pub use step::{StepHook, StepPoint, Steps};
pub use write_behind::{Entered, WriteBehind};
pub use writer::Ownership;
