//! Counters of what moves between memory and disk.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of questions to filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterCounters {
    /// The filter denied the key, and nothing was read.
    pub denied: u64,
    /// The filter let the key pass, and it was there.
    pub found: u64,
    /// The filter let the key pass, and it was not there.
    pub misled: u64,
}

/// Counts by height, in stripes: readers on several threads seldom meet on one.
#[derive(Debug)]
pub struct FilterStats([FilterStripe; STRIPES]);

const STRIPES: usize = 8;
/// Heights from here on are counted as one.
const HEIGHTS: usize = 8;

/// As far apart as cache lines that are fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct FilterStripe([[AtomicU64; 3]; HEIGHTS]);

impl Default for FilterStats {
    fn default() -> FilterStats {
        FilterStats(std::array::from_fn(|_| FilterStripe::default()))
    }
}

impl FilterStats {
    /// Adds what one read has met at `height`.
    pub fn add(&self, height: u8, met: &FilterCounters) {
        if *met == FilterCounters::default() {
            return;
        }
        let row = &self.0[stripe()].0[usize::from(height).min(HEIGHTS - 1)];
        for (total, count) in row.iter().zip([met.denied, met.found, met.misled]) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// The counts for each height: 0 is the leaves' own rows, 1 the buffers right above them.
    pub fn by_height(&self) -> Vec<FilterCounters> {
        let count = |height: usize, kind: usize| {
            self.0.iter().map(|stripe| stripe.0[height][kind].load(Ordering::Relaxed)).sum()
        };
        let of = |height| FilterCounters {
            denied: count(height, 0),
            found: count(height, 1),
            misled: count(height, 2),
        };
        (0..HEIGHTS).map(of).collect()
    }
}

/// The stripe of this thread.
fn stripe() -> usize {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    std::thread_local! {
        static MINE: usize = {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES as u64;
            usize::try_from(next).unwrap_or(0)
        };
    }
    MINE.with(|mine| *mine)
}

/// What the cachetable counts, since the database was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes written to the block file.
    pub bytes_written: Counter,
    /// Bytes read from the block file.
    pub bytes_read: Counter,
    /// Pages read from the block file.
    pub pages_read: Counter,
    /// Directories and filters read.
    pub directories_read: Counter,
    /// Nodes read.
    pub nodes_read: Counter,
    /// Filters asked, by height.
    pub filters: FilterStats,
    /// Nodes that got a new image, to be written.
    pub nodes_dirtied: Counter,
    /// Pages let go.
    pub pages_evicted: Counter,
    /// Nodes let go.
    pub nodes_evicted: Counter,
    /// Segments written.
    pub segments_written: Counter,
    /// Node images written.
    pub nodes_written: Counter,
    /// Checkpoints completed.
    pub checkpoints: Counter,
}
