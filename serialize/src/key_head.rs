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

/// The head of what is left of a key behind the common prefix.
pub(crate) fn key_head(rest: &[u8]) -> u64 {
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
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

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
