//! canopydb: a copy-on-write B-tree with a write-ahead log.

use std::ops::ControlFlow;
use std::time::Duration;

use canopydb::{Database, DbOptions, EnvOptions, Tree};

use crate::Result;
use crate::row::Key;
use crate::store::{
    Committer, Direction, Place, Reader, Script, Store, Table, Visit, Work, keep, perform,
    visit_all,
};

pub const TERMS: &str = "half of the budget is page cache; a checkpoint begins at a quarter of it \
     of changes in memory, and at half of it writers wait; operations go in transactions of \
     --group, logged and not synced, which survive a kill: it loses up to one such group; small \
     values are not compressed; counters are read and written; a synced commit is a transaction of \
     one row, the log synced";

const NAME: &[u8] = b"rows";

pub struct Canopydb {
    db: Database,
    group: usize,
}

impl Canopydb {
    pub fn open(place: &Place) -> Result<Canopydb> {
        std::fs::create_dir_all(&place.folder)?;
        let cache_bytes = usize::try_from(place.cache_bytes)?;
        let mut environment = EnvOptions::new(&place.folder);
        environment.page_cache_size = cache_bytes / 2;
        let mut options = DbOptions::new();
        options.write_txn_memory_limit = cache_bytes / 4;
        options.checkpoint_target_size = cache_bytes / 4;
        options.throttle_memory_limit = cache_bytes / 2;
        options.stall_memory_limit = cache_bytes / 2;
        let db = Database::with_options(environment, options)?;
        let transaction = db.begin_write()?;
        transaction.get_or_create_tree(NAME)?;
        transaction.commit()?;
        Ok(Canopydb { db, group: place.group })
    }

    /// Commits up to a transaction's operations; whether there may be more.
    fn run_some(&mut self, script: &mut dyn Script) -> Result<ControlFlow<()>> {
        let transaction = self.db.begin_write()?;
        let tree = transaction.get_or_create_tree(NAME)?;
        let mut rows = Rows(tree);
        let flow = perform(&mut rows, script, self.group)?;
        drop(rows);
        transaction.commit()?;
        Ok(flow)
    }
}

impl Store for Canopydb {
    fn run(&mut self, script: &mut dyn Script) -> Result<()> {
        while self.run_some(script)?.is_continue() {}
        Ok(())
    }

    /// What is in memory and in the log goes into the file; then there is nothing left to do.
    fn drain(&mut self) -> Result<Duration> {
        self.db.checkpoint()?;
        Ok(Duration::ZERO)
    }

    fn read(&self, work: &mut Work<'_>) -> Result<()> {
        let transaction = self.db.begin_read()?;
        let tree = transaction.get_tree(NAME)?.ok_or("the table is not there")?;
        work(&Rows(tree))
    }

    fn committer(&self) -> Result<Box<dyn Committer + '_>> {
        Ok(Box::new(Synced(&self.db)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.checkpoint()?)
    }
}

struct Synced<'a>(&'a Database);

impl Committer for Synced<'_> {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        transaction.get_or_create_tree(NAME)?.insert(key, value)?;
        transaction.commit_with(true)?;
        Ok(())
    }
}

/// The table of one transaction.
struct Rows<'a>(Tree<'a>);

impl Table for Rows<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.0.insert(key, value)?)
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        self.0.delete(key)?;
        Ok(())
    }

    fn remove_range(&mut self, from: &Key, to: &Key) -> Result<()> {
        Ok(self.0.delete_range(*from..*to)?)
    }
}

impl Reader for Rows<'_> {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        Ok(keep(self.0.get(key)?.as_deref(), value))
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let rows = match (from, direction) {
            (None, _) => self.0.iter()?,
            (Some(key), Direction::Forward) => self.0.range(*key..)?,
            (Some(key), Direction::Backward) => self.0.range(..=*key)?,
        };
        match direction {
            Direction::Forward => visit_all(rows.map(|row| Ok(row?)), visit),
            Direction::Backward => visit_all(rows.rev().map(|row| Ok(row?)), visit),
        }
    }
}
