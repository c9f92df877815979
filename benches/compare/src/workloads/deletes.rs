//! `deletes`: every second row of a store at rest is removed, in random order of their keys; then
//! what is left, and what is not, is read.

use super::changed;
use super::reads::{Contents, read_what_is_left};
use crate::Result;
use crate::bench::{Bench, Writes};
use crate::row::{KEY_BYTES, ROW_BYTES, Rows};
use crate::script::Sequence;
use crate::store::Operation;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let store = changed::set_up(bench)?;
    let numbers = bench.job.sizes.changed_rows;
    let calls = numbers / 2;
    let mut sequence = Removes { rows: bench.rows, given: 0, calls };
    let (bytes_per_call, name) = (KEY_BYTES as u64, "remove");
    bench.write(store, Writes { sequence: &mut sequence, calls, bytes_per_call, name })?;
    let removed = sequence.given;
    let count = numbers - removed;
    bench.tell_space(count * ROW_BYTES)?;

    let rows = bench.rows;
    let value = |number| {
        let is_removed = number % 2 == 1 && number / 2 < removed;
        (!is_removed).then(|| rows.value(number))
    };
    let contents = Contents { value: &value, numbers, count };
    read_what_is_left(&contents, bench)
}

/// Removes the rows with odd numbers.
struct Removes {
    rows: Rows,
    given: u64,
    calls: u64,
}

impl Sequence for Removes {
    fn next(&mut self) -> Option<Operation> {
        if self.given == self.calls {
            return None;
        }
        self.given += 1;
        Some(Operation::Remove(self.rows.key(self.given * 2 - 1)))
    }
}
