//! Draining when somebody asks for it: everything that waits goes down, whatever it costs.
//!
//! ```text
//! stretch -> shares, cut at the pivots of the tree's highest node
//!            each is taken by whoever has time, the caller or a flusher, for one step at a time
//! ```
//!
//! Invariants:
//! 1. a share is in one thread's hands at a time, and drained from left to right;
//! 2. the caller returns when no share is left, waiting or taken, or with the first error that it
//!    meets itself; a share on which a flusher has failed comes back to it.
//!
//! In manual mode there is one share, and nobody helps.

use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::Fault;
use sapwood_cachetable::sync::atomic::{AtomicUsize, Ordering};
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_flusher::{Drain, JobResult, Outcome, Stop};
use sapwood_serialize::TreeId;
use sapwood_serialize::run::Bounds;

use crate::config::Background;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::idle::Counted;

/// A drain that several threads can be at.
pub(crate) struct Shares {
    /// Those that nobody has taken.
    waiting: Mutex<Vec<Drain>>,
    /// How many are not drained yet, taken or not.
    left: AtomicUsize,
}

impl Shares {
    fn new(shares: Vec<Drain>) -> Shares {
        let left = AtomicUsize::new(shares.len());
        Shares { waiting: Mutex::new(Rank::JobQueue, shares), left }
    }

    fn is_done(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    fn take(&self) -> Option<Drain> {
        self.waiting.lock().pop()
    }

    fn put_back(&self, drain: Drain) {
        self.waiting.lock().push(drain);
    }
}

/// Lets flushers help with a drain until it is dropped.
struct SharedOut<'a> {
    engine: &'a Engine,
    shares: &'a Arc<Shares>,
}

impl<'a> SharedOut<'a> {
    fn new(engine: &'a Engine, shares: &'a Arc<Shares>) -> SharedOut<'a> {
        engine.idle.shared_out.lock().push(shares.clone());
        engine.wake();
        SharedOut { engine, shares }
    }
}

impl Drop for SharedOut<'_> {
    fn drop(&mut self) {
        let mut all = self.engine.idle.shared_out.lock();
        all.retain(|other| !Arc::ptr_eq(other, self.shares));
    }
}

impl Engine {
    /// Moves everything that was written before this call and lies within `stretches` into leaves,
    /// whatever it costs; on the caller's thread and on those of flushers.
    pub(crate) fn drain(&self, stretches: &[(TreeId, Bounds)]) -> Result<()> {
        self.check_may_move()?;
        let _user = self.idle.enter();
        self.spill_all()?;
        {
            let _draining = Counted::enter(&self.idle.drains);
            for (tree, bounds) in stretches {
                let drain = Drain::new(*tree, bounds.clone());
                let shares = self.mover.shares(&drain, self.shares_most())?;
                let shares = Arc::new(Shares::new(shares));
                let _helped = SharedOut::new(self, &shares);
                self.repeat(&mut || self.drain_some(&shares))?;
            }
        }
        self.finish_due()
    }

    /// Into how many shares a drain is cut: two for each thread, so that none is idle for long.
    fn shares_most(&self) -> usize {
        match self.background {
            Background::Manual => 1,
            Background::Threads(flushers) => 2 * (1 + flushers.min(self.table.budget().jobs())),
        }
    }

    /// A flusher's part in the newest drain that is under way.
    pub(crate) fn help_drain(&self) -> JobResult {
        let newest = self.idle.shared_out.lock().last().cloned();
        match newest {
            Some(shares) if self.background != Background::Manual => self.drain_some(&shares),
            _ => Ok(Outcome::Nothing),
        }
    }

    /// One step of one share that nobody has taken; `Nothing` once all are drained.
    fn drain_some(&self, shares: &Shares) -> JobResult {
        self.table.poison().check()?;
        let Some(mut drain) = shares.take() else {
            return Ok(if shares.is_done() { Outcome::Nothing } else { Outcome::Busy });
        };
        let stepped = self.mover.drain_step(&mut drain, Stop::NEVER);
        match stepped {
            Ok(Outcome::Nothing) => {
                shares.left.fetch_sub(1, Ordering::AcqRel);
                Ok(Outcome::Done)
            }
            stepped => {
                shares.put_back(drain);
                stepped
            }
        }
    }

    /// Drains a stretch and goes through its leaves.
    pub(crate) fn compact(&self, tree: TreeId, bounds: &Bounds) -> Result<()> {
        let _user = self.idle.enter();
        self.drain(&[(tree, bounds.clone())])?;
        let mut drain = Drain::new(tree, bounds.clone());
        self.repeat(&mut || self.mover.compact_step(&mut drain, Stop::NEVER))?;
        self.finish_due()
    }

    fn check_may_move(&self) -> Result<()> {
        self.check_writable()?;
        self.table.poison().check()?;
        if self.is_held() { Err(Error::new(Kind::Paused)) } else { Ok(()) }
    }

    /// Repeats `step` until there is nothing left for it; where another job is at work, it waits.
    fn repeat(&self, step: &mut dyn FnMut() -> std::result::Result<Outcome, Fault>) -> Result<()> {
        loop {
            self.check_open()?;
            if self.is_paused() {
                self.bell.wait(Duration::from_millis(1));
                continue;
            }
            match self.guarded(&mut *step)? {
                Outcome::Done => self.bell.ring(),
                Outcome::Nothing => return Ok(()),
                Outcome::Busy => self.give_way()?,
            }
        }
    }

    /// Another job is where this one would go on.
    pub(crate) fn give_way(&self) -> Result<()> {
        let is_done = self.background == Background::Manual && self.step()? == Outcome::Done;
        if !is_done {
            self.bell.wait(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Splits and merges what the moves have made too large or too small; leaves that to the
    /// background once somebody writes.
    fn finish_due(&self) -> Result<()> {
        let user = self.counters.user_bytes.get();
        while self.counters.user_bytes.get() == user {
            self.check_open()?;
            match self.guarded(|| self.mover.step())? {
                Outcome::Done => self.bell.ring(),
                Outcome::Busy => self.give_way()?,
                Outcome::Nothing if self.mover.waiting() + self.mover.running() == 0 => break,
                Outcome::Nothing => self.give_way()?,
            }
        }
        Ok(())
    }
}
