//! A tree at one moment.

use std::ops::RangeBounds;
use std::sync::Arc;

use sapwood_serialize::run::Bounds;

use crate::cursor::Cursor;
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::iter::{Iter, Keys};
use crate::keys::{bounds_of, bounds_of_prefix};
use crate::moment::{Moment, Read};
use crate::reader::Reader;
use crate::slice::Slice;
use crate::tree::Tree;

/// A tree as a snapshot or a transaction sees it, from [`Tree::at`]. Its methods are those of
/// [`Tree`] and cost the same.
#[derive(Clone, Copy)]
pub struct TreeAt<'r> {
    tree: &'r Tree,
    moment: Moment<'r>,
}

impl<'r> TreeAt<'r> {
    pub(crate) fn new(tree: &'r Tree, moment: Moment<'r>) -> TreeAt<'r> {
        TreeAt { tree, moment }
    }

    /// The database that the moment is one of.
    fn db(&self) -> &'r Database {
        match self.moment {
            Moment::Latest(db) => db,
            Moment::Snapshot(snapshot) => snapshot.db(),
            Moment::Transaction(transaction) => transaction.db(),
        }
    }

    fn check_ours(&self) -> Result<()> {
        let ours = Arc::ptr_eq(&self.db().0, &self.tree.db().0);
        if ours { Ok(()) } else { Err(Error::new(Kind::OtherDatabase)) }
    }

    /// Who reads here; an error when the tree is of another database.
    pub(crate) fn reader(&self) -> Result<Reader> {
        self.check_ours()?;
        match self.moment {
            Moment::Latest(_) => Ok(Reader::at(self.db().engine().register())),
            Moment::Snapshot(snapshot) => Ok(snapshot.reader()),
            Moment::Transaction(transaction) => transaction.reader(),
        }
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        match self.moment {
            Moment::Latest(_) => {
                self.check_ours()?;
                self.tree.get(key)
            }
            _ => self.reader()?.get(self.tree, key.as_ref()),
        }
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// The values of several keys, in the order of the keys; all of one moment.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Slice>>> {
        let reader = self.reader()?;
        let get = |key: K| reader.get(self.tree, key.as_ref());
        keys.into_iter().map(get).collect()
    }

    /// The smallest key with its value.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn first(&self) -> Result<Option<(Slice, Slice)>> {
        self.within(Bounds::all(), 1).next().transpose()
    }

    /// The largest key with its value.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn last(&self) -> Result<Option<(Slice, Slice)>> {
        self.within(Bounds::all(), 1).next_back().transpose()
    }

    /// All rows in key order; also backwards.
    pub fn iter(&self) -> Iter {
        self.rows(Bounds::all())
    }

    /// The rows whose keys lie in `range`, in key order; also backwards.
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Iter {
        self.rows(bounds_of(&range))
    }

    /// The rows whose keys begin with `prefix`, in key order; also backwards.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        self.rows(bounds_of_prefix(prefix.as_ref()))
    }

    /// All keys in their order, without looking at values; also backwards.
    pub fn keys(&self) -> Keys {
        self.iter().keys()
    }

    /// A cursor over the rows. Reads nothing yet.
    pub fn cursor(&self) -> Cursor {
        Cursor::over(self.tree, self.reader())
    }

    fn rows(&self, bounds: Bounds) -> Iter {
        self.within(bounds, Iter::ROWS_FIRST)
    }

    fn within(&self, bounds: Bounds, rows: usize) -> Iter {
        Iter::over(self.tree, self.reader(), bounds, rows)
    }
}

impl Tree {
    /// This tree as `moment` sees it: a [`Snapshot`](crate::Snapshot), a
    /// [`Transaction`](crate::Transaction), or the [`Database`] for its latest state.
    pub fn at<'r>(&'r self, moment: &'r impl Read) -> TreeAt<'r> {
        moment.at(self)
    }
}

impl std::fmt::Debug for TreeAt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TreeAt").field("tree", &self.tree).finish_non_exhaustive()
    }
}
