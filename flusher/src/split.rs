//! Split: an oversize node becomes two or more, without a row being rewritten.
//!
//! ```text
//! P [ .. C .. ]  ->  P [ .. C | C2 .. ]       C's buffer is shared by clipping
//! ```
//!
//! It moves references between headers, so all of it happens in one edit under the publish mutex.
//! The claim on the node sees to it that no job is taking from the buffer that is divided.

use std::sync::Arc;

use sapwood_cachetable::StepPoint;
use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run};

use crate::edit::{Above, EdgeName, Edit, Refused, Replacement};
use crate::forest::{JobResult, Outcome};
use crate::limits::Limits;
use crate::mover::Mover;
use crate::reconcile::{Cut, cut_into_leaves, divide};

impl Mover {
    /// Splits the node below the edge `name`.
    pub(crate) fn split(&self, name: &EdgeName) -> JobResult {
        let Some(_claim) = self.claims.take(name.block) else { return Ok(Outcome::Busy) };
        let limits = self.limits;
        self.table.steps().reach(StepPoint::SplitBegun)?;
        let mut counter = &self.counters.internal_splits;
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |edit, edge, bounds| {
                if edge.child.height() == 0 {
                    counter = &self.counters.leaf_splits;
                }
                split_child(edit, edge, bounds, &limits)
            })
        })?;
        if outcome == Outcome::Done {
            counter.add(1);
            self.table.steps().pass(StepPoint::SplitPublished);
            self.tend_after(name);
        }
        Ok(outcome)
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
            let pieces = cut_into_leaves(run.segments().to_vec(), limits.leaf_bytes, Cut::Even);
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
    let (left, pivot, right) = node.split_at(at);
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
pub(crate) fn pivot_to_split(node: &Internal) -> Option<usize> {
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
