//! A filter: which keys a segment cannot hold.
//!
//! ```text
//! hash     |  high bits: which line   |  low 48 bits: 8 x 6, which bit of each word  |
//!
//! line     | word 0 | word 1 | ... | word 7 |      64 bytes, one cache line, 8 bits set per key
//!
//! image    line count u32 | lines, 8 x u64 each
//! ```
//!
//! A blocked Bloom filter: all bits of a key lie in one line, so that a question costs one cache
//! miss. Each word of the line takes one bit, so that the question is a comparison without
//! branches.
//!
//! Invariants:
//! 1. there is at least one line;
//! 2. a key whose hash was given to [`Filter::build`] may be contained; of others, as few may be as
//!    the bits allow that were spent on each key.

use crate::checksum::checksum;
use crate::codec::{Decoder, Encode};
use crate::error::Corruption;

/// How many filter bits are spent on each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBits(usize);

impl KeyBits {
    /// For the leaves, which have most of the keys: about 1 % of the misses get through.
    pub const LEAF: KeyBits = KeyBits(10);
    /// For what waits in buffers: about 0.1 %. A read asks several of these filters and one of a
    /// leaf, and they have a tenth of the keys, so that bits are best spent here (Monkey, Dayan et
    /// al., SIGMOD 2017).
    pub const BUFFER: KeyBits = KeyBits(16);

    /// How many bytes so many keys take.
    pub fn bytes(self, keys: usize) -> usize {
        (keys * self.0).div_ceil(LINE_BITS).max(1) * LINE_BYTES
    }
}

/// Bits in a line.
const LINE_BITS: usize = 512;
/// Bytes of a line.
const LINE_BYTES: usize = LINE_BITS / 8;

/// One cache line of the filter, aligned so that it really is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Line([u64; 8]);

/// Says of a key that it is certainly absent, or that it may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    lines: Box<[Line]>,
}

impl Filter {
    /// The hash by which keys are known to filters.
    pub fn hash(key: &[u8]) -> u64 {
        checksum(0, key)
    }

    /// A filter for the keys with these hashes.
    pub fn build(hashes: &[u64], bits: KeyBits) -> Filter {
        let count = bits.bytes(hashes.len()) / LINE_BYTES;
        let mut lines = vec![Line::default(); count];
        for hash in hashes {
            if let Some(line) = lines.get_mut(line_index(*hash, count)) {
                for (word, mask) in line.0.iter_mut().zip(masks(*hash)) {
                    *word |= mask;
                }
            }
        }
        Filter { lines: lines.into_boxed_slice() }
    }

    /// Whether a key with this hash may be contained.
    pub fn may_contain(&self, hash: u64) -> bool {
        let line = self.lines.get(line_index(hash, self.lines.len()));
        line.is_some_and(|line| {
            let words = line.0.iter().zip(masks(hash));
            words.fold(0, |missing, (word, mask)| missing | (mask & !word)) == 0
        })
    }

    /// The memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Filter>() + self.lines.len() * LINE_BYTES
    }

    /// Appends the filter's image.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(4 + self.lines.len() * LINE_BYTES);
        out.put_u32(u32::try_from(self.lines.len()).expect("no filter reaches 256 GiB"));
        for word in self.lines.iter().flat_map(|line| line.0) {
            out.put_u64(word);
        }
    }

    /// Reads an image.
    pub fn decode(image: &[u8]) -> Result<Filter, Corruption> {
        let mut decoder = Decoder::new("filter", image);
        let count = decoder.u32()? as usize;
        if count == 0 || count.checked_mul(LINE_BYTES) != Some(decoder.remaining()) {
            return Err(decoder.broken("the count of lines differs from its length"));
        }
        let mut lines = vec![Line::default(); count];
        for word in lines.iter_mut().flat_map(|line| &mut line.0) {
            *word = decoder.u64()?;
        }
        decoder.finish()?;
        Ok(Filter { lines: lines.into_boxed_slice() })
    }
}

/// Scales the hash, as a fraction of 2^64, to the count of lines; so the high bits decide.
#[expect(clippy::cast_possible_truncation, reason = "the product's high half is below `lines`")]
fn line_index(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

/// The bit that a key sets in each word of its line.
fn masks(hash: u64) -> [u64; 8] {
    [0, 6, 12, 18, 24, 30, 36, 42].map(|shift| 1 << ((hash >> shift) & 63))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hash(number: u64) -> u64 {
        Filter::hash(&number.to_be_bytes())
    }

    fn build_with(keys: u64, bits: KeyBits) -> Filter {
        Filter::build(&(0..keys).map(hash).collect::<Vec<_>>(), bits)
    }

    fn build(keys: u64) -> Filter {
        build_with(keys, KeyBits::LEAF)
    }

    #[test]
    fn no_key_is_lost() {
        for keys in [1, 2, 50, 1_800, 100_000] {
            let filter = build(keys);
            assert!((0..keys).all(|key| filter.may_contain(hash(key))));
        }
    }

    #[test]
    fn few_absent_keys_pass() {
        for (bits, most) in [(KeyBits::LEAF, 3_000), (KeyBits::BUFFER, 300)] {
            for keys in [1_800, 20_000, 300_000] {
                let filter = build_with(keys, bits);
                let passed =
                    (keys..keys + 200_000).filter(|key| filter.may_contain(hash(*key))).count();
                assert!(passed < most, "{passed} of 200000 with {keys} keys and {bits:?}");
            }
        }
    }

    #[test]
    fn an_empty_filter_contains_nothing() {
        assert!(!build(0).may_contain(hash(7)));
    }

    #[test]
    fn memory_is_about_ten_bits_a_key() {
        let bits = build(10_000).bytes() * 8 / 10_000;
        assert!((10..=11).contains(&bits), "{bits}");
    }

    #[test]
    fn lengths_that_differ_are_refused() {
        let mut image = Vec::new();
        build(100).encode(&mut image);
        assert!(Filter::decode(&image).is_ok());
        image.push(0);
        assert!(Filter::decode(&image).is_err());
        assert!(Filter::decode(&[0; 4]).is_err());
        assert!(Filter::decode(&[255; 4]).is_err());
    }

    proptest! {
        #[test]
        fn images_round_trip(keys in 0u64..2_000) {
            let filter = build(keys);
            let mut image = Vec::new();
            filter.encode(&mut image);
            prop_assert_eq!(Filter::decode(&image), Ok(filter));
        }

        #[test]
        fn any_bytes_decode_or_fail(image in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Filter::decode(&image);
        }
    }
}
