//! Range reads: a batch of rows at a time.
//!
//! ```text
//! memtables      ------.---.-----.---          merged with one another
//! runs on path     --.----.--------.-          and clipped to the bounds of one leaf,
//! leaf           [ . . . . . . . . . ]         then the next leaf
//! ```
//!
//! A batch loads the current view, gathers rows at the reader's registered MSN, and lets go of the
//! view before it returns: nothing but the rows is held while the user looks at them. The next
//! batch starts by key. Batches start small and double, so that a short scan stays cheap.

use std::convert::Infallible;
use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Fault, ReadAhead, RunCursor};
use sapwood_serialize::merge_iter::{Direction, Merge, Stream};
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::segment::Key;
use sapwood_serialize::{Msn, Op, Page, TreeId, Version};

use crate::generation::MemtableStream;
use crate::slice::Slice;
use crate::view::View;

/// A row as the user gets it.
pub(crate) type Row = (Slice, Slice);

/// What a batch is asked for.
pub(crate) struct Request<'a> {
    pub(crate) tree: TreeId,
    pub(crate) bounds: &'a Bounds,
    pub(crate) direction: Direction,
    pub(crate) msn: Msn,
    /// No more rows than this.
    pub(crate) rows: usize,
    /// Stop behind the row that reaches this many bytes.
    pub(crate) bytes: usize,
}

/// A batch of more rows than this belongs to a long scan.
const SHORT_SCAN_ROWS: usize = 512;

impl Request<'_> {
    fn ahead(&self) -> ReadAhead {
        if self.rows > SHORT_SCAN_ROWS { ReadAhead::LONG_SCAN } else { ReadAhead::SCAN }
    }
}

/// Some rows, and where the next batch begins.
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    /// What is left of the bounds; `None` when everything was seen.
    pub(crate) rest: Option<Bounds>,
}

/// Gathers the next rows within the request's bounds.
pub(crate) fn batch(
    table: &Cachetable,
    view: &View,
    request: &Request<'_>,
) -> Result<Batch, Fault> {
    let mut batch = Batch { rows: Vec::new(), rest: Some(request.bounds.clone()) };
    let Some(tree) = view.forest.trees.get(&request.tree) else {
        return Ok(Batch { rows: Vec::new(), rest: None });
    };
    let mut bytes = 0;
    while let Some(rest) = batch.rest.take() {
        if is_empty(&rest) {
            break;
        }
        let leaf = Leaf::find(table, &tree.top, &rest, request.direction)?;
        let mut merge = leaf.merge(table, view, request)?;
        while let Some(key) = merge.key() {
            if batch.rows.len() >= request.rows || bytes >= request.bytes {
                batch.rest = Some(cut(&rest, key, request.direction));
                return Ok(batch);
            }
            if let Some(row) = visible_row(&merge, key, request.msn) {
                bytes += row.0.len() + row.1.len();
                batch.rows.push(row);
            }
            merge.advance()?;
        }
        batch.rest = leaf.beyond(&rest, request.direction);
    }
    Ok(batch)
}

fn is_empty(bounds: &Bounds) -> bool {
    bounds.upper.as_ref().is_some_and(|upper| *upper <= bounds.lower)
}

/// The bounds from `key` on, in the direction.
fn cut(bounds: &Bounds, key: &[u8], direction: Direction) -> Bounds {
    match direction {
        Direction::Forward => Bounds { lower: Key::from(key), upper: bounds.upper.clone() },
        Direction::Backward => Bounds { lower: bounds.lower.clone(), upper: Some(successor(key)) },
    }
}

/// The smallest key above `key`.
pub(crate) fn successor(key: &[u8]) -> Key {
    key.iter().copied().chain([0]).collect()
}

/// A source of messages: memory or a run.
enum Source<'a> {
    Memtable(MemtableStream<'a>, Bounds),
    Run(RunCursor<'a>),
}

impl Source<'_> {
    fn page(&self) -> Option<&Arc<Page>> {
        match self {
            Source::Memtable(..) => None,
            Source::Run(cursor) => cursor.page(),
        }
    }
}

impl Stream for Source<'_> {
    type Error = Fault;

    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Memtable(stream, bounds) => stream.key().filter(|key| bounds.contains(key)),
            Source::Run(cursor) => cursor.key(),
        }
    }

    fn versions(&self) -> impl Iterator<Item = Version<'_>> {
        let (memory, run) = match self {
            Source::Memtable(stream, _) => (Some(stream.versions()), None),
            Source::Run(cursor) => (None, Some(cursor.versions())),
        };
        memory.into_iter().flatten().chain(run.into_iter().flatten())
    }

    fn advance(&mut self) -> Result<(), Fault> {
        match self {
            Source::Memtable(stream, _) => {
                let Ok::<(), Infallible>(()) = stream.advance();
                Ok(())
            }
            Source::Run(cursor) => cursor.advance(),
        }
    }
}

/// The row of `key` as a reader at `msn` sees it.
fn visible_row(merge: &Merge<Source<'_>>, key: &[u8], msn: Msn) -> Option<Row> {
    for source in merge.current() {
        let mut versions = source.versions();
        let Some(version) = versions.find(|version| version.msn <= msn.to_raw()) else { continue };
        let Op::Put(value) = version.op else { return None };
        return Some(match (source.page(), source.key()) {
            (Some(page), Some(key)) => (Slice::within(page, key), Slice::within(page, value)),
            _ => (Slice::copy_from(key), Slice::copy_from(value)),
        });
    }
    None
}

/// One leaf with the runs that wait above it.
struct Leaf {
    bounds: Bounds,
    /// Newest first; the leaf's own run is the last.
    runs: Vec<Arc<Run>>,
}

impl Leaf {
    /// The first leaf within `bounds` (the last one, backwards), bounds cut to it.
    fn find(
        table: &Cachetable,
        top: &Arc<Edge>,
        bounds: &Bounds,
        direction: Direction,
    ) -> Result<Leaf, Fault> {
        let (mut edge, mut leaf) = (top.clone(), Bounds::all());
        let mut runs = Vec::new();
        // Held until its child is in memory, see `read`.
        let mut _parent = None;
        loop {
            runs.extend(edge.buffer().iter().rev().cloned());
            let resident = table.node(&edge.child)?;
            match &resident.node {
                Node::Leaf(run) => {
                    runs.push(Arc::new(run.clone()));
                    return Ok(Leaf { bounds: intersection(&leaf, bounds), runs });
                }
                Node::Internal(node) => {
                    let index = match (direction, &bounds.upper) {
                        (Direction::Forward, _) => node.index_of(&bounds.lower),
                        (Direction::Backward, None) => node.edges().len() - 1,
                        (Direction::Backward, Some(upper)) => {
                            node.pivots().partition_point(|pivot| pivot < upper)
                        }
                    };
                    leaf = node.bounds_of(index, &leaf);
                    edge = node.edge(index).clone();
                }
            }
            _parent = Some(resident);
        }
    }

    fn merge<'a>(
        &self,
        table: &'a Cachetable,
        view: &'a View,
        request: &Request<'_>,
    ) -> Result<Merge<Source<'a>>, Fault> {
        let mut sources = Vec::with_capacity(self.runs.len() + 3);
        for generation in view.generations() {
            let mut cursor = generation.memtable.cursor(request.tree);
            match (request.direction, &self.bounds.upper) {
                (Direction::Forward, _) => cursor.seek(&self.bounds.lower),
                (Direction::Backward, Some(upper)) => cursor.seek_before(upper),
                (Direction::Backward, None) => cursor.seek_last(),
            }
            let stream = MemtableStream { cursor, direction: request.direction };
            sources.push(Source::Memtable(stream, self.bounds.clone()));
        }
        for run in &self.runs {
            let (run, bounds) = (run.clone(), self.bounds.clone());
            let ahead = request.ahead();
            let cursor = RunCursor::new(table, run, bounds, request.direction, ahead)?;
            sources.push(Source::Run(cursor));
        }
        Ok(Merge::new(sources, request.direction))
    }

    /// What is left of `rest` behind this leaf.
    fn beyond(&self, rest: &Bounds, direction: Direction) -> Option<Bounds> {
        match direction {
            Direction::Forward => {
                let lower = self.bounds.upper.clone()?;
                Some(Bounds { lower, upper: rest.upper.clone() })
            }
            Direction::Backward => {
                let upper = Some(self.bounds.lower.clone()).filter(|lower| !lower.is_empty());
                Some(Bounds { lower: rest.lower.clone(), upper: Some(upper?) })
            }
        }
    }
}

fn intersection(one: &Bounds, other: &Bounds) -> Bounds {
    let upper = match (&one.upper, &other.upper) {
        (Some(one), Some(other)) => Some(one.min(other).clone()),
        (one, other) => one.clone().or_else(|| other.clone()),
    };
    Bounds { lower: (&one.lower).max(&other.lower).clone(), upper }
}
