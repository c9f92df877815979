//! Iterators over rows.

use std::collections::VecDeque;

use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::run::Bounds;

use crate::error::Result;
use crate::reader::Reader;
use crate::scan::{self, Request, Row};
use crate::slice::Slice;
use crate::transaction::RangeRead;
use crate::tree::Tree;

/// Rows of a batch at most.
const ROWS_MOST: usize = 2048;
/// A batch ends behind the row that reaches this many bytes.
const BYTES_MOST: usize = 512 << 10;

/// Rows in key order, from both ends, as they were when the iterator was made.
///
/// It owns what it needs and can outlive everything else. It sees no later change; while it lives,
/// old versions of changed rows are kept for it. A row whose operands cannot be merged is an error
/// ([`Error::is_merge`](crate::Error::is_merge)) in its place among the others; any other error
/// ends it.
pub struct Iter {
    tree: Tree,
    /// Who reads; `None` once nobody can any more and the error was told.
    reader: Option<Result<Reader>>,
    /// What a serializable transaction has seen here so far.
    noted: Option<RangeRead>,
    /// What no end has gathered yet.
    rest: Option<Bounds>,
    front: VecDeque<Row>,
    back: VecDeque<Row>,
    rows: usize,
}

impl Iter {
    /// Rows of the first batch; each next one has four times as many.
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
        let (front, back) = (VecDeque::new(), VecDeque::new());
        Iter { tree, reader: Some(reader), noted, rest, front, back, rows }
    }

    /// Gathers the next rows at one end, until there are some or none are left.
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
                rows: self.rows,
                bytes: BYTES_MOST,
            };
            let batch = reader.on_layers(engine, |layers| {
                self.tree.check_seen(layers.view, request.sight.committed())?;
                scan::batch(&engine.table, layers, &request)
            })?;
            self.rest = batch.rest;
            self.rows = (self.rows * 4).min(ROWS_MOST);
            if !batch.rows.is_empty() {
                match direction {
                    Direction::Forward => self.front.extend(batch.rows),
                    Direction::Backward => self.back.extend(batch.rows),
                }
                return Ok(());
            }
        }
        Ok(())
    }

    fn pull(&mut self, direction: Direction) -> Option<Result<(Slice, Slice)>> {
        if let Err(error) = self.reader.as_ref()? {
            let error = error.clone();
            self.reader = None;
            return Some(Err(error));
        }
        let near_is_empty = match direction {
            Direction::Forward => self.front.is_empty(),
            Direction::Backward => self.back.is_empty(),
        };
        if near_is_empty && let Err(error) = self.gather(direction) {
            self.reader = None;
            return Some(Err(error));
        }
        let row = match direction {
            Direction::Forward => self.front.pop_front().or_else(|| self.back.pop_back()),
            Direction::Backward => self.back.pop_front().or_else(|| self.front.pop_back()),
        };
        if let Some(noted) = &mut self.noted {
            noted.passed(direction, row.as_ref());
        }
        row
    }
}

impl Iterator for Iter {
    type Item = Result<(Slice, Slice)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pull(Direction::Forward)
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.pull(Direction::Backward)
    }
}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("tree", &self.tree).finish_non_exhaustive()
    }
}
