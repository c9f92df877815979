//! The superblock: where everything else is found. Two slots at the start of the block file.
//!
//! ```text
//! 0                        4096                     8192
//! | slot 0: even sequences | slot 1: odd sequences  | extents ...
//!
//! slot     magic u64 | format version u32 | zero u32 | database id, 16 bytes |
//!          sequence u64 | epoch u64 | first generation u64 | durable lsn u64 | next msn u64 |
//!          next block u64 | next segment u64 | file bytes u64 | session u64 (0 open, 1 closed) |
//!          catalog | block table | space map | zeros | checksum u64, the last eight bytes
//! place    extent offset u64 | extent bytes u64 | bytes u64 | checksum u64; all zero for none
//! ```
//!
//! A checkpoint writes the slot of the next sequence, which holds the older superblock, so that a
//! torn write leaves the newer one whole. The magic, the format version and the checksum over all
//! that is before it stay where they are in every version, so that a newer format is recognised
//! and not taken for damage.
//!
//! Invariants, checked when read:
//! 1. the places of the three tables are aligned, lie behind the slots and inside the file, do not
//!    overlap, and are no shorter than what they hold;
//! 2. unused bytes are zero;
//! 3. a slot holds only sequences of its own parity, and both slots name the same database.

use std::fmt;

use crate::checksum::checksum;
use crate::codec::{COUNTER_END, COUNTER_RULE, Decoder, Encode};
use crate::error::Corruption;
use crate::identity::read_database;
use crate::ids::{BlockId, DatabaseId, Epoch, Extent, GenerationId, Lsn, Msn, SegmentId};
use crate::zeros::is_zero;

/// The version of everything on disk.
pub const FORMAT_VERSION: u32 = 4;
/// The length of one slot.
pub const SLOT_BYTES: usize = 4096;
/// The length of both slots together; extents start behind them.
pub const SLOTS_BYTES: u64 = 8192;

/// The first bytes of a slot.
pub const MAGIC: [u8; 8] = *b"sapwood\x1b";
/// Seeds the checksum; the database's identity is only learned from the slot.
const SEED: u64 = u64::from_le_bytes(MAGIC);
/// Where the checksum stands.
const CHECKSUM_OFFSET: usize = SLOT_BYTES - 8;
/// What is read in the slots, as a noun.
const WHAT: &str = "superblock";

/// Where a table lies that is written anew by every checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobPlace {
    /// The extent that it has to itself; never empty.
    pub extent: Extent,
    /// Its length within the extent.
    pub bytes: u64,
    /// The checksum of these bytes.
    pub checksum: u64,
}

/// The root of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Whose it is.
    pub database: DatabaseId,
    /// Counts the superblocks written; the larger one is the newer.
    pub sequence: u64,
    /// The opening that wrote it.
    pub epoch: Epoch,
    /// The log is replayed from this generation on; everything older is in the nodes.
    pub first_generation: GenerationId,
    /// Everything before this position of the log was durable when the superblock was written.
    pub durable: Lsn,
    /// The number that the next message gets.
    pub next_msn: Msn,
    /// The name that the next node gets.
    pub next_block: BlockId,
    /// The name that the next segment gets.
    pub next_segment: SegmentId,
    /// The length of the block file.
    pub file_bytes: u64,
    /// Whether a log goes on from here.
    pub session: Session,
    /// The trees; `None` before there are any.
    pub catalog: Option<BlobPlace>,
    /// Where the nodes lie.
    pub block_table: Option<BlobPlace>,
    /// Which extents are in use.
    pub space_map: Option<BlobPlace>,
}

/// Whether somebody had the database open for writing when a superblock was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// A log goes on from here; when it is missing, something was lost.
    Open,
    /// Everything is in the nodes, and there is no log.
    Closed,
}

impl Session {
    const fn to_raw(self) -> u64 {
        match self {
            Session::Open => 0,
            Session::Closed => 1,
        }
    }
}

/// Why there is no superblock in some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// They are not the start of a block file of ours.
    NotOurs,
    /// Another version of this library wrote them, in a format that this one does not read.
    OtherVersion {
        /// The version that they name.
        found: u32,
        /// The version that this library reads and writes.
        known: u32,
    },
    /// They were a superblock, but are damaged.
    Corrupt(Corruption),
}

impl Superblock {
    /// The bytes of its slot.
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        debug_assert!(check(self, &Decoder::new(WHAT, &[])).is_ok());
        let mut fields = Vec::with_capacity(SLOT_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.put_u32(FORMAT_VERSION);
        fields.put_u32(0);
        fields.extend_from_slice(&self.database.to_bytes());
        fields.put_u64(self.sequence);
        fields.put_u64(self.epoch.to_raw());
        fields.put_u64(self.first_generation.to_raw());
        fields.put_u64(self.durable.to_raw());
        fields.put_u64(self.next_msn.to_raw());
        fields.put_u64(self.next_block.to_raw());
        fields.put_u64(self.next_segment.to_raw());
        fields.put_u64(self.file_bytes);
        fields.put_u64(self.session.to_raw());
        put_place(&mut fields, self.catalog);
        put_place(&mut fields, self.block_table);
        put_place(&mut fields, self.space_map);
        fields.resize(CHECKSUM_OFFSET, 0);
        fields.put_u64(checksum(SEED, &fields));
        fields.try_into().expect("it was filled to the length of a slot")
    }
}

/// The slot in which a superblock with this sequence lies; its offset in the file is that many
/// times [`SLOT_BYTES`].
pub fn slot(sequence: u64) -> usize {
    usize::from(sequence % 2 == 1)
}

/// Reads one slot.
pub fn decode_slot(bytes: &[u8]) -> Result<Superblock, SuperblockError> {
    let mut decoder = Decoder::new(WHAT, bytes);
    if decoder.take(8) != Ok(&MAGIC[..]) {
        return Err(SuperblockError::NotOurs);
    }
    let corrupt = SuperblockError::Corrupt;
    check_sum(bytes).map_err(corrupt)?;
    let found = decoder.u32().map_err(corrupt)?;
    if found != FORMAT_VERSION {
        return Err(SuperblockError::OtherVersion { found, known: FORMAT_VERSION });
    }
    let superblock = read_fields(&mut decoder).map_err(corrupt)?;
    check(&superblock, &decoder).map_err(corrupt)?;
    Ok(superblock)
}

/// What a slot says whose checksum does not hold, for those who check everything that it leads to.
/// Magic, version and unused bytes are not looked at; `None` when not even the places can be.
pub fn guess_slot(bytes: &[u8]) -> Option<Superblock> {
    let mut decoder = Decoder::new(WHAT, bytes);
    decoder.take(16).ok()?;
    let superblock = read_numbers(&mut decoder).ok()?;
    check(&superblock, &decoder).ok()?;
    Some(superblock)
}

/// The superblock to open: the newer of the two slots that are valid. A slot of a newer version
/// refuses even when the other one is valid, because that other one is out of date. When neither is
/// valid, the error that tells most.
pub fn choose(slots: [&[u8]; 2]) -> Result<Superblock, SuperblockError> {
    let [even, odd] = slots;
    match (decode_own_slot(even, 0), decode_own_slot(odd, 1)) {
        (Err(error @ SuperblockError::OtherVersion { .. }), _)
        | (_, Err(error @ SuperblockError::OtherVersion { .. })) => Err(error),
        (Ok(even), Ok(odd)) if even.database != odd.database => {
            let rule = "its slots name different databases";
            Err(SuperblockError::Corrupt(Corruption::new(WHAT, 0, rule)))
        }
        (Ok(even), Ok(odd)) => Ok(if even.sequence > odd.sequence { even } else { odd }),
        (Ok(valid), Err(_)) | (Err(_), Ok(valid)) => Ok(valid),
        (Err(SuperblockError::NotOurs), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// Reads a slot, and refuses what belongs into the other one. Offsets count from the file's start.
fn decode_own_slot(bytes: &[u8], index: usize) -> Result<Superblock, SuperblockError> {
    let start = (index * SLOT_BYTES) as u64;
    match decode_slot(bytes) {
        Ok(superblock) if slot(superblock.sequence) != index => {
            let rule = "it lies in the other one's slot";
            Err(SuperblockError::Corrupt(Corruption::new(WHAT, start, rule)))
        }
        Err(SuperblockError::Corrupt(mut corruption)) => {
            corruption.offset += start;
            Err(SuperblockError::Corrupt(corruption))
        }
        result => result,
    }
}

fn check_sum(bytes: &[u8]) -> Result<(), Corruption> {
    let mut decoder = Decoder::new(WHAT, bytes);
    let covered = decoder.take(CHECKSUM_OFFSET)?;
    if decoder.u64()? != checksum(SEED, covered) {
        return Err(decoder.broken("its checksum differs"));
    }
    decoder.finish()
}

/// Reads what follows the version, to the checksum.
fn read_fields(decoder: &mut Decoder<'_>) -> Result<Superblock, Corruption> {
    if decoder.u32()? != 0 {
        return Err(decoder.broken("unused bytes are not zero"));
    }
    let superblock = read_numbers(decoder)?;
    if !is_zero(decoder.take(CHECKSUM_OFFSET - decoder.position())?) {
        return Err(decoder.broken("unused bytes are not zero"));
    }
    Ok(superblock)
}

fn read_numbers(decoder: &mut Decoder<'_>) -> Result<Superblock, Corruption> {
    Ok(Superblock {
        database: read_database(decoder)?,
        sequence: decoder.u64()?,
        epoch: Epoch::from_raw(decoder.u64()?),
        first_generation: GenerationId::from_raw(decoder.u64()?),
        durable: Lsn::from_raw(decoder.u64()?),
        next_msn: Msn::from_raw(decoder.u64()?),
        next_block: BlockId::from_raw(decoder.u64()?),
        next_segment: SegmentId::from_raw(decoder.u64()?),
        file_bytes: decoder.u64()?,
        session: match decoder.u64()? {
            0 => Session::Open,
            1 => Session::Closed,
            _ => return Err(decoder.broken("its session is of no known kind")),
        },
        catalog: read_place(decoder)?,
        block_table: read_place(decoder)?,
        space_map: read_place(decoder)?,
    })
}

fn put_place(out: &mut Vec<u8>, place: Option<BlobPlace>) {
    let none = BlobPlace { extent: Extent { offset: 0, bytes: 0 }, bytes: 0, checksum: 0 };
    let place = place.unwrap_or(none);
    out.put_u64(place.extent.offset);
    out.put_u64(place.extent.bytes);
    out.put_u64(place.bytes);
    out.put_u64(place.checksum);
}

fn read_place(decoder: &mut Decoder<'_>) -> Result<Option<BlobPlace>, Corruption> {
    let extent = Extent { offset: decoder.u64()?, bytes: decoder.u64()? };
    let place = BlobPlace { extent, bytes: decoder.u64()?, checksum: decoder.u64()? };
    if extent.bytes > 0 {
        return Ok(Some(place));
    }
    if extent.offset != 0 || place.bytes != 0 || place.checksum != 0 {
        return Err(decoder.broken("an empty place is not all zero"));
    }
    Ok(None)
}

/// Checks the places of the three tables.
fn counters(superblock: &Superblock) -> [u64; 7] {
    [
        superblock.sequence,
        superblock.epoch.to_raw(),
        superblock.first_generation.to_raw(),
        superblock.durable.to_raw(),
        superblock.next_msn.to_raw(),
        superblock.next_block.to_raw(),
        superblock.next_segment.to_raw(),
    ]
}

fn check(superblock: &Superblock, decoder: &Decoder<'_>) -> Result<(), Corruption> {
    if counters(superblock).into_iter().any(|counter| counter >= COUNTER_END) {
        return Err(decoder.broken(COUNTER_RULE));
    }
    let places = [superblock.catalog, superblock.block_table, superblock.space_map];
    let mut sorted: Vec<BlobPlace> = places.into_iter().flatten().collect();
    sorted.sort_unstable_by_key(|place| place.extent);
    let mut free_from = SLOTS_BYTES;
    for BlobPlace { extent, bytes, .. } in sorted {
        let unit = Extent::UNIT;
        if !extent.offset.is_multiple_of(unit) || !extent.bytes.is_multiple_of(unit) {
            return Err(decoder.broken("a table's extent is not aligned"));
        }
        if extent.offset < free_from {
            return Err(decoder.broken("a table's extent overlaps another or the slots"));
        }
        let end = extent.offset.checked_add(extent.bytes);
        free_from = end
            .filter(|end| *end <= superblock.file_bytes)
            .ok_or_else(|| decoder.broken("a table's extent ends behind the file"))?;
        if bytes == 0 || bytes > extent.bytes {
            return Err(decoder.broken("a table is empty or longer than its extent"));
        }
    }
    Ok(())
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SuperblockError::NotOurs => write!(f, "this is not a sapwood database"),
            SuperblockError::OtherVersion { found, known } => write!(
                f,
                "the database has format version {found}, and this library reads version {known}; \
                 open it with the library that wrote it"
            ),
            SuperblockError::Corrupt(corruption) => corruption.fmt(f),
        }
    }
}

impl std::error::Error for SuperblockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SuperblockError::Corrupt(corruption) => Some(corruption),
            SuperblockError::NotOurs | SuperblockError::OtherVersion { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{DATABASE, STRANGER, flipped};

    fn place(unit: u64) -> Option<BlobPlace> {
        let extent = Extent { offset: unit * 4096, bytes: 8192 };
        Some(BlobPlace { extent, bytes: 5_000, checksum: 11 })
    }

    fn superblock(sequence: u64) -> Superblock {
        Superblock {
            database: DATABASE,
            sequence,
            epoch: Epoch::from_raw(2),
            first_generation: GenerationId::from_raw(3),
            durable: Lsn::from_raw(4),
            next_msn: Msn::from_raw(5),
            next_block: BlockId::from_raw(6),
            next_segment: SegmentId::from_raw(7),
            file_bytes: 1 << 20,
            session: Session::Open,
            catalog: place(9),
            block_table: None,
            space_map: place(2),
        }
    }

    #[test]
    fn a_damaged_slot_is_guessed_if_its_places_can_be() {
        let mut bytes = superblock(8).encode();
        assert_eq!(guess_slot(&bytes), Some(superblock(8)));
        // Magic, version, padding and checksum.
        for offset in [0, 9, 12, 3000, SLOT_BYTES - 1] {
            *bytes.get_mut(offset).unwrap() ^= 1;
        }
        assert!(decode_slot(&bytes).is_err());
        assert_eq!(guess_slot(&bytes), Some(superblock(8)));
        // The catalog's offset is no longer aligned.
        *bytes.get_mut(104).unwrap() ^= 1;
        assert_eq!(guess_slot(&bytes), None);
        assert_eq!(guess_slot(bytes.get(..100).unwrap()), None);
    }

    /// Changes a slot's bytes and seals it again.
    fn changed(sequence: u64, offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut slot = superblock(sequence).encode().to_vec();
        slot.splice(offset..offset + bytes.len(), bytes.iter().copied());
        slot.truncate(CHECKSUM_OFFSET);
        slot.put_u64(checksum(SEED, &slot));
        slot
    }

    fn rule(slot: &[u8]) -> &'static str {
        match decode_slot(slot) {
            Err(SuperblockError::Corrupt(corruption)) => corruption.rule,
            other => panic!("{other:?} is no corruption"),
        }
    }

    fn with_catalog(catalog: BlobPlace) -> Vec<u8> {
        let superblock = Superblock { catalog: Some(catalog), ..superblock(1) };
        let mut bytes = Vec::new();
        put_place(&mut bytes, superblock.catalog);
        changed(1, CATALOG_OFFSET, &bytes)
    }

    const CATALOG_OFFSET: usize = 8 + 8 + 16 + 9 * 8;
    const ZEROS: [u8; SLOT_BYTES] = [0; SLOT_BYTES];

    #[test]
    fn the_newer_slot_is_chosen() {
        let (even, odd) = (superblock(8).encode(), superblock(7).encode());
        assert_eq!(choose([&even, &odd]), Ok(superblock(8)));
        let odd = superblock(9).encode();
        assert_eq!(choose([&even, &odd]), Ok(superblock(9)));
    }

    #[test]
    fn one_valid_slot_is_enough() {
        let (even, odd) = (superblock(8).encode(), superblock(9).encode());
        assert_eq!(choose([&even, &ZEROS]), Ok(superblock(8)));
        assert_eq!(choose([&ZEROS, &odd]), Ok(superblock(9)));
        assert_eq!(choose([&flipped(&even, 900), &odd]), Ok(superblock(9)));
        assert_eq!(choose([&even, &flipped(&odd, 1)]), Ok(superblock(8)));
    }

    #[test]
    fn a_newer_version_refuses_even_beside_a_valid_slot() {
        let newer = changed(9, 8, &7u32.to_le_bytes());
        let error = SuperblockError::OtherVersion { found: 7, known: 4 };
        assert_eq!(choose([&superblock(8).encode(), &newer]), Err(error.clone()));
        assert_eq!(choose([&ZEROS, &newer]), Err(error));
    }

    #[test]
    fn a_damaged_version_is_not_a_newer_one() {
        let slot = flipped(&superblock(9).encode(), 8 * 8 + 3);
        assert_eq!(rule(&slot), "its checksum differs");
        assert_eq!(choose([&superblock(8).encode(), &slot]), Ok(superblock(8)));
    }

    #[test]
    fn the_most_telling_error_is_given() {
        let damaged = flipped(&superblock(8).encode(), 900);
        assert_eq!(choose([&ZEROS, &ZEROS]), Err(SuperblockError::NotOurs));
        assert!(matches!(choose([&damaged, &ZEROS]), Err(SuperblockError::Corrupt(_))));
        assert!(matches!(choose([&ZEROS, &damaged]), Err(SuperblockError::Corrupt(_))));
        assert_eq!(choose([b"", b""]), Err(SuperblockError::NotOurs));
    }

    #[test]
    fn a_slot_in_the_wrong_place_is_refused() {
        let slot = superblock(8).encode();
        let error = choose([&ZEROS, &slot]).unwrap_err();
        let text = "corrupt superblock at byte 4096: it lies in the other one's slot";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn slots_of_two_databases_are_refused() {
        let stranger = Superblock { database: STRANGER, ..superblock(9) };
        let error = choose([&superblock(8).encode(), &stranger.encode()]).unwrap_err();
        assert!(matches!(error, SuperblockError::Corrupt(_)));
    }

    #[test]
    fn errors_are_sentences() {
        assert_eq!(SuperblockError::NotOurs.to_string(), "this is not a sapwood database");
        assert_eq!(
            SuperblockError::OtherVersion { found: 2, known: 3 }.to_string(),
            "the database has format version 2, and this library reads version 3; open it with the \
             library that wrote it"
        );
    }

    #[test]
    fn unused_bytes_are_zero() {
        assert_eq!(rule(&changed(1, 12, &[1])), "unused bytes are not zero");
        assert_eq!(rule(&changed(1, CATALOG_OFFSET + 96, &[1])), "unused bytes are not zero");
        assert_eq!(rule(&changed(1, CHECKSUM_OFFSET - 1, &[1])), "unused bytes are not zero");
        assert_eq!(rule(&changed(1, CATALOG_OFFSET + 32, &[1])), "an empty place is not all zero");
        let session = rule(&changed(1, CATALOG_OFFSET - 8, &[2]));
        assert_eq!(session, "its session is of no known kind");
        let counter = rule(&changed(1, 32, &u64::MAX.to_le_bytes()));
        assert_eq!(counter, "a counter is beyond what any database reaches");
    }

    #[test]
    fn places_are_checked() {
        let check = |offset, extent_bytes, bytes| {
            let extent = Extent { offset, bytes: extent_bytes };
            rule(&with_catalog(BlobPlace { extent, bytes, checksum: 0 }))
        };
        assert_eq!(check(20_481, 4096, 1), "a table's extent is not aligned");
        assert_eq!(check(20_480, 4097, 1), "a table's extent is not aligned");
        assert_eq!(check(4096, 4096, 1), "a table's extent overlaps another or the slots");
        assert_eq!(check(12_288, 4096, 1), "a table's extent overlaps another or the slots");
        assert_eq!(check(1 << 20, 4096, 1), "a table's extent ends behind the file");
        assert_eq!(check(u64::MAX - 4095, 4096, 1), "a table's extent ends behind the file");
        assert_eq!(check(20_480, 4096, 0), "a table is empty or longer than its extent");
        assert_eq!(check(20_480, 4096, 4097), "a table is empty or longer than its extent");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let slot = superblock(9).encode();
        for bit in 0..SLOT_BYTES * 8 {
            assert!(decode_slot(&flipped(&slot, bit)).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn slots_round_trip(numbers in any::<[u64; 8]>()) {
            let numbers = numbers.map(|number| number % COUNTER_END);
            let [sequence, epoch, first_generation, durable, msn, block, segment, more] = numbers;
            let superblock = Superblock {
                database: STRANGER,
                sequence,
                epoch: Epoch::from_raw(epoch),
                first_generation: GenerationId::from_raw(first_generation),
                durable: Lsn::from_raw(durable),
                next_msn: Msn::from_raw(msn),
                next_block: BlockId::from_raw(block),
                next_segment: SegmentId::from_raw(segment),
                file_bytes: more.max(1 << 20),
                session: if more % 2 == 0 { Session::Open } else { Session::Closed },
                catalog: place(4).filter(|_| more & 1 == 0),
                block_table: place(6).filter(|_| more & 2 == 0),
                space_map: place(8).filter(|_| more & 4 == 0),
            };
            prop_assert_eq!(decode_slot(&superblock.encode()), Ok(superblock));
        }

        #[test]
        fn resealed_slots_decode_or_fail(
            offset in 8usize..220,
            bytes in prop::collection::vec(any::<u8>(), 1..20),
        ) {
            let _ = decode_slot(&changed(9, offset, &bytes));
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode_slot(&bytes), Err(SuperblockError::NotOurs));
            let slot = [&MAGIC[..], &bytes].concat();
            prop_assert!(decode_slot(&slot).is_err());
        }
    }
}
