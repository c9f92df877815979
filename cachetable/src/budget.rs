//! How the one byte budget is shared out.

/// The shares of a budget, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Everything together.
    pub total: u64,
}

impl Budget {
    /// No database works with less.
    pub const BYTES_MIN: u64 = 8 << 20;

    /// The memtable of one generation: an eighth, at least 1 MiB, at most 64 MiB. Where a log file
    /// is late it may take half as much again, which pages make room for.
    pub fn memtable(self) -> u64 {
        (self.total / 8).clamp((1 << 20).min(self.total / 8), 64 << 20)
    }

    /// What background jobs may use beyond what readers filled: an eighth.
    pub fn reserve(self) -> u64 {
        self.total / 8
    }

    /// How many jobs may run at once: as many as fit into the reserve, at least one.
    pub fn jobs(self) -> usize {
        /// What a job holds: the windows of some eight runs, and three segments being built.
        const FOOTPRINT: u64 = 2 << 20;
        usize::try_from(self.reserve() / FOOTPRINT).unwrap_or(usize::MAX).max(1)
    }

    /// Up to here directories, filters and nodes are kept in preference to pages: three eighths;
    /// where a job needs room, only those that somebody has used since they came. (A row of 116
    /// bytes takes some 2.4 of these, so that this is enough for sixteen times the budget; of
    /// those, a quarter would hold two thirds.)
    pub fn directories(self) -> u64 {
        self.total * 3 / 8
    }

    /// What leaves have unwritten beyond this, a quarter, is written out. It will not die soon, and
    /// what cannot be evicted drives out what readers need: see note 15.
    pub fn unwritten_leaves(self) -> u64 {
        self.total / 4
    }

    /// What the scribe is ahead of jobs: so much of what is resident is pages that can be evicted
    /// when a job needs room, so that it need not write itself. A thirty-second, at least 4 MiB, at
    /// most an eighth: a job builds 4 MiB in some ten milliseconds, and so long a thread that is
    /// woken on a busy machine may wait for its turn. (Measured with two cores: 2 MiB of 64 cost a
    /// loader 5 percent of its rows, 1 MiB of 32 as many; 16 MiB of 256 gain nothing over 8.)
    pub fn spare(self) -> u64 {
        (self.total / 32).max((4 << 20).min(self.total / 8))
    }

    /// What a cursor reads of a run at once: a two-hundred-and-fifty-sixth, at least 32 KiB. It
    /// holds that until it is through, and eviction cannot help; a scan holds one such window for
    /// each of up to a dozen runs. (With 256 KiB each, eight scans of 8 MiB held 20 MiB.)
    pub fn window(self) -> u64 {
        (self.total / 256).max(32 << 10)
    }

    /// What is larger than this, a sixty-fourth, is large beside the budget: two copies of several
    /// of them at once would be more than the reserve. No segment of usual rows is.
    pub fn large(self) -> u64 {
        (self.total / 64).max(512 << 10)
    }

    /// With more than this unwritten, an idle database writes it: readers can evict none of it, and
    /// would have only what is left to keep pages and directories in.
    pub fn unwritten(self) -> u64 {
        self.total / 16
    }

    /// What is resident beyond this makes room: the total without the reserve, and without a
    /// sixteenth for what the memory allocator holds and cannot hand out. (Measured at 64 MiB: the
    /// process then peaks some 4 MiB lower, within 1.1 times the budget plus 16 MiB.)
    pub fn resident(self) -> u64 {
        self.total - self.reserve() - self.total / 16
    }
}
