//! `load` and `sequential`: rows one by one into an empty store that outgrows its cache, in random
//! or in ascending order of their keys.

use super::changed::Puts;
use super::verify::verify_all;
use crate::Result;
use crate::bench::{Bench, Writes};
use crate::job::Workload;
use crate::row::ROW_BYTES;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let store = bench.open()?;
    let calls = bench.job.sizes.rows;
    let mut puts = Puts::new(bench.rows, calls);
    let (bytes_per_call, name) = (ROW_BYTES, "insert");
    bench.write(store, Writes { sequence: &mut puts, calls, bytes_per_call, name })?;
    let count = puts.given;
    bench.figures.add("rows", count as f64);
    bench.tell_space(count * ROW_BYTES)?;
    bench.tell_memory();
    // What `load` leaves is read, and then verified, by `scan`.
    if bench.job.workload == Workload::Sequential {
        let (store, rows) = (bench.open()?, bench.rows);
        verify_all(&*store, rows, count, &mut |number, value| {
            number < count && value == rows.value(number)
        })?;
        store.close()?;
    }
    Ok(())
}
