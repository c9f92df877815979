//! Relocate: what lies far out in a file that has become mostly empty is written again further in,
//! so that the file can be shortened.

use std::sync::Arc;

use sapwood_cachetable::Fault;
use sapwood_serialize::TreeId;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Bounds;

use crate::edit::{Above, EdgeName, Replacement};
use crate::effort::{Effort, FarOut};
use crate::forest::Outcome;
use crate::mover::Mover;
use crate::stop::Stop;

impl Mover {
    /// Gives every node and leaf segment that lies far out a new image, to be written by the next
    /// checkpoint. Buffers stay where they are: they move anyhow.
    pub fn relocate(&self, far_out: FarOut) -> Result<(), Fault> {
        let forest = self.views.forest();
        for tree in forest.trees.values() {
            self.relocate_below(tree.id, &tree.top, &Bounds::all(), far_out)?;
        }
        Ok(())
    }

    fn relocate_below(
        &self,
        tree: TreeId,
        edge: &Arc<Edge>,
        bounds: &Bounds,
        far_out: FarOut,
    ) -> Result<(), Fault> {
        let name = EdgeName { tree, key: bounds.lower.clone(), block: edge.child.block() };
        let resident = self.table.node(&edge.child)?;
        match &resident.node {
            Node::Leaf(leaf) if far_out.has_rows_of(leaf) => self.relocate_rows(&name, far_out)?,
            Node::Leaf(_) => {}
            Node::Internal(node) => {
                for (index, edge) in node.edges().iter().enumerate() {
                    self.relocate_below(tree, edge, &node.bounds_of(index, bounds), far_out)?;
                }
            }
        }
        if far_out.has(edge.child.image().place().map(|place| place.extent.offset)) {
            self.relocate_node(&name)?;
        }
        Ok(())
    }

    /// The node as it is then, with an image of its own.
    fn relocate_node(&self, name: &EdgeName) -> Result<(), Fault> {
        let Some(_claim) = self.claims.take(name.block) else { return Ok(()) };
        self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |edit, edge, _| {
                let absent = || crate::edit::Refused::Absent(edge.child.clone());
                let resident = edge.child.node().ok_or_else(absent)?;
                let child = edit.changed(&edge.child, resident.node.clone());
                Ok(Replacement::one(edge.with_child(child), Above::Copied))
            })
        })?;
        Ok(())
    }

    /// Rewrites the segments of a leaf that lie far out, and takes in what waits above it.
    fn relocate_rows(&self, name: &EdgeName, far_out: FarOut) -> Result<(), Fault> {
        let Some(_claim) = self.claims.take(name.block) else { return Ok(()) };
        let forest = self.views.forest();
        let Some((edge, bounds)) = self.find(&forest, name)? else { return Ok(()) };
        let child = self.table.node(&edge.child)?;
        let taken = self.take(name, edge, bounds, &forest);
        drop(forest);
        let Node::Leaf(leaf) = &child.node else { return Ok(()) };
        let effort = Effort::Beyond(far_out);
        let moved = self.reconcile_with(name, &taken, leaf, effort, Stop::NEVER)?;
        debug_assert_ne!(moved, Outcome::Busy);
        Ok(())
    }
}
