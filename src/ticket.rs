//! Tickets: commits whose durability is waited for later, or told.

use std::time::Duration;

use sapwood_cachetable::Fault;
use sapwood_cachetable::sync::atomic::{AtomicBool, Ordering};
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_serialize::Lsn;

use crate::commit::{Committed, Durability};
use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::transaction::Commit;

/// A commit that is visible already, and will be as durable as was asked: from
/// [`Batch::commit_async`](crate::Batch::commit_async) and
/// [`Transaction::commit_async`](crate::Transaction::commit_async).
///
/// Commits become durable in their order. Dropping a ticket changes nothing about the commit.
///
/// ```
/// # use sapwood::{Config, Durability};
/// # fn main() -> sapwood::Result<()> {
/// # let db = Config::in_memory().open()?;
/// # let tree = db.tree("t")?;
/// let mut tickets = Vec::new();
/// for part in 0..3u8 {
///     let mut batch = db.batch();
///     batch.insert(&tree, [part], "");
///     tickets.push(batch.commit_async(Durability::Synced)?);
/// }
/// for ticket in tickets {
///     ticket.wait()?; // the first one syncs for all
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a ticket tells when the commit is durable"]
#[derive(Clone)]
pub struct Ticket {
    db: Database,
    commit: Commit,
    /// Where the log must be durable, unless nothing is to be waited for.
    until: Option<Lsn>,
}

impl Ticket {
    pub(crate) fn new(
        db: Database,
        changes: u64,
        committed: Committed,
        durability: Durability,
    ) -> Ticket {
        let until = match durability {
            Durability::Synced => Some(committed.end),
            Durability::Interval(time) => {
                db.engine().sync_within(time);
                None
            }
            Durability::Buffered | Durability::NoWal => None,
        };
        let commit = Commit { changes, sequence: committed.newest.to_raw() };
        Ticket { db, commit, until }
    }

    /// What was committed.
    pub fn commit(&self) -> Commit {
        self.commit
    }

    /// Whether it is as durable as was asked. Does not wait.
    pub fn is_durable(&self) -> bool {
        self.until.is_none_or(|until| self.db.engine().log.durable() >= until)
    }

    /// Waits until it is as durable as was asked; syncs the log on this thread if nobody else does.
    ///
    /// # Errors
    /// When the sync fails ([`Error::is_indeterminate`]).
    pub fn wait(&self) -> Result<()> {
        let Some(until) = self.until else { return Ok(()) };
        self.db.engine().sync_log_to(until).map_err(indeterminate)
    }

    /// Calls `tell` once, when the commit is as durable as was asked, or it is known that it will
    /// not be: at once on this thread if that is so already, otherwise on the thread that finds
    /// out. It should be quick, must not wait for other commits, and must neither close the
    /// database nor panic: it may be the thread that syncs for everybody.
    ///
    /// In [`Background::Manual`](crate::Background::Manual) the log is synced by
    /// [`Database::maintain`].
    pub fn on_synced(self, tell: impl FnOnce(Result<()>) + Send + 'static) {
        let engine = self.db.engine();
        match self.until {
            Some(until) if !self.is_durable() => {
                engine.tickets.add(until, Box::new(tell));
                engine.sync_within(Duration::ZERO);
                // It may have become durable, or impossible, in between.
                engine.tickets.tell(engine);
            }
            _ => tell(Ok(())),
        }
    }
}

fn indeterminate(fault: Fault) -> Error {
    Error::new(Kind::Indeterminate(fault))
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("commit", &self.commit).finish_non_exhaustive()
    }
}

type Tell = Box<dyn FnOnce(Result<()>) + Send>;

/// Those who want to be told when the log is durable up to a position.
pub(crate) struct Tickets {
    waiting: Mutex<Vec<(Lsn, Tell)>>,
    /// Whether there are any; spares the rest of the world the lock.
    is_waited: AtomicBool,
    /// Nothing more becomes durable: the database has been closed, or let go of.
    is_over: AtomicBool,
}

impl Default for Tickets {
    fn default() -> Tickets {
        let waiting = Mutex::new(Rank::Storage, Vec::new());
        Tickets { waiting, is_waited: AtomicBool::new(false), is_over: AtomicBool::new(false) }
    }
}

impl Tickets {
    fn add(&self, until: Lsn, tell: Tell) {
        let mut waiting = self.waiting.lock();
        waiting.push((until, tell));
        self.is_waited.store(true, Ordering::Release);
    }

    /// Tells everybody, because nothing more becomes durable. Before a close has ended, that is not
    /// so: its last checkpoint makes everything durable.
    pub(crate) fn end(&self, engine: &Engine) {
        self.is_over.store(true, Ordering::Release);
        self.tell(engine);
    }

    /// Tells all whose position is durable, and everybody once nothing more will be.
    pub(crate) fn tell(&self, engine: &Engine) {
        if !self.is_waited.load(Ordering::Acquire) {
            return;
        }
        let durable = engine.log.durable();
        let broken = engine.table.poison().check().err();
        let is_over = self.is_over.load(Ordering::Acquire);
        let broken = broken.or_else(|| is_over.then_some(Fault::Closed));
        let due: Vec<_> = {
            let mut waiting = self.waiting.lock();
            let is_due = |(until, _): &mut (Lsn, Tell)| broken.is_some() || *until <= durable;
            let due = waiting.extract_if(.., is_due).collect();
            self.is_waited.store(!waiting.is_empty(), Ordering::Release);
            due
        };
        for (until, tell) in due {
            let is_durable = until <= durable;
            let fault = broken.clone().filter(|_| !is_durable);
            tell(fault.map_or(Ok(()), |fault| Err(indeterminate(fault))));
        }
    }
}
