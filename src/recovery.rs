//! Opening: from what is on disk to an engine that takes writes.
//!
//! ```text
//! lock the folder -> newest superblock, made durable -> tables -> log
//!   closed:     new log -> flip (new epoch)
//!   otherwise:  replay -> spill -> new log -> checkpoint (new epoch)
//!                  '--> helpers spill what was put away before
//! ```
//!
//! Until the flip the old log is the authority, after it none of it is, however often this is cut
//! off in between; it is removed when the database is open, or by the next opening. Nothing that
//! was merely read back is trusted as durable: what was replayed is written again by the
//! checkpoint.

mod helpers;
mod into_trees;
mod read_only;
mod replayed;

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::budget::Budget;
use sapwood_cachetable::ledger::{Change, ViewToken};
use sapwood_cachetable::{
    Cachetable, Captured, EncoderPool, Fault, Flip, Reserved, StepPoint, encoder_pool,
};
use sapwood_flusher::{Forest, Limits, Mover, Views};
use sapwood_serialize::catalog_image::{CatalogImage, CatalogTree, decode_catalog};
use sapwood_serialize::segment::Segment;
use sapwood_serialize::superblock::{Session, Superblock};
use sapwood_serialize::{
    BlockId, Charge, Corruption, Frame, GenerationId, Lsn, Msn, Sight, Storage, StorageLock,
    decode_runs,
};

use self::helpers::Helpers;
use self::into_trees::IntoTrees;
use crate::catalog::Catalog;
use crate::commit::{Messages, apply_group};
use crate::config::{Background, Config};
use crate::engine::{Access, Engine, Parts};
use crate::error::{Error, Kind, Result};
use crate::generation::{Generation, Written};
use crate::merge;
use crate::throttle::value_bytes_max;
use crate::view::{View, ViewCell};
use crate::wal::{
    Log, LogStart, Logged, ReadFile, ReadLog, read_log, remove_after, remove_before, rewrite_tail,
    runs_in,
};

/// Takes what a replay goes through, in the order of the log.
trait Taker: Messages {
    /// Whether it is to put away what it has before it takes another group.
    fn is_full(&self) -> bool;

    /// Puts away what it has taken, of which everything is visible.
    fn put_away(&mut self) -> Result<()>;

    /// Takes runs that a commit has written ahead, all of which is visible.
    fn take_runs(&mut self, adopted: Generation) -> Result<()>;
}

/// Opens the database in `storage`, or makes one.
pub(crate) fn open(storage: Arc<dyn Storage>, config: &Config) -> Result<Engine> {
    if !config.may_write() {
        return read_only::open(storage, config);
    }
    check_folder(&*storage, config)?;
    let lock = storage.lock().map_err(|error| Error::from_lock(storage.describe(), error))?;
    let block_file = open_or_create(&*storage, config)?;
    let pool = pool_for(config)?;
    let log = read_log(&*storage, &block_file.superblock, pool.as_ref())?;
    block_file.secure()?;
    config.steps().reach(StepPoint::RecoverySecured)?;
    let logged = logged_in(&*storage, &log)?;
    let opening = Opening::new(storage, config, &block_file, logged, pool)?;
    opening.finish(config, block_file.superblock, &log, lock)
}

/// Refuses a folder that holds no database, before the lock leaves a file in it.
fn check_folder(storage: &dyn Storage, config: &Config) -> Result<()> {
    let names = storage.list().map_err(|error| Fault::io("listing", "the folder", error))?;
    let is_there = names.iter().any(|name| *name == sapwood_cachetable::BLOCK_FILE);
    if is_there { Ok(()) } else { may_create(storage, config, &names) }
}

fn open_or_create(storage: &dyn Storage, config: &Config) -> Result<BlockFile> {
    if let Some(block_file) = BlockFile::open(storage).map_err(Error::from_open)? {
        return Ok(block_file);
    }
    let names = storage.list().map_err(|error| Fault::io("listing", "the folder", error))?;
    may_create(storage, config, &names)?;
    Ok(BlockFile::create(storage)?)
}

fn may_create(storage: &dyn Storage, config: &Config, names: &[String]) -> Result<()> {
    if names.iter().any(|name| *name != sapwood_cachetable::BLOCK_FILE) {
        return Err(Error::new(Kind::NotADatabase(storage.describe())));
    }
    if !config.may_create() {
        return Err(Error::new(Kind::NoDatabase(storage.describe())));
    }
    Ok(())
}

/// A database between being read and being an engine.
pub(crate) struct Opening {
    pub(crate) table: Arc<Cachetable>,
    pub(crate) views: Arc<ViewCell>,
    mover: Arc<Mover>,
}

impl Opening {
    fn new(
        storage: Arc<dyn Storage>,
        config: &Config,
        block_file: &BlockFile,
        logged: Logged,
        pool: Option<EncoderPool>,
    ) -> Result<Opening> {
        let superblock = block_file.superblock;
        let mut opened = block_file.tables(logged.extents)?;
        opened.next_segment = opened.next_segment.max(logged.next_segment);
        let budget = Budget { total: config.cache_bytes };
        let file = block_file.file.clone();
        let table = Cachetable::new(storage, file, superblock.database, budget, pool, opened)
            .hooked(config.steps());
        let table = Arc::new(table);
        let token = table.ledger().publish(Change::default());
        let forest = read_forest(&table, block_file, token)?;
        Ok(Opening::over(table, forest, &superblock, config.limits))
    }

    /// What is known of the trees of a checkpoint, before its log is replayed.
    pub(crate) fn over(
        table: Arc<Cachetable>,
        forest: Forest,
        superblock: &Superblock,
        limits: Limits,
    ) -> Opening {
        let active = Generation::new(superblock.first_generation, superblock.next_msn, &table);
        let (forest, active) = (Arc::new(forest), Arc::new(active));
        let visible = Msn::from_raw(superblock.next_msn.to_raw().saturating_sub(1));
        let view = View { forest, sealed: Vec::new(), active };
        let views = ViewCell::new(view, visible, table.steps().clone());
        let views = Arc::new(views);
        let shown: Arc<dyn Views> = views.clone();
        let mover = Arc::new(Mover::new(table.clone(), shown, limits));
        Opening { table, views, mover }
    }

    fn finish(
        self,
        config: &Config,
        superblock: Superblock,
        log: &ReadLog,
        lock: Box<dyn StorageLock>,
    ) -> Result<Engine> {
        self.table.steps().reach(StepPoint::RecoveryTables)?;
        // What the opening before has not come to remove: its space may be what this one lacks.
        remove_before(&self.table, superblock.first_generation)?;
        let is_clean = !log.files.iter().any(ReadFile::has_groups);
        let background = if is_clean { Background::Manual } else { config.background };
        self.replay_into_trees(log, background)?;
        let next_msn = self.views.visible().next();
        let last = log.last_generation.max(superblock.first_generation);
        let start = LogStart {
            generation: last.next(),
            epoch: superblock.epoch.next(),
            base: Lsn::from_raw(
                log.end.to_raw().max(superblock.durable.to_raw()).next_multiple_of(8),
            ),
            next_msn,
            // So that tiny databases have tiny tails, which tests fill and wrap.
            tail_bytes: config.limits.segment_bytes,
        };
        // The new log's files say that all before them are there.
        let secure = |file: &ReadFile| file.secure(&**self.table.storage());
        log.files.last().map_or(Ok(()), secure)?;
        remove_after(&self.table, last)?;
        self.table.steps().reach(StepPoint::RecoveryReplayed)?;
        self.activate(start.generation, next_msn);
        let begun = if is_clean {
            self.begin_clean(&superblock, start, next_msn)
        } else {
            self.begin_recovered(&superblock, start, next_msn)
        };
        let has_old_log = begun.is_ok();
        let (new_log, superblock) = match begun {
            Ok(begun) => begun,
            Err(fault @ Fault::DiskFull { .. }) => {
                // Everything can be read; the old log stays the authority for the next opening, and
                // what is read now shall be there then.
                let rewrite = |file: &ReadFile| file.rewrite(&**self.table.storage());
                log.files.iter().try_for_each(rewrite)?;
                rewrite_tail(&**self.table.storage(), &superblock)?;
                self.table.poison().record(fault);
                (Log::refusing(self.table.clone(), start), superblock)
            }
            Err(fault) => return Err(fault.into()),
        };
        self.mover.tend_all();
        Ok(Engine::new(Parts {
            table: self.table,
            views: self.views,
            mover: self.mover,
            log: new_log,
            superblock,
            next_msn,
            background: config.background,
            access: Access::Write,
            checkpoint_every: config.checkpoint_every(),
            idle_share: config.idle_share,
            has_old_log,
            lock,
        }))
    }

    /// Replays the log into the trees.
    fn replay_into_trees(&self, log: &ReadLog, background: Background) -> Result<()> {
        // What is not in the trees yet keeps its space: helpers may have what lies beyond it.
        let promised = |file: &ReadFile| self.table.promise_anyway(file.bytes());
        let owed: Vec<Charge> = log.files.iter().map(promised).collect();
        let helpers = Helpers::start(&self.table, &self.mover, background)?;
        let bytes = log.files.iter().map(ReadFile::bytes).sum();
        let mut into_trees = IntoTrees::new(self, &helpers, bytes);
        for ((index, file), owed) in log.files.iter().enumerate().zip(owed) {
            if let Some(next) = log.files.get(index + 1) {
                next.load_soon(&**self.table.storage());
            }
            self.replay(file, &mut into_trees)?;
            into_trees.owe(owed);
        }
        into_trees.put_away()?;
        helpers.wait()
    }

    /// Gives `taker` what one log file says. What it has not put away at the end is left to the
    /// caller, also when something is broken.
    fn replay(&self, file: &ReadFile, taker: &mut impl Taker) -> Result<()> {
        let mut memory = Vec::new();
        for part in file.parts() {
            let loaded = file.load(&**self.table.storage(), part, memory)?;
            for group in loaded.groups() {
                self.replay_group(file, &group?, taker)?;
            }
            memory = loaded.into_memory();
        }
        Ok(())
    }

    fn replay_group(
        &self,
        file: &ReadFile,
        group: &Frame<'_>,
        taker: &mut impl Taker,
    ) -> Result<()> {
        if taker.is_full() {
            taker.put_away()?;
        }
        let msn = group.head.first_msn;
        if msn <= self.views.visible() || msn.to_raw() >= 1 << 60 {
            let rule = "its message numbers do not go on from those before";
            return Err(Corruption::new("log group", 0, rule).within(file.name(), 0).into());
        }
        if let Some((numbers, runs)) = runs_in(group.payload) {
            taker.put_away()?;
            let adopted = self.adopt(msn, numbers, runs);
            return taker.take_runs(adopted.map_err(|fault| within(file, fault))?);
        }
        let catalog = Catalog { table: &self.table, views: &self.views };
        let applied = apply_group(group.payload, msn, taker, catalog, &|_| ());
        let next = applied.map_err(|fault| within(file, fault))?;
        let newest = Msn::from_raw(next.to_raw() - 1);
        if newest > self.views.visible() {
            self.views.advance(newest);
        }
        Ok(())
    }

    /// A generation of runs that a commit has written ahead.
    fn adopt(
        &self,
        first: Msn,
        numbers: u64,
        runs: &[u8],
    ) -> std::result::Result<Generation, Fault> {
        let trees = decode_runs(numbers, runs)?;
        let next = first.to_raw().checked_add(numbers.max(1)).map(Msn::from_raw);
        let Some(next) = next.filter(|next| *next <= Sight::OWN_FIRST) else {
            let rule = "it takes more message numbers than there are";
            return Err(Corruption::new("log record", 0, rule).into());
        };
        let (mut segments, mut runs) = (BTreeMap::new(), BTreeMap::new());
        for (tree, of_tree) in trees {
            let parts = of_tree.iter().flat_map(|run| run.segments());
            segments.extend(parts.map(|part| (part.segment.id(), part.segment.clone())));
            runs.insert(tree, of_tree);
        }
        let segments: Vec<Arc<Segment>> = segments.into_values().collect();
        for place in segments.iter().filter_map(|segment| segment.place()) {
            if !self.table.ledger().reserve_logged(place.extent) {
                let rule = "two commits name the same space";
                return Err(Corruption::new("log record", 0, rule).into());
            }
        }
        let reserved = vec![Arc::new(Reserved::new(self.table.clone(), segments))];
        let written = Written { runs, reserved }.renumbered(Sight::OWN_FIRST, first);
        self.views.advance(Msn::from_raw(next.to_raw() - 1));
        Ok(Generation::holding(GenerationId::ZERO, first, &self.table, written))
    }

    /// The number of the next message that is replayed.
    fn next_msn(&self) -> Msn {
        self.views.visible().next()
    }

    fn fresh(&self) -> Generation {
        Generation::new(GenerationId::ZERO, self.next_msn(), &self.table)
    }

    /// Stores the view with these sealed generations, and the active one if that is another.
    fn store(&self, sealed: Vec<Arc<Generation>>, active: Option<Arc<Generation>>) {
        let publishing = self.table.ledger();
        let (forest, before) = {
            let view = self.views.load();
            (view.forest.clone(), view.active.clone())
        };
        let active = active.unwrap_or(before);
        let old = self.views.store(View { forest, sealed, active });
        drop(publishing);
        drop(old);
    }

    /// Stores the view with the generation that will take the first writes.
    fn activate(&self, generation: GenerationId, next_msn: Msn) {
        let active = Generation::new(generation, next_msn, &self.table);
        self.store(Vec::new(), Some(Arc::new(active)));
    }

    /// There was nothing to replay: only the epoch is new.
    fn begin_clean(
        &self,
        before: &Superblock,
        start: LogStart,
        next_msn: Msn,
    ) -> std::result::Result<(Log, Superblock), Fault> {
        let log = self.create_log(start)?;
        let superblock = Superblock {
            sequence: before.sequence + 1,
            epoch: start.epoch,
            first_generation: start.generation,
            session: Session::Open,
            durable: start.base,
            next_msn,
            ..*before
        };
        self.table.write_superblock(&superblock)?;
        self.table.steps().pass(StepPoint::RecoveryFlipped);
        Ok((log, superblock))
    }

    /// What was replayed becomes a checkpoint, and the old log is none any more.
    fn begin_recovered(
        &self,
        before: &Superblock,
        start: LogStart,
        next_msn: Msn,
    ) -> std::result::Result<(Log, Superblock), Fault> {
        let log = self.create_log(start)?;
        let flip =
            Flip { sequence: before.sequence + 1, epoch: start.epoch, session: Session::Open };
        let capture = || {
            let view = self.views.load();
            let catalog = view.forest.image();
            Captured { catalog, first_generation: start.generation, next_msn }
        };
        let superblock = self.table.checkpoint(flip, |_| capture(), &|_| Ok(log.durable()))?;
        self.table.steps().pass(StepPoint::RecoveryFlipped);
        Ok((log, superblock))
    }

    /// The first file of the new log, and nothing that says so yet.
    fn create_log(&self, start: LogStart) -> std::result::Result<Log, Fault> {
        let log = Log::create(self.table.clone(), start)?;
        self.table.steps().reach(StepPoint::RecoveryLogCreated)?;
        Ok(log)
    }
}

fn within(file: &ReadFile, fault: Fault) -> Fault {
    match fault {
        Fault::Corrupt(broken) => Fault::Corrupt(broken.within(file.name(), 0)),
        other => other,
    }
}

/// All space that the log names: nothing may be allocated there before it was replayed.
pub(crate) fn logged_in(
    storage: &dyn Storage,
    log: &ReadLog,
) -> std::result::Result<Logged, Fault> {
    let mut all = Logged::default();
    for file in &log.files {
        let logged = file.logged(storage)?;
        all.next_segment = all.next_segment.max(logged.next_segment);
        all.extents.extend(logged.extents);
    }
    Ok(all)
}

fn pool_for(config: &Config) -> Result<Option<EncoderPool>> {
    let threads = match config.background {
        Background::Threads(count) => count,
        Background::Manual => 0,
    };
    encoder_pool(threads).map_err(|error| Error::from_spawn(&error))
}

fn read_forest(
    table: &Cachetable,
    block_file: &BlockFile,
    token: Arc<ViewToken>,
) -> Result<Forest> {
    let Some(catalog) = block_file.catalog()? else {
        return Ok(Forest::new(CatalogImage::default(), token));
    };
    let child_of = |block: BlockId, height| table.ledger().handle_of(block, height);
    let within = |broken: Corruption| {
        let start = block_file.superblock.catalog.map_or(0, |place| place.extent.offset);
        broken.within(sapwood_cachetable::BLOCK_FILE, start)
    };
    let mut image = decode_catalog(&catalog, &child_of).map_err(within)?;
    let dropped = image.dropped.iter_mut().map(|dropped| &mut dropped.tree);
    for tree in image.trees.iter_mut().chain(dropped) {
        table.check_owned(&mut tree.top.segments()).map_err(within)?;
        *tree = with_built_in(tree.clone(), value_bytes_max(table));
    }
    Ok(Forest::new(image, token))
}

/// A tree as it was read, with its operator if that is a built-in one.
pub(crate) fn with_built_in(tree: CatalogTree, value_bytes_max: usize) -> CatalogTree {
    let operator = tree.options.operator.as_ref().and_then(merge::built_in);
    let operator = operator.map(|operator| operator.limited_to(value_bytes_max));
    CatalogTree { operator, ..tree }
}
