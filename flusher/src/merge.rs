//! Merge and rebalance: an undersize node and a sibling become one, or share what they have.
//!
//! ```text
//! merge      P [ A | B ]  ->  P [ A ]        when both fit into 3/4 of a node
//! rebalance  P [ A | B ]  ->  P [ A'| B' ]   when they do not: cut again in the middle
//! ```
//!
//! No row is rewritten: it moves references between headers, in one edit under the publish mutex.
//! Claims on both nodes see to it that no job is taking from their buffers. The 3/4 is hysteresis:
//! what was merged is far from being split, and what was shared out far from being merged.
//!
//! Everything that waits on an edge is newer than everything below it, whatever the keys: so the
//! runs that meet on an edge lower down have disjoint MSN intervals. Joining an internal node under
//! a full buffer with one whose buffer has moved down already would break that, so internal nodes
//! are joined only under empty buffers.

use std::sync::Arc;

use sapwood_cachetable::{Fault, StepPoint};
use sapwood_serialize::BlockId;
use sapwood_serialize::node::{Edge, Internal, Node, ResidentNode};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::Key;

use crate::edit::{Above, EdgeName, Edit, Refused, Replacement};
use crate::forest::{Forest, JobResult, Outcome};
use crate::limits::Limits;
use crate::mover::Mover;
use crate::policy::{Pick, weight};
use crate::reconcile::{Cut, cut_into_leaves, divide};
use crate::split::pivot_to_split;
use crate::stop::Stop;

/// What was made of two siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    Merged,
    Balanced,
}

impl Mover {
    /// Merges the underfull leaf below the edge `name`: first everything that waits on the way to
    /// it is flushed into it, from the top on; then, if it still is underfull, a sibling takes it
    /// in or shares with it. Nothing is flushed where no sibling can.
    pub(crate) fn merge_leaf(&self, name: &EdgeName) -> JobResult {
        match self.siblings(name)? {
            Found::Pair(siblings) if self.can_join_leaves(&siblings)? => {}
            Found::Top => return self.merge_with_sibling(name),
            _ => return Ok(Outcome::Nothing),
        }
        self.table.steps().reach(StepPoint::LeafMergeBegun)?;
        self.counters.leaf_merges_started.add(1);
        let merged = self.flush_toward(name).and_then(|flushed| match flushed {
            Outcome::Busy => Ok(Outcome::Busy),
            _ => self.merge_if_undersize(name),
        });
        self.counters.leaf_merges_ended.add(1);
        merged
    }

    /// Flushes every buffer on the way from the top to the node of `name`, in that order.
    fn flush_toward(&self, name: &EdgeName) -> JobResult {
        let forest = self.views.forest();
        let Some(tree) = forest.trees.get(&name.tree) else { return Ok(Outcome::Nothing) };
        let top = EdgeName { block: tree.top.child.block(), ..name.clone() };
        drop(forest);
        self.flush(&top, Pick::Toward(&name.key), Stop::NEVER)
    }

    fn merge_if_undersize(&self, name: &EdgeName) -> JobResult {
        let forest = self.views.forest();
        let Some((edge, _)) = self.find(&forest, name)? else { return Ok(Outcome::Nothing) };
        let leaf = self.table.node(&edge.child)?;
        drop(forest);
        match &leaf.node {
            Node::Leaf(run) if Limits::is_undersize(run.bytes(), self.limits.leaf_bytes) => {
                self.merge_with_sibling(name)
            }
            _ => Ok(Outcome::Nothing),
        }
    }

    /// The node of `name` with the neighbour that it should be joined with.
    fn siblings(&self, name: &EdgeName) -> Result<Found, Fault> {
        let forest = self.views.forest();
        let Some(tree) = forest.trees.get(&name.tree) else { return Ok(Found::Nothing) };
        if tree.top.child.block() == name.block {
            return Ok(Found::Top);
        }
        let Some((parent, bounds, index)) = self.parent_of(&tree.top, name)? else {
            return Ok(Found::Nothing);
        };
        let resident = self.table.node(&parent.child)?;
        let Node::Internal(node) = &resident.node else { return Ok(Found::Nothing) };
        let Some(left) = left_of_pair(node, index) else { return Ok(Found::Nothing) };
        let both = Bounds {
            lower: node.bounds_of(left, &bounds).lower,
            upper: node.bounds_of(left + 1, &bounds).upper,
        };
        let (low, high) = (node.edge(left).clone(), node.edge(left + 1).clone());
        let parent = EdgeName { block: parent.child.block(), ..name.clone() };
        Ok(Found::Pair(Siblings { parent, low, high, both, forest }))
    }

    fn can_join_leaves(&self, siblings: &Siblings) -> Result<bool, Fault> {
        let (low, high) = siblings.fetch(self)?;
        let (Node::Leaf(left), Node::Leaf(right)) = (&low.node, &high.node) else {
            return Ok(false);
        };
        let (total, least) = (left.bytes() + right.bytes(), left.bytes().min(right.bytes()));
        let gains = total / 2 > least + self.limits.segment_bytes / 2;
        let balances = gains && !is_at_an_end(&siblings.both);
        Ok(balances || least == 0 || Limits::fits_merged(total, self.limits.leaf_bytes))
    }

    /// Merges the node below the edge `name` with a sibling or lets them share, or shrinks the tree
    /// when it is the highest node and has one edge left.
    pub(crate) fn merge_with_sibling(&self, name: &EdgeName) -> JobResult {
        let siblings = match self.siblings(name)? {
            Found::Pair(siblings) => siblings,
            Found::Top => return self.shrink(name),
            Found::Nothing => return Ok(Outcome::Nothing),
        };
        let (one, other) = (siblings.low.child.clone(), siblings.high.child.clone());
        if one.height() > 0 && self.flush_first(&siblings) {
            return Ok(Outcome::Nothing);
        }
        let claims = (self.claims.take(one.block()), self.claims.take(other.block()));
        let (Some(_one), Some(_other)) = claims else { return Ok(Outcome::Busy) };
        self.table.steps().reach(StepPoint::MergeBegun)?;
        // Held until the edit is made, so that neither goes for the other in a small cache.
        let _pinned = siblings.fetch(self)?;
        self.table.steps().reach(StepPoint::MergeFetched)?;
        let parent = siblings.parent.clone();
        drop(siblings);
        self.join(name, &parent, (one.block(), other.block()), one.height())
    }

    fn join(
        &self,
        name: &EdgeName,
        place: &EdgeName,
        pair: (BlockId, BlockId),
        height: u8,
    ) -> JobResult {
        let limits = self.limits;
        let mut joined = Joined::Merged;
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(place, &mut |edit, edge, bounds| {
                let (replacement, what) = join_pair(edit, edge, bounds, pair, &limits)?;
                joined = what;
                Ok(replacement)
            })
        })?;
        if outcome == Outcome::Done {
            let counters = &self.counters;
            let counter = match (joined, height) {
                (Joined::Merged, 0) => &counters.leaf_merges,
                (Joined::Merged, _) => &counters.internal_merges,
                (Joined::Balanced, 0) => &counters.leaf_balances,
                (Joined::Balanced, _) => &counters.internal_balances,
            };
            counter.add(1);
            self.table.steps().pass(StepPoint::MergePublished);
            self.due.tend(EdgeName { block: pair.0, ..name.clone() });
            self.due.tend(place.clone());
        }
        Ok(outcome)
    }

    /// Internal siblings are merged only under empty buffers, see the module's head; enters the
    /// flushes that empty them, after which the pair is looked at again.
    fn flush_first(&self, siblings: &Siblings) -> bool {
        let mut waits = false;
        for edge in [&siblings.low, &siblings.high] {
            if !edge.buffer().is_empty() {
                waits = true;
                // Any key below the edge leads to it; the first one buffered is at hand.
                let key = edge.buffer().iter().filter_map(|run| run.first()).min().map(Key::from);
                let key = key.unwrap_or_else(|| siblings.both.lower.clone());
                let (tree, block) = (siblings.parent.tree, edge.child.block());
                self.due.flush(EdgeName { tree, key, block }, weight(edge));
            }
        }
        waits
    }

    /// The edge above the parent of `name`'s node with its bounds, and where the node is in it.
    fn parent_of(
        &self,
        top: &Arc<Edge>,
        name: &EdgeName,
    ) -> Result<Option<(Arc<Edge>, Bounds, usize)>, Fault> {
        let (mut edge, mut bounds) = (top.clone(), Bounds::all());
        while edge.child.height() > 0 {
            let resident = self.table.node(&edge.child)?;
            let Node::Internal(node) = &resident.node else { return Ok(None) };
            let index = node.index_of(&name.key);
            if node.edge(index).child.block() == name.block {
                return Ok(Some((edge, bounds, index)));
            }
            bounds = node.bounds_of(index, &bounds);
            edge = node.edge(index).clone();
        }
        Ok(None)
    }
}

/// Where a node stands among others.
enum Found {
    Pair(Siblings),
    /// It is the highest of its tree.
    Top,
    /// It is gone, or the only child of its parent.
    Nothing,
}

/// Two neighbours below one node.
struct Siblings {
    /// The edge above their parent.
    parent: EdgeName,
    low: Arc<Edge>,
    high: Arc<Edge>,
    /// The bounds of both together.
    both: Bounds,
    /// Held so that their images stay where they are.
    forest: Arc<Forest>,
}

impl Siblings {
    fn fetch(&self, mover: &Mover) -> Result<(Arc<ResidentNode>, Arc<ResidentNode>), Fault> {
        debug_assert!(self.forest.trees.contains_key(&self.parent.tree));
        Ok((mover.table.node(&self.low.child)?, mover.table.node(&self.high.child)?))
    }
}

/// At the ends of a tree a small leaf is one that grows: it takes nothing from its neighbour.
fn is_at_an_end(bounds: &Bounds) -> bool {
    bounds.upper.is_none() || bounds.lower.is_empty()
}

/// The left one of the pair that edge `index` should be joined to: with the smaller neighbour, as
/// far as they are in memory; with the left one where that tells nothing.
fn left_of_pair(node: &Internal, index: usize) -> Option<usize> {
    let size = |index: usize| node.edges().get(index).map(|edge| size_of_child(edge));
    let left = index.checked_sub(1).and_then(size);
    match (left, size(index + 1)) {
        (Some(left), Some(right)) if right < left => Some(index),
        (Some(_), _) => Some(index - 1),
        (None, Some(_)) => Some(index),
        (None, None) => None,
    }
}

/// The bytes of a leaf, the edges of an internal node; the most for what is not in memory.
fn size_of_child(edge: &Edge) -> u64 {
    let resident = edge.child.peek();
    match resident.as_ref().map(|resident| &resident.node) {
        Some(Node::Leaf(run)) => run.bytes(),
        Some(Node::Internal(node)) => node.edges().len() as u64,
        None => u64::MAX,
    }
}

/// Joins two neighbours under `edge`'s child.
pub(crate) fn join_pair(
    edit: &mut Edit<'_>,
    edge: &Arc<Edge>,
    bounds: &Bounds,
    (one, other): (BlockId, BlockId),
    limits: &Limits,
) -> Result<(Replacement, Joined), Refused> {
    let resident = edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()))?;
    let Node::Internal(parent) = &resident.node else { return Err(Refused::Stale) };
    let left = parent.edges().iter().position(|edge| edge.child.block() == one);
    let left = left.ok_or(Refused::Stale)?;
    let high = parent.edges().get(left + 1).ok_or(Refused::Stale)?.clone();
    let low = parent.edge(left).clone();
    if high.child.block() != other {
        return Err(Refused::Stale);
    }
    let are_empty = low.buffer().is_empty() && high.buffer().is_empty();
    if parent.height > 1 && !are_empty {
        return Err(Refused::Stale);
    }
    let pivot = parent.pivots().get(left).expect("there is an edge on its right").clone();
    let both = Bounds {
        lower: parent.bounds_of(left, bounds).lower,
        upper: parent.bounds_of(left + 1, bounds).upper,
    };
    let node_of =
        |edge: &Edge| edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()));
    let pair = Pair { low: &low, high: &high, pivot: &pivot, bounds: &both };
    let (made, joined) = match (&node_of(&low)?.node, &node_of(&high)?.node) {
        (Node::Leaf(left), Node::Leaf(right)) => pair.join_leaves(edit, left, right, limits)?,
        (Node::Internal(left), Node::Internal(right)) => {
            pair.join_internals(edit, left, right, limits)?
        }
        _ => return Err(Refused::Stale),
    };
    let parent = parent.splice(left, left + 2, &made.pivots, made.edges);
    let child = edit.changed(&edge.child, Node::Internal(parent));
    Ok((Replacement::one(edge.with_child(child), Above::Copied), joined))
}

/// Two neighbouring edges with the pivot between them.
struct Pair<'a> {
    low: &'a Edge,
    high: &'a Edge,
    pivot: &'a Key,
    /// Of both together.
    bounds: &'a Bounds,
}

impl Pair<'_> {
    /// Both buffers above the left child. What is on one side overlaps nothing on the other.
    fn edge(&self) -> Edge {
        let buffer = self.low.buffer().iter().chain(self.high.buffer()).cloned().collect();
        Edge::new(self.low.child.clone(), buffer)
    }

    fn join_leaves(
        &self,
        edit: &mut Edit<'_>,
        left: &Run,
        right: &Run,
        limits: &Limits,
    ) -> Result<(Replacement, Joined), Refused> {
        let parts: Vec<SegmentRef> =
            left.segments().iter().chain(right.segments()).cloned().collect();
        let total = left.bytes() + right.bytes();
        let fits = Limits::fits_merged(total, limits.leaf_bytes);
        let (pieces, joined) = if fits || left.is_empty() || right.is_empty() {
            (vec![parts], Joined::Merged)
        } else {
            let pieces = cut_into_leaves(parts, total.div_ceil(2), Cut::Even);
            let bytes = |parts: &Vec<SegmentRef>| parts.iter().map(|part| part.bytes).sum::<u64>();
            let least = pieces.iter().map(bytes).min().unwrap_or(0);
            // Large segments may leave no better cut than the one that is there.
            if pieces.len() != 2
                || least <= left.bytes().min(right.bytes())
                || is_at_an_end(self.bounds)
            {
                return Err(Refused::Stale);
            }
            (pieces, Joined::Balanced)
        };
        let (oldest, newest) = match (left.is_empty(), right.is_empty()) {
            (true, _) => (right.oldest(), right.newest()),
            (_, true) => (left.oldest(), left.newest()),
            _ => (left.oldest().min(right.oldest()), left.newest().max(right.newest())),
        };
        let pieces: Vec<Run> =
            pieces.into_iter().map(|parts| Run::new(parts, oldest, newest)).collect();
        edit.forget(&self.low.child);
        edit.remove(&self.high.child);
        Ok((divide(edit, &self.edge(), self.bounds, &pieces), joined))
    }

    fn join_internals(
        &self,
        edit: &mut Edit<'_>,
        left: &Internal,
        right: &Internal,
        limits: &Limits,
    ) -> Result<(Replacement, Joined), Refused> {
        let pivots: Vec<_> =
            left.pivots().iter().chain([self.pivot]).chain(right.pivots()).cloned().collect();
        let edges: Vec<_> = left.edges().iter().chain(right.edges()).cloned().collect();
        let count = edges.len();
        let all = Internal::new(left.height, pivots, edges);
        if Limits::fits_merged(count as u64, limits.fanout as u64) {
            edit.remove(&self.high.child);
            let child = edit.changed(&self.low.child, Node::Internal(all));
            let edge = self.edge().with_child(child);
            return Ok((Replacement::one(edge, Above::Changes), Joined::Merged));
        }
        let at = pivot_to_split(&all).ok_or(Refused::Stale)?;
        if at.min(count - at) <= left.edges().len().min(right.edges().len()) {
            return Err(Refused::Stale);
        }
        let (left, pivot, right) = all.split_at(at);
        let low = edit.changed(&self.low.child, Node::Internal(left));
        let high = edit.changed(&self.high.child, Node::Internal(right));
        let edges =
            vec![Arc::new(Edge::new(low, Vec::new())), Arc::new(Edge::new(high, Vec::new()))];
        let replacement = Replacement { pivots: vec![pivot], edges, above: Above::Changes };
        Ok((replacement, Joined::Balanced))
    }
}
