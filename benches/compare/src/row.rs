//! The rows: each is a function of its number and a seed, so that any can be checked without a
//! copy.
//!
//! ```text
//! key    [ head, 8 bytes | mixed head, 8 bytes ]    the head is the number, mixed if scattered
//! value  [ 50 random bytes | 50 dots ]              of a number and a version; half of it
//!                                                   compresses away
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

/// In which order keys lie that have ascending numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Scattered,
    Ascending,
}

/// All rows of one seed.
#[derive(Clone, Copy)]
pub struct Rows {
    seed: u64,
    layout: Layout,
}

impl Rows {
    pub fn new(seed: u64, layout: Layout) -> Rows {
        Rows { seed: mix(seed ^ SECOND), layout }
    }

    pub fn key(self, number: u64) -> Key {
        key_of(self.head(number))
    }

    /// The first 8 bytes of a key, by which keys are ordered.
    pub fn head(self, number: u64) -> u64 {
        match self.layout {
            Layout::Scattered => mix(number ^ self.seed),
            Layout::Ascending => number,
        }
    }

    /// The number of the row whose key begins so.
    pub fn number_of_head(self, head: u64) -> u64 {
        match self.layout {
            Layout::Scattered => unmix(head) ^ self.seed,
            Layout::Ascending => head,
        }
    }

    /// The number of the row with this key; `None` when no row has it.
    pub fn number(self, key: &[u8]) -> Option<u64> {
        let (head, tail) = key.split_first_chunk::<8>()?;
        let head = u64::from_be_bytes(*head);
        let is_key = tail == tail_of(head).to_be_bytes();
        is_key.then(|| self.number_of_head(head))
    }

    /// What is first stored for a row.
    pub fn value(self, number: u64) -> Value {
        self.version(number, 0)
    }

    /// What is stored for a row that was written over; version 0 is the first one.
    pub fn version(self, number: u64, version: u64) -> Value {
        let mut value = [b'.'; VALUE_BYTES];
        let mut state = mix(number.wrapping_add(self.seed) ^ mix(version));
        for chunk in value[..VALUE_BYTES / 2].chunks_mut(8) {
            state = mix(state.wrapping_add(FIRST));
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        value
    }
}

/// The key that begins with these 8 bytes.
pub fn key_of(head: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&head.to_be_bytes());
    key[8..].copy_from_slice(&tail_of(head).to_be_bytes());
    key
}

/// A key not above any that begins with these 8 bytes.
pub fn key_before(head: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&head.to_be_bytes());
    key
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

    /// The next number from 0 on and below 1.
    pub fn fraction(&mut self) -> f64 {
        // As many bits as a number of this kind holds exactly.
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
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
        for layout in [Layout::Scattered, Layout::Ascending] {
            let rows = Rows::new(7, layout);
            for number in (0..10_000).chain([u64::MAX, u64::MAX / 3]) {
                assert_eq!(rows.number(&rows.key(number)), Some(number));
            }
        }
    }

    #[test]
    fn what_is_no_key_has_no_number() {
        let rows = Rows::new(7, Layout::Scattered);
        let key = rows.key(3);
        assert_eq!(rows.number(&key[..15]), None);
        let mut damaged = key;
        damaged[15] ^= 1;
        assert_eq!(rows.number(&damaged), None);
    }

    #[test]
    fn seeds_and_versions_give_different_rows() {
        let rows = |seed| Rows::new(seed, Layout::Scattered);
        assert_ne!(rows(1).key(0), rows(2).key(0));
        assert_ne!(rows(1).value(0), rows(2).value(0));
        assert_ne!(rows(1).value(0), rows(1).version(0, 1));
        assert_ne!(rows(1).value(0), rows(1).value(1));
    }

    #[test]
    fn ascending_rows_ascend() {
        let rows = Rows::new(7, Layout::Ascending);
        assert!((0..1_000).all(|number| rows.key(number) < rows.key(number + 1)));
        assert!(key_before(5) < rows.key(5) && rows.key(5) < key_before(6));
    }
}
