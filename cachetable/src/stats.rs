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
