//! What a commit depends on, and how its leader sees whether that still stands.
//!
//! ```text
//! few keys, short ago    the leader looks into the memtables, which it alone adds to
//! everything else        watch what is committed from now on -> search all that was before
//!                        -> the leader looks through what the watch has gathered since
//! ```
//!
//! So nobody reads from disk or goes through many rows while others wait to commit.

use std::sync::Arc;

use sapwood_cachetable::sync::atomic::Ordering;
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_cachetable::{Cachetable, Fault};
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;
use sapwood_serialize::{Msn, Record, Records, TreeId};

use crate::commit::{Line, Proposal, Settled};
use crate::engine::Engine;
use crate::error::Result;
use crate::footprint::Footprint;
use crate::generation::Generation;
use crate::newest;

/// What a commit depends on: that nobody has changed these keys since they were read.
#[derive(Clone)]
pub(crate) struct Guard {
    /// Sorted.
    pub(crate) footprint: Arc<Footprint>,
    /// What belongs to the footprint, too: the keys of runs that are to be committed.
    pub(crate) own: Option<Arc<Generation>>,
    pub(crate) since: Msn,
    /// What was committed after all else was searched.
    pub(crate) watch: Option<Arc<Watch>>,
}

impl Guard {
    /// A guard that the leader judges from the memtables, if it can.
    pub(crate) fn new(footprint: Footprint, since: Msn) -> Guard {
        Guard { footprint: Arc::new(footprint), own: None, since, watch: None }
    }

    /// The key of the footprint that a record changes.
    fn touched_by(&self, table: &Cachetable, record: &Record<'_>) -> Result<Option<Touch>> {
        match *record {
            Record::Write { tree, key, .. } => {
                let touched = self.footprint.has(tree, key) || self.own_has(table, tree, key)?;
                Ok(touched.then(|| Touch { tree, key: key.into() }))
            }
            Record::DeleteRange { tree, lower, upper } => {
                let bounds = Bounds { lower: lower.into(), upper: upper.map(Key::from) };
                let found = match (self.footprint.within(tree, &bounds), &self.own) {
                    (None, Some(own)) => newest::first_within(table, own, tree, &bounds)?,
                    (found, _) => found,
                };
                Ok(found.map(|key| Touch { tree, key }))
            }
            Record::CreateTree { .. }
            | Record::RenameTree { .. }
            | Record::DropTree { .. }
            | Record::Operator { .. }
            | Record::Runs { .. } => Ok(None),
        }
    }

    fn own_has(&self, table: &Cachetable, tree: TreeId, key: &[u8]) -> Result<bool> {
        self.own.as_ref().map_or(Ok(false), |own| newest::has(table, own, tree, key))
    }
}

/// A key that somebody has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) tree: TreeId,
    pub(crate) key: Key,
}

/// Whether what a commit depends on still stands.
pub(crate) enum Verdict {
    Stands,
    Changed(Touch),
    /// It cannot be told from the memtables, or not quickly.
    Unknown,
}

/// What a search has found.
pub(crate) enum Searched {
    /// Nothing; the guard is to be judged by what it has watched.
    Stands(Guard),
    Changed(Touch),
}

/// Gathers what is committed while it lives.
pub(crate) struct Watch(Mutex<Vec<u8>>);

impl Watch {
    fn new() -> Watch {
        Watch(Mutex::new(Rank::Storage, Vec::new()))
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock())
    }

    fn bytes(&self) -> usize {
        self.0.lock().len()
    }

    /// The same once much has gathered, so that a long search does not pile it up.
    fn touched_if_much(&self, table: &Cachetable, guard: &Guard) -> Result<Option<Touch>> {
        const MUCH: usize = 1 << 20;
        if self.bytes() < MUCH { Ok(None) } else { self.touched(table, guard) }
    }

    /// The first key of the guard's footprint that was changed since the last look.
    fn touched(&self, table: &Cachetable, guard: &Guard) -> Result<Option<Touch>> {
        for record in Records::new(&self.take()) {
            let touch = guard.touched_by(table, &record?)?;
            if touch.is_some() {
                return Ok(touch);
            }
        }
        Ok(None)
    }
}

impl Line {
    /// Passes on to all who watch that `records` were committed. The leader's.
    pub(crate) fn tell(&self, records: &[u8]) {
        if !self.is_watched.load(Ordering::Acquire) {
            return;
        }
        let mut watches = self.watches.lock();
        watches.retain(|watch| {
            let watch = watch.upgrade();
            watch.inspect(|watch| watch.0.lock().extend_from_slice(records)).is_some()
        });
        self.is_watched.store(!watches.is_empty(), Ordering::Release);
    }

    /// Gathers everything that is committed from now on.
    fn watch(&self) -> Arc<Watch> {
        let watch = Arc::new(Watch::new());
        self.lead(|| {
            self.watches.lock().push(Arc::downgrade(&watch));
            self.is_watched.store(true, Ordering::Release);
        });
        watch
    }
}

impl Engine {
    /// Whether what the guard depends on still stands; exact while the caller leads.
    pub(crate) fn verdict(&self, guard: &Guard) -> std::result::Result<Verdict, Fault> {
        if let Some(watch) = &guard.watch {
            // What cannot be read now is looked for anew, and told, by whoever does not lead.
            let touched = watch.touched(&self.table, guard);
            let touched = touched.map_err(|error| error.to_fault())?;
            return Ok(touched.map_or(Verdict::Stands, Verdict::Changed));
        }
        Ok(self.look_into_memtables(guard))
    }

    fn look_into_memtables(&self, guard: &Guard) -> Verdict {
        /// So many keys, stretches and entries take the leader well below a millisecond.
        const ENTRIES_MOST: usize = 512;
        let view = self.views.load();
        let oldest = view.sealed.first().unwrap_or(&view.active);
        // What lies between may have left the memtables already.
        let is_large = guard.own.is_some() || guard.footprint.len() > ENTRIES_MOST;
        if is_large || guard.since.next() < oldest.first_msn() {
            return Verdict::Unknown;
        }
        let newer = || view.generations().filter(|one| one.may_have_newer(guard.since));
        if newer().any(|generation| generation.has_runs()) {
            return Verdict::Unknown;
        }
        for (tree, key) in guard.footprint.keys() {
            let found = newer().find_map(|generation| newest::in_memtable(generation, *tree, key));
            if found > Some(guard.since.to_raw()) {
                return Verdict::Changed(Touch { tree: *tree, key: key.clone() });
            }
        }
        let mut budget = ENTRIES_MOST;
        for (tree, bounds) in guard.footprint.ranges() {
            let (table, since) = (&self.table, guard.since);
            match newest::in_memtables(table, newer(), *tree, bounds, since, &mut budget) {
                Ok(None) => {}
                Ok(Some(key)) => return Verdict::Changed(Touch { tree: *tree, key }),
                Err(newest::TooMany) => return Verdict::Unknown,
            }
        }
        Verdict::Stands
    }

    /// Commits a proposal whose guard the leader could not judge: searches first.
    pub(crate) fn propose_slowly(&self, guard: &Guard, proposal: &Proposal<'_>) -> Result<Settled> {
        match self.search_watching(guard)? {
            Searched::Stands(guard) => self.propose(&Proposal { guard: Some(&guard), ..*proposal }),
            Searched::Changed(touch) => Ok(Settled::Changed(touch)),
        }
    }

    /// Searches all that was committed since the guarded keys were read. The guard that it returns
    /// knows of what is committed from then on.
    pub(crate) fn search_watching(&self, guard: &Guard) -> Result<Searched> {
        /// What the leader looks through itself, at most.
        const WATCHED_BYTES: usize = 32 << 10;
        /// So often it is tried to get below that.
        const ROUNDS_MOST: usize = 16;
        let watch = self.line.watch();
        if let Some(touch) = self.search(guard, &watch)? {
            return Ok(Searched::Changed(touch));
        }
        for _ in 0..ROUNDS_MOST {
            if watch.bytes() <= WATCHED_BYTES {
                break;
            }
            if let Some(touch) = watch.touched(&self.table, guard)? {
                return Ok(Searched::Changed(touch));
            }
        }
        Ok(Searched::Stands(Guard { watch: Some(watch), ..guard.clone() }))
    }

    /// Searches everything for a change since the guarded keys were read.
    fn search(&self, guard: &Guard, watch: &Watch) -> Result<Option<Touch>> {
        for (tree, key) in guard.footprint.keys() {
            self.check_open()?;
            if let Some(touch) = watch.touched_if_much(&self.table, guard)? {
                return Ok(Some(touch));
            }
            let view = self.views.load();
            if newest::of_key(&self.table, &view, *tree, key)? > Some(guard.since.to_raw()) {
                return Ok(Some(Touch { tree: *tree, key: key.clone() }));
            }
        }
        for (tree, bounds) in guard.footprint.ranges() {
            self.check_open()?;
            if let Some(touch) = watch.touched_if_much(&self.table, guard)? {
                return Ok(Some(touch));
            }
            let view = self.views.load();
            if let Some(key) = newest::in_bounds(&self.table, &view, *tree, bounds, guard.since)? {
                return Ok(Some(Touch { tree: *tree, key }));
            }
        }
        guard.own.as_ref().map_or(Ok(None), |own| self.search_own(own, guard.since))
    }

    /// Searches for a change of a key of runs that are to be committed.
    fn search_own(&self, own: &Arc<Generation>, since: Msn) -> Result<Option<Touch>> {
        for tree in own.trees_of_runs() {
            for bounds in own.runs(tree).iter().filter_map(|run| run.bounds()) {
                self.check_open()?;
                let view = self.views.load();
                if let Some(key) = newest::of_own(&self.table, &view, tree, &bounds, since, own)? {
                    return Ok(Some(Touch { tree, key }));
                }
            }
        }
        Ok(None)
    }
}
