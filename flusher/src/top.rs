//! The top of a tree: it grows when the node below the top edge is split (see
//! [`Edit::replace_edge`]), and shrinks when that node has one edge left.
//!
//! ```text
//! shrink   top -> R -> C  ->  top -> C
//! ```

use std::sync::Arc;

use sapwood_cachetable::StepPoint;
use sapwood_serialize::node::{Edge, Node};

use crate::edit::{EdgeName, Edit, Refused};
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;

impl Mover {
    /// Takes the highest node away if it has one edge left.
    pub(crate) fn shrink(&self, name: &EdgeName) -> JobResult {
        let forest = self.views.forest();
        let Some(tree) = forest.trees.get(&name.tree) else { return Ok(Outcome::Nothing) };
        let top = tree.top.clone();
        if top.child.block() != name.block || top.child.height() == 0 {
            return Ok(Outcome::Nothing);
        }
        let Some(_claim) = self.claims.take(name.block) else { return Ok(Outcome::Busy) };
        let child = self.table.node(&top.child)?;
        let Node::Internal(node) = &child.node else { return Ok(Outcome::Nothing) };
        let [only] = node.edges() else { return Ok(Outcome::Nothing) };
        let Some(_below) = self.claims.take(only.child.block()) else { return Ok(Outcome::Busy) };
        self.table.steps().reach(StepPoint::ShrinkBegun)?;
        let outcome = self.publish(None, &mut |edit| shrink_top(edit, name))?;
        if outcome == Outcome::Done {
            self.counters.shrinks.add(1);
            self.table.steps().pass(StepPoint::ShrinkPublished);
            let below = EdgeName { block: only.child.block(), ..name.clone() };
            self.due.tend(below);
        }
        Ok(outcome)
    }
}

/// The highest node has one edge left: its child takes its place, and what waited on the two edges
/// waits on one.
fn shrink_top(edit: &mut Edit<'_>, name: &EdgeName) -> Result<(), Refused> {
    let tree = edit.tree(name.tree)?;
    let top = tree.top.clone();
    if top.child.block() != name.block {
        return Err(Refused::Stale);
    }
    let resident = top.child.node().ok_or_else(|| Refused::Absent(top.child.clone()))?;
    let Node::Internal(node) = &resident.node else { return Err(Refused::Stale) };
    let [only] = node.edges() else { return Err(Refused::Stale) };
    let buffer = only.buffer().iter().chain(top.buffer()).cloned().collect();
    edit.remove(&top.child);
    edit.set_top(name.tree, Arc::new(Edge::new(only.child.clone(), buffer)));
    Ok(())
}
