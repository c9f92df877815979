//! Checking everything: every byte on disk, every order rule, every extent.
//!
//! | rule | where it is checked |
//! |---|---|
//! | 1: what lies higher is newer | `order`, for every key and every stretch of range deletes |
//! | 2: runs of a buffer are in MSN order | [`check_buffer`], and `segments`: intervals are true |
//! | 3: pivots and bounds | [`Node::check`], and `segments`: references tell the true keys |
//! | 4: heights | [`Node::check`], and against the handle |
//! | 5: what leaves may hold | `leaves`, for every row |
//! | 6: images name only what is on disk | `images` for the view, `saved` for the checkpoint |
//! | 7: the used-set | `space` for the view, `saved` for the checkpoint |
//!
//! What a rule allows to readers that may have gone since the leaf was written is counted in the
//! [`Report`], never refused.

mod images;
mod leaves;
mod order;
mod saved;
mod segments;
mod space;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::Cachetable;
use sapwood_flusher::{Forest, Views};
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::fold::{Floor, Horizon};
use sapwood_serialize::node::{Edge, Node, ResidentNode, check_buffer};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{Msn, Violation};
use serde::Serialize;

use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use leaves::LeafRules;
use space::Seen;

/// What [`Database::verify`] has looked at and found sound.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Trees.
    pub trees: u64,
    /// Trees that were dropped and still have nodes; what follows counts them in.
    pub dropped_trees: u64,
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
    /// Versions in leaves that no reader needs any more: the next rewrite of their leaf drops them.
    pub garbage_versions: u64,
    /// Merge operands in leaves: those on which the operator fails, or that came while it was not
    /// declared.
    pub waiting_operands: u64,
    /// Bytes of the block file that the trees use.
    pub live_bytes: u64,
    /// The length of the block file.
    pub file_bytes: u64,
}

impl Database {
    /// Reads and checks everything: checksums and identities of all blocks, the order rules of all
    /// trees and of the last checkpoint, filters and directories against the rows, and that the
    /// extents in use, free and held are the file. Background work pauses meanwhile, so writers
    /// wait once the memtables are full. Costs a read of the whole database.
    ///
    /// # Errors
    /// [`Error::is_corruption`] with the first thing found wrong.
    pub fn verify(&self) -> Result<Report> {
        let engine = self.engine();
        engine.check_open()?;
        let _paused = engine.pause();
        loop {
            let forest = engine.views.load().forest.clone();
            match verify_view(engine, &forest) {
                Ok(Some(report)) => {
                    saved::check_checkpoint(engine)?;
                    return Ok(report);
                }
                Err(error) if Arc::ptr_eq(&engine.views.load().forest, &forest) => {
                    return Err(error);
                }
                // What is wrong is found again, if it is not the change itself that was met.
                Ok(None) | Err(_) => {}
            }
            // A job that was under way has published meanwhile; the pause lets no new one begin.
            engine.bell.wait(Duration::from_millis(1));
        }
    }
}

/// Checks one view; `None` when it was replaced meanwhile.
fn verify_view(engine: &Engine, forest: &Arc<Forest>) -> Result<Option<Report>> {
    // Taken after the view, as by a job that would rewrite all of its leaves now.
    let horizon = engine.views.horizon();
    let visible = engine.views.visible();
    let (report, seen) = (Report::default(), Seen::default());
    let mut walk = Walk { table: &engine.table, horizon, visible, report, seen };
    walk.report.trees = forest.trees.len() as u64;
    walk.report.dropped_trees = forest.dropped.len() as u64;
    for tree in forest.all() {
        walk.tree(tree)?;
    }
    let Walk { report, seen, .. } = walk;
    space::check_space(engine, forest, &seen, report)
}

struct Walk<'a> {
    table: &'a Cachetable,
    horizon: Horizon,
    /// Taken after the view: its trees hold nothing newer.
    visible: Msn,
    report: Report,
    seen: Seen,
}

fn damaged(what: &str, violation: Violation) -> Error {
    Error::new(Kind::Verify(format!("{what}: {violation}")))
}

/// What waits above a leaf, from the top down.
type Above = Vec<Arc<Run>>;

impl Walk<'_> {
    fn tree(&mut self, tree: &CatalogTree) -> Result<()> {
        let leaves = LeafRules::new(tree);
        self.owner(tree.top.buffer().iter().map(|run| &**run), &leaves, Floor::Buffer)?;
        self.edge(&tree.top, &Bounds::all(), &leaves, &mut Above::new())
    }

    /// Checks an edge, the node below it and everything further down. `above` holds the runs that
    /// wait higher up, newest first.
    fn edge(
        &mut self,
        edge: &Edge,
        bounds: &Bounds,
        leaves: &LeafRules,
        above: &mut Above,
    ) -> Result<()> {
        let block = edge.child.block();
        check_buffer(edge, bounds)
            .map_err(|broken| damaged(&format!("the edge to node {block}"), broken))?;
        self.report.runs += edge.buffer().len() as u64;
        let depth = above.len();
        above.extend(edge.buffer().iter().rev().cloned());
        // Held while its children are looked at, so that their handles stay the current ones.
        let resident = self.node(edge)?;
        resident.node.check(bounds).map_err(|broken| damaged(&format!("node {block}"), broken))?;
        match &resident.node {
            Node::Leaf(run) => {
                self.report.leaves += 1;
                self.owner([run], leaves, Floor::Leaf)?;
                self.order(run, bounds, above)?;
            }
            Node::Internal(node) => {
                let runs = node.edges().iter().flat_map(|edge| edge.buffer());
                self.owner(runs.map(|run| &**run), leaves, Floor::Buffer)?;
                for (index, edge) in node.edges().iter().enumerate() {
                    self.edge(edge, &node.bounds_of(index, bounds), leaves, above)?;
                }
            }
        }
        above.truncate(depth);
        Ok(())
    }

    fn node(&mut self, edge: &Edge) -> Result<Arc<ResidentNode>> {
        self.report.nodes += 1;
        let handle = &edge.child;
        self.place(handle)?;
        let before = handle.node();
        let resident = self.table.node(handle)?;
        if resident.node.height() != handle.height() {
            return Err(damaged("a node", Violation("its height is not its handle's")));
        }
        // One that was just read is its image.
        if before.is_some() {
            self.image(handle, &resident.node)?;
        }
        self.seen.image(handle)?;
        Ok(resident)
    }
}
