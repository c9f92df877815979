//! `commits`: rows that are each on the disk before the next one is written, from one thread and
//! from four.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::verify::verify_all;
use crate::Result;
use crate::bench::Bench;
use crate::latencies::Latencies;
use crate::meter::Meter;
use crate::store::{Committer, Store};

const THREADS: [usize; 2] = [1, 4];

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let (store, rows) = (bench.open()?, bench.rows);
    let mut count = 0;
    for threads in THREADS {
        count += commit(bench, &*store, threads, count)?;
    }
    store.close()?;
    bench.begin("verify")?;
    let store = bench.open()?;
    verify_all(&*store, rows, count, &mut |number, value| {
        number < count && value == rows.value(number)
    })?;
    store.close()
}

/// Commits rows with numbers from `first` on; returns how many.
fn commit(bench: &mut Bench<'_>, store: &dyn Store, threads: usize, first: u64) -> Result<u64> {
    let name = format!("threads_{threads}");
    bench.begin(&name)?;
    let committers: Vec<_> = (0..threads).map(|_| store.committer()).collect::<Result<_>>()?;
    let work = Work {
        bench,
        deadline: Instant::now() + bench.seconds_max(),
        next: AtomicU64::new(first),
        end: first + bench.job.sizes.commits,
    };
    let meter = Meter::new();
    let start = meter.read();
    let done: Vec<Result<Latencies>> = thread::scope(|scope| {
        let mut handles = Vec::new();
        for mut committer in committers {
            let work = &work;
            handles.push(scope.spawn(move || work.commit_some(&mut *committer)));
        }
        handles.into_iter().map(|handle| handle.join().map_err(|_| "a writer panicked")?).collect()
    });
    let cost = meter.read().since(start);
    let mut latencies = Latencies::new()?;
    for one in done {
        latencies.merge(&one?)?;
    }
    let calls = latencies.calls();
    if calls < bench.job.sizes.commits {
        bench.note_stop(&name);
    }
    bench.figures.add(format!("{name}_per_s"), calls as f64 / cost.wall.as_secs_f64());
    latencies.tell(&format!("{name}_"), &mut bench.figures);
    let written = cost.device_written as f64 / calls.max(1) as f64;
    bench.figures.add(format!("{name}_device_written_bytes"), written);
    Ok(calls)
}

/// What the threads share.
struct Work<'a> {
    bench: &'a Bench<'a>,
    deadline: Instant,
    next: AtomicU64,
    end: u64,
}

impl Work<'_> {
    /// Takes one number after the other, so that those that were committed have no gap.
    fn commit_some(&self, committer: &mut dyn Committer) -> Result<Latencies> {
        let mut latencies = Latencies::new()?;
        while Instant::now() < self.deadline {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.end {
                break;
            }
            let (key, value) = (self.bench.rows.key(number), self.bench.rows.value(number));
            let start = Instant::now();
            committer.commit(&key, &value)?;
            let latency = start.elapsed();
            latencies.add(latency);
            self.bench.sampler().record(latency);
        }
        Ok(latencies)
    }
}
