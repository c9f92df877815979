//! `scan`: scans of the large store, just opened; at the end one that checks every row.
//!
//! What the kernel has cached is dropped before each full scan, but not between 100-row scans.

use super::reads::{Contents, Subject};
use crate::Result;
use crate::bench::Bench;
use crate::files;
use crate::store::Direction;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let store = bench.open_cold()?;
    let (rows, count) = (bench.rows, bench.job.sizes.rows);
    let value = |number| Some(rows.value(number));
    let contents = Contents { value: &value, numbers: count, count };
    let subject = Subject { store: &*store, contents: &contents, prefix: "" };
    for direction in [Direction::Forward, Direction::Backward] {
        files::drop_kernel_cache(&bench.job.folder)?;
        subject.full_scan(direction, bench)?;
    }
    for direction in [Direction::Forward, Direction::Backward] {
        subject.short_scans(direction, bench)?;
    }
    subject.verify(bench)?;
    store.close()
}
