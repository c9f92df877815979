//! Restructuring: splits, merges, and the top of a tree.
//!
//! All of it moves references between headers and rewrites no row, so all of it happens in one edit
//! under the publish mutex. Claims on the nodes concerned see to it that no job is taking from a
//! buffer that is about to be divided or joined.
//!
//! ```text
//! split    P [ .. C .. ]  ->  P [ .. C | C2 .. ]       C's buffer is shared by clipping
//! merge    P [ A | B ]    ->  P [ A ]                  when both fit into 3/4 of a node
//! shrink   top -> R -> C  ->  top -> C                 when R has one edge left
//! ```

use std::sync::Arc;

use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::Key;
use sapwood_serialize::{BlockId, TreeId};

use crate::edit::{Above, EdgeName, Edit, Refused, Replacement};
use crate::forest::{JobResult, Outcome};
use crate::limits::Limits;
use crate::mover::Mover;
use crate::reconcile::{cut_into_leaves, divide};
use crate::remedy::{Remedy, is_due, remedy, weight};

impl Mover {
    /// Looks at the node below the edge `name` and sees to what it needs; enters the edges of it
    /// that are due.
    pub(crate) fn tend(&self, name: &EdgeName) -> JobResult {
        let forest = self.views.forest();
        let Some((edge, bounds)) = self.find(&forest, name)? else { return Ok(Outcome::Nothing) };
        if is_due(&edge, &self.limits) {
            self.due.flush(name.clone(), weight(&edge));
        }
        if edge.child.height() == 0 && edge.child.peek().is_none() {
            return Ok(Outcome::Nothing);
        }
        let child = self.table.node(&edge.child)?;
        match remedy(&child.node, &self.limits) {
            Remedy::Nothing => Ok(Outcome::Nothing),
            Remedy::Flush(_) => {
                self.enter_due(name, &bounds, &child.node);
                Ok(Outcome::Nothing)
            }
            Remedy::Split => self.split(name),
            Remedy::Merge => self.merge_with_sibling(name),
        }
    }

    fn enter_due(&self, name: &EdgeName, bounds: &Bounds, node: &Node) {
        let Node::Internal(internal) = node else { return };
        for (index, edge) in internal.edges().iter().enumerate() {
            if is_due(edge, &self.limits) {
                let key = internal.bounds_of(index, bounds).lower;
                let below = EdgeName { tree: name.tree, key, block: edge.child.block() };
                self.due.flush(below, weight(edge));
            }
        }
    }

    /// After a flush: the node below and everything above may need something.
    pub(crate) fn tend_after(&self, name: &EdgeName) {
        let forest = self.views.forest();
        if let Some(tree) = forest.trees.get(&name.tree) {
            self.tend_path(name.tree, &tree.top, &name.key);
        }
    }

    /// Enters a look at every node on the way to `key`, as far as the way is in memory.
    pub(crate) fn tend_path(&self, tree: TreeId, top: &Arc<Edge>, key: &Key) {
        let mut edge = top.clone();
        loop {
            let block = edge.child.block();
            self.due.tend(EdgeName { tree, key: key.clone(), block });
            let resident = edge.child.node();
            let Some(Node::Internal(node)) = resident.as_ref().map(|resident| &resident.node)
            else {
                return;
            };
            edge = node.edge(node.index_of(key)).clone();
        }
    }

    /// Splits the node below the edge `name`.
    fn split(&self, name: &EdgeName) -> JobResult {
        let Some(_claim) = self.claims.take(name.block) else { return Ok(Outcome::Busy) };
        let limits = self.limits;
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |edit, edge, bounds| {
                split_child(edit, edge, bounds, &limits)
            })
        })?;
        if outcome == Outcome::Done {
            self.counters.splits.add(1);
            self.tend_after(name);
        }
        Ok(outcome)
    }

    /// Merges the node below the edge `name` with a sibling, or shrinks the tree when it is the
    /// highest node and has one edge left.
    fn merge_with_sibling(&self, name: &EdgeName) -> JobResult {
        let forest = self.views.forest();
        let Some(tree) = forest.trees.get(&name.tree) else { return Ok(Outcome::Nothing) };
        if tree.top.child.block() == name.block {
            return self.shrink(name, &tree.top);
        }
        let Some((parent, index)) = self.parent_of(&tree.top.clone(), name)? else {
            return Ok(Outcome::Nothing);
        };
        let resident = self.table.node(&parent.child)?;
        let Node::Internal(node) = &resident.node else { return Ok(Outcome::Nothing) };
        let Some(left) = left_of_pair(node, index) else { return Ok(Outcome::Nothing) };
        if node.height > 1 && self.flush_first(name, node, left) {
            return Ok(Outcome::Nothing);
        }
        let (one, other) = (node.edge(left).child.clone(), node.edge(left + 1).child.clone());
        let claims = (self.claims.take(one.block()), self.claims.take(other.block()));
        let (Some(_one), Some(_other)) = claims else { return Ok(Outcome::Busy) };
        self.table.node(&one)?;
        self.table.node(&other)?;
        drop(forest);
        let place = EdgeName { block: parent.child.block(), ..name.clone() };
        let (limits, pair) = (self.limits, (one.block(), other.block()));
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(&place, &mut |edit, edge, _| merge_pair(edit, edge, pair, &limits))
        })?;
        if outcome == Outcome::Done {
            self.counters.merges.add(1);
            self.due.tend(EdgeName { block: one.block(), ..name.clone() });
            self.due.tend(place);
        }
        Ok(outcome)
    }

    /// Internal siblings are merged only under empty buffers, see [`merge_pair`]; enters the
    /// flushes that empty them, after which the pair is looked at again.
    fn flush_first(&self, name: &EdgeName, parent: &Internal, left: usize) -> bool {
        let mut waits = false;
        for index in [left, left + 1] {
            let edge = parent.edge(index);
            if !edge.buffer().is_empty() {
                waits = true;
                // Any key below the edge leads to it; the first one buffered is at hand.
                let key = edge.segments().map(SegmentRef::first).min().map(Key::from);
                let key = key.unwrap_or_else(|| name.key.clone());
                let block = edge.child.block();
                self.due.flush(EdgeName { tree: name.tree, key, block }, weight(edge));
            }
        }
        waits
    }

    /// The edge above the parent of `name`'s node, and where the node is in it.
    fn parent_of(
        &self,
        top: &Arc<Edge>,
        name: &EdgeName,
    ) -> Result<Option<(Arc<Edge>, usize)>, sapwood_cachetable::Fault> {
        let mut edge = top.clone();
        while edge.child.height() > 0 {
            let resident = self.table.node(&edge.child)?;
            let Node::Internal(node) = &resident.node else { return Ok(None) };
            let index = node.index_of(&name.key);
            if node.edge(index).child.block() == name.block {
                return Ok(Some((edge, index)));
            }
            edge = node.edge(index).clone();
        }
        Ok(None)
    }

    fn shrink(&self, name: &EdgeName, top: &Edge) -> JobResult {
        if top.child.height() == 0 {
            return Ok(Outcome::Nothing);
        }
        let Some(_claim) = self.claims.take(name.block) else { return Ok(Outcome::Busy) };
        let child = self.table.node(&top.child)?;
        let Node::Internal(node) = &child.node else { return Ok(Outcome::Nothing) };
        let [only] = node.edges() else { return Ok(Outcome::Nothing) };
        let Some(_below) = self.claims.take(only.child.block()) else { return Ok(Outcome::Busy) };
        let outcome = self.publish(None, &mut |edit| shrink_top(edit, name))?;
        if outcome == Outcome::Done {
            let below = EdgeName { block: only.child.block(), ..name.clone() };
            self.due.tend(below);
        }
        Ok(outcome)
    }
}

/// The left one of the pair that edge `index` should be merged with: the smaller neighbour.
fn left_of_pair(node: &Internal, index: usize) -> Option<usize> {
    let size = |index: usize| node.edges().get(index).map(|edge| edge.bytes());
    let left = index.checked_sub(1).and_then(size);
    match (left, size(index + 1)) {
        (Some(left), Some(right)) if right < left => Some(index),
        (Some(_), _) => Some(index - 1),
        (None, Some(_)) => Some(index),
        (None, None) => None,
    }
}

fn split_child(
    edit: &mut Edit<'_>,
    edge: &Arc<Edge>,
    bounds: &Bounds,
    limits: &Limits,
) -> Result<Replacement, Refused> {
    let resident = edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()))?;
    match &resident.node {
        Node::Leaf(run) => {
            let pieces = cut_into_leaves(run.segments().to_vec(), limits.leaf_bytes);
            if pieces.len() < 2 {
                return Err(Refused::Stale);
            }
            let part = |parts| Run::new(parts, run.oldest(), run.newest());
            let pieces: Vec<Run> = pieces.into_iter().map(part).collect();
            edit.forget(&edge.child);
            Ok(divide(edit, edge, bounds, &pieces))
        }
        Node::Internal(node) if node.edges().len() > limits.fanout => {
            split_internal(edit, edge, bounds, node)
        }
        Node::Internal(_) => Err(Refused::Stale),
    }
}

fn split_internal(
    edit: &mut Edit<'_>,
    edge: &Arc<Edge>,
    bounds: &Bounds,
    node: &Internal,
) -> Result<Replacement, Refused> {
    let Some(at) = pivot_to_split(node) else { return Err(Refused::Stale) };
    let pivot = node.pivots().get(at - 1).expect("a split leaves edges on both sides").clone();
    let (left_edges, right_edges) = node.edges().split_at(at);
    let (left_pivots, right_pivots) = (&node.pivots()[..at - 1], &node.pivots()[at..]);
    let left = Internal::new(node.height, left_pivots.to_vec(), left_edges.to_vec());
    let right = Internal::new(node.height, right_pivots.to_vec(), right_edges.to_vec());
    let left_bounds = Bounds { lower: bounds.lower.clone(), upper: Some(pivot.clone()) };
    let right_bounds = Bounds { lower: pivot.clone(), upper: bounds.upper.clone() };
    let left = edit.changed(&edge.child, Node::Internal(left));
    let block = edit.ledger.name_block();
    let right = edit.node(block, Node::Internal(right));
    let edges =
        vec![Arc::new(edge.clip(&left_bounds, left)), Arc::new(edge.clip(&right_bounds, right))];
    Ok(Replacement { pivots: vec![pivot], edges, above: Above::Changes })
}

/// The number of edges that stay on the left: the one nearest to the middle at which no segment
/// would have an owner on both sides.
fn pivot_to_split(node: &Internal) -> Option<usize> {
    let count = node.edges().len();
    let mut candidates: Vec<usize> = (1..count).collect();
    candidates.sort_by_key(|at| at.abs_diff(count / 2));
    candidates.into_iter().find(|at| !is_shared_across(node, *at))
}

fn is_shared_across(node: &Internal, at: usize) -> bool {
    let clipped = |edges: &[Arc<Edge>]| -> Vec<_> {
        let parts = edges.iter().flat_map(|edge| edge.segments());
        parts.filter(|part| part.is_clipped()).map(|part| part.segment.id()).collect()
    };
    let (left, right) = node.edges().split_at(at);
    let left = clipped(left);
    clipped(right).iter().any(|id| left.contains(id))
}

/// Joins two neighbours under `edge`'s child.
///
/// Everything that waits on an edge is newer than everything below it, whatever the keys: so the
/// runs that meet on an edge lower down have disjoint MSN intervals. Joining an internal node under
/// a full buffer with one whose buffer has moved down already would break that.
fn merge_pair(
    edit: &mut Edit<'_>,
    edge: &Arc<Edge>,
    (one, other): (BlockId, BlockId),
    limits: &Limits,
) -> Result<Replacement, Refused> {
    let resident = edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()))?;
    let Node::Internal(parent) = &resident.node else { return Err(Refused::Stale) };
    let left = parent.edges().iter().position(|edge| edge.child.block() == one);
    let left = left.ok_or(Refused::Stale)?;
    let right_edge = parent.edges().get(left + 1).ok_or(Refused::Stale)?.clone();
    let left_edge = parent.edge(left).clone();
    if right_edge.child.block() != other {
        return Err(Refused::Stale);
    }
    let are_empty = left_edge.buffer().is_empty() && right_edge.buffer().is_empty();
    if parent.height > 1 && !are_empty {
        return Err(Refused::Stale);
    }
    let node_of =
        |edge: &Edge| edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()));
    let (low, high) = (node_of(&left_edge)?, node_of(&right_edge)?);
    let pivot = parent.pivots().get(left).expect("there is an edge on its right").clone();
    let merged = joined(&low.node, &high.node, &pivot, limits).ok_or(Refused::Stale)?;
    edit.remove(&right_edge.child);
    let child = edit.changed(&left_edge.child, merged);
    let buffer = left_edge.buffer().iter().chain(right_edge.buffer()).cloned().collect();
    let both = Arc::new(Edge::new(child, buffer));
    let parent = parent.splice(left, left + 2, &[], vec![both]);
    let child = edit.changed(&edge.child, Node::Internal(parent));
    Ok(Replacement::one(edge.with_child(child), Above::Copied))
}

/// Two siblings as one node, if they fit with room to spare.
fn joined(low: &Node, high: &Node, pivot: &Key, limits: &Limits) -> Option<Node> {
    match (low, high) {
        (Node::Leaf(low), Node::Leaf(high)) => {
            let fits = Limits::fits_merged(low.bytes() + high.bytes(), limits.leaf_bytes)
                || low.is_empty()
                || high.is_empty();
            let parts = low.segments().iter().chain(high.segments()).cloned().collect();
            let (oldest, newest) =
                (low.oldest().min(high.oldest()), low.newest().max(high.newest()));
            fits.then(|| Node::Leaf(Run::new(parts, oldest, newest)))
        }
        (Node::Internal(low), Node::Internal(high)) => {
            let count = low.edges().len() + high.edges().len();
            let pivots: Vec<_> =
                low.pivots().iter().chain([pivot]).chain(high.pivots()).cloned().collect();
            let edges = low.edges().iter().chain(high.edges()).cloned().collect();
            let fits = Limits::fits_merged(count as u64, limits.fanout as u64);
            fits.then(|| Node::Internal(Internal::new(low.height, pivots, edges)))
        }
        _ => None,
    }
}

/// The highest node has one edge left: its child takes its place, and what waited on the two edges
/// waits on one.
fn shrink_top(edit: &mut Edit<'_>, name: &EdgeName) -> Result<(), Refused> {
    let tree = edit.tree(name.tree)?;
    let top = tree.top.clone();
    if top.child.block() != name.block {
        return Err(Refused::Stale);
    }
    let resident = top.child.node().ok_or_else(|| Refused::Absent(top.child.clone()))?;
    let Node::Internal(node) = &resident.node else { return Err(Refused::Stale) };
    let [only] = node.edges() else { return Err(Refused::Stale) };
    let buffer = only.buffer().iter().chain(top.buffer()).cloned().collect();
    edit.remove(&top.child);
    edit.set_top(tree, Arc::new(Edge::new(only.child.clone(), buffer)));
    Ok(())
}
