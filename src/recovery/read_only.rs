//! Opening for reading alone: nothing is written, and what must be replayed stays in memory.
//!
//! ```text
//! share the lock -> newest superblock -> tables -> log -> generations -> view
//! ```
//!
//! The generations that a replay fills are kept beside the trees as if they waited for a spill; no
//! spill ever comes. The superblock is taken as the page cache has it: nothing that a reader
//! returns is more durable than the writer made it.

use std::sync::Arc;

use sapwood_cachetable::storage::ReadOnlyStorage;
use sapwood_serialize::{Storage, StorageLock, Superblock};

use super::{Opening, check_folder, logged_in, open_or_create};
use crate::config::{Background, Config};
use crate::engine::{Access, Engine, Parts};
use crate::error::{Error, Kind, LargeLog, Result};
use crate::generation::Generation;
use crate::wal::{Log, LogStart, ReadFile, ReadLog, read_log};

/// Opens the database in `storage` without changing anything there.
pub(super) fn open(storage: Arc<dyn Storage>, config: &Config) -> Result<Engine> {
    let storage: Arc<dyn Storage> = Arc::new(ReadOnlyStorage::new(storage));
    check_folder(&*storage, config)?;
    let lock =
        storage.lock_shared().map_err(|error| Error::from_lock(storage.describe(), error))?;
    let block_file = open_or_create(&*storage, config)?;
    let log = read_log(&*storage, &block_file.superblock)?;
    let logged = logged_in(&*storage, &log)?;
    let opening = Opening::new(storage, config, &block_file, logged)?;
    let most = opening.table.budget().total / 2;
    opening.replay_into_memory(&log, most)?;
    Ok(opening.finish_reading(block_file.superblock, &log, lock))
}

impl Opening {
    /// Replays the log into generations that stay in memory, of `most` bytes together.
    fn replay_into_memory(&self, log: &ReadLog, most: u64) -> Result<()> {
        let mut sealed = Vec::new();
        let mut keep = |generation: Generation| {
            if generation.is_empty() {
                return Ok(());
            }
            if self.table.meters().memtables.bytes() > most {
                return Err(self.needs_recovery(log, most));
            }
            generation.seal(self.views.visible());
            sealed.push(Arc::new(generation));
            Ok(())
        };
        let mut generation = self.fresh();
        let mut memory = Vec::new();
        for file in &log.files {
            self.replay(file, &mut memory, &mut generation, &mut keep)?;
        }
        keep(generation)?;
        self.store(sealed, None);
        Ok(())
    }

    /// Replays the log into memory, however much it is, up to the first group that cannot be.
    pub(crate) fn replay_what_can_be(&self, log: &ReadLog) -> Result<()> {
        let mut sealed = Vec::new();
        let mut keep = |generation: Generation| {
            generation.seal(self.views.visible());
            sealed.push(Arc::new(generation));
        };
        let (mut replayed, mut memory) = (Ok(()), Vec::new());
        for file in &log.files {
            let mut generation = self.fresh();
            replayed = self.replay(file, &mut memory, &mut generation, &mut |full| {
                keep(full);
                Ok(())
            });
            keep(generation);
            if replayed.is_err() {
                break;
            }
        }
        self.store(sealed, None);
        replayed
    }

    fn needs_recovery(&self, log: &ReadLog, most: u64) -> Error {
        let folder = self.table.storage().describe();
        let bytes = log.files.iter().map(ReadFile::bytes).sum();
        Error::new(Kind::NeedsRecovery(LargeLog { folder, bytes, most }))
    }

    /// An engine that can only read.
    fn finish_reading(
        self,
        superblock: Superblock,
        log: &ReadLog,
        lock: Box<dyn StorageLock>,
    ) -> Engine {
        let next_msn = self.views.visible().next();
        let start = LogStart {
            generation: log.last_generation.max(superblock.first_generation).next(),
            epoch: superblock.epoch,
            base: log.end,
            next_msn,
            tail_bytes: 0,
        };
        Engine::new(Parts {
            log: Log::refusing(self.table.clone(), start),
            table: self.table,
            views: self.views,
            mover: self.mover,
            superblock,
            next_msn,
            background: Background::Manual,
            access: Access::Read,
            checkpoint_every: u64::MAX,
            idle_share: 0,
            lock,
        })
    }
}
