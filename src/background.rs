//! The background threads: flushers that loop over the engine's steps, a cleaner for idle times,
//! one for checkpoints, two that wait for the file system so that writers need not, the scribe, who
//! writes out what flushers would have to soon, and one that syncs the log for commits that asked
//! for it within a time, and has the system write out that and what jobs have written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sapwood_cachetable::Fault;
use sapwood_cachetable::crew::{Crew, Next, Waker, Work};
use sapwood_flusher::{Cleaned, Outcome};
use sapwood_serialize::superblock::Session;

use crate::engine::Engine;
use crate::error::{Error, Result};

/// How long a thread with nothing to do waits to be woken.
const IDLE: Duration = Duration::from_millis(100);

/// The scribe, who writes out what flushers would have to; they wake it themselves.
const SCRIBE: &str = "sapwood-write";

/// The running threads.
pub(crate) struct Threads {
    crews: Vec<Crew>,
}

/// Wakes the threads that wait for work.
#[derive(Clone)]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(crate) fn wake(&self) {
        self.0.iter().for_each(Waker::wake);
    }
}

impl Threads {
    /// Starts `flushers` flusher threads (fewer where the budget's reserve has no room for so many
    /// jobs), the cleaner, the checkpointer, the three that make ready, and the syncer.
    pub(crate) fn start(engine: &Arc<Engine>, flushers: usize) -> Result<Threads> {
        let flushers = flushers.min(engine.table.budget().jobs());
        let cleaners = usize::from(engine.idle.share > 0);
        let preparer = |step| Arc::new(Preparer { engine: engine.clone(), step });
        let crews: [(&str, usize, Arc<dyn Work>); 7] = [
            ("sapwood-flush", flushers, Arc::new(Flusher(engine.clone()))),
            ("sapwood-clean", cleaners, Arc::new(Sweeper::new(engine.clone()))),
            ("sapwood-checkpoint", 1, Arc::new(Checkpointer(engine.clone()))),
            ("sapwood-ahead", 1, preparer(Engine::prepare_log)),
            ("sapwood-grow", 1, preparer(Engine::prepare_space)),
            ("sapwood-sync", 1, Arc::new(Syncer(engine.clone()))),
            (SCRIBE, 1, preparer(Engine::prepare_room)),
        ];
        let mut threads = Threads { crews: Vec::new() };
        for (name, count, work) in crews {
            match Crew::start(name, count, &work) {
                Ok(crew) => {
                    if name == SCRIBE {
                        engine.table.set_scribe(Some(crew.waker()));
                    }
                    threads.crews.push(crew);
                }
                Err(error) => {
                    threads.stop(engine);
                    return Err(Error::from_spawn(&error));
                }
            }
        }
        let wakers = threads.crews.iter().map(Crew::waker).collect();
        engine.set_wakers(Some(Wakers(wakers)));
        Ok(threads)
    }

    /// Tells the threads to stop, and returns when they have.
    pub(crate) fn stop(self, engine: &Engine) {
        engine.set_wakers(None);
        engine.table.set_scribe(None);
        for crew in self.crews {
            crew.stop();
        }
    }
}

/// Spills, flushes, restructures, and writes out when memory is short or leaves have too much
/// of it.
struct Flusher(Arc<Engine>);

impl Work for Flusher {
    fn work(&self) -> Next {
        let engine = &self.0;
        let outcome = engine.step().and_then(|outcome| {
            if outcome != Outcome::Done {
                engine.table.make_room_by_writing()?;
                engine.mark_idle()?;
            }
            Ok(outcome)
        });
        match outcome {
            Ok(Outcome::Done) => {
                engine.set_met(None);
                Next::Again
            }
            Ok(Outcome::Nothing | Outcome::Busy) => Next::Wait(IDLE),
            // It is tried again later, and told to writers who wait for it.
            Err(fault) => {
                engine.set_met(Some(fault));
                Next::Wait(IDLE)
            }
        }
    }

    fn panicked(&self, message: String) {
        self.0.set_panicked(&message);
    }
}

/// Drains while nobody writes, for its share of the time.
struct Sweeper {
    engine: Arc<Engine>,
    /// User bytes at the last look.
    seen: AtomicU64,
}

/// So long nobody must have written before a database counts as idle.
const QUIET: Duration = Duration::from_millis(50);

impl Sweeper {
    fn new(engine: Arc<Engine>) -> Sweeper {
        Sweeper { engine, seen: AtomicU64::new(u64::MAX) }
    }
}

/// How long to rest after `worked`, so that no more than `share` percent of the time is worked.
fn rest_after(worked: Duration, share: u8) -> Duration {
    let share = u32::from(share.clamp(1, 100));
    worked * (100 - share) / share
}

impl Work for Sweeper {
    fn work(&self) -> Next {
        let user = self.engine.counters.user_bytes.get();
        if self.seen.swap(user, Ordering::Relaxed) != user {
            return Next::Wait(QUIET);
        }
        let start = self.engine.table.now();
        match self.engine.clean_step() {
            Ok(Cleaned::Flushed) => {
                self.engine.set_met(None);
                let worked = self.engine.table.now().saturating_sub(start);
                Next::Wait(rest_after(worked, self.engine.idle.share))
            }
            Ok(Cleaned::Busy) => Next::Wait(QUIET / 10),
            Ok(Cleaned::TooDear(_) | Cleaned::Nothing) => Next::Wait(IDLE),
            Err(fault) => {
                self.engine.set_met(Some(fault));
                Next::Wait(IDLE)
            }
        }
    }

    fn panicked(&self, message: String) {
        self.engine.set_panicked(&message);
    }
}

/// Takes a checkpoint each time enough was written.
struct Checkpointer(Arc<Engine>);

impl Work for Checkpointer {
    fn work(&self) -> Next {
        // What cannot be removed now is tried again.
        let _ = self.0.remove_old_log();
        if !self.0.is_paused() && self.0.checkpoint_is_due() {
            // A full disk is tried again later; after any other fault the poison tells the writers.
            let _ = self.0.checkpoint_step(Session::Open);
        }
        Next::Wait(IDLE)
    }

    fn panicked(&self, message: String) {
        self.0.set_panicked(&message);
    }
}

/// Has log files ready before a writer needs them, or space, or memory that can be evicted before a
/// flusher needs it: three threads, since each may wait for the file system while another one's
/// work is needed.
struct Preparer {
    engine: Arc<Engine>,
    step: fn(&Engine) -> std::result::Result<Outcome, Fault>,
}

impl Work for Preparer {
    fn work(&self) -> Next {
        match (self.step)(&self.engine) {
            Ok(Outcome::Done) => Next::Again,
            // A failure poisons the database, which tells the writers.
            Ok(Outcome::Nothing | Outcome::Busy) | Err(_) => Next::Wait(IDLE),
        }
    }

    fn panicked(&self, message: String) {
        self.engine.set_panicked(&message);
    }
}

/// Sees to the log's way to the disk, and syncs it when a commit's time has come.
struct Syncer(Arc<Engine>);

impl Work for Syncer {
    fn work(&self) -> Next {
        // A failed sync poisons the database, which tells the writers.
        let _ = self.0.sync_if_due();
        self.0.write_out();
        Next::Wait(self.0.time_to_sync().unwrap_or(IDLE).min(IDLE))
    }

    fn panicked(&self, message: String) {
        self.0.set_panicked(&message);
    }
}

#[cfg(test)]
mod tests {
    use sapwood_cachetable::storage::MemoryStorage;
    use sapwood_serialize::Storage;

    use super::*;
    use crate::config::{Background, Config};

    /// The folder may be another one's by then, who has a log in it.
    #[test]
    fn nothing_is_made_ahead_for_a_database_that_was_closed() {
        let storage = Arc::new(MemoryStorage::new());
        let config = Config::on(storage.clone()).background(Background::Manual);
        let db = config.open().unwrap();
        db.tree("t").unwrap().insert("a row", "to be sealed").unwrap();
        db.clone().close().unwrap();
        let engine = db.engine();
        let files = || {
            let names = storage.list().unwrap();
            let length = |name: &String| storage.open(name).unwrap().len().unwrap();
            names.iter().map(|name| (name.clone(), length(name))).collect::<Vec<_>>()
        };
        let before = files();
        assert!(engine.log.lacks_files());
        assert_eq!(engine.prepare_log().unwrap(), Outcome::Nothing);
        assert_eq!((before.len(), &before), (1, &files()));
    }

    #[test]
    fn the_cleaner_rests_for_what_its_share_leaves() {
        let worked = Duration::from_millis(30);
        assert_eq!(rest_after(worked, 50), worked);
        assert_eq!(rest_after(worked, 25), 3 * worked);
        assert_eq!(rest_after(worked, 100), Duration::ZERO);
    }
}
