//! Tending: a look at a node, which finds out what it and its edges need, and sees to it.

use std::sync::Arc;

use sapwood_serialize::TreeId;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;

use crate::deletes::lets_go;
use crate::due::URGENT;
use crate::edit::EdgeName;
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;
use crate::policy::weight;
use crate::remedy::{Need, Remedy, need, remedy};

impl Mover {
    /// Looks at the node below the edge `name` and sees to what it needs; enters the edges of it
    /// that are due.
    pub(crate) fn tend(&self, name: &EdgeName) -> JobResult {
        let forest = self.views.forest();
        let Some((edge, bounds)) = self.find(&forest, name)? else { return Ok(Outcome::Nothing) };
        self.enter(name, &edge, &bounds);
        if edge.child.height() == 0 && edge.child.peek().is_none() {
            return Ok(Outcome::Nothing);
        }
        let child = self.table.node(&edge.child)?;
        drop(forest);
        match remedy(&child.node, &self.limits) {
            Remedy::Nothing => {
                self.enter_edges(name, &bounds, &child.node);
                Ok(Outcome::Nothing)
            }
            Remedy::Split => {
                // What is looked at afterwards is the first part alone.
                self.enter_edges(name, &bounds, &child.node);
                self.split(name)
            }
            Remedy::Merge if edge.child.height() == 0 => {
                self.due.merge_leaf(name.clone());
                Ok(Outcome::Nothing)
            }
            Remedy::Merge => {
                self.enter_edges(name, &bounds, &child.node);
                self.merge_with_sibling(name)
            }
        }
    }

    fn enter_edges(&self, name: &EdgeName, bounds: &Bounds, node: &Node) {
        let Node::Internal(internal) = node else { return };
        for (index, edge) in internal.edges().iter().enumerate() {
            let bounds = internal.bounds_of(index, bounds);
            let key = bounds.lower.clone();
            let below = EdgeName { tree: name.tree, key, block: edge.child.block() };
            self.enter(&below, edge, &bounds);
            if self.is_small_leaf(edge) {
                self.due.merge_leaf(below);
            }
        }
    }

    /// Whether a leaf in memory wants to be merged; it may have had no sibling until now.
    fn is_small_leaf(&self, edge: &Edge) -> bool {
        let resident = edge.child.peek();
        let leaf = resident.as_ref().filter(|_| edge.child.height() == 0);
        leaf.is_some_and(|leaf| remedy(&leaf.node, &self.limits) == Remedy::Merge)
    }

    /// Enters what the buffer of the edge `name` needs.
    fn enter(&self, name: &EdgeName, edge: &Edge, bounds: &Bounds) {
        match need(edge, bounds, &self.limits) {
            Need::Nothing => {}
            Need::Gather(_) => self.due.gather(name.clone()),
            Need::Flush if lets_go(edge, bounds, &self.limits) => self.due.let_go(name.clone()),
            Need::Flush if edge.buffer().len() >= self.limits.runs_hard => {
                self.due.flush(name.clone(), URGENT + edge.buffer().len() as u64);
            }
            Need::Flush => self.due.flush(name.clone(), weight(edge).min(URGENT - 1)),
        }
    }

    /// After a flush: the node below and everything above may need something.
    pub(crate) fn tend_after(&self, name: &EdgeName) {
        let forest = self.views.forest();
        if let Some(tree) = forest.trees.get(&name.tree) {
            self.tend_path(name.tree, &tree.top, &name.key);
        }
    }

    /// Enters a look at every node on the way to `key`, as far as the way is in memory.
    pub(crate) fn tend_path(&self, tree: TreeId, top: &Arc<Edge>, key: &Key) {
        let mut edge = top.clone();
        loop {
            let block = edge.child.block();
            self.due.tend(EdgeName { tree, key: key.clone(), block });
            let resident = edge.child.node();
            let Some(Node::Internal(node)) = resident.as_ref().map(|resident| &resident.node)
            else {
                return;
            };
            edge = node.edge(node.index_of(key)).clone();
        }
    }
}
