//! The block table on disk: where the image of each node lies.
//!
//! ```text
//! entry    id gap varint | extent offset varint | extent bytes varint |
//!          bytes varint | checksum u64
//! ```
//!
//! Entries stand in the order of their ids, to the end of the payload, in an envelope ([`blob`]).
//! The gap counts the ids that are skipped since the entry before; the extent's numbers count
//! [`Extent::UNIT`]s.
//!
//! Invariants, checked when read:
//! 1. ids strictly ascend;
//! 2. every extent is not empty, lies behind the superblock, and is no shorter than the image.
//!
//! [`blob`]: crate::blob

use crate::blob::{BlobKind, open_blob, seal_blob};
use crate::codec::{Decoder, Encode};
use crate::error::Corruption;
use crate::ids::{BlockId, DatabaseId, Extent};
use crate::superblock::SLOTS_BYTES;

/// Where the image of one node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePlace {
    /// The extent that it has to itself.
    pub extent: Extent,
    /// Its length within the extent.
    pub bytes: u32,
    /// The checksum of these bytes.
    pub checksum: u64,
}

/// Writes the table. The ids of `entries` strictly ascend.
///
/// # Panics
/// When they do not, or when an extent is not aligned.
pub fn encode_block_table(
    database: DatabaseId,
    entries: impl IntoIterator<Item = (BlockId, NodePlace)>,
) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut least = 0;
    for (id, place) in entries {
        let gap = id.to_raw().checked_sub(least).expect("ids strictly ascend");
        payload.put_varint(gap);
        payload.put_varint(to_units(place.extent.offset));
        payload.put_varint(to_units(place.extent.bytes));
        payload.put_varint(u64::from(place.bytes));
        payload.put_u64(place.checksum);
        least = id.next().to_raw();
    }
    seal_blob(BlobKind::BlockTable, database, &payload)
}

/// Reads the table; the ids strictly ascend.
pub fn decode_block_table(
    database: DatabaseId,
    sealed: &[u8],
) -> Result<Vec<(BlockId, NodePlace)>, Corruption> {
    let payload = open_blob(BlobKind::BlockTable, database, sealed)?;
    let mut decoder = Decoder::new("block table", payload);
    let mut entries = Vec::new();
    let mut least = Some(0);
    while decoder.remaining() > 0 {
        let (id, place) = read_entry(&mut decoder, least)?;
        least = id.checked_add(1);
        entries.push((BlockId::from_raw(id), place));
    }
    Ok(entries)
}

fn read_entry(
    decoder: &mut Decoder<'_>,
    least: Option<u64>,
) -> Result<(u64, NodePlace), Corruption> {
    let start = *decoder;
    let gap = decoder.varint()?;
    let id = least.and_then(|least| least.checked_add(gap));
    let id = id.ok_or_else(|| start.broken("an id exceeds 64 bits"))?;
    let offset = decoder.varint()?.checked_mul(Extent::UNIT);
    let bytes = decoder.varint()?.checked_mul(Extent::UNIT);
    let extent = offset
        .zip(bytes)
        .and_then(|(offset, bytes)| offset.checked_add(bytes).map(|_| Extent { offset, bytes }));
    let extent = extent.ok_or_else(|| start.broken("an extent exceeds 64 bits"))?;
    let bytes = u32::try_from(decoder.varint()?);
    let bytes = bytes.map_err(|_| start.broken("a node exceeds 4 GiB"))?;
    if extent.offset < SLOTS_BYTES {
        return Err(start.broken("an extent overlaps the superblock"));
    }
    if bytes == 0 || u64::from(bytes) > extent.bytes {
        return Err(start.broken("a node is empty or longer than its extent"));
    }
    Ok((id, NodePlace { extent, bytes, checksum: decoder.u64()? }))
}

fn to_units(bytes: u64) -> u64 {
    assert!(bytes.is_multiple_of(Extent::UNIT));
    bytes / Extent::UNIT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{DATABASE, STRANGER};

    fn rule(payload: &[u8]) -> &'static str {
        let sealed = seal_blob(BlobKind::BlockTable, DATABASE, payload);
        decode_block_table(DATABASE, &sealed).unwrap_err().rule
    }

    fn any_place() -> impl Strategy<Value = NodePlace> {
        (2u64..1 << 40, 1u64..100, any::<u64>()).prop_map(|(offset, units, checksum)| {
            let extent = Extent { offset: offset * Extent::UNIT, bytes: units * Extent::UNIT };
            NodePlace { extent, bytes: u32::try_from(units * 4000).unwrap(), checksum }
        })
    }

    #[test]
    fn an_empty_table_is_a_table() {
        let sealed = encode_block_table(DATABASE, []);
        assert_eq!(decode_block_table(DATABASE, &sealed), Ok(vec![]));
        assert!(decode_block_table(STRANGER, &sealed).is_err());
    }

    #[test]
    fn the_last_id_is_an_id() {
        let mut payload = Vec::new();
        payload.put_varint(u64::MAX);
        payload.extend_from_slice(&[2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let sealed = seal_blob(BlobKind::BlockTable, DATABASE, &payload);
        assert_eq!(decode_block_table(DATABASE, &sealed).unwrap().len(), 1);
        payload.extend_from_slice(&[0, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(rule(&payload), "an id exceeds 64 bits");
    }

    #[test]
    fn places_are_checked() {
        assert_eq!(rule(&[1, 1, 1, 1]), "an extent overlaps the superblock");
        assert_eq!(rule(&[1, 2, 0, 0]), "a node is empty or longer than its extent");
        assert_eq!(rule(&[1, 2, 1, 0x81, 0x20]), "a node is empty or longer than its extent");
        assert_eq!(rule(&[1, 2, 1]), "it ends too early");
        let mut payload = vec![1];
        payload.put_varint(1 << 60);
        payload.extend_from_slice(&[1, 1]);
        assert_eq!(rule(&payload), "an extent exceeds 64 bits");
    }

    proptest! {
        #[test]
        fn tables_round_trip(
            entries in prop::collection::btree_map(any::<u32>(), any_place(), 0..50),
        ) {
            let entries: BTreeMap<BlockId, NodePlace> = entries
                .into_iter()
                .map(|(id, place)| (BlockId::from_raw(u64::from(id)), place))
                .collect();
            let entries: Vec<_> = entries.into_iter().collect();
            let sealed = encode_block_table(DATABASE, entries.clone());
            prop_assert_eq!(decode_block_table(DATABASE, &sealed), Ok(entries));
        }

        #[test]
        fn any_payload_decodes_or_fails(
            payload in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..100),
        ) {
            let sealed = seal_blob(BlobKind::BlockTable, DATABASE, &payload);
            if let Ok(entries) = decode_block_table(DATABASE, &sealed) {
                prop_assert!(entries.is_sorted_by(|low, high| low.0 < high.0));
                prop_assert_eq!(encode_block_table(DATABASE, entries), sealed);
            }
        }
    }
}
