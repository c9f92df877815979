//! A segment on disk: pages packed into one extent, and behind them what is known of them.
//!
//! ```text
//! | stored page 0 | stored page 1 | ... | meta | zeros up to a multiple of Extent::UNIT |
//!
//! stored page   magic u32 | version u8 | compression u8 | zero u16 | page index u32 |
//!               raw length u32 | segment id u64                          24 bytes, then
//!               the page's image, compressed or not
//!
//! meta          magic u32 | version u8 | zero u8 x3 | segment id u64 | pages u32 |
//!               directory length u32 | filter length u32 | zero u32      32 bytes, then
//!               the directory, then the filter
//! ```
//!
//! A page's checksum stands in the directory, the meta block's in the reference to the segment, and
//! each is seeded with where the bytes belong. So a block that decayed, that was never written, or
//! that was written elsewhere is found, whoever reads it.
//!
//! Invariants, checked when read:
//! 1. every header names its own database (by the seed), segment and page;
//! 2. pages lie back to back from the start of the extent, the meta block right behind them;
//! 3. a page holds the rows and bytes that the directory says.

use std::sync::Arc;

use crate::checksum::checksum;
use crate::codec::{Decoder, Encode};
use crate::compression::{Compression, Compressor};
use crate::error::Corruption;
use crate::filter::Filter;
use crate::ids::{DatabaseId, Extent, SegmentId};
use crate::memory::Memory;
use crate::page::Page;

pub use crate::directory::{Directory, DirectoryBuilder, PagePlace, PageSummary};

/// The first bytes of a stored page: "swPg".
const PAGE_MAGIC: u32 = u32::from_le_bytes(*b"swPg");
/// The first bytes of a meta block: "swMt".
const META_MAGIC: u32 = u32::from_le_bytes(*b"swMt");
/// The version of both headers and what follows them.
const SEGMENT_VERSION: u8 = 2;
/// The length of a stored page's header.
const PAGE_HEADER_BYTES: usize = 24;
/// The length of the meta block's header.
const META_HEADER_BYTES: usize = 32;
/// Why lengths and offsets fit in 32 bits.
const SMALL: &str = "a segment stays below 4 GiB";

/// Which segment of which database some bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentIdentity {
    /// The database.
    pub database: DatabaseId,
    /// The segment.
    pub segment: SegmentId,
}

impl SegmentIdentity {
    /// Seeds the checksum of the meta block. Odd multipliers spread neighbouring ids over all bits.
    fn meta_seed(self) -> u64 {
        let next = self.segment.to_raw().wrapping_add(1);
        self.database.seed() ^ next.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Seeds the checksum of a page; never as the meta block's, because the product is not zero.
    fn page_seed(self, index: u32) -> u64 {
        self.meta_seed() ^ (u64::from(index) + 1).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
    }
}

/// Where a segment's meta block lies within its extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaPlace {
    /// The first byte, counted from the start of the extent.
    pub offset: u32,
    /// The length, header included.
    pub bytes: u32,
    /// The checksum of these bytes.
    pub checksum: u64,
}

/// What is known of a segment without its pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its pages.
    pub directory: Directory,
    /// Which keys it cannot hold.
    pub filter: Filter,
}

/// A segment as it goes to disk.
#[derive(Debug)]
pub struct EncodedSegment {
    /// The extent's bytes, padded with zeros to a multiple of [`Extent::UNIT`].
    pub bytes: Memory,
    /// Where the meta block lies among them.
    pub meta_place: MetaPlace,
    /// The directory, with the places that the pages now have.
    pub directory: Directory,
}

/// Packs a segment.
///
/// # Panics
/// When `meta` does not describe `pages`, and when the segment exceeds 4 GiB.
pub fn encode_segment(
    identity: SegmentIdentity,
    meta: &SegmentMeta,
    pages: &[Arc<Page>],
    compression: Compression,
) -> EncodedSegment {
    let largest = pages.iter().map(|page| Compressor::room_for(page.cells().len())).max();
    let room = expected_bytes(meta, compression) + largest.unwrap_or_default();
    let mut bytes = Memory::with_room(room);
    let mut compressor = Compressor::default();
    let places = pages.iter().enumerate().map(|(index, page)| {
        let summary = PageSummary { rows: to_u32(page.rows()), raw_bytes: to_u32(page.bytes()) };
        assert_eq!(meta.directory.summary(index), summary);
        let wanted = (compression, &mut compressor);
        append_page(identity, to_u32(index), page, wanted, &mut bytes)
    });
    let places = places.collect();
    let directory = meta.directory.with_places(places);
    let meta_place = append_meta(identity, &directory, &meta.filter, &mut bytes);
    let padded = Extent::round_up(bytes.len() as u64);
    bytes.pad(usize::try_from(padded).expect(SMALL));
    EncodedSegment { bytes, meta_place, directory }
}

/// Reads a meta block that the reference to the segment places at `place`.
pub fn decode_meta(
    identity: SegmentIdentity,
    place: MetaPlace,
    bytes: &[u8],
) -> Result<SegmentMeta, Corruption> {
    let mut decoder = Decoder::new("segment meta block", bytes);
    let stored = Stored { bytes: place.bytes, checksum: place.checksum };
    check_stored(&decoder, bytes, stored, identity.meta_seed())?;
    expect_u32(&mut decoder, META_MAGIC, "it is no meta block")?;
    let version = u32::from(SEGMENT_VERSION);
    expect_u32(&mut decoder, version, "its version is unknown or unused bytes are not zero")?;
    expect_segment(&mut decoder, identity)?;
    let pages = decoder.u32()? as usize;
    let directory_bytes = decoder.u32()? as usize;
    let filter_bytes = decoder.u32()? as usize;
    expect_u32(&mut decoder, 0, "unused bytes are not zero")?;
    let directory = Directory::decode(decoder.take(directory_bytes)?, pages)?;
    let filter = Filter::decode(decoder.take(filter_bytes)?)?;
    if pages_end(&directory) != Some(place.offset) {
        return Err(decoder.broken("it does not stand right behind its pages"));
    }
    decoder.finish()?;
    Ok(SegmentMeta { directory, filter })
}

/// Reads the stored page that the directory describes as page `index`, at `place`, with `summary`.
pub fn decode_page(
    identity: SegmentIdentity,
    index: usize,
    place: PagePlace,
    summary: PageSummary,
    stored: &[u8],
) -> Result<Page, Corruption> {
    let mut decoder = Decoder::new("stored page", stored);
    let index = u32::try_from(index).map_err(|_| decoder.broken("its index exceeds 32 bits"))?;
    let expected = Stored { bytes: place.stored_bytes, checksum: place.checksum };
    check_stored(&decoder, stored, expected, identity.page_seed(index))?;
    expect_u32(&mut decoder, PAGE_MAGIC, "it is no stored page")?;
    if decoder.u8()? != SEGMENT_VERSION {
        return Err(decoder.broken("its version is unknown"));
    }
    let compression = Compression::from_raw(decoder.u8()?);
    let compression = compression.ok_or_else(|| decoder.broken("its compression is unknown"))?;
    if decoder.u16()? != 0 {
        return Err(decoder.broken("unused bytes are not zero"));
    }
    expect_u32(&mut decoder, index, "it is another page")?;
    expect_u32(&mut decoder, summary.raw_bytes, "its raw length differs from the directory")?;
    expect_segment(&mut decoder, identity)?;
    let payload = decoder.take(decoder.remaining())?;
    let rows = summary.rows as usize;
    let cells_bytes = (summary.raw_bytes as usize).checked_sub(Page::slots_bytes(rows));
    let cells_bytes =
        cells_bytes.ok_or_else(|| decoder.broken("its rows exceed its raw length"))?;
    compression.check_length(payload, cells_bytes)?;
    Page::decode(rows, cells_bytes, |cells| compression.decompress_into(payload, cells))
}

/// Room for pages, at five eighths of their size where they are compressed, and for the meta block.
fn expected_bytes(meta: &SegmentMeta, compression: Compression) -> usize {
    let raw_bytes = usize::try_from(meta.directory.raw_bytes()).expect(SMALL);
    let stored_bytes = match compression {
        Compression::None => raw_bytes,
        Compression::Lz4 => raw_bytes / 8 * 5,
    };
    stored_bytes + meta.directory.bytes() + meta.filter.bytes() + 4096
}

fn append_page(
    identity: SegmentIdentity,
    index: u32,
    page: &Page,
    (wanted, compressor): (Compression, &mut Compressor),
    out: &mut Memory,
) -> PagePlace {
    let start = out.len();
    out.put_u32(PAGE_MAGIC);
    out.put_u8(SEGMENT_VERSION);
    let compression_at = out.len();
    out.put_u8(wanted.to_raw());
    out.put_u16(0);
    out.put_u32(index);
    out.put_u32(to_u32(page.bytes()));
    out.put_u64(identity.segment.to_raw());
    debug_assert_eq!(out.len() - start, PAGE_HEADER_BYTES);
    let compression = compressor.compress(wanted, page.cells(), out);
    *out.get_mut(compression_at).expect("it was put there") = compression.to_raw();
    let stored = seal(out, start, identity.page_seed(index));
    PagePlace { offset: to_u32(start), stored_bytes: stored.bytes, checksum: stored.checksum }
}

fn append_meta(
    identity: SegmentIdentity,
    directory: &Directory,
    filter: &Filter,
    out: &mut Memory,
) -> MetaPlace {
    let (mut listed, mut filtered) = (Vec::new(), Vec::new());
    directory.encode(&mut listed);
    filter.encode(&mut filtered);
    let start = out.len();
    out.put_u32(META_MAGIC);
    out.put_u32(u32::from(SEGMENT_VERSION));
    out.put_u64(identity.segment.to_raw());
    out.put_u32(to_u32(directory.pages()));
    out.put_u32(to_u32(listed.len()));
    out.put_u32(to_u32(filtered.len()));
    out.put_u32(0);
    debug_assert_eq!(out.len() - start, META_HEADER_BYTES);
    out.put(&listed);
    out.put(&filtered);
    let stored = seal(out, start, identity.meta_seed());
    MetaPlace { offset: to_u32(start), bytes: stored.bytes, checksum: stored.checksum }
}

/// What a reference knows of the bytes it refers to.
#[derive(Clone, Copy)]
struct Stored {
    bytes: u32,
    checksum: u64,
}

fn seal(out: &[u8], start: usize, seed: u64) -> Stored {
    let bytes = out.get(start..).unwrap_or_default();
    Stored { bytes: to_u32(bytes.len()), checksum: checksum(seed, bytes) }
}

/// Compares bytes with what the reference to them knows, before any of them is believed.
fn check_stored(
    decoder: &Decoder<'_>,
    bytes: &[u8],
    stored: Stored,
    seed: u64,
) -> Result<(), Corruption> {
    if bytes.len() != stored.bytes as usize {
        return Err(decoder.broken("its length differs from the reference"));
    }
    if checksum(seed, bytes) != stored.checksum {
        return Err(decoder.broken("its checksum differs"));
    }
    Ok(())
}

fn expect_u32(
    decoder: &mut Decoder<'_>,
    expected: u32,
    rule: &'static str,
) -> Result<(), Corruption> {
    let start = *decoder;
    if decoder.u32()? == expected { Ok(()) } else { Err(start.broken(rule)) }
}

fn expect_segment(decoder: &mut Decoder<'_>, identity: SegmentIdentity) -> Result<(), Corruption> {
    let start = *decoder;
    let segment = SegmentId::from_raw(decoder.u64()?);
    if segment == identity.segment {
        Ok(())
    } else {
        Err(start.broken("it belongs to another segment"))
    }
}

/// The first byte behind the last page.
fn pages_end(directory: &Directory) -> Option<u32> {
    let last = directory.place(directory.pages() - 1)?;
    last.offset.checked_add(last.stored_bytes)
}

fn to_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect(SMALL)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::KeyBits;
    use crate::testing::{DATABASE, Rows, STRANGER, any_rows, flipped, page_of, rows_of};

    const IDENTITY: SegmentIdentity =
        SegmentIdentity { database: DATABASE, segment: SegmentId::from_raw(41) };

    /// Pages of `rows_per_page` rows each, and what is known of them.
    fn segment_of(rows: &Rows, rows_per_page: usize) -> (SegmentMeta, Vec<Arc<Page>>) {
        let rows: Vec<_> = rows.iter().collect();
        let pages: Vec<Arc<Page>> = rows
            .chunks(rows_per_page)
            .map(|rows| Arc::new(page_of(rows.iter().copied())))
            .collect();
        let mut directory = Directory::builder();
        for page in &pages {
            let summary =
                PageSummary { rows: to_u32(page.rows()), raw_bytes: to_u32(page.bytes()) };
            directory.push(page.first_key(), page.last_key(), &summary);
        }
        let hashes: Vec<u64> = rows.iter().map(|(key, _)| Filter::hash(key)).collect();
        (
            SegmentMeta {
                directory: directory.finish(),
                filter: Filter::build(&hashes, KeyBits::LEAF),
            },
            pages,
        )
    }

    fn some_rows() -> Rows {
        let row = |n: u32| (format!("key{n:05}").into_bytes(), vec![(7, Some(vec![b'v'; 60]))]);
        (0..60).map(row).collect()
    }

    fn encoded(compression: Compression) -> EncodedSegment {
        let (meta, pages) = segment_of(&some_rows(), 20);
        encode_segment(IDENTITY, &meta, &pages, compression)
    }

    fn meta_bytes(segment: &EncodedSegment) -> &[u8] {
        let start = segment.meta_place.offset as usize;
        segment.bytes.get(start..start + segment.meta_place.bytes as usize).unwrap()
    }

    fn page_bytes(segment: &EncodedSegment, index: usize) -> &[u8] {
        let place = segment.directory.place(index).unwrap();
        let start = place.offset as usize;
        segment.bytes.get(start..start + place.stored_bytes as usize).unwrap()
    }

    /// Reads everything the way a reader does: the meta block, then each page.
    fn read(identity: SegmentIdentity, segment: &EncodedSegment) -> Result<Rows, Corruption> {
        let meta = decode_meta(identity, segment.meta_place, meta_bytes(segment))?;
        let mut rows = Rows::new();
        for index in 0..meta.directory.pages() {
            let (place, summary) =
                (meta.directory.place(index).unwrap(), meta.directory.summary(index));
            let stored = page_bytes(segment, index);
            rows.extend(rows_of(&decode_page(identity, index, place, summary, stored)?));
        }
        Ok(rows)
    }

    fn page_rule(
        index: usize,
        place: PagePlace,
        summary: PageSummary,
        stored: &[u8],
    ) -> &'static str {
        decode_page(IDENTITY, index, place, summary, stored).unwrap_err().rule
    }

    /// What the reference would say of these bytes if they had been written as page `index`.
    fn resealed(index: u32, stored: &[u8]) -> PagePlace {
        let sum = checksum(IDENTITY.page_seed(index), stored);
        PagePlace { offset: 0, stored_bytes: to_u32(stored.len()), checksum: sum }
    }

    #[test]
    fn segments_are_padded_with_zeros_to_whole_units() {
        let segment = encoded(Compression::Lz4);
        assert!(segment.bytes.len().is_multiple_of(4096));
        let end = (segment.meta_place.offset + segment.meta_place.bytes) as usize;
        assert!(segment.bytes.get(end..).unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn compression_makes_segments_smaller() {
        let pages_end = |compression| encoded(compression).meta_place.offset;
        assert!(pages_end(Compression::Lz4) * 2 < pages_end(Compression::None));
    }

    #[test]
    fn the_meta_block_knows_the_places() {
        let segment = encoded(Compression::Lz4);
        let meta = decode_meta(IDENTITY, segment.meta_place, meta_bytes(&segment)).unwrap();
        assert_eq!(meta.directory, segment.directory);
        assert!(meta.filter.may_contain(Filter::hash(b"key00000")));
    }

    #[test]
    fn another_identity_is_refused() {
        let segment = encoded(Compression::Lz4);
        let other = SegmentIdentity { segment: IDENTITY.segment.next(), ..IDENTITY };
        let stranger = SegmentIdentity { database: STRANGER, ..IDENTITY };
        for identity in [other, stranger] {
            assert_eq!(read(identity, &segment).unwrap_err().rule, "its checksum differs");
            let place = segment.directory.place(1).unwrap();
            let summary = segment.directory.summary(1);
            let stored = page_bytes(&segment, 1);
            assert!(decode_page(identity, 1, place, summary, stored).is_err());
        }
    }

    #[test]
    fn a_page_is_refused_in_anothers_place() {
        let segment = encoded(Compression::Lz4);
        let (place, summary) = (segment.directory.place(1).unwrap(), segment.directory.summary(1));
        let stored = page_bytes(&segment, 1);
        assert_eq!(page_rule(2, place, summary, stored), "its checksum differs");
        assert_eq!(page_rule(2, resealed(2, stored), summary, stored), "it is another page");
    }

    #[test]
    fn headers_are_believed_only_when_they_agree() {
        let segment = encoded(Compression::None);
        let (summary, stored) = (segment.directory.summary(0), page_bytes(&segment, 0));
        let check = |offset: usize, summary: PageSummary| {
            let stored = flipped(stored, offset * 8 + 7);
            page_rule(0, resealed(0, &stored), summary, &stored)
        };
        assert_eq!(check(0, summary), "it is no stored page");
        assert_eq!(check(4, summary), "its version is unknown");
        assert_eq!(check(5, summary), "its compression is unknown");
        assert_eq!(check(6, summary), "unused bytes are not zero");
        assert_eq!(check(8, summary), "it is another page");
        assert_eq!(check(12, summary), "its raw length differs from the directory");
        assert_eq!(check(16, summary), "it belongs to another segment");
        let count = |rows| {
            let other = PageSummary { rows, ..summary };
            page_rule(0, segment.directory.place(0).unwrap(), other, stored)
        };
        assert_eq!(count(summary.rows - 1), "its length differs");
        assert_eq!(count(u32::MAX), "its rows exceed its raw length");
    }

    #[test]
    fn a_meta_block_stands_right_behind_its_pages() {
        let segment = encoded(Compression::Lz4);
        let moved = MetaPlace { offset: segment.meta_place.offset + 1, ..segment.meta_place };
        let error = decode_meta(IDENTITY, moved, meta_bytes(&segment)).unwrap_err();
        assert_eq!(error.rule, "it does not stand right behind its pages");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let segment = encoded(Compression::Lz4);
        let used = (segment.meta_place.offset + segment.meta_place.bytes) as usize;
        for bit in 0..used * 8 {
            let directory = segment.directory.clone();
            let damaged =
                EncodedSegment { bytes: flipped(&segment.bytes, bit).into(), directory, ..segment };
            assert!(read(IDENTITY, &damaged).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn segments_round_trip(
            rows in any_rows(),
            rows_per_page in 1usize..9,
            compression in prop::sample::select(vec![Compression::None, Compression::Lz4]),
        ) {
            let (meta, pages) = segment_of(&rows, rows_per_page);
            let segment = encode_segment(IDENTITY, &meta, &pages, compression);
            prop_assert_eq!(read(IDENTITY, &segment), Ok(rows));
        }

        #[test]
        fn resealed_meta_blocks_decode_or_fail(
            rows in any_rows(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let (meta, pages) = segment_of(&rows, 3);
            let segment = encode_segment(IDENTITY, &meta, &pages, Compression::Lz4);
            let mut bytes = meta_bytes(&segment).to_vec();
            for (place, byte) in damage {
                *place.get_mut(&mut bytes) = byte;
            }
            let sum = checksum(IDENTITY.meta_seed(), &bytes);
            let place = MetaPlace { checksum: sum, ..segment.meta_place };
            if let Ok(meta) = decode_meta(IDENTITY, place, &bytes) {
                prop_assert!(meta.directory.find(b"\x01") < meta.directory.pages());
            }
        }

        #[test]
        fn resealed_pages_decode_or_fail(
            rows in any_rows(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            raw_bytes in prop::option::of(any::<u32>()),
        ) {
            let (meta, pages) = segment_of(&rows, 40);
            let segment = encode_segment(IDENTITY, &meta, &pages, Compression::Lz4);
            let mut stored = page_bytes(&segment, 0).to_vec();
            for (place, byte) in damage {
                *place.get_mut(&mut stored) = byte;
            }
            let mut summary = segment.directory.summary(0);
            if let Some(raw_bytes) = raw_bytes {
                summary.raw_bytes = raw_bytes;
                stored.splice(12..16, raw_bytes.to_le_bytes());
            }
            if let Ok(page) = decode_page(IDENTITY, 0, resealed(0, &stored), summary, &stored) {
                prop_assert_eq!(rows_of(&page).len(), page.rows());
            }
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sum = checksum(IDENTITY.meta_seed(), &bytes);
            let place = MetaPlace { offset: 0, bytes: to_u32(bytes.len()), checksum: sum };
            prop_assert!(decode_meta(IDENTITY, place, &bytes).is_err());
            let summary = PageSummary { rows: 1, raw_bytes: u32::MAX };
            let place = resealed(0, &bytes);
            prop_assert!(decode_page(IDENTITY, 0, place, summary, &bytes).is_err());
        }
    }
}
