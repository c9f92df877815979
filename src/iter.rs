//! Iterators over rows.

use std::collections::VecDeque;

use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::run::Bounds;

use crate::error::{Error, Result};
use crate::scan::{self, Request, Row};
use crate::slice::Slice;
use crate::tree::Tree;
use crate::view::Registration;

/// Rows of the first batch; each next one has four times as many.
const ROWS_FIRST: usize = 32;
/// Rows of a batch at most.
const ROWS_MOST: usize = 2048;
/// A batch ends behind the row that reaches this many bytes.
const BYTES_MOST: usize = 512 << 10;

/// Rows in key order, from both ends, as they were when the iterator was made.
///
/// It owns what it needs and can outlive everything else. It sees no later change; while it lives,
/// old versions of changed rows are kept for it. A row whose operands cannot be merged is an error
/// ([`Error::is_merge`]) in its place among the others; any other error is returned for ever.
pub struct Iter {
    tree: Tree,
    registration: Registration,
    /// What no end has gathered yet.
    rest: Option<Bounds>,
    front: VecDeque<Row>,
    back: VecDeque<Row>,
    rows: usize,
    failed: Option<Error>,
}

impl Iter {
    pub(crate) fn new(tree: &Tree, bounds: Bounds) -> Iter {
        Iter::with_rows(tree, bounds, ROWS_FIRST)
    }

    /// An iterator whose user will probably want no more than `rows`.
    pub(crate) fn with_rows(tree: &Tree, bounds: Bounds, rows: usize) -> Iter {
        let engine = tree.db().engine();
        let failed = engine.check_open().err();
        let registration = engine.views.register();
        let (tree, rest) = (tree.clone(), Some(bounds));
        let (front, back) = (VecDeque::new(), VecDeque::new());
        Iter { tree, registration, rest, front, back, rows, failed }
    }

    /// Gathers the next rows at one end, until there are some or none are left.
    fn gather(&mut self, direction: Direction) -> Result<()> {
        while let Some(bounds) = self.rest.take() {
            let engine = self.tree.db().engine();
            engine.check_open()?;
            let request = Request {
                tree: self.tree.id(),
                bounds: &bounds,
                direction,
                msn: self.registration.msn(),
                rows: self.rows,
                bytes: BYTES_MOST,
            };
            let view = engine.views.load();
            self.tree.check_seen(&view, request.msn)?;
            let batch = scan::batch(&engine.table, &view, &request)?;
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
        if let Some(error) = &self.failed {
            return Some(Err(error.clone()));
        }
        let near_is_empty = match direction {
            Direction::Forward => self.front.is_empty(),
            Direction::Backward => self.back.is_empty(),
        };
        if near_is_empty && let Err(error) = self.gather(direction) {
            self.failed = Some(error.clone());
            return Some(Err(error));
        }
        match direction {
            Direction::Forward => self.front.pop_front().or_else(|| self.back.pop_back()),
            Direction::Backward => self.back.pop_front().or_else(|| self.front.pop_back()),
        }
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
