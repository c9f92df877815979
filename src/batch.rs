//! Several changes in one step.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

use sapwood_serialize::run::Bounds;
use sapwood_serialize::{KEY_BYTES_MAX, Op, Record, TreeId, encode_record};

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
    records: Vec<u8>,
    /// The trees that it changes.
    trees: BTreeMap<TreeId, Tree>,
    rows: usize,
    /// The first change that was refused; the commit returns it.
    refused: Option<Error>,
}

impl Batch {
    pub(crate) fn new(db: Database) -> Batch {
        Batch { db, records: Vec::new(), trees: BTreeMap::new(), rows: 0, refused: None }
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
                encode_record(&mut self.records, record);
                self.rows += 1;
            }
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
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
    pub fn commit(self, durability: Durability) -> Result<()> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.is_empty() {
            let engine = self.db.engine();
            engine.check_open()?;
            return engine.make_durable(engine.so_far(), durability);
        }
        self.trees.values().try_for_each(Tree::check_live)?;
        self.db.engine().commit(self.records.len(), durability, &|out| {
            out.extend_from_slice(&self.records);
        })
    }

    /// The same, without waiting for durability: the changes are visible when it returns, and the
    /// ticket tells when they are as durable as asked.
    ///
    /// # Errors
    /// As for [`Batch::commit`].
    pub fn commit_async(self, durability: Durability) -> Result<Ticket> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let engine = self.db.engine();
        if self.is_empty() {
            engine.check_open()?;
            let so_far = engine.so_far();
            return Ok(Ticket::new(self.db, 0, so_far, durability));
        }
        self.trees.values().try_for_each(Tree::check_live)?;
        let proposal = Proposal {
            bytes: self.records.len(),
            logging: durability.logging(),
            guard: None,
            encode: &|out| out.extend_from_slice(&self.records),
        };
        match engine.propose(&proposal)? {
            Settled::Committed(committed) => {
                let changes = self.rows as u64;
                Ok(Ticket::new(self.db.clone(), changes, committed, durability))
            }
            Settled::Changed(_) | Settled::Unknown => unreachable!("nothing was guarded"),
        }
    }
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
