//! The parts of the engine that only a whole database has: a write with and without the log, one
//! flush with its reconcile, one checkpoint.
//!
//! - `put/*`: one row into log and memtable; `no_wal` is the same without the log, so that the
//!   difference is the append;
//! - `flush/into_leaf`: one step of background work that moved a buffer into a leaf, which was
//!   rewritten (reconciled) for it, in memory, so that no disk counts. Flushes that rewrite no leaf
//!   are one in some fifty and not measured by themselves;
//! - `checkpoint/*`: one checkpoint behind some megabytes of writes, on the disk of `TMPDIR`.
//!
//! Rows have 16-byte keys in random order and 100-byte values of which half compresses away.
// A bench whose database fails has nothing to say.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sapwood::{Background, Config, Database, Durability, Tree};

const CACHE_MIB: u64 = 16;
/// Rows that are written between two looks for work.
const ROUND_ROWS: u64 = 10_000;

fn mixed(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 31)
}

fn row(number: u64) -> ([u8; 16], [u8; 100]) {
    let (mut key, mut value) = ([0; 16], [b'.'; 100]);
    key[..8].copy_from_slice(&mixed(number).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    for (part, chunk) in value[..48].chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&mixed(number * 6 + part as u64).to_le_bytes());
    }
    (key, value)
}

/// A tree that grows, and whose background work is done when a bench asks for it.
struct Growing {
    db: Database,
    tree: Tree,
    rows: u64,
}

impl Growing {
    fn new(config: Config) -> Growing {
        let db = config.cache_mib(CACHE_MIB).background(Background::Manual).open().unwrap();
        let tree = db.tree("rows").unwrap();
        Growing { db, tree, rows: 0 }
    }

    fn write(&mut self, rows: u64) {
        for _ in 0..rows {
            let (key, value) = row(self.rows);
            self.tree.insert(key, value).unwrap();
            self.rows += 1;
        }
    }

    /// Times one step of background work; `None` when it was no flush into a leaf.
    fn flush(&mut self) -> Option<Duration> {
        let before = self.db.stats().movement;
        let start = Instant::now();
        let done = self.db.maintain(1).unwrap();
        let time = start.elapsed();
        let after = self.db.stats().movement;
        if done == 0 {
            self.write(ROUND_ROWS);
        }
        let moved = (after.flushes - before.flushes, after.reconciles - before.reconciles);
        (moved == (1, 1)).then_some(time)
    }
}

/// Times so many flushes, in the order in which a growing tree needs them.
fn time_flushes(iterations: u64, growing: &mut Growing) -> Duration {
    let (mut time, mut done) = (Duration::ZERO, 0);
    while done < iterations {
        if let Some(flush) = growing.flush() {
            time += flush;
            done += 1;
        }
    }
    time
}

fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    // Short, since between two flushes lie thousands of rows, and the tree grows by them.
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(20)).measurement_time(Duration::from_millis(200));
    let mut growing = Growing::new(Config::in_memory());
    group.bench_function("into_leaf", |bencher| {
        bencher.iter_custom(|iterations| time_flushes(iterations, &mut growing));
    });
}

fn put(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("put");
    group.throughput(Throughput::Elements(1));
    for (name, durability) in [("buffered", Durability::Buffered), ("no_wal", Durability::NoWal)] {
        let folder = tempfile::tempdir().unwrap();
        let mut growing = Growing::new(Config::new(folder.path().join("db")));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (key, value) = row(growing.rows);
                growing.rows += 1;
                let mut batch = growing.db.batch();
                batch.insert(&growing.tree, key, value);
                batch.commit(durability).unwrap();
            });
        });
    }
}

fn checkpoint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checkpoint");
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    for mib in [1, 8] {
        let rows = (mib << 20) / 116;
        let folder = tempfile::tempdir().unwrap();
        let mut growing = Growing::new(Config::new(folder.path().join("db")));
        group.bench_function(format!("{mib}_mib"), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for _ in 0..iterations {
                    growing.write(rows);
                    let start = Instant::now();
                    growing.db.checkpoint().unwrap();
                    time += start.elapsed();
                }
                time
            });
        });
    }
}

criterion_group!(benches, put, flush, checkpoint);
criterion_main!(benches);
