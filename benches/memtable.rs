//! What the memtable costs per message: 16-byte keys, 100-byte values, fixed seeds.
//!
//! A time per element is a time per insertion or per get. `random` draws keys whose first eight
//! bytes differ, `prefixed` keys that share them, so that heads decide nothing.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sapwood::bench_support::MemtableBench;

const SIZES: [(&str, usize); 2] = [("8_mib", 8 << 20), ("64_mib", 64 << 20)];
const VALUE: [u8; 100] = [7; 100];

type Key = [u8; 16];
type KeyOf = fn(u64) -> Key;

fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 31)
}

fn random_key(number: u64) -> Key {
    let high = u128::from(scattered(number));
    ((high << 64) | u128::from(number)).to_be_bytes()
}

fn prefixed_key(number: u64) -> Key {
    let mut key = *b"account:........";
    key[8..].copy_from_slice(&scattered(number).to_be_bytes());
    key
}

fn ascending_key(number: u64) -> Key {
    u128::from(number).to_be_bytes()
}

/// Inserts until `bytes` are used; returns the table and how many rows it took.
fn fill(bytes: usize, key: KeyOf) -> (MemtableBench, u64) {
    let table = MemtableBench::new();
    let mut rows = 0;
    while table.bytes() < bytes {
        rows += 1;
        table.put(&key(rows), rows, &VALUE);
    }
    (table, rows)
}

/// Times `iterations` insertions, filling one table after the other from empty to `bytes`. Only
/// whole tables count, so the time is the mean over a table's life.
fn time_inserts(iterations: u64, bytes: usize, key: KeyOf) -> Duration {
    let (mut time, mut rows) = (Duration::ZERO, 0);
    while rows < iterations {
        let start = Instant::now();
        let (table, filled) = fill(bytes, key);
        time += start.elapsed();
        rows += filled;
        drop(table);
    }
    time.mul_f64(iterations as f64 / rows as f64)
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let keys: [(&str, KeyOf); 3] =
        [("random", random_key), ("prefixed", prefixed_key), ("ascending", ascending_key)];
    for (order, key) in keys {
        for (size, bytes) in SIZES {
            group.bench_function(format!("{order}/{size}"), |bencher| {
                bencher.iter_custom(|iterations| time_inserts(iterations, bytes, key));
            });
        }
    }
}

fn get(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(1));
    for (size, bytes) in SIZES {
        let (table, rows) = fill(bytes, random_key);
        let mut number = 0;
        group.bench_function(format!("hit/{size}"), |bencher| {
            bencher.iter(|| {
                number += 1;
                table.get(&random_key(1 + scattered(number) % rows))
            });
        });
        group.bench_function(format!("miss/{size}"), |bencher| {
            bencher.iter(|| {
                number += 1;
                table.get(&random_key(rows + number))
            });
        });
    }
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    for (size, bytes) in SIZES {
        let (table, rows) = fill(bytes, random_key);
        group.throughput(Throughput::Elements(rows)).sample_size(20);
        group.bench_function(format!("all/{size}"), |bencher| bencher.iter(|| table.scan()));
    }
}

criterion_group!(benches, insert, get, scan);
criterion_main!(benches);
