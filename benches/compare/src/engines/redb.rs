//! redb: a copy-on-write B-tree.

use std::ops::ControlFlow;
use std::time::Duration;

use redb::{AccessGuard, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::Result;
use crate::row::Key;
use crate::store::{Direction, Place, Reader, Source, Store, Visit};

pub const TERMS: &str = "has no commit that survives a kill without a sync, so rows go in \
     transactions of 1000 that survive nothing, and every tenth of them is synced: a kill loses up \
     to 10000 rows, and a latency is that of a call inside such a transaction; no compression";

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const TRANSACTION_ROWS: usize = 1_000;
/// One transaction in so many is synced.
const SYNC_EVERY: u64 = 10;

pub struct Redb {
    db: Database,
    transactions: u64,
}

impl Redb {
    pub fn open(place: &Place) -> Result<Redb> {
        std::fs::create_dir_all(&place.folder)?;
        let cache_bytes = usize::try_from(place.cache_bytes)?;
        let path = place.folder.join("rows.redb");
        let db = Database::builder().set_cache_size(cache_bytes).create(path)?;
        Ok(Redb { db, transactions: 0 })
    }

    /// Commits up to a transaction's rows; whether there may be more.
    fn load_some(&mut self, rows: &mut dyn Source) -> Result<ControlFlow<()>> {
        self.transactions += 1;
        let is_synced = self.transactions.is_multiple_of(SYNC_EVERY);
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(match is_synced {
            true => Durability::Immediate,
            false => Durability::None,
        })?;
        let mut flow = ControlFlow::Continue(());
        {
            let mut table = transaction.open_table(ROWS)?;
            for _ in 0..TRANSACTION_ROWS {
                let Some((key, value)) = rows.next_row() else {
                    flow = ControlFlow::Break(());
                    break;
                };
                table.insert(&key[..], &value[..])?;
            }
        }
        // The last row drawn is still being timed, so the commit counts as its latency.
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
    fn load(&mut self, rows: &mut dyn Source) -> Result<()> {
        while self.load_some(rows)?.is_continue() {}
        Ok(())
    }

    /// There is no background work, only what was not synced.
    fn drain(&mut self) -> Result<Duration> {
        self.sync()?;
        Ok(Duration::ZERO)
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        let table = self.db.begin_read()?.open_table(ROWS)?;
        Ok(Box::new(Table(table)))
    }

    fn own_figures(&self) -> Result<Vec<(&'static str, f64)>> {
        Ok(Vec::new())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

/// A table of one read transaction, which it keeps open.
struct Table(ReadOnlyTable<&'static [u8], &'static [u8]>);

type Bytes = AccessGuard<'static, &'static [u8]>;

impl Reader for Table {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.0.get(&key[..])?;
        if let Some(found) = &found {
            value.extend_from_slice(found.value());
        }
        Ok(found.is_some())
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let rows = match (from, direction) {
            (None, _) => self.0.range::<&[u8]>(..)?,
            (Some(key), Direction::Forward) => self.0.range::<&[u8]>(&key[..]..)?,
            (Some(key), Direction::Backward) => self.0.range::<&[u8]>(..=&key[..])?,
        };
        match direction {
            Direction::Forward => visit_guards(rows, visit),
            Direction::Backward => visit_guards(rows.rev(), visit),
        }
    }
}

fn visit_guards(
    rows: impl Iterator<Item = std::result::Result<(Bytes, Bytes), redb::StorageError>>,
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
