//! Whether a writer meets cliffs: random rows at full speed, first alone, then beside full scans, a
//! snapshot that is held all the while, and a checkpoint every half second.
//!
//! `cargo run --release --example cliffs -- [ROWS] [CACHE_MIB]` prints, for both, the rate in each
//! quarter, percentiles of the calls, and what it costs to drain. Rows have 16-byte keys and
//! 100-byte values of which half compresses away. What the harness itself costs a row is printed
//! first.

mod rows;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use sapwood::{Config, Database, Read, Result, Tree};

use rows::{random_key, value};

fn main() -> Result<()> {
    let words = std::env::args().skip(1);
    let mut numbers = words.map(|word| word.parse::<u64>().expect("a number"));
    let (rows, cache_mib) = (numbers.next().unwrap_or(2_000_000), numbers.next().unwrap_or(64));
    let harness = write(0..rows, |_, _| Ok(()))?;
    println!("harness: {:.2} us a row", harness.seconds() * 1e6 / rows as f64);

    let folder = std::env::temp_dir().join(format!("sapwood-cliffs-{}", std::process::id()));
    let db = Config::new(&folder).cache_mib(cache_mib).open()?;
    let tree = db.tree("rows")?;
    let insert = |key: &[u8; 16], value: &[u8; 100]| tree.insert(key, value);

    println!("alone, into an empty database:");
    write(0..rows, insert)?.report();
    drain(&db)?;

    println!("beside a scan, a snapshot and checkpoints, into {rows} rows:");
    let (is_over, scanned) = (AtomicBool::new(false), AtomicU64::new(0));
    let checkpoints = AtomicU64::new(0);
    let snapshot = db.snapshot();
    let written = std::thread::scope(|scope| {
        let scan = scope.spawn(|| scan_until(&tree, &is_over, &scanned));
        let checkpoint = scope.spawn(|| checkpoint_until(&db, &is_over, &checkpoints));
        let written = write(rows..2 * rows, insert);
        is_over.store(true, Ordering::Relaxed);
        scan.join().expect("the scan does not panic")?;
        checkpoint.join().expect("the checkpoints do not panic")?;
        written
    })?;
    written.report();
    let seen = snapshot.at(&tree).iter().count() as u64;
    assert_eq!(seen, rows, "the snapshot does not see what was there");
    drop(snapshot);
    let (scanned, checkpoints) = (scanned.into_inner(), checkpoints.into_inner());
    println!("  meanwhile {scanned} rows were scanned and {checkpoints} checkpoints taken");
    drain(&db)?;

    assert_eq!(tree.iter().count() as u64, 2 * rows, "rows were lost");
    db.close()?;
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}

/// Scans from end to end, again and again.
fn scan_until(tree: &Tree, is_over: &AtomicBool, scanned: &AtomicU64) -> Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        for row in tree.iter() {
            row?;
            scanned.fetch_add(1, Ordering::Relaxed);
            if is_over.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(())
}

fn checkpoint_until(db: &Database, is_over: &AtomicBool, taken: &AtomicU64) -> Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        db.checkpoint()?;
        taken.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn drain(db: &Database) -> Result<()> {
    let (start, before) = (Instant::now(), db.stats());
    db.daemon().drain()?;
    db.checkpoint()?;
    let stats = db.stats();
    println!(
        "  drained {} MiB of debt in {:.1} s; {:.2} bytes written a byte of all rows; file {} MiB",
        before.debt_bytes >> 20,
        start.elapsed().as_secs_f64(),
        stats.bytes_written as f64 / stats.user_bytes as f64,
        stats.file_bytes >> 20,
    );
    Ok(())
}

/// Calls in a row, and how long they took.
struct Written {
    /// When each quarter ended.
    quarters: Vec<Duration>,
    calls: u64,
    nanos: Histogram<u64>,
}

fn write(
    numbers: std::ops::Range<u64>,
    mut insert: impl FnMut(&[u8; 16], &[u8; 100]) -> Result<()>,
) -> Result<Written> {
    let calls = numbers.end - numbers.start;
    let mut nanos = Histogram::new(3).expect("three digits are allowed");
    let (start, mut quarters) = (Instant::now(), Vec::new());
    for (count, number) in (1..).zip(numbers) {
        let (key, value) = (random_key(number), value(number));
        let before = Instant::now();
        insert(std::hint::black_box(&key), std::hint::black_box(&value))?;
        nanos.record(before.elapsed().as_nanos() as u64).expect("it resizes itself");
        if count * 4 / calls > quarters.len() as u64 {
            quarters.push(start.elapsed());
        }
    }
    Ok(Written { quarters, calls, nanos })
}

impl Written {
    fn seconds(&self) -> f64 {
        self.quarters.last().map_or(0.0, Duration::as_secs_f64)
    }

    fn report(&self) {
        let rate = self.calls as f64 / self.seconds();
        let mut last = 0.0;
        let quarters = self.quarters.iter().map(|end| {
            let took = end.as_secs_f64() - last;
            last = end.as_secs_f64();
            format!("{:.0}", self.calls as f64 / 4.0 / took)
        });
        let quarters: Vec<String> = quarters.collect();
        println!("  {rate:.0} rows/s; in each quarter {}", quarters.join(", "));
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile| micros(self.nanos.value_at_quantile(quantile));
        println!(
            "  a call: median {:.1} us, p99 {:.1} us, p99.9 {:.1} us, p99.99 {:.1} us, longest {:.1} ms",
            at(0.5),
            at(0.99),
            at(0.999),
            at(0.9999),
            micros(self.nanos.max()) / 1e3,
        );
    }
}
