//! How the payload of a stored page is compressed.
//!
//! ```text
//! raw bytes --compress--> stored bytes, smaller by at least an eighth; otherwise the raw bytes
//! ```
//!
//! Invariants:
//! 1. decompression gives exactly the announced length or a [`Corruption`];
//! 2. nothing is allocated for a length that the stored bytes cannot expand to.

use std::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use serde::{Deserialize, Serialize};

use crate::codec::Encode;
use crate::error::Corruption;
use crate::memory::Memory;

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

    /// Refuses a length that `stored` cannot have had, before anything so long is allocated.
    pub fn check_length(self, stored: &[u8], raw_bytes: usize) -> Result<(), Corruption> {
        match self {
            Compression::None if stored.len() != raw_bytes => Err(broken("its length differs")),
            // An LZ4 byte stands for at most 255 others, apart from a short beginning and end.
            Compression::Lz4 if raw_bytes > stored.len().saturating_mul(255).saturating_add(64) => {
                Err(broken("it announces more than it can expand to"))
            }
            Compression::None | Compression::Lz4 => Ok(()),
        }
    }

    /// Fills `raw` with what became `stored`; an error when it is shorter or longer.
    pub fn decompress_into(self, stored: &[u8], raw: &mut [u8]) -> Result<(), Corruption> {
        self.check_length(stored, raw.len())?;
        match self {
            Compression::None => {
                raw.copy_from_slice(stored);
                Ok(())
            }
            Compression::Lz4 => match lz4_flex::block::decompress_into(stored, raw) {
                Ok(length) if length == raw.len() => Ok(()),
                Ok(_) => Err(broken("its length differs")),
                Err(_) => Err(broken("it does not decompress")),
            },
        }
    }
}

/// Compresses one payload after the other, with the same table.
#[derive(Default)]
pub struct Compressor(CompressTable);

impl Compressor {
    /// The most room that `raw_bytes` bytes need while they are compressed.
    pub fn room_for(raw_bytes: usize) -> usize {
        get_maximum_output_size(raw_bytes).max(raw_bytes)
    }

    /// Appends `raw` to `out`, compressed as `wanted` unless that would save less than an eighth;
    /// says what it did. What is large has no other copy on its way.
    pub fn compress(&mut self, wanted: Compression, raw: &[u8], out: &mut Memory) -> Compression {
        let saves = |length: usize| length <= raw.len() - raw.len() / 8 && length < raw.len();
        let is_stored = wanted == Compression::Lz4
            && out.append_with(Compressor::room_for(raw.len()), |room| {
                let length = compress_into_with_table(raw, room, &mut self.0);
                let length = length.expect("there is room for what cannot be compressed");
                if saves(length) { (length, true) } else { (0, false) }
            });
        if is_stored {
            return Compression::Lz4;
        }
        out.put(raw);
        Compression::None
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

fn broken(rule: &'static str) -> Corruption {
    Corruption::new("compressed block", 0, rule)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compress(wanted: Compression, raw: &[u8]) -> (Compression, Vec<u8>) {
        let mut stored = Memory::with_room(0);
        let compression = Compressor::default().compress(wanted, raw, &mut stored);
        (compression, stored.to_vec())
    }

    fn decompress(
        compression: Compression,
        stored: &[u8],
        raw_bytes: usize,
    ) -> Result<Vec<u8>, Corruption> {
        let mut raw = vec![0; raw_bytes];
        compression.decompress_into(stored, &mut raw).map(|()| raw)
    }

    #[test]
    fn what_does_not_shrink_stays_raw() {
        let raw: Vec<u8> = (0..=255).collect();
        assert_eq!(compress(Compression::Lz4, &raw), (Compression::None, raw));
        assert_eq!(compress(Compression::Lz4, &[]), (Compression::None, Vec::new()));
    }

    #[test]
    fn what_shrinks_is_compressed() {
        let raw = vec![7; 10_000];
        let (compression, stored) = compress(Compression::Lz4, &raw);
        assert_eq!(compression, Compression::Lz4);
        assert!(stored.len() < 100);
        assert_eq!(decompress(compression, &stored, raw.len()), Ok(raw));
    }

    #[test]
    fn one_compressor_serves_payloads_of_any_size() {
        let mut compressor = Compressor::default();
        let mut out = Memory::with_room(0);
        for length in [100, 8_000, 200_000, 0, 5, 3_000_000, 8_000] {
            let raw: Vec<u8> = (0..length).map(|at: u32| (at / 7) as u8 & 15).collect();
            let start = out.len();
            let compression = compressor.compress(Compression::Lz4, &raw, &mut out);
            assert_eq!(compression == Compression::Lz4, length > 5, "{length}");
            let stored = out.get(start..).unwrap();
            assert_eq!(decompress(compression, stored, raw.len()), Ok(raw));
        }
    }

    #[test]
    fn a_length_beyond_reach_is_refused() {
        let error = Compression::Lz4.check_length(&[0; 10], 1 << 40).unwrap_err();
        assert_eq!(error.rule, "it announces more than it can expand to");
    }

    #[test]
    fn a_wrong_length_is_refused() {
        let raw = vec![7; 1_000];
        let (compression, stored) = compress(Compression::Lz4, &raw);
        assert!(decompress(compression, &stored, 999).is_err());
        assert!(decompress(compression, &stored, 1_001).is_err());
        assert!(decompress(Compression::None, &raw, 999).is_err());
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
            let (compression, stored) = compress(preferred, &raw);
            prop_assert_eq!(decompress(compression, &stored, raw.len()), Ok(raw));
        }

        #[test]
        fn any_bytes_decompress_or_fail(
            stored in prop::collection::vec(any::<u8>(), 0..400),
            raw_bytes in 0usize..20_000,
        ) {
            let _ = decompress(Compression::Lz4, &stored, raw_bytes);
        }

        #[test]
        fn damaged_blocks_decompress_or_fail(
            raw in prop::collection::vec(0u8..4, 100..3_000),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let (compression, mut stored) = compress(Compression::Lz4, &raw);
            *place.get_mut(&mut stored) = byte;
            let _ = decompress(compression, &stored, raw.len());
        }
    }
}
