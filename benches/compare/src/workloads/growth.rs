//! `growth`: what a store costs as it outgrows its cache.
//!
//! ```text
//! for 1, 2, 4, 8, 16 times the cache:
//!     open | put rows at random up to that size | rest | close    bytes written since it was empty
//!     open, nothing of it in memory | random reads                bytes read, time to open
//! ```
//!
//! A size that is not reached within the time limit is told of by what it lacks.

use std::time::Instant;

use super::changed::Puts;
use super::reads::{Contents, Subject};
use super::verify::verify_all;
use crate::Result;
use crate::bench::Bench;
use crate::files;
use crate::job::MIB;
use crate::meter::{self, Meter};
use crate::row::ROW_BYTES;

/// The sizes, in units of the cache.
pub const SIZES: [u64; 5] = [1, 2, 4, 8, 16];

/// What the name of a figure begins with that belongs to one size.
pub fn at(size: u64) -> String {
    format!("at_{size}_")
}

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let cache_rows = bench.job.sizes.cache_bytes / ROW_BYTES;
    let (mut puts, meter) = (Puts::new(bench.rows, 0), Meter::new());
    let (start, mut written) = (meter.read(), 0);
    for size in SIZES {
        let before = meter.read().since(start);
        puts.grow_to(size * cache_rows);
        if !grow(bench, &mut puts, size)? {
            break;
        }
        let grown = meter.read().since(start);
        written += grown.device_written - before.device_written;
        let (user_bytes, rows) = ((puts.given * ROW_BYTES) as f64, puts.given as f64);
        let figures = &mut bench.figures;
        figures.add(format!("{}rows", at(size)), rows);
        figures.add(format!("{}written_per_user_byte", at(size)), written as f64 / user_bytes);
        read(bench, &puts, size)?;
    }
    bench.tell_memory();
    let (store, rows, count) = (bench.open()?, bench.rows, puts.given);
    bench.begin("verify")?;
    verify_all(&*store, rows, count, &mut |number, value| {
        number < count && value == rows.value(number)
    })?;
    store.close()
}

/// Puts the rows that are wanted next and lets the engine come to rest; whether there was time.
fn grow(bench: &mut Bench<'_>, puts: &mut Puts, size: u64) -> Result<bool> {
    let mut store = bench.open()?;
    let calls = puts.left();
    let start = Instant::now();
    let done = bench.run(&mut *store, puts, calls, &format!("insert_{size}"))?;
    bench.begin("drain")?;
    let quiet = store.drain()?;
    let per_s =
        done.latencies.calls() as f64 / (start.elapsed().saturating_sub(quiet)).as_secs_f64();
    bench.figures.add(format!("{}drained_per_s", at(size)), per_s);
    let resident = meter::resident_bytes() as f64 / MIB;
    bench.figures.add(format!("{}resident_mib", at(size)), resident);
    bench.begin("close")?;
    store.close()?;
    Ok(!done.is_stopped)
}

/// Opens the store and reads rows of it at random.
fn read(bench: &mut Bench<'_>, puts: &Puts, size: u64) -> Result<()> {
    files::drop_kernel_cache(&bench.job.folder)?;
    let start = Instant::now();
    let store = bench.open()?;
    bench.figures.add(format!("{}open_ms", at(size)), start.elapsed().as_secs_f64() * 1e3);
    let (rows, count) = (bench.rows, puts.given);
    let value = |number| Some(rows.value(number));
    let contents = Contents { value: &value, numbers: count, count };
    Subject { store: &*store, contents: &contents, prefix: &at(size) }.hits(bench)?;
    store.close()
}
