//! rusqlite: SQLite, a B-tree with a write-ahead log.
//!
//! Values are blobs, but counters are integers, so that SQL can add to them; read back, they are
//! the bytes that every other engine stores.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::Result;
use crate::row::Key;
use crate::store::{
    Committer, Direction, Place, Reader, Script, Store, Table, Visit, Work, perform,
};

pub const TERMS: &str = "SQLite, with a table without rowid, a write-ahead log, 4 KiB pages, the \
     whole budget as page cache, prepared statements; operations go in transactions of --group with \
     synchronous = NORMAL, which survive a kill: it loses up to one such group; no compression; \
     counters are ON CONFLICT DO UPDATE; a synced commit is one statement with synchronous = FULL, \
     and each thread has a connection, and a cache, of its own";

/// Longer than any writer holds the lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(600);

const PUT: &str = "INSERT INTO rows VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const ADD: &str = "INSERT INTO rows VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = value + excluded.value";
const REMOVE: &str = "DELETE FROM rows WHERE key = ?1";
const REMOVE_RANGE: &str = "DELETE FROM rows WHERE key >= ?1 AND key < ?2";
const GET: &str = "SELECT value FROM rows WHERE key = ?1";
const SCAN: &str = "SELECT key, value FROM rows WHERE key >= ?1 ORDER BY key";
const SCAN_BACK: &str = "SELECT key, value FROM rows WHERE key <= ?1 ORDER BY key DESC";
const SCAN_BACK_ALL: &str = "SELECT key, value FROM rows ORDER BY key DESC";

pub struct Rusqlite {
    connection: Connection,
    path: PathBuf,
    cache_bytes: u64,
    group: usize,
}

impl Rusqlite {
    pub fn open(place: &Place) -> Result<Rusqlite> {
        std::fs::create_dir_all(&place.folder)?;
        let path = place.folder.join("rows.sqlite");
        let (cache_bytes, group) = (place.cache_bytes, place.group);
        let connection = connect(&path, cache_bytes, "NORMAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        )?;
        Ok(Rusqlite { connection, path, cache_bytes, group })
    }

    /// Commits up to a transaction's operations; whether there may be more.
    fn run_some(&mut self, script: &mut dyn Script) -> Result<ControlFlow<()>> {
        let transaction = self.connection.transaction()?;
        let flow = perform(&mut Rows(&transaction), script, self.group)?;
        transaction.commit()?;
        Ok(flow)
    }

    /// Moves the log into the file and syncs it.
    fn checkpoint(&self) -> Result<()> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.connection.query_row(sql, [], |_| Ok(()))?)
    }
}

fn connect(path: &Path, cache_bytes: u64, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = {synchronous};
         PRAGMA cache_size = -{};",
        cache_bytes / 1024,
    ))?;
    Ok(connection)
}

impl Store for Rusqlite {
    fn run(&mut self, script: &mut dyn Script) -> Result<()> {
        while self.run_some(script)?.is_continue() {}
        Ok(())
    }

    /// There is no background work, only the log.
    fn drain(&mut self) -> Result<Duration> {
        self.checkpoint()?;
        Ok(Duration::ZERO)
    }

    fn read(&self, work: &mut Work<'_>) -> Result<()> {
        // One transaction for all reads, as a user would who reads a lot.
        let transaction = self.connection.unchecked_transaction()?;
        work(&Rows(&transaction))
    }

    fn committer(&self) -> Result<Box<dyn Committer + '_>> {
        Ok(Box::new(Synced(connect(&self.path, self.cache_bytes, "FULL")?)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.checkpoint()?;
        self.connection.close().map_err(|(_, error)| error.into())
    }
}

struct Synced(Connection);

impl Committer for Synced {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.0.prepare_cached(PUT)?.execute(params![key, value])?;
        Ok(())
    }
}

/// The table of one transaction.
struct Rows<'a>(&'a Connection);

impl Table for Rows<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.0.prepare_cached(PUT)?.execute(params![key, value])?;
        Ok(())
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        self.0.prepare_cached(REMOVE)?.execute(params![key])?;
        Ok(())
    }

    fn add(&mut self, key: &Key, amount: u64) -> Result<()> {
        let amount = i64::try_from(amount)?;
        self.0.prepare_cached(ADD)?.execute(params![key, amount])?;
        Ok(())
    }

    fn remove_range(&mut self, from: &Key, to: &Key) -> Result<()> {
        self.0.prepare_cached(REMOVE_RANGE)?.execute(params![from, to])?;
        Ok(())
    }
}

impl Reader for Rows<'_> {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let mut statement = self.0.prepare_cached(GET)?;
        let mut rows = statement.query(params![key])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        with_bytes(row.get_ref(0)?, |bytes| value.extend_from_slice(bytes))?;
        Ok(true)
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let (sql, from) = match (from, direction) {
            (from, Direction::Forward) => (SCAN, from.map_or(&[][..], |key| key)),
            (Some(key), Direction::Backward) => (SCAN_BACK, &key[..]),
            (None, Direction::Backward) => (SCAN_BACK_ALL, &[][..]),
        };
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = match sql {
            SCAN_BACK_ALL => statement.query([])?,
            _ => statement.query(params![from])?,
        };
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob()?;
            if with_bytes(row.get_ref(1)?, |value| visit(key, value))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Gives the bytes of a value, or of a counter.
fn with_bytes<T>(value: ValueRef<'_>, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
    Ok(match value {
        ValueRef::Integer(number) => take(&number.to_le_bytes()),
        other => take(other.as_blob()?),
    })
}
