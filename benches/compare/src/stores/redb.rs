//! redb: a copy-on-write B-tree.

use std::ops::ControlFlow;
use std::time::Duration;

use redb::{
    AccessGuard, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    TableDefinition,
};

use super::KILL_LOSES_ROWS_MAX;
use crate::Result;
use crate::row::Key;
use crate::store::{
    Committer, Direction, Place, Reader, Script, Store, Table, Visit, Work, keep, perform,
};

pub const TERMS: &str = "has no commit that survives a kill without a sync, so operations go in \
     transactions of --group that survive nothing, and a sync comes every 10000 operations: a kill \
     loses up to so many, and a latency is that of a call inside such a transaction; no \
     compression; counters are read and written; a range delete is retain_in, which reads what it \
     removes";

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

pub struct Redb {
    db: Database,
    group: usize,
    transactions: u64,
    /// One transaction in so many is synced.
    sync_every: u64,
}

impl Redb {
    pub fn open(place: &Place) -> Result<Redb> {
        std::fs::create_dir_all(&place.folder)?;
        let cache_bytes = usize::try_from(place.cache_bytes)?;
        let path = place.folder.join("rows.redb");
        let db = Database::builder().set_cache_size(cache_bytes).create(path)?;
        // Synced, so that there is a table also when a kill loses all that was written to it.
        let transaction = db.begin_write()?;
        transaction.open_table(ROWS)?;
        transaction.commit()?;
        let group = place.group;
        let sync_every = (KILL_LOSES_ROWS_MAX / group as u64).max(1);
        Ok(Redb { db, group, transactions: 0, sync_every })
    }

    /// Commits up to a transaction's operations; whether there may be more.
    fn run_some(&mut self, script: &mut dyn Script) -> Result<ControlFlow<()>> {
        self.transactions += 1;
        let is_synced = self.transactions.is_multiple_of(self.sync_every);
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(match is_synced {
            true => Durability::Immediate,
            false => Durability::None,
        })?;
        let flow = perform(&mut Open(transaction.open_table(ROWS)?), script, self.group)?;
        // The last operation drawn is still being timed, so the commit counts as its latency.
        transaction.commit()?;
        Ok(flow)
    }

    fn sync(&self) -> Result<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    fn run(&mut self, script: &mut dyn Script) -> Result<()> {
        while self.run_some(script)?.is_continue() {}
        Ok(())
    }

    /// There is no background work, only what was not synced.
    fn drain(&mut self) -> Result<Duration> {
        self.sync()?;
        Ok(Duration::ZERO)
    }

    fn read(&self, work: &mut Work<'_>) -> Result<()> {
        work(&Snapshot(self.db.begin_read()?.open_table(ROWS)?))
    }

    fn committer(&self) -> Result<Box<dyn Committer + '_>> {
        Ok(Box::new(Synced(&self.db)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct Synced<'a>(&'a Database);

impl Committer for Synced<'_> {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        transaction.open_table(ROWS)?.insert(&key[..], value)?;
        Ok(transaction.commit()?)
    }
}

/// The table of one write transaction.
struct Open<'a>(redb::Table<'a, &'static [u8], &'static [u8]>);

/// The table of one read transaction, which it keeps open.
struct Snapshot(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Table for Open<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.0.insert(&key[..], value)?;
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        self.0.remove(&key[..])?;
        Ok(())
    }

    fn remove_range(&mut self, from: &Key, to: &Key) -> Result<()> {
        Ok(self.0.retain_in::<&[u8], _>(&from[..]..&to[..], |_, _| false)?)
    }
}

impl Reader for Open<'_> {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        get(&self.0, key, value)
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        scan(&self.0, from, direction, visit)
    }
}

impl Reader for Snapshot {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        get(&self.0, key, value)
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        scan(&self.0, from, direction, visit)
    }
}

trait Rows: ReadableTable<&'static [u8], &'static [u8]> {}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Rows for T {}

fn get(rows: &impl Rows, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
    let found = rows.get(&key[..])?;
    Ok(keep(found.as_ref().map(AccessGuard::value), value))
}

fn scan(
    rows: &impl Rows,
    from: Option<&Key>,
    direction: Direction,
    visit: &mut Visit<'_>,
) -> Result<()> {
    let rows = match (from, direction) {
        (None, _) => rows.range::<&[u8]>(..)?,
        (Some(key), Direction::Forward) => rows.range::<&[u8]>(&key[..]..)?,
        (Some(key), Direction::Backward) => rows.range::<&[u8]>(..=&key[..])?,
    };
    match direction {
        Direction::Forward => visit_guards(rows, visit),
        Direction::Backward => visit_guards(rows.rev(), visit),
    }
}

type Bytes<'a> = AccessGuard<'a, &'static [u8]>;

fn visit_guards<'a>(
    rows: impl Iterator<Item = std::result::Result<(Bytes<'a>, Bytes<'a>), redb::StorageError>>,
    visit: &mut Visit<'_>,
) -> Result<()> {
    for row in rows {
        let (key, value) = row?;
        if visit(key.value(), value.value()).is_break() {
            break;
        }
    }
    Ok(())
}
