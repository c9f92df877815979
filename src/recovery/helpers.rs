//! Threads that move down what a replay spills, while it goes on.
//!
//! ```text
//! opening   replay | spill | replay | spill | replay | ...
//! helpers          | flush, split, flush ...
//! ```
//!
//! They are gone before anything else of the engine starts, and before the folder's lock is given
//! back, whichever way the opening ends. Without background threads there are none, and the opening
//! thread does everything.

use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::crew::{Crew, Next, Work};
use sapwood_cachetable::sync::atomic::{AtomicUsize, Ordering};
use sapwood_cachetable::{Cachetable, Fault};
use sapwood_flusher::{Mover, Outcome};

use crate::config::Background;
use crate::engine::Bell;
use crate::error::{Error, Result};
use crate::idle::Counted;

/// How long a helper without work waits to be woken.
const IDLE: Duration = Duration::from_millis(100);

/// How long the opening thread waits for a helper before it looks again.
const PATIENCE: Duration = Duration::from_millis(10);

/// The running helpers. Dropping them returns when none is left.
pub(super) struct Helpers {
    crew: Option<Crew>,
    help: Arc<Help>,
}

struct Help {
    table: Arc<Cachetable>,
    mover: Arc<Mover>,
    /// How many helpers are in a step.
    at_work: AtomicUsize,
    /// Rung when one of them has ended a step.
    stepped: Bell,
}

impl Helpers {
    /// As many as there will be flushers. The opening thread does jobs, too; it has the memory of
    /// the memtable that a replay needs less than writers do.
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
            at_work: AtomicUsize::new(0),
            stepped: Bell::default(),
        });
        let work: Arc<dyn Work> = help.clone();
        let crew = Crew::start("sapwood-recover", count, &work)
            .map_err(|error| Error::from_spawn(&error))?;
        Ok(Helpers { crew: Some(crew), help })
    }

    /// There is something to be moved.
    pub(super) fn wake(&self) {
        if let Some(crew) = &self.crew {
            crew.waker().wake();
        }
    }

    /// Moves down what stands in the way of a spill, beside the helpers. What cannot be moved now
    /// (a full disk, a damaged leaf) does not keep the rest from being opened; the background work
    /// meets it again.
    pub(super) fn make_room(&self) {
        let Help { mover, at_work, stepped, .. } = &*self.help;
        while !mover.has_room_for_spill() {
            let seen = stepped.count();
            let is_helped = || at_work.load(Ordering::Acquire) > 0 || stepped.count() != seen;
            match mover.step() {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Nothing | Outcome::Busy) if is_helped() => {
                    stepped.wait_since(seen, PATIENCE);
                }
                Ok(Outcome::Nothing | Outcome::Busy) | Err(_) => return,
            }
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

impl Work for Help {
    fn work(&self) -> Next {
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

    fn panicked(&self, message: String) {
        self.table.poison().record(Fault::Panicked(message.into()));
        self.stepped.ring();
    }
}
