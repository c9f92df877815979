//! Changes of a transaction that no longer fit into memory, as runs on disk.
//!
//! ```text
//! tree 1   [ run of 8 chunks ][ run of 8 ][ chunk ][ chunk ]     oldest first
//! ```
//!
//! Chunks that follow each other in key order are joined by reference. Otherwise eight runs of one
//! size become one, so that their number, and what reading them costs, grows with the logarithm of
//! what was written.
//!
//! Nothing but the transaction knows the runs. What was not committed when it ends is given back,
//! and after a crash nothing names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_cachetable::{Caching, Fault, ReadAhead, Reserved, RunCursor};
use sapwood_flusher::SegmentWriter;
use sapwood_serialize::catalog_image::{CatalogTree, PageOptions};
use sapwood_serialize::fold::{Floor, Horizon, Rules};
use sapwood_serialize::merge_iter::{Direction, Merge, Stream as _};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{Msn, Tombstones, TreeId, Version};

use crate::engine::Engine;
use crate::generation::{Generation, Written};

/// So many runs of one size become one.
const FAN_IN: usize = 8;

/// See the module's head.
#[derive(Default)]
pub(crate) struct Spilled {
    trees: BTreeMap<TreeId, Vec<Chunk>>,
}

/// A run with how often chunks were multiplied to make it.
struct Chunk {
    level: u32,
    pages: PageOptions,
    run: Arc<Run>,
    reserved: Arc<Reserved>,
}

impl Chunk {
    /// Whether every key of `next` lies behind all of its own.
    fn is_before(&self, next: &Run) -> bool {
        let (Some(last), Some(first)) = (self.run.segments().last(), next.segments().first())
        else {
            return false;
        };
        let plain = self.run.tombstones().is_empty() && next.tombstones().is_empty();
        plain && last.is_before(first)
    }
}

impl Spilled {
    pub(crate) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// Writes the messages of `generation`, which are newer than all before. `marks` are the places
    /// that the transaction may go back to. When it fails, none is added.
    pub(crate) fn add(
        &mut self,
        engine: &Engine,
        generation: &Generation,
        interval: (Msn, Msn),
        marks: &Horizon,
    ) -> Result<(), Fault> {
        use sapwood_flusher::Generation as _;
        let forest = engine.views.load().forest.clone();
        let mut added = Vec::new();
        for tree in generation.trees() {
            let Some(known) = forest.trees.get(&tree) else { continue };
            self.gather(engine, tree, known, marks)?;
            let covers = generation.tombstones(tree);
            let (rules, pages) = (rules(known, marks), known.options.pages);
            let (parts, reserved) =
                engine.mover.write_ahead(pages, interval.0, Caching::Keep, &mut |writer| {
                    let mut merge = Merge::new(vec![generation.messages(tree)], Direction::Forward);
                    while let Some(key) = merge.key() {
                        let folded = merge.fold(key, covers.covers(key), rules);
                        writer.push(key, &folded.versions())?;
                        let Ok(()) = merge.advance();
                    }
                    Ok(())
                })?;
            let run = Run::new(parts, interval.0, interval.1);
            let run = Arc::new(run.with_tombstones(covers.folded(marks)));
            let reserved = Arc::new(reserved);
            added.push((tree, Chunk { level: 0, pages, run, reserved }));
        }
        added.into_iter().for_each(|(tree, chunk)| self.push(tree, chunk));
        Ok(())
    }

    fn push(&mut self, tree: TreeId, next: Chunk) {
        let runs = self.trees.entry(tree).or_default();
        match runs.last_mut() {
            Some(last) if last.is_before(&next.run) => {
                let parts = last.run.segments().iter().chain(next.run.segments()).cloned();
                let run = Run::new(parts.collect(), last.run.oldest(), next.run.newest());
                last.run = Arc::new(run);
                last.reserved.absorb(&next.reserved);
            }
            _ => runs.push(next),
        }
    }

    /// Makes one run of the last eight of one size, as long as there are so many.
    fn gather(
        &mut self,
        engine: &Engine,
        tree: TreeId,
        known: &CatalogTree,
        marks: &Horizon,
    ) -> Result<(), Fault> {
        let Some(runs) = self.trees.get_mut(&tree) else { return Ok(()) };
        loop {
            let level = runs.last().map_or(0, |last| last.level);
            let alike = runs.iter().rev().take_while(|one| one.level == level).count();
            if alike < FAN_IN {
                return Ok(());
            }
            let first = runs.len() - alike;
            let merged = merged(engine, runs.get(first..).unwrap_or_default(), known, marks)?;
            runs.truncate(first);
            runs.push(Chunk { level: level + 1, ..merged });
        }
    }

    /// Forgets the messages with numbers above `newest`; runs with some of both are written anew.
    /// When that fails, nothing is forgotten.
    pub(crate) fn cut(&mut self, engine: &Engine, newest: Msn) -> Result<(), Fault> {
        let mut renewed = BTreeMap::new();
        for (tree, runs) in &self.trees {
            let across = |one: &&Chunk| one.run.oldest() <= newest && one.run.newest() > newest;
            if let Some(last) = runs.iter().find(across) {
                renewed.insert(*tree, up_to(engine, last, newest)?);
            }
        }
        for (tree, runs) in &mut self.trees {
            runs.retain(|one| one.run.newest() <= newest);
            runs.extend(renewed.remove(tree));
            runs.retain(|one| !one.run.is_empty());
        }
        self.trees.retain(|_, runs| !runs.is_empty());
        Ok(())
    }

    /// What a generation takes over of it. It stays reserved by whoever holds either.
    pub(crate) fn written(&self) -> Written {
        let of_tree = |(tree, runs): (&TreeId, &Vec<Chunk>)| {
            (*tree, runs.iter().map(|one| one.run.clone()).collect())
        };
        let reserved = self.trees.values().flatten().map(|one| one.reserved.clone());
        Written { runs: self.trees.iter().map(of_tree).collect(), reserved: reserved.collect() }
    }
}

fn rules<'r>(known: &'r CatalogTree, marks: &'r Horizon) -> Rules<'r> {
    Rules { horizon: marks, floor: Floor::Buffer, operator: known.operator.as_ref() }
}

/// One run of several, oldest first.
fn merged(
    engine: &Engine,
    runs: &[Chunk],
    known: &CatalogTree,
    marks: &Horizon,
) -> Result<Chunk, Fault> {
    let covers = Tombstones::merged(runs.iter().map(|one| one.run.tombstones()));
    let oldest = runs.first().map_or(Msn::ZERO, |one| one.run.oldest());
    let newest = runs.last().map_or(Msn::ZERO, |one| one.run.newest());
    let rules = rules(known, marks);
    let pages = known.options.pages;
    let (parts, reserved) = engine.mover.write_ahead(
        pages,
        oldest,
        Caching::Keep,
        &mut |writer: &mut SegmentWriter<'_, '_>| {
            let cursors = runs.iter().rev().map(|one| {
                let (run, all) = (one.run.clone(), Bounds::all());
                RunCursor::new(&engine.table, run, all, Direction::Forward, ReadAhead::JOB)
            });
            let mut merge = Merge::new(cursors.collect::<Result<_, _>>()?, Direction::Forward);
            while let Some(key) = merge.key() {
                let folded = merge.fold(key, covers.covers(key), rules);
                writer.push(key, &folded.versions())?;
                merge.advance()?;
            }
            Ok(())
        },
    )?;
    let run = Run::new(parts, oldest, newest).with_tombstones(covers.folded(marks));
    Ok(Chunk { level: 0, pages, run: Arc::new(run), reserved: Arc::new(reserved) })
}

/// The part of a run that has numbers up to `newest`.
fn up_to(engine: &Engine, whole: &Chunk, newest: Msn) -> Result<Chunk, Fault> {
    let (run, oldest) = (&whole.run, whole.run.oldest());
    let (parts, reserved) =
        engine.mover.write_ahead(whole.pages, oldest, Caching::Keep, &mut |writer| {
            let (all, ahead) = (Bounds::all(), ReadAhead::JOB);
            let mut rows =
                RunCursor::new(&engine.table, run.clone(), all, Direction::Forward, ahead)?;
            while let Some(key) = rows.key() {
                let stays = |version: &Version<'_>| version.msn <= newest.to_raw();
                let versions: Vec<_> = rows.versions().filter(stays).collect();
                writer.push(key, &versions)?;
                rows.advance()?;
            }
            Ok(())
        })?;
    let tombstones = run.tombstones().up_to(newest);
    let run = Arc::new(Run::new(parts, oldest, newest).with_tombstones(tombstones));
    Ok(Chunk { run, reserved: Arc::new(reserved), ..*whole })
}
