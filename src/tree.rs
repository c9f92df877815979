//! A named tree.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;
use sapwood_serialize::{Op, Record, TreeId, encode_record};

use crate::batch::check;
use crate::commit::Durability;
use crate::database::Database;
use crate::error::Result;
use crate::iter::Iter;
use crate::read;
use crate::scan::successor;
use crate::slice::Slice;

/// An ordered map from byte strings to byte strings, one of any number in a database.
///
/// Keys have 0 to 65 535 bytes and are ordered as bytes; values have up to 64 MiB, or an eighth of
/// the cache where that is less. Changes are blind: they read nothing, and one costs one message
/// however large the tree is. They are [`Durability::Buffered`]; use a [`Batch`](crate::Batch) for
/// more.
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let tree = db.tree("trees")?;
/// tree.insert("oak", "ring-porous")?;
/// tree.insert("beech", "diffuse-porous")?;
/// tree.remove("oak")?;
/// assert_eq!(tree.get("oak")?, None);
/// assert_eq!(tree.first()?.map(|(key, _)| key.to_vec()), Some(b"beech".to_vec()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tree {
    db: Database,
    id: TreeId,
    name: Arc<str>,
}

impl Tree {
    pub(crate) fn new(db: Database, id: TreeId, name: &str) -> Tree {
        Tree { db, id, name: name.into() }
    }

    pub(crate) fn db(&self) -> &Database {
        &self.db
    }

    pub(crate) fn id(&self) -> TreeId {
        self.id
    }

    /// The tree's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets `key` to `value`. One message, no read.
    ///
    /// # Errors
    /// When the key or value is too large, the disk is full, or the log cannot be written.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.write(key.as_ref(), Op::Put(value.as_ref()))
    }

    /// Removes `key`, which need not be there. One message, no read.
    ///
    /// # Errors
    /// When the key is too large, the disk is full, or the log cannot be written.
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.write(key.as_ref(), Op::Delete)
    }

    fn write(&self, key: &[u8], op: Op<'_>) -> Result<()> {
        let engine = self.db.engine();
        check(engine, key, op)?;
        let record = Record::Write { tree: self.id, key, op };
        let bytes = key.len() + op.payload().len() + 16;
        engine.commit(bytes, Durability::Buffered, &|out| encode_record(out, &record))
    }

    /// The value of `key`. Reads at most about one page that is not in memory.
    ///
    /// # Errors
    /// When a page cannot be read or is damaged.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let engine = self.db.engine();
        engine.check_open()?;
        let view = engine.views.load();
        let msn = engine.views.visible();
        Ok(read::get(&engine.table, &view, self.id, key.as_ref(), msn)?)
    }

    /// Whether `key` is there. Costs what [`Tree::get`] costs.
    ///
    /// # Errors
    /// As for [`Tree::get`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The smallest key with its value.
    ///
    /// # Errors
    /// When a page cannot be read or is damaged.
    pub fn first(&self) -> Result<Option<(Slice, Slice)>> {
        Iter::with_rows(self, Bounds::all(), 1).next().transpose()
    }

    /// The largest key with its value.
    ///
    /// # Errors
    /// When a page cannot be read or is damaged.
    pub fn last(&self) -> Result<Option<(Slice, Slice)>> {
        Iter::with_rows(self, Bounds::all(), 1).next_back().transpose()
    }

    /// All rows in key order, as they are now; also backwards.
    pub fn iter(&self) -> Iter {
        Iter::new(self, Bounds::all())
    }

    /// The rows whose keys lie in `range`, in key order, as they are now; also backwards.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// for key in ["a", "b", "c"] {
    ///     tree.insert(key, "")?;
    /// }
    /// let keys = tree.range("b"..).rev().map(|entry| Ok(entry?.0.to_vec()));
    /// assert_eq!(keys.collect::<sapwood::Result<Vec<_>>>()?, [b"c", b"b"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Iter {
        let lower = match range.start_bound() {
            Bound::Unbounded => Key::from([]),
            Bound::Included(key) => Key::from(key.as_ref()),
            Bound::Excluded(key) => successor(key.as_ref()),
        };
        let upper = match range.end_bound() {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(successor(key.as_ref())),
            Bound::Excluded(key) => Some(Key::from(key.as_ref())),
        };
        Iter::new(self, Bounds { lower, upper })
    }

    /// The rows whose keys begin with `prefix`, in key order, as they are now; also backwards.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        let lower = Key::from(prefix.as_ref());
        let upper = behind_prefix(prefix.as_ref());
        Iter::new(self, Bounds { lower, upper })
    }
}

/// The smallest key behind all that begin with `prefix`; `None` when there is none.
fn behind_prefix(prefix: &[u8]) -> Option<Key> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let (kept, _) = prefix.split_at(last + 1);
    let mut upper = kept.to_vec();
    *upper.last_mut()? += 1;
    Some(upper.into())
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("name", &self.name).finish_non_exhaustive()
    }
}
