//! `cached`: reads of a store that fits into the cache, in three states.
//!
//! ```text
//! fresh      right after the load, wherever the rows then are
//! drained    when the engine has come to rest
//! reopened   closed, opened, and read once from end to end
//! ```

use super::changed::Puts;
use super::reads::{Contents, Subject};
use crate::Result;
use crate::bench::Bench;
use crate::store::{Direction, Store};

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let (rows, count) = (bench.rows, bench.job.sizes.cached_rows);
    let value = |number| Some(rows.value(number));
    let contents = Contents { value: &value, numbers: count, count };

    let mut store = bench.open()?;
    let mut puts = Puts::new(rows, count);
    bench.run(&mut *store, &mut puts, count, "load")?;
    if puts.given < count {
        return Err(format!("only {} of {count} rows were loaded in time", puts.given).into());
    }
    measure(bench, &*store, &contents, "fresh_")?;
    store.drain()?;
    measure(bench, &*store, &contents, "drained_")?;
    store.close()?;

    let store = bench.open()?;
    Subject { store: &*store, contents: &contents, prefix: "" }.verify(bench)?;
    measure(bench, &*store, &contents, "reopened_")?;
    store.close()
}

fn measure(
    bench: &mut Bench<'_>,
    store: &dyn Store,
    contents: &Contents<'_>,
    prefix: &str,
) -> Result<()> {
    let subject = Subject { store, contents, prefix };
    subject.hits(bench)?;
    subject.misses(bench)?;
    for direction in [Direction::Forward, Direction::Backward] {
        subject.short_scans(direction, bench)?;
        subject.full_scan(direction, bench)?;
    }
    Ok(())
}
