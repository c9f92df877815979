//! `counters`: each operation adds to one of many counters, drawn at random.

use super::verify::verify_all;
use crate::Result;
use crate::bench::{Bench, Writes};
use crate::row::{Draws, KEY_BYTES, Rows};
use crate::script::Sequence;
use crate::store::{Operation, counter};

/// A counter is added to so many times, on average.
const ADDS_PER_COUNTER: u64 = 2;
const COUNTER_BYTES: u64 = KEY_BYTES as u64 + 8;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let store = bench.open()?;
    let calls = bench.job.sizes.rows;
    let counters = (calls / ADDS_PER_COUNTER).max(1);
    let mut adds = Adds::new(bench.rows, bench.job.sizes.seed, counters, calls);
    let (bytes_per_call, name) = (COUNTER_BYTES, "add");
    let done = bench.write(store, Writes { sequence: &mut adds, calls, bytes_per_call, name })?;
    bench.tell_memory();

    let mut sums = vec![0_u64; usize::try_from(counters)?];
    let mut again = Adds::new(bench.rows, bench.job.sizes.seed, counters, calls);
    for _ in 0..done.latencies.calls() {
        let (number, amount) = again.draw();
        sums[usize::try_from(number)?] += amount;
    }
    let used = sums.iter().filter(|sum| **sum > 0).count() as u64;
    bench.tell_space(used * COUNTER_BYTES)?;
    bench.begin("verify")?;
    let store = bench.open()?;
    verify_all(&*store, bench.rows, used, &mut |number, value| {
        let sum = usize::try_from(number).ok().and_then(|number| sums.get(number));
        sum.is_some_and(|sum| counter(value).is_ok_and(|value| value == *sum))
    })?;
    store.close()
}

struct Adds {
    rows: Rows,
    draws: Draws,
    counters: u64,
    left: u64,
}

impl Adds {
    fn new(rows: Rows, seed: u64, counters: u64, calls: u64) -> Adds {
        Adds { rows, draws: Draws::new(seed ^ 5), counters, left: calls }
    }

    fn draw(&mut self) -> (u64, u64) {
        (self.draws.below(self.counters), 1 + self.draws.below(9))
    }
}

impl Sequence for Adds {
    fn next(&mut self) -> Option<Operation> {
        self.left = self.left.checked_sub(1)?;
        let (number, amount) = self.draw();
        Some(Operation::Add(self.rows.key(number), amount))
    }
}
