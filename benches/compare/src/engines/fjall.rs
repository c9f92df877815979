//! fjall: a log-structured merge tree.

use std::time::Duration;

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::Result;
use crate::quiet::{self, Activity};
use crate::row::Key;
use crate::store::{Direction, Place, Reader, Source, Store, Visit, visit_all};

pub const TERMS: &str = "every row one insert, handed to the system before it returns; half of the \
     budget is block cache, a quarter each the active and the sealed memtable; more memtables, \
     filters and indexes come on top; lz4 by its default, from the third level down; the \
     journal, up to 512 MiB, is deleted only when its memtables are flushed";

pub struct Fjall {
    db: Database,
    rows: Keyspace,
}

impl Fjall {
    pub fn open(place: &Place) -> Result<Fjall> {
        let db = Database::builder(&place.folder).cache_size(place.cache_bytes / 2).open()?;
        let memtable_bytes = place.cache_bytes / 4;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
        let rows = db.keyspace("rows", options)?;
        Ok(Fjall { db, rows })
    }
}

impl Store for Fjall {
    fn load(&mut self, rows: &mut dyn Source) -> Result<()> {
        while let Some((key, value)) = rows.next_row() {
            self.rows.insert(key, value)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<Duration> {
        self.rows.rotate_memtable_and_wait()?;
        quiet::wait(|| {
            let db = &self.db;
            let is_busy = db.outstanding_flushes() > 0 || db.active_compactions() > 0;
            let done = db.compactions_completed() as u64;
            Ok(if is_busy { Activity::Busy } else { Activity::Done(done) })
        })
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(self))
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

impl Reader for &Fjall {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.rows.get(key)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let rows = match (from, direction) {
            (None, _) => self.rows.iter(),
            (Some(key), Direction::Forward) => self.rows.range(*key..),
            (Some(key), Direction::Backward) => self.rows.range(..=*key),
        };
        let entry = |guard: Guard| Ok(guard.into_inner()?);
        match direction {
            Direction::Forward => visit_all(rows.map(entry), visit),
            Direction::Backward => visit_all(rows.rev().map(entry), visit),
        }
    }
}
