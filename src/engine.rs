//! The engine behind the handles: the view, the log, the cachetable and the mover, and the steps
//! that move them on.
//!
//! Every background action is a step: [`Engine::step`] does the most urgent one. Threads loop over
//! it; in manual mode the caller does.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::crew::message_of;
use sapwood_cachetable::stats::Counter;
use sapwood_cachetable::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sapwood_cachetable::sync::{Condvar, Mutex, Rank};
use sapwood_cachetable::{Cachetable, Captured, Fault, Flip, StepPoint};
use sapwood_flusher::{Mover, Outcome};
use sapwood_serialize::superblock::{Session, Superblock};
use sapwood_serialize::{FrameKind, Lsn, Memory, Msn, StorageLock, begin_frame};

use crate::background::Wakers;
use crate::catalog::Catalog;
use crate::commit::Line;
use crate::config::Background;
use crate::daemon::Held;
use crate::error::{Error, Kind, Result};
use crate::generation::Generation;
use crate::idle::{Counted, Idle};
use crate::record_number::Numbers;
use crate::space::Worth;
use crate::throttle::Throttle;
use crate::ticket::Tickets;
use crate::view::{Registration, View, ViewCell};
use crate::wal::{Log, remove_before, remove_tails};

/// What the engine counts besides what the crates below count.
#[derive(Debug, Default)]
pub(crate) struct EngineCounters {
    /// Bytes of keys and values that users wrote.
    pub(crate) user_bytes: Counter,
    /// Generations sealed.
    pub(crate) seals: Counter,
}

/// An open database.
pub(crate) struct Engine {
    // Constant after construction.
    pub(crate) table: Arc<Cachetable>,
    pub(crate) views: Arc<ViewCell>,
    pub(crate) mover: Arc<Mover>,
    pub(crate) log: Log,
    pub(crate) background: Background,
    access: Access,
    checkpoint_every: u64,
    // Synchronised by themselves.
    pub(crate) line: Line,
    pub(crate) throttle: Throttle,
    pub(crate) tickets: Tickets,
    pub(crate) numbers: Numbers,
    pub(crate) counters: EngineCounters,
    pub(crate) idle: Idle,
    /// Whether the user has told background work to pause.
    is_held: AtomicBool,
    /// Whether files of the log before this opening may be left.
    has_old_log: AtomicBool,
    /// The newest superblock; held by whoever takes a checkpoint.
    pub(crate) superblock: Mutex<Superblock>,
    checkpointing: AtomicBool,
    spilling: AtomicBool,
    /// User bytes at the last checkpoint's cut.
    checkpointed_at: AtomicU64,
    closed: AtomicBool,
    pauses: AtomicU64,
    /// Rung whenever something was done that somebody may wait for.
    pub(crate) bell: Bell,
    /// The threads to wake when there is something to do.
    wakers: Mutex<Option<Wakers>>,
    /// When the log must be synced at the latest, in nanoseconds of the storage's clock.
    sync_by: AtomicU64,
    /// What background work met last, until it gets something done again.
    met: Mutex<Option<Fault>>,
    /// What it met last at all.
    last_met: Mutex<Option<Fault>>,
    // Last, so that the folder is free when everything else is gone.
    lock: Mutex<Option<Box<dyn StorageLock>>>,
}

/// What an engine may do to its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    Write,
    /// Nothing but reading them.
    Read,
}

/// What an engine is made of.
pub(crate) struct Parts {
    pub(crate) table: Arc<Cachetable>,
    pub(crate) views: Arc<ViewCell>,
    pub(crate) mover: Arc<Mover>,
    pub(crate) log: Log,
    pub(crate) superblock: Superblock,
    pub(crate) next_msn: Msn,
    pub(crate) background: Background,
    pub(crate) access: Access,
    pub(crate) checkpoint_every: u64,
    pub(crate) idle_share: u8,
    /// Whether files of the log before this opening may be left.
    pub(crate) has_old_log: bool,
    pub(crate) lock: Box<dyn StorageLock>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Engine {
        Engine {
            table: parts.table,
            views: parts.views,
            mover: parts.mover,
            log: parts.log,
            background: parts.background,
            access: parts.access,
            checkpoint_every: parts.checkpoint_every,
            line: Line::new(parts.next_msn),
            throttle: Throttle::default(),
            tickets: Tickets::default(),
            numbers: Numbers::default(),
            counters: EngineCounters::default(),
            idle: Idle::new(parts.idle_share),
            is_held: AtomicBool::new(false),
            has_old_log: AtomicBool::new(parts.has_old_log),
            superblock: Mutex::new(Rank::Claims, parts.superblock),
            checkpointing: AtomicBool::new(false),
            spilling: AtomicBool::new(false),
            checkpointed_at: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            pauses: AtomicU64::new(0),
            bell: Bell::default(),
            wakers: Mutex::new(Rank::Storage, None),
            sync_by: AtomicU64::new(NEVER),
            met: Mutex::new(Rank::Storage, None),
            last_met: Mutex::new(Rank::Storage, None),
            lock: Mutex::new(Rank::Storage, Some(parts.lock)),
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Closed));
        }
        Ok(())
    }

    /// Whether it was opened for reading alone.
    pub(crate) fn is_read_only(&self) -> bool {
        self.access == Access::Read
    }

    /// Refuses changes where only reading is allowed.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.is_read_only() { Err(Error::new(Kind::ReadOnly)) } else { Ok(()) }
    }

    /// Work on the database has panicked: what it has left half done must not reach the disk.
    pub(crate) fn set_panicked(&self, message: &str) {
        self.table.poison().record(Fault::Panicked(message.into()));
        self.bell.ring();
    }

    /// Does work on the caller's thread that is to poison the database if it panics. No code of the
    /// user runs in there: merge operators are caught where they are called.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> T) -> T {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(done) => done,
            Err(panic) => {
                self.set_panicked(&message_of(&*panic));
                resume_unwind(panic)
            }
        }
    }

    /// Background work has met `fault` (or has got something done): whoever waits for it is told.
    pub(crate) fn set_met(&self, fault: Option<Fault>) {
        if let Some(fault) = &fault {
            *self.last_met.lock() = Some(fault.clone());
        }
        let is_fault = fault.is_some();
        *self.met.lock() = fault;
        if is_fault {
            self.bell.ring();
        }
    }

    /// What background work has last failed with.
    pub(crate) fn last_met(&self) -> Option<Fault> {
        self.last_met.lock().clone()
    }

    /// Holds background work back, or lets it go on.
    pub(crate) fn hold(&self, held: Held) {
        self.is_held.store(held == Held::Paused, Ordering::Release);
        self.wake();
    }

    /// Whether background work is held back.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    /// What keeps background work from going on, if anything does.
    pub(crate) fn check_met(&self) -> std::result::Result<(), Fault> {
        self.met.lock().clone().map_or(Ok(()), Err)
    }

    pub(crate) fn set_wakers(&self, wakers: Option<Wakers>) {
        *self.wakers.lock() = wakers;
    }

    /// Wakes background threads: there is something to do.
    pub(crate) fn wake(&self) {
        if let Some(wakers) = &*self.wakers.lock() {
            wakers.wake();
        }
    }

    /// Does what must not run beside a commit. Who leads next finds the poison of a panic in there.
    pub(crate) fn lead<T>(&self, work: impl FnOnce() -> T) -> T {
        self.line.lead(|| self.guarded(work))
    }

    // ----- generations ---------------------------------------------------------------------------

    /// The leader's: seals the active generation when it is full and may be. Rather than that
    /// writers wait for the next log file, the generation takes half as much again.
    pub(crate) fn seal_if_full(&self) -> std::result::Result<(), Fault> {
        let most = self.table.budget().memtable();
        let is_due = {
            let view = self.views.load();
            view.active.is_full(most)
                && view.sealed.len() < SEALED_MAX
                && (self.log.has_next() || view.active.is_full(most + most / 2))
        };
        if is_due { self.seal() } else { Ok(()) }
    }

    /// The leader's: closes the active generation and opens the next.
    pub(crate) fn seal(&self) -> std::result::Result<(), Fault> {
        self.table.steps().reach(StepPoint::LogSealBegun)?;
        let next_msn = self.line.next_msn();
        self.log.seal(next_msn)?;
        let ledger = self.table.ledger();
        let current = self.views.load();
        current.active.seal(Msn::from_raw(next_msn.to_raw() - 1));
        let next = Generation::new(current.active.id.next(), next_msn, &self.table);
        let mut sealed = current.sealed.clone();
        sealed.push(current.active.clone());
        let forest = current.forest.clone();
        let old = self.views.store(View { forest, sealed, active: Arc::new(next) });
        drop(ledger);
        drop((current, old));
        self.counters.seals.add(1);
        self.table.steps().pass(StepPoint::LogSealed);
        self.wake();
        Ok(())
    }

    /// Registers a reader at what is visible now.
    pub(crate) fn register(&self) -> Arc<Registration> {
        Arc::new(self.views.register(self.table.now()))
    }

    /// The catalog of the current view.
    pub(crate) fn catalog(&self) -> Catalog<'_> {
        Catalog { table: &self.table, views: &self.views }
    }

    // ----- steps ---------------------------------------------------------------------------------

    /// Lets no step begin until the returned value is dropped.
    pub(crate) fn pause(&self) -> Pause<'_> {
        self.pauses.fetch_add(1, Ordering::AcqRel);
        Pause(self)
    }

    /// Whether steps may begin.
    pub(crate) fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::Acquire) > 0
    }

    /// Does the most urgent thing that is due, if any.
    pub(crate) fn step(&self) -> std::result::Result<Outcome, Fault> {
        self.guarded(|| self.step_now())
    }

    fn step_now(&self) -> std::result::Result<Outcome, Fault> {
        self.table.poison().check()?;
        if self.is_paused() || self.is_read_only() {
            return Ok(Outcome::Nothing);
        }
        if self.pressure() < 0.5 {
            if self.is_held() {
                return Ok(Outcome::Nothing);
            }
            // A drain goes from the top down; whoever flushed into a leaf before it would make that
            // leaf be rewritten twice.
            if self.idle.is_draining() {
                return self.help_drain();
            }
        }
        if self.background == Background::Manual {
            self.sync_if_due()?;
            self.write_out();
            self.prepare_space()?;
            self.prepare_log()?;
        }
        if self.spill_step()? == Outcome::Done {
            return Ok(Outcome::Done);
        }
        let moved = self.mover.step()?;
        if moved == Outcome::Done {
            self.bell.ring();
            return Ok(Outcome::Done);
        }
        if self.background == Background::Manual && self.checkpoint_is_due() {
            self.checkpoint_step(Session::Open)?;
            return Ok(Outcome::Done);
        }
        Ok(moved)
    }

    /// Spills the oldest sealed generation, if there is one and nobody else does.
    pub(crate) fn spill_step(&self) -> std::result::Result<Outcome, Fault> {
        if self.views.load().sealed.is_empty() || !self.mover.has_room_for_spill() {
            return Ok(Outcome::Nothing);
        }
        self.spill_oldest()
    }

    /// The same, whatever the trees look like.
    pub(crate) fn spill_oldest(&self) -> std::result::Result<Outcome, Fault> {
        if self.spilling.swap(true, Ordering::AcqRel) {
            return Ok(Outcome::Busy);
        }
        let _done = Lower(&self.spilling);
        let Some(oldest) = self.views.load().sealed.first().cloned() else {
            return Ok(Outcome::Nothing);
        };
        let outcome = self.mover.spill(&*oldest)?;
        self.bell.ring();
        self.wake();
        Ok(outcome)
    }

    /// Seals what is active and spills everything, so that the trees have it all.
    pub(crate) fn spill_all(&self) -> std::result::Result<(), Fault> {
        self.guarded(|| self.spill_all_now())
    }

    fn spill_all_now(&self) -> std::result::Result<(), Fault> {
        if !self.views.load().active.is_empty() {
            self.lead(|| {
                let is_empty = self.views.load().active.is_empty();
                if is_empty { Ok(()) } else { self.seal() }
            })?;
        }
        let last = self.views.load().sealed.last().map(|generation| generation.id);
        let Some(last) = last else { return Ok(()) };
        while self.views.load().sealed.first().is_some_and(|oldest| oldest.id <= last) {
            if self.spill_oldest()? == Outcome::Busy {
                self.bell.wait(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    // ----- checkpoints ---------------------------------------------------------------------------

    /// Whether enough was written since the last checkpoint.
    pub(crate) fn checkpoint_is_due(&self) -> bool {
        let written = self.counters.user_bytes.get();
        let before = self.checkpointed_at.load(Ordering::Relaxed);
        written.saturating_sub(before) >= self.checkpoint_every
    }

    /// Takes a checkpoint of what is in the trees now; waits for one that is under way. Where it
    /// leaves little in a large file, that is moved to the front and a second one taken, so that
    /// the file can be shortened.
    pub(crate) fn checkpoint_step(&self, session: Session) -> std::result::Result<(), Fault> {
        let by = if session == Session::Open { By::Anybody } else { By::Closer };
        self.checkpoint_once(session, by)?;
        if session == Session::Open {
            self.pull_together(by)?;
        }
        Ok(())
    }

    pub(crate) fn checkpoint_once(
        &self,
        session: Session,
        by: By,
    ) -> std::result::Result<(), Fault> {
        let taken = self.guarded(|| self.checkpoint_alone(session, by));
        // Only now: whoever is told may want a checkpoint, too.
        self.tickets.tell(self);
        taken
    }

    fn checkpoint_alone(&self, session: Session, by: By) -> std::result::Result<(), Fault> {
        let _alone = self.hold_checkpoints();
        // The last checkpoint says that there is no log; none may say otherwise after it.
        if by == By::Anybody && self.is_closed() {
            return Err(Fault::Closed);
        }
        let before = *self.superblock.lock();
        let flip = Flip { sequence: before.sequence + 1, epoch: self.log.epoch(), session };
        let written = self.counters.user_bytes.get();
        let sync_log = |first| self.log.sync_from(first);
        let superblock = self.table.checkpoint(flip, |_| self.capture(session), &sync_log)?;
        *self.superblock.lock() = superblock;
        self.checkpointed_at.store(written, Ordering::Relaxed);
        self.log.trim(superblock.first_generation, superblock.durable)?;
        self.table.steps().pass(StepPoint::CheckpointTrimmed);
        if session == Session::Open {
            self.table.shorten_file()?;
        }
        self.bell.ring();
        Ok(())
    }

    /// Waits for a checkpoint that is under way, and lets none begin while the returned value
    /// lives.
    pub(crate) fn hold_checkpoints(&self) -> Lower<'_> {
        while self.checkpointing.swap(true, Ordering::AcqRel) {
            self.bell.wait(Duration::from_millis(10));
        }
        Lower(&self.checkpointing)
    }

    /// Removes what is left of the log before this opening, which nobody needs. A system may take
    /// tens of milliseconds for each file, for which who opens a database need not wait.
    pub(crate) fn remove_old_log(&self) -> std::result::Result<(), Fault> {
        if !self.has_old_log.load(Ordering::Acquire) {
            return Ok(());
        }
        // A checkpoint removes files, too.
        let _alone = self.hold_checkpoints();
        let first = self.superblock.lock().first_generation;
        remove_before(&self.table, first)?;
        remove_tails(&self.table, Some(self.log.epoch()))?;
        self.has_old_log.store(false, Ordering::Release);
        self.table.steps().pass(StepPoint::RecoveryTrimmed);
        Ok(())
    }

    /// What a checkpoint keeps of the current view; under the publish mutex.
    fn capture(&self, session: Session) -> Captured {
        let view = self.views.load();
        let oldest = view.sealed.first().unwrap_or(&view.active);
        let first_generation = match session {
            Session::Open => oldest.id,
            // Nothing is left to replay, and no file will be there to look for.
            Session::Closed => oldest.id.next(),
        };
        let next_msn = match session {
            // Replay starts with the oldest message that is not in the trees.
            Session::Open => oldest.first_msn(),
            // Changes of the catalog have numbers too, and leave nothing in a memtable.
            Session::Closed => self.line.next_msn(),
        };
        Captured { catalog: view.forest.image(), first_generation, next_msn }
    }

    /// Sees to it that the log is synced within `time` from now.
    pub(crate) fn sync_within(&self, time: Duration) {
        let by = nanos(self.table.now().saturating_add(time));
        if self.sync_by.fetch_min(by, Ordering::AcqRel) > by {
            self.wake();
        }
    }

    /// How long the next sync can wait; `None` when nobody asked for one.
    pub(crate) fn time_to_sync(&self) -> Option<Duration> {
        let by = self.sync_by.load(Ordering::Acquire);
        (by != NEVER).then(|| Duration::from_nanos(by).saturating_sub(self.table.now()))
    }

    /// Syncs the log if the time has come.
    pub(crate) fn sync_if_due(&self) -> std::result::Result<(), Fault> {
        if self.time_to_sync().is_none_or(|time| !time.is_zero()) {
            return Ok(());
        }
        // Before the sync: whoever commits meanwhile asks for the next one.
        self.sync_by.store(NEVER, Ordering::Release);
        self.sync_log_to(self.log.end())
    }

    /// Sees to it that the system writes out the log, and what jobs have written, before its memory
    /// is full of that: whoever needs the next page then would wait for it.
    pub(crate) fn write_out(&self) {
        // Who closes waits for it: the folder may be another one's afterwards.
        if let Ok(_open) = self.enter_open() {
            self.log.make_pages_ahead();
            self.log.start_writeback();
            self.table.start_writeback(1);
        }
    }

    /// Returns when the log is durable up to `position`, and those who asked were told.
    pub(crate) fn sync_log_to(&self, position: Lsn) -> std::result::Result<(), Fault> {
        let synced = self.guarded(|| self.log.sync_to(position));
        self.tickets.tell(self);
        synced
    }

    /// Writes a mark when nobody has written for a while: it tells recovery how far the log was
    /// durable, which otherwise only the next frame would.
    pub(crate) fn mark_idle(&self) -> std::result::Result<(), Fault> {
        if !self.log.wants_mark() {
            return Ok(());
        }
        self.lead(|| self.mark())
    }

    /// The leader's: writes a mark, if one is still wanted.
    fn mark(&self) -> std::result::Result<(), Fault> {
        if !self.log.wants_mark() {
            return Ok(());
        }
        let mut frame = Memory::default();
        begin_frame(&mut frame);
        self.log.make_room(frame.len() as u64 + 8)?;
        self.log.append(FrameKind::Mark, self.line.next_msn(), &mut frame).map(|_| ())
    }

    // ----- closing -------------------------------------------------------------------------------

    /// Everything into the trees, a last checkpoint, no log, no free tail. Once.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let closed = if self.is_read_only() { Ok(()) } else { self.close_files() };
        self.tickets.end(self);
        drop(self.lock.lock().take());
        Ok(closed?)
    }

    fn close_files(&self) -> std::result::Result<(), Fault> {
        // Whoever leads now is waited for; whoever comes later is refused.
        self.lead(|| ());
        // Whoever drains on a thread of its own finds the database closed at its next step.
        while self.idle.has_users() {
            self.bell.wait(Duration::from_millis(1));
        }
        self.table.stop_writing_behind();
        self.table.poison().check()?;
        self.spill_all()?;
        if self.sparse_beyond().is_some() {
            self.checkpoint_once(Session::Open, By::Closer)?;
            self.pull_together(By::Closer)?;
        }
        self.checkpoint_step(Session::Closed)?;
        self.punch_holes_anyway(Worth::AtRest, &|| false);
        self.log.remove()?;
        remove_tails(&self.table, None)?;
        self.table.cut_file()
    }

    /// Lets go of the files without writing anything, as a crash would.
    pub(crate) fn abandon(&self) {
        self.closed.store(true, Ordering::Release);
        self.table.stop_writing_behind();
        self.tickets.end(self);
        drop(self.lock.lock().take());
    }

    /// Notes somebody who writes what is not committed yet, until the returned value is dropped:
    /// who closes waits for it, and nobody writes to a file that may be another one's by then.
    pub(crate) fn enter_open(&self) -> std::result::Result<Counted<'_>, Fault> {
        let user = self.idle.enter();
        if self.is_closed() { Err(Fault::Closed) } else { Ok(user) }
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// No more generations than this wait for a spill.
pub(crate) const SEALED_MAX: usize = 2;

/// No sync was asked for.
const NEVER: u64 = u64::MAX;

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER - 1)
}

/// Who takes a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Somebody who is refused once the database is closed.
    Anybody,
    /// Who closes it.
    Closer,
}

/// While it lives, background work pauses.
pub(crate) struct Pause<'a>(&'a Engine);

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.pauses.fetch_sub(1, Ordering::AcqRel);
        self.0.wake();
    }
}

/// Lowers a flag when dropped.
pub(crate) struct Lower<'a>(&'a AtomicBool);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Wakes those who wait for something to be done, or to do.
pub(crate) struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Default for Bell {
    fn default() -> Bell {
        Bell { rings: Mutex::new(Rank::Storage, 0), rung: Condvar::new() }
    }
}

impl Bell {
    /// Wakes everyone who waits.
    pub(crate) fn ring(&self) {
        *self.rings.lock() += 1;
        self.rung.notify_all();
    }

    /// How often it was rung.
    pub(crate) fn count(&self) -> u64 {
        *self.rings.lock()
    }

    /// Waits for the next ring, or for `time`.
    pub(crate) fn wait(&self, time: Duration) {
        let mut rings = self.rings.lock();
        self.rung.wait_for(&mut rings, time);
    }

    /// Waits for `time` unless it was rung since it had been rung `seen` times.
    pub(crate) fn wait_since(&self, seen: u64, time: Duration) {
        let mut rings = self.rings.lock();
        if *rings == seen {
            self.rung.wait_for(&mut rings, time);
        }
    }
}
