//! A small cachetable for this crate's own tests.

use std::sync::Arc;

use crate::block_file::BlockFile;
use crate::budget::Budget;
use crate::cachetable::Cachetable;
use crate::storage::MemoryStorage;

/// A new one of 8 MiB, in memory.
pub(crate) fn table() -> Cachetable {
    let storage = Arc::new(MemoryStorage::new());
    let block_file = BlockFile::create(&*storage).unwrap();
    let opened = block_file.tables(Vec::new()).unwrap();
    let (file, database) = (block_file.file, block_file.superblock.database);
    Cachetable::new(storage, file, database, Budget { total: 8 << 20 }, None, opened)
}
