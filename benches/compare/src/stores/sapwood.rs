//! sapwood: the tree of this repository, with its defaults.

use std::time::Duration;

use sapwood::{Batch, Config, Database, Durability, Tree, merge};

use crate::Result;
use crate::quiet::{self, Activity};
use crate::row::Key;
use crate::store::{
    Committer, Direction, Place, Reader, Script, Store, Table, Visit, Work, keep, perform,
    visit_all,
};

pub const TERMS: &str = "every write one buffered call, handed to the system before it returns; \
     the budget covers memtables and caches; lz4 where it helps; counters and range deletes are \
     messages; synced commits are batches of one row";

pub struct Sapwood {
    db: Database,
    tree: Tree,
    quiet: Duration,
}

impl Sapwood {
    pub fn open(place: &Place) -> Result<Sapwood> {
        let db = Config::new(&place.folder).cache_bytes(place.cache_bytes).open()?;
        let tree = db.tree_with("rows", |tree| tree.merge_operator(merge::AddU64))?;
        Ok(Sapwood { db, tree, quiet: place.quiet })
    }
}

impl Store for Sapwood {
    fn run(&mut self, script: &mut dyn Script) -> Result<()> {
        perform(&mut Rows(&self.tree), script, usize::MAX).map(|_| ())
    }

    fn drain(&mut self) -> Result<Duration> {
        self.db.daemon().drain()?;
        quiet::wait(self.quiet, || {
            let stats = self.db.stats();
            let moved = stats.movement.spills + stats.movement.flushes;
            let shaped = stats.movement.nodes_dirtied + stats.checkpoints;
            Ok(Activity::Done(moved + shaped + stats.bytes_written))
        })
    }

    fn read(&self, work: &mut Work<'_>) -> Result<()> {
        work(&Rows(&self.tree))
    }

    fn committer(&self) -> Result<Box<dyn Committer + '_>> {
        Ok(Box::new(Synced(self)))
    }

    fn own_figures(&self) -> Result<Vec<(&'static str, f64)>> {
        let stats = self.db.stats();
        Ok(vec![
            ("bytes_written", stats.bytes_written as f64),
            ("pages_read", stats.pages_read as f64),
            ("resident_bytes", stats.resident_bytes as f64),
            ("debt_bytes", stats.debt_bytes as f64),
            ("file_bytes", stats.file_bytes as f64),
            ("live_bytes", stats.live_bytes as f64),
            ("hollow_bytes", stats.hollow_bytes as f64),
        ])
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self.tree);
        Ok(self.db.close()?)
    }
}

struct Synced<'a>(&'a Sapwood);

impl Committer for Synced<'_> {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut batch: Batch = self.0.db.batch();
        batch.insert(&self.0.tree, key, value);
        Ok(batch.commit(Durability::Synced)?)
    }
}

struct Rows<'a>(&'a Tree);

impl Table for Rows<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.0.insert(key, value)?)
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        Ok(self.0.remove(key)?)
    }

    fn add(&mut self, key: &Key, amount: u64) -> Result<()> {
        Ok(self.0.merge(key, amount.to_le_bytes())?)
    }

    fn remove_range(&mut self, from: &Key, to: &Key) -> Result<()> {
        Ok(self.0.remove_range(*from..*to)?)
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
        match direction {
            Direction::Forward => visit_all(rows.map(|row| Ok(row?)), visit),
            Direction::Backward => visit_all(rows.rev().map(|row| Ok(row?)), visit),
        }
    }
}
