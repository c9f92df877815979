//! Publishing: the path to a changed node is copied from the current view, and stored.
//!
//! ```text
//! before   top -> R -> P -> C          after   top' -> R' -> P' -> C'
//!                  \-> Q                            \-> Q (shared)
//! ```
//!
//! An edit runs under the publish mutex, on the view that is current then. It touches headers only:
//! nothing in it can fail, wait, read or write. When a node on the path is not resident the edit is
//! given up, the node is fetched outside the mutex, and the edit runs again from the start.
//!
//! R' is unchanged on disk, because images name children by block alone: it shares its image with
//! R. P' and C' get images of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use sapwood_cachetable::Cachetable;
use sapwood_cachetable::ledger::{Change, Ledger};
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::node::{Edge, Handle, Internal, Node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::segment::{Key, Segment};
use sapwood_serialize::{BlockId, SegmentId, TreeId};

use crate::forest::Forest;

/// Why an edit was not made.
#[derive(Debug)]
pub enum Refused {
    /// This node is on the path and not resident: fetch it and try again.
    Absent(Arc<Handle>),
    /// What the job has prepared no longer fits the current view.
    Stale,
}

/// Whether a node's parent changes on disk when the edge to it is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// Its buffer, its pivots or its child's name changes.
    Changes,
    /// Only the child's version does.
    Copied,
}

/// One edge replaced by one or more, with the pivots between.
#[derive(Debug)]
pub struct Replacement {
    /// The keys between the edges.
    pub pivots: Vec<Key>,
    /// The edges, ascending.
    pub edges: Vec<Arc<Edge>>,
    /// What it means for the parent.
    pub above: Above,
}

impl Replacement {
    /// One edge for one.
    pub fn one(edge: Edge, above: Above) -> Replacement {
        Replacement { pivots: Vec::new(), edges: vec![Arc::new(edge)], above }
    }
}

/// What a job makes of an edge, given the edge and its bounds in the current view.
pub type Make<'m> =
    dyn FnMut(&mut Edit<'_>, &Arc<Edge>, &Bounds) -> Result<Replacement, Refused> + 'm;

/// Where an edge is: in which tree, above which node, and a key that leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeName {
    /// The tree.
    pub tree: TreeId,
    /// A key within the edge's bounds.
    pub key: Key,
    /// The node below.
    pub block: BlockId,
}

/// A change of the forest in the making, under the publish mutex.
pub struct Edit<'a> {
    table: &'a Cachetable,
    /// Who owns what; also names new nodes.
    pub ledger: &'a mut Ledger,
    /// The forest as changed so far.
    pub forest: Forest,
    change: Change,
}

impl<'a> Edit<'a> {
    /// An edit of `forest`, nothing changed yet.
    pub fn new(table: &'a Cachetable, ledger: &'a mut Ledger, forest: &Forest) -> Edit<'a> {
        Edit { table, ledger, forest: forest.clone(), change: Change::default() }
    }

    /// Hands the change to the ledger; returns the forest to be stored.
    pub fn finish(mut self) -> Forest {
        let moved = self.change.leaf_segments.iter().chain(&self.change.buffer_segments);
        let moved: BTreeSet<SegmentId> = moved.map(|segment| segment.id()).collect();
        // One segment may be referred to twice on an edge, clipped, and leaves but once.
        let mut left = BTreeSet::new();
        self.change
            .left_segments
            .retain(|segment| !moved.contains(&segment.id()) && left.insert(segment.id()));
        self.table.counters().nodes_dirtied.add(self.change.nodes.len() as u64);
        self.forest.token = self.ledger.publish(self.change);
        self.forest
    }

    /// The tree's current state.
    pub fn tree(&self, tree: TreeId) -> Result<CatalogTree, Refused> {
        self.forest.trees.get(&tree).cloned().ok_or(Refused::Stale)
    }

    /// Stores a tree with another top edge.
    pub fn set_top(&mut self, tree: TreeId, top: Arc<Edge>) {
        self.forest.set_top(tree, top);
    }

    // ----- what the change brings and takes ----------------------------------------------------

    /// A node with a new image under an old or new name.
    pub fn node(&mut self, block: BlockId, node: Node) -> Arc<Handle> {
        let handle = self.table.new_node(block, node);
        self.change.nodes.push(handle.clone());
        handle
    }

    /// The next version of `old` with a new image.
    pub fn changed(&mut self, old: &Arc<Handle>, node: Node) -> Arc<Handle> {
        self.forget(old);
        self.node(old.block(), node)
    }

    /// The next version of `old`, with a new image only if `above` says that it changes.
    pub fn next_version(&mut self, old: &Arc<Handle>, node: Node, above: Above) -> Arc<Handle> {
        match above {
            Above::Changes => self.changed(old, node),
            Above::Copied => self.copied(old, node),
        }
    }

    fn copied(&mut self, old: &Arc<Handle>, node: Node) -> Arc<Handle> {
        let handle = self.table.copied_node(old, node);
        self.change.replaced.push(old.clone());
        self.change.copied_nodes.push(handle.clone());
        handle
    }

    /// This version of a node, and its image, are no longer part of the view.
    pub fn forget(&mut self, old: &Arc<Handle>) {
        self.change.replaced.push(old.clone());
        self.change.left_nodes.push(old.clone());
    }

    /// The node is gone for good.
    pub fn remove(&mut self, old: &Arc<Handle>) {
        self.forget(old);
        self.change.removed.push(old.block());
    }

    /// Leaves own these now.
    pub fn leaf_segments(&mut self, segments: impl IntoIterator<Item = Arc<Segment>>) {
        self.change.leaf_segments.extend(segments);
    }

    /// Buffers own these now.
    pub fn buffer_segments(&mut self, segments: impl IntoIterator<Item = Arc<Segment>>) {
        self.change.buffer_segments.extend(segments);
    }

    /// Nothing refers to these any more (unless the change also brings them in).
    pub fn left_segments(&mut self, segments: impl IntoIterator<Item = Arc<Segment>>) {
        self.change.left_segments.extend(segments);
    }

    // ----- paths ---------------------------------------------------------------------------------

    /// Replaces the edge that `name` says by what `make` makes of it, and grows the tree when that
    /// leaves more than one edge at the top.
    pub fn replace_edge(&mut self, name: &EdgeName, make: &mut Make<'_>) -> Result<(), Refused> {
        let tree = self.tree(name.tree)?;
        let old = tree.top.clone();
        let replacement = self.rewrite(&old, &Bounds::all(), name, make)?;
        self.note_left(&old, &replacement, None);
        let top = self.grow(old.child.height(), replacement);
        self.set_top(name.tree, top);
        Ok(())
    }

    fn rewrite(
        &mut self,
        edge: &Arc<Edge>,
        bounds: &Bounds,
        name: &EdgeName,
        make: &mut Make<'_>,
    ) -> Result<Replacement, Refused> {
        if edge.child.block() == name.block {
            return make(self, edge, bounds);
        }
        let resident = edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()))?;
        let Node::Internal(internal) = &resident.node else { return Err(Refused::Stale) };
        let index = internal.index_of(&name.key);
        let old = internal.edge(index).clone();
        let below = self.rewrite(&old, &internal.bounds_of(index, bounds), name, make)?;
        self.note_left(&old, &below, Some((internal, index)));
        let above = below.above;
        let next = match below.edges.as_slice() {
            [only] => internal.with_edge(index, only.clone()),
            _ => internal.splice(index, index + 1, &below.pivots, below.edges),
        };
        let next = Node::Internal(next);
        let child = self.next_version(&edge.child, next, above);
        Ok(Replacement::one(edge.with_child(child), Above::Copied))
    }

    /// Notes what a replaced edge referred to and nothing refers to any more. A clipped reference
    /// may share its segment with another edge of the same node.
    fn note_left(
        &mut self,
        old: &Edge,
        replacement: &Replacement,
        siblings: Option<(&Internal, usize)>,
    ) {
        let kept = replacement.edges.iter().flat_map(|edge| edge.segments());
        let kept: BTreeSet<SegmentId> = kept.map(|part| part.segment.id()).collect();
        for part in old.segments() {
            let id = part.segment.id();
            let shared = part.is_clipped()
                && siblings.is_some_and(|(node, index)| is_shared(node, index, id));
            if !kept.contains(&id) && !shared {
                self.change.left_segments.push(part.segment.clone());
            }
        }
    }

    /// One edge for the top: more than one go into a new node above the old ones.
    fn grow(&mut self, height: u8, replacement: Replacement) -> Arc<Edge> {
        if let [only] = replacement.edges.as_slice() {
            return only.clone();
        }
        let root = Internal::new(height + 1, replacement.pivots, replacement.edges);
        let block = self.ledger.name_block();
        Arc::new(Edge::new(self.node(block, Node::Internal(root)), Vec::new()))
    }

    /// Appends the part of `run` that belongs to each edge of `node`, cut where it spans several.
    pub fn append(node: &Internal, bounds: &Bounds, runs: &[Arc<Run>]) -> Internal {
        let mut edges = node.edges().to_vec();
        for run in runs {
            let first = run.first().map_or(0, |first| node.index_of(first));
            for (index, edge) in edges.iter_mut().enumerate().skip(first) {
                let bounds = node.bounds_of(index, bounds);
                if run.is_within(&bounds) {
                    *edge = Arc::new(edge.with_run(run.clone()));
                    break;
                }
                // An edge in the middle of the run may have no part in it.
                if let Some(part) = run.clip(&bounds) {
                    *edge = Arc::new(edge.with_run(Arc::new(part)));
                }
            }
        }
        Internal::new(node.height, node.pivots().to_vec(), edges)
    }
}

/// Whether another edge of `node` than edge `index` refers to the segment.
pub(crate) fn is_shared(node: &Internal, index: usize, id: SegmentId) -> bool {
    node.edges()
        .iter()
        .enumerate()
        .any(|(other, edge)| other != index && edge.segments().any(|part| part.segment.id() == id))
}
