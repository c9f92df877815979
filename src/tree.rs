//! A named tree.

use std::ops::RangeBounds;
use std::sync::Arc;

use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::catalog_image::PageOptions;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::{Msn, Op, Record, Sight, TreeId, encode_record};

use crate::batch::{check, check_range};
use crate::commit::Durability;
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::iter::Iter;
use crate::keys::{bounds_of, bounds_of_prefix, within_key_length};
use crate::layers::Layers;
use crate::read;
use crate::slice::Slice;
use crate::view::View;

/// An ordered map from byte strings to byte strings, one of any number in a database.
///
/// Keys have 0 to 65 535 bytes and are ordered as bytes; values have up to 64 MiB, or an eighth of
/// the cache where that is less. Changes are blind: they read nothing, and one costs one message
/// however large the tree is. They are [`Durability::Buffered`]; use a [`Batch`](crate::Batch) for
/// more. A handle to a tree that was dropped fails in every call; it is never another tree's.
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

    /// The name under which the tree was opened; it may have been renamed since.
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

    /// Merges `operand` into the value of `key`, as the operator says that the tree was opened with
    /// (see [`merge`](crate::merge)). One message, no read.
    ///
    /// # Errors
    /// When the tree has no operator, the key or operand is too large, the disk is full, or the log
    /// cannot be written. What the operator thinks of the operand shows when the key is read.
    pub fn merge(&self, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) -> Result<()> {
        self.write(key.as_ref(), Op::Merge(operand.as_ref()))
    }

    /// Removes all keys in `range`. One message, no read, however many keys there are; their space
    /// is free again once the message has reached the leaves and a checkpoint was taken.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// for key in ["a", "b", "c"] {
    ///     tree.insert(key, "")?;
    /// }
    /// tree.remove_range("a".."c")?;
    /// assert_eq!(tree.iter().count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When an end of the range is longer than any key, the disk is full, or the log cannot be
    /// written.
    pub fn remove_range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<()> {
        self.write_range(bounds_of(&range))
    }

    /// Removes all keys that begin with `prefix`. One message, like [`Tree::remove_range`].
    ///
    /// # Errors
    /// As for [`Tree::remove_range`].
    pub fn remove_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<()> {
        self.write_range(bounds_of_prefix(prefix.as_ref()))
    }

    /// Removes all keys: a [`Tree::remove_range`] over everything. One message, no read, however
    /// many keys there are; snapshots and iterators that are older go on seeing them. The space is
    /// free again after a [`Database::checkpoint`] that finds no such reader.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// tree.insert("a", "")?;
    /// tree.truncate()?;
    /// assert_eq!(tree.first()?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the disk is full or the log cannot be written.
    pub fn truncate(&self) -> Result<()> {
        self.write_range(Bounds::all())
    }

    /// Moves everything that waits for the keys in `range` into the leaves, and drops what nobody
    /// needs there: old versions, deletes, operands that can be merged. Runs on this thread; costs
    /// a rewrite of what is concerned. Space is free again after a checkpoint.
    ///
    /// # Errors
    /// As for [`Daemon::drain`](crate::Daemon::drain).
    pub fn compact<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<()> {
        self.check_live()?;
        self.db.engine().compact(self.id, &bounds_of(&range))
    }

    /// How its pages are built; an error when it was dropped.
    pub(crate) fn pages(&self) -> Result<PageOptions> {
        let engine = self.db.engine();
        engine.check_open()?;
        let view = engine.views.load();
        let known = view.forest.trees.get(&self.id);
        let dropped = || Error::new(Kind::TreeDropped(self.name.to_string()));
        known.map(|known| known.options.pages).ok_or_else(dropped)
    }

    /// Refuses to go on with a tree that was dropped.
    pub(crate) fn check_live(&self) -> Result<()> {
        let engine = self.db.engine();
        engine.check_open()?;
        let is_live = engine.views.load().forest.trees.contains_key(&self.id);
        if is_live { Ok(()) } else { Err(Error::new(Kind::TreeDropped(self.name.to_string()))) }
    }

    /// Refuses to read a tree that a reader at `msn` sees dropped. The MSN is taken after the view.
    pub(crate) fn seen<'v>(&self, view: &'v View, msn: Msn) -> Result<&'v CatalogTree> {
        let gone = || Error::new(Kind::TreeDropped(self.name.to_string()));
        view.forest.tree_at(self.id, msn).ok_or_else(gone)
    }

    /// Whether merges can be taken.
    pub(crate) fn has_operator(&self) -> bool {
        let view = self.db.engine().views.load();
        view.forest.trees.get(&self.id).is_some_and(|known| known.operator.is_some())
    }

    fn write_range(&self, bounds: Bounds) -> Result<()> {
        check_range(&bounds)?;
        self.check_live()?;
        let Bounds { lower, upper } = within_key_length(bounds);
        let engine = self.db.engine();
        if upper.as_ref().is_some_and(|upper| *upper <= lower) {
            return Ok(());
        }
        let record = Record::DeleteRange { tree: self.id, lower: &lower, upper: upper.as_deref() };
        let bytes = lower.len() + upper.as_ref().map_or(0, |upper| upper.len()) + 32;
        engine.commit(bytes, Durability::Buffered, &|out| encode_record(out, &record))
    }

    fn write(&self, key: &[u8], op: Op<'_>) -> Result<()> {
        let engine = self.db.engine();
        check(self, key, op)?;
        self.check_live()?;
        let record = Record::Write { tree: self.id, key, op };
        let bytes = key.len() + op.payload().len() + 32;
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
        let visible = engine.views.visible();
        let known = self.seen(&view, visible)?;
        let (layers, sight) = (Layers::of(&view), Sight::at(visible));
        read::get(&engine.table, &layers, known, key.as_ref(), sight)
    }

    /// The values of several keys, in the order of the keys; all of one moment. Costs what
    /// [`Tree::get`] costs, for each.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// tree.insert("oak", "1")?;
    /// let found = tree.multi_get(["beech", "oak"])?;
    /// assert_eq!(found[0], None);
    /// assert_eq!(found[1].as_deref(), Some(&b"1"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Tree::get`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Slice>>> {
        self.at(&self.db).multi_get(keys)
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
        Iter::new(self, bounds_of(&range))
    }

    /// The rows whose keys begin with `prefix`, in key order, as they are now; also backwards.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        Iter::new(self, bounds_of_prefix(prefix.as_ref()))
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("name", &self.name).finish_non_exhaustive()
    }
}
