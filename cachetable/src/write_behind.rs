//! Writing segments while more of them are built.
//!
//! ```text
//! builder   S1 . S2 . S3 . S4 ..      hands each over, lends a hand when too many are under way
//! pool         [S1] [S2] [S3]         compresses and writes
//! ```
//!
//! Without a pool each is written at once, so that nothing depends on how threads run.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use sapwood_serialize::segment::{ResidentSegment, Segment};

use crate::cachetable::Cachetable;
use crate::fault::Fault;
use crate::fetch::Caching;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex, Rank};
use crate::writer::Ownership;

/// No more segments than this are under way.
const UNDER_WAY_MAX: usize = 8;

/// See the module's head. Dropping it waits for what is under way.
pub struct WriteBehind {
    table: Arc<Cachetable>,
    owner: Ownership,
    progress: Arc<Progress>,
    /// What was handed over, with its pages. Whoever built them lets them go: given back to the
    /// allocator by another thread, they would make the two wait for each other.
    handed: Mutex<Vec<Handed>>,
}

/// A segment that was handed over, and what its builder has made of it.
struct Handed {
    segment: Arc<Segment>,
    _built: Option<Arc<ResidentSegment>>,
}

/// Lets nothing be done behind any more once the database is closed.
#[derive(Default)]
pub(crate) struct Gate {
    /// What is under way, such as segments of all builders.
    under_way: AtomicUsize,
    is_closed: AtomicBool,
}

impl Gate {
    /// Notes something that is to be done; refused once it is closed.
    fn enter(&self) -> Result<(), Fault> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        if self.is_closed.load(Ordering::SeqCst) {
            self.leave();
            return Err(Fault::Closed);
        }
        Ok(())
    }

    fn leave(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Keeps the database from being closed while something is done behind.
pub struct Entered(Arc<Gate>);

impl Entered {
    /// Refused once `gate` is closed.
    pub(crate) fn new(gate: &Arc<Gate>) -> Result<Entered, Fault> {
        gate.enter()?;
        Ok(Entered(gate.clone()))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.leave();
    }
}

struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    under_way: usize,
    failed: Option<Fault>,
    panic: Option<Box<dyn std::any::Any + Send>>,
}

impl WriteBehind {
    /// Writes a job's segments of `table`, whose pages then stay in memory or not.
    pub fn new(table: Arc<Cachetable>, caching: Caching) -> WriteBehind {
        let owner = match caching {
            Caching::Keep => Ownership::Job,
            Caching::Pass => Ownership::Load,
        };
        let state = Mutex::new(Rank::JobQueue, State::default());
        let progress = Arc::new(Progress { state, changed: Condvar::new() });
        let handed = Mutex::new(Rank::JobQueue, Vec::new());
        WriteBehind { table, owner, progress, handed }
    }

    /// Keeps the database open until the returned value is dropped.
    ///
    /// # Errors
    /// When it is being closed.
    pub fn enter(&self) -> Result<Entered, Fault> {
        Entered::new(&self.table.behind)
    }

    /// Has `segment` written; does it itself while many others are under way.
    ///
    /// # Errors
    /// When an earlier one could not be written.
    pub fn write(&self, segment: &Arc<Segment>) -> Result<(), Fault> {
        self.table.behind.enter()?;
        let Some(pool) = &self.table.pool else {
            return self.write_here(segment);
        };
        let mut state = self.progress.state.lock();
        if let Some(fault) = &state.failed {
            self.table.behind.leave();
            return Err(fault.clone());
        }
        if state.under_way >= UNDER_WAY_MAX {
            drop(state);
            return self.write_here(segment);
        }
        state.under_way += 1;
        drop(state);
        self.let_go_of_written();
        let handed = Handed { segment: segment.clone(), _built: segment.resident() };
        self.handed.lock().push(handed);
        let (table, progress, owner) = (self.table.clone(), self.progress.clone(), self.owner);
        let segment = segment.clone();
        pool.spawn(move || {
            let write = || write(&table, &segment, owner);
            let written = catch_unwind(AssertUnwindSafe(write));
            table.behind.leave();
            // Before it counts as done: whoever waits may be about to drop everything.
            drop((segment, table));
            progress.done(written);
        });
        Ok(())
    }

    fn let_go_of_written(&self) {
        let is_written = |handed: &mut Handed| handed.segment.place().is_some();
        let written: Vec<_> = self.handed.lock().extract_if(.., is_written).collect();
        drop(written);
    }

    /// Writes on this thread.
    fn write_here(&self, segment: &Arc<Segment>) -> Result<(), Fault> {
        let written = write(&self.table, segment, self.owner);
        self.table.behind.leave();
        written
    }

    /// Waits until everything was written.
    ///
    /// # Errors
    /// When something could not be.
    ///
    /// # Panics
    /// When writing panicked.
    pub fn finish(&self) -> Result<(), Fault> {
        self.wait_below(1);
        let mut state = self.progress.state.lock();
        let (panic, failed) = (state.panic.take(), state.failed.clone());
        drop(state);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        failed.map_or(Ok(()), Err)
    }

    fn wait_below(&self, count: usize) {
        let mut state = self.progress.state.lock();
        while state.under_way >= count {
            self.progress.changed.wait(&mut state);
        }
    }
}

impl Cachetable {
    /// Refuses to write behind from now on, and waits for what is under way; for a database that is
    /// about to be closed.
    pub fn stop_writing_behind(&self) {
        self.behind.is_closed.store(true, Ordering::SeqCst);
        while self.behind.under_way.load(Ordering::SeqCst) > 0 {
            self.storage().sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        self.wait_below(1);
    }
}

/// Writes a job's segment that is to be durable soon: the disk begins with it before long.
fn write(table: &Cachetable, segment: &Arc<Segment>, owner: Ownership) -> Result<(), Fault> {
    /// A call for less costs more than it brings forward.
    const WORTH: u64 = 1 << 20;
    table.write_segment(segment, owner)?;
    table.start_writeback(WORTH);
    Ok(())
}

impl Progress {
    fn done(&self, written: std::thread::Result<Result<(), Fault>>) {
        let mut state = self.state.lock();
        state.under_way -= 1;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                state.failed.get_or_insert(fault);
            }
            Err(panic) => state.panic = Some(panic),
        }
        drop(state);
        self.changed.notify_all();
    }
}
