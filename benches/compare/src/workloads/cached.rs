//! `cached`: reads of a store that fits into the cache, in three states.
//!
//! ```text
//! fresh      right after the load, wherever the rows then are
//! drained    when the engine has come to rest
//! reopened   closed, opened, and read once from end to end
//! ```

use super::reads::Subject;
use crate::Result;
use crate::job::{Figures, Job};
use crate::row::{Key, Rows, Value};
use crate::store::{Direction, Source, Store};

pub fn run(job: &Job, figures: &mut Figures) -> Result<()> {
    let count = job.sizes.cached_rows;
    let mut store = job.engine.open(&job.place())?;
    store.load(&mut PlainRows { rows: job.rows(), given: 0, wanted: count })?;
    measure(job, &*store, "fresh_", figures)?;
    store.drain()?;
    measure(job, &*store, "drained_", figures)?;
    store.close()?;

    let store = job.engine.open(&job.place())?;
    let subject = Subject { job, store: &*store, rows: count, prefix: "reopened_" };
    subject.verify(figures)?;
    measure(job, &*store, "reopened_", figures)?;
    store.close()
}

fn measure(job: &Job, store: &dyn Store, prefix: &str, figures: &mut Figures) -> Result<()> {
    let subject = Subject { job, store, rows: job.sizes.cached_rows, prefix };
    subject.hits(figures)?;
    subject.misses(figures)?;
    for direction in [Direction::Forward, Direction::Backward] {
        subject.short_scans(direction, figures)?;
        subject.full_scan(direction, figures)?;
    }
    Ok(())
}

/// Rows that nobody takes the time of.
struct PlainRows {
    rows: Rows,
    given: u64,
    wanted: u64,
}

impl Source for PlainRows {
    fn next_row(&mut self) -> Option<(Key, Value)> {
        let number = self.given;
        self.given += 1;
        (number < self.wanted).then(|| (self.rows.key(number), self.rows.value(number)))
    }
}
