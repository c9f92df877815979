//! Threads that spill what a replay puts away, while it goes on, and move down what stands in the
//! way of that.
//!
//! ```text
//! opening   replay a | replay b        | replay c       | ...
//! helpers            | spill a | flush | spill b | wait | spill c ...
//! ```
//!
//! One spills at a time, in the order of the log, and the opening thread hands over the next load
//! only when that is done: there is memory for two. Nothing is moved down but what is in the way:
//! whoever opens a database wants to use it, and the background work will do the rest.
//!
//! They are gone before anything else of the engine starts, and before the folder's lock is given
//! back, whichever way the opening ends. Without background threads there are none, and the opening
//! thread does everything.

use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::crew::{Crew, Next, Work};
use sapwood_cachetable::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_cachetable::{Cachetable, Fault};
use sapwood_flusher::{JobResult, Mover, Outcome};
use sapwood_serialize::{Charge, Extent};

use super::replayed::Replayed;
use crate::config::Background;
use crate::engine::Bell;
use crate::error::{Error, Result};
use crate::generation::Generation;
use crate::idle::Counted;

/// How long a helper without work waits to be woken.
const IDLE: Duration = Duration::from_millis(100);

/// How long the opening thread waits for a helper before it looks again.
const PATIENCE: Duration = Duration::from_millis(10);

/// What a replay has put away, and what is given back once that is in the trees.
pub(super) struct Load {
    pub(super) messages: LoadOf,
    /// The space promised to the log files that are done with it.
    pub(super) owed: Vec<Charge>,
}

/// The two kinds of what a log holds.
pub(super) enum LoadOf {
    Messages(Replayed),
    /// Runs that a commit has written ahead.
    Runs(Box<Generation>),
}

/// The running helpers. Dropping them returns when none is left.
pub(super) struct Helpers {
    crew: Option<Crew>,
    help: Arc<Help>,
}

struct Help {
    table: Arc<Cachetable>,
    mover: Arc<Mover>,
    lane: Mutex<Lane>,
    /// Whether something stands in the way of a spill.
    is_in_the_way: AtomicBool,
    /// How many helpers are moving something down.
    at_work: AtomicUsize,
    /// Rung when one of them has done something.
    stepped: Bell,
}

/// Where loads pass from the opening thread to the one that spills them.
#[derive(Default)]
struct Lane {
    waiting: Option<Load>,
    is_spilling: bool,
    /// What was spilled last, for its memory.
    spilled: Option<Replayed>,
    /// What has kept one from being spilled.
    met: Option<Fault>,
}

impl Helpers {
    /// As many as there will be flushers.
    pub(super) fn start(
        table: &Arc<Cachetable>,
        mover: &Arc<Mover>,
        background: Background,
    ) -> Result<Helpers> {
        let count = match background {
            Background::Threads(count) => count.min(table.budget().jobs()),
            Background::Manual => 0,
        };
        let help = Arc::new(Help {
            table: table.clone(),
            mover: mover.clone(),
            lane: Mutex::new(Rank::JobQueue, Lane::default()),
            is_in_the_way: AtomicBool::new(false),
            at_work: AtomicUsize::new(0),
            stepped: Bell::default(),
        });
        let work: Arc<dyn Work> = help.clone();
        let crew = match count {
            0 => None,
            _ => Some(
                Crew::start("sapwood-recover", count, &work)
                    .map_err(|error| Error::from_spawn(&error))?,
            ),
        };
        Ok(Helpers { crew, help })
    }

    /// Hands over a load, newer than all before it; returns when the one before it is in the trees.
    ///
    /// # Errors
    /// What has kept that one from the trees.
    pub(super) fn spill(&self, load: Load) -> Result<()> {
        let Some(crew) = &self.crew else { return Ok(self.help.spill(load)?) };
        self.wait()?;
        self.help.lane.lock().waiting = Some(load);
        crew.waker().wake();
        Ok(())
    }

    /// What was spilled and is of no more use, for its memory.
    pub(super) fn take_spilled(&self) -> Option<Replayed> {
        self.help.lane.lock().spilled.take()
    }

    /// Returns when all that was handed over is in the trees; helps with what is in the way.
    ///
    /// # Errors
    /// As for [`Helpers::spill`].
    pub(super) fn wait(&self) -> Result<()> {
        let Help { table, lane, is_in_the_way, stepped, .. } = &*self.help;
        loop {
            let seen = stepped.count();
            {
                let mut lane = lane.lock();
                if let Some(fault) = lane.met.take() {
                    return Err(fault.into());
                }
                if lane.waiting.is_none() && !lane.is_spilling {
                    return Ok(());
                }
            }
            // One that panicked will not say that it is done.
            if let Some(cause) = table.poison().cause() {
                return Err(Fault::clone(&cause).into());
            }
            if let Some(crew) = &self.crew
                && is_in_the_way.load(Ordering::Acquire)
            {
                crew.waker().wake();
                if self.help.step() == Next::Again {
                    continue;
                }
            }
            stepped.wait_since(seen, PATIENCE);
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        if let Some(crew) = self.crew.take() {
            crew.stop();
        }
    }
}

impl Help {
    /// The next load, for one helper.
    fn take_load(&self) -> Option<Load> {
        let mut lane = self.lane.lock();
        let load = if lane.is_spilling { None } else { lane.waiting.take() };
        lane.is_spilling |= load.is_some();
        load
    }

    fn spill(&self, load: Load) -> std::result::Result<(), Fault> {
        self.make_room();
        let Load { messages, owed } = load;
        match messages {
            LoadOf::Messages(messages) => {
                self.spill_messages(&messages)?;
                self.lane.lock().spilled = Some(messages);
            }
            LoadOf::Runs(runs) => {
                self.mover.spill(&*runs)?;
            }
        }
        drop(owed);
        Ok(())
    }

    /// Where space is short, small pieces may take more of it than the log did. So what is due
    /// moves down first, which gives back theirs, and nothing is written that can wait.
    fn spill_messages(&self, messages: &Replayed) -> JobResult {
        match self.table.promise(self.space_of_pieces(messages.bytes())) {
            Ok(_ample) => self.mover.spill_and_write(messages),
            Err(fault) if fault.is_retryable() => {
                while matches!(self.mover.step(), Ok(Outcome::Done)) {}
                self.mover.spill(messages)
            }
            Err(fault) => Err(fault),
        }
    }

    /// What so many bytes may take in segments that begin at whole units.
    fn space_of_pieces(&self, bytes: u64) -> u64 {
        let limits = self.mover.limits();
        let segments = bytes / limits.segment_bytes + bytes / limits.piece_bytes + 1;
        bytes + bytes / 8 + segments * Extent::UNIT
    }

    /// Moves down what stands in the way of a spill, beside others who see that. What cannot be
    /// moved now (a full disk, a damaged leaf) does not keep the rest from being opened; the
    /// background work meets it again.
    fn make_room(&self) {
        let Help { mover, at_work, stepped, is_in_the_way, .. } = self;
        while !mover.has_room_for_spill() || mover.is_swamped() {
            is_in_the_way.store(true, Ordering::Release);
            let seen = stepped.count();
            let is_helped = || at_work.load(Ordering::Acquire) > 0 || stepped.count() != seen;
            match mover.step() {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Nothing | Outcome::Busy) if is_helped() => {
                    stepped.wait_since(seen, PATIENCE);
                }
                Ok(Outcome::Nothing | Outcome::Busy) | Err(_) => break,
            }
        }
        is_in_the_way.store(false, Ordering::Release);
    }

    fn step(&self) -> Next {
        let stepped = {
            let _at_work = Counted::enter(&self.at_work);
            self.mover.step()
        };
        self.stepped.ring();
        match stepped {
            Ok(Outcome::Done) => Next::Again,
            Ok(Outcome::Nothing | Outcome::Busy) | Err(_) => Next::Wait(IDLE),
        }
    }
}

impl Work for Help {
    fn work(&self) -> Next {
        if let Some(load) = self.take_load() {
            let spilled = self.spill(load);
            {
                let mut lane = self.lane.lock();
                lane.is_spilling = false;
                lane.met = spilled.err();
            }
            self.stepped.ring();
            return Next::Again;
        }
        match self.is_in_the_way.load(Ordering::Acquire) {
            true => self.step(),
            false => Next::Wait(IDLE),
        }
    }

    fn panicked(&self, message: String) {
        self.table.poison().record(Fault::Panicked(message.into()));
        self.stepped.ring();
    }
}
