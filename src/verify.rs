//! Checking everything: every byte on disk, every order rule, every extent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::{Cachetable, Caching, Fault, ReadAhead, RunCursor};
use sapwood_flusher::Forest;
use sapwood_serialize::fold::Floor;
use sapwood_serialize::merge_iter::{Direction, Merge};
use sapwood_serialize::node::{Edge, Handle, Node, ResidentNode, check_buffer};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::Segment;
use sapwood_serialize::{Corruption, Extent, Filter, Op, OpKind, Page, Violation, checksum};
use serde::Serialize;

use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// What [`Database::verify`] has looked at and found sound.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Trees.
    pub trees: u64,
    /// Nodes, leaves included.
    pub nodes: u64,
    /// Leaves.
    pub leaves: u64,
    /// Runs waiting in buffers.
    pub runs: u64,
    /// Segments.
    pub segments: u64,
    /// Pages, each read from disk if it was written.
    pub pages: u64,
    /// Keys with a value; those that wait in memtables are not counted.
    pub rows: u64,
    /// Bytes of the block file that the trees use.
    pub live_bytes: u64,
    /// The length of the block file.
    pub file_bytes: u64,
}

impl Database {
    /// Reads and checks everything: checksums and identities of all blocks, the order rules of all
    /// trees, filters and directories against the rows, and that the extents in use, free and held
    /// are the file. Background work pauses meanwhile, so writers wait once
    /// the memtables are full. Costs a read of the whole database.
    ///
    /// # Errors
    /// [`Error::is_corruption`] with the first thing found wrong.
    pub fn verify(&self) -> Result<Report> {
        let engine = self.engine();
        engine.check_open()?;
        let _paused = engine.pause();
        loop {
            let forest = engine.views.load().forest.clone();
            let mut walk =
                Walk { table: &engine.table, report: Report::default(), seen: Seen::default() };
            for tree in forest.trees.values() {
                walk.report.trees += 1;
                walk.edge(&tree.top, &Bounds::all(), &mut Vec::new())?;
            }
            let Walk { report, seen, .. } = walk;
            if let Some(report) = check_space(engine, &forest, &seen, report)? {
                check_checkpoint(engine)?;
                return Ok(report);
            }
            // A job that was under way has published meanwhile; the pause lets no new one begin.
            engine.bell.wait(Duration::from_millis(1));
        }
    }
}

/// Everything that the walk has met, kept alive so that places can be compared in one moment.
#[derive(Default)]
struct Seen {
    nodes: Vec<(Arc<Handle>, Arc<ResidentNode>)>,
    segments: BTreeMap<u64, Arc<Segment>>,
}

struct Walk<'a> {
    table: &'a Cachetable,
    report: Report,
    seen: Seen,
}

fn damaged(what: &str, violation: Violation) -> Error {
    Error::new(Kind::Verify(format!("{what}: {violation}")))
}

impl Walk<'_> {
    /// Checks an edge, what it buffers, and everything below it. `above` holds the runs that wait
    /// higher up, newest first.
    fn edge(&mut self, edge: &Edge, bounds: &Bounds, above: &mut Vec<Arc<Run>>) -> Result<()> {
        let block = edge.child.block();
        check_buffer(edge, bounds)
            .map_err(|broken| damaged(&format!("the edge to node {block}"), broken))?;
        self.report.runs += edge.buffer().len() as u64;
        let depth = above.len();
        for run in edge.buffer().iter().rev() {
            self.run(run, Floor::Buffer)?;
            above.push(run.clone());
        }
        let resident = self.node(&edge.child)?;
        resident.node.check(bounds).map_err(|broken| damaged(&format!("node {block}"), broken))?;
        match &resident.node {
            Node::Leaf(run) => {
                self.report.leaves += 1;
                self.run(run, Floor::Leaf)?;
                self.order(run, bounds, above)?;
            }
            Node::Internal(node) => {
                for (index, edge) in node.edges().iter().enumerate() {
                    self.edge(edge, &node.bounds_of(index, bounds), above)?;
                }
            }
        }
        above.truncate(depth);
        self.seen.nodes.push((edge.child.clone(), resident));
        Ok(())
    }

    fn node(&mut self, handle: &Arc<Handle>) -> Result<Arc<ResidentNode>> {
        self.report.nodes += 1;
        let resident = self.table.node(handle)?;
        if let Some(place) = handle.image().place() {
            self.table.read_node(place)?;
        }
        if resident.node.height() != handle.height() {
            return Err(damaged("a node", Violation("its height is not its handle's")));
        }
        Ok(resident)
    }

    fn run(&mut self, run: &Run, floor: Floor) -> Result<()> {
        for part in run.segments() {
            let id = part.segment.id().to_raw();
            match self.seen.segments.get(&id) {
                Some(known) if known.place() != part.segment.place() => {
                    return Err(damaged("a segment", Violation("it lies in two places")));
                }
                Some(_) => {}
                None => {
                    self.segment(part, run, floor)?;
                    self.seen.segments.insert(id, part.segment.clone());
                }
            }
        }
        Ok(())
    }

    /// Reads a segment as it lies on disk, and checks directory and filter against the rows.
    fn segment(&mut self, part: &SegmentRef, run: &Run, floor: Floor) -> Result<()> {
        self.report.segments += 1;
        let resident = self.table.part(&part.segment)?;
        let meta = resident.meta();
        let broken = |rule| {
            let place = part.segment.place().map_or(0, |place| place.extent.offset);
            Err(Corruption::new("segment", 0, rule)
                .within(sapwood_cachetable::BLOCK_FILE, place)
                .into())
        };
        let mut last: Option<Vec<u8>> = None;
        for index in 0..meta.directory.pages() {
            self.report.pages += 1;
            // The part that was looked up knows where its pages lie, or has them all.
            let page = match meta.directory.place(index) {
                Some(_) => self
                    .table
                    .fetch_pages(&part.segment, &resident, index, index + 1, Caching::Pass)?
                    .pop(),
                None => resident.slot(index).page(),
            };
            let Some(page) = page else { return broken("a page of it is nowhere") };
            for row in 0..page.rows() {
                let key = page.key(row);
                if last.as_deref().is_some_and(|last| last >= key) {
                    return broken("its keys do not ascend");
                }
                if meta.directory.find(key) != index {
                    return broken("its directory leads to another page");
                }
                if !meta.filter.may_contain(Filter::hash(key)) {
                    return broken("its filter denies a key");
                }
                check_versions(&page, row, part, run, floor).or_else(broken)?;
                last = Some(key.to_vec());
            }
        }
        Ok(())
    }

    /// Checks that for every key, what waits higher is newer; counts the rows.
    fn order(&mut self, leaf: &Run, bounds: &Bounds, above: &[Arc<Run>]) -> Result<()> {
        // `above` holds the runs of each edge newest first, edges from the top down: newest first.
        let runs = above.iter().cloned().chain([Arc::new(leaf.clone())]);
        let covers: Vec<_> = above.iter().map(|run| run.tombstones().clip(bounds)).collect();
        let cursor = |run| {
            RunCursor::new(self.table, run, bounds.clone(), Direction::Forward, ReadAhead::JOB)
        };
        let cursors = runs.map(cursor).collect::<std::result::Result<Vec<_>, Fault>>()?;
        let mut merge = Merge::new(cursors, Direction::Forward);
        while let Some(key) = merge.key() {
            let mut last = u64::MAX;
            let mut newest = None;
            for version in merge.versions() {
                if version.msn >= last {
                    return Err(damaged(
                        "an order rule",
                        Violation("for one key, an older message lies above a newer one"),
                    ));
                }
                last = version.msn;
                newest.get_or_insert((version.msn, version.op.kind()));
            }
            let deleted = covers.iter().map(|some| some.covers(key).first().copied()).max();
            let stays = newest
                .is_some_and(|(msn, kind)| kind != OpKind::DELETE && Some(msn) > deleted.flatten());
            self.report.rows += u64::from(stays);
            merge.advance()?;
        }
        Ok(())
    }
}

/// Checks the versions of one row: their numbers, and that a leaf keeps no delete over nothing.
fn check_versions(
    page: &Page,
    row: usize,
    part: &SegmentRef,
    run: &Run,
    floor: Floor,
) -> std::result::Result<(), &'static str> {
    let interval = run.oldest().to_raw()..=run.newest().to_raw();
    let mut oldest = None;
    for version in page.versions(row) {
        if !interval.contains(&(part.base.to_raw().saturating_add(version.msn))) {
            return Err("a message lies outside the MSN interval of its run");
        }
        oldest = Some(version.op);
    }
    if floor == Floor::Leaf && oldest == Some(Op::Delete) {
        return Err("a leaf holds a delete with nothing below it");
    }
    Ok(())
}

/// Compares what was reached with what the ledger owns, in one moment; `None` when the view has
/// changed since the walk began.
fn check_space(
    engine: &Engine,
    forest: &Arc<Forest>,
    seen: &Seen,
    mut report: Report,
) -> Result<Option<Report>> {
    let mut ledger = engine.table.ledger();
    if !Arc::ptr_eq(&engine.views.load().forest, forest) {
        return Ok(None);
    }
    ledger.reclaim();
    let nodes = seen.nodes.iter().filter_map(|(handle, _)| handle.image().place());
    let segments = seen.segments.values().filter_map(|segment| segment.place());
    let extents: Vec<Extent> =
        nodes.map(|place| place.extent).chain(segments.map(|place| place.extent)).collect();
    let mut reachable = BTreeMap::new();
    for extent in extents {
        if reachable.insert(extent.offset, extent.bytes).is_some() {
            return Err(damaged("the space", Violation("two blocks lie in one place")));
        }
    }
    report.live_bytes = reachable.values().sum();
    report.file_bytes = ledger.file_bytes();
    ledger.check(&reachable).map_err(|what| Error::new(Kind::Verify(what)))?;
    Ok(Some(report))
}

/// Reads the tables of the last checkpoint, which the next opening would start from.
fn check_checkpoint(engine: &Engine) -> Result<()> {
    let _alone = engine.hold_checkpoints();
    let superblock = *engine.superblock.lock();
    let block_file = BlockFile { file: engine.table.file().clone(), superblock };
    let opened = block_file.tables()?;
    block_file.catalog()?;
    for (block, place) in &opened.table {
        let bytes = engine.table.read_node(*place)?;
        debug_assert_eq!(checksum(superblock.database.seed(), &bytes), place.checksum);
        let owned = opened.checkpointed.get(&place.extent.offset) == Some(&place.extent.bytes);
        if !owned {
            let what = format!("the checkpoint's space map lacks the extent of node {block}");
            return Err(Error::new(Kind::Verify(what)));
        }
    }
    Ok(())
}
