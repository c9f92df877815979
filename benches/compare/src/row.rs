//! The rows: each is a function of its number and a seed, so that any can be checked without a
//! copy.
//!
//! ```text
//! key    [ mixed number, 8 bytes | mixed again, 8 bytes ]     looks random, gives the number back
//! value  [ 50 random bytes | 50 dots ]                        half of it compresses away
//! ```
//!
//! Invariants:
//! 1. different numbers have different keys, because [`Rows::number`] undoes [`Rows::key`];
//! 2. so a scan that meets `n` ascending keys of numbers below `n` has met every row exactly once.

pub const KEY_BYTES: usize = 16;
pub const VALUE_BYTES: usize = 100;
/// What a row counts as a user's bytes.
pub const ROW_BYTES: u64 = (KEY_BYTES + VALUE_BYTES) as u64;

pub type Key = [u8; KEY_BYTES];
pub type Value = [u8; VALUE_BYTES];

const FIRST: u64 = 0xd6e8_feb8_6659_fd93;
const SECOND: u64 = 0xa076_1d64_78bd_642f;
const FIRST_INVERSE: u64 = inverse(FIRST);
const SECOND_INVERSE: u64 = inverse(SECOND);

/// All rows of one seed.
#[derive(Clone, Copy)]
pub struct Rows {
    seed: u64,
}

impl Rows {
    pub fn new(seed: u64) -> Rows {
        Rows { seed: mix(seed ^ SECOND) }
    }

    pub fn key(self, number: u64) -> Key {
        let head = mix(number ^ self.seed);
        let mut key = [0; KEY_BYTES];
        key[..8].copy_from_slice(&head.to_be_bytes());
        key[8..].copy_from_slice(&tail_of(head).to_be_bytes());
        key
    }

    /// The number of the row with this key; `None` when no row has it.
    pub fn number(self, key: &[u8]) -> Option<u64> {
        let (head, tail) = key.split_first_chunk::<8>()?;
        let head = u64::from_be_bytes(*head);
        let is_key = tail == tail_of(head).to_be_bytes();
        is_key.then(|| unmix(head) ^ self.seed)
    }

    pub fn value(self, number: u64) -> Value {
        let mut value = [b'.'; VALUE_BYTES];
        let mut state = mix(number.wrapping_add(self.seed));
        for chunk in value[..VALUE_BYTES / 2].chunks_mut(8) {
            state = mix(state.wrapping_add(FIRST));
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        value
    }

    /// Whether this is the row of its key, and one of the first `rows`.
    pub fn is_row(self, key: &[u8], value: &[u8], rows: u64) -> bool {
        self.number(key).is_some_and(|number| number < rows && value == self.value(number))
    }
}

/// A fixed sequence of numbers that look drawn at random.
pub struct Draws {
    state: u64,
}

impl Draws {
    pub fn new(seed: u64) -> Draws {
        Draws { state: mix(seed ^ FIRST) }
    }

    /// The next number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(SECOND);
        mix(self.state) % end
    }
}

fn tail_of(head: u64) -> u64 {
    mix(head ^ FIRST)
}

/// Maps the 64-bit numbers onto themselves, one to one.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 32)).wrapping_mul(FIRST);
    let number = (number ^ (number >> 32)).wrapping_mul(SECOND);
    number ^ (number >> 32)
}

/// A shift by half the width undoes itself, and an odd factor has an inverse.
fn unmix(number: u64) -> u64 {
    let number = (number ^ (number >> 32)).wrapping_mul(SECOND_INVERSE);
    let number = (number ^ (number >> 32)).wrapping_mul(FIRST_INVERSE);
    number ^ (number >> 32)
}

/// The inverse of an odd number modulo 2^64; each step of Newton's method doubles the right bits.
const fn inverse(odd: u64) -> u64 {
    let (mut guess, mut step) = (odd, 0);
    while step < 6 {
        guess = guess.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(guess)));
        step += 1;
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_number_back() {
        let rows = Rows::new(7);
        for number in (0..10_000).chain([u64::MAX, u64::MAX / 3]) {
            assert_eq!(rows.number(&rows.key(number)), Some(number));
        }
    }

    #[test]
    fn what_is_no_row_is_told_from_one() {
        let rows = Rows::new(7);
        let (key, value) = (rows.key(3), rows.value(3));
        assert!(rows.is_row(&key, &value, 4));
        assert!(!rows.is_row(&key, &value, 3));
        assert!(!rows.is_row(&key, &rows.value(4), 10));
        assert!(!rows.is_row(&key[..15], &value, 4));
        let mut damaged = key;
        damaged[15] ^= 1;
        assert!(!rows.is_row(&damaged, &value, 4));
    }

    #[test]
    fn seeds_give_different_rows() {
        assert_ne!(Rows::new(1).key(0), Rows::new(2).key(0));
        assert_ne!(Rows::new(1).value(0), Rows::new(2).value(0));
    }
}
