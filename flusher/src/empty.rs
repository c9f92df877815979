//! Empty: a dropped tree gives its nodes back, a bottom node at a time, once nobody reads it.
//!
//! ```text
//! top -> R [ .. | P ]            top -> R [ .. ]
//!               P [ a | b ]  =>                      P, its leaves and all their segments are gone
//! ```
//!
//! It goes from right to left. What belongs to a node is known only while the node is in memory, so
//! each step fetches what it lets go first: the headers, no page.
//!
//! Invariants:
//! 1. a tree is emptied only when nobody can see what was before its drop, now or later
//!    ([`Horizon::sees_before`](sapwood_serialize::fold::Horizon::sees_before)): that stays so;
//! 2. every node that goes is claimed: a job from before the drop may still read from it. No other
//!    job begins in a dropped tree, only spills append at its top;
//! 3. what is left is a tree that keeps all order rules.

use std::sync::Arc;

use sapwood_cachetable::StepPoint;
use sapwood_serialize::TreeId;
use sapwood_serialize::node::{Edge, Internal, Node, ResidentNode};

use crate::claims::Claim;
use crate::edit::{Above, Edit, Refused, is_shared};
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;

/// Nodes that are about to go, with those above them.
#[derive(Default)]
struct Going<'a> {
    claims: Vec<Claim<'a>>,
    /// Held so that none goes for the other in a small cache.
    pins: Vec<Arc<ResidentNode>>,
}

impl Mover {
    /// Lets go of the next bottom node of a dropped tree that nobody reads any more; `Nothing` when
    /// there is none, `Busy` while a job from before its drop is at work there.
    pub(crate) fn empty_step(&self) -> JobResult {
        let mut outcome = Outcome::Nothing;
        for tree in self.unread() {
            outcome = self.empty_one(tree)?;
            if outcome != Outcome::Busy {
                break;
            }
        }
        Ok(outcome)
    }

    /// The dropped trees that can be emptied now.
    pub(crate) fn unread(&self) -> Vec<TreeId> {
        let forest = self.views.forest();
        if forest.dropped.is_empty() {
            return Vec::new();
        }
        let horizon = self.views.horizon();
        let unread = forest.dropped.values().filter(|dropped| !horizon.sees_before(dropped.at));
        unread.map(|dropped| dropped.tree.id).collect()
    }

    fn empty_one(&self, tree: TreeId) -> JobResult {
        let forest = self.views.forest();
        // Another thread may have let go of the last of it meanwhile.
        let Some(dropped) = forest.dropped.get(&tree) else { return Ok(Outcome::Done) };
        let Some(_top) = self.claims.take(dropped.tree.top.child.block()) else {
            return Ok(Outcome::Busy);
        };
        self.table.steps().reach(StepPoint::EmptyBegun)?;
        let mut going = Going::default();
        if self.fetch_last(&dropped.tree.top, &mut going)? == Outcome::Busy {
            return Ok(Outcome::Busy);
        }
        drop(forest);
        self.table.steps().reach(StepPoint::EmptyFetched)?;
        let mut nodes = 0;
        let outcome = self.publish(None, &mut |edit| {
            let mut cut = Cut { edit, nodes: 0 };
            cut.tree(tree)?;
            nodes = cut.nodes;
            Ok(())
        })?;
        if outcome == Outcome::Done {
            self.counters.nodes_emptied.add(nodes);
            self.table.steps().pass(StepPoint::EmptyPublished);
        }
        Ok(outcome)
    }

    /// Fetches and claims what lies on the way to the last bottom node, and its leaves. The node
    /// below `edge` is claimed already.
    fn fetch_last<'a>(&'a self, edge: &Edge, going: &mut Going<'a>) -> JobResult {
        let resident = self.table.node(&edge.child)?;
        going.pins.push(resident.clone());
        let Node::Internal(node) = &resident.node else { return Ok(Outcome::Done) };
        let below = if node.height == 1 { node.edges() } else { last_edge(node) };
        for edge in below {
            let Some(claim) = self.claims.take(edge.child.block()) else {
                return Ok(Outcome::Busy);
            };
            going.claims.push(claim);
            if self.fetch_last(edge, going)? == Outcome::Busy {
                return Ok(Outcome::Busy);
            }
        }
        Ok(Outcome::Done)
    }
}

fn last_edge(node: &Internal) -> &[Arc<Edge>] {
    node.edges().split_at(node.edges().len() - 1).1
}

/// An edit that takes the last bottom node from a tree.
struct Cut<'e, 'a> {
    edit: &'e mut Edit<'a>,
    /// How many nodes have gone.
    nodes: u64,
}

impl Cut<'_, '_> {
    fn tree(&mut self, tree: TreeId) -> Result<(), Refused> {
        let top = self.edit.forest.dropped.get(&tree).map(|dropped| dropped.tree.top.clone());
        let top = top.ok_or(Refused::Stale)?;
        match self.below(&top)? {
            Some(rest) => self.edit.set_top(tree, Arc::new(rest)),
            None => {
                self.edit.left_segments(top.segments().map(|part| part.segment.clone()));
                self.edit.forest.dropped.remove(&tree);
            }
        }
        Ok(())
    }

    /// The edge without the last bottom node below it; `None` when nothing is left below.
    fn below(&mut self, edge: &Edge) -> Result<Option<Edge>, Refused> {
        let resident = edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()))?;
        let rest = match &resident.node {
            Node::Leaf(_) => None,
            Node::Internal(node) if node.height == 1 => {
                for leaf in node.edges() {
                    self.below(leaf)?;
                }
                None
            }
            Node::Internal(node) => self.rest_of(node)?,
        };
        let Some((node, above)) = rest else {
            self.edit.left_segments(resident.node.segments().map(|part| part.segment.clone()));
            self.edit.remove(&edge.child);
            self.nodes += 1;
            return Ok(None);
        };
        let child = self.edit.next_version(&edge.child, Node::Internal(node), above);
        Ok(Some(edge.with_child(child)))
    }

    /// The node without the last bottom node below it; `None` when that was all.
    fn rest_of(&mut self, node: &Internal) -> Result<Option<(Internal, Above)>, Refused> {
        let index = node.edges().len() - 1;
        let last = node.edge(index);
        if let Some(rest) = self.below(last)? {
            return Ok(Some((node.with_edge(index, Arc::new(rest)), Above::Copied)));
        }
        let Some(rest) = node.without_last() else { return Ok(None) };
        let parts = last.segments().filter(|part| !is_shared(node, index, part.segment.id()));
        self.edit.left_segments(parts.map(|part| part.segment.clone()));
        Ok(Some((rest, Above::Changes)))
    }
}
