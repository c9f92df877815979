//! Iterators over rows.

use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::run::Bounds;

use crate::error::{Error, Result};
use crate::pending::Pending;
use crate::reader::Reader;
use crate::scan::{self, Request, Row, Wanted};
use crate::slice::Slice;
use crate::transaction::RangeRead;
use crate::tree::Tree;

/// Rows of a batch at most.
pub(crate) const ROWS_MOST: usize = 2048;
/// A batch ends behind the row that reaches this many bytes.
pub(crate) const BYTES_MOST: usize = 512 << 10;

/// Rows in key order, from both ends, as they were when the iterator was made.
///
/// It owns what it needs and can outlive everything else. It sees no later change; while it lives,
/// old versions of changed rows are kept for it, and some pages for the next rows. A row whose
/// operands cannot be merged is an error ([`Error::is_merge`](crate::Error::is_merge)) in its place
/// among the others; any other error ends it.
pub struct Iter {
    tree: Tree,
    /// Who reads; `None` once nobody can any more and the error was told.
    reader: Option<Result<Reader>>,
    /// What a serializable transaction has seen here so far.
    noted: Option<RangeRead>,
    /// What no end has gathered yet.
    rest: Option<Bounds>,
    front: Pending,
    back: Pending,
    /// What the next batch is to have.
    rows: usize,
    /// What all batches so far were to have.
    gathered: usize,
    wanted: Wanted,
}

impl Iter {
    /// Rows of the first batch; each next one has as many as all before it, so that no scan gathers
    /// more than twice what it needs, and a page.
    pub(crate) const ROWS_FIRST: usize = 32;

    pub(crate) fn new(tree: &Tree, bounds: Bounds) -> Iter {
        Iter::with_rows(tree, bounds, Iter::ROWS_FIRST)
    }

    /// An iterator whose user will probably want no more than `rows`.
    pub(crate) fn with_rows(tree: &Tree, bounds: Bounds, rows: usize) -> Iter {
        Iter::over(tree, Ok(Reader::at(tree.db().engine().register())), bounds, rows)
    }

    /// The same for a reader.
    pub(crate) fn over(tree: &Tree, reader: Result<Reader>, bounds: Bounds, rows: usize) -> Iter {
        let noted = reader.as_ref().ok().and_then(|reader| reader.noted.as_ref());
        let noted = noted.map(|noted| noted.open_range(tree.id(), &bounds));
        let (tree, rest) = (tree.clone(), Some(bounds));
        let (front, back) = (Pending::new(Direction::Forward), Pending::new(Direction::Backward));
        let reader = Some(reader);
        let (gathered, wanted) = (0, Wanted::Rows);
        Iter { tree, reader, noted, rest, front, back, rows, gathered, wanted }
    }

    /// The keys alone, without looking at values from here on: operands are not merged, so that a
    /// key is there even where its value cannot be told.
    pub fn keys(self) -> Keys {
        Keys(Iter { wanted: Wanted::Keys, ..self })
    }

    /// Gathers the next rows at one end, until there are some, which the reader may not see, or
    /// none are left.
    fn gather(&mut self, direction: Direction) -> Result<()> {
        while let Some(bounds) = self.rest.take() {
            let engine = self.tree.db().engine();
            engine.check_open()?;
            let Some(Ok(reader)) = &self.reader else { return Ok(()) };
            let request = Request {
                tree: self.tree.id(),
                bounds: &bounds,
                direction,
                sight: reader.sight(),
                wanted: self.wanted,
                rows: self.rows,
                bytes: BYTES_MOST,
            };
            let sink = match direction {
                Direction::Forward => &mut self.front,
                Direction::Backward => &mut self.back,
            };
            self.rest = reader.on_layers(engine, |layers| {
                self.tree.seen(layers.view, request.sight.committed())?;
                scan::batch(&engine.table, layers, &request, sink)
            })?;
            self.gathered += self.rows;
            self.rows = self.gathered.min(ROWS_MOST);
            if !sink.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next row, when none that was gathered at this end is left.
    fn gather_row(&mut self, direction: Direction) -> Result<Option<Row>> {
        loop {
            self.gather(direction)?;
            let (near, far) = match direction {
                Direction::Forward => (&mut self.front, &mut self.back),
                Direction::Backward => (&mut self.back, &mut self.front),
            };
            if let Some(row) = near.take(direction) {
                return Ok(Some(row));
            }
            if self.rest.is_none() {
                return Ok(far.take(direction));
            }
        }
    }

    /// The next row. One of a page that was kept is made right where the caller wants it: to hand
    /// it on took a tenth of a short scan's time (note 26).
    #[inline]
    fn pull(&mut self, direction: Direction) -> Option<Row> {
        if self.noted.is_none()
            && let Some(found) = self.end(direction).take_kept(direction)
        {
            return Some(found.into_row());
        }
        self.pull_slowly(direction)
    }

    #[inline(never)]
    fn pull_slowly(&mut self, direction: Direction) -> Option<Row> {
        if let Err(error) = self.reader.as_ref()? {
            let error = error.clone();
            return Some(Err(self.ended_by(error)));
        }
        let row = match self.end(direction).take(direction) {
            Some(row) => Some(row),
            None => match self.gather_row(direction) {
                Ok(row) => row,
                Err(error) => return Some(Err(self.ended_by(error))),
            },
        };
        if let Some(noted) = &mut self.noted {
            noted.passed(direction, row.as_ref());
        }
        row
    }

    /// Nothing comes behind the error, not even what was gathered at the other end.
    fn ended_by(&mut self, error: Error) -> Error {
        self.reader = None;
        self.front = Pending::new(Direction::Forward);
        self.back = Pending::new(Direction::Backward);
        error
    }

    /// The end at which rows are taken in the direction.
    fn end(&mut self, direction: Direction) -> &mut Pending {
        match direction {
            Direction::Forward => &mut self.front,
            Direction::Backward => &mut self.back,
        }
    }
}

impl Iterator for Iter {
    type Item = Result<(Slice, Slice)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.pull(Direction::Forward)
    }
}

impl DoubleEndedIterator for Iter {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        self.pull(Direction::Backward)
    }
}

/// Keys in their order, from both ends, from [`Iter::keys`] or [`Tree::keys`].
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
/// tree.insert("oak", "ring-porous")?;
/// tree.insert("beech", "diffuse-porous")?;
/// let keys: Vec<_> = tree.keys().collect::<sapwood::Result<_>>()?;
/// assert_eq!(keys, ["beech", "oak"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Keys(Iter);

impl Iterator for Keys {
    type Item = Result<Slice>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|(key, _)| key))
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(self.0.next_back()?.map(|(key, _)| key))
    }
}

impl Tree {
    /// All keys in their order, as they are now, without looking at values; also backwards. For the
    /// keys of a range, [`Iter::keys`].
    pub fn keys(&self) -> Keys {
        self.iter().keys()
    }
}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("tree", &self.tree).finish_non_exhaustive()
    }
}
