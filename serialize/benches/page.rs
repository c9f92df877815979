//! What a row costs on its way into the log, a page, a segment, back out, and when it is sought.
//!
//! Rows have 16-byte keys and 100-byte values of which half compresses away; pages are cut at 4, 8
//! and 16 KiB. Throughput is in rows (elements).

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sapwood_serialize::segment_image::{
    Directory, EncodedSegment, PageSummary, SegmentIdentity, SegmentMeta, decode_page,
    encode_segment,
};
use sapwood_serialize::{
    Compression, DatabaseId, Epoch, Filter, FrameHead, FrameKind, KeyBits, Lsn, Msn, Op, Page,
    PageBuilder, Record, SegmentId, TreeId, Version, begin_frame, checksum, encode_record,
    finish_frame,
};

const TARGETS: [usize; 3] = [4 << 10, 8 << 10, 16 << 10];
const SEGMENT_BYTES: usize = 256 << 10;
const IDENTITY: SegmentIdentity =
    SegmentIdentity { database: DatabaseId::from_bytes([7; 16]), segment: SegmentId::from_raw(1) };

type Row = (Vec<u8>, Vec<u8>);

/// The rows of one segment, in key order.
fn rows() -> Vec<Row> {
    let random = |seed: u64, n: u64| checksum(seed, &n.to_le_bytes());
    let row = |n: u64| {
        let key = format!("{:016}", random(1, n) % 10_u64.pow(16)).into_bytes();
        let noise = (0..7).flat_map(|part| random(part + 2, n).to_le_bytes());
        let value = noise.take(50).chain([b'-'; 50]).collect();
        (key, value)
    };
    let mut rows: Vec<Row> = (0..(SEGMENT_BYTES / 136) as u64).map(row).collect();
    rows.sort();
    rows
}

fn build_pages(rows: &[Row], target: usize) -> Vec<Arc<Page>> {
    let mut builder = PageBuilder::new();
    let mut pages = Vec::new();
    for (msn, (key, value)) in rows.iter().enumerate() {
        let version = [Version { msn: msn as u64, op: Op::Put(value) }];
        if builder.bytes() + PageBuilder::cell_bytes(key, &version) > target {
            pages.push(Arc::new(builder.finish()));
        }
        builder.push(key, &version);
    }
    pages.push(Arc::new(builder.finish()));
    pages
}

fn describe(rows: &[Row], pages: &[Arc<Page>]) -> SegmentMeta {
    let mut directory = Directory::builder();
    for page in pages {
        let summary = PageSummary { rows: page.rows() as u32, raw_bytes: page.bytes() as u32 };
        directory.push(page.first_key(), page.last_key(), &summary);
    }
    let hashes: Vec<u64> = rows.iter().map(|(key, _)| Filter::hash(key)).collect();
    SegmentMeta { directory: directory.finish(), filter: Filter::build(&hashes, KeyBits::LEAF) }
}

fn build(criterion: &mut Criterion) {
    let rows = rows();
    let mut group = criterion.benchmark_group("page/build");
    group.throughput(Throughput::Elements(rows.len() as u64));
    for target in TARGETS {
        group.bench_function(BenchmarkId::from_parameter(target), |bencher| {
            bencher.iter(|| build_pages(black_box(&rows), target));
        });
    }
}

fn search(criterion: &mut Criterion) {
    let rows = rows();
    let mut group = criterion.benchmark_group("page/search_hit");
    group.throughput(Throughput::Elements(1));
    for target in TARGETS {
        let page = build_pages(&rows, target).swap_remove(0);
        let mut keys = rows.iter().take(page.rows()).map(|(key, _)| key).collect::<Vec<_>>();
        keys.sort_by_key(|key| checksum(9, key));
        let mut keys = keys.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(target), |bencher| {
            bencher.iter(|| {
                let row = page.search(black_box(keys.next()?)).ok()?;
                page.versions(row).next().map(|version| version.op.payload().len())
            });
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let rows = rows();
    for compression in [Compression::None, Compression::Lz4] {
        let mut group = criterion.benchmark_group(format!("segment/encode_{compression:?}"));
        group.throughput(Throughput::Elements(rows.len() as u64));
        for target in TARGETS {
            let pages = build_pages(&rows, target);
            let meta = describe(&rows, &pages);
            group.bench_function(BenchmarkId::from_parameter(target), |bencher| {
                bencher.iter(|| encode_segment(IDENTITY, &meta, &pages, compression));
            });
        }
    }
}

fn decode(criterion: &mut Criterion) {
    let rows = rows();
    for compression in [Compression::None, Compression::Lz4] {
        let mut group = criterion.benchmark_group(format!("page/decode_{compression:?}"));
        for target in TARGETS {
            let pages = build_pages(&rows, target);
            let meta = describe(&rows, &pages);
            let segment = encode_segment(IDENTITY, &meta, &pages, compression);
            group.throughput(Throughput::Elements(pages[0].rows() as u64));
            group.bench_function(BenchmarkId::from_parameter(target), |bencher| {
                bencher.iter(|| decode_first(black_box(&segment)));
            });
        }
    }
}

fn decode_first(segment: &EncodedSegment) -> Option<Page> {
    let (place, summary) = (segment.directory.place(0)?, segment.directory.summary(0));
    let stored = segment.bytes.get(..place.stored_bytes as usize)?;
    decode_page(IDENTITY, 0, place, summary, stored).ok()
}

fn filter(criterion: &mut Criterion) {
    let rows = rows();
    let hashes: Vec<u64> = rows.iter().map(|(key, _)| Filter::hash(key)).collect();
    let filter = Filter::build(&hashes, KeyBits::LEAF);
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Elements(hashes.len() as u64));
    group.bench_function("hash", |bencher| {
        bencher.iter(|| rows.iter().fold(0, |all, (key, _)| all ^ Filter::hash(key)));
    });
    group.bench_function("build", |bencher| {
        bencher.iter(|| Filter::build(black_box(&hashes), KeyBits::LEAF));
    });
    group.bench_function("may_contain", |bencher| {
        bencher.iter(|| hashes.iter().filter(|hash| filter.may_contain(**hash)).count());
    });
}

/// One group of a hundred writes.
fn log(criterion: &mut Criterion) {
    let rows = rows();
    let rows = &rows[..100];
    let tree = TreeId::from_raw(1);
    let head = FrameHead {
        kind: FrameKind::Group,
        lsn: Lsn::ZERO,
        epoch: Epoch::ZERO,
        durable: Lsn::ZERO,
        first_msn: Msn::ZERO,
    };
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("encode_write", |bencher| {
        bencher.iter(|| {
            out.clear();
            begin_frame(&mut out);
            for (key, value) in rows {
                encode_record(&mut out, &Record::Write { tree, key, op: Op::Put(value) });
            }
            finish_frame(IDENTITY.database, &head, &mut out, 0);
            out.len()
        });
    });
}

criterion_group!(benches, build, search, encode, decode, filter, log);
criterion_main!(benches);
