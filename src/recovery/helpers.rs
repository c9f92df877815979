//! Threads that move down what a replay spills, while it goes on.
//!
//! ```text
//! opening   replay | spill | replay | spill | replay | ...
//! helpers          | flush, split, flush ...
//! ```
//!
//! They are gone before anything else of the engine starts. Without background threads there are
//! none, and the opening thread does everything.

use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::crew::{Crew, Next, Waker, Work};
use sapwood_cachetable::{Cachetable, Fault};
use sapwood_flusher::{Mover, Outcome};

use crate::config::Background;
use crate::engine::Bell;
use crate::error::{Error, Result};

/// How long a helper without work waits to be woken.
const IDLE: Duration = Duration::from_millis(100);

/// The running helpers; to be stopped.
pub(super) struct Helpers {
    crew: Crew,
    waker: Waker,
    help: Arc<Help>,
}

struct Help {
    table: Arc<Cachetable>,
    mover: Arc<Mover>,
    /// Rung when something was moved.
    moved: Bell,
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
        let (table, mover) = (table.clone(), mover.clone());
        let help = Arc::new(Help { table, mover, moved: Bell::default() });
        let work: Arc<dyn Work> = help.clone();
        let crew = Crew::start("sapwood-recover", count, &work)
            .map_err(|error| Error::from_spawn(&error))?;
        Ok(Helpers { waker: crew.waker(), crew, help })
    }

    /// There is something to be moved.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Moves down what stands in the way of a spill, beside the helpers. What cannot be moved now
    /// (a full disk, a damaged leaf) does not keep the rest from being opened; the background work
    /// meets it again.
    pub(super) fn make_room(&self) {
        let Help { mover, moved, .. } = &*self.help;
        while !mover.has_room_for_spill() {
            let seen = moved.count();
            match mover.step() {
                Ok(Outcome::Done) => {}
                Ok(_) if mover.running() > 0 => moved.wait_since(seen, IDLE / 10),
                Ok(Outcome::Nothing | Outcome::Busy) | Err(_) => return,
            }
        }
    }

    /// Returns when no helper is left.
    pub(super) fn stop(self) {
        drop(self.waker);
        self.crew.stop();
    }
}

impl Work for Help {
    fn work(&self) -> Next {
        let stepped = self.mover.step();
        self.moved.ring();
        match stepped {
            Ok(Outcome::Done) => Next::Again,
            Ok(Outcome::Nothing | Outcome::Busy) | Err(_) => Next::Wait(IDLE),
        }
    }

    fn panicked(&self, message: String) {
        self.table.poison().record(Fault::Panicked(message.into()));
        self.moved.ring();
    }
}
