//! `point`: random point reads of the large store, just opened, with nothing of it in memory.

use super::reads::Subject;
use crate::Result;
use crate::files;
use crate::job::{Figures, Job};
use crate::meter::Meter;

pub fn run(job: &Job, figures: &mut Figures) -> Result<()> {
    files::drop_kernel_cache(&job.folder)?;
    let meter = Meter::new();
    let store = job.engine.open(&job.place())?;
    figures.add("open_ms", meter.read().wall.as_secs_f64() * 1e3);
    let subject = Subject { job, store: &*store, rows: job.sizes.rows, prefix: "" };
    subject.hits(figures)?;
    subject.misses(figures)?;
    store.close()
}
