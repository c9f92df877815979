//! The store that workloads change: some times larger than the cache, loaded in the order of its
//! keys, which every engine does fast, and at rest.

use crate::Result;
use crate::bench::Bench;
use crate::row::{Rows, key_of};
use crate::script::Sequence;
use crate::store::{Operation, Store};

/// Opens a new store and loads `bench.job.sizes.changed_rows` rows.
pub fn set_up(bench: &Bench<'_>) -> Result<Box<dyn Store>> {
    let mut store = bench.open()?;
    let mut sequence = Sorted::new(bench.rows, bench.job.sizes.changed_rows);
    bench.set_up(&mut *store, &mut sequence)?;
    Ok(store)
}

/// Puts of rows in the order of their keys.
struct Sorted {
    rows: Rows,
    heads: std::vec::IntoIter<u64>,
}

impl Sorted {
    fn new(rows: Rows, count: u64) -> Sorted {
        let mut heads: Vec<u64> = (0..count).map(|number| rows.head(number)).collect();
        heads.sort_unstable();
        Sorted { rows, heads: heads.into_iter() }
    }
}

impl Sequence for Sorted {
    fn next(&mut self) -> Option<Operation> {
        let head = self.heads.next()?;
        let value = self.rows.value(self.rows.number_of_head(head));
        Some(Operation::Put(key_of(head), value))
    }
}

/// Puts of rows in the order of their numbers, which is random or ascending as they are laid out.
pub struct Puts {
    rows: Rows,
    pub given: u64,
    wanted: u64,
}

impl Puts {
    pub fn new(rows: Rows, wanted: u64) -> Puts {
        Puts { rows, given: 0, wanted }
    }

    /// Goes on up to so many rows.
    pub fn grow_to(&mut self, wanted: u64) {
        self.wanted = wanted;
    }

    /// How many are still to come.
    pub fn left(&self) -> u64 {
        self.wanted - self.given
    }
}

impl Sequence for Puts {
    fn next(&mut self) -> Option<Operation> {
        let number = self.given;
        if number == self.wanted {
            return None;
        }
        self.given += 1;
        Some(Operation::Put(self.rows.key(number), self.rows.value(number)))
    }
}
