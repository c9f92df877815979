//! One way to read, whatever the moment.

use std::ops::RangeBounds;

use crate::cursor::Cursor;
use crate::database::Database;
use crate::error::Result;
use crate::iter::Iter;
use crate::slice::Slice;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use crate::tree::Tree;
use crate::tree_at::TreeAt;

/// The moment that is read at.
#[derive(Clone, Copy)]
pub(crate) enum Moment<'r> {
    /// Whatever is visible at each call.
    Latest(&'r Database),
    Snapshot(&'r Snapshot),
    Transaction(&'r Transaction),
}

/// Reads any tree of a database at one moment: its latest state ([`Database`]), a [`Snapshot`], or
/// the inside of a [`Transaction`], its own changes included.
///
/// Code that takes `&impl Read` works with all three:
///
/// ```
/// use sapwood::{Read, Result, Tree};
///
/// fn wealth(state: &impl Read, accounts: &Tree) -> Result<u64> {
///     let amounts = state.iter(accounts).map(|row| Ok(row?.1[0] as u64));
///     amounts.sum()
/// }
///
/// # fn main() -> Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let accounts = db.tree("accounts")?;
/// accounts.insert("ann", [7])?;
/// let mut tx = db.begin()?;
/// tx.insert(&accounts, "bob", [5])?;
/// assert_eq!((wealth(&db, &accounts)?, wealth(&tx, &accounts)?), (7, 12));
/// assert_eq!(wealth(&db.snapshot(), &accounts)?, 7);
/// # Ok(())
/// # }
/// ```
///
/// Reads fail when a page cannot be read or is damaged, when the tree belongs to another database,
/// or the database is closed.
pub trait Read {
    /// `tree` at this moment.
    fn at<'r>(&'r self, tree: &'r Tree) -> TreeAt<'r>;

    /// The value of `key`, see [`Tree::get`].
    ///
    /// # Errors
    /// See [`Read`].
    fn get(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.at(tree).get(key)
    }

    /// Whether `key` is there, see [`Tree::contains_key`].
    ///
    /// # Errors
    /// See [`Read`].
    fn contains_key(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<bool> {
        self.at(tree).contains_key(key)
    }

    /// The values of several keys at one moment, see [`Tree::multi_get`].
    ///
    /// # Errors
    /// See [`Read`].
    fn multi_get<K: AsRef<[u8]>>(
        &self,
        tree: &Tree,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Slice>>> {
        self.at(tree).multi_get(keys)
    }

    /// The smallest key with its value.
    ///
    /// # Errors
    /// See [`Read`].
    fn first(&self, tree: &Tree) -> Result<Option<(Slice, Slice)>> {
        self.at(tree).first()
    }

    /// The largest key with its value.
    ///
    /// # Errors
    /// See [`Read`].
    fn last(&self, tree: &Tree) -> Result<Option<(Slice, Slice)>> {
        self.at(tree).last()
    }

    /// All rows in key order; also backwards.
    fn iter(&self, tree: &Tree) -> Iter {
        self.at(tree).iter()
    }

    /// The rows whose keys lie in `range`, in key order; also backwards.
    fn range<K: AsRef<[u8]>>(&self, tree: &Tree, range: impl RangeBounds<K>) -> Iter {
        self.at(tree).range(range)
    }

    /// The rows whose keys begin with `prefix`, in key order; also backwards.
    fn prefix(&self, tree: &Tree, prefix: impl AsRef<[u8]>) -> Iter {
        self.at(tree).prefix(prefix)
    }

    /// A cursor over the rows as they are at this moment, see [`Cursor`].
    fn cursor(&self, tree: &Tree) -> Cursor {
        self.at(tree).cursor()
    }
}

impl Read for Database {
    fn at<'r>(&'r self, tree: &'r Tree) -> TreeAt<'r> {
        TreeAt::new(tree, Moment::Latest(self))
    }
}
