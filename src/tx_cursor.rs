//! Cursors of transactions, which change what they stand at.
//!
//! ```text
//! change   -> the transaction's own, as any other -> the cursor's rows: the same change
//! next ... -> own changes on top of the view, the newest included
//! ```

use crate::cursor::{Cursor, Near, Seek};
use crate::error::{Error, Kind, Result};
use crate::moment::Read;
use crate::refusal::Refusal;
use crate::transaction::Transaction;
use crate::tree::Tree;

/// Whether a cursor may set a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// It may; nothing is read.
    Allowed,
    /// It may not: the key is read first.
    Refused,
}

/// A cursor of a transaction, from [`Transaction::cursor_mut`], that also changes rows.
///
/// It moves like a [`Cursor`], and sees what the transaction sees: what was committed when that
/// began, and its own changes, those of the cursor included. The changes are the transaction's:
/// they are checked at once, and made when it commits.
///
/// ```
/// use sapwood::{Overwrite, Seek};
///
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let rings = db.tree("rings")?;
/// rings.insert("2024", "wide")?;
/// rings.insert("2025", "narrow")?;
///
/// let mut tx = db.begin()?;
/// let mut cursor = tx.cursor_mut(&rings);
/// cursor.insert("2026", "wide", Overwrite::Refused)?;
/// assert_eq!(cursor.prev()?, Some((&b"2025"[..], &b"narrow"[..])));
/// cursor.update("wide")?;
/// assert!(cursor.seek("2024", Seek::Exact)?);
/// cursor.remove()?;
/// assert_eq!(cursor.next()?, Some((&b"2025"[..], &b"wide"[..])));
/// let refused = cursor.insert("2026", "narrow", Overwrite::Refused).unwrap_err();
/// assert!(refused.is_already_exists());
///
/// tx.commit()?;
/// assert_eq!(rings.iter().count(), 2);
/// # Ok(())
/// # }
/// ```
pub struct TxCursor<'tx> {
    tx: &'tx mut Transaction,
    cursor: Cursor,
    /// Whether the cursor's reader does not see the newest change yet.
    is_behind: bool,
    /// The key of the row that was removed last, while the cursor stands where it was.
    removed: Option<Box<[u8]>>,
}

/// Cursors. They see the changes so far, like everything that reads in a transaction.
impl Transaction {
    /// A cursor over the rows as the transaction sees them now; of changes that are made later it
    /// sees nothing. See [`Cursor`].
    pub fn cursor(&self, tree: &Tree) -> Cursor {
        self.at(tree).cursor()
    }

    /// A cursor that also changes rows, and sees its changes. See [`TxCursor`].
    pub fn cursor_mut(&mut self, tree: &Tree) -> TxCursor<'_> {
        let cursor = self.at(tree).cursor();
        TxCursor { tx: self, cursor, is_behind: false, removed: None }
    }
}

/// Moving, as with a [`Cursor`].
impl TxCursor<'_> {
    /// The cursor, about to be moved.
    fn moving(&mut self) -> &mut Cursor {
        self.removed = None;
        self.reading()
    }

    fn reading(&mut self) -> &mut Cursor {
        if self.is_behind {
            self.cursor.read_as(self.tx.reader());
            self.is_behind = false;
        }
        &mut self.cursor
    }

    /// See [`Cursor::seek`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn seek(&mut self, key: impl AsRef<[u8]>, seek: Seek) -> Result<bool> {
        self.moving().seek(key, seek)
    }

    /// See [`Cursor::search_near`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn search_near(&mut self, key: impl AsRef<[u8]>) -> Result<Near> {
        self.moving().search_near(key)
    }

    /// See [`Cursor::first`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn first(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.moving().first()
    }

    /// See [`Cursor::last`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn last(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.moving().last()
    }

    /// See [`Cursor::next`].
    ///
    /// # Errors
    /// See [`Cursor`].
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from the cursor")]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.moving().next()
    }

    /// See [`Cursor::prev`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn prev(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.moving().prev()
    }

    /// See [`Cursor::next_key`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn next_key(&mut self) -> Result<Option<&[u8]>> {
        self.moving().next_key()
    }

    /// See [`Cursor::prev_key`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn prev_key(&mut self) -> Result<Option<&[u8]>> {
        self.moving().prev_key()
    }

    /// See [`Cursor::key`].
    pub fn key(&self) -> Option<&[u8]> {
        self.cursor.key()
    }

    /// See [`Cursor::value`].
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn value(&mut self) -> Result<Option<&[u8]>> {
        self.reading().value()
    }

    /// See [`Cursor::reset`].
    pub fn reset(&mut self) {
        self.moving().reset();
    }
}

/// Changing: each change is one message.
impl TxCursor<'_> {
    /// Sets `key` to `value`, wherever the cursor stands; it then stands at `key`.
    ///
    /// # Errors
    /// When the key is there and must not be overwritten ([`Error::is_already_exists`]); then the
    /// cursor stands at it. Otherwise as for [`Transaction::insert`] and, where the key is read,
    /// for [`Cursor`].
    pub fn insert(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        overwrite: Overwrite,
    ) -> Result<()> {
        let (key, value) = (key.as_ref(), value.as_ref());
        if overwrite == Overwrite::Refused && self.seek(key, Seek::Exact)? {
            let tree = self.cursor.tree().name().to_owned();
            return Err(Error::new(Kind::Refused(Refusal::AlreadyExists {
                tree,
                key: key.into(),
            })));
        }
        self.set(key, value)
    }

    /// Sets the row at which the cursor stands to `value`; the cursor stays there.
    ///
    /// # Errors
    /// When the cursor stands at no row, or has removed it ([`Error::is_not_found`]). Otherwise as
    /// for [`Transaction::insert`].
    pub fn update(&mut self, value: impl AsRef<[u8]>) -> Result<()> {
        let key = self.current()?;
        self.set(&key, value.as_ref())
    }

    /// Removes the row at which the cursor stands. It then stands in the gap that is left: `next`
    /// goes to the row behind, `prev` to the one before.
    ///
    /// # Errors
    /// When the cursor stands at no row, or has removed it already ([`Error::is_not_found`]).
    pub fn remove(&mut self) -> Result<()> {
        let key = self.current()?;
        self.tx.remove(self.cursor.tree(), &key)?;
        self.is_behind = true;
        self.cursor.was_removed();
        self.removed = Some(key);
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.tx.insert(self.cursor.tree(), key, value)?;
        self.is_behind = true;
        self.cursor.was_set(key, value);
        self.removed = None;
        Ok(())
    }

    /// The key of the row at which the cursor stands.
    fn current(&self) -> Result<Box<[u8]>> {
        self.cursor.key().map(Box::from).ok_or_else(|| {
            let tree = self.cursor.tree().name().to_owned();
            Error::new(Kind::Refused(match self.removed.clone() {
                Some(key) => Refusal::NotFound { tree, key },
                None => Refusal::NoRow { tree },
            }))
        })
    }
}

impl std::fmt::Debug for TxCursor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxCursor").field("tree", self.cursor.tree()).finish_non_exhaustive()
    }
}
