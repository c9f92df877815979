//! What a read gave: the value, or how many rows in which order.

use std::ops::ControlFlow;

use crate::Result;
use crate::row::{KEY_BYTES, Key};
use crate::store::Direction;

/// The answer to one read. It is filled while the time runs, and judged afterwards.
pub struct Answer {
    /// The value that a point read found.
    pub value: Vec<u8>,
    pub is_found: bool,
    direction: Direction,
    wanted: usize,
    /// The rows that a scan has met.
    pub count: usize,
    pub first: Option<Key>,
    last: Key,
    /// Whether the keys of a scan were keys, each beyond the last one.
    pub is_in_order: bool,
}

impl Answer {
    pub fn new() -> Answer {
        Answer {
            value: Vec::new(),
            is_found: false,
            direction: Direction::Forward,
            wanted: 0,
            count: 0,
            first: None,
            last: [0; KEY_BYTES],
            is_in_order: true,
        }
    }

    /// Takes what a point read finds.
    pub fn take(&mut self, read: impl FnOnce(&mut Vec<u8>) -> Result<bool>) -> Result<()> {
        self.is_found = read(&mut self.value)?;
        Ok(())
    }

    /// Forgets the last scan and waits for up to `wanted` rows.
    pub fn expect(&mut self, direction: Direction, wanted: usize) {
        (self.direction, self.wanted) = (direction, wanted);
        (self.count, self.first, self.is_in_order) = (0, None, true);
    }

    /// Takes a key; breaks when that was the last one wanted.
    pub fn meet(&mut self, key: &[u8]) -> ControlFlow<()> {
        let Ok(key) = Key::try_from(key) else {
            self.is_in_order = false;
            return ControlFlow::Break(());
        };
        if self.first.is_none() {
            self.first = Some(key);
        } else {
            self.is_in_order &= match self.direction {
                Direction::Forward => self.last < key,
                Direction::Backward => self.last > key,
            };
        }
        self.last = key;
        self.count += 1;
        if self.count == self.wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_out_of_order_are_noticed() {
        let mut answer = Answer::new();
        for (direction, keys, is_in_order) in [
            (Direction::Forward, [1, 2, 3], true),
            (Direction::Forward, [1, 3, 2], false),
            (Direction::Backward, [3, 2, 1], true),
            (Direction::Backward, [3, 2, 2], false),
        ] {
            answer.expect(direction, 3);
            let flows = keys.map(|byte| answer.meet(&[byte; KEY_BYTES]));
            assert!(flows[1].is_continue() && flows[2].is_break());
            assert_eq!(answer.is_in_order, is_in_order, "{keys:?}");
            assert_eq!(answer.first, Some([keys[0]; KEY_BYTES]));
        }
        answer.expect(Direction::Forward, 3);
        assert!(answer.meet(b"short").is_break() && !answer.is_in_order);
    }
}
