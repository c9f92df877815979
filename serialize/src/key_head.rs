//! The first bytes of a key as a number, so that most comparisons touch no key.
//!
//! ```text
//! key   user:00041:name          common prefix "user:000"
//! head          41:name\0        the next eight bytes, as a big-endian number
//! ```
//!
//! Invariants:
//! 1. for two keys with the same prefix, `head(a) < head(b)` implies `a < b`; equal heads say
//!    nothing, because short keys are padded with zeros.

use std::sync::Arc;

/// The head of what is left of a key behind the common prefix.
#[inline]
pub fn key_head(rest: &[u8]) -> u64 {
    if let Some(head) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*head);
    }
    let mut padded = [0; 8];
    for (target, source) in padded.iter_mut().zip(rest) {
        *target = *source;
    }
    u64::from_be_bytes(padded)
}

/// How many bytes `a` and `b` share at their start.
#[inline]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(left, right)| left == right).count()
}

/// Where a key stands relative to all keys that begin with some prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// It sorts before all of them.
    Before,
    /// It begins with the prefix too, and this is its head.
    Among(u64),
    /// It sorts behind all of them.
    Behind,
}

/// Compares `key` with the keys that begin with `prefix`.
pub(crate) fn side_of(key: &[u8], prefix: &[u8]) -> Side {
    match key.strip_prefix(prefix) {
        Some(rest) => Side::Among(key_head(rest)),
        None if key < prefix => Side::Before,
        None => Side::Behind,
    }
}

/// The heads of keys that ascend and lie elsewhere, each in its own piece of memory: a search among
/// them touches two or three of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyHeads {
    /// How many bytes all keys share at their start.
    prefix_bytes: usize,
    heads: Arc<[u64]>,
}

impl KeyHeads {
    /// The heads of `count` keys. Where they do not ascend, a search finds anything.
    pub(crate) fn of<'k>(count: usize, key_at: impl Fn(usize) -> &'k [u8]) -> KeyHeads {
        let Some(last) = count.checked_sub(1) else { return KeyHeads::default() };
        let prefix_bytes = common_prefix(key_at(0), key_at(last));
        let rest = |index| key_at(index).get(prefix_bytes..).unwrap_or_default();
        KeyHeads { prefix_bytes, heads: (0..count).map(|index| key_head(rest(index))).collect() }
    }

    /// How many of the keys are not above `key`.
    #[inline]
    pub(crate) fn count_up_to<'k>(&self, key: &[u8], key_at: impl Fn(usize) -> &'k [u8]) -> usize {
        let count = self.heads.len();
        if count == 0 {
            return 0;
        }
        let head = match side_of(key, key_at(0).get(..self.prefix_bytes).unwrap_or_default()) {
            Side::Before => return 0,
            Side::Behind => return count,
            Side::Among(head) => head,
        };
        let mut low = self.heads.partition_point(|other| *other < head);
        let same = self.heads.get(low..).unwrap_or_default();
        let mut high = low + same.partition_point(|other| *other == head);
        while low < high {
            let middle = low.midpoint(high);
            if key_at(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The memory that it takes elsewhere.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.heads)
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail so")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn searching_heads_is_searching_keys(
            prefix in "[ab]{0,10}",
            tails: BTreeSet<Vec<u8>>,
            behind: Vec<u8>,
        ) {
            let long = |tail: &Vec<u8>| [prefix.as_bytes(), tail].concat();
            let keys: Vec<Vec<u8>> = tails.iter().map(long).collect();
            let heads = KeyHeads::of(keys.len(), |index| &keys[index]);
            let others = [behind.clone(), long(&behind), prefix.clone().into_bytes(), Vec::new()];
            for key in keys.iter().chain(&others) {
                let expected = keys.partition_point(|other| other <= key);
                prop_assert_eq!(heads.count_up_to(key, |index| &keys[index]), expected);
            }
        }
    }

    #[test]
    fn heads_order_like_keys() {
        let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0b", b"ab", b"abcdefgh\x01"];
        for pair in keys.windows(2) {
            if let [low, high] = pair {
                assert!(key_head(low) <= key_head(high));
            }
        }
    }

    #[test]
    fn a_key_shorter_than_the_prefix_stands_before() {
        assert_eq!(side_of(b"ab", b"abc"), Side::Before);
        assert_eq!(side_of(b"abd", b"abc"), Side::Behind);
        assert_eq!(side_of(b"abc", b"abc"), Side::Among(0));
        assert_eq!(side_of(b"", b""), Side::Among(0));
    }
}
