//! Point reads and scans, timed; every workload that reads uses these.
//!
//! What is checked lies outside the timed part where it costs something: values of point reads
//! afterwards, every row of a scan in a scan of its own. Timed scans check order and count.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::Result;
use crate::job::{Figures, Job};
use crate::latencies::Latencies;
use crate::meter::Meter;
use crate::row::{Draws, KEY_BYTES, Key, Rows};
use crate::store::{Direction, Reader, Store};

const SCAN_ROWS: usize = 100;

/// A store in some state, and what was put into it.
pub struct Subject<'a> {
    pub job: &'a Job,
    pub store: &'a dyn Store,
    pub rows: u64,
    /// What the names of its figures begin with.
    pub prefix: &'a str,
}

impl Subject<'_> {
    /// Random reads of keys that are there.
    pub fn hits(&self, figures: &mut Figures) -> Result<()> {
        let (reader, rows) = (self.store.reader()?, self.job.rows());
        let mut draws = Draws::new(self.job.sizes.seed ^ 1);
        let mut value = Vec::new();
        self.time_calls("hit_", self.job.sizes.reads, figures, |latencies| {
            let number = draws.below(self.rows);
            let key = rows.key(number);
            let start = Instant::now();
            let is_there = reader.get(&key, &mut value)?;
            latencies.add(start.elapsed());
            match is_there && value == rows.value(number) {
                true => Ok(()),
                false => Err(format!("row {number} was not found as it was stored").into()),
            }
        })
    }

    /// Random reads of keys that are not there, drawn from all of the key space.
    pub fn misses(&self, figures: &mut Figures) -> Result<()> {
        let (reader, rows) = (self.store.reader()?, self.job.rows());
        let mut draws = Draws::new(self.job.sizes.seed ^ 2);
        let mut value = Vec::new();
        self.time_calls("miss_", self.job.sizes.reads, figures, |latencies| {
            let key = rows.key(self.rows + draws.below(u64::MAX / 2));
            let start = Instant::now();
            let is_there = reader.get(&key, &mut value)?;
            latencies.add(start.elapsed());
            match is_there {
                true => Err("a key was found that was never stored".into()),
                false => Ok(()),
            }
        })
    }

    /// Scans of 100 rows from random keys on.
    pub fn short_scans(&self, direction: Direction, figures: &mut Figures) -> Result<()> {
        let (reader, rows) = (self.store.reader()?, self.job.rows());
        let mut draws = Draws::new(self.job.sizes.seed ^ 3);
        let name = format!("scan100_{}_", word(direction));
        self.time_calls(&name, self.job.sizes.scans, figures, |latencies| {
            let key = rows.key(draws.below(self.rows));
            let mut order = Order::new(direction);
            let start = Instant::now();
            reader.scan(Some(&key), direction, &mut |key, _| order.visit(key, SCAN_ROWS))?;
            latencies.add(start.elapsed());
            match order.is_kept && order.first == Some(key) {
                true => Ok(()),
                false => Err("a scan does not begin at its key or is out of order".into()),
            }
        })
    }

    /// One scan of everything.
    pub fn full_scan(&self, direction: Direction, figures: &mut Figures) -> Result<()> {
        let reader = self.store.reader()?;
        let mut order = Order::new(direction);
        let meter = Meter::new();
        let before = meter.read();
        reader.scan(None, direction, &mut |key, _| order.visit(key, usize::MAX))?;
        let cost = meter.read().since(before);
        if !order.is_kept || order.count as u64 != self.rows {
            let (count, rows) = (order.count, self.rows);
            return Err(format!("a scan met {count} of {rows} rows, or out of order").into());
        }
        let (name, rows) = (format!("{}scan_{}", self.prefix, word(direction)), self.rows as f64);
        figures.add(format!("{name}_rows_per_s"), rows / cost.wall.as_secs_f64());
        figures.add(format!("{name}_cpu_per_row_us"), cost.cpu.as_secs_f64() * 1e6 / rows);
        Ok(())
    }

    /// Scans everything untimed and checks that it is each row, whole, once.
    pub fn verify(&self, figures: &mut Figures) -> Result<()> {
        let rows = self.job.rows();
        verify(&*self.store.reader()?, rows, self.rows)?;
        figures.add(format!("{}verified_rows", self.prefix), self.rows as f64);
        Ok(())
    }

    fn time_calls(
        &self,
        name: &str,
        calls: u64,
        figures: &mut Figures,
        mut call: impl FnMut(&mut Latencies) -> Result<()>,
    ) -> Result<()> {
        let mut latencies = Latencies::new()?;
        let meter = Meter::new();
        let before = meter.read();
        for _ in 0..calls {
            call(&mut latencies)?;
        }
        let cost = meter.read().since(before);
        let name = format!("{}{name}", self.prefix);
        let calls = calls as f64;
        figures.add(format!("{name}per_s"), calls / latencies.total().as_secs_f64());
        latencies.tell(&name, figures);
        figures.add(format!("{name}cpu_us"), cost.cpu.as_secs_f64() * 1e6 / calls);
        figures.add(format!("{name}device_read_bytes"), cost.device_read as f64 / calls);
        Ok(())
    }
}

fn verify(reader: &dyn Reader, rows: Rows, count: u64) -> Result<()> {
    let mut order = Order::new(Direction::Forward);
    let mut wrong = None;
    reader.scan(None, Direction::Forward, &mut |key, value| {
        if !rows.is_row(key, value, count) {
            wrong = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        order.visit(key, usize::MAX)
    })?;
    if let Some(key) = wrong {
        return Err(format!("key {} or its value was never stored", key.escape_ascii()).into());
    }
    match order.is_kept && order.count as u64 == count {
        true => Ok(()),
        false => Err(format!("{} of {count} rows are there in order", order.count).into()),
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    }
}

/// Watches that the keys of a scan ascend, or descend.
struct Order {
    direction: Direction,
    count: usize,
    first: Option<Key>,
    last: Key,
    is_kept: bool,
}

impl Order {
    fn new(direction: Direction) -> Order {
        Order { direction, count: 0, first: None, last: [0; KEY_BYTES], is_kept: true }
    }

    /// Takes a key; breaks when that was the last one wanted.
    fn visit(&mut self, key: &[u8], wanted: usize) -> ControlFlow<()> {
        let Ok(key) = Key::try_from(key) else {
            self.is_kept = false;
            return ControlFlow::Break(());
        };
        if self.first.is_none() {
            self.first = Some(key);
        } else {
            self.is_kept &= match self.direction {
                Direction::Forward => self.last < key,
                Direction::Backward => self.last > key,
            };
        }
        self.last = key;
        self.count += 1;
        if self.count == wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
