//! **sapwood**: an embedded, ordered, write-optimized key-value store, a Bε-tree (fractal tree).
//!
//! Writes are blind: they go to a log and a memtable and sink down the tree in large sorted moves,
//! so their cost hardly depends on how much is stored. Reads and scans stay close to a B-tree's.
//!
//! ```
//! use sapwood::{Config, Durability};
//!
//! # fn main() -> sapwood::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("sapwood-lib-{}", std::process::id()));
//! let db = Config::new(&folder).cache_mib(64).open()?;
//! let rings = db.tree("rings")?;
//!
//! rings.insert("2025", "wide")?;
//! let mut batch = db.batch();
//! batch.insert(&rings, "2026", "narrow");
//! batch.remove(&rings, "1999");
//! batch.commit(Durability::Synced)?; // survives a power cut
//!
//! for entry in rings.range("2000".."2027") {
//!     let (year, ring) = entry?;
//!     println!("{year:?}: {ring:?}");
//! }
//! db.close()?;
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok(())
//! # }
//! ```
//!
//! | crate | word |
//! |---|---|
//! | `sapwood-serialize` | shape: pages, segments, runs, nodes, formats |
//! | `sapwood-cachetable` | residency: what is in memory, on disk, and under way between |
//! | `sapwood-flusher` | movement: spill, flush, reconcile, split, merge |
//! | `sapwood` | meaning: databases, trees, batches, durability, recovery |

mod adopt;
mod background;
mod batch;
mod catalog;
mod commit;
mod config;
mod conflict;
mod copy;
mod cursor;
mod daemon;
mod database;
mod drain;
mod dump;
mod engine;
mod error;
mod footprint;
mod generation;
mod idle;
mod ingest;
mod iter;
mod keys;
mod layers;
mod len;
mod memtable;
pub mod merge;
mod moment;
mod newest;
mod pending;
mod read;
mod reader;
mod ready;
mod record_number;
mod recovery;
mod refusal;
mod salvage;
mod scan;
mod shape;
mod slice;
mod snapshot;
mod space;
mod stats;
mod throttle;
mod ticket;
mod transaction;
mod tree;
mod tree_at;
mod tree_config;
mod tx_cursor;
pub mod typed;
mod update;
mod verify;
mod view;
mod wal;

#[doc(hidden)]
pub mod bench_support;

// The quick start of the README is compiled with the other examples.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

pub use batch::Batch;
pub use commit::Durability;
pub use config::{Background, Config};
pub use cursor::{Cursor, Near, Seek};
pub use daemon::{Daemon, DaemonStatus};
pub use database::Database;
pub use error::{Error, Result};
pub use iter::{Iter, Keys};
pub use merge::{MergeError, MergeOperator};
pub use moment::Read;
pub use record_number::RecordNumber;
pub use salvage::{Damage, KeyRange, Loss, SalvageReport, SalvagedTree, salvage, salvage_on};
#[doc(hidden)]
pub use sapwood_cachetable::StepPoint;
pub use sapwood_cachetable::storage::{FileStorage, MemoryStorage};
pub use sapwood_serialize::{LockError, MappedFile, Storage, StorageFile, StorageLock};
pub use shape::{BufferShape, GenerationShape, NodeShape, Shape, TreeShape};
pub use slice::Slice;
pub use snapshot::Snapshot;
pub use stats::{FilterFigures, Movement, ReaderFigures, SpreadFigures, Stats, TreeStats};
pub use ticket::Ticket;
pub use transaction::{Commit, Isolation, Savepoint, Transaction};
pub use tree::Tree;
pub use tree_at::TreeAt;
pub use tree_config::{Compression, TreeConfig};
pub use tx_cursor::{Overwrite, TxCursor};
pub use typed::TypedTree;
pub use update::CompareAndSwapError;
pub use verify::Report;
