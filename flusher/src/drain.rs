//! Drain: a stretch of a tree is left with nothing waiting above its leaves.
//!
//! ```text
//! top edge, then from left to right: an edge before what lies below it
//! ```
//!
//! In this order each leaf is rewritten once, whatever waits for it at how many levels.

use std::sync::Arc;

use sapwood_cachetable::{Fault, StepPoint};
use sapwood_serialize::TreeId;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::segment::{Content, Key};

use crate::edit::EdgeName;
use crate::effort::Effort;
use crate::flush::Flushed;
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;
use crate::policy::{Pick, pick};
use crate::stop::Stop;

/// A stretch of a tree that is drained from left to right.
#[derive(Clone, Debug)]
pub struct Drain {
    tree: TreeId,
    /// What is left to be drained.
    rest: Bounds,
}

/// The first edge on which something waits.
struct Waiting {
    name: EdgeName,
    height: u8,
}

impl Drain {
    /// A drain of the keys of `tree` within `bounds`.
    pub fn new(tree: TreeId, bounds: Bounds) -> Drain {
        Drain { tree, rest: bounds }
    }

    fn go_on_behind(&mut self, bounds: &Bounds) -> Outcome {
        match &bounds.upper {
            Some(upper) => {
                self.rest.lower = upper.clone().max(self.rest.lower.clone());
                Outcome::Done
            }
            None => {
                self.rest.upper = Some(self.rest.lower.clone());
                Outcome::Nothing
            }
        }
    }
}

impl Mover {
    /// Cuts a drain into at most `most` shares, at the pivots of the tree's highest node, with
    /// about as many of its edges each.
    pub fn shares(&self, drain: &Drain, most: usize) -> Result<Vec<Drain>, Fault> {
        let forest = self.views.forest();
        let Some(tree) = forest.trees.get(&drain.tree) else { return Ok(Vec::new()) };
        let resident = self.table.node(&tree.top.child)?;
        let mut cuts: Vec<Key> = match &resident.node {
            Node::Internal(node) => node.pivots().to_vec(),
            Node::Leaf(_) => Vec::new(),
        };
        cuts.retain(|pivot| drain.rest.contains(pivot) && **pivot > *drain.rest.lower);
        let edges = cuts.len() + 1;
        let chosen = (1..most).map(|share| share * edges / most).filter(|index| *index > 0);
        let mut shares = vec![drain.clone()];
        for cut in chosen.filter_map(|index| cuts.get(index - 1)) {
            let Some(last) = shares.last_mut().filter(|last| *last.rest.lower < **cut) else {
                continue;
            };
            let behind = Bounds { lower: cut.clone(), upper: last.rest.upper.replace(cut.clone()) };
            shares.push(Drain::new(drain.tree, behind));
        }
        Ok(shares)
    }

    /// Moves the next buffer of a drain one level down; `Nothing` when nothing waits any more.
    pub fn drain_step(&self, drain: &mut Drain, stop: Stop<'_>) -> JobResult {
        let forest = self.views.forest();
        let Some(tree) = forest.trees.get(&drain.tree) else { return Ok(Outcome::Nothing) };
        let (top, all) = (tree.top.clone(), Bounds::all());
        if drain.rest.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let Some(first) = self.first_waiting(drain, &top, &all)? else {
            return Ok(Outcome::Nothing);
        };
        drop(forest);
        let Flushed { outcome, bounds } = self.flush_edge(&first.name, stop)?;
        // Not behind where the leaf was seen: it may have given some of its keys to its neighbour
        // meanwhile, with what waits for them.
        if let Some(bounds) = bounds.filter(|_| outcome == Outcome::Done && first.height == 0) {
            drain.go_on_behind(&bounds);
        }
        // What is stale now is looked for again.
        Ok(if outcome == Outcome::Nothing { Outcome::Done } else { outcome })
    }

    fn first_waiting(
        &self,
        drain: &Drain,
        edge: &Arc<Edge>,
        bounds: &Bounds,
    ) -> Result<Option<Waiting>, Fault> {
        let height = edge.child.height();
        if !edge.buffer().is_empty() {
            let key = bounds.intersection(&drain.rest).lower;
            let name = EdgeName { tree: drain.tree, key, block: edge.child.block() };
            return Ok(Some(Waiting { name, height }));
        }
        if height == 0 {
            return Ok(None);
        }
        let resident = self.table.node(&edge.child)?;
        let Node::Internal(node) = &resident.node else { return Ok(None) };
        // Above leaves one look at the node tells; higher up every child has to be looked into.
        if height == 1 {
            let index = pick(node, bounds, Pick::Within(&drain.rest), &self.limits);
            return index.map_or(Ok(None), |index| {
                self.first_waiting(drain, node.edge(index), &node.bounds_of(index, bounds))
            });
        }
        for (index, edge) in node.edges().iter().enumerate() {
            let bounds = node.bounds_of(index, bounds);
            if bounds.intersection(&drain.rest).is_empty() {
                continue;
            }
            if let Some(first) = self.first_waiting(drain, edge, &bounds)? {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    /// Goes through the next leaf of a drained stretch for old versions and operands that nobody
    /// needs any more; `Nothing` behind the last leaf.
    pub fn compact_step(&self, drain: &mut Drain, stop: Stop<'_>) -> JobResult {
        let forest = self.views.forest();
        let Some(tree) = forest.trees.get(&drain.tree) else { return Ok(Outcome::Nothing) };
        if drain.rest.is_empty() {
            return Ok(Outcome::Nothing);
        }
        let (mut edge, mut bounds) = (tree.top.clone(), Bounds::all());
        while edge.child.height() > 0 {
            let resident = self.table.node(&edge.child)?;
            let Node::Internal(node) = &resident.node else { return Ok(Outcome::Nothing) };
            let index = node.index_of(&drain.rest.lower);
            bounds = node.bounds_of(index, &bounds);
            edge = node.edge(index).clone();
        }
        let key: Key = drain.rest.lower.clone();
        let name = EdgeName { tree: drain.tree, key, block: edge.child.block() };
        let Some(_claim) = self.claims.take(name.block) else { return Ok(Outcome::Busy) };
        let Some((edge, _)) = self.find(&forest, &name)? else { return Ok(Outcome::Done) };
        let child = self.table.node(&edge.child)?;
        let Node::Leaf(leaf) = &child.node else { return Ok(Outcome::Done) };
        if has_more_than_values(leaf) {
            self.table.steps().reach(StepPoint::FlushFetched)?;
            let taken = self.take(&name, edge, bounds.clone(), &forest);
            drop(forest);
            let outcome = self.reconcile_with(&name, &taken, leaf, Effort::Thorough, stop)?;
            self.tend_after(&name);
            if outcome != Outcome::Done {
                // It was stale: the leaf is looked at again.
                return Ok(Outcome::Done);
            }
        }
        Ok(drain.go_on_behind(&bounds))
    }
}

fn has_more_than_values(leaf: &Run) -> bool {
    leaf.segments().iter().any(|part| part.segment.facts().content == Content::Mixed)
}
