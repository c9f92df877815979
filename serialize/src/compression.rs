//! How the payload of a stored page is compressed.
//!
//! ```text
//! raw bytes --compress--> stored bytes, smaller by at least an eighth; otherwise the raw bytes
//! ```
//!
//! Invariants:
//! 1. decompression gives exactly the announced length or a [`Corruption`];
//! 2. nothing is allocated for a length that the stored bytes cannot expand to.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::error::Corruption;
use crate::page_memory;

/// A way of storing bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Compression {
    /// As they are.
    None,
    /// As one LZ4 block.
    Lz4,
}

impl Compression {
    /// The number that stands for it on disk.
    pub const fn to_raw(self) -> u8 {
        match self {
            Compression::None => 0,
            Compression::Lz4 => 1,
        }
    }

    /// Reads the number back; `None` for one that this version does not know.
    pub const fn from_raw(raw: u8) -> Option<Compression> {
        match raw {
            0 => Some(Compression::None),
            1 => Some(Compression::Lz4),
            _ => None,
        }
    }

    /// Compresses `raw`, unless that would save less than an eighth; says what it did.
    pub fn compress(self, raw: &[u8]) -> (Compression, Cow<'_, [u8]>) {
        match self {
            Compression::None => (Compression::None, Cow::Borrowed(raw)),
            Compression::Lz4 => {
                let stored = lz4_flex::block::compress(raw);
                if stored.len() <= raw.len() - raw.len() / 8 && stored.len() < raw.len() {
                    (Compression::Lz4, Cow::Owned(stored))
                } else {
                    (Compression::None, Cow::Borrowed(raw))
                }
            }
        }
    }

    /// Gets `raw_bytes` bytes, which are a page's, back out of `stored`.
    pub fn decompress(self, stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, Corruption> {
        match self {
            Compression::None if stored.len() == raw_bytes => {
                let mut raw = page_memory::take(raw_bytes);
                raw.extend_from_slice(stored);
                Ok(raw)
            }
            Compression::None => Err(broken("its length differs")),
            Compression::Lz4 => decompress_lz4(stored, raw_bytes),
        }
    }
}

fn decompress_lz4(stored: &[u8], raw_bytes: usize) -> Result<Vec<u8>, Corruption> {
    // An LZ4 byte stands for at most 255 others, apart from a short beginning and end.
    if raw_bytes > stored.len().saturating_mul(255).saturating_add(64) {
        return Err(broken("it announces more than it can expand to"));
    }
    let mut raw = page_memory::take_filled(raw_bytes);
    match lz4_flex::block::decompress_into(stored, &mut raw) {
        Ok(length) if length == raw_bytes => Ok(raw),
        Ok(_) => Err(broken("its length differs")),
        Err(_) => Err(broken("it does not decompress")),
    }
}

fn broken(rule: &'static str) -> Corruption {
    Corruption::new("compressed block", 0, rule)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_shrink_stays_raw() {
        let raw: Vec<u8> = (0..=255).collect();
        assert_eq!(Compression::Lz4.compress(&raw), (Compression::None, Cow::Borrowed(&raw[..])));
        assert_eq!(Compression::Lz4.compress(&[]), (Compression::None, Cow::Borrowed(&[][..])));
    }

    #[test]
    fn what_shrinks_is_compressed() {
        let raw = vec![7; 10_000];
        let (compression, stored) = Compression::Lz4.compress(&raw);
        assert_eq!(compression, Compression::Lz4);
        assert!(stored.len() < 100);
        assert_eq!(compression.decompress(&stored, raw.len()), Ok(raw));
    }

    #[test]
    fn a_length_beyond_reach_is_refused() {
        let error = Compression::Lz4.decompress(&[0; 10], 1 << 40).unwrap_err();
        assert_eq!(error.rule, "it announces more than it can expand to");
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let raw = vec![7; 1_000];
        let (compression, stored) = Compression::Lz4.compress(&raw);
        assert!(compression.decompress(&stored, 999).is_err());
        assert!(compression.decompress(&stored, 1_001).is_err());
        assert!(Compression::None.decompress(&raw, 999).is_err());
    }

    #[test]
    fn numbers_round_trip() {
        for compression in [Compression::None, Compression::Lz4] {
            assert_eq!(Compression::from_raw(compression.to_raw()), Some(compression));
        }
        assert_eq!(Compression::from_raw(2), None);
    }

    proptest! {
        #[test]
        fn bytes_round_trip(
            raw in prop::collection::vec(0u8..4, 0..3_000),
            preferred in prop::sample::select(vec![Compression::None, Compression::Lz4]),
        ) {
            let (compression, stored) = preferred.compress(&raw);
            prop_assert_eq!(compression.decompress(&stored, raw.len()), Ok(raw));
        }

        #[test]
        fn any_bytes_decompress_or_fail(
            stored in prop::collection::vec(any::<u8>(), 0..400),
            raw_bytes in 0usize..20_000,
        ) {
            let _ = Compression::Lz4.decompress(&stored, raw_bytes);
        }

        #[test]
        fn damaged_blocks_decompress_or_fail(
            raw in prop::collection::vec(0u8..4, 100..3_000),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let (compression, stored) = Compression::Lz4.compress(&raw);
            let mut stored = stored.into_owned();
            *place.get_mut(&mut stored) = byte;
            let _ = compression.decompress(&stored, raw.len());
        }
    }
}
