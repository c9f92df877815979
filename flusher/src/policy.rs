//! Which edge of a node is flushed next: policy, as a pure value.
//!
//! | who | way |
//! |---|---|
//! | the flusher, and its cascades while a child is overfull | [`Pick::Due`] |
//! | the cleaner, when nobody is in a hurry | [`Pick::Heaviest`] |
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
    /// The heaviest of those on which anything waits.
    Heaviest,
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

/// The edge of `node`, which has `bounds`, that `pick` chooses.
pub fn pick(node: &Internal, bounds: &Bounds, pick: Pick<'_>, limits: &Limits) -> Option<usize> {
    let heaviest = |is_candidate: &dyn Fn(&Edge) -> bool| {
        let edges = node.edges().iter().enumerate().filter(|(_, edge)| is_candidate(edge));
        edges.max_by_key(|(_, edge)| weight(edge)).map(|(index, _)| index)
    };
    match pick {
        Pick::Due => heaviest(&|edge| need(edge, limits) == Need::Flush),
        Pick::Heaviest => heaviest(&|edge| !edge.buffer().is_empty()),
        Pick::Toward(key) => Some(node.index_of(key)),
        Pick::Within(range) => node.edges().iter().enumerate().position(|(index, edge)| {
            let meets = !node.bounds_of(index, bounds).intersection(range).is_empty();
            meets && !edge.buffer().is_empty()
        }),
    }
}
