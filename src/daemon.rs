//! The handle to the work that goes on in the background.

use std::time::Duration;

use sapwood_serialize::run::Bounds;

use crate::config::Background;
use crate::database::Database;
use crate::error::{Error, Kind, Result};

/// What moves data down the trees and into leaves while nobody waits for it; from
/// [`Database::daemon`].
///
/// Under load it does what keeps writers going. Once nobody writes, it drains: memtables and
/// buffers are emptied until the trees are plain B-trees and
/// [`Stats::debt_bytes`](crate::Stats::debt_bytes) is 0. That writes at most 20 bytes for every
/// byte that users have written; what would cost more waits for more of its kind.
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// db.tree("rings")?.insert("2026", "narrow")?;
/// db.daemon().drain()?;
/// assert_eq!(db.stats().debt_bytes, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Daemon {
    db: Database,
}

/// What the daemon is at; from [`Daemon::status`].
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct DaemonStatus {
    /// Whether it was told to pause.
    pub is_paused: bool,
    /// Whether everything is done that can be done now.
    pub is_idle: bool,
    /// Jobs under way, counted by the nodes that they work on.
    pub jobs_running: usize,
    /// What was found to be due and waits for a thread.
    pub tasks_waiting: usize,
    /// What still has to move down: memtables and buffers, uncompressed bytes.
    pub debt_bytes: u64,
    /// What idle work may write now, in bytes.
    pub credit_bytes: u64,
}

impl Database {
    /// The handle to the background work.
    pub fn daemon(&self) -> Daemon {
        Daemon { db: self.clone() }
    }
}

impl Daemon {
    /// Lets no more work begin until [`Daemon::resume`], save for what writers are held up by: once
    /// the memtables are half full, they are spilled as ever, and what takes memory that others
    /// need is written out. What is under way ends as usual.
    pub fn pause(&self) {
        self.db.engine().hold(Held::Paused);
    }

    /// Lets work go on.
    pub fn resume(&self) {
        self.db.engine().hold(Held::No);
    }

    /// Moves everything that was written before this call into the leaves, on this thread and those
    /// of flushers, without regard to what it costs, and sees to what the trees need after that.
    /// Costs a rewrite of what the waiting messages overlap.
    ///
    /// # Errors
    /// When the daemon is paused, the disk is full (the trees stay as they were, and it can be
    /// tried again), or something cannot be read or written.
    pub fn drain(&self) -> Result<()> {
        let engine = self.db.engine();
        let forest = engine.views.load().forest.clone();
        let all: Vec<_> = forest.trees.keys().map(|tree| (*tree, Bounds::all())).collect();
        engine.drain(&all)
    }

    /// Waits until everything is done that can be done now. While others go on writing that may
    /// take for ever.
    ///
    /// # Errors
    /// When the daemon is paused, or what it does has failed, as on a full disk.
    pub fn wait_idle(&self) -> Result<()> {
        let engine = self.db.engine();
        loop {
            engine.check_open()?;
            engine.table.poison().check()?;
            if engine.is_held() {
                return Err(Error::new(Kind::Paused));
            }
            if engine.background == Background::Manual {
                if self.db.maintain(1)? == 0 {
                    return Ok(());
                }
                continue;
            }
            engine.check_met()?;
            if engine.is_idle() {
                return Ok(());
            }
            engine.bell.wait(Duration::from_millis(5));
        }
    }

    /// What it is at. Walks all internal nodes, as [`Database::stats`] does.
    pub fn status(&self) -> DaemonStatus {
        let engine = self.db.engine();
        DaemonStatus {
            is_paused: engine.is_held(),
            is_idle: engine.is_idle(),
            jobs_running: engine.mover.running(),
            tasks_waiting: engine.mover.waiting(),
            debt_bytes: self.db.stats().debt_bytes,
            credit_bytes: engine.idle_credit(),
        }
    }

    /// What background work has last failed with, if it ever did. A full disk is tried again; any
    /// other failure of a write ends all writing.
    pub fn last_error(&self) -> Option<Error> {
        self.db.engine().last_met().map(Error::from)
    }
}

/// Whether background work is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// It goes on.
    No,
    /// Only what holds writers up goes on.
    Paused,
}
