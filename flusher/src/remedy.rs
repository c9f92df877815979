//! What a node or an edge needs: decided here, as values, done elsewhere.

use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Bounds;

use crate::deletes::lets_go;
use crate::limits::Limits;

/// What should be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing.
    Nothing,
    /// It has become too large.
    Split,
    /// It has become so small that a sibling should take it in, or give it something.
    Merge,
}

/// What `node` needs. Its edges are looked at one by one, see [`need`].
pub fn remedy(node: &Node, limits: &Limits) -> Remedy {
    match node {
        Node::Internal(internal) => {
            let edges = internal.edges().len();
            if edges > limits.fanout {
                Remedy::Split
            } else if edges == 1 {
                // It says nothing that its parent could not say.
                Remedy::Merge
            } else {
                merge_if_undersize(edges as u64, limits.fanout as u64)
            }
        }
        Node::Leaf(run) if run.bytes() > limits.leaf_bytes && run.segments().len() > 1 => {
            Remedy::Split
        }
        Node::Leaf(run) => merge_if_undersize(run.bytes(), limits.leaf_bytes),
    }
}

fn merge_if_undersize(amount: u64, most: u64) -> Remedy {
    if Limits::is_undersize(amount, most) { Remedy::Merge } else { Remedy::Nothing }
}

/// What should be done to the buffer of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The runs from this one on are many and small: they should become one, where they are.
    Gather(usize),
    /// It should move down.
    Flush,
}

/// What the buffer of `edge` needs.
///
/// It moves when there is enough to be worth the move: pieces of [`Limits::flush_piece_bytes`] for
/// each grandchild, or a share of a leaf. Readers' work counts up to three times the bytes, so that
/// what is read much moves early, but never for next to nothing. Where only the count of runs
/// presses and there is less than a quarter of enough, the newest ones are gathered instead: a
/// trickle of small spills must not rewrite what lies below.
///
/// Range deletes that let something go unread move at once.
pub fn need(edge: &Edge, bounds: &Bounds, limits: &Limits) -> Need {
    if lets_go(edge, bounds, limits) {
        return Need::Flush;
    }
    let most = Most::of(edge, limits);
    if most.fill_percent(edge) < 100 {
        return Need::Nothing;
    }
    let only_runs = most.percent_of_rest(edge) < 100 && edge.bytes() < most.bytes / 4;
    match newest_small_runs(edge) {
        Some(first) if only_runs => Need::Gather(first),
        _ => Need::Flush,
    }
}

/// How much of what makes it move is in the buffer of `edge`: from 100 on it needs something.
pub fn fill_percent(edge: &Edge, bounds: &Bounds, limits: &Limits) -> u64 {
    let percent = Most::of(edge, limits).fill_percent(edge);
    if lets_go(edge, bounds, limits) { percent.max(100) } else { percent }
}

/// What a buffer holds before it needs something.
struct Most {
    runs: u64,
    bytes: u64,
}

impl Most {
    fn of(edge: &Edge, limits: &Limits) -> Most {
        if edge.child.height() == 0 {
            let bytes = limits.leaf_bytes * limits.leaf_due_percent / 100;
            Most { runs: limits.leaf_runs as u64 + 1, bytes }
        } else {
            let bytes = limits.flush_piece_bytes * fanout_of(edge, limits);
            Most { runs: limits.runs as u64 + 1, bytes }
        }
    }

    fn fill_percent(&self, edge: &Edge) -> u64 {
        percent(edge.buffer().len() as u64, self.runs).max(self.percent_of_rest(edge))
    }

    /// Of everything but the count of runs.
    fn percent_of_rest(&self, edge: &Edge) -> u64 {
        if edge.buffer().is_empty() {
            return 0;
        }
        let bytes = edge.bytes();
        let pressing = bytes.saturating_add(edge.work().min(bytes.saturating_mul(3)));
        let deletes = edge.buffer().iter().map(|run| run.tombstones().pieces().len() as u64);
        percent(pressing, self.bytes).max(percent(deletes.sum(), DELETES_MOST))
    }
}

/// Rounded down, so that 100 means all of it.
fn percent(amount: u64, most: u64) -> u64 {
    let percent = u128::from(amount) * 100 / u128::from(most.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

/// With so many pieces of range deletes on one edge its node's header becomes large.
const DELETES_MOST: u64 = 1024;

/// The first of the newest runs that are of about one size: each at most twice what is newer.
/// `None` where joining them would let their MSNs overlap those of others.
fn newest_small_runs(edge: &Edge) -> Option<usize> {
    let runs = edge.buffer();
    let mut first = runs.len().checked_sub(2)?;
    let mut newer: u64 = runs.get(first..)?.iter().map(|run| run.bytes()).sum();
    while let Some(older) = first.checked_sub(1) {
        let bytes = runs.get(older)?.bytes();
        if bytes > 2 * newer {
            break;
        }
        newer += bytes;
        first = older;
    }
    let (rest, joined) = runs.split_at(first);
    let oldest = joined.iter().map(|run| run.oldest()).min()?;
    rest.iter().all(|run| run.newest() < oldest).then_some(first)
}

fn fanout_of(edge: &Edge, limits: &Limits) -> u64 {
    let resident = edge.child.peek();
    match resident.as_ref().map(|resident| &resident.node) {
        Some(Node::Internal(node)) => node.edges().len() as u64,
        _ => limits.fanout as u64,
    }
}
