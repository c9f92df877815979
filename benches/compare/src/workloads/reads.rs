//! Point reads and scans, timed; every workload that reads uses these.
//!
//! What is checked lies outside the timed part where it costs something: values of point reads
//! afterwards, every row of a scan in a scan of its own. Timed scans check order and count.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::verify::verify_all;
use crate::Result;
use crate::answer::Answer;
use crate::bench::Bench;
use crate::latencies::Latencies;
use crate::meter::Meter;
use crate::row::{Draws, Value};
use crate::store::{Direction, Reader, Store};

const SCAN_ROWS: usize = 100;
/// A full scan looks at the time once in so many rows.
const LOOK_EVERY: usize = 1_024;

/// What must be in a store: the value of each row, by number, or that it is not there.
pub struct Contents<'a> {
    pub value: &'a dyn Fn(u64) -> Option<Value>,
    /// Numbers from here on were never used.
    pub numbers: u64,
    /// How many rows are there.
    pub count: u64,
}

/// Reads the store, with nothing of it in memory, after some of its rows were removed.
pub fn read_what_is_left(contents: &Contents<'_>, bench: &mut Bench<'_>) -> Result<()> {
    let store = bench.open_cold()?;
    let subject = Subject { store: &*store, contents, prefix: "after_" };
    subject.full_scan(Direction::Forward, bench)?;
    subject.hits(bench)?;
    subject.removed(bench)?;
    subject.verify(bench)?;
    store.close()
}

/// A store in some state.
pub struct Subject<'a> {
    pub store: &'a dyn Store,
    pub contents: &'a Contents<'a>,
    /// What the names of its figures begin with.
    pub prefix: &'a str,
}

impl Subject<'_> {
    /// Random reads of keys that are there.
    pub fn hits(&self, bench: &mut Bench<'_>) -> Result<()> {
        let mut draws = Draws::new(bench.job.sizes.seed ^ 1);
        self.gets(bench, "hit_", &mut || self.draw(&mut draws, Option::is_some))
    }

    /// Random reads of keys that never were there, drawn from all of the key space.
    pub fn misses(&self, bench: &mut Bench<'_>) -> Result<()> {
        let mut draws = Draws::new(bench.job.sizes.seed ^ 2);
        let numbers = self.contents.numbers;
        self.gets(bench, "miss_", &mut || (numbers + draws.below(u64::MAX / 2), None))
    }

    /// Random reads of keys that were removed.
    pub fn removed(&self, bench: &mut Bench<'_>) -> Result<()> {
        let mut draws = Draws::new(bench.job.sizes.seed ^ 4);
        self.gets(bench, "removed_", &mut || self.draw(&mut draws, Option::is_none))
    }

    /// Scans of 100 rows from random keys on.
    pub fn short_scans(&self, direction: Direction, bench: &mut Bench<'_>) -> Result<()> {
        let mut draws = Draws::new(bench.job.sizes.seed ^ 3);
        let (name, calls) = (format!("scan100_{}_", word(direction)), bench.job.sizes.scans);
        let rows = bench.rows;
        let mut answer = Answer::new();
        self.time_calls(bench, &name, calls, &mut |reader| {
            let (number, _) = self.draw(&mut draws, Option::is_some);
            let key = rows.key(number);
            answer.expect(direction, SCAN_ROWS);
            let start = Instant::now();
            reader.scan(Some(&key), direction, &mut |key, _| answer.meet(key))?;
            let latency = start.elapsed();
            match answer.is_in_order && answer.first == Some(key) {
                true => Ok(latency),
                false => Err("a scan does not begin at its key or is out of order".into()),
            }
        })
    }

    /// One scan of everything, or of what can be scanned within the time limit.
    pub fn full_scan(&self, direction: Direction, bench: &mut Bench<'_>) -> Result<()> {
        let name = format!("{}scan_{}", self.prefix, word(direction));
        bench.begin(&name)?;
        let deadline = Instant::now() + bench.seconds_max();
        let mut answer = Answer::new();
        answer.expect(direction, usize::MAX);
        let meter = Meter::new();
        let before = meter.read();
        let mut is_stopped = false;
        self.store.read(&mut |reader| {
            reader.scan(None, direction, &mut |key, _| {
                let flow = answer.meet(key);
                if answer.count.is_multiple_of(LOOK_EVERY) && Instant::now() > deadline {
                    is_stopped = true;
                    return ControlFlow::Break(());
                }
                flow
            })
        })?;
        let cost = meter.read().since(before);
        let (found, wanted) = (answer.count as u64, self.contents.count);
        if !answer.is_in_order || (found != wanted && !is_stopped) {
            return Err(format!("a scan met {found} of {wanted} rows, or out of order").into());
        }
        if is_stopped {
            bench.note_stop(&name);
        }
        let (figures, found) = (&mut bench.figures, found as f64);
        figures.add(format!("{name}_rows_per_s"), found / cost.wall.as_secs_f64());
        figures.add(format!("{name}_cpu_per_row_us"), cost.cpu.as_secs_f64() * 1e6 / found);
        Ok(())
    }

    /// Scans everything untimed and checks that it is each row, whole, once.
    pub fn verify(&self, bench: &mut Bench<'_>) -> Result<()> {
        bench.tell_memory();
        bench.begin("verify")?;
        let contents = self.contents;
        verify_all(self.store, bench.rows, contents.count, &mut |number, value| {
            number < contents.numbers
                && (contents.value)(number).is_some_and(|wanted| wanted == value)
        })
    }

    /// Draws numbers until the value is as wanted.
    fn draw(
        &self,
        draws: &mut Draws,
        is_wanted: fn(&Option<Value>) -> bool,
    ) -> (u64, Option<Value>) {
        loop {
            let number = draws.below(self.contents.numbers);
            let value = (self.contents.value)(number);
            if is_wanted(&value) {
                return (number, value);
            }
        }
    }

    /// Point reads of drawn rows, each with the value it must have.
    fn gets(
        &self,
        bench: &mut Bench<'_>,
        name: &str,
        draw: &mut dyn FnMut() -> (u64, Option<Value>),
    ) -> Result<()> {
        let (rows, calls) = (bench.rows, bench.job.sizes.reads);
        let mut found = Vec::new();
        self.time_calls(bench, name, calls, &mut |reader| {
            let (number, wanted) = draw();
            let key = rows.key(number);
            let start = Instant::now();
            let is_found = reader.get(&key, &mut found)?;
            let latency = start.elapsed();
            match (is_found, wanted) {
                (true, Some(wanted)) if found == wanted => Ok(latency),
                (false, None) => Ok(latency),
                _ => Err(format!("row {number} is not as it was stored").into()),
            }
        })
    }

    fn time_calls(
        &self,
        bench: &mut Bench<'_>,
        name: &str,
        calls: u64,
        call: &mut dyn FnMut(&dyn Reader) -> Result<Duration>,
    ) -> Result<()> {
        let name = format!("{}{name}", self.prefix);
        let phase = name.trim_end_matches('_');
        bench.begin(phase)?;
        let deadline = Instant::now() + bench.seconds_max();
        let mut latencies = Latencies::new()?;
        let meter = Meter::new();
        let before = meter.read();
        self.store.read(&mut |reader| {
            while latencies.calls() < calls && Instant::now() < deadline {
                let latency = call(reader)?;
                latencies.add(latency);
                bench.sampler().record(latency);
            }
            Ok(())
        })?;
        let cost = meter.read().since(before);
        if latencies.calls() < calls {
            bench.note_stop(phase);
        }
        let made = latencies.calls();
        bench.tell_calls(&name, made, &latencies);
        let (figures, made) = (&mut bench.figures, made as f64);
        figures.add(format!("{name}cpu_us"), cost.cpu.as_secs_f64() * 1e6 / made);
        figures.add(format!("{name}device_read_bytes"), cost.device_read as f64 / made);
        Ok(())
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    }
}
