//! What snapshots, transactions, synced commits and bulk loads cost, as ratios within one run.
//!
//! `cargo run --release --example meaning -- WHAT`, with `snapshots`, `transactions`, `synced`,
//! `scans`, `ingest` or `large`; without, all of them. `docs/benchmarks.md` has the figures.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sapwood::{Config, Database, Durability, Isolation, Result};

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 9;

/// Runs what the first argument says.
pub fn main() -> Result<()> {
    let what = std::env::args().nth(1).unwrap_or_default();
    let folder = std::env::temp_dir().join(format!("sapwood-meaning-{}", std::process::id()));
    type Part = fn(&Path) -> Result<()>;
    let parts: [(&str, Part); 6] = [
        ("snapshots", snapshots),
        ("transactions", transactions),
        ("synced", synced),
        ("scans", scans),
        ("ingest", ingest),
        ("large", large),
    ];
    for (name, part) in parts {
        if what.is_empty() || what == name {
            part(&folder.join(name))?;
        }
    }
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}

fn open(folder: &Path) -> Result<Database> {
    std::fs::remove_dir_all(folder).ok();
    Config::new(folder).cache_mib(64).open()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The time that one call takes, in nanoseconds.
fn nanos_each(count: u32, mut call: impl FnMut(u32) -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    for number in 0..count {
        call(number)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e9 / f64::from(count))
}

/// Taking and dropping a snapshot, beginning and ending a transaction that only reads.
fn snapshots(folder: &Path) -> Result<()> {
    const COUNT: u32 = 200_000;
    let db = open(folder)?;
    let tree = db.tree("t")?;
    nanos_each(10_000, |number| tree.insert(number.to_be_bytes(), [7; 100]))?;
    let (mut taken, mut begun) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        taken.push(nanos_each(COUNT, |_| {
            drop(db.snapshot());
            Ok(())
        })?);
        begun.push(nanos_each(COUNT, |_| db.begin()?.commit().map(|_| ()))?);
    }
    println!(
        "a snapshot: {:.0} ns; a transaction that reads: {:.0} ns",
        median(taken),
        median(begun)
    );
    db.close()
}

/// One row in a transaction of its own, beside a plain insert.
fn transactions(folder: &Path) -> Result<()> {
    const COUNT: u32 = 100_000;
    let db = open(folder)?;
    let tree = db.tree("t")?;
    let key = |number: u32| number.wrapping_mul(2_654_435_761).to_be_bytes();
    let (mut plain, mut within, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let one = nanos_each(COUNT, |number| tree.insert(key(number), [7; 100]))?;
        let other = nanos_each(COUNT, |number| {
            let mut tx = db.begin()?;
            tx.insert(&tree, key(number), [7; 100])?;
            tx.commit().map(|_| ())
        })?;
        db.daemon().drain()?;
        plain.push(one);
        within.push(other);
        ratios.push(other / one);
    }
    let (plain, within, ratio) = (median(plain), median(within), median(ratios));
    println!("an insert: {plain:.0} ns; in a transaction: {within:.0} ns, {ratio:.2} times");
    db.close()
}

/// Synced one-row transactions a second, by one thread and by four.
fn synced(folder: &Path) -> Result<()> {
    let db = open(folder)?;
    let tree = db.tree("t")?;
    let rate = |threads: u32| {
        let begun = Instant::now();
        let counts: Vec<u32> = std::thread::scope(|scope| {
            let work = |thread: u32| {
                let (db, tree) = (&db, &tree);
                move || {
                    let mut count = 0u32;
                    while begun.elapsed() < Duration::from_millis(500) {
                        let mut tx = db.begin().expect("it is open");
                        let key = [thread.to_be_bytes(), count.to_be_bytes()].concat();
                        tx.insert(tree, key, [7; 100]).expect("it is open");
                        tx.commit_with(Durability::Synced).expect("nobody writes the same key");
                        count += 1;
                    }
                    count
                }
            };
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
            running.into_iter().map(|thread| thread.join().expect("it counts")).collect()
        });
        f64::from(counts.iter().sum::<u32>()) / begun.elapsed().as_secs_f64()
    };
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (rate(1), rate(4))).collect();
    let one = median(rounds.iter().map(|(one, _)| *one).collect());
    let four = median(rounds.iter().map(|(_, four)| *four).collect());
    let ratio = median(rounds.iter().map(|(one, four)| four / one).collect());
    println!(
        "synced commits: {one:.0} a second by one thread, {four:.0} by four, {ratio:.2} times"
    );
    db.close()
}

/// A full scan while a hundred snapshots are held between which rows were changed.
fn scans(folder: &Path) -> Result<()> {
    const ROWS: u32 = 500_000;
    let db = open(folder)?;
    let tree = db.tree("t")?;
    nanos_each(ROWS, |number| tree.insert(number.to_be_bytes(), [7; 60]))?;
    db.daemon().drain()?;
    let mut snapshots = Vec::new();
    for round in 0..100u32 {
        snapshots.push(db.snapshot());
        nanos_each(2000, |number| {
            let key = (number * 250 + round) % ROWS;
            tree.insert(key.to_be_bytes(), [8; 60])
        })?;
    }
    db.daemon().drain()?;
    let scan = || {
        let begun = Instant::now();
        assert_eq!(tree.iter().filter(Result::is_ok).count(), ROWS as usize);
        begun.elapsed().as_secs_f64()
    };
    let held: Vec<f64> = (0..ROUNDS).map(|_| scan()).collect();
    let kept = db.stats().readers.held_bytes;
    snapshots.clear();
    tree.compact::<&[u8]>(..)?;
    let free: Vec<f64> = (0..ROUNDS).map(|_| scan()).collect();
    let (held, free) = (median(held), median(free));
    println!(
        "a scan of {ROWS} rows: {:.1} ms under 100 snapshots that keep {kept} bytes, {:.1} ms \
         without, {:.2} times",
        held * 1e3,
        free * 1e3,
        held / free
    );
    db.close()
}

/// A bulk load, beside writing the same rows to a file; both made durable.
fn ingest(folder: &Path) -> Result<()> {
    const ROWS: u64 = 2_000_000;
    std::fs::create_dir_all(folder).ok();
    let row = |number: u64| {
        let mut value = [b'.'; 100];
        let mut state = number;
        for byte in value.iter_mut().take(50) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        let mut key = [0; 16];
        let (_, last) = key.split_at_mut(8);
        last.copy_from_slice(&number.to_be_bytes());
        (key, value)
    };
    let (mut loads, mut files, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let file = write_file(&folder.join("rows"), (0..ROWS).map(row));
        let db = open(&folder.join("db"))?;
        let tree = db.tree("t")?;
        let begun = Instant::now();
        tree.ingest((0..ROWS).map(row))?;
        db.sync()?;
        let load = begun.elapsed().as_secs_f64();
        assert_eq!(tree.get(row(ROWS / 2).0)?.as_deref(), Some(&row(ROWS / 2).1[..]));
        db.close()?;
        let bytes = (ROWS * 116) as f64 / 1e6;
        loads.push(bytes / load);
        files.push(bytes / file);
        ratios.push(file / load);
    }
    let (load, file, ratio) = (median(loads), median(files), median(ratios));
    println!("a bulk load: {load:.0} MB/s; the same rows to a file: {file:.0} MB/s; {ratio:.2}");
    Ok(())
}

/// Writes rows to a file and syncs it; the seconds it took.
fn write_file(path: &PathBuf, rows: impl Iterator<Item = ([u8; 16], [u8; 100])>) -> f64 {
    let begun = Instant::now();
    let mut file = File::create(path).expect("the folder is there");
    let mut buffer = Vec::with_capacity(2 << 20);
    for (key, value) in rows {
        buffer.extend_from_slice(&key);
        buffer.extend_from_slice(&value);
        if buffer.len() > 1 << 20 {
            file.write_all(&buffer).expect("there is space");
            buffer.clear();
        }
    }
    file.write_all(&buffer).expect("there is space");
    file.sync_all().expect("there is space");
    begun.elapsed().as_secs_f64()
}

/// A transaction of ten million rows, far larger than the cache.
fn large(folder: &Path) -> Result<()> {
    const ROWS: u64 = 10_000_000;
    let db = open(folder)?;
    let tree = db.tree("t")?;
    let begun = Instant::now();
    let mut tx = db.begin_with(Isolation::Snapshot)?;
    for number in 0..ROWS {
        let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        tx.insert(&tree, [&key[..], &key[..]].concat(), [7; 100])?;
    }
    let written = begun.elapsed();
    tx.commit_with(Durability::Synced)?;
    let committed = begun.elapsed();
    let peak = peak_resident_mib();
    assert_eq!(tree.iter().filter(Result::is_ok).count() as u64, ROWS);
    println!(
        "{ROWS} rows in one transaction: {:.1} s to write, {:.2} s to commit, {peak} MiB resident \
         at most with a cache of 64",
        written.as_secs_f64(),
        (committed - written).as_secs_f64()
    );
    db.close()
}

/// The most memory that this process has had, as the system says.
fn peak_resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}
