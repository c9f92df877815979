//! A generation: one memtable for all trees, with the interval of MSNs that it owns.
//!
//! It may begin with runs: what a transaction or a bulk load has written ahead, because it was more
//! than fits into memory. They are older than all that its memtable gets later.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use sapwood_cachetable::sync::atomic::{AtomicU64, Ordering};
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_cachetable::{Cachetable, Fault, Reserved};
use sapwood_serialize::merge_iter::{Direction, Stream};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{Charge, GenerationId, Msn, Tombstones, TreeId, Version};

use crate::memtable::{Memtable, MemtableCursor, MemtableWalk};

/// The messages from one seal to the next.
pub(crate) struct Generation {
    // Constant after construction.
    pub(crate) id: GenerationId,
    pub(crate) memtable: Memtable,
    /// Older than everything in the memtable.
    written: Written,
    oldest: Msn,
    /// Set when it is sealed.
    newest: AtomicU64,
    promises: Mutex<Promises>,
}

/// Runs that were written before their messages were committed.
#[derive(Clone, Default)]
pub(crate) struct Written {
    /// Of each tree, oldest first.
    pub(crate) runs: BTreeMap<TreeId, Vec<Arc<Run>>>,
    /// What keeps their segments.
    pub(crate) reserved: Vec<Arc<Reserved>>,
}

impl Written {
    /// The same, numbered from `to` on instead of from `from` on.
    pub(crate) fn renumbered(&self, from: Msn, to: Msn) -> Written {
        let renumbered = |runs: &Vec<Arc<Run>>| {
            runs.iter().map(|run| Arc::new(run.renumbered(from, to))).collect()
        };
        let runs = self.runs.iter().map(|(tree, runs)| (*tree, renumbered(runs))).collect();
        Written { runs, reserved: self.reserved.clone() }
    }

    fn sum(&self, of: impl Fn(&Run) -> u64) -> u64 {
        self.runs.values().flatten().map(|run| of(run)).sum()
    }
}

#[derive(Default)]
struct Promises {
    bytes: u64,
    charges: Vec<Charge>,
}

impl Generation {
    /// An empty generation whose first message will be `oldest`.
    pub(crate) fn new(id: GenerationId, oldest: Msn, table: &Cachetable) -> Generation {
        Generation {
            id,
            memtable: Memtable::new(&table.meters().memtables),
            written: Written::default(),
            oldest,
            newest: AtomicU64::new(0),
            promises: Mutex::new(Rank::JobQueue, Promises::default()),
        }
    }

    /// A generation that begins with messages that were written before.
    pub(crate) fn holding(
        id: GenerationId,
        oldest: Msn,
        table: &Cachetable,
        written: Written,
    ) -> Generation {
        Generation { written, ..Generation::new(id, oldest, table) }
    }

    /// Whether there is no message.
    pub(crate) fn is_empty(&self) -> bool {
        self.memtable.is_empty() && !self.has_runs()
    }

    /// The bytes of keys and payloads.
    pub(crate) fn user_bytes(&self) -> u64 {
        self.memtable.user_bytes() + self.written.sum(Run::bytes)
    }

    /// How many messages there are; of a key with several in runs, one is counted.
    pub(crate) fn rows(&self) -> u64 {
        self.memtable.rows() + self.written.sum(Run::rows)
    }

    /// The trees that have runs, ascending.
    pub(crate) fn trees_of_runs(&self) -> impl Iterator<Item = TreeId> {
        self.written.runs.keys().copied()
    }

    /// Whether it has runs besides its memtable.
    pub(crate) fn has_runs(&self) -> bool {
        !self.written.runs.is_empty()
    }

    /// Whether a message of it may be newer than `msn`.
    pub(crate) fn may_have_newer(&self, msn: Msn) -> bool {
        // While it is not sealed, nobody knows its newest.
        let newest = self.newest.load(Ordering::Acquire);
        newest == 0 || newest > msn.to_raw()
    }

    /// The runs of `tree` that it has besides its memtable, oldest first.
    pub(crate) fn runs(&self, tree: TreeId) -> &[Arc<Run>] {
        self.written.runs.get(&tree).map_or(&[], Vec::as_slice)
    }

    /// All its range deletes in `tree`, in several lists that are to be taken together.
    pub(crate) fn covers(&self, tree: TreeId) -> Vec<Tombstones> {
        let mut covers = self.memtable.tombstones(tree);
        let of_runs = self.runs(tree).iter().map(|run| run.tombstones());
        covers.extend(of_runs.filter(|some| !some.is_empty()).cloned());
        covers
    }

    /// Sees to it that `bytes` more can be moved to disk later; asks for space in large steps. Only
    /// the leader calls it.
    pub(crate) fn promise(&self, table: &Cachetable, bytes: u64) -> Result<(), Fault> {
        const STEP: u64 = 1 << 20;
        let promised = self.promises.lock().bytes;
        let used = self.memtable.user_bytes() + 24 * self.memtable.rows() + bytes;
        if used <= promised {
            return Ok(());
        }
        // Small at first, so that a small database stays small.
        let wanted = (used - promised).max(promised.clamp(16 << 10, STEP));
        let charge = match table.promise(wanted) {
            Err(Fault::DiskFull { .. }) => table.promise(used - promised)?,
            promised => promised?,
        };
        let mut promises = self.promises.lock();
        promises.bytes += charge.bytes();
        promises.charges.push(charge);
        Ok(())
    }

    /// Whether it is to be sealed, when its memtable may take so many bytes.
    pub(crate) fn is_full(&self, memtable_bytes: u64) -> bool {
        self.has_runs() || self.memtable.fullness(memtable_bytes) >= 1.0
    }

    /// No message of it has a smaller number.
    pub(crate) fn first_msn(&self) -> Msn {
        self.oldest
    }

    /// No more messages; `newest` was the last.
    pub(crate) fn seal(&self, newest: Msn) {
        self.newest.store(newest.to_raw(), Ordering::Release);
    }
}

impl sapwood_flusher::Generation for Generation {
    type Messages<'a> = MemtableWalk<'a>;

    fn id(&self) -> GenerationId {
        self.id
    }

    fn oldest(&self) -> Msn {
        self.oldest
    }

    fn newest(&self) -> Msn {
        Msn::from_raw(self.newest.load(Ordering::Acquire))
    }

    fn trees(&self) -> Vec<TreeId> {
        let mut trees = self.memtable.trees();
        trees.extend(self.trees_of_runs());
        trees.sort_unstable();
        trees.dedup();
        trees
    }

    fn runs(&self, tree: TreeId) -> &[Arc<Run>] {
        Generation::runs(self, tree)
    }

    fn reserved(&self) -> &[Arc<Reserved>] {
        &self.written.reserved
    }

    fn messages(&self, tree: TreeId) -> MemtableWalk<'_> {
        self.memtable.walk(tree)
    }

    fn weights(&self, tree: TreeId) -> Vec<(&[u8], u64)> {
        self.memtable.weights(tree)
    }

    fn has_messages(&self, tree: TreeId, bounds: &Bounds) -> bool {
        self.memtable.has_between(tree, &bounds.lower, bounds.upper.as_deref())
    }

    fn tombstones(&self, tree: TreeId) -> Tombstones {
        Tombstones::merged(&self.memtable.tombstones(tree))
    }
}

/// The messages of one tree in one memtable, key by key.
pub(crate) struct MemtableStream<'a> {
    pub(crate) cursor: MemtableCursor<'a>,
    pub(crate) direction: Direction,
}

impl Stream for MemtableStream<'_> {
    type Error = Infallible;

    fn key(&self) -> Option<&[u8]> {
        self.cursor.valid().then(|| self.cursor.key())
    }

    fn versions(&self) -> impl Iterator<Item = Version<'_>> {
        versions_at(self.cursor.clone())
    }

    fn advance(&mut self) -> Result<(), Infallible> {
        match self.direction {
            Direction::Forward => _ = self.cursor.next_key(),
            Direction::Backward => self.cursor.previous_key(),
        }
        Ok(())
    }
}

impl Stream for MemtableWalk<'_> {
    type Error = Infallible;

    fn key(&self) -> Option<&[u8]> {
        self.cursor.valid().then(|| self.cursor.key())
    }

    fn versions(&self) -> impl Iterator<Item = Version<'_>> {
        versions_at(self.cursor.clone())
    }

    fn only_version(&self) -> Option<Version<'_>> {
        self.cursor.only_version()
    }

    fn advance(&mut self) -> Result<(), Infallible> {
        self.next_key();
        Ok(())
    }
}

/// The versions of the key at which `cursor` stands, newest first.
fn versions_at<'a>(mut cursor: MemtableCursor<'a>) -> impl Iterator<Item = Version<'a>> {
    let key = cursor.key();
    std::iter::from_fn(move || {
        if !cursor.valid() || cursor.key() != key {
            return None;
        }
        let version = cursor.version();
        cursor.next_entry();
        Some(version)
    })
}
