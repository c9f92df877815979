//! What a point read has to do because messages wait above the leaf, counted and charged to the
//! buffers that cause it.
//!
//! A buffer that costs readers much is flushed before others of its size. One read in sixteen is
//! charged, sixteen times as much, so that readers seldom write to memory that others read.

use sapwood_cachetable::stats::FilterCounters;
use sapwood_cachetable::{Asked, Cachetable, Lookup};
use sapwood_serialize::node::Edge;

/// What one look into a page costs, in the bytes that a flush would move for the same effort.
const PAGE_WORK: u64 = 256;
/// What one filter that denies the key costs.
const FILTER_WORK: u64 = 16;
/// One read in so many is charged.
const SAMPLE: u64 = 16;

/// The looks of one read into the buffer of one edge.
#[derive(Debug)]
pub struct ReadWork {
    is_sampled: bool,
    work: u64,
    filters: FilterCounters,
}

impl ReadWork {
    /// Nothing yet; `hash` is the key's, and picks the sample.
    pub fn new(hash: u64) -> ReadWork {
        let is_sampled = hash.is_multiple_of(SAMPLE);
        ReadWork { is_sampled, work: 0, filters: FilterCounters::default() }
    }

    /// Notes a look into a run.
    pub fn note<T>(&mut self, found: &Lookup<T>) {
        self.work += match found {
            Lookup::Outside => 0,
            Lookup::Denied => FILTER_WORK,
            Lookup::Missing(_) | Lookup::Found(..) => PAGE_WORK,
        };
        match found {
            Lookup::Denied => self.filters.denied += 1,
            Lookup::Missing(Asked::Filter) => self.filters.misled += 1,
            Lookup::Found(_, Asked::Filter) => self.filters.found += 1,
            Lookup::Outside | Lookup::Missing(Asked::Page) | Lookup::Found(_, Asked::Page) => {}
        }
    }

    /// Charges what was noted to the buffer of `edge`, and starts anew.
    pub fn charge(&mut self, table: &Cachetable, edge: &Edge) {
        if self.work > 0 && self.is_sampled {
            edge.charge_work(self.work * SAMPLE);
        }
        self.count(table, edge.child.height() + 1);
    }

    /// Counts what was noted at a leaf, whose own run is no debt.
    pub fn charge_leaf(&mut self, table: &Cachetable) {
        self.count(table, 0);
    }

    fn count(&mut self, table: &Cachetable, height: u8) {
        table.counters().filters.add(height, &self.filters);
        *self = ReadWork { is_sampled: self.is_sampled, work: 0, filters: Default::default() };
    }
}
