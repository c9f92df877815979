//! The space map on disk: which extents of the block file are in use.
//!
//! ```text
//! entry    gap varint | bytes varint
//! ```
//!
//! Entries stand in the order of their offsets, to the end of the payload, in an envelope
//! ([`blob`]). The gap is the free space since the end of the entry before (since the end of the
//! superblock's slots for the first one); both numbers count [`Extent::UNIT`]s. So no two extents
//! can overlap, whatever the bytes are.
//!
//! Invariants, checked when read:
//! 1. extents ascend, do not overlap, and lie behind the superblock;
//! 2. no extent is empty.
//!
//! [`blob`]: crate::blob

use crate::blob::{BlobKind, open_blob, seal_blob};
use crate::codec::{Decoder, Encode};
use crate::error::Corruption;
use crate::ids::{DatabaseId, Extent};
use crate::superblock::SLOTS_BYTES;

/// Writes the map. The extents ascend and do not overlap.
///
/// # Panics
/// When they do, when one lies in the superblock, is empty or not aligned.
pub fn encode_space_map(
    database: DatabaseId,
    extents: impl IntoIterator<Item = Extent>,
) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut previous_end = SLOTS_BYTES;
    for extent in extents {
        let gap = extent.offset.checked_sub(previous_end).expect("extents do not overlap");
        assert!(extent.bytes > 0);
        assert!(gap.is_multiple_of(Extent::UNIT));
        assert!(extent.bytes.is_multiple_of(Extent::UNIT));
        payload.put_varint(gap / Extent::UNIT);
        payload.put_varint(extent.bytes / Extent::UNIT);
        previous_end = extent.end();
    }
    seal_blob(BlobKind::SpaceMap, database, &payload)
}

/// Reads the map; the extents ascend and do not overlap.
pub fn decode_space_map(database: DatabaseId, sealed: &[u8]) -> Result<Vec<Extent>, Corruption> {
    let payload = open_blob(BlobKind::SpaceMap, database, sealed)?;
    let mut decoder = Decoder::new("space map", payload);
    let mut extents = Vec::new();
    let mut previous_end = SLOTS_BYTES;
    while decoder.remaining() > 0 {
        let start = decoder;
        let gap = decoder.varint()?.checked_mul(Extent::UNIT);
        let offset = gap.and_then(|gap| previous_end.checked_add(gap));
        let bytes = decoder.varint()?.checked_mul(Extent::UNIT);
        let end = offset.zip(bytes).and_then(|(offset, bytes)| offset.checked_add(bytes));
        let (Some(offset), Some(bytes), Some(end)) = (offset, bytes, end) else {
            return Err(start.broken("an extent exceeds 64 bits"));
        };
        if bytes == 0 {
            return Err(start.broken("an extent is empty"));
        }
        extents.push(Extent { offset, bytes });
        previous_end = end;
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{DATABASE, STRANGER};

    fn rule(payload: &[u8]) -> &'static str {
        let sealed = seal_blob(BlobKind::SpaceMap, DATABASE, payload);
        decode_space_map(DATABASE, &sealed).unwrap_err().rule
    }

    #[test]
    fn neighbours_may_touch() {
        let extents = vec![
            Extent { offset: 8192, bytes: 4096 },
            Extent { offset: 12_288, bytes: 8192 },
            Extent { offset: 40_960, bytes: 4096 },
        ];
        let sealed = encode_space_map(DATABASE, extents.clone());
        assert_eq!(decode_space_map(DATABASE, &sealed), Ok(extents));
        assert!(decode_space_map(STRANGER, &sealed).is_err());
    }

    #[test]
    fn extents_are_checked() {
        assert_eq!(rule(&[1, 0]), "an extent is empty");
        assert_eq!(rule(&[1]), "it ends too early");
        let mut payload = vec![1];
        payload.put_varint((1 << 52) - 1);
        assert_eq!(rule(&payload), "an extent exceeds 64 bits");
    }

    #[test]
    #[should_panic(expected = "extents do not overlap")]
    fn overlapping_extents_are_not_written() {
        let extent = Extent { offset: 8192, bytes: 8192 };
        encode_space_map(DATABASE, [extent, Extent { offset: 12_288, ..extent }]);
    }

    proptest! {
        #[test]
        fn maps_round_trip(gaps in prop::collection::vec((0u64..1000, 1u64..1000), 0..50)) {
            let mut end = SLOTS_BYTES;
            let extents = gaps.into_iter().map(|(gap, units)| {
                let extent =
                    Extent { offset: end + gap * Extent::UNIT, bytes: units * Extent::UNIT };
                end = extent.end();
                extent
            });
            let extents: Vec<Extent> = extents.collect();
            let sealed = encode_space_map(DATABASE, extents.clone());
            prop_assert_eq!(decode_space_map(DATABASE, &sealed), Ok(extents));
        }

        #[test]
        fn any_payload_decodes_or_fails(
            payload in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..100),
        ) {
            let sealed = seal_blob(BlobKind::SpaceMap, DATABASE, &payload);
            if let Ok(extents) = decode_space_map(DATABASE, &sealed) {
                prop_assert!(extents.is_sorted_by(|low, high| low.end() <= high.offset));
                prop_assert_eq!(encode_space_map(DATABASE, extents), sealed);
            }
        }
    }
}
