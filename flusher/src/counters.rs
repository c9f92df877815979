//! What was moved since the database was opened. Owned by its [`Mover`](crate::Mover).

use sapwood_cachetable::stats::Counter;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cascades of this depth and deeper are counted as one.
pub const CASCADES: usize = 7;

/// The smallest, the largest and the sum of some amounts.
#[derive(Debug)]
pub struct Spread {
    least: AtomicU64,
    most: AtomicU64,
    total: AtomicU64,
}

impl Default for Spread {
    fn default() -> Spread {
        let (most, total) = (AtomicU64::new(0), AtomicU64::new(0));
        Spread { least: AtomicU64::new(u64::MAX), most, total }
    }
}

impl Spread {
    pub(crate) fn note(&self, amount: u64) {
        self.least.fetch_min(amount, Ordering::Relaxed);
        self.most.fetch_max(amount, Ordering::Relaxed);
        self.total.fetch_add(amount, Ordering::Relaxed);
    }

    /// The smallest amount; 0 before the first.
    pub fn least(&self) -> u64 {
        let least = self.least.load(Ordering::Relaxed);
        if least == u64::MAX { 0 } else { least }
    }

    /// The largest amount.
    pub fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct MoverCounters {
    /// Generations spilled.
    pub spills: Counter,
    /// Buffers moved one level down, or into a leaf, all of it being in memory.
    pub flushes_in_memory: Counter,
    /// The same where something had to be read.
    pub flushes_with_io: Counter,
    /// Flushes by how many flushes before them in one go had led to them; the last entry counts all
    /// that lie deeper.
    pub cascades: [Counter; CASCADES],
    /// Of all flushes, those into a leaf.
    pub reconciles: Counter,
    /// Times that small runs of one buffer were gathered into one.
    pub gathers: Counter,
    /// Segments that a leaf or a buffer took over from the buffer above without rewriting.
    pub segments_adopted: Counter,
    /// Segments that a leaf kept as they were.
    pub segments_kept: Counter,
    /// Segments that were built.
    pub segments_built: Counter,
    /// Uncompressed bytes that were built.
    pub bytes_built: Counter,
    /// Uncompressed bytes that range deletes let drop unread.
    pub bytes_dropped: Counter,
    /// Leaves that came into being by splits.
    pub leaf_splits: Counter,
    /// Internal nodes split.
    pub internal_splits: Counter,
    /// Leaves merged with a sibling.
    pub leaf_merges: Counter,
    /// Internal nodes merged with a sibling.
    pub internal_merges: Counter,
    /// Leaves that took a part of their sibling.
    pub leaf_balances: Counter,
    /// Internal nodes that took a part of their sibling.
    pub internal_balances: Counter,
    /// Levels that trees have lost at the top.
    pub shrinks: Counter,
    /// Nodes that dropped trees gave back.
    pub nodes_emptied: Counter,
    /// Leaf merges, with the flushes toward them, that were begun.
    pub leaf_merges_started: Counter,
    /// Of those, the ones that ended, with a merge or without.
    pub leaf_merges_ended: Counter,
    /// Jobs that were broken off because something was more urgent.
    pub stopped: Counter,
    /// Flushes that the cleaner did.
    pub cleaner_runs: Counter,
    /// The buffered bytes that the cleaner met at each.
    pub cleaner_buffer: Spread,
    /// The readers' work that the cleaner met at each, in bytes.
    pub cleaner_work: Spread,
}

impl MoverCounters {
    /// All flushes.
    pub fn flushes(&self) -> u64 {
        self.flushes_in_memory.get() + self.flushes_with_io.get()
    }

    pub(crate) fn count_cascade(&self, depth: usize) {
        if let Some(counter) = self.cascades.get(depth.min(CASCADES - 1)) {
            counter.add(1);
        }
    }
}
