//! Point reads.
//!
//! ```text
//! active memtable -> sealed, newest first -> per level: the edge's runs, newest first -> leaf
//! ```
//!
//! By the order rules the first version found on the way is the newest one that is visible.

use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Fault};
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::{Filter, Msn, Op, Page, TreeId};

use crate::slice::{Owner, Slice};
use crate::view::View;

impl Owner for Page {
    fn bytes(&self) -> &[u8] {
        self.image()
    }
}

/// What a read found.
enum Found {
    Value(Slice),
    Deleted,
}

fn found(page: &Arc<Page>, op: Op<'_>) -> Found {
    match op {
        Op::Put(value) => Found::Value(Slice::within(page, value)),
        Op::Delete => Found::Deleted,
    }
}

/// The value of `key` as a reader at `msn` sees it.
pub(crate) fn get(
    table: &Cachetable,
    view: &View,
    tree: TreeId,
    key: &[u8],
    msn: Msn,
) -> Result<Option<Slice>, Fault> {
    for generation in view.generations() {
        if let Some(version) = generation.memtable.get(tree, key, msn) {
            return Ok(match version.op {
                Op::Put(value) => Some(Slice::copy_from(value)),
                Op::Delete => None,
            });
        }
    }
    let Some(tree) = view.forest.trees.get(&tree) else { return Ok(None) };
    match descend(table, &tree.top, key, msn)? {
        Some(Found::Value(value)) => Ok(Some(value)),
        Some(Found::Deleted) | None => Ok(None),
    }
}

fn descend(
    table: &Cachetable,
    top: &Arc<Edge>,
    key: &[u8],
    msn: Msn,
) -> Result<Option<Found>, Fault> {
    let hash = Filter::hash(key);
    let mut edge = top.clone();
    // Held until its child is in memory, so that it is not evicted in between: read again, it would
    // find its children's later images.
    let mut _parent = None;
    loop {
        for run in edge.buffer().iter().rev() {
            if let Some(found) = table.lookup(run, key, hash, msn.to_raw(), found)? {
                return Ok(Some(found));
            }
        }
        let resident = table.node(&edge.child)?;
        edge = match &resident.node {
            Node::Leaf(run) => return table.lookup(run, key, hash, msn.to_raw(), found),
            Node::Internal(node) => node.edge(node.index_of(key)).clone(),
        };
        _parent = Some(resident);
    }
}
