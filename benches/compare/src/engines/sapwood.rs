//! sapwood: the tree of this repository, with its defaults.

use std::time::Duration;

use sapwood::{Config, Database, Tree};

use crate::Result;
use crate::quiet::{self, Activity};
use crate::row::Key;
use crate::store::{Direction, Place, Reader, Source, Store, Visit, visit_all};

pub const TERMS: &str = "every row one buffered insert, handed to the system before it returns; \
     the budget covers memtables and caches; lz4 where it helps";

pub struct Sapwood {
    db: Database,
    tree: Tree,
}

impl Sapwood {
    pub fn open(place: &Place) -> Result<Sapwood> {
        let db = Config::new(&place.folder).cache_bytes(place.cache_bytes).open()?;
        let tree = db.tree("rows")?;
        Ok(Sapwood { db, tree })
    }
}

impl Store for Sapwood {
    fn load(&mut self, rows: &mut dyn Source) -> Result<()> {
        while let Some((key, value)) = rows.next_row() {
            self.tree.insert(key, value)?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<Duration> {
        self.db.checkpoint()?;
        quiet::wait(|| {
            let stats = self.db.stats();
            let moved = stats.movement.spills + stats.movement.flushes;
            let shaped = stats.movement.nodes_dirtied + stats.checkpoints;
            Ok(Activity::Done(moved + shaped + stats.bytes_written))
        })
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(self))
    }

    fn own_figures(&self) -> Result<Vec<(&'static str, f64)>> {
        let stats = self.db.stats();
        Ok(vec![
            ("bytes_written", stats.bytes_written as f64),
            ("pages_read", stats.pages_read as f64),
            ("resident_bytes", stats.resident_bytes as f64),
            ("debt_bytes", stats.debt_bytes as f64),
        ])
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self.tree);
        Ok(self.db.close()?)
    }
}

impl Reader for &Sapwood {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.tree.get(key)?;
        if let Some(found) = &found {
            value.extend_from_slice(found);
        }
        Ok(found.is_some())
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let rows = match (from, direction) {
            (None, _) => self.tree.iter(),
            (Some(key), Direction::Forward) => self.tree.range(*key..),
            (Some(key), Direction::Backward) => self.tree.range(..=*key),
        };
        match direction {
            Direction::Forward => visit_all(rows.map(|row| Ok(row?)), visit),
            Direction::Backward => visit_all(rows.rev().map(|row| Ok(row?)), visit),
        }
    }
}
