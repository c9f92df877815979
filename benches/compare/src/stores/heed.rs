//! heed: LMDB, a copy-on-write B-tree in a memory map.
#![expect(unsafe_code, reason = "LMDB maps a file that nobody else may change meanwhile")]

use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, FlagSetMode, RoTxn, RwTxn};

use crate::Result;
use crate::row::Key;
use crate::store::{
    Committer, Direction, Place, Reader, Script, Store, Table, Visit, Work, keep, perform,
    visit_all,
};

pub const TERMS: &str = "LMDB has no cache of its own: the kernel's file cache is its cache, which \
     no budget bounds unless a control group does; operations go in transactions of --group with \
     NO_SYNC, which survive a kill: it loses up to one such group; NO_READ_AHEAD but for ordered \
     loads and scans of the large store; no compression; counters are read and written; a synced \
     commit is a transaction of one row without NO_SYNC";

/// The size of the map, which is address space and no memory.
const MAP_BYTES: usize = 1 << 38;

type Rows = Database<'static, Bytes, Bytes>;

pub struct Heed {
    env: Env,
    rows: Rows,
    group: usize,
}

impl Heed {
    pub fn open(place: &Place) -> Result<Heed> {
        std::fs::create_dir_all(&place.folder)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // What the kernel reads ahead is of use to nobody where rows are scattered.
        let ahead = if place.is_ordered { EnvFlags::empty() } else { EnvFlags::NO_READ_AHEAD };
        let flags = EnvFlags::NO_SYNC | ahead;
        // SAFETY: the folder is this child's own, so nobody else changes the mapped file, and that
        // a power cut may damage it is what buffered durability means.
        let env = unsafe { options.flags(flags).open(&place.folder)? };
        let created =
            env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
                let rows = opener.create_database::<Bytes, Bytes>(transaction, None)?;
                Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(rows))
            })?;
        match created {
            CommitOrAbort::Commit(rows) => Ok(Heed { env, rows, group: place.group }),
            CommitOrAbort::Abort(()) => Err("the table could not be made".into()),
        }
    }

    /// Commits up to a transaction's operations; whether there may be more.
    fn run_some(&mut self, script: &mut dyn Script) -> Result<ControlFlow<()>> {
        let mut open = Open { rows: self.rows, transaction: self.env.write_txn()? };
        let flow = perform(&mut open, script, self.group)?;
        open.transaction.commit()?;
        Ok(flow)
    }
}

impl Store for Heed {
    fn run(&mut self, script: &mut dyn Script) -> Result<()> {
        while self.run_some(script)?.is_continue() {}
        Ok(())
    }

    /// There is no background work, only what was not synced.
    fn drain(&mut self) -> Result<Duration> {
        self.env.force_sync()?;
        Ok(Duration::ZERO)
    }

    fn read(&self, work: &mut Work<'_>) -> Result<()> {
        work(&Snapshot { rows: self.rows, transaction: &*self.env.read_txn()? })
    }

    fn committer(&self) -> Result<Box<dyn Committer + '_>> {
        // SAFETY: from now on commits are synced, which is safer than what was before.
        unsafe { self.env.set_flags(EnvFlags::NO_SYNC, FlagSetMode::Disable)? };
        Ok(Box::new(Synced(self)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct Synced<'a>(&'a Heed);

impl Committer for Synced<'_> {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut transaction = self.0.env.write_txn()?;
        self.0.rows.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }
}

/// The table of one write transaction.
struct Open<'a> {
    rows: Rows,
    transaction: RwTxn<'a>,
}

impl Table for Open<'_> {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.rows.put(&mut self.transaction, key, value)?)
    }

    fn remove(&mut self, key: &Key) -> Result<()> {
        self.rows.delete(&mut self.transaction, key)?;
        Ok(())
    }

    fn remove_range(&mut self, from: &Key, to: &Key) -> Result<()> {
        let range = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        self.rows.delete_range(&mut self.transaction, &range)?;
        Ok(())
    }
}

impl Reader for Open<'_> {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        Snapshot { rows: self.rows, transaction: &self.transaction }.get(key, value)
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        Snapshot { rows: self.rows, transaction: &self.transaction }.scan(from, direction, visit)
    }
}

/// The table as a transaction sees it.
struct Snapshot<'a> {
    rows: Rows,
    transaction: &'a RoTxn<'a>,
}

impl Reader for Snapshot<'_> {
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool> {
        Ok(keep(self.rows.get(self.transaction, key)?, value))
    }

    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let (rows, transaction) = (self.rows, self.transaction);
        let from = from.map_or(Bound::Unbounded, |key| Bound::Included(&key[..]));
        match direction {
            Direction::Forward => {
                let range = (from, Bound::Unbounded);
                visit_all(rows.range(transaction, &range)?.map(|row| Ok(row?)), visit)
            }
            Direction::Backward => {
                let range = (Bound::Unbounded, from);
                visit_all(rows.rev_range(transaction, &range)?.map(|row| Ok(row?)), visit)
            }
        }
    }
}
