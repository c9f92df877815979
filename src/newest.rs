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
use sapwood_serialize::{Filter, Msn, Tombstone, Tombstones, TreeId};

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
    in_bounds_of(table, view, tree, bounds, since, Whose::Anybody)
}

/// The same, only looking for keys that `own` has.
pub(crate) fn of_own(
    table: &Cachetable,
    view: &View,
    tree: TreeId,
    bounds: &Bounds,
    since: Msn,
    own: &Generation,
) -> Result<Option<Key>> {
    in_bounds_of(table, view, tree, bounds, since, Whose::Own(tree, own))
}

fn in_bounds_of(
    table: &Cachetable,
    view: &View,
    tree: TreeId,
    bounds: &Bounds,
    since: Msn,
    whose: Whose<'_>,
) -> Result<Option<Key>> {
    let mut look = Look { table, since, whose, found: None, budget: usize::MAX };
    for generation in view.generations() {
        look.memtable(generation, tree, bounds)?;
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
    let whose = Whose::Anybody;
    let mut look = Look { table, since, whose, found: None, budget: *budget };
    for generation in generations {
        // Nothing is read for anybody's keys, so nothing can fail.
        if look.memtable(generation, tree, bounds).is_err() {
            return Err(TooMany);
        }
    }
    *budget = look.budget;
    if look.found.is_none() && look.budget == 0 { Err(TooMany) } else { Ok(look.found) }
}

/// Whether the runs of `own` say something of `key`.
pub(crate) fn has(table: &Cachetable, own: &Generation, tree: TreeId, key: &[u8]) -> Result<bool> {
    Ok(in_runs(table, own.runs(tree), key, Filter::hash(key))?.is_some())
}

/// The first key within `bounds` that the runs of `own` say something of.
pub(crate) fn first_within(
    table: &Cachetable,
    own: &Generation,
    tree: TreeId,
    bounds: &Bounds,
) -> Result<Option<Key>> {
    let mut first: Option<Key> = None;
    for run in own.runs(tree) {
        let row = cursor(table, run, bounds)?.key().map(Key::from);
        let deleted = run.tombstones().clip(bounds);
        let deleted = deleted.pieces().first().map(|piece| piece.lower.clone());
        first = first.into_iter().chain(row).chain(deleted).min();
    }
    Ok(first)
}

/// The rows of `run` within `bounds`.
fn cursor<'t>(table: &'t Cachetable, run: &Arc<Run>, bounds: &Bounds) -> Result<RunCursor<'t>> {
    let (run, bounds) = (run.clone(), bounds.clone());
    Ok(RunCursor::new(table, run, bounds, Direction::Forward, ReadAhead::SCAN)?)
}

/// There was more to look at than was allowed.
#[derive(Debug)]
pub(crate) struct TooMany;

/// Which keys count.
#[derive(Clone, Copy)]
enum Whose<'a> {
    Anybody,
    /// Those in the runs of a generation.
    Own(TreeId, &'a Generation),
}

/// A search for something newer than `since`; it ends with the first find.
struct Look<'a> {
    table: &'a Cachetable,
    since: Msn,
    whose: Whose<'a>,
    found: Option<Key>,
    /// So many entries of memtables may still be looked at.
    budget: usize,
}

impl Look<'_> {
    fn memtable(&mut self, generation: &Generation, tree: TreeId, bounds: &Bounds) -> Result<()> {
        for deleted in generation.memtable.tombstones(tree) {
            self.tombstones(&deleted, bounds)?;
        }
        let mut cursor = generation.memtable.cursor(tree);
        cursor.seek(&bounds.lower);
        while self.found.is_none() && cursor.valid() && bounds.contains(cursor.key()) {
            if self.budget == 0 {
                return Ok(());
            }
            self.budget -= 1;
            if cursor.version().msn > self.since.to_raw() {
                self.meet(cursor.key())?;
            }
            cursor.next_key();
        }
        Ok(())
    }

    /// Something newer was said of `key`.
    fn meet(&mut self, key: &[u8]) -> Result<()> {
        let counts = match self.whose {
            Whose::Anybody => true,
            Whose::Own(tree, own) => has(self.table, own, tree, key)?,
        };
        if counts {
            self.found.get_or_insert_with(|| key.into());
        }
        Ok(())
    }

    fn tombstones(&mut self, deleted: &Tombstones, bounds: &Bounds) -> Result<()> {
        let clipped = deleted.clip(bounds);
        let since = self.since.to_raw();
        let is_newer = |piece: &&Tombstone| piece.msns.first().is_some_and(|msn| *msn > since);
        for piece in clipped.pieces().iter().filter(is_newer) {
            if self.found.is_none() {
                self.found = match self.whose {
                    Whose::Anybody => Some(piece.lower.clone()),
                    Whose::Own(tree, own) => first_within(self.table, own, tree, &piece.bounds())?,
                };
            }
        }
        Ok(())
    }

    fn run(&mut self, run: &Arc<Run>, bounds: &Bounds) -> Result<()> {
        if self.found.is_some() || run.newest() <= self.since {
            return Ok(());
        }
        self.tombstones(run.tombstones(), bounds)?;
        let mut cursor = cursor(self.table, run, bounds)?;
        while self.found.is_none()
            && let Some(key) = cursor.key()
        {
            if cursor.versions().next().is_some_and(|newest| newest.msn > self.since.to_raw()) {
                self.meet(key)?;
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
