//! Cursors: a place in a tree that can be moved about.
//!
//! ```text
//! lower [ row | row | row | row ] upper       rows gathered: all there are between two cuts
//!           gap ^     ^ at a row
//! ```
//!
//! 1. The rows between the cuts are all that the cursor's reader sees there; moving within them
//!    reads nothing, whichever way.
//! 2. Beyond a cut the next rows are gathered by key, few after a seek and more from batch to
//!    batch, and take the place of the old ones. No view and no page is held in between.
//! 3. A gathering that fails leaves the cursor where it was.

mod rows;
mod trail;

use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;

use crate::error::{Error, Result};
use crate::iter::{BYTES_MOST, Iter, ROWS_MOST};
use crate::keys::successor;
use crate::reader::Reader;
use crate::scan::{self, Request, Wanted};
use crate::tree::Tree;
use rows::{Rows, Value};
use trail::Trail;

/// A place between keys: before this key, or behind all.
type Cut = Option<Key>;

/// The rows that are gathered when the cursor goes on from where it was put.
const ROWS_SECOND: usize = 8;

/// Which row a cursor looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The row of the key itself. Costs what [`Tree::get`] costs.
    Exact,
    /// The row of the key, or else the next larger one.
    AtOrAfter,
    /// The row of the key, or else the next smaller one.
    AtOrBefore,
}

/// Where [`Cursor::search_near`] has put a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    /// At the row of the key.
    Exact,
    /// At the next larger key.
    After,
    /// At the next smaller key, because there is no larger one.
    Before,
    /// Nowhere: there is no row at all.
    Empty,
}

/// A place in a tree that can be moved about, from [`Tree::cursor`], [`TreeAt::cursor`] or
/// [`Read::cursor`].
///
/// It sees the tree as it was when the cursor was made, and no later change; inside a transaction
/// that includes the transaction's own changes up to then. (A [`TxCursor`] changes rows, and sees
/// what it does.) While it lives, old versions of changed rows are kept for it. It owns what it
/// needs and can outlive everything else.
///
/// A cursor stands at a row, or in the gap between two. It can turn round anywhere: `next` goes to
/// the row behind, `prev` to the row before, from wherever it stands. Behind the last row `next`
/// stays, and `prev` gives the last row; before the first row it is the other way round. A cursor
/// that is new or was [`reset`](Cursor::reset) stands nowhere: `next` begins with the first row,
/// `prev` with the last.
///
/// What it returns borrows from the cursor: moving on allocates and copies nothing for a row. Rows
/// are gathered few at first, then more and more; a seek gathers one. For them a cursor keeps up to
/// about 2 MiB, or more where single rows are as large.
///
/// ```
/// use sapwood::Seek;
///
/// # fn main() -> sapwood::Result<()> {
/// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
/// for (key, value) in [("ash", "1"), ("beech", "2"), ("oak", "3")] {
///     tree.insert(key, value)?;
/// }
/// let mut cursor = tree.cursor();
/// assert!(cursor.seek("b", Seek::AtOrAfter)?);
/// assert_eq!(cursor.key(), Some(&b"beech"[..]));
/// assert_eq!(cursor.next()?, Some((&b"oak"[..], &b"3"[..])));
/// assert_eq!(cursor.next()?, None);
/// assert_eq!(cursor.prev()?, Some((&b"oak"[..], &b"3"[..])));
/// assert_eq!(cursor.prev_key()?, Some(&b"beech"[..]));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Every move that reads fails when a page cannot be read or is damaged, when the tree belongs to
/// another database, or the database is closed; the cursor then stands where it stood, or in the
/// gap where it was to seek, and the same can be tried again. A row whose operands cannot be merged
/// is there, with its key; what asks for its value returns that error ([`Error::is_merge`]).
///
/// [`TreeAt::cursor`]: crate::TreeAt::cursor
/// [`Read::cursor`]: crate::Read::cursor
/// [`TxCursor`]: crate::TxCursor
pub struct Cursor {
    tree: Tree,
    /// Who reads; an error, which every move returns, when nobody can.
    reader: Result<Reader>,
    /// What a serializable transaction notes.
    trail: Option<Trail>,
    rows: Rows,
    /// What `rows` hold.
    held: Wanted,
    lower: Cut,
    upper: Cut,
    place: Place,
    /// Where the next rows are gathered.
    spare: Rows,
    /// How many of them.
    batch: usize,
    /// In which direction the last ones were.
    direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    At(usize),
    /// Before the row of this index.
    Gap(usize),
}

/// Moving. For errors see [`Cursor`].
impl Cursor {
    pub(crate) fn over(tree: &Tree, reader: Result<Reader>) -> Cursor {
        let noted = reader.as_ref().ok().and_then(|reader| reader.noted.clone());
        Cursor {
            tree: tree.clone(),
            trail: noted.map(|noted| Trail::new(noted, tree.id())),
            reader,
            rows: Rows::default(),
            held: Wanted::Rows,
            lower: bottom(),
            upper: bottom(),
            place: Place::Nowhere,
            spare: Rows::default(),
            batch: Iter::ROWS_FIRST,
            direction: Direction::Forward,
        }
    }

    /// Goes to a row at or near `key`; returns whether there is one. If not, the cursor stands in
    /// the gap where the row would be: `next` goes on with the next larger key, `prev` with the
    /// next smaller one. Reads no more than it needs for that one row.
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn seek(&mut self, key: impl AsRef<[u8]>, seek: Seek) -> Result<bool> {
        let key = key.as_ref();
        match seek {
            Seek::Exact => self.find(key),
            Seek::AtOrAfter => {
                self.put(Some(key.into()));
                self.step(Direction::Forward, Wanted::Rows)
            }
            Seek::AtOrBefore => {
                self.put(Some(successor(key)));
                self.step(Direction::Backward, Wanted::Rows)
            }
        }
    }

    /// Goes to the row of `key`; where there is none, to the next larger one; where there is none
    /// either, to the next smaller one.
    ///
    /// ```
    /// use sapwood::Near;
    ///
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// tree.insert("beech", "")?;
    /// let mut cursor = tree.cursor();
    /// assert_eq!(cursor.search_near("ash")?, Near::After);
    /// assert_eq!(cursor.search_near("oak")?, Near::Before);
    /// assert_eq!(cursor.key(), Some(&b"beech"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn search_near(&mut self, key: impl AsRef<[u8]>) -> Result<Near> {
        let key = key.as_ref();
        if self.seek(key, Seek::AtOrAfter)? {
            return Ok(if self.key() == Some(key) { Near::Exact } else { Near::After });
        }
        let is_found = self.step(Direction::Backward, Wanted::Rows)?;
        Ok(if is_found { Near::Before } else { Near::Empty })
    }

    /// Goes to the smallest key.
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn first(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.put(bottom());
        self.next()
    }

    /// Goes to the largest key.
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn last(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        self.put(None);
        self.prev()
    }

    /// Goes to the next larger key; `None` behind the last one.
    ///
    /// # Errors
    /// See [`Cursor`].
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from the cursor")]
    pub fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let is_found = self.step(Direction::Forward, Wanted::Rows)?;
        if is_found { self.row() } else { Ok(None) }
    }

    /// Goes to the next smaller key; `None` before the first one.
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn prev(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let is_found = self.step(Direction::Backward, Wanted::Rows)?;
        if is_found { self.row() } else { Ok(None) }
    }

    /// Like [`Cursor::next`], without looking at values.
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn next_key(&mut self) -> Result<Option<&[u8]>> {
        let is_found = self.step(Direction::Forward, Wanted::Keys)?;
        Ok(if is_found { self.key() } else { None })
    }

    /// Like [`Cursor::prev`], without looking at values.
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn prev_key(&mut self) -> Result<Option<&[u8]>> {
        let is_found = self.step(Direction::Backward, Wanted::Keys)?;
        Ok(if is_found { self.key() } else { None })
    }

    /// The key of the row at which the cursor stands.
    pub fn key(&self) -> Option<&[u8]> {
        self.rows.key(self.index()?)
    }

    /// The value of the row at which the cursor stands. It is read now where only the key was.
    ///
    /// # Errors
    /// See [`Cursor`].
    pub fn value(&mut self) -> Result<Option<&[u8]>> {
        Ok(self.row()?.map(|(_, value)| value))
    }

    /// Lets go of the row: the cursor stands nowhere, as a new one does. It sees what it saw.
    pub fn reset(&mut self) {
        self.place = Place::Nowhere;
        self.rows.clear();
        (self.lower, self.upper) = (bottom(), bottom());
    }
}

/// The machinery.
impl Cursor {
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The row at which the cursor stands.
    fn index(&self) -> Option<usize> {
        match self.place {
            Place::At(index) => Some(index),
            Place::Nowhere | Place::Gap(_) => None,
        }
    }

    fn row(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let Some(index) = self.index() else { return Ok(None) };
        let index = match self.rows.value(index) {
            Some(Value::Unread) => self.read_value(index)?,
            _ => index,
        };
        match (self.rows.key(index), self.rows.value(index)) {
            (_, Some(Value::Failed(error))) => Err(error.clone()),
            (Some(key), Some(Value::Known(value))) => Ok(Some((key, value))),
            _ => Ok(None),
        }
    }

    /// Reads the value of a row of which only the key is known; returns where the row is then.
    fn read_value(&mut self, index: usize) -> Result<usize> {
        let reader = self.reader.as_ref().map_err(Error::clone)?;
        let key = self.rows.key(index).unwrap_or_default();
        match reader.get(&self.tree, key) {
            Ok(Some(value)) => self.rows.set(index, Ok(&value)),
            Ok(None) => {}
            Err(error) if error.is_merge() => self.rows.set(index, Err(error)),
            Err(error) => return Err(error),
        }
        Ok(self.slim(index))
    }

    /// Puts the cursor into the gap at `cut`; keeps the rows if it is among them.
    fn put(&mut self, cut: Cut) {
        if is_up_to(&self.lower, &cut) && is_up_to(&cut, &self.upper) {
            self.place = Place::Gap(self.rows.behind(cut.as_deref()));
        } else {
            self.rows.clear();
            (self.lower, self.upper) = (cut.clone(), cut.clone());
            self.place = Place::Gap(0);
        }
        self.batch = 1;
        if let Some(trail) = &mut self.trail {
            trail.begin(cut);
        }
    }

    /// Puts the cursor at the row of `key`, or into the gap where it would be.
    fn find(&mut self, key: &[u8]) -> Result<bool> {
        self.put(Some(key.into()));
        let reader = self.reader.as_ref().map_err(Error::clone)?;
        let behind = Some(successor(key));
        if is_up_to(&behind, &self.upper) {
            if let Some(noted) = &reader.noted {
                noted.note_key(self.tree.id(), key);
            }
            return Ok(self.enter(key));
        }
        let value = match reader.get(&self.tree, key) {
            Ok(None) => None,
            Ok(Some(value)) => Some(Ok(value)),
            Err(error) if error.is_merge() => Some(Err(error)),
            Err(error) => return Err(error),
        };
        self.narrow(key);
        let Some(value) = value else { return Ok(false) };
        self.rows.insert(0, key);
        self.rows.set(0, value.as_deref().map_err(Error::clone));
        self.place = Place::At(0);
        Ok(true)
    }

    /// From the gap before `key` to its row, if it is held.
    fn enter(&mut self, key: &[u8]) -> bool {
        let Place::Gap(index) = self.place else { return false };
        let is_there = self.rows.key(index) == Some(key);
        if is_there {
            self.place = Place::At(index);
        }
        is_there
    }

    /// Holds nothing but what is at `key`: no row, for now.
    fn narrow(&mut self, key: &[u8]) {
        self.rows.clear();
        (self.lower, self.upper) = (Some(key.into()), Some(successor(key)));
        (self.held, self.place) = (Wanted::Rows, Place::Gap(0));
    }

    /// Goes to the next row in `direction`; returns whether there is one.
    fn step(&mut self, direction: Direction, wanted: Wanted) -> Result<bool> {
        if self.place == Place::Nowhere {
            self.put(if direction == Direction::Forward { bottom() } else { None });
            self.batch = Iter::ROWS_FIRST;
        }
        while let Some(from) = self.enter_next(direction, wanted)? {
            self.gather(direction, wanted, from)?;
        }
        let key = self.index().and_then(|index| self.rows.key(index));
        if let Some(trail) = &mut self.trail {
            trail.pass(direction, key);
        }
        Ok(key.is_some())
    }

    /// Goes to the next row that is held, or beyond the last one there is; returns from where more
    /// rows are to be gathered, if that is needed first.
    fn enter_next(&mut self, direction: Direction, wanted: Wanted) -> Result<Option<Cut>> {
        self.reader.as_ref().map_err(Error::clone)?;
        let index = match (direction, self.place) {
            (Direction::Forward, Place::At(index)) => Some(index + 1),
            (Direction::Forward, Place::Gap(index)) => Some(index),
            (Direction::Backward, Place::At(index) | Place::Gap(index)) => index.checked_sub(1),
            (_, Place::Nowhere) => None,
        };
        let key = index.and_then(|index| self.rows.key(index));
        let lacks_values = wanted == Wanted::Rows && self.held == Wanted::Keys;
        Ok(match (direction, index, key) {
            (Direction::Forward, _, Some(key)) if lacks_values => Some(Some(key.into())),
            (Direction::Backward, _, Some(key)) if lacks_values => Some(Some(successor(key))),
            (_, Some(index), Some(_)) => {
                self.place = Place::At(index);
                None
            }
            (Direction::Forward, ..) if self.upper.is_none() => {
                self.place = Place::Gap(self.rows.len());
                None
            }
            (Direction::Backward, ..) if self.lower == bottom() => {
                self.place = Place::Gap(0);
                None
            }
            (Direction::Forward, ..) => Some(self.upper.clone()),
            (Direction::Backward, ..) => Some(self.lower.clone()),
        })
    }

    /// Gathers the next rows behind (or before) `from` in place of those that are held.
    fn gather(&mut self, direction: Direction, wanted: Wanted, from: Cut) -> Result<()> {
        let engine = self.tree.db().engine();
        engine.check_open()?;
        let reader = self.reader.as_ref().map_err(Error::clone)?;
        if self.direction != direction {
            self.batch = self.batch.min(ROWS_SECOND);
        }
        let bounds = match direction {
            Direction::Forward => Bounds { lower: from.unwrap_or_default(), upper: None },
            Direction::Backward => Bounds { lower: Key::default(), upper: from },
        };
        let request = Request {
            tree: self.tree.id(),
            bounds: &bounds,
            direction,
            sight: reader.sight(),
            wanted,
            rows: self.batch,
            bytes: BYTES_MOST,
        };
        // A gathering that has failed may have left some.
        self.spare.clear();
        let spare = &mut self.spare;
        let rest = reader.on_layers(engine, |layers| {
            self.tree.seen(layers.view, request.sight.committed())?;
            scan::batch(&engine.table, layers, &request, spare)
        })?;
        self.spare.sort_from(direction);
        std::mem::swap(&mut self.rows, &mut self.spare);
        self.spare.clear();
        (self.lower, self.upper, self.place) = match direction {
            Direction::Forward => (Some(bounds.lower), rest.map(|rest| rest.lower), Place::Gap(0)),
            Direction::Backward => {
                let lower = rest.and_then(|rest| rest.upper).or_else(bottom);
                (lower, bounds.upper, Place::Gap(self.rows.len()))
            }
        };
        (self.held, self.direction) = (wanted, direction);
        self.batch = (4 * self.batch).clamp(ROWS_SECOND, ROWS_MOST);
        Ok(())
    }

    /// Where values were set so often that they take much memory, keeps the row at `index` alone;
    /// returns where it is then.
    fn slim(&mut self, index: usize) -> usize {
        if !self.rows.is_bloated() {
            return index;
        }
        let single = self.rows.single(index);
        let key = single.key(0).unwrap_or_default();
        self.narrow(key);
        (self.rows, self.place) = (single, Place::At(0));
        0
    }
}

/// What a transaction does through its cursor.
impl Cursor {
    /// From here on `reader` reads, which sees the same but for what the cursor was told of.
    pub(crate) fn read_as(&mut self, reader: Result<Reader>) {
        self.reader = reader;
    }

    /// `key` was set to `value`: the cursor goes there.
    pub(crate) fn was_set(&mut self, key: &[u8], value: &[u8]) {
        self.put(Some(key.into()));
        if !is_up_to(&Some(successor(key)), &self.upper) {
            self.narrow(key);
        }
        if let Place::Gap(index) = self.place
            && !self.enter(key)
        {
            self.rows.insert(index, key);
            self.place = Place::At(index);
        }
        if let Some(index) = self.index() {
            self.rows.set(index, Ok(value));
            self.slim(index);
        }
    }

    /// The row at which the cursor stands was removed: the cursor stands in the gap that it left.
    pub(crate) fn was_removed(&mut self) {
        if let Some(index) = self.index() {
            self.rows.remove(index);
            self.place = Place::Gap(index);
        }
    }
}

/// The cut before all keys.
fn bottom() -> Cut {
    Some(Key::default())
}

/// Whether the cut `left` is not behind the cut `right`.
fn is_up_to(left: &Cut, right: &Cut) -> bool {
    match (left, right) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(left), Some(right)) => left <= right,
    }
}

impl Tree {
    /// A cursor over the rows as they are now. Reads nothing yet.
    pub fn cursor(&self) -> Cursor {
        Cursor::over(self, Ok(Reader::at(self.db().engine().register())))
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("tree", &self.tree).finish_non_exhaustive()
    }
}
