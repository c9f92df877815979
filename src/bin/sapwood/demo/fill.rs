//! Loads the data set under all prefixes, and times each write call.
//!
//! The copies of a row are written one after the other, and the rows are in no order, so that the
//! writes fall all over the tree: the case that a B-tree larger than its cache is slow at.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sapwood::Database;

use crate::demo::data::DataSet;
use crate::demo::expected::Expected;
use crate::demo::{Plan, key_in_copy, per_second, progress};
use crate::failure::Failure;

/// A call that takes longer than a minute is counted as a minute.
const CALL_NANOS_MAX: u64 = 60_000_000_000;

/// What the load has shown.
pub struct Filled {
    pub rows: u64,
    pub time: Duration,
    /// Nanoseconds of each write call.
    pub calls: Histogram<u64>,
}

impl Filled {
    pub fn describe(&self) -> String {
        let (rows, seconds) = (self.rows, self.time.as_secs_f64());
        let rate = per_second(rows, self.time);
        format!("loaded {rows} rows in {seconds:.1} s, {rate:.0} rows/s")
    }
}

/// Loads everything into the tree `packages`.
pub fn fill(
    db: &Database,
    data: &DataSet,
    expected: &Expected,
    plan: &Plan,
) -> Result<Filled, Failure> {
    let tree = db.tree("packages")?;
    let calls = Histogram::new_with_bounds(1, CALL_NANOS_MAX, 3);
    let mut calls = calls.map_err(|error| Failure::other(error.to_string()))?;
    let bar = progress(expected.rows(), "loading");
    let mut lines = data.lines()?;
    let mut key = Vec::new();
    let start = Instant::now();
    while let Some((name, value)) = lines.next_row()? {
        for copy in 0..plan.copies {
            key_in_copy(&mut key, copy, &name);
            let before = Instant::now();
            tree.insert(&key, &value)?;
            calls.saturating_record(nanos(before.elapsed()));
        }
        bar.inc(1);
    }
    let time = start.elapsed();
    bar.finish_and_clear();
    Ok(Filled { rows: expected.rows() * plan.copies, time, calls })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
