//! Which edge of a node is flushed next: policy, as a pure value.
//!
//! | who | way |
//! |---|---|
//! | the flusher, and its cascades while a child is overfull | [`Pick::Due`] |
//! | the cleaner, when nobody is in a hurry | [`clean_order`], of all edges of all trees |
//! | whoever merges an underfull leaf, to empty the path first | [`Pick::Toward`] |
//! | a drain or compaction of a range, to leave nothing behind | [`Pick::Within`] |

use sapwood_serialize::node::{Edge, Internal};
use sapwood_serialize::run::Bounds;

use crate::limits::Limits;
use crate::remedy::{Need, need};

/// A way to choose; see the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick<'k> {
    /// The heaviest of those that should move.
    Due,
    /// The one that leads to this key, whatever waits there.
    Toward(&'k [u8]),
    /// The first within these bounds on which anything waits.
    Within(&'k Bounds),
}

/// How much there is to gain from moving an edge's buffer: the bytes that wait, and the work that
/// readers had because of them.
pub fn weight(edge: &Edge) -> u64 {
    edge.bytes().saturating_add(edge.work())
}

/// What the cleaner takes last and first: edges high up go before those below them, since what lies
/// above a leaf would make it be rewritten once more, and on each level the heaviest goes first.
pub fn clean_order(height: u8, weight: u64) -> impl Ord {
    (height, weight)
}

/// The edge of `node`, which has `bounds`, that `pick` chooses.
pub fn pick(node: &Internal, bounds: &Bounds, pick: Pick<'_>, limits: &Limits) -> Option<usize> {
    match pick {
        Pick::Due => {
            let edges = node.edges().iter().enumerate();
            let due = edges.filter(|(index, edge)| {
                need(edge, &node.bounds_of(*index, bounds), limits) == Need::Flush
            });
            due.max_by_key(|(_, edge)| weight(edge)).map(|(index, _)| index)
        }
        Pick::Toward(key) => Some(node.index_of(key)),
        Pick::Within(range) => node.edges().iter().enumerate().position(|(index, edge)| {
            let meets = !node.bounds_of(index, bounds).intersection(range).is_empty();
            meets && !edge.buffer().is_empty()
        }),
    }
}
