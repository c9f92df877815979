//! Work for idle times: draining what waits, within what writes may cost.
//!
//! ```text
//! nobody writes -> flush what waits, from the top down -> spill what is in memory -> again
//!                  until nothing waits anywhere, or nothing more can be paid for
//! ```

use std::sync::Arc;

use sapwood_cachetable::Fault;
use sapwood_cachetable::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_flusher::{Cleaned, Cleaner, Credit, IDLE_WRITES_PER_BYTE, Outcome, Stop};
use sapwood_serialize::superblock::Session;

use crate::drain::Shares;
use crate::engine::Engine;
use crate::error::Result;
use crate::space::Worth;

/// Once so many generations lie between the last checkpoint and now, an idle database takes one:
/// each has a log file.
const GENERATIONS_MOST: u64 = 8;

/// The state of idle work.
pub(crate) struct Idle {
    /// The percentage of one thread's time that it takes at most; 0 for no idle work.
    pub(crate) share: u8,
    /// Taken by whoever does a piece of it.
    cleaner: Mutex<Option<Cleaner>>,
    credit: Credit,
    is_running: AtomicBool,
    /// How many drains were asked for and are under way.
    pub(crate) drains: AtomicUsize,
    /// Those that flushers can help with.
    pub(crate) shared_out: Mutex<Vec<Arc<Shares>>>,
    /// How many callers are at work on their own threads.
    users: AtomicUsize,
    /// Raised by a writer: the running piece is broken off.
    stop: AtomicBool,
    /// Whether credit was given for what waited when the database was opened.
    is_granted: AtomicBool,
    /// There was nothing left to be done, until something happens.
    settled: Mutex<Option<Settled>>,
}

#[derive(Clone, Copy)]
struct Settled {
    /// Until users have written so many bytes,
    until: u64,
    /// or something was moved.
    moved: u64,
}

impl Idle {
    pub(crate) fn new(share: u8) -> Idle {
        Idle {
            share,
            cleaner: Mutex::new(Rank::Storage, Some(Cleaner::default())),
            credit: Credit::default(),
            is_running: AtomicBool::new(false),
            drains: AtomicUsize::new(0),
            shared_out: Mutex::new(Rank::JobQueue, Vec::new()),
            users: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            is_granted: AtomicBool::new(false),
            settled: Mutex::new(Rank::Storage, None),
        }
    }

    /// Whether somebody has asked for a drain that is under way.
    pub(crate) fn is_draining(&self) -> bool {
        self.drains.load(Ordering::Acquire) > 0
    }

    /// Notes a caller at work, until the returned value is dropped; who closes waits for it.
    pub(crate) fn enter(&self) -> Counted<'_> {
        Counted::enter(&self.users)
    }

    /// Whether a caller is draining or compacting on a thread of its own.
    pub(crate) fn has_users(&self) -> bool {
        self.users.load(Ordering::Acquire) > 0
    }

    /// A writer has come: what runs is broken off.
    pub(crate) fn yield_to_writer(&self) {
        if self.is_running.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// While it lives, a count is one higher.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl Counted<'_> {
    pub(crate) fn enter(count: &AtomicUsize) -> Counted<'_> {
        count.fetch_add(1, Ordering::AcqRel);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Engine {
    /// Does a piece of idle work, broken off when a writer comes.
    pub(crate) fn clean_step(&self) -> std::result::Result<Cleaned, Fault> {
        let is_held = self.is_paused() || self.is_held() || self.idle.is_draining();
        let may_not = is_held || self.is_read_only();
        if self.idle.share == 0 || may_not || self.is_settled_for_now() {
            return Ok(Cleaned::Nothing);
        }
        self.table.poison().check()?;
        let taken = self.idle.cleaner.lock().take();
        let Some(mut cleaner) = taken else { return Ok(Cleaned::Busy) };
        self.idle.stop.store(false, Ordering::Relaxed);
        self.idle.is_running.store(true, Ordering::Relaxed);
        let cleaned = self.guarded(|| self.clean(&mut cleaner));
        self.idle.is_running.store(false, Ordering::Relaxed);
        *self.idle.cleaner.lock() = Some(cleaner);
        if matches!(cleaned, Ok(Cleaned::Flushed)) {
            self.bell.ring();
        }
        cleaned
    }

    fn clean(&self, cleaner: &mut Cleaner) -> std::result::Result<Cleaned, Fault> {
        if !self.idle.is_granted.swap(true, Ordering::Relaxed) {
            self.idle.credit.grant(Cleaner::bytes_waiting(&self.mover)?);
        }
        // Before the look: what others write or move meanwhile wants another one.
        let (user, moved) = (self.counters.user_bytes.get(), self.moved());
        let credit = self.idle_credit();
        let stop = Stop::when(&self.idle.stop);
        let cleaned = match cleaner.step(&self.mover, credit, stop)? {
            Cleaned::Nothing => self.clean_memory(credit)?,
            cleaned => cleaned,
        };
        match cleaned {
            Cleaned::Flushed | Cleaned::Busy => {}
            // Each byte that a user writes brings so many nearer to what the next piece costs.
            Cleaned::TooDear(short) => {
                let checkpoints = self.tidy()?;
                let until = user + (short / IDLE_WRITES_PER_BYTE).max(1);
                self.settle(until, moved + checkpoints);
            }
            Cleaned::Nothing => {
                let checkpoints = self.tidy()?;
                self.idle.credit.forfeit(user, self.bytes_spent());
                self.settle(user + 1, moved + checkpoints);
            }
        }
        Ok(cleaned)
    }

    /// Spills what is in memory, if that can be paid for.
    fn clean_memory(&self, credit: u64) -> std::result::Result<Cleaned, Fault> {
        let (bytes, rows) = {
            let view = self.views.load();
            let bytes = view.generations().map(|one| one.user_bytes()).sum();
            (bytes, view.generations().map(|one| one.rows()).sum())
        };
        if rows == 0 {
            return Ok(Cleaned::Nothing);
        }
        let cost = self.mover.cost_of_spill(bytes, rows);
        if cost > credit {
            return Ok(Cleaned::TooDear(cost - credit));
        }
        self.spill_all()?;
        Ok(Cleaned::Flushed)
    }

    /// A checkpoint lets log files and space go that nobody needs, and makes memory of what was not
    /// written. Says how many were taken: those are no reason to look again.
    fn tidy(&self) -> std::result::Result<u64, Fault> {
        let before = self.table.counters().checkpoints.get();
        let active = self.views.load().active.id.to_raw();
        let first = self.superblock.lock().first_generation.to_raw();
        let is_long = active.saturating_sub(first) >= GENERATIONS_MOST;
        let is_full = self.table.ledger().unwritten_bytes() > self.table.budget().unwritten();
        if is_long || is_full || self.is_space_superseded() {
            self.checkpoint_step(Session::Open)?;
        }
        let taken = self.table.counters().checkpoints.get() - before;
        self.punch_holes(Worth::AtRest, &|| self.idle.stop.load(Ordering::Relaxed));
        Ok(taken)
    }

    fn settle(&self, until: u64, moved: u64) {
        *self.idle.settled.lock() = Some(Settled { until, moved });
    }

    /// Whether nothing has happened since there was nothing to do.
    fn is_settled_for_now(&self) -> bool {
        let (user, moved) = (self.counters.user_bytes.get(), self.moved());
        let settled = *self.idle.settled.lock();
        settled.is_some_and(|settled| user < settled.until && moved == settled.moved)
    }

    /// Changes whenever something was moved, or a checkpoint has let space go.
    fn moved(&self) -> u64 {
        let movements = self.mover.counters().flushes() + self.mover.counters().spills.get();
        movements + self.table.counters().checkpoints.get()
    }

    /// What idle work may still write.
    pub(crate) fn idle_credit(&self) -> u64 {
        self.idle.credit.left(self.counters.user_bytes.get(), self.bytes_spent())
    }

    /// What was written, and what was built to be written.
    fn bytes_spent(&self) -> u64 {
        let built = self.mover.counters().bytes_built.get();
        built.max(self.table.counters().bytes_written.get()) + self.log.bytes_written.get()
    }

    /// Whether all background work is done that can be done now.
    pub(crate) fn is_idle(&self) -> bool {
        let is_done = (self.idle.share == 0 || self.is_settled_for_now())
            && self.mover.waiting() == 0
            && self.mover.running() == 0
            && self.views.load().sealed.is_empty();
        is_done || self.is_read_only()
    }

    /// Moves range deletes to where they let space go. What another thread holds up, or what cannot
    /// be done, is left to the background, which meets it again.
    pub(crate) fn let_go(&self) -> Result<()> {
        /// So many times in a row it gives way to other threads, each about a millisecond long.
        const WAITS_MOST: usize = 200;
        let mut waits = 0;
        while waits < WAITS_MOST {
            match self.guarded(|| self.mover.let_go()) {
                Ok(Outcome::Done) => waits = 0,
                Ok(Outcome::Nothing) => return Ok(()),
                Ok(Outcome::Busy) => {
                    waits += 1;
                    self.give_way()?;
                }
                Err(fault) => {
                    self.set_met(Some(fault));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
