//! What was written to the block file, and the disk has not been told to begin with.
//!
//! A system keeps what it is given in memory, and hands all of it to the disk when a checkpoint
//! asks for a sync: whoever has to read then waits behind that. So the disk is told before long.

use std::collections::BTreeMap;

use sapwood_serialize::Extent;

/// More stretches than this are forgotten, should nobody ask for them: the next sync writes them
/// all the same.
const STRETCHES_MAX: usize = 4096;

/// Stretches of the file. One that was given back and written again may be in two of them.
#[derive(Default)]
pub(crate) struct Untold {
    /// Where each begins, and where it ends.
    stretches: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Untold {
    /// Adds an extent that was written.
    pub(crate) fn add(&mut self, extent: Extent) {
        if self.stretches.len() >= STRETCHES_MAX {
            *self = Untold::default();
        }
        let (mut start, mut end) = (extent.offset, extent.end());
        let before = self.stretches.range(..start).next_back().map(|(start, end)| (*start, *end));
        if let Some((earlier, _)) = before.filter(|(_, its_end)| *its_end == start) {
            self.stretches.remove(&earlier);
            start = earlier;
        }
        if let Some(its_end) = self.stretches.remove(&end) {
            end = its_end;
        }
        self.bytes += extent.bytes;
        self.stretches.insert(start, end);
    }

    /// Takes all of it, as offsets and lengths, if that is `worth` bytes and more.
    pub(crate) fn take(&mut self, worth: u64) -> Vec<(u64, u64)> {
        if self.bytes < worth {
            return Vec::new();
        }
        let taken = std::mem::take(self);
        taken.stretches.into_iter().map(|(start, end)| (start, end - start)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = Extent::UNIT;

    #[test]
    fn stretches_grow_together_in_whatever_order_they_were_written() {
        let mut untold = Untold::default();
        for place in [10, 11, 9, 20, 40, 12, 21] {
            untold.add(Extent { offset: place * UNIT, bytes: UNIT });
        }
        assert_eq!(untold.take(8 * UNIT), [], "that is not worth a call yet");
        let told = [(9, 4), (20, 2), (40, 1)].map(|(at, count)| (at * UNIT, count * UNIT));
        assert_eq!(untold.take(7 * UNIT), told);
        assert_eq!(untold.take(0), []);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut untold = Untold::default();
        for place in 0..3 * STRETCHES_MAX as u64 {
            untold.add(Extent { offset: 2 * place * UNIT, bytes: UNIT });
            assert!(untold.stretches.len() <= STRETCHES_MAX);
        }
    }
}
