//! What was said last: the number of the newest message of a key, and whether a stretch has any
//! that is newer than a given one.
//!
//! By the order rules the first thing that is met on the way down is the newest. What is below a
//! leaf's run that holds nothing newer is not read.

use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Lookup, ReadAhead, RunCursor};
use sapwood_serialize::merge_iter::{Direction, Stream};
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::segment::Key;
use sapwood_serialize::{Filter, Msn, TreeId};

use crate::error::Result;
use crate::generation::Generation;
use crate::view::View;

const NOW: Msn = Msn::from_raw(u64::MAX);

/// The number of the newest message about `key`, deletes of stretches included, that is left; a key
/// that was deleted, and was not there before either, may have left no trace.
pub(crate) fn of_key(
    table: &Cachetable,
    view: &View,
    tree: TreeId,
    key: &[u8],
) -> Result<Option<u64>> {
    let hash = Filter::hash(key);
    for generation in view.generations() {
        let found = in_memtable(generation, tree, key);
        let found = found.or(in_runs(table, generation.runs(tree), key, hash)?);
        if found.is_some() {
            return Ok(found);
        }
    }
    let Some(known) = view.forest.trees.get(&tree) else { return Ok(None) };
    let mut edge = known.top.clone();
    // Held until its child is in memory, see `read`.
    let mut _parent = None;
    loop {
        let found = in_runs(table, edge.buffer(), key, hash)?;
        if found.is_some() {
            return Ok(found);
        }
        let resident = table.node(&edge.child)?;
        edge = match &resident.node {
            Node::Leaf(run) => return in_run(table, run, key, hash),
            Node::Internal(node) => node.edge(node.index_of(key)).clone(),
        };
        _parent = Some(resident);
    }
}

/// The same for one memtable.
pub(crate) fn in_memtable(generation: &Generation, tree: TreeId, key: &[u8]) -> Option<u64> {
    let newest = generation.memtable.get(tree, key, NOW).map(|version| version.msn);
    newest.max(generation.memtable.deleted(tree, key, NOW))
}

fn in_runs(table: &Cachetable, runs: &[Arc<Run>], key: &[u8], hash: u64) -> Result<Option<u64>> {
    for run in runs.iter().rev() {
        let found = in_run(table, run, key, hash)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn in_run(table: &Cachetable, run: &Run, key: &[u8], hash: u64) -> Result<Option<u64>> {
    let deleted = run.tombstones().covers(key).first().copied();
    let newest = |_: &_, mut versions: sapwood_cachetable::RowVersions<'_>| {
        versions.next().map(|version| version.msn)
    };
    Ok(match table.lookup(run, key, hash, newest)? {
        Lookup::Found(found, _) => found.max(deleted),
        _ => deleted,
    })
}

/// A key within `bounds` of which something is newer than `since`, if there is one; the first key
/// of a stretch that was deleted since.
pub(crate) fn in_bounds(
    table: &Cachetable,
    view: &View,
    tree: TreeId,
    bounds: &Bounds,
    since: Msn,
) -> Result<Option<Key>> {
    let mut look = Look { table, since, found: None, budget: usize::MAX };
    for generation in view.generations() {
        look.memtable(generation, tree, bounds);
        for run in generation.runs(tree) {
            look.run(run, bounds)?;
        }
    }
    if let Some(known) = view.forest.trees.get(&tree) {
        look.below(&known.top, &Bounds::all(), bounds)?;
    }
    Ok(look.found)
}

/// The same for memtables alone, looking at no more than `budget` entries of all together; `Err`
/// when that was too little.
pub(crate) fn in_memtables<'g>(
    table: &Cachetable,
    generations: impl Iterator<Item = &'g Arc<Generation>>,
    tree: TreeId,
    bounds: &Bounds,
    since: Msn,
    budget: &mut usize,
) -> std::result::Result<Option<Key>, TooMany> {
    let mut look = Look { table, since, found: None, budget: *budget };
    generations.for_each(|generation| look.memtable(generation, tree, bounds));
    *budget = look.budget;
    if look.found.is_none() && look.budget == 0 { Err(TooMany) } else { Ok(look.found) }
}

/// There was more to look at than was allowed.
#[derive(Debug)]
pub(crate) struct TooMany;

/// A search for something newer than `since`; it ends with the first find.
struct Look<'a> {
    table: &'a Cachetable,
    since: Msn,
    found: Option<Key>,
    /// So many entries of memtables may still be looked at.
    budget: usize,
}

impl Look<'_> {
    fn memtable(&mut self, generation: &Generation, tree: TreeId, bounds: &Bounds) {
        for deleted in generation.memtable.tombstones(tree) {
            self.tombstones(&deleted, bounds);
        }
        let mut cursor = generation.memtable.cursor(tree);
        cursor.seek(&bounds.lower);
        while self.found.is_none() && cursor.valid() && bounds.contains(cursor.key()) {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            if cursor.version().msn > self.since.to_raw() {
                self.found = Some(cursor.key().into());
            }
            cursor.next_key();
        }
    }

    fn tombstones(&mut self, deleted: &sapwood_serialize::Tombstones, bounds: &Bounds) {
        let clipped = deleted.clip(bounds);
        let mut pieces = clipped.pieces().iter();
        let newer =
            pieces.find(|piece| piece.msns.first().is_some_and(|msn| *msn > self.since.to_raw()));
        if self.found.is_none() {
            self.found = newer.map(|piece| piece.lower.clone());
        }
    }

    fn run(&mut self, run: &Arc<Run>, bounds: &Bounds) -> Result<()> {
        if self.found.is_some() || run.newest() <= self.since {
            return Ok(());
        }
        self.tombstones(run.tombstones(), bounds);
        let ahead = ReadAhead::SCAN;
        let mut cursor =
            RunCursor::new(self.table, run.clone(), bounds.clone(), Direction::Forward, ahead)?;
        while self.found.is_none()
            && let Some(key) = cursor.key()
        {
            if cursor.versions().next().is_some_and(|newest| newest.msn > self.since.to_raw()) {
                self.found = Some(key.into());
            }
            cursor.advance()?;
        }
        Ok(())
    }

    /// Looks at and below `edge`, whose bounds are `around`.
    fn below(&mut self, edge: &Arc<Edge>, around: &Bounds, bounds: &Bounds) -> Result<()> {
        let here = around.intersection(bounds);
        if here.is_empty() || self.found.is_some() {
            return Ok(());
        }
        for run in edge.buffer() {
            self.run(run, &here)?;
        }
        let resident = self.table.node(&edge.child)?;
        match &resident.node {
            Node::Leaf(run) => self.run(&Arc::new(run.clone()), &here),
            Node::Internal(node) => {
                for (index, edge) in node.edges().iter().enumerate() {
                    self.below(edge, &node.bounds_of(index, around), bounds)?;
                }
                Ok(())
            }
        }
    }
}
