//! Range reads: a batch of rows at a time.
//!
//! ```text
//! memtables      ------.---.-----.---          merged with one another
//! runs on path     --.----.--------.-          and clipped to the bounds of one leaf,
//! leaf           [ . . . . . . . . . ]         then the next leaf
//! ```
//!
//! A batch loads the current view, gathers rows at the reader's registered MSN, and lets go of the
//! view before it returns: nothing but the rows, and pages that they lie in, is held while the user
//! looks at them. The next batch starts by key. Batches start small and grow, so that a short scan
//! stays cheap.
//!
//! Where a range delete covers the next keys, everything below it is left out: a scan passes over a
//! deleted range in one step, whatever lies there.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Fault, ReadAhead, RunCursor, Stretch};
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::fold::{Seen, see};
use sapwood_serialize::merge_iter::{Direction, Merge, Stream};
use sapwood_serialize::node::{Edge, Internal, Node, ResidentNode};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::Key;
use sapwood_serialize::{MergeError, Op, Page, Sight, Tombstone, Tombstones, TreeId, Version};

use crate::error::{Error, Result};
use crate::generation::MemtableStream;
use crate::keys::successor;
use crate::layers::Layers;
use crate::slice::Slice;

/// A row as the user gets it, or why its value cannot be told.
pub(crate) type Row = Result<(Slice, Slice)>;

/// What a batch is asked for.
pub(crate) struct Request<'a> {
    pub(crate) tree: TreeId,
    pub(crate) bounds: &'a Bounds,
    pub(crate) direction: Direction,
    pub(crate) sight: Sight,
    pub(crate) wanted: Wanted,
    /// No more rows than this. A page that is taken whole counts with all its rows, also those that
    /// the reader does not see, and may have more.
    pub(crate) rows: usize,
    /// Stop behind the row that reaches this many bytes.
    pub(crate) bytes: usize,
}

/// So many segments before a leaf's end a long scan has the next leaf fetched. A batch ends in the
/// next segment, or the one behind it, and the device may need as long as one of them takes.
const LAST_SEGMENTS: usize = 4;

/// A batch of more rows than this belongs to a long scan.
const SHORT_SCAN_ROWS: usize = 512;

impl Request<'_> {
    pub(crate) fn is_long(&self) -> bool {
        self.rows > SHORT_SCAN_ROWS
    }

    fn ahead(&self) -> ReadAhead {
        if self.is_long() { ReadAhead::LONG_SCAN } else { ReadAhead::SCAN }
    }
}

/// What is wanted of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Rows,
    /// Values are not looked at, and operands not merged.
    Keys,
}

/// A row, where it was found.
pub(crate) struct Found<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: FoundValue<'a>,
    /// The page that the key lies in, and a plain value too.
    pub(crate) page: Option<&'a Arc<Page>>,
}

/// The value of a row that was found.
pub(crate) enum FoundValue<'a> {
    Plain(&'a [u8]),
    Merged(Vec<u8>),
    /// Its operands could not be merged.
    Failed(MergeError),
    /// It was not wanted.
    Unread,
}

impl Found<'_> {
    fn bytes(&self) -> usize {
        self.key.len()
            + match &self.value {
                FoundValue::Plain(value) => value.len(),
                FoundValue::Merged(value) => value.len(),
                FoundValue::Failed(_) | FoundValue::Unread => 0,
            }
    }

    /// The row as the user gets it; no value is an empty one.
    #[inline(always)]
    pub(crate) fn into_row(self) -> Row {
        let value = match self.value {
            FoundValue::Plain(value) => slice_of(self.page, value),
            FoundValue::Merged(value) => Slice::from(value),
            FoundValue::Failed(cause) => return Err(Error::from_merge(self.key, cause)),
            FoundValue::Unread => Slice::default(),
        };
        Ok((slice_of(self.page, self.key), value))
    }
}

/// `bytes`, which lie in `page` if there is one.
#[inline(always)]
fn slice_of(page: Option<&Arc<Page>>, bytes: &[u8]) -> Slice {
    match page {
        Some(page) => Slice::within(page, bytes),
        None => Slice::copy_from(bytes),
    }
}

/// Where the rows of a batch go.
pub(crate) trait Sink {
    fn take(&mut self, found: Found<'_>);

    /// Takes rows that lie in one page, have no operands, and are nobody else's: those that the
    /// reader sees are the batch's. `false` where it wants them one by one.
    fn take_whole(&mut self, _stretch: &Stretch<'_>, _request: &Request<'_>) -> bool {
        false
    }
}

impl Sink for VecDeque<Row> {
    fn take(&mut self, found: Found<'_>) {
        self.push_back(found.into_row());
    }
}

/// After so many rows in a row that a range delete hides, the scan looks for a way round them.
const HIDDEN_ROWS_MAX: usize = 64;

/// Gathers the next rows within the request's bounds; returns what is left of them, `None` when
/// everything was seen.
pub(crate) fn batch(
    table: &Cachetable,
    layers: &Layers<'_>,
    request: &Request<'_>,
    sink: &mut impl Sink,
) -> Result<Option<Bounds>> {
    let Some(tree) = layers.tree(request.tree, request.sight) else { return Ok(None) };
    let mut gathered = Gathering { request, sink, rows: 0, bytes: 0, charged: 0, hidden: 0 };
    let mut left = Some(request.bounds.clone());
    while let Some(rest) = left.take() {
        if rest.is_empty() {
            break;
        }
        let leaf = Leaf::find(table, layers, &tree.top, &rest, request)?;
        leaf.read_next_soon(table, &rest, request);
        let before = gathered.charged;
        left = gathered.take_leaf(&leaf, leaf.merge(table, layers, request)?, &rest, tree)?;
        leaf.charge(gathered.charged - before);
        if gathered.is_full() {
            break;
        }
        left = left.or_else(|| leaf.beyond(&rest, request.direction));
    }
    Ok(left)
}

/// What a batch has gathered so far.
struct Gathering<'g, S> {
    request: &'g Request<'g>,
    sink: &'g mut S,
    rows: usize,
    bytes: usize,
    /// The bytes of rows that were asked for, without others of a page that was taken whole.
    charged: usize,
    /// How many rows in a row a range delete has hidden.
    hidden: usize,
}

impl<S: Sink> Gathering<'_, S> {
    fn is_full(&self) -> bool {
        self.rows >= self.request.rows || self.bytes >= self.request.bytes
    }

    fn take(&mut self, found: Found<'_>) {
        self.bytes += found.bytes();
        self.charged += found.bytes();
        self.rows += 1;
        self.hidden = 0;
        self.sink.take(found);
    }

    /// Gathers the rows of a leaf; returns what is left of `rest` when it stops before the end.
    fn take_leaf(
        &mut self,
        leaf: &Leaf,
        mut merge: Merge<Source<'_>>,
        rest: &Bounds,
        tree: &CatalogTree,
    ) -> Result<Option<Bounds>> {
        let direction = self.request.direction;
        self.hidden = 0;
        while let Some(key) = merge.key() {
            if self.hidden > HIDDEN_ROWS_MAX && !leaf.is_above_leaf {
                return Ok(Some(cut(rest, key, direction)));
            }
            let passed = if leaf.covers.is_empty() { self.take_stretch(&merge) } else { None };
            let last = match passed {
                Some((_, last)) => last,
                None => {
                    self.take_row(&merge, key, leaf.covers.covers(key), tree);
                    key
                }
            };
            if self.is_full() {
                // Whoever went on to the next row might read a page for it.
                return Ok(Some(cut_behind(rest, last, direction)));
            }
            match passed {
                Some((rows, _)) => merge.pass(|source| source.pass(rows))?,
                None => merge.advance()?,
            }
        }
        Ok(None)
    }

    /// Gathers the row of `key`, if the reader sees one.
    fn take_row(
        &mut self,
        merge: &Merge<Source<'_>>,
        key: &[u8],
        covers: &[u64],
        tree: &CatalogTree,
    ) {
        match row_of(merge, key, covers, self.request, tree) {
            Some(found) => self.take(found),
            None => self.hidden += usize::from(!covers.is_empty()),
        }
    }

    /// Gathers rows of one page that nothing else has a say in, up to one whose operands are to be
    /// merged; returns how many were looked at, if any, and the key of the last. They may be more
    /// than are missing.
    fn take_stretch<'m>(&mut self, merge: &'m Merge<Source<'_>>) -> Option<(usize, &'m [u8])> {
        let (source, rival) = merge.alone()?;
        let stretch = source.stretch()?;
        let direction = self.request.direction;
        let rival = rival.filter(|rival| !direction.compare(stretch.last_key(), rival).is_lt());
        let is_plain = rival.is_none() && !stretch.page().has_operands();
        if is_plain && self.sink.take_whole(&stretch, self.request) {
            let missing = self.request.rows.saturating_sub(self.rows).min(stretch.len());
            self.charged += stretch.bytes() / stretch.len() * missing;
            self.bytes += stretch.bytes();
            self.rows += stretch.len();
            self.hidden = 0;
            return Some((stretch.len(), stretch.last_key()));
        }
        let mut passed = None;
        for (count, (key, mut versions)) in (1..).zip(stretch.rows()) {
            if rival.is_some_and(|rival| !direction.compare(key, rival).is_lt()) {
                break;
            }
            let value = match versions.find(|version| self.request.sight.sees(version.msn)) {
                Some(Version { op: Op::Merge(_), .. }) => break,
                Some(Version { op: Op::Put(value), .. }) => match self.request.wanted {
                    Wanted::Rows => Some(FoundValue::Plain(value)),
                    Wanted::Keys => Some(FoundValue::Unread),
                },
                Some(Version { op: Op::Delete, .. }) | None => None,
            };
            if let Some(value) = value {
                self.take(Found { key, value, page: Some(stretch.page()) });
            }
            passed = Some((count, key));
            if self.is_full() {
                break;
            }
        }
        passed
    }
}

/// The bounds from `key` on, in the direction.
fn cut(bounds: &Bounds, key: &[u8], direction: Direction) -> Bounds {
    match direction {
        Direction::Forward => Bounds { lower: Key::from(key), upper: bounds.upper.clone() },
        Direction::Backward => Bounds { lower: bounds.lower.clone(), upper: Some(successor(key)) },
    }
}

/// The bounds behind `key`, in the direction.
fn cut_behind(bounds: &Bounds, key: &[u8], direction: Direction) -> Bounds {
    match direction {
        Direction::Forward => Bounds { lower: successor(key), upper: bounds.upper.clone() },
        Direction::Backward => Bounds { lower: bounds.lower.clone(), upper: Some(key.into()) },
    }
}

/// A source of messages: memory or a run.
enum Source<'a> {
    Memtable(MemtableStream<'a>, Bounds),
    Run(RunCursor<'a>),
}

/// One of two iterators of the same items.
enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<T, L: Iterator<Item = T>, R: Iterator<Item = T>> Iterator for Either<L, R> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Either::Left(left) => left.next(),
            Either::Right(right) => right.next(),
        }
    }
}

impl Source<'_> {
    fn page(&self) -> Option<&Arc<Page>> {
        match self {
            Source::Memtable(..) => None,
            Source::Run(cursor) => cursor.page(),
        }
    }

    fn stretch(&self) -> Option<Stretch<'_>> {
        match self {
            Source::Memtable(..) => None,
            Source::Run(cursor) => cursor.stretch(),
        }
    }

    /// Goes on by `rows` of its stretch.
    fn pass(&mut self, rows: usize) -> std::result::Result<(), Fault> {
        match self {
            Source::Memtable(..) => (0..rows).try_for_each(|_| self.advance()),
            Source::Run(cursor) => cursor.pass(rows),
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
        match self {
            Source::Memtable(stream, _) => Either::Left(stream.versions()),
            Source::Run(cursor) => Either::Right(cursor.versions()),
        }
    }

    fn advance(&mut self) -> std::result::Result<(), Fault> {
        match self {
            Source::Memtable(stream, _) => {
                let Ok::<(), Infallible>(()) = stream.advance();
                Ok(())
            }
            Source::Run(cursor) => cursor.advance(),
        }
    }
}

/// The row of `key` as the reader sees it; `covers` says when ranges around it were deleted.
fn row_of<'m>(
    merge: &'m Merge<Source<'_>>,
    key: &'m [u8],
    covers: &[u64],
    request: &Request<'_>,
    tree: &CatalogTree,
) -> Option<Found<'m>> {
    let sight = request.sight;
    let deleted = covers.iter().copied().find(|deleted| sight.sees(*deleted));
    for (position, source) in merge.current().enumerate() {
        let mut versions = source.versions();
        let Some(version) = versions.find(|version| sight.sees(version.msn)) else { continue };
        if deleted.is_some_and(|deleted| deleted > version.msn) {
            return None;
        }
        let page = source.page();
        // The key of the first one is the merge's; a page can be kept for its own alone.
        let key = if position == 0 { key } else { source.key().unwrap_or(key) };
        return match (version.op, request.wanted) {
            (Op::Delete, _) => None,
            (Op::Put(_) | Op::Merge(_), Wanted::Keys) => {
                Some(Found { key, value: FoundValue::Unread, page })
            }
            (Op::Put(value), Wanted::Rows) => {
                Some(Found { key, value: FoundValue::Plain(value), page })
            }
            (Op::Merge(_), Wanted::Rows) => merged_row(merge, key, covers, sight, tree),
        };
    }
    None
}

/// The row of a key whose newest visible version is an operand.
fn merged_row<'m>(
    merge: &'m Merge<Source<'_>>,
    key: &'m [u8],
    covers: &[u64],
    sight: Sight,
    tree: &CatalogTree,
) -> Option<Found<'m>> {
    let value = match see(key, merge.versions(), covers, sight, tree.operator.as_ref()) {
        Ok(Seen::Absent) => return None,
        Ok(Seen::Value(value)) => FoundValue::Merged(value.to_vec()),
        Ok(Seen::Merged(value)) => FoundValue::Merged(value),
        Err(cause) => FoundValue::Failed(cause),
    };
    Some(Found { key, value, page: None })
}

/// One leaf with the runs that wait above it; or a stretch of keys below which everything was
/// deleted, with the runs that are newer.
struct Leaf {
    bounds: Bounds,
    /// Newest first; the leaf's own run is the last.
    runs: Vec<Arc<Run>>,
    /// The range deletes of all runs and memtables.
    covers: Tombstones,
    /// What lies below was deleted and is left out.
    is_above_leaf: bool,
    /// The edges on the way that had something waiting.
    buffered: Vec<Arc<Edge>>,
    next: Option<Beside>,
}

/// The edge beside a leaf's, or beside one above it, in the scan's direction.
struct Beside {
    edge: Arc<Edge>,
    /// Held until the edge's child is in memory, see `read`.
    _parent: Arc<ResidentNode>,
}

impl Leaf {
    /// The first leaf within the bounds `rest` (the last one, backwards), bounds cut to it.
    fn find(
        table: &Cachetable,
        layers: &Layers<'_>,
        top: &Arc<Edge>,
        rest: &Bounds,
        request: &Request<'_>,
    ) -> Result<Leaf> {
        let (mut edge, mut bounds) = (top.clone(), Bounds::all());
        let (mut runs, mut buffered) = (Vec::new(), Vec::new());
        let mut covers: Vec<Tombstones> = Vec::new();
        for (generation, _) in layers.generations(request.sight) {
            covers.extend(generation.covers(request.tree));
        }
        if let Some(way) = hidden_stretch(&covers, rest, request) {
            return Ok(Leaf::above(way.bounds().intersection(rest), runs, &covers, buffered));
        }
        // Held until its child is in memory, see `read`.
        let mut _parent = None;
        let mut next = None;
        loop {
            if !edge.buffer().is_empty() {
                runs.extend(edge.buffer().iter().rev().cloned());
                buffered.push(edge.clone());
                let deletes = edge.buffer().iter().map(|run| run.tombstones());
                covers.extend(deletes.filter(|some| !some.is_empty()).cloned());
                if let Some(way) = hidden_stretch(&covers, rest, request) {
                    let within = way.bounds().intersection(&bounds).intersection(rest);
                    return Ok(Leaf::above(within, runs, &covers, buffered));
                }
            }
            let resident = table.node(&edge.child)?;
            match &resident.node {
                Node::Leaf(run) => {
                    runs.push(Arc::new(run.clone()));
                    let bounds = bounds.intersection(rest);
                    let beyond = beyond(&bounds, rest, request.direction);
                    let next = next.filter(|_| is_worth_reading(&covers, &beyond, request));
                    let covers = clipped(&covers, &bounds);
                    return Ok(Leaf { bounds, runs, covers, is_above_leaf: false, buffered, next });
                }
                Node::Internal(node) => {
                    let index = match (request.direction, &rest.upper) {
                        (Direction::Forward, _) => node.index_of(&rest.lower),
                        (Direction::Backward, None) => node.edges().len() - 1,
                        (Direction::Backward, Some(upper)) => {
                            node.pivots().partition_point(|pivot| pivot < upper)
                        }
                    };
                    if request.is_long() {
                        let edge = edge_beside(node, index, request.direction).cloned();
                        let here = |edge| Beside { edge, _parent: resident.clone() };
                        next = edge.map(here).or(next);
                    }
                    bounds = node.bounds_of(index, &bounds);
                    edge = node.edge(index).clone();
                }
            }
            _parent = Some(resident);
        }
    }

    fn above(
        bounds: Bounds,
        runs: Vec<Arc<Run>>,
        covers: &[Tombstones],
        buffered: Vec<Arc<Edge>>,
    ) -> Leaf {
        let covers = clipped(covers, &bounds);
        Leaf { bounds, runs, covers, is_above_leaf: true, buffered, next: None }
    }

    /// In its last segments, a long scan will probably come to the next leaf, too: the device reads
    /// the first one there while the rows of these are gone through.
    fn read_next_soon(&self, table: &Cachetable, rest: &Bounds, request: &Request<'_>) {
        let Some(Beside { edge, .. }) = &self.next else { return };
        // Without values, a batch may have all of a leaf.
        let is_near = request.wanted == Wanted::Keys
            || self.segments_left(request.direction) <= LAST_SEGMENTS;
        if !is_near {
            return;
        }
        // What cannot be read is told when the scan comes to it.
        let part = first_part(table, edge, request.direction);
        if let Some(part) = part.filter(|part| part.may_meet(rest)) {
            table.read_soon(&part.segment);
        }
    }

    /// How many segments of its own run there are from where the scan stands.
    fn segments_left(&self, direction: Direction) -> usize {
        let parts = self.runs.last().map_or(&[][..], |run| run.segments());
        match (direction, &self.bounds.upper) {
            (Direction::Forward, _) => {
                parts.len() - parts.partition_point(|part| part.is_below(&self.bounds.lower))
            }
            (Direction::Backward, None) => parts.len(),
            (Direction::Backward, Some(upper)) => {
                parts.partition_point(|part| *part.first() < **upper)
            }
        }
    }

    /// Charges what a scan got here to the buffers that it had to be merged from.
    fn charge(&self, bytes: usize) {
        self.buffered.iter().for_each(|edge| edge.charge_work(bytes as u64));
    }

    fn merge<'a>(
        &self,
        table: &'a Cachetable,
        layers: &'a Layers<'_>,
        request: &Request<'_>,
    ) -> Result<Merge<Source<'a>>> {
        let mut sources = Vec::with_capacity(self.runs.len() + 3);
        let of_run = |run: &Arc<Run>| {
            let (run, bounds, ahead) = (run.clone(), self.bounds.clone(), request.ahead());
            RunCursor::new(table, run, bounds, request.direction, ahead).map(Source::Run)
        };
        for (generation, _) in layers.generations(request.sight) {
            let mut cursor = generation.memtable.cursor(request.tree);
            match (request.direction, &self.bounds.upper) {
                (Direction::Forward, _) => cursor.seek(&self.bounds.lower),
                (Direction::Backward, Some(upper)) => cursor.seek_before(upper),
                (Direction::Backward, None) => cursor.seek_last(),
            }
            let stream = MemtableStream { cursor, direction: request.direction };
            sources.push(Source::Memtable(stream, self.bounds.clone()));
            for run in generation.runs(request.tree).iter().rev() {
                sources.push(of_run(run)?);
            }
        }
        for run in &self.runs {
            sources.push(of_run(run)?);
        }
        Ok(Merge::new(sources, request.direction))
    }

    /// What is left of `rest` behind this leaf.
    fn beyond(&self, rest: &Bounds, direction: Direction) -> Option<Bounds> {
        beyond(&self.bounds, rest, direction)
    }
}

/// What is left of `rest` behind `bounds`.
fn beyond(bounds: &Bounds, rest: &Bounds, direction: Direction) -> Option<Bounds> {
    match direction {
        Direction::Forward => {
            let lower = bounds.upper.clone()?;
            Some(Bounds { lower, upper: rest.upper.clone() })
        }
        Direction::Backward => {
            let upper = Some(bounds.lower.clone()).filter(|lower| !lower.is_empty());
            Some(Bounds { lower: rest.lower.clone(), upper: Some(upper?) })
        }
    }
}

/// Whether a scan comes to the leaf beyond: neither does it end before, nor pass over it because it
/// was deleted.
fn is_worth_reading(covers: &[Tombstones], beyond: &Option<Bounds>, request: &Request<'_>) -> bool {
    let beyond = beyond.as_ref().filter(|beyond| !beyond.is_empty());
    beyond.is_some_and(|beyond| hidden_stretch(covers, beyond, request).is_none())
}

fn edge_beside(node: &Internal, index: usize, direction: Direction) -> Option<&Arc<Edge>> {
    let beside = match direction {
        Direction::Forward => index + 1,
        Direction::Backward => index.checked_sub(1)?,
    };
    node.edges().get(beside)
}

/// The first segment below `edge` in the direction, if it can be told. Reads nodes.
fn first_part(table: &Cachetable, edge: &Edge, direction: Direction) -> Option<SegmentRef> {
    let resident = table.node(&edge.child).ok()?;
    let parts = match &resident.node {
        Node::Leaf(run) => run.segments(),
        Node::Internal(node) => {
            let edges = node.edges();
            let edge = match direction {
                Direction::Forward => edges.first(),
                Direction::Backward => edges.last(),
            };
            return first_part(table, edge?, direction);
        }
    };
    let part = match direction {
        Direction::Forward => parts.first(),
        Direction::Backward => parts.last(),
    };
    part.cloned()
}

fn clipped(covers: &[Tombstones], bounds: &Bounds) -> Tombstones {
    let parts: Vec<Tombstones> = covers.iter().map(|some| some.clip(bounds)).collect();
    Tombstones::merged(&parts)
}

/// The longest stretch from where the scan stands that the reader sees deleted. What lies below the
/// edges that `covers` were met on is older, and need not be looked at there.
fn hidden_stretch<'c>(
    covers: &'c [Tombstones],
    rest: &Bounds,
    request: &Request<'_>,
) -> Option<&'c Tombstone> {
    let here = covers.iter().filter_map(|some| match request.direction {
        Direction::Forward => some.covering(&rest.lower),
        Direction::Backward => some.covering_before(rest.upper.as_deref()),
    });
    let seen = here.filter(|piece| piece.visible_at(request.sight).is_some());
    match request.direction {
        Direction::Forward => seen.max_by_key(|piece| (piece.upper.is_none(), piece.upper.clone())),
        Direction::Backward => seen.min_by_key(|piece| piece.lower.clone()),
    }
}
