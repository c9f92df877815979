//! fjall: a log-structured merge tree.

use std::time::Duration;

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::Result;
use crate::quiet::{self, Activity};
use crate::row::Key;
use crate::store::{
    Committer, Direction, Place, Reader, Script, Store, Table, Visit, Work, keep, perform,
    visit_all,
};

pub const TERMS: &str = "every write one call, handed to the system before it returns; half of the \
     budget is block cache, a quarter each the active and the sealed memtable; more memtables, \
     filters and indexes come on top; lz4 by its default, from the third level down; the \
     journal, up to 512 MiB, is deleted only when its memtables are flushed; counters are read \
     and written, range deletes go key by key, for it has neither; a synced commit is an insert \
     and a sync of the journal's data";

pub struct Fjall {
    db: Database,
    rows: Keyspace,
    quiet: Duration,
}

impl Fjall {
    pub fn open(place: &Place) -> Result<Fjall> {
        let db = Database::builder(&place.folder).cache_size(place.cache_bytes / 2).open()?;
        let memtable_bytes = place.cache_bytes / 4;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
        let rows = db.keyspace("rows", options)?;
        Ok(Fjall { db, rows, quiet: place.quiet })
    }
}

impl Store for Fjall {
    fn run(&mut self, script: &mut dyn Script) -> Result<()> {
        perform(&mut Rows(&self.rows), script, usize::MAX).map(|_| ())
    }

    fn drain(&mut self) -> Result<Duration> {
        self.rows.rotate_memtable_and_wait()?;
        quiet::wait(self.quiet, || {
            let db = &self.db;
            let is_busy = db.outstanding_flushes() > 0 || db.active_compactions() > 0;
            let done = db.compactions_completed() as u64;
            Ok(if is_busy { Activity::Busy } else { Activity::Done(done) })
        })
    }

    fn read(&self, work: &mut Work<'_>) -> Result<()> {
        work(&Rows(&self.rows))
    }

    fn committer(&self) -> Result<Box<dyn Committer + '_>> {
        Ok(Box::new(Synced(self)))
    }

    fn own_figures(&self) -> Result<Vec<(&'static str, f64)>> {
        let compacting = self.db.time_compacting().as_secs_f64();
        let space = self.db.disk_space()? as f64;
        Ok(vec![("compacting_s", compacting), ("disk_bytes", space)])
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

struct Synced<'a>(&'a Fjall);

impl Committer for Synced<'_> {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.0.rows.insert(key, value)?;
        Ok(self.0.db.persist(PersistMode::SyncData)?)
    }
}

struct Rows<'a>(&'a Keyspace);

impl Table for Rows<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.0.insert(key, value)?)
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        Ok(self.0.remove(key)?)
    }
}

impl Reader for Rows<'_> {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        Ok(keep(self.0.get(key)?.as_deref(), value))
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let rows = match (from, direction) {
            (None, _) => self.0.iter(),
            (Some(key), Direction::Forward) => self.0.range(*key..),
            (Some(key), Direction::Backward) => self.0.range(..=*key),
        };
        let entry = |guard: Guard| Ok(guard.into_inner()?);
        match direction {
            Direction::Forward => visit_all(rows.map(entry), visit),
            Direction::Backward => visit_all(rows.rev().map(entry), visit),
        }
    }
}
