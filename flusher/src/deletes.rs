//! Range deletes that are worth moving for their own sake: on the next level they let something go
//! unread, or further down more than has to move for it, and with it space.

use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::tombstone::Tombstone;

use crate::forest::{JobResult, Outcome};
use crate::limits::Limits;
use crate::mover::Mover;

/// Whether a range delete on `edge`, which has `bounds`, covers all that lies below one of the
/// child's edges, or a segment of a leaf; of a child that is not in memory, all of it. Or, further
/// down, leaves that hold more than would have to move on the way there.
pub fn lets_go(edge: &Edge, bounds: &Bounds, limits: &Limits) -> bool {
    let mut pieces = edge.buffer().iter().flat_map(|run| run.tombstones().pieces());
    pieces.any(|piece| {
        let covered = covered_below(piece, edge, bounds, limits);
        covered.next_level || covered.leaves.saturating_mul(limits.leaf_bytes / 2) > edge.bytes()
    })
}

/// What a range delete covers of all that lies below an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Covered {
    /// Whether something is let go when it moves one level down.
    next_level: bool,
    /// How many leaves it covers, about: nodes are taken to be half full.
    leaves: u64,
}

/// Looks at what is in memory along the two ends of `piece`: everything between them is covered.
fn covered_below(piece: &Tombstone, edge: &Edge, bounds: &Bounds, limits: &Limits) -> Covered {
    if covers(piece, bounds) {
        return Covered { next_level: true, leaves: leaves_below(edge, limits) };
    }
    let resident = edge.child.peek();
    match resident.as_ref().map(|resident| &resident.node) {
        Some(Node::Internal(node)) => covered_edges(piece, node, bounds, limits),
        Some(Node::Leaf(run)) => Covered { next_level: covers_a_segment(piece, run), leaves: 0 },
        None => Covered { next_level: false, leaves: 0 },
    }
}

fn covered_edges(piece: &Tombstone, node: &Internal, bounds: &Bounds, limits: &Limits) -> Covered {
    let first = node.index_of(&piece.lower);
    let last = match &piece.upper {
        Some(upper) => node.index_of(upper),
        None => node.edges().len() - 1,
    };
    let within = (first + 1).min(last)..last;
    let between: u64 = within.map(|index| leaves_below(node.edge(index), limits)).sum();
    let mut covered = Covered { next_level: between > 0, leaves: between };
    for index in [first, last].into_iter().take(1 + usize::from(first < last)) {
        let (edge, bounds) = (node.edge(index), node.bounds_of(index, bounds));
        covered.next_level |= covers(piece, &bounds);
        covered.leaves += covered_below(piece, edge, &bounds, limits).leaves;
    }
    covered
}

/// How many leaves lie below `edge` when each node is half full.
fn leaves_below(edge: &Edge, limits: &Limits) -> u64 {
    let per_node = (limits.fanout as u64 / 2).max(2);
    per_node.saturating_pow(u32::from(edge.child.height()))
}

fn covers(piece: &Tombstone, bounds: &Bounds) -> bool {
    let ends = match (&piece.upper, &bounds.upper) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(upper), Some(most)) => upper >= most,
    };
    piece.lower <= bounds.lower && ends
}

fn covers_a_segment(piece: &Tombstone, leaf: &Run) -> bool {
    let next = leaf.segments().partition_point(|part| *part.first() < *piece.lower);
    let first = leaf.segments().get(next);
    first.is_some_and(|part| piece.upper.as_ref().is_none_or(|upper| part.is_below(upper)))
}

impl Mover {
    /// Moves range deletes down one level where that lets something go, or has a dropped tree give
    /// nodes back, so that the next checkpoint has the space. `Nothing` when there is no more of it
    /// to do, `Busy` while other threads are at it.
    pub fn let_go(&self) -> JobResult {
        // Looks find more of it. One that cannot be had now is left to the background.
        let mut has_split = false;
        for _ in 0..self.due.looks() {
            if let Some(look) = self.due.next_look() {
                has_split |= self.run(look)? == Outcome::Done;
            }
        }
        match self.due.next_to_let_go() {
            Some(task) => self.run(task).map(|outcome| match outcome {
                Outcome::Busy => Outcome::Busy,
                // Whatever came of it, there may be more.
                Outcome::Done | Outcome::Nothing => Outcome::Done,
            }),
            // The parts want to be looked at.
            None if has_split => Ok(Outcome::Done),
            None if self.due.is_letting_go() => Ok(Outcome::Busy),
            None => self.empty_step(),
        }
    }
}
