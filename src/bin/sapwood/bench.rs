//! `sapwood bench`: how fast it is on this machine: a random load, point reads, scans.
//!
//! ```text
//! load  16-byte keys in random order, 100-byte values of which half compresses, one by one; then
//!       everything that waits in the background
//! read  random keys that are there, and keys that are not; everything both ways; 100-row scans
//! ```
//!
//! Each value read is compared, each scan's order and count. Latencies are those of single calls,
//! without what the program does between them. The folder is a temporary one below `--dir`, and is
//! removed at the end, also after a failure. How other stores do is told by `benches/compare`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use sapwood::{Config, Database, Tree};

use crate::args::Cache;
use crate::demo::memory::{Memory, folder_bytes};
use crate::demo::{per_second, progress};
use crate::failure::{Exit, Failure};
use crate::output::{Output, figures};
use crate::scratch;

const SCAN_ROWS: usize = 100;
const ROW_BYTES: u64 = 16 + 100;
const NANOSECONDS_MAX: u64 = 600_000_000_000;

/// Measure this machine: a random load, point reads, scans
#[derive(Args)]
pub struct Bench {
    /// Rows to load
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,

    /// Point reads of each kind
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    reads: u64,

    /// Scans of 100 rows
    #[arg(long, value_name = "N", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    scans: u64,

    /// Where the database is made and removed [default: the folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    cache: Cache,
}

impl Bench {
    pub fn run(self) -> Result<Exit, Failure> {
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let report =
            scratch::within(&parent, "sapwood-bench-", |folder| self.measure(&folder.join("db")))?;
        report.show()?;
        Ok(Exit::Done)
    }

    fn measure(&self, path: &Path) -> Result<Report, Failure> {
        let mut report = Report::default();
        let mib = self.cache.cache_mib.unwrap_or(128);
        let db = Config::new(path).cache_mib(mib).open()?;
        let tree = db.tree("bench")?;
        self.load(&db, &tree, &mut report)?;
        self.point_reads(&tree, &mut report)?;
        self.scans(&tree, &mut report)?;
        drop(tree);
        db.close()?;
        let user_bytes = self.rows * ROW_BYTES;
        report.add("disk_per_user_byte", ratio(folder_bytes(path)?, user_bytes));
        if let Some(peak) = Memory::now().peak_bytes {
            report.add("resident_peak_mib", ratio(peak, 1 << 20));
        }
        Ok(report)
    }

    fn load(&self, db: &Database, tree: &Tree, report: &mut Report) -> Result<(), Failure> {
        let bar = progress(self.rows, "loading");
        let mut latencies = Latencies::new();
        let start = Instant::now();
        for number in 0..self.rows {
            let (key, value) = (key(number), value(number));
            latencies.time(|| tree.insert(key, value))?;
            bar.inc(1);
        }
        report.add("writer_rows_per_s", per_second(self.rows, start.elapsed()));
        db.checkpoint()?;
        db.daemon().wait_idle()?;
        report.add("drained_rows_per_s", per_second(self.rows, start.elapsed()));
        bar.finish_and_clear();
        report.add_latencies("insert", &latencies);
        let written = ratio(db.stats().bytes_written, self.rows * ROW_BYTES);
        report.add("written_per_user_byte", written);
        Ok(())
    }

    fn point_reads(&self, tree: &Tree, report: &mut Report) -> Result<(), Failure> {
        for (name, first) in [("hit", 0), ("miss", self.rows)] {
            let bar = progress(self.reads, "reading");
            let mut latencies = Latencies::new();
            for read in 0..self.reads {
                let number = first + mix(read) % self.rows;
                let found = latencies.time(|| tree.get(key(number)))?;
                let wanted = (number < self.rows).then(|| value(number));
                if found.as_deref() != wanted.as_ref().map(|value| &value[..]) {
                    return Err(Failure::absent(format!("row {number} is not as it was stored")));
                }
                bar.inc(1);
            }
            bar.finish_and_clear();
            report.add(format!("{name}_per_s"), per_second(self.reads, latencies.total));
            report.add_latencies(name, &latencies);
        }
        Ok(())
    }

    fn scans(&self, tree: &Tree, report: &mut Report) -> Result<(), Failure> {
        let wrong = || Failure::absent("a scan met other rows than were stored, or out of order");
        let start = Instant::now();
        let (count, is_in_order) = walk(tree.iter(), usize::MAX, |last, key| last < key)?;
        report.add("scan_forward_rows_per_s", per_second(self.rows, start.elapsed()));
        let start = Instant::now();
        let (back, is_reverse) = walk(tree.iter().rev(), usize::MAX, |last, key| last > key)?;
        report.add("scan_backward_rows_per_s", per_second(self.rows, start.elapsed()));
        if (count, back) != (self.rows, self.rows) || !is_in_order || !is_reverse {
            return Err(wrong());
        }
        let mut latencies = Latencies::new();
        for scan in 0..self.scans {
            let from = key(mix(scan) % self.rows);
            let scan = || walk(tree.range(from..), SCAN_ROWS, |last, key| last < key);
            let (count, is_in_order) = latencies.time(scan)?;
            if count == 0 || !is_in_order {
                return Err(wrong());
            }
        }
        report.add("scan100_per_s", per_second(self.scans, latencies.total));
        report.add_latencies("scan100", &latencies);
        Ok(())
    }
}

type Row = (sapwood::Slice, sapwood::Slice);

/// Counts up to `most` rows; whether each comes as it must behind the last.
fn walk(
    rows: impl Iterator<Item = sapwood::Result<Row>>,
    most: usize,
    follows: fn(&[u8], &[u8]) -> bool,
) -> sapwood::Result<(u64, bool)> {
    let (mut count, mut is_in_order, mut last) = (0, true, None);
    for row in rows.take(most) {
        let (key, _) = row?;
        is_in_order &= last.as_ref().is_none_or(|last: &sapwood::Slice| follows(last, &key));
        last = Some(key);
        count += 1;
    }
    Ok((count, is_in_order))
}

/// The key of a row; different numbers have different keys, in an order that looks random.
fn key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(number).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The value of a row: noise, then dots.
fn value(number: u64) -> [u8; 100] {
    let mut value = [b'.'; 100];
    let mut noise = number;
    for chunk in value[..50].chunks_mut(8) {
        noise = mix(noise);
        chunk.copy_from_slice(&noise.to_le_bytes()[..chunk.len()]);
    }
    value
}

fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// How long single calls took.
struct Latencies {
    histogram: Histogram<u64>,
    total: Duration,
}

impl Latencies {
    fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3);
        Latencies { histogram: histogram.expect("bounds are in order"), total: Duration::ZERO }
    }

    fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = call();
        let latency = start.elapsed();
        self.total += latency;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds);
        done
    }
}

/// Figures by name, in the order in which they were measured; the unit is the end of the name.
#[derive(Default)]
struct Report(Vec<(String, f64)>);

impl Report {
    fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    fn add_latencies(&mut self, name: &str, latencies: &Latencies) {
        let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
        for (word, quantile) in quantiles {
            let nanoseconds = latencies.histogram.value_at_quantile(quantile);
            self.add(format!("{name}_{word}_us"), ratio(nanoseconds, 1_000));
        }
    }

    fn show(&self) -> Result<(), Failure> {
        let mut table = figures(["figure", "value"]);
        for (name, value) in &self.0 {
            let digits = if *value < 1_000.0 { 2 } else { 0 };
            table.add_row([name.clone(), format!("{value:.digits$}")]);
        }
        let mut out = Output::new();
        out.text(&format!("{table}\n"))?;
        out.flush()
    }
}
