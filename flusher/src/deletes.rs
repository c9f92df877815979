//! Range deletes that are worth moving for their own sake: on the next level they let something go
//! unread, and with it space.

use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::tombstone::Tombstone;

use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;

/// Whether a range delete on `edge`, which has `bounds`, covers all that lies below one of the
/// child's edges, or a segment of a leaf; of a child that is not in memory, all of it.
pub fn lets_go(edge: &Edge, bounds: &Bounds) -> bool {
    let mut pieces = edge.buffer().iter().flat_map(|run| run.tombstones().pieces());
    let resident = edge.child.peek();
    match resident.as_ref().map(|resident| &resident.node) {
        Some(Node::Internal(node)) => pieces.any(|piece| covers_an_edge(piece, node, bounds)),
        Some(Node::Leaf(run)) => pieces.any(|piece| covers_a_segment(piece, run)),
        None => pieces.any(|piece| covers(piece, bounds)),
    }
}

fn covers(piece: &Tombstone, bounds: &Bounds) -> bool {
    let ends = match (&piece.upper, &bounds.upper) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(upper), Some(most)) => upper >= most,
    };
    piece.lower <= bounds.lower && ends
}

/// Only the edge in which the piece begins and the next one can be the first that it covers.
fn covers_an_edge(piece: &Tombstone, node: &Internal, bounds: &Bounds) -> bool {
    let first = node.index_of(&piece.lower);
    let candidates = (first..node.edges().len()).take(2);
    candidates.into_iter().any(|index| covers(piece, &node.bounds_of(index, bounds)))
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
        for _ in 0..self.due.looks() {
            if let Some(look) = self.due.next_look() {
                self.run(look)?;
            }
        }
        match self.due.next_to_let_go() {
            Some(task) => self.run(task).map(|outcome| match outcome {
                Outcome::Busy => Outcome::Busy,
                // Whatever came of it, there may be more.
                Outcome::Done | Outcome::Nothing => Outcome::Done,
            }),
            None if self.due.is_letting_go() => Ok(Outcome::Busy),
            None => self.empty_step(),
        }
    }
}
