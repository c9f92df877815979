//! `scan`: scans of the large store, just opened; at the end one that checks every row.
//!
//! What the kernel has cached is dropped before each full scan, but not between 100-row scans.

use super::reads::Subject;
use crate::Result;
use crate::files;
use crate::job::{Figures, Job};
use crate::store::Direction;

pub fn run(job: &Job, figures: &mut Figures) -> Result<()> {
    files::drop_kernel_cache(&job.folder)?;
    let store = job.engine.open(&job.place())?;
    let subject = Subject { job, store: &*store, rows: job.sizes.rows, prefix: "" };
    for direction in [Direction::Forward, Direction::Backward] {
        files::drop_kernel_cache(&job.folder)?;
        subject.full_scan(direction, figures)?;
    }
    for direction in [Direction::Forward, Direction::Backward] {
        subject.short_scans(direction, figures)?;
    }
    subject.verify(figures)?;
    store.close()
}
