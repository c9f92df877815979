//! One merge pass: what a row costs each time it moves down.

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
    group.finish();
}

criterion_group!(benches, merge);
criterion_main!(benches);
