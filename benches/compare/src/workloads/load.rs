//! `load`: rows in random key order, one by one, into an empty store that outgrows its cache.
//!
//! ```text
//! |--- writer ---|--- drain ---|- close -|      each figure says up to where it counts
//! ```
//!
//! The times of drawing rows and of taking times count in no latency, but in the wall time.

use std::time::{Duration, Instant};

use super::MIB;
use crate::Result;
use crate::files;
use crate::job::{Figures, Job};
use crate::latencies::Latencies;
use crate::meter::{Cost, Meter};
use crate::row::{Key, ROW_BYTES, Rows, Value};
use crate::store::Source;

/// Times are kept at so many places of a whole load.
const MARKS: u64 = 1_000;

pub fn run(job: &Job, figures: &mut Figures) -> Result<()> {
    let mut store = job.engine.open(&job.place())?;
    let meter = Meter::new();
    let start = meter.read();
    let mut rows = TimedRows::new(job)?;
    store.load(&mut rows)?;
    let written = meter.read().since(start);
    let quiet = store.drain()?;
    let mut drained = meter.read().since(start);
    drained.wall = drained.wall.saturating_sub(quiet);
    let own = store.own_figures()?;
    let closing = Instant::now();
    store.close()?;
    let closing = closing.elapsed();
    let all = meter.read().since(start);

    rows.tell(figures);
    tell_times(rows.given, [written, drained, all], closing, figures);
    tell_bytes(rows.given, all, files::disk_bytes(&job.folder)?, figures);
    for (name, value) in own {
        figures.add(format!("own_{name}"), value);
    }
    Ok(())
}

fn tell_times(rows: u64, [written, drained, all]: [Cost; 3], close: Duration, to: &mut Figures) {
    let rows = rows as f64;
    to.add("writer_s", written.wall.as_secs_f64());
    to.add("drained_s", drained.wall.as_secs_f64());
    to.add("close_s", close.as_secs_f64());
    to.add("writer_rows_per_s", rows / written.wall.as_secs_f64());
    to.add("drained_rows_per_s", rows / (drained.wall + close).as_secs_f64());
    to.add("cpu_s", all.cpu.as_secs_f64());
    to.add("cpu_per_row_us", all.cpu.as_secs_f64() * 1e6 / rows);
}

fn tell_bytes(rows: u64, all: Cost, disk: u64, to: &mut Figures) {
    let user_bytes = (rows * ROW_BYTES) as f64;
    to.add("user_mib", user_bytes / MIB);
    to.add("device_written_mib", all.device_written as f64 / MIB);
    to.add("device_written_per_user_byte", all.device_written as f64 / user_bytes);
    to.add("calls_written_per_user_byte", all.calls_written as f64 / user_bytes);
    to.add("device_read_mib", all.device_read as f64 / MIB);
    to.add("disk_mib", disk as f64 / MIB);
    to.add("disk_per_user_byte", disk as f64 / user_bytes);
}

/// Hands out rows and takes the time between them.
pub struct TimedRows {
    rows: Rows,
    wanted: u64,
    given: u64,
    deadline: Option<Instant>,
    start: Instant,
    /// When the last row was handed out.
    handed: Option<Instant>,
    latencies: Latencies,
    mark_every: u64,
    marks: Vec<Duration>,
}

impl TimedRows {
    fn new(job: &Job) -> Result<TimedRows> {
        let start = Instant::now();
        let longest = job.sizes.load_seconds_max.map(Duration::from_secs);
        Ok(TimedRows {
            rows: job.rows(),
            wanted: job.sizes.rows,
            given: 0,
            deadline: longest.map(|longest| start + longest),
            start,
            handed: None,
            latencies: Latencies::new()?,
            mark_every: job.sizes.rows.div_ceil(MARKS),
            marks: vec![Duration::ZERO],
        })
    }

    /// Counts the row that was handed out last as stored.
    fn finish_row(&mut self, now: Instant) {
        let Some(handed) = self.handed.take() else { return };
        self.latencies.add(now - handed);
        if self.given.is_multiple_of(self.mark_every) {
            self.marks.push(now - self.start);
        }
    }

    fn tell(&self, figures: &mut Figures) {
        figures.add("rows", self.given as f64);
        self.latencies.tell("insert_", figures);
        figures.add("last_quarter_to_first_ratio", last_to_first_quarter(&self.marks));
    }
}

impl Source for TimedRows {
    fn next_row(&mut self) -> Option<(Key, Value)> {
        let now = Instant::now();
        self.finish_row(now);
        let is_late = self.deadline.is_some_and(|deadline| now > deadline);
        if self.given == self.wanted || is_late {
            return None;
        }
        let row = (self.rows.key(self.given), self.rows.value(self.given));
        self.given += 1;
        self.handed = Some(Instant::now());
        Some(row)
    }
}

/// The rate over the last quarter of the rows, in units of that over the first; the marks lie the
/// same number of rows apart.
fn last_to_first_quarter(marks: &[Duration]) -> f64 {
    let steps = marks.len() - 1;
    let quarter = (steps / 4).max(1);
    match (marks.get(quarter), marks.get(steps.saturating_sub(quarter))) {
        (Some(first), Some(third)) if steps > 0 => {
            first.as_secs_f64() / (marks[steps] - *third).as_secs_f64()
        }
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_halves_its_rate_is_told() {
        let marks = [0, 1, 2, 3, 4, 5, 6, 8, 10].map(Duration::from_secs);
        assert_eq!(last_to_first_quarter(&marks), 0.5);
        assert!(last_to_first_quarter(&marks[..1]).is_nan());
    }
}
