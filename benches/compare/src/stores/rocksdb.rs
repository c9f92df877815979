//! rocksdb: a log-structured merge tree in C++, in levels or in sorted runs ("universal").

use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompactionStyle, DBCompressionType, Direction as Way,
    IteratorMode, MergeOperands, Options, WaitForCompactOptions, WriteBatch, WriteOptions,
    properties,
};

use crate::Result;
use crate::row::Key;
use crate::store::{
    Committer, Direction, Place, Reader, Script, Store, Table, Visit, Work, keep, perform,
    visit_all,
};

pub const LEVELED_TERMS: &str = "levels of dynamic size, the first as large as the budget; every \
     write one call, logged, handed to the system before it returns; half of the budget is block \
     cache, with indexes and filters in it, two memtables of a quarter each; bloom filters of 10 \
     bits; lz4; two background jobs; counters are a merge operator, range deletes are DeleteRange; \
     a synced commit is a write with sync; at rest is when it says that no job waits or runs";
pub const UNIVERSAL_TERMS: &str = "universal compaction with its defaults, else as rocksdb-leveled";

const FILTER_BITS_PER_KEY: f64 = 10.0;

pub struct Rocksdb {
    db: DB,
}

impl Rocksdb {
    pub fn leveled(place: &Place) -> Result<Rocksdb> {
        let mut options = options(place)?;
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_bytes_for_level_base(place.cache_bytes);
        Ok(Rocksdb { db: DB::open(&options, &place.folder)? })
    }

    pub fn universal(place: &Place) -> Result<Rocksdb> {
        let mut options = options(place)?;
        options.set_compaction_style(DBCompactionStyle::Universal);
        Ok(Rocksdb { db: DB::open(&options, &place.folder)? })
    }
}

fn options(place: &Place) -> Result<Options> {
    let cache_bytes = usize::try_from(place.cache_bytes)?;
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes / 2));
    blocks.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(cache_bytes / 4);
    options.set_max_write_buffer_number(2);
    options.set_max_background_jobs(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_merge_operator_associative("add", add);
    Ok(options)
}

/// Sums counters; with wrong ones the merge fails.
fn add(_: &[u8], base: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let mut sum = 0_u64;
    for value in base.into_iter().chain(operands) {
        sum = sum.wrapping_add(u64::from_le_bytes(value.try_into().ok()?));
    }
    Some(sum.to_le_bytes().to_vec())
}

impl Store for Rocksdb {
    fn run(&mut self, script: &mut dyn Script) -> Result<()> {
        perform(&mut Rows(&self.db), script, usize::MAX).map(|_| ())
    }

    fn drain(&mut self) -> Result<Duration> {
        self.db.flush()?;
        self.db.wait_for_compact(&WaitForCompactOptions::default())?;
        Ok(Duration::ZERO)
    }

    fn read(&self, work: &mut Work<'_>) -> Result<()> {
        work(&Rows(&self.db))
    }

    fn committer(&self) -> Result<Box<dyn Committer + '_>> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(Box::new(Synced { db: &self.db, options }))
    }

    fn own_figures(&self) -> Result<Vec<(&'static str, f64)>> {
        let pending = properties::ESTIMATE_PENDING_COMPACTION_BYTES;
        let pending = self.db.property_int_value(pending)?.unwrap_or(0);
        Ok(vec![("pending_compaction_bytes", pending as f64)])
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.flush_wal(true)?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}

struct Synced<'a> {
    db: &'a DB,
    options: WriteOptions,
}

impl Committer for Synced<'_> {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.options)?)
    }
}

struct Rows<'a>(&'a DB);

impl Table for Rows<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.0.put(key, value)?)
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        Ok(self.0.delete(key)?)
    }

    fn add(&mut self, key: &Key, amount: u64) -> Result<()> {
        Ok(self.0.merge(key, amount.to_le_bytes())?)
    }

    fn remove_range(&mut self, from: &Key, to: &Key) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range(from, to);
        Ok(self.0.write(batch)?)
    }
}

impl Reader for Rows<'_> {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        Ok(keep(self.0.get_pinned(key)?.as_deref(), value))
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let mode = match (from, direction) {
            (None, Direction::Forward) => IteratorMode::Start,
            (None, Direction::Backward) => IteratorMode::End,
            (Some(key), Direction::Forward) => IteratorMode::From(key, Way::Forward),
            (Some(key), Direction::Backward) => IteratorMode::From(key, Way::Reverse),
        };
        visit_all(self.0.iterator(mode).map(|row| Ok(row?)), visit)
    }
}
