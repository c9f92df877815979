//! `range-deletes`: the key space of a store at rest is cut into slots of some 1000 rows, and every
//! second slot is removed, in random order; then what is left is read.

use super::changed;
use super::reads::{Contents, read_what_is_left};
use crate::Result;
use crate::bench::{Bench, Writes};
use crate::row::{Draws, ROW_BYTES, key_before};
use crate::script::Sequence;
use crate::store::Operation;

const SLOT_ROWS: u64 = 1_000;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let store = changed::set_up(bench)?;
    let numbers = bench.job.sizes.changed_rows;
    let slots = Slots::new(numbers);
    let calls = slots.count / 2;
    let mut sequence = RemoveSlots::new(slots, bench.job.sizes.seed);
    let (bytes_per_call, name) = (0, "remove_range");
    bench.write(store, Writes { sequence: &mut sequence, calls, bytes_per_call, name })?;

    let rows = bench.rows;
    let removed = sequence.removed;
    let value = |number| {
        let slot = slots.slot_of(rows.head(number));
        (!removed[slot as usize]).then(|| rows.value(number))
    };
    let count = (0..numbers).filter(|number| value(*number).is_some()).count() as u64;
    bench.figures.add("removed_rows", (numbers - count) as f64);
    bench.tell_space(count * ROW_BYTES)?;
    let contents = Contents { value: &value, numbers, count };
    read_what_is_left(&contents, bench)
}

/// Equal parts of the key space, at least two.
#[derive(Clone, Copy)]
struct Slots {
    count: u64,
    /// How far the heads of keys reach that lie in one slot.
    width: u64,
}

impl Slots {
    fn new(rows: u64) -> Slots {
        let count = (rows / SLOT_ROWS).max(2);
        Slots { count, width: u64::MAX / count + 1 }
    }

    fn slot_of(self, head: u64) -> u64 {
        head / self.width
    }
}

/// Removes the slots with odd numbers.
struct RemoveSlots {
    slots: Slots,
    order: std::vec::IntoIter<u64>,
    /// By the number of a slot.
    removed: Vec<bool>,
}

impl RemoveSlots {
    fn new(slots: Slots, seed: u64) -> RemoveSlots {
        let mut draws = Draws::new(seed ^ 7);
        let mut order: Vec<u64> = (0..slots.count).filter(|slot| slot % 2 == 1).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, draws.below(index as u64 + 1) as usize);
        }
        let removed = vec![false; slots.count as usize];
        RemoveSlots { slots, order: order.into_iter(), removed }
    }
}

impl Sequence for RemoveSlots {
    fn next(&mut self) -> Option<Operation> {
        let slot = self.order.next()?;
        self.removed[slot as usize] = true;
        let from = slot * self.slots.width;
        // The last slot ends with the key space, and no key has all bits set.
        let to = from.saturating_add(self.slots.width);
        Some(Operation::RemoveRange(key_before(from), key_before(to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Layout, Rows};

    #[test]
    fn a_removed_range_covers_the_keys_of_its_slot() {
        for rows in [0, 3_000, 100_000] {
            let slots = Slots::new(rows);
            let mut sequence = RemoveSlots::new(slots, 1);
            let mut ranges = Vec::new();
            while let Some(Operation::RemoveRange(from, to)) = sequence.next() {
                assert!(from < to);
                ranges.push(from..to);
            }
            assert_eq!(ranges.len() as u64, slots.count / 2);
            let keys = Rows::new(1, Layout::Scattered);
            for number in 0..10_000 {
                let slot = slots.slot_of(keys.head(number));
                let is_covered = ranges.iter().any(|range| range.contains(&keys.key(number)));
                assert_eq!(is_covered, sequence.removed[slot as usize]);
            }
        }
    }
}
