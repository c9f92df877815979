//! What the disk and the kernel charge for the calls that sapwood is built of.
//!
//! - `append/*`: 150 bytes behind the last 150, as a log does it: by a call or by a copy into a
//!   mapped file, to a file that has its space already or grows, with and without a sync;
//! - `read/*`: one random page of a 1 GiB file by a call, from the device (the page was dropped
//!   from the kernel's cache before) and from the kernel's cache.
//!
//! The files lie in a fresh folder below `TMPDIR`, which must be on a disk to mean anything.
#![expect(unsafe_code, reason = "measured: whether a mapped log is worth its unsafe code")]
// A bench that cannot reach its file has nothing to say.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::hint::black_box;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tempfile::TempDir;

const RECORD: [u8; 150] = [7; 150];
const LOG_BYTES: u64 = 64 << 20;
const DATA_BYTES: u64 = 1 << 30;

type MakeLog = fn() -> Log;

/// A log file in a folder of its own, which goes with it.
struct Log {
    file: File,
    end: u64,
    _folder: TempDir,
}

impl Log {
    fn growing() -> Log {
        let folder = tempfile::tempdir().unwrap();
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(folder.path().join("log"))
            .unwrap();
        Log { file, end: 0, _folder: folder }
    }

    fn preallocated() -> Log {
        let log = Log::growing();
        fallocate(&log.file, FallocateFlags::empty(), 0, LOG_BYTES).unwrap();
        log.file.sync_all().unwrap();
        log
    }

    /// Space that was written once, so that a write changes nothing but bytes.
    fn overwritten() -> Log {
        let log = Log::preallocated();
        fill_file(&log.file, LOG_BYTES);
        log
    }

    fn append(&mut self) {
        self.file.write_all_at(&RECORD, self.end).unwrap();
        self.end += RECORD.len() as u64;
    }

    fn is_full(&self) -> bool {
        self.end + RECORD.len() as u64 > LOG_BYTES
    }
}

/// The whole of a log file as memory.
struct Map {
    start: NonNull<u8>,
    end: usize,
}

impl Map {
    fn new(log: &Log) -> Map {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the address is the kernel's choice, so nothing else is mapped there.
        let start = unsafe {
            mmap(ptr::null_mut(), LOG_BYTES as usize, protection, flags, &log.file, 0).unwrap()
        };
        Map { start: NonNull::new(start.cast()).unwrap(), end: 0 }
    }

    fn append(&mut self) {
        assert!(self.end + RECORD.len() <= LOG_BYTES as usize);
        // SAFETY: the assertion keeps the copy inside the map, and nobody else looks there.
        unsafe {
            let end = self.start.add(self.end);
            end.copy_from_nonoverlapping(NonNull::from(&RECORD).cast(), RECORD.len());
        }
        self.end += RECORD.len();
    }

    fn is_full(&self) -> bool {
        self.end + RECORD.len() > LOG_BYTES as usize
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is the map that `new` made, and it is used no more.
        unsafe { munmap(self.start.as_ptr().cast(), LOG_BYTES as usize).unwrap() }
    }
}

/// Times appends by a call; what happens between two logs is not counted.
fn time_calls(iterations: u64, log: MakeLog, after: fn(&Log)) -> Duration {
    let (mut time, mut done) = (Duration::ZERO, 0);
    while done < iterations {
        let mut log = log();
        let start = Instant::now();
        while done < iterations && !log.is_full() {
            log.append();
            after(&log);
            done += 1;
        }
        time += start.elapsed();
    }
    time
}

fn time_copies(iterations: u64, log: MakeLog) -> Duration {
    let (mut time, mut done) = (Duration::ZERO, 0);
    while done < iterations {
        let log = log();
        let mut map = Map::new(&log);
        let start = Instant::now();
        while done < iterations && !map.is_full() {
            map.append();
            done += 1;
        }
        time += start.elapsed();
    }
    time
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.sample_size(20);
    let logs: [(&str, MakeLog); 3] = [
        ("growing", Log::growing),
        ("preallocated", Log::preallocated),
        ("overwritten", Log::overwritten),
    ];
    for (name, log) in logs {
        group.bench_function(format!("call/{name}"), |bencher| {
            bencher.iter_custom(|iterations| time_calls(iterations, log, |_| ()));
        });
        group.bench_function(format!("call_and_sync/{name}"), |bencher| {
            let sync = |log: &Log| log.file.sync_data().unwrap();
            bencher.iter_custom(|iterations| time_calls(iterations, log, sync));
        });
    }
    for (name, log) in &logs[1..] {
        group.bench_function(format!("map/{name}"), |bencher| {
            bencher.iter_custom(|iterations| time_copies(iterations, *log));
        });
    }
}

/// Fills a file with bytes that are not all alike, and makes them durable.
fn fill_file(file: &File, bytes: u64) {
    let chunk: Vec<u8> = (0..1 << 20).map(|at: u32| ((at * 37) >> 5).to_le_bytes()[0]).collect();
    for offset in (0..bytes).step_by(chunk.len()) {
        file.write_all_at(&chunk, offset).unwrap();
    }
    file.sync_all().unwrap();
}

/// The next multiple of `bytes` below the file's length, drawn at random.
fn draw_offset(random: &mut u64, bytes: u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*random >> 33) % (DATA_BYTES / bytes) * bytes
}

/// Times reads alone; `before` each, uncounted, the page is prepared.
fn bench_read(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, file: &File, advice: Advice) {
    let mut random = 1;
    for bytes in [4 << 10, 8 << 10, 16 << 10] {
        let mut page = vec![0; bytes];
        let bytes = bytes as u64;
        group.bench_function(format!("{name}/{}_kib", bytes >> 10), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for _ in 0..iterations {
                    let offset = draw_offset(&mut random, bytes);
                    fadvise(file, offset, NonZeroU64::new(bytes), advice).unwrap();
                    let start = Instant::now();
                    file.read_exact_at(black_box(&mut page), offset).unwrap();
                    time += start.elapsed();
                }
                time
            });
        });
    }
}

fn read(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    fill_file(&file, DATA_BYTES);
    let mut group = criterion.benchmark_group("read");
    // Everything is in the kernel's cache from the writing; the advice `Normal` changes nothing.
    bench_read(&mut group, "warm", &file, Advice::Normal);
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    bench_read(&mut group, "cold", &file, Advice::DontNeed);
    fadvise(&file, 0, None, Advice::Random).unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    bench_read(&mut group, "cold_no_read_ahead", &file, Advice::DontNeed);
}

criterion_group!(benches, append, read);
criterion_main!(benches);
