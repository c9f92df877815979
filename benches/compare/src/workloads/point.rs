//! `point`: random point reads of the large store, just opened, with nothing of it in memory.

use std::time::Instant;

use super::reads::{Contents, Subject};
use crate::Result;
use crate::bench::Bench;
use crate::files;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    files::drop_kernel_cache(&bench.job.folder)?;
    let start = Instant::now();
    let store = bench.open()?;
    bench.figures.add("open_ms", start.elapsed().as_secs_f64() * 1e3);
    let (rows, count) = (bench.rows, bench.job.sizes.rows);
    let value = |number| Some(rows.value(number));
    let contents = Contents { value: &value, numbers: count, count };
    let subject = Subject { store: &*store, contents: &contents, prefix: "" };
    subject.hits(bench)?;
    subject.misses(bench)?;
    store.close()
}
