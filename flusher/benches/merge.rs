//! One merge pass: what a row costs each time it moves down; and what it costs to pin a page.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sapwood_flusher::bench_support::MergeBench;

fn merge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    for runs in [1, 2, 4, 8] {
        let bench = MergeBench::new(runs, 40_000 / runs);
        group.throughput(Throughput::Elements(bench.rows()));
        group.bench_function(format!("{runs}_runs_lz4"), |bencher| {
            bencher.iter(|| black_box(&bench).pass());
        });
    }
    let bench = MergeBench::random(8, 5_000);
    group.bench_function("8_runs_random_lz4", |bencher| bencher.iter(|| black_box(&bench).pass()));
    group.finish();
}

fn pin(criterion: &mut Criterion) {
    let bench = MergeBench::new(8, 5_000);
    let mut number = 0;
    criterion.bench_function("pin/page_in_memory", |bencher| {
        bencher.iter(|| {
            number += 1;
            black_box(&bench).pin(number)
        });
    });
}

criterion_group!(benches, merge, pin);
criterion_main!(benches);
