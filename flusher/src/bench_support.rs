//! What the benches measure below the public API. Not part of that API: hidden from the
//! documentation, and changed without notice.

use std::sync::Arc;

use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::budget::Budget;
use sapwood_cachetable::storage::MemoryStorage;
use sapwood_cachetable::{Cachetable, Caching, Ownership};
use sapwood_serialize::fold::{Floor, Horizon, Rules};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{Msn, Op, Storage, Version};

use crate::groups::Group;
use crate::limits::Limits;
use crate::segment_writer::{Draft, SegmentWriter, Space};
use crate::stop::Stop;

/// Some runs in memory whose keys interleave, to be merged into one.
pub struct MergeBench {
    table: Arc<Cachetable>,
    runs: Vec<Arc<Run>>,
    limits: Limits,
    rows: u64,
}

impl MergeBench {
    /// `runs` runs of `rows` rows each, 16-byte keys and 100-byte half-compressible values. Of each
    /// run comes one row in turn, and the keys are decimal numbers.
    ///
    /// # Panics
    /// Never: it works in memory.
    pub fn new(runs: u64, rows: u64) -> MergeBench {
        MergeBench::with_keys(runs, rows, |number| format!("{:016}", number * 7_919).into_bytes())
    }

    /// The same with random keys: nothing says which run the next row comes of.
    ///
    /// # Panics
    /// Never: it works in memory.
    pub fn random(runs: u64, rows: u64) -> MergeBench {
        MergeBench::with_keys(runs, rows, |number| {
            let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            [mixed ^ (mixed >> 32), number].map(u64::to_be_bytes).concat()
        })
    }

    fn with_keys(runs: u64, rows: u64, key: impl Fn(u64) -> Vec<u8>) -> MergeBench {
        let storage = MemoryStorage::new();
        let block_file = BlockFile::create(&storage).expect("memory is never full");
        let opened = block_file.tables(Vec::new()).expect("it was just made");
        let budget = Budget { total: 1 << 30 };
        let (file, database) = (block_file.file, block_file.superblock.database);
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let table = Cachetable::new(storage, file, database, budget, None, opened);
        let mut bench = MergeBench {
            table: Arc::new(table),
            runs: Vec::new(),
            limits: Limits::default(),
            rows: runs * rows,
        };
        bench.runs = (0..runs)
            .map(|run| {
                let numbered = |number| (key(number), number);
                let mut keys: Vec<_> =
                    (run..runs * rows).step_by(runs as usize).map(numbered).collect();
                keys.sort();
                bench.run(Msn::from_raw(1 + run * rows), &keys)
            })
            .collect();
        bench
    }

    fn run(&self, base: Msn, keys: &[(Vec<u8>, u64)]) -> Arc<Run> {
        let mut draft = Draft::new(&self.table, Stop::NEVER);
        let pages = self.limits.pages();
        let mut writer = SegmentWriter::new(&mut draft, &self.limits, pages, base, Space::Promised);
        for (row, (key, number)) in (0..).zip(keys) {
            let mut value = [b'.'; 100];
            for (index, chunk) in value[..50].chunks_mut(8).enumerate() {
                let mixed = (number + index as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
                chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
            }
            let version = Version { msn: base.to_raw() + row, op: Op::Put(&value) };
            writer.push(key, &[version]).expect("memory is never full");
        }
        let parts = writer.finish().expect("memory is never full");
        Arc::new(Run::new(parts, base, base.plus(keys.len() as u64)))
    }

    /// How many rows a pass merges.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Pins a page that is in memory, of one segment after the other; returns its rows.
    ///
    /// # Panics
    /// Never: it works in memory.
    pub fn pin(&self, number: usize) -> usize {
        let segments = self.runs[number % self.runs.len()].segments();
        let segment = &segments[number % segments.len()].segment;
        let part = self.table.part(segment).expect("everything is in memory");
        let page = self.table.page(segment, &part, 0, Caching::Keep);
        page.expect("everything is in memory").rows()
    }

    /// One pass as a flush does it: merge, fold, build pages and filters, compress, write.
    ///
    /// # Panics
    /// Never: it works in memory.
    pub fn pass(&self) {
        let group = Group::of_runs(&self.runs);
        let mut merge = group.merge(&self.table, &Bounds::all()).expect("everything is in memory");
        let horizon = Horizon::new(Msn::from_raw(u64::MAX), []);
        let mut draft = Draft::new(&self.table, Stop::NEVER);
        let (pages, base) = (self.limits.pages(), Msn::ZERO);
        let mut writer = SegmentWriter::new(&mut draft, &self.limits, pages, base, Space::Promised);
        while let Some(key) = merge.key() {
            let rules = Rules { horizon: &horizon, floor: Floor::Leaf, operator: None };
            let folded = merge.fold(key, &[], rules);
            writer.push(key, &folded.versions()).expect("memory is never full");
            merge.advance().expect("everything is in memory");
        }
        writer.finish().expect("memory is never full");
        for segment in draft.segments() {
            self.table.write_segment(segment, Ownership::Job).expect("memory is never full");
        }
    }
}
