//! Loads random rows into a temporary database several times larger than its cache, and prints what
//! came of it: `cargo run --release --example random_load -- [ROWS] [CACHE_MIB] [ascending]`.

mod rows;

use std::time::{Duration, Instant};

use sapwood::{Config, Result};

use rows::{random_key, value};

/// 16 bytes in the order of the numbers.
fn ascending_key(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn main() -> Result<()> {
    let is_ascending = std::env::args().any(|word| word == "ascending");
    let key = |number: u64| if is_ascending { ascending_key(number) } else { random_key(number) };
    let words = std::env::args().skip(1).filter(|word| word != "ascending");
    let mut numbers = words.map(|word| word.parse().expect("a number"));
    let (rows, cache_mib) = (numbers.next().unwrap_or(2_000_000), numbers.next().unwrap_or(64));
    let folder = std::env::temp_dir().join(format!("sapwood-random-load-{}", std::process::id()));
    let db = Config::new(&folder).cache_mib(cache_mib).open()?;
    let tree = db.tree("rows")?;
    let start = Instant::now();
    let (mut longest, mut second) = (Duration::ZERO, Instant::now());
    for number in 0..rows {
        let before = Instant::now();
        tree.insert(key(number), value(number))?;
        longest = longest.max(before.elapsed());
        if number % 1024 == 0 && second.elapsed() > Duration::from_secs(1) {
            second = Instant::now();
            report(&db, number, start, longest);
            longest = Duration::ZERO;
        }
    }
    report(&db, rows, start, longest);
    println!("{:#?}", db.stats());
    let start = Instant::now();
    let found = (0..rows / 50).filter(|number| {
        let number = number * 50;
        matches!(tree.get(key(number)), Ok(Some(found)) if found == value(number))
    });
    let found = found.count();
    println!(
        "{found} of {} reads found their row, {:?} each",
        rows / 50,
        start.elapsed() / (rows / 50) as u32
    );
    let start = Instant::now();
    let seen = tree.iter().count() as u64;
    println!("a scan saw {seen} rows in {:?}", start.elapsed());
    let start = Instant::now();
    db.close()?;
    println!("closed in {:?}", start.elapsed());
    let start = Instant::now();
    let db = Config::new(&folder).cache_mib(cache_mib).open()?;
    println!("opened in {:?}", start.elapsed());
    db.close()?;
    std::fs::remove_dir_all(&folder).ok();
    assert_eq!(seen, rows, "rows were lost");
    Ok(())
}

fn report(db: &sapwood::Database, rows: u64, start: Instant, longest: Duration) {
    let (stats, rate) = (db.stats(), rows as f64 / start.elapsed().as_secs_f64());
    println!(
        "{rows} rows, {rate:.0} rows/s, {:.2} bytes written a byte, longest pause {longest:?}, resident {} MiB (RSS {} MiB), file {} MiB, {} flushes, {} reconciles, {:?}",
        stats.bytes_written as f64 / stats.user_bytes as f64,
        stats.resident_bytes >> 20,
        resident_mib(),
        stats.file_bytes >> 20,
        stats.movement.flushes,
        stats.movement.reconciles,
        stats.trees["rows"],
    );
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
