//! The newest messages of all trees, sorted, in memory.
//!
//! ```text
//! tree 1: apple@7  apple@3  pear@5 | tree 4: ant@6  bee@9  bee@8  bee@2 | ...
//!         by tree ascending, then key ascending, then msn descending
//! ```
//!
//! Invariants:
//! 1. entries stand in that order, and no two have the same tree, key and msn;
//! 2. an entry is never changed, moved or removed before the whole memtable is dropped;
//! 3. every byte of its memory is charged to the meter.
//!
//! Range deletes stand apart, see [`ranges`].
//!
//! Threads: one inserts at a time (the leader of a commit group; a second one panics). Any number
//! read meanwhile; they never lock, retry or wait. Whoever loads `visible` with acquire, after the
//! writer stored it with release, finds every entry inserted before that store. Entries newer than
//! `visible` may be seen by a cursor already: its user passes over them.

mod ahead;
mod arena;
mod entry;
mod guide;
mod index;
mod ranges;

#[cfg(test)]
mod tests;

use sapwood_cachetable::sync::atomic::Ordering;
use sapwood_serialize::{Meter, Msn, Op, Tombstones, TreeId, Version};

use ahead::Ahead;
use entry::{Entry, Position};
use index::{Index, Span, Split};
pub(crate) use ranges::{Gathered, Ranges};

/// No more spans of entries are looked at to tell how a tree's bytes are spread, some ten thousand
/// entries. Measured: going through all 50 000 rows of a memtable took a tenth of its spill.
const WEIGHED_SPANS: usize = if cfg!(test) { 256 } else { 1024 };

/// A sorted index of messages that grows until it is sealed.
pub(crate) struct Memtable {
    index: Index,
    ranges: Ranges,
}

impl Memtable {
    /// An empty memtable, of one small chunk of memory.
    pub(crate) fn new(meter: &Meter) -> Memtable {
        Memtable { index: Index::new(meter), ranges: Ranges::new(meter) }
    }

    /// Adds a message. Messages may come in any order, though ascending keys are the cheapest.
    ///
    /// # Panics
    /// When another thread inserts at the same time, and on a key above 65 535 bytes or a payload
    /// of 4 GiB.
    pub(crate) fn insert(&self, tree: TreeId, key: &[u8], msn: Msn, op: Op<'_>) {
        self.index.insert(Position::new(tree, key, msn), op);
    }

    /// Adds the range deletes of a commit group, none of which is visible yet.
    pub(crate) fn delete_ranges(&self, gathered: &Gathered) {
        self.ranges.insert(gathered);
    }

    /// The range deletes of `tree`, in several lists that are to be taken together.
    pub(crate) fn tombstones(&self, tree: TreeId) -> Vec<Tombstones> {
        self.ranges.of(tree)
    }

    /// The newest range delete over `key` that is not newer than `visible`.
    pub(crate) fn deleted(&self, tree: TreeId, key: &[u8], visible: Msn) -> Option<u64> {
        self.ranges.newest_over(tree, key, visible)
    }

    /// How full it is of what it may hold with `bytes` at most: sealed at 1.
    pub(crate) fn fullness(&self, bytes: u64) -> f64 {
        let ranges = self.ranges.entries() as f64 / ranges::ENTRIES_MAX as f64;
        (self.bytes() as f64 / bytes as f64).max(ranges)
    }

    /// The bytes of its entries, with all that an entry needs beside the user's bytes.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = self.index.totals().bytes.load(Ordering::Relaxed) + self.ranges.bytes();
        usize::try_from(bytes).expect("what is in memory can be counted")
    }

    /// The bytes of keys and payloads.
    pub(crate) fn user_bytes(&self) -> u64 {
        self.index.totals().user_bytes.load(Ordering::Relaxed) + self.ranges.user_bytes()
    }

    /// How many messages there are.
    pub(crate) fn rows(&self) -> u64 {
        self.index.totals().rows.load(Ordering::Relaxed) + self.ranges.messages()
    }

    /// Whether there is no message.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// The newest message for `key` that is not newer than `visible`.
    pub(crate) fn get(&self, tree: TreeId, key: &[u8], visible: Msn) -> Option<Version<'_>> {
        let position = Position::new(tree, key, visible);
        let found = self.index.split(&position).next?;
        found.has_key_of(&position).then(|| found.version())
    }

    /// All versions of `key`, newest first.
    pub(crate) fn versions(&self, tree: TreeId, key: &[u8]) -> impl Iterator<Item = Version<'_>> {
        let mut cursor = self.cursor(tree);
        cursor.seek(key);
        let key = cursor.valid().then(|| cursor.key()).filter(|found| *found == key);
        std::iter::from_fn(move || {
            if !cursor.valid() || Some(cursor.key()) != key {
                return None;
            }
            let version = cursor.version();
            cursor.next_entry();
            Some(version)
        })
    }

    /// The trees that have an entry, ascending; one search each.
    pub(crate) fn trees(&self) -> Vec<TreeId> {
        let mut trees = Vec::new();
        let mut first = self.index.before_all().next;
        while let Some(entry) = first {
            trees.push(entry.tree());
            first = end_of(&self.index, entry.tree()).next;
        }
        trees.extend(self.ranges.trees());
        trees.sort_unstable();
        trees.dedup();
        trees
    }

    /// About how the bytes of `tree` are spread over its keys: keys, ascending, each with what
    /// there is from it up to the next one. A key counts once, with its newest version. Of many
    /// entries some ten thousand are looked at. While nobody inserts.
    pub(crate) fn weights(&self, tree: TreeId) -> Vec<(&[u8], u64)> {
        let (spans, every) = self.index.spans_of(tree, WEIGHED_SPANS);
        let keys = spans.iter().flat_map(|span| keys_of(span, tree));
        keys.map(|(key, bytes)| (key, bytes * every as u64)).collect()
    }

    /// Whether there is an entry of `tree` from `lower` on and before `upper`; one search.
    pub(crate) fn has_between(&self, tree: TreeId, lower: &[u8], upper: Option<&[u8]>) -> bool {
        let mut cursor = self.cursor(tree);
        cursor.seek(lower);
        cursor.valid() && upper.is_none_or(|upper| cursor.key() < upper)
    }

    /// A walk through the entries of one tree, at the first one.
    pub(crate) fn walk(&self, tree: TreeId) -> MemtableWalk<'_> {
        let mut cursor = self.cursor(tree);
        cursor.seek_first();
        let ahead = self.index.ahead_of(&Position::newest(tree, &[]));
        MemtableWalk { cursor, ahead }
    }

    /// A cursor over the entries of one tree, at no entry yet.
    pub(crate) fn cursor(&self, tree: TreeId) -> MemtableCursor<'_> {
        MemtableCursor { index: &self.index, tree, current: None }
    }
}

/// The keys of which the oldest version stands in the span, with the bytes of the newest one there.
fn keys_of<'a>(span: &Span<'a>, tree: TreeId) -> impl Iterator<Item = (&'a [u8], u64)> {
    let entries = std::iter::successors(Some(span.first), |entry| entry.next());
    let ours = entries.take(span.entries).filter(move |entry| entry.tree() == tree);
    let mut newest = None;
    ours.filter_map(move |entry| {
        let (key, version) = *newest.get_or_insert((entry.key(), entry.version()));
        let next = entry.next().filter(|next| next.tree() == tree && next.key() == key);
        if next.is_some() {
            return None;
        }
        newest = None;
        Some((key, (key.len() + version.op.payload().len()) as u64))
    })
}

/// The place behind all entries of `tree`.
fn end_of(index: &Index, tree: TreeId) -> Split<'_> {
    match tree.to_raw().checked_add(1) {
        Some(next) => index.split(&Position::newest(TreeId::from_raw(next), &[])),
        None => index.behind_all(),
    }
}

/// Goes through all entries of a tree, with the processor asked for those that are about to come.
/// Worth its beginning where there are many.
pub(crate) struct MemtableWalk<'a> {
    pub(crate) cursor: MemtableCursor<'a>,
    ahead: Ahead<'a>,
}

impl MemtableWalk<'_> {
    /// Goes to the newest version of the next key.
    pub(crate) fn next_key(&mut self) {
        let passed = self.cursor.next_key();
        self.ahead.pass(passed);
    }
}

/// A place among the entries of one tree, or nowhere. Steps off either end lead nowhere.
#[derive(Clone)]
pub(crate) struct MemtableCursor<'a> {
    index: &'a Index,
    tree: TreeId,
    /// Always of `tree`.
    current: Option<Entry<'a>>,
}

impl<'a> MemtableCursor<'a> {
    /// Goes to the newest version of the first key at or behind `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        let position = Position::newest(self.tree, key);
        self.go_to(self.index.split(&position).next);
    }

    /// Goes to the newest version of the first key.
    pub(crate) fn seek_first(&mut self) {
        self.seek(&[]);
    }

    /// Goes to the newest version of the last key.
    pub(crate) fn seek_last(&mut self) {
        self.go_to(end_of(self.index, self.tree).last);
        self.go_to_newest();
    }

    /// Goes to the newest version of the last key before `key`.
    pub(crate) fn seek_before(&mut self, key: &[u8]) {
        let position = Position::newest(self.tree, key);
        self.go_to(self.index.split(&position).last);
        self.go_to_newest();
    }

    /// Whether the cursor is at an entry.
    pub(crate) fn valid(&self) -> bool {
        self.current.is_some()
    }

    /// The key of the current entry.
    ///
    /// # Panics
    /// When the cursor is nowhere; so do the other methods that need an entry.
    pub(crate) fn key(&self) -> &'a [u8] {
        self.entry().key()
    }

    /// The message of the current entry.
    pub(crate) fn version(&self) -> Version<'a> {
        self.entry().version()
    }

    /// Goes to the next entry, which may be an older version of the same key.
    pub(crate) fn next_entry(&mut self) {
        self.go_to(self.entry().next());
        if let Some(entry) = self.current {
            entry.prefetch_next();
        }
    }

    /// Goes to the newest version of the next key. Returns how many entries it has passed.
    pub(crate) fn next_key(&mut self) -> usize {
        let key = self.key();
        let mut passed = 1;
        self.next_entry();
        while self.current.is_some_and(|entry| entry.key() == key) {
            self.next_entry();
            passed += 1;
        }
        passed
    }

    /// The message of the current entry, if the next one is not of the same key.
    pub(crate) fn only_version(&self) -> Option<Version<'a>> {
        let entry = self.entry();
        let next = entry.next().filter(|next| next.tree() == self.tree);
        next.is_none_or(|next| next.key() != entry.key()).then(|| entry.version())
    }

    /// Goes to the newest version of the key before, by two searches from the top.
    pub(crate) fn previous_key(&mut self) {
        self.seek_before(self.key());
    }

    fn entry(&self) -> Entry<'a> {
        self.current.expect("the cursor is at an entry")
    }

    fn go_to(&mut self, entry: Option<Entry<'a>>) {
        self.current = entry.filter(|entry| entry.tree() == self.tree);
    }

    /// From any version of a key to its newest.
    fn go_to_newest(&mut self) {
        if let Some(entry) = self.current {
            self.seek(entry.key());
        }
    }
}
