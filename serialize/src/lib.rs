//! **Shape**: the bytes and values that a sapwood database is made of.
//!
//! This crate does no I/O, takes no lock and starts no thread. Every decoder is total: any bytes
//! give a value or a [`Corruption`], never a panic, never an allocation larger than the input
//! justifies.
#![deny(clippy::indexing_slicing, clippy::unwrap_used)]

pub mod blob;
pub mod block_table_image;
mod bounds;
pub mod brief_frame;
pub mod catalog_image;
mod cell;
mod charge;
mod checksum;
pub mod codec;
pub mod compression;
pub mod directory;
mod error;
pub mod filter;
mod fixed;
pub mod fold;
pub mod frame_head;
mod identity;
mod ids;
mod key_head;
pub mod mapping;
mod memory;
pub mod merge_iter;
mod message;
pub mod node;
pub mod node_image;
mod operator;
pub mod page;
pub mod prefetch;
pub mod run;
pub mod runs_image;
pub mod segment;
pub mod segment_image;
pub mod shared;
pub mod sight;
pub mod space_map_image;
mod storage;
pub mod superblock;
#[cfg(test)]
mod testing;
pub mod tombstone;
pub mod wal_frame;
pub mod wal_record;
mod zeros;

pub use blob::{BlobKind, blob_checksum, open_blob, seal_blob};
pub use block_table_image::{NodePlace, decode_block_table, encode_block_table};
pub use brief_frame::{BRIEF_HEADER_BYTES, finish_brief_frame};
pub use charge::{Charge, Meter};
pub use checksum::checksum;
pub use compression::Compression;
pub use directory::{Directory, DirectoryBuilder, PagePlace, PageSummary};
pub use error::Corruption;
pub use filter::{Filter, KeyBits};
pub use frame_head::{
    ENDS_EARLY, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Frame, FrameHead, FrameKind, WalHeader,
    begin_frame,
};
pub use ids::{BlockId, DatabaseId, Epoch, Extent, GenerationId, Lsn, Msn, SegmentId, TreeId};
pub use key_head::{common_prefix, key_head};
pub use memory::Memory;
pub use message::{KEY_BYTES_MAX, Op, OpKind, VALUE_BYTES_MAX, Version};
pub use node::Violation;
pub use operator::{MergeError, MergeOperator, Operator};
pub use page::{Page, PageBuilder, Versions};
pub use runs_image::{decode_runs, encode_runs};
pub use segment_image::{
    EncodedSegment, MetaPlace, SegmentIdentity, SegmentMeta, decode_meta, decode_page,
    encode_segment,
};
pub use sight::Sight;
pub use space_map_image::{decode_space_map, encode_space_map};
pub use storage::{LockError, MappedFile, Storage, StorageFile, StorageLock};
pub use superblock::{BlobPlace, Superblock, SuperblockError};
pub use tombstone::{Tombstone, Tombstones};
pub use wal_frame::{
    TailFrames, WAL_HEADER_BYTES, decode_frame, finish_frame, later_knowledge, tail_frames,
};
pub use wal_record::{Record, Records, encode_record};
pub use zeros::is_zero;
