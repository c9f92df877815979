//! `overwrite`: rows of a store at rest are written over at random, until each was three times on
//! average; what counts is how rate and space hold.

use super::changed;
use super::reads::{Contents, Subject};
use crate::Result;
use crate::bench::{Bench, Writes};
use crate::row::{Draws, ROW_BYTES, Rows};
use crate::script::Sequence;
use crate::store::Operation;

const TIMES: u64 = 3;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let store = changed::set_up(bench)?;
    let count = bench.job.sizes.changed_rows;
    let calls = count * TIMES;
    let mut sequence = Overwrites::new(bench.rows, bench.job.sizes.seed, count, calls);
    let (bytes_per_call, name) = (ROW_BYTES, "overwrite");
    let done =
        bench.write(store, Writes { sequence: &mut sequence, calls, bytes_per_call, name })?;
    bench.tell_space(count * ROW_BYTES)?;
    bench.tell_memory();

    let mut versions = vec![0_u32; usize::try_from(count)?];
    let mut again = Overwrites::new(bench.rows, bench.job.sizes.seed, count, calls);
    for version in 1..=done.latencies.calls() {
        versions[usize::try_from(again.draws.below(count))?] = u32::try_from(version)?;
    }
    let rows = bench.rows;
    let value = |number: u64| Some(rows.version(number, u64::from(versions[number as usize])));
    let contents = Contents { value: &value, numbers: count, count };
    let store = bench.open_cold()?;
    let subject = Subject { store: &*store, contents: &contents, prefix: "after_" };
    subject.hits(bench)?;
    subject.verify(bench)?;
    store.close()
}

struct Overwrites {
    rows: Rows,
    draws: Draws,
    count: u64,
    version: u64,
    calls: u64,
}

impl Overwrites {
    fn new(rows: Rows, seed: u64, count: u64, calls: u64) -> Overwrites {
        Overwrites { rows, draws: Draws::new(seed ^ 6), count, version: 0, calls }
    }
}

impl Sequence for Overwrites {
    fn next(&mut self) -> Option<Operation> {
        if self.version == self.calls {
            return None;
        }
        self.version += 1;
        let number = self.draws.below(self.count);
        Some(Operation::Put(self.rows.key(number), self.rows.version(number, self.version)))
    }
}
