//! Trees without what cannot be read.
//!
//! ```text
//! run    [ segment 7: a..f | segment 9: g..m          | segment 12: n..z ]
//!                            page i..k is broken
//! mended [ segment 7: a..f | g..i ]         [ k..m    | segment 12: n..z ]
//! ```
//!
//! A node that cannot be read becomes an empty one of its height. What is mended lives in memory:
//! pages are read again when rows are.

use std::sync::Arc;

use sapwood_cachetable::ledger::BlockTable;
use sapwood_cachetable::{BLOCK_FILE, Cachetable, Caching};
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::node::{Edge, Handle, Internal, Node};
use sapwood_serialize::node_image::{children_at, decode_node};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::Key;
use sapwood_serialize::{BlobKind, Corruption, Msn, open_blob};

use super::root::{NOWHERE, corruption, resolver};
use super::{Damages, Loss};
use crate::keys::successor;

/// Mends tree after tree.
pub(super) struct Mender<'a> {
    table: &'a Cachetable,
    places: &'a BlockTable,
    damages: &'a mut Damages,
    /// The name of the tree at hand.
    tree: String,
    /// The newest message of all trees.
    newest: Msn,
}

impl<'a> Mender<'a> {
    pub(super) fn new(
        table: &'a Cachetable,
        places: &'a BlockTable,
        damages: &'a mut Damages,
    ) -> Mender<'a> {
        Mender { table, places, damages, tree: String::new(), newest: Msn::ZERO }
    }

    /// The newest message that was met.
    pub(super) fn newest(&self) -> Msn {
        self.newest
    }

    pub(super) fn tree(&mut self, tree: CatalogTree) -> CatalogTree {
        self.tree.clone_from(&tree.options.name);
        let top = Arc::new(self.edge(&tree.top, &Bounds::all()));
        CatalogTree { top, ..tree }
    }

    /// The runs of a tree that the log names, without what cannot be read of them.
    pub(super) fn logged_runs(&mut self, tree: &str, runs: &[Arc<Run>]) -> Vec<Arc<Run>> {
        tree.clone_into(&mut self.tree);
        let runs = runs.iter().map(|run| self.run(run, Loss::Changes));
        runs.filter(|run| !run.is_empty()).map(Arc::new).collect()
    }

    fn edge(&mut self, edge: &Edge, bounds: &Bounds) -> Edge {
        let runs = edge.buffer().iter().map(|run| self.run(run, Loss::Changes));
        let runs = runs.filter(|run| !run.is_empty()).map(Arc::new).collect();
        Edge::new(self.child(&edge.child, bounds), runs)
    }

    /// The node behind a handle, without what cannot be read of it and below it.
    fn child(&mut self, handle: &Handle, bounds: &Bounds) -> Arc<Handle> {
        match self.read(handle, bounds) {
            Ok(Node::Leaf(run)) => {
                let run = self.run(&run, Loss::Rows);
                self.resident(Node::Leaf(run))
            }
            Ok(Node::Internal(node)) => {
                let edges =
                    node.edges().iter().enumerate().map(|(index, edge)| {
                        Arc::new(self.edge(edge, &node.bounds_of(index, bounds)))
                    });
                let edges = edges.collect();
                let mended = Internal::new(node.height, node.pivots().to_vec(), edges);
                self.resident(Node::Internal(mended))
            }
            Err(broken) => {
                self.damages.note(&broken, Some((&self.tree, bounds)), Loss::Rows);
                self.empty(handle.height())
            }
        }
    }

    fn read(&self, handle: &Handle, bounds: &Bounds) -> Result<Node, Corruption> {
        let place = handle.image().place().filter(|place| *place != NOWHERE);
        let missing = Corruption::new("node", 0, "it is missing in the block table");
        let place = place.ok_or(missing)?;
        let start = place.extent.offset;
        let within = |broken: Corruption| broken.within(BLOCK_FILE, start);
        let bytes = self.table.read_node(place).map_err(corruption).map_err(within)?;
        let payload = open_blob(BlobKind::Node, self.table.database(), &bytes).map_err(within)?;
        let resolve = resolver(self.places);
        let node = decode_node(handle.block(), handle.height(), payload, &children_at(&resolve));
        let node = node.map_err(within)?;
        let checked = node.check(bounds);
        checked.map_err(|broken| within(Corruption::new("node", 0, broken.0)))?;
        Ok(node)
    }

    fn resident(&self, node: Node) -> Arc<Handle> {
        self.table.new_node(self.table.name_block(), node)
    }

    /// A node of a height with nothing in it or below.
    fn empty(&self, height: u8) -> Arc<Handle> {
        let leaf = self.resident(Node::Leaf(Run::default()));
        (1..=height).fold(leaf, |child, height| {
            let edge = Arc::new(Edge::new(child, Vec::new()));
            self.resident(Node::Internal(Internal::new(height, Vec::new(), vec![edge])))
        })
    }

    /// A run without the pages that cannot be read, which are noted as such a loss.
    fn run(&mut self, run: &Run, loss: Loss) -> Run {
        self.newest = self.newest.max(run.newest());
        let mut parts = Vec::new();
        for part in run.segments() {
            let broken = self.broken_in(part);
            let mut gone = Vec::new();
            for (broken, bounds) in broken {
                let bounds = bounds.intersection(&part.bounds());
                self.damages.note(&broken, Some((&self.tree, &bounds)), loss);
                gone.push(bounds);
            }
            parts.extend(part.without(&gone));
        }
        Run::new(parts, run.oldest(), run.newest()).with_tombstones(run.tombstones().clone())
    }

    /// What cannot be read of a reference, with the keys in it; ascending.
    fn broken_in(&self, part: &SegmentRef) -> Vec<(Corruption, Bounds)> {
        let start = part.segment.place().map_or(0, |place| place.extent.offset);
        let within = |broken: Corruption| broken.within(BLOCK_FILE, start);
        let resident = match self.table.part(&part.segment) {
            Ok(resident) => resident,
            Err(fault) => return vec![(within(corruption(fault)), part.bounds())],
        };
        let directory = &resident.meta().directory;
        let bounds = part.bounds();
        let from = directory.find(&bounds.lower);
        let to = bounds.upper.as_ref().map_or(directory.pages() - 1, |upper| directory.find(upper));
        let mut broken = Vec::new();
        for index in from..=to {
            let Err(fault) = self.table.page(&part.segment, &resident, index, Caching::Pass) else {
                continue;
            };
            let behind = index + 1;
            let upper = if behind < directory.pages() {
                Key::from(directory.fence(behind))
            } else {
                successor(directory.last_key())
            };
            let lower = Key::from(directory.fence(index));
            broken.push((within(corruption(fault)), Bounds { lower, upper: Some(upper) }));
        }
        broken
    }
}
