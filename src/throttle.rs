//! Backpressure: what is owed becomes a delay, smoothly, before it becomes a stop.
//!
//! ```text
//! pressure   0 ......... 0.5 ................ 1.0
//! delay      none         |  grows with the square | wait for the oldest spill
//! ```
//!
//! What is large beside the budget also waits until the rest of memory has room for it, and writes
//! out what is in its way.
//!
//! The pressure is how full the memtables are that wait to be spilled: those are what background
//! work has to take over. The delay is owed per byte and paid in sleeps of two milliseconds and
//! more, so that hardly any write sees one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sapwood_cachetable::Cachetable;
use sapwood_flusher::Outcome;

use crate::config::Background;
use crate::engine::{Engine, SEALED_MAX};
use crate::error::{Error, Kind, Result};

/// A sleep is not shorter than this. Measured: with one millisecond nearly one insert of a thousand
/// slept at full speed, and showed in p99.9 (116 us; 76 with two, and a shorter tail).
const NAP: Duration = Duration::from_millis(2);

/// Nor longer: what is owed beyond it is forgiven.
const NAP_MOST: Duration = Duration::from_millis(10);

/// How many buckets the histogram of delays has: bucket `n` counts delays below 2^n microseconds.
pub(crate) const BUCKETS: usize = 24;

/// Delays owed and paid.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    owed_nanos: AtomicU64,
    histogram: [AtomicU64; BUCKETS],
}

impl Throttle {
    /// Adds to what is owed; returns a sleep when it is worth one.
    fn owe(&self, nanos: u64) -> Option<Duration> {
        let owed = self.owed_nanos.fetch_add(nanos, Ordering::Relaxed) + nanos;
        if Duration::from_nanos(owed) < NAP {
            return None;
        }
        let paid = Duration::from_nanos(self.owed_nanos.swap(0, Ordering::Relaxed));
        (paid > Duration::ZERO).then(|| paid.min(NAP_MOST))
    }

    /// Notes that a writer was delayed by `time`.
    fn note(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = (64 - micros.leading_zeros() as usize).min(BUCKETS - 1);
        if let Some(count) = self.histogram.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many delays fell below 2^n microseconds, and not below 2^(n-1), for each n.
    pub(crate) fn histogram(&self) -> Vec<u64> {
        self.histogram.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// The delay for one byte at `pressure`, in nanoseconds: none up to one half, then the square of
/// the rest, up to `most` when nothing is left.
fn delay_per_byte(pressure: f64, most: f64) -> f64 {
    let over = (pressure - 0.5).clamp(0.0, 0.5) * 2.0;
    over * over * most
}

/// The sealed generations and the active one.
const GENERATIONS: f64 = SEALED_MAX as f64 + 1.0;

/// At full pressure writers get 4 MB/s together: slower than any disk, so that it always relieves.
const NANOS_PER_BYTE_MAX: f64 = 250.0;

impl Engine {
    /// Lets a writer of `bytes` in: refuses what can never fit, delays what would be too much.
    pub(crate) fn admit(&self, bytes: u64) -> Result<()> {
        self.check_writable()?;
        self.idle.yield_to_writer();
        let most = self.batch_bytes_max();
        if bytes > most {
            return Err(Error::new(Kind::BatchTooLarge { bytes, most }));
        }
        let pressure = self.pressure_with(bytes);
        if pressure >= 1.0 {
            self.wait_for_room(bytes)?;
        }
        if bytes > self.table.budget().large() {
            self.write_out_for(bytes)?;
        }
        if !(0.5..1.0).contains(&pressure) {
            return Ok(());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small, positive"
        )]
        let nanos = (delay_per_byte(pressure, NANOS_PER_BYTE_MAX) * bytes as f64) as u64;
        if self.background == Background::Manual {
            return Ok(());
        }
        if let Some(nap) = self.throttle.owe(nanos) {
            self.throttle.note(nap);
            self.table.storage().sleep(nap);
        }
        Ok(())
    }

    /// How full the generations are: 1 when the active one is full and none more may be sealed.
    pub(crate) fn pressure(&self) -> f64 {
        self.pressure_with(0)
    }

    /// The same with `incoming` bytes. A generation that large batches have filled several times
    /// over counts as that many, and so does the batch that comes next: else three generations
    /// could be three times what memory they were meant to take.
    fn pressure_with(&self, incoming: u64) -> f64 {
        let view = self.views.load();
        let most = self.table.budget().memtable();
        let active = view.active.memtable.fullness(most).min(1.0);
        if view.sealed.is_empty() {
            return active / GENERATIONS;
        }
        let fills = view.sealed.iter().map(|sealed| sealed.memtable.fullness(most));
        let sealed: f64 = fills.map(|fill| fill.floor().max(1.0)).sum();
        (sealed + active + (incoming / most) as f64) / GENERATIONS
    }

    /// Waits until `incoming` bytes have room; does the work itself in manual mode. A large batch
    /// waits for what was sealed when it came, not for what others seal meanwhile: they could keep
    /// it out for ever.
    fn wait_for_room(&self, incoming: u64) -> Result<()> {
        let start = self.table.now();
        let newer = self.views.load().active.id;
        let is_full = || {
            let has_older = self.views.load().sealed.first().is_some_and(|first| first.id < newer);
            self.pressure_with(if has_older { incoming } else { 0 }) >= 1.0
        };
        while is_full() {
            self.check_open()?;
            self.table.poison().check()?;
            if self.background == Background::Manual {
                self.relieve()?;
            } else {
                let seen = self.bell.count();
                self.check_met()?;
                if is_full() {
                    self.bell.wait_since(seen, Duration::from_millis(10));
                }
            }
        }
        self.throttle.note(self.table.now().saturating_sub(start));
        Ok(())
    }

    /// Sees to room for what is large beside the budget: the writer itself writes out what jobs
    /// have built and not written yet, else that would come on top of all that is there.
    fn write_out_for(&self, bytes: u64) -> Result<()> {
        let (start, _open) = (self.table.now(), self.enter_open()?);
        let _on_its_way = self.table.on_its_way(usize::try_from(bytes).unwrap_or(usize::MAX));
        if !self.table.make_room() {
            match self.guarded(|| self.table.make_room_by_writing()) {
                // The disk is full, which the log will tell if that has no room either.
                Err(fault) if fault.is_retryable() => {}
                made => made?,
            }
            self.throttle.note(self.table.now().saturating_sub(start));
        }
        Ok(())
    }

    /// In manual mode: steps until a generation has left. When nothing moves any more, a spill goes
    /// ahead whatever the trees look like.
    pub(crate) fn relieve(&self) -> Result<()> {
        if self.step()? == Outcome::Done {
            return Ok(());
        }
        if self.guarded(|| self.spill_oldest())? == Outcome::Busy {
            // Another thread spills; it rings when it is done.
            self.bell.wait(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The largest value.
    pub(crate) fn value_bytes_max(&self) -> usize {
        value_bytes_max(&self.table)
    }

    /// The largest batch, encoded.
    pub(crate) fn batch_bytes_max(&self) -> u64 {
        (self.table.budget().total / 4).clamp(64 << 10, 2 << 30)
    }
}

/// The largest value of a database over `table`.
pub(crate) fn value_bytes_max(table: &Cachetable) -> usize {
    let share = usize::try_from(table.budget().total / 8).unwrap_or(usize::MAX);
    share.min(sapwood_serialize::VALUE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::config::Config;

    /// The process peaked at 2.1 times its cache: each of three memtables took as many large
    /// batches as came before it was sealed.
    #[test]
    fn large_batches_wait_until_those_before_have_left_memory() {
        let cache: usize = 8 << 20;
        let db = Config::in_memory()
            .cache_bytes(cache as u64)
            .background(Background::Manual)
            .open()
            .unwrap();
        let tree = db.tree("t").unwrap();
        let engine = db.engine();
        for number in 0..8_u32 {
            let mut batch = db.batch();
            for row in 0..1900_u32 {
                let key = [row.to_be_bytes(), number.to_be_bytes()].concat();
                batch.insert(&tree, &key, [7; 1000]);
            }
            batch.commit(crate::Durability::Buffered).unwrap();
            let view = engine.views.load();
            let sealed = view.sealed.iter().map(|sealed| sealed.memtable.bytes());
            let bytes = sealed.sum::<usize>() + view.active.memtable.bytes();
            assert!(bytes < cache / 2, "{bytes} bytes after batch {number}");
        }
    }

    #[test]
    fn small_writes_do_not_keep_a_large_batch_out() {
        let db = Config::in_memory().cache_bytes(8 << 20).open().unwrap();
        let tree = db.tree("t").unwrap();
        let (stop, (small, few)) = (AtomicBool::new(false), (&[7; 100], 1800_u32));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut numbers =
                    (0_u64..).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                while !stop.load(Ordering::Relaxed) {
                    tree.insert(numbers.next().unwrap().to_be_bytes(), small).unwrap();
                }
            });
            for number in 0..6_u32 {
                let mut batch = db.batch();
                for row in 0..few {
                    let key = format!("row {row} of batch {number}");
                    batch.insert(&tree, key, [7; 1000]);
                }
                batch.commit(crate::Durability::Buffered).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let of_batches = tree.keys().filter(|key| key.as_ref().is_ok_and(|key| key.len() > 8));
        assert_eq!(of_batches.count(), 6 * few as usize);
    }
}
