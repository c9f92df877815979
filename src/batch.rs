//! Several changes in one step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

use sapwood_serialize::codec::Encode;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::{
    FRAME_HEADER_BYTES, KEY_BYTES_MAX, Memory, Op, Record, TreeId, begin_frame, encode_record,
};

use crate::commit::{Durability, Proposal, Settled};
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::keys::{bounds_of, bounds_of_prefix, within_key_length};
use crate::ticket::Ticket;
use crate::tree::Tree;

/// Changes over any trees of one database, committed in one step: readers see all of them or none,
/// and so does recovery.
///
/// Changes take effect in the order in which they were added; nothing is read.
///
/// ```
/// # use sapwood::{Config, Durability};
/// # fn main() -> sapwood::Result<()> {
/// # let db = Config::in_memory().open()?;
/// let (names, ids) = (db.tree("names")?, db.tree("ids")?);
/// let mut batch = db.batch();
/// batch.insert(&names, "oak", "1");
/// batch.insert(&ids, "1", "oak");
/// batch.commit(Durability::Buffered)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch that is not committed changes nothing"]
pub struct Batch {
    db: Database,
    /// A frame of the log that holds the changes, so that a large one need not be copied into it.
    frame: Memory,
    /// The trees that it changes.
    trees: BTreeMap<TreeId, Tree>,
    rows: usize,
    /// The first change that was refused; the commit returns it.
    refused: Option<Error>,
}

impl Batch {
    pub(crate) fn new(db: Database) -> Batch {
        let mut frame = Memory::default();
        begin_frame(&mut frame);
        Batch { db, frame, trees: BTreeMap::new(), rows: 0, refused: None }
    }

    /// Sets `key` to `value`.
    pub fn insert(&mut self, tree: &Tree, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.add(tree, key.as_ref(), Op::Put(value.as_ref()));
    }

    /// Removes `key`.
    pub fn remove(&mut self, tree: &Tree, key: impl AsRef<[u8]>) {
        self.add(tree, key.as_ref(), Op::Delete);
    }

    /// Merges `operand` into the value of `key`, as the tree's merge operator says.
    pub fn merge(&mut self, tree: &Tree, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) {
        self.add(tree, key.as_ref(), Op::Merge(operand.as_ref()));
    }

    /// Removes all keys in `range`; one change, however many there are.
    pub fn remove_range<K: AsRef<[u8]>>(&mut self, tree: &Tree, range: impl RangeBounds<K>) {
        self.add_range(tree, bounds_of(&range));
    }

    /// Removes all keys that begin with `prefix`; one change, however many there are.
    pub fn remove_prefix(&mut self, tree: &Tree, prefix: impl AsRef<[u8]>) {
        self.add_range(tree, bounds_of_prefix(prefix.as_ref()));
    }

    fn add(&mut self, tree: &Tree, key: &[u8], op: Op<'_>) {
        let checked = self.check_ours(tree).and_then(|()| check(tree, key, op));
        self.add_checked(tree, checked, &Record::Write { tree: tree.id(), key, op });
    }

    fn add_range(&mut self, tree: &Tree, bounds: Bounds) {
        let checked = self.check_ours(tree).and_then(|()| check_range(&bounds));
        let Bounds { lower, upper } = within_key_length(bounds);
        if upper.as_ref().is_some_and(|upper| *upper <= lower) && checked.is_ok() {
            return;
        }
        let (id, upper) = (tree.id(), upper.as_deref());
        self.add_checked(tree, checked, &Record::DeleteRange { tree: id, lower: &lower, upper });
    }

    pub(crate) fn check_ours(&self, tree: &Tree) -> Result<()> {
        let ours = Arc::ptr_eq(&self.db.0, &tree.db().0);
        if ours { Ok(()) } else { Err(Error::new(Kind::OtherDatabase)) }
    }

    fn add_checked(&mut self, tree: &Tree, checked: Result<()>, record: &Record<'_>) {
        match checked {
            Ok(()) => {
                self.trees.entry(tree.id()).or_insert_with(|| tree.clone());
                encode_record(&mut self.frame, record);
                self.rows += 1;
            }
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
    }

    /// The frame, and how many bytes its records take.
    fn take_frame(&mut self) -> (usize, Cell<Memory>) {
        let frame = std::mem::take(&mut self.frame);
        (frame.len() - FRAME_HEADER_BYTES, Cell::new(frame))
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it holds no change.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Commits all changes in one step; returns when they are visible and as durable as asked, and
    /// with them everything that was committed before. A batch without changes does the latter.
    ///
    /// # Errors
    /// When a change was refused or a tree dropped (nothing is committed then), the disk is full
    /// (nothing either), or the write or sync fails ([`Error::is_indeterminate`]).
    pub fn commit(mut self, durability: Durability) -> Result<()> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.is_empty() {
            let engine = self.db.engine();
            engine.check_open()?;
            return engine.make_durable(engine.so_far(), durability);
        }
        self.trees.values().try_for_each(Tree::check_live)?;
        let (bytes, frame) = self.take_frame();
        self.db.engine().commit(bytes, durability, &|out| put_records(&frame, out))
    }

    /// The same, without waiting for durability: the changes are visible when it returns, and the
    /// ticket tells when they are as durable as asked.
    ///
    /// # Errors
    /// As for [`Batch::commit`].
    pub fn commit_async(mut self, durability: Durability) -> Result<Ticket> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.is_empty() {
            let engine = self.db.engine();
            engine.check_open()?;
            let so_far = engine.so_far();
            return Ok(Ticket::new(self.db, 0, so_far, durability));
        }
        self.trees.values().try_for_each(Tree::check_live)?;
        let (bytes, frame) = self.take_frame();
        let encode = &|out: &mut Memory| put_records(&frame, out);
        let proposal = Proposal { bytes, logging: durability.logging(), guard: None, encode };
        match self.db.engine().propose(&proposal)? {
            Settled::Committed(committed) => {
                let changes = self.rows as u64;
                Ok(Ticket::new(self.db.clone(), changes, committed, durability))
            }
            Settled::Changed(_) | Settled::Unknown => unreachable!("nothing was guarded"),
        }
    }
}

/// Appends the records of a batch's frame to `out`. Where nothing but the head stands there, and
/// they would need more memory, `out` becomes the batch's frame: it is the one that is logged, for
/// which nobody asks twice.
fn put_records(frame: &Cell<Memory>, out: &mut Memory) {
    let own = frame.take();
    if out.len() == FRAME_HEADER_BYTES && own.len() > out.room() {
        *out = own;
        return;
    }
    out.put(own.get(FRAME_HEADER_BYTES..).expect("it began with the head"));
    frame.set(own);
}

/// Refuses keys and values that are too large, and merges without an operator.
pub(crate) fn check(tree: &Tree, key: &[u8], op: Op<'_>) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::new(Kind::KeyTooLarge(key.len())));
    }
    let (bytes, most) = (op.payload().len(), tree.db().engine().value_bytes_max());
    if bytes > most {
        return Err(Error::new(Kind::ValueTooLarge { bytes, most }));
    }
    if matches!(op, Op::Merge(_)) && !tree.has_operator() {
        tree.check_live()?;
        return Err(Error::new(Kind::NoOperator(tree.name().to_owned())));
    }
    Ok(())
}

/// Refuses ends that are longer than any key, or than the key behind the longest one.
pub(crate) fn check_range(bounds: &Bounds) -> Result<()> {
    let longest = bounds.lower.len().max(bounds.upper.as_ref().map_or(0, |upper| upper.len()));
    if longest > KEY_BYTES_MAX + 1 {
        return Err(Error::new(Kind::KeyTooLarge(longest)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose records are so many bytes.
    fn frame_of(bytes: usize) -> Cell<Memory> {
        let mut frame = Memory::default();
        begin_frame(&mut frame);
        frame.put(&vec![7; bytes]);
        Cell::new(frame)
    }

    /// A batch of a quarter of the cache was in memory twice before it was anywhere else.
    #[test]
    fn a_large_batch_is_the_frame_that_is_logged() {
        let frame = frame_of(3 << 20);
        let held = frame.take();
        let at = held.as_ptr();
        frame.set(held);
        let mut out = frame_of(0).into_inner();
        put_records(&frame, &mut out);
        assert_eq!((out.as_ptr(), out.len()), (at, FRAME_HEADER_BYTES + (3 << 20)));
    }

    #[test]
    fn what_comes_behind_others_is_copied_as_often_as_it_is_asked_for() {
        let frame = frame_of(10);
        for before in [0, 5] {
            let mut out = Memory::with_room(1000);
            out.put(&vec![1; FRAME_HEADER_BYTES + before]);
            put_records(&frame, &mut out);
            assert_eq!(out.get(FRAME_HEADER_BYTES + before..), Some(&[7; 10][..]));
        }
        let (large, mut group) = (frame_of(2000), frame_of(1).into_inner());
        put_records(&large, &mut group);
        assert_eq!(group.len(), FRAME_HEADER_BYTES + 2001);
    }
}
