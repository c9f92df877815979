//! **Shape**: the bytes and values that a sapwood database is made of.
//!
//! This crate does no I/O, takes no lock and starts no thread. Every decoder is total: any bytes
//! give a value or a [`Corruption`], never a panic, never an allocation larger than the input
//! justifies.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

mod charge;
mod checksum;
pub mod codec;
mod error;
mod ids;
mod message;
mod storage;

pub use charge::{Charge, Meter};
pub use checksum::checksum;
pub use error::Corruption;
pub use ids::{BlockId, DatabaseId, Epoch, Extent, GenerationId, Lsn, Msn, SegmentId, TreeId};
pub use message::{KEY_BYTES_MAX, Op, OpKind, VALUE_BYTES_MAX, Version};
pub use storage::{LockError, Storage, StorageFile, StorageLock};
