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
use sapwood_serialize::{Msn, Op, Storage, StorageLock, Superblock, TreeId};

use super::{Opening, Taker, check_folder, logged_in, open_or_create};
use crate::commit::Messages;
use crate::config::{Background, Config};
use crate::engine::{Access, Engine, Parts};
use crate::error::{Error, Kind, LargeLog, Result};
use crate::generation::Generation;
use crate::memtable::Gathered;
use crate::wal::{Log, LogStart, ReadFile, ReadLog, read_log};

/// So many memtables' messages are replayed into one, which there is room for: a reader looks into
/// each.
const TOGETHER: u64 = 2;

/// Opens the database in `storage` without changing anything there.
pub(super) fn open(storage: Arc<dyn Storage>, config: &Config) -> Result<Engine> {
    let storage: Arc<dyn Storage> = Arc::new(ReadOnlyStorage::new(storage));
    check_folder(&*storage, config)?;
    let lock =
        storage.lock_shared().map_err(|error| Error::from_lock(storage.describe(), error))?;
    let block_file = open_or_create(&*storage, config)?;
    let log = read_log(&*storage, &block_file.superblock, None)?;
    let logged = logged_in(&*storage, &log)?;
    let opening = Opening::new(storage, config, &block_file, logged, None)?;
    let most = opening.table.budget().total / 2;
    opening.replay_into_memory(&log, most)?;
    Ok(opening.finish_reading(block_file.superblock, &log, lock))
}

impl Opening {
    /// Replays the log into generations that stay in memory, of `most` bytes together.
    fn replay_into_memory(&self, log: &ReadLog, most: u64) -> Result<()> {
        let mut into_memory = IntoMemory::new(self, log, most);
        for file in &log.files {
            self.replay(file, &mut into_memory)?;
        }
        into_memory.put_away()?;
        self.store(into_memory.sealed, None);
        Ok(())
    }

    /// Replays the log into memory, however much it is, up to the first group that cannot be.
    pub(crate) fn replay_what_can_be(&self, log: &ReadLog) -> Result<()> {
        let mut into_memory = IntoMemory::new(self, log, u64::MAX);
        let replayed = log.files.iter().try_for_each(|file| self.replay(file, &mut into_memory));
        let put_away = into_memory.put_away();
        self.store(into_memory.sealed, None);
        replayed.and(put_away)
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
            has_old_log: false,
            lock,
        })
    }
}

/// Gathers what is replayed in generations that stay.
struct IntoMemory<'o> {
    opening: &'o Opening,
    log: &'o ReadLog,
    generation: Generation,
    sealed: Vec<Arc<Generation>>,
    /// The bytes that they may take together.
    most: u64,
}

impl<'o> IntoMemory<'o> {
    fn new(opening: &'o Opening, log: &'o ReadLog, most: u64) -> IntoMemory<'o> {
        IntoMemory { opening, log, generation: opening.fresh(), sealed: Vec::new(), most }
    }

    fn keep(&mut self, generation: Generation) -> Result<()> {
        let Opening { table, views, .. } = self.opening;
        if table.meters().memtables.bytes() > self.most {
            return Err(self.opening.needs_recovery(self.log, self.most));
        }
        generation.seal(views.visible());
        self.sealed.push(Arc::new(generation));
        Ok(())
    }
}

impl Messages for IntoMemory<'_> {
    fn insert(&mut self, tree: TreeId, key: &[u8], msn: Msn, op: Op<'_>) {
        self.generation.memtable.insert(tree, key, msn, op);
    }

    fn delete_ranges(&mut self, gathered: &Gathered) {
        self.generation.memtable.delete_ranges(gathered);
    }
}

impl Taker for IntoMemory<'_> {
    fn is_full(&self) -> bool {
        self.generation.is_full(TOGETHER * self.opening.table.budget().memtable())
    }

    fn put_away(&mut self) -> Result<()> {
        let generation = std::mem::replace(&mut self.generation, self.opening.fresh());
        if generation.is_empty() { Ok(()) } else { self.keep(generation) }
    }

    fn take_runs(&mut self, adopted: Generation) -> Result<()> {
        let kept = self.keep(adopted);
        self.generation = self.opening.fresh();
        kept
    }
}
