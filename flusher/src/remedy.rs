//! What a node needs: decided here, as values, done elsewhere.

use sapwood_serialize::node::{Edge, Internal, Node};

use crate::limits::Limits;

/// What should be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing.
    Nothing,
    /// The buffer of this edge should move down.
    Flush(usize),
    /// It has become too large.
    Split,
    /// It has become so small that a sibling should take it in.
    Merge,
}

/// What `node` needs most. A split comes first, since a large node makes everything slow; a merge
/// last, since it can wait.
pub fn remedy(node: &Node, limits: &Limits) -> Remedy {
    match node {
        Node::Internal(internal) => {
            if internal.edges().len() > limits.fanout {
                return Remedy::Split;
            }
            if let Some(index) = heaviest_due(internal, limits) {
                return Remedy::Flush(index);
            }
            let edges = internal.edges().len() as u64;
            merge_if(Limits::is_undersize(edges, limits.fanout as u64).then_some(()))
        }
        Node::Leaf(run) if run.bytes() > limits.leaf_bytes && run.segments().len() > 1 => {
            Remedy::Split
        }
        Node::Leaf(run) => {
            merge_if(Limits::is_undersize(run.bytes(), limits.leaf_bytes).then_some(()))
        }
    }
}

fn merge_if(rule: Option<()>) -> Remedy {
    rule.map_or(Remedy::Nothing, |()| Remedy::Merge)
}

/// The edge with the most to move among those that are due.
fn heaviest_due(node: &Internal, limits: &Limits) -> Option<usize> {
    let due = node.edges().iter().enumerate().filter(|(_, edge)| is_due(edge, limits));
    due.max_by_key(|(_, edge)| weight(edge)).map(|(index, _)| index)
}

/// How much there is to gain from moving an edge's buffer.
pub fn weight(edge: &Edge) -> u64 {
    edge.bytes()
}

/// Whether an edge's buffer is due: it has too many runs, or enough bytes to be worth the move.
pub fn is_due(edge: &Edge, limits: &Limits) -> bool {
    let runs = edge.buffer().len();
    if edge.child.height() == 0 {
        let enough = limits.leaf_bytes * limits.leaf_due_percent / 100;
        runs > limits.leaf_runs || edge.bytes() >= enough
    } else {
        runs > limits.runs || edge.bytes() >= limits.piece_bytes * fanout_of(edge, limits)
    }
}

fn fanout_of(edge: &Edge, limits: &Limits) -> u64 {
    let resident = edge.child.peek();
    match resident.as_ref().map(|resident| &resident.node) {
        Some(Node::Internal(node)) => node.edges().len() as u64,
        _ => limits.fanout as u64,
    }
}
