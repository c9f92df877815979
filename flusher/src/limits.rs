//! The sizes and counts that decide when something moves.

use sapwood_serialize::catalog_image::PageOptions;

/// Targets and limits of a database's trees. All bytes are uncompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The pages of a new tree that says nothing else.
    pub page_bytes: u32,
    /// A segment is closed when the next page would take it beyond this.
    pub segment_bytes: u64,
    /// A leaf with more is split.
    pub leaf_bytes: u64,
    /// An internal node with more edges is split.
    pub fanout: usize,
    /// A spilled piece goes down for as long as it has at least this many bytes.
    pub piece_bytes: u64,
    /// A flush should hand pieces of at least this many bytes to the edges below.
    pub flush_piece_bytes: u64,
    /// More runs than this on one edge above an internal node must move.
    pub runs: usize,
    /// More runs than this on one edge above a leaf must move.
    pub leaf_runs: usize,
    /// A spill waits while an edge it could feed has this many runs.
    pub runs_hard: usize,
    /// A leaf is due when its buffer has this many percent of a full leaf.
    pub leaf_due_percent: u64,
    /// Holes are punched in the file only where they give back more than this.
    pub holes_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            page_bytes: 8 << 10,
            segment_bytes: 256 << 10,
            leaf_bytes: 4 << 20,
            fanout: 24,
            piece_bytes: 128 << 10,
            flush_piece_bytes: 256 << 10,
            runs: 8,
            leaf_runs: 12,
            runs_hard: 24,
            leaf_due_percent: 100,
            holes_bytes: 4 << 20,
        }
    }
}

impl Limits {
    /// Limits so small that a few dozen keys make a tree of height 2, for tests.
    pub fn tiny() -> Limits {
        Limits {
            page_bytes: 256,
            segment_bytes: 1024,
            leaf_bytes: 2048,
            fanout: 4,
            piece_bytes: 256,
            flush_piece_bytes: 256,
            runs: 2,
            leaf_runs: 3,
            runs_hard: 8,
            leaf_due_percent: 75,
            holes_bytes: 16 << 10,
        }
    }

    /// How the pages of a new tree are made that says nothing else.
    pub fn pages(&self) -> PageOptions {
        PageOptions { page_bytes: self.page_bytes, ..PageOptions::default() }
    }

    /// A leaf or node with less than this share of what it may hold wants to be merged.
    pub fn is_undersize(amount: u64, most: u64) -> bool {
        amount * 4 < most
    }

    /// Two siblings may be merged when together they have at most this share: a merged node is not
    /// split again by the next change.
    pub fn fits_merged(amount: u64, most: u64) -> bool {
        amount * 4 <= most * 3
    }
}
