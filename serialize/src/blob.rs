//! The envelope of everything that is neither a segment, a superblock nor the log.
//!
//! ```text
//! checksum u64 | magic u32 | version u8 | kind u8 | zero u16 | database id, 16 bytes |
//! payload length u64                                                     40 bytes, then
//! the payload
//! ```
//!
//! The checksum covers everything behind it and is seeded with the database. A reference repeats
//! it ([`blob_checksum`]), so that an older blob at the same place is not taken for the current
//! one.
//!
//! Invariants:
//! 1. a blob opens only as the kind that it was sealed as, for the database it was sealed for;
//! 2. nothing follows the payload.

use crate::checksum::checksum;
use crate::codec::{Decoder, Encode};
use crate::error::Corruption;
use crate::identity::read_database;
use crate::ids::DatabaseId;

/// What stands before the payload.
pub const BLOB_HEADER_BYTES: usize = 40;

/// The first bytes of a blob behind its checksum: "swBl".
const MAGIC: u32 = u32::from_le_bytes(*b"swBl");
/// The version of the envelope.
const BLOB_VERSION: u8 = 1;

/// What a blob's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobKind {
    /// The trees of the database.
    Catalog,
    /// Where the nodes lie.
    BlockTable,
    /// Which extents are in use.
    SpaceMap,
    /// The image of one node.
    Node,
}

impl BlobKind {
    const fn to_raw(self) -> u8 {
        match self {
            BlobKind::Catalog => 1,
            BlobKind::BlockTable => 2,
            BlobKind::SpaceMap => 3,
            BlobKind::Node => 4,
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            BlobKind::Catalog => "catalog",
            BlobKind::BlockTable => "block table",
            BlobKind::SpaceMap => "space map",
            BlobKind::Node => "node",
        }
    }
}

/// Puts `payload` into an envelope.
pub fn seal_blob(kind: BlobKind, database: DatabaseId, payload: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(BLOB_HEADER_BYTES + payload.len());
    sealed.put_u64(0);
    sealed.put_u32(MAGIC);
    sealed.put_u8(BLOB_VERSION);
    sealed.put_u8(kind.to_raw());
    sealed.put_u16(0);
    sealed.extend_from_slice(&database.to_bytes());
    sealed.put_u64(payload.len() as u64);
    debug_assert_eq!(sealed.len(), BLOB_HEADER_BYTES);
    sealed.extend_from_slice(payload);
    if let Some((sum, covered)) = sealed.split_first_chunk_mut() {
        *sum = checksum(database.seed(), covered).to_le_bytes();
    }
    sealed
}

/// The checksum that a sealed blob carries, for the reference to it; `None` when it is too short to
/// carry one.
pub fn blob_checksum(sealed: &[u8]) -> Option<u64> {
    sealed.first_chunk().map(|sum| u64::from_le_bytes(*sum))
}

/// Takes the payload out of its envelope.
pub fn open_blob(kind: BlobKind, database: DatabaseId, sealed: &[u8]) -> Result<&[u8], Corruption> {
    let mut decoder = Decoder::new(kind.noun(), sealed);
    let sum = decoder.u64()?;
    let mut fields = decoder;
    if checksum(database.seed(), fields.take(fields.remaining())?) != sum {
        return Err(decoder.broken("its checksum differs"));
    }
    if decoder.u32()? != MAGIC {
        return Err(decoder.broken("it has no envelope"));
    }
    if decoder.u8()? != BLOB_VERSION {
        return Err(decoder.broken("its version is unknown"));
    }
    if decoder.u8()? != kind.to_raw() {
        return Err(decoder.broken("it is of another kind"));
    }
    if decoder.u16()? != 0 {
        return Err(decoder.broken("unused bytes are not zero"));
    }
    if read_database(&mut decoder)? != database {
        return Err(decoder.broken("it belongs to another database"));
    }
    if decoder.u64()? != decoder.remaining() as u64 {
        return Err(decoder.broken("its length differs"));
    }
    decoder.take(decoder.remaining())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{DATABASE, STRANGER, flipped};

    /// Changes a blob's bytes and seals it again.
    fn changed(offset: usize, byte: u8) -> Vec<u8> {
        let mut sealed = seal_blob(BlobKind::Node, DATABASE, b"payload");
        *sealed.get_mut(offset).unwrap() = byte;
        let (sum, covered) = sealed.split_first_chunk_mut().unwrap();
        *sum = checksum(DATABASE.seed(), covered).to_le_bytes();
        sealed
    }

    fn rule(sealed: &[u8]) -> &'static str {
        open_blob(BlobKind::Node, DATABASE, sealed).unwrap_err().rule
    }

    #[test]
    fn envelopes_are_checked() {
        assert_eq!(rule(&changed(8, 0)), "it has no envelope");
        assert_eq!(rule(&changed(12, 2)), "its version is unknown");
        assert_eq!(rule(&changed(13, 1)), "it is of another kind");
        assert_eq!(rule(&changed(14, 1)), "unused bytes are not zero");
        assert_eq!(rule(&changed(16, 1)), "it belongs to another database");
        assert_eq!(rule(&changed(32, 8)), "its length differs");
        assert_eq!(rule(&seal_blob(BlobKind::Node, STRANGER, b"")), "its checksum differs");
        assert_eq!(rule(b""), "it ends too early");
    }

    #[test]
    fn a_corruption_names_the_kind() {
        let sealed = seal_blob(BlobKind::Catalog, DATABASE, b"x");
        let error = open_blob(BlobKind::SpaceMap, DATABASE, &sealed).unwrap_err();
        assert_eq!(error.what, "space map");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let sealed = seal_blob(BlobKind::Node, DATABASE, b"some payload");
        for bit in 0..sealed.len() * 8 {
            assert_eq!(rule(&flipped(&sealed, bit)), "its checksum differs");
        }
    }

    #[test]
    fn a_reference_can_repeat_the_checksum() {
        let sealed = seal_blob(BlobKind::Node, DATABASE, b"1");
        let other = seal_blob(BlobKind::Node, DATABASE, b"2");
        assert!(blob_checksum(&sealed).is_some());
        assert_ne!(blob_checksum(&sealed), blob_checksum(&other));
        assert_eq!(blob_checksum(b"short"), None);
    }

    proptest! {
        #[test]
        fn payloads_round_trip(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealed = seal_blob(BlobKind::Catalog, DATABASE, &payload);
            prop_assert_eq!(open_blob(BlobKind::Catalog, DATABASE, &sealed), Ok(&payload[..]));
        }

        #[test]
        fn any_bytes_open_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sum = checksum(DATABASE.seed(), &bytes).to_le_bytes();
            prop_assert!(open_blob(BlobKind::Node, DATABASE, &bytes).is_err());
            prop_assert!(open_blob(BlobKind::Node, DATABASE, &[&sum, &bytes[..]].concat()).is_err());
        }
    }
}
