//! Point reads.
//!
//! ```text
//! active memtable -> sealed, newest first -> per level: the edge's runs, newest first -> leaf
//! ```
//!
//! By the order rules the first version found on the way is the newest one that is visible. A value
//! or a delete ends the way, and so does a range delete that covers the key; a merge operand is
//! kept until what it changes is found.

use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Lookup};
use sapwood_flusher::ReadWork;
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::fold::declared;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Run;
use sapwood_serialize::{Filter, Msn, Op, Operator, Page, Sight, TreeId, Version};

use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::layers::Layers;
use crate::memtable::Memtable;
use crate::slice::{Owner, Slice};

impl Owner for Page {
    fn bytes(&self) -> &[u8] {
        self.image()
    }
}

/// The value of `key` as a reader sees it.
pub(crate) fn get(
    table: &Cachetable,
    layers: &Layers<'_>,
    tree: &CatalogTree,
    key: &[u8],
    sight: Sight,
) -> Result<Option<Slice>> {
    search(table, layers, tree, key, sight)?.finish(tree.operator.as_ref())
}

/// What a reader sees of `key` before merging: the value, and the operands on top of it, oldest
/// first.
pub(crate) fn unmerged(
    table: &Cachetable,
    layers: &Layers<'_>,
    tree: &CatalogTree,
    key: &[u8],
    sight: Sight,
) -> Result<(Option<Slice>, Vec<Slice>)> {
    let mut found = search(table, layers, tree, key, sight)?;
    found.operands.reverse();
    Ok((found.base, found.operands))
}

fn search<'k>(
    table: &Cachetable,
    layers: &Layers<'_>,
    tree: &CatalogTree,
    key: &'k [u8],
    sight: Sight,
) -> Result<Search<'k>> {
    let mut search = Search { key, sight, operands: Vec::new(), base: None };
    for (generation, newest) in layers.generations(sight) {
        if search.look_into(table, generation, tree.id, newest)? == Way::Ends {
            return Ok(search);
        }
    }
    search.descend(table, tree)?;
    Ok(search)
}

/// Whether older versions matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    GoesOn,
    Ends,
}

/// Where the nodes on the way were.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nodes {
    AllInMemory,
    SomeToBeRead,
}

/// What was found of a key so far.
struct Search<'k> {
    key: &'k [u8],
    sight: Sight,
    /// Newest first.
    operands: Vec<Slice>,
    base: Option<Slice>,
}

impl Search<'_> {
    /// Takes what one source says of the key, versions newest first, and when the reader sees it
    /// deleted by a range delete of that source.
    fn hear<'v>(
        &mut self,
        versions: impl Iterator<Item = Version<'v>>,
        deleted: Option<u64>,
        slice: &dyn Fn(&[u8]) -> Slice,
    ) -> Way {
        for version in versions.skip_while(|version| !self.sight.sees(version.msn)) {
            if deleted.is_some_and(|deleted| deleted > version.msn) {
                return Way::Ends;
            }
            match version.op {
                Op::Put(value) => {
                    self.base = Some(slice(value));
                    return Way::Ends;
                }
                Op::Delete => return Way::Ends,
                Op::Merge(operand) => self.operands.push(slice(operand)),
            }
        }
        if deleted.is_some() { Way::Ends } else { Way::GoesOn }
    }

    /// Looks into a generation, of which the reader sees what is not newer than `newest`.
    fn look_into(
        &mut self,
        table: &Cachetable,
        generation: &Generation,
        tree: TreeId,
        newest: Msn,
    ) -> Result<Way> {
        if self.look_into_memtable(&generation.memtable, tree, newest) == Way::Ends {
            return Ok(Way::Ends);
        }
        let runs = generation.runs(tree);
        if runs.is_empty() {
            return Ok(Way::GoesOn);
        }
        let hash = Filter::hash(self.key);
        let mut work = ReadWork::new(hash);
        for run in runs.iter().rev() {
            if self.look_into_run(table, run, hash, &mut work)? == Way::Ends {
                return Ok(Way::Ends);
            }
        }
        Ok(Way::GoesOn)
    }

    fn look_into_memtable(&mut self, memtable: &Memtable, tree: TreeId, newest: Msn) -> Way {
        let deleted = memtable.deleted(tree, self.key, newest);
        let newest = memtable.get(tree, self.key, newest);
        if newest.is_none() && deleted.is_none() {
            return Way::GoesOn;
        }
        // Older ones are of interest only below an operand, which is rare.
        let more = newest.is_some_and(|version| matches!(version.op, Op::Merge(_)));
        let older = more.then(|| memtable.versions(tree, self.key)).into_iter().flatten();
        let seen = newest.map(|version| version.msn);
        let older = older.filter(move |version| Some(version.msn) < seen);
        self.hear(newest.into_iter().chain(older), deleted, &Slice::copy_from)
    }

    fn descend(&mut self, table: &Cachetable, tree: &CatalogTree) -> Result<()> {
        let hash = Filter::hash(self.key);
        let heard = self.operands.len();
        if self.descend_in_memory(table, &tree.top, hash)? == Nodes::AllInMemory {
            return Ok(());
        }
        self.operands.truncate(heard);
        self.descend_reading(table, tree, hash)
    }

    /// The way from `edge` down as long as all nodes are in memory: nobody's reference counts are
    /// touched, which took a twentieth of a read's time (note 26). What is let go of meanwhile
    /// stays for as long as it is looked at.
    fn descend_in_memory(
        &mut self,
        table: &Cachetable,
        edge: &Arc<Edge>,
        hash: u64,
    ) -> Result<Nodes> {
        if self.look_into_buffer(table, edge, hash)? == Way::Ends {
            return Ok(Nodes::AllInMemory);
        }
        let child = edge.child.peek();
        let Some(child) = &*child else { return Ok(Nodes::SomeToBeRead) };
        child.heat.warm();
        match &child.node {
            Node::Leaf(run) => self.look_into_leaf(table, run, hash)?,
            Node::Internal(node) => {
                return self.descend_in_memory(table, node.edge(node.index_of(self.key)), hash);
            }
        }
        Ok(Nodes::AllInMemory)
    }

    /// The same where a node may have to be read.
    fn descend_reading(&mut self, table: &Cachetable, tree: &CatalogTree, hash: u64) -> Result<()> {
        let mut edge = tree.top.clone();
        // Held until its child is in memory, so that it is not evicted in between: read again, it
        // would find its children's later images.
        let mut _parent = None;
        loop {
            if self.look_into_buffer(table, &edge, hash)? == Way::Ends {
                return Ok(());
            }
            let resident = table.node(&edge.child)?;
            edge = match &resident.node {
                Node::Leaf(run) => return self.look_into_leaf(table, run, hash),
                Node::Internal(node) => node.edge(node.index_of(self.key)).clone(),
            };
            _parent = Some(resident);
        }
    }

    fn look_into_buffer(&mut self, table: &Cachetable, edge: &Edge, hash: u64) -> Result<Way> {
        let mut work = ReadWork::new(hash);
        let mut way = Way::GoesOn;
        for run in edge.buffer().iter().rev() {
            way = self.look_into_run(table, run, hash, &mut work)?;
            if way == Way::Ends {
                break;
            }
        }
        work.charge(table, edge);
        Ok(way)
    }

    fn look_into_leaf(&mut self, table: &Cachetable, run: &Run, hash: u64) -> Result<()> {
        let mut work = ReadWork::new(hash);
        self.look_into_run(table, run, hash, &mut work)?;
        work.charge_leaf(table);
        Ok(())
    }

    fn look_into_run(
        &mut self,
        table: &Cachetable,
        run: &Run,
        hash: u64,
        work: &mut ReadWork,
    ) -> Result<Way> {
        let key = self.key;
        let deleted = run.tombstones().covering(key).and_then(|it| it.visible_at(self.sight));
        let found = table.lookup(run, key, hash, |page: &Arc<Page>, versions| {
            self.hear(versions, deleted, &|bytes| Slice::within(page, bytes))
        })?;
        work.note(&found);
        Ok(match found {
            Lookup::Found(way, _) => way,
            _ if deleted.is_some() => Way::Ends,
            _ => Way::GoesOn,
        })
    }

    fn finish(self, operator: Option<&Operator>) -> Result<Option<Slice>> {
        if self.operands.is_empty() {
            return Ok(self.base);
        }
        let oldest_first = self.operands.iter().rev().map(|operand| &**operand);
        let merged = declared(operator)
            .and_then(|operator| operator.apply_all(self.key, self.base.as_deref(), oldest_first));
        let value = merged.map_err(|cause| Error::from_merge(self.key, cause))?;
        Ok(Some(Slice::from(value)))
    }
}

#[cfg(test)]
mod tests {
    use sapwood_cachetable::storage::MemoryStorage;

    use super::*;
    use crate::{Background, Config, merge};

    /// Where a node must be read, the read begins once more at the top.
    #[test]
    fn operands_above_a_node_that_must_be_read_count_once() {
        let storage = Arc::new(MemoryStorage::new());
        let open = || Config::on(storage.clone()).background(Background::Manual).open().unwrap();
        for round in 1..=3i64 {
            let db = open();
            let tree = db.tree_with("t", |tree| tree.merge_operator(merge::AddI64)).unwrap();
            let total = tree.get("total").unwrap();
            let total = total.map_or(0, |total| i64::from_le_bytes((*total).try_into().unwrap()));
            assert_eq!(total, round * (round - 1) / 2);
            if round == 2 {
                db.daemon().drain().unwrap();
            }
            tree.merge("total", round.to_le_bytes()).unwrap();
            db.close().unwrap();
        }
    }
}
