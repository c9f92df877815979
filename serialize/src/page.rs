//! A page: immutable sorted cells, and a table by which they are found.
//!
//! ```text
//! 0             8n               12n
//! | n key heads | n cell offsets | n cells, without gaps |      in memory
//!                                | n cells, without gaps |      on disk
//!
//! heads    u64 each, big-endian: the eight bytes behind the common prefix, zero padded
//! offsets  u32 each, counted from the start of the image
//! cell     key length u16 | key | version count varint | versions, newest first
//! version  op kind u8 | msn offset varint | payload length varint | payload
//! ```
//!
//! The cells say all; heads and offsets are made when a page is built or decoded, since they would
//! take a tenth of the space on disk. A cell holds its whole key, so that a cursor hands out a
//! slice of the image; what neighbours repeat is taken out when the page is compressed.
//!
//! Invariants, all checked by [`Page::decode`], so that no accessor can fail afterwards:
//! 1. there is at least one row, and keys strictly ascend;
//! 2. every head is that of its key, behind the longest prefix that all keys share;
//! 3. cells lie back to back to the end of the image;
//! 4. every key has at least one version, versions strictly descend in msn, their ops are known.

use std::cmp::Ordering;
use std::fmt;

pub use crate::cell::Versions;
use crate::cell::split_key;
use crate::charge::Charge;
use crate::codec::{Decoder, Encode, varint_len};
use crate::error::Corruption;
use crate::key_head::{Side, common_prefix, key_head, side_of};
use crate::memory::Memory;
use crate::message::{Op, VALUE_BYTES_MAX, Version};
use crate::prefetch::prefetch;

/// What a row takes besides its cell: a head and an offset.
const SLOT_BYTES: usize = 12;
/// The shortest cell: an empty key, one version, nothing in it.
const CELL_BYTES_MIN: usize = 6;
/// Offsets have 32 bits.
const PAGE_BYTES_MAX: usize = u32::MAX as usize / 4;
/// Why reading a page that was decoded or built cannot fail.
const CHECKED: &str = "the image was checked when the page was decoded, or built by us";

/// Immutable sorted cells: keys with their versions.
pub struct Page {
    image: Memory,
    rows: usize,
    prefix_bytes: usize,
    has_operands: bool,
    charge: Option<Charge>,
}

impl Page {
    /// A page of `rows` rows whose cells take `bytes`, as `read` gives them; every invariant is
    /// checked. Nothing is allocated that so many cells cannot fill.
    pub fn decode(
        rows: usize,
        bytes: usize,
        read: impl FnOnce(&mut [u8]) -> Result<(), Corruption>,
    ) -> Result<Page, Corruption> {
        if rows == 0 || rows > bytes / CELL_BYTES_MIN || bytes > PAGE_BYTES_MAX {
            return Err(Corruption::new("page", 0, "the count of rows is out of range"));
        }
        let mut image = Memory::take(SLOT_BYTES * rows + bytes);
        let (slots, cells) = image.split_at_mut(SLOT_BYTES * rows);
        read(cells)?;
        let Found { prefix_bytes, has_operands } = index(slots, cells)?;
        Ok(Page { image, rows, prefix_bytes, has_operands, charge: None })
    }

    /// A page of one row, made without another copy of it on the way; `versions` newest first.
    ///
    /// # Panics
    /// As [`PageBuilder::push`] does.
    pub fn of_row(key: &[u8], versions: &[Version<'_>]) -> Page {
        let mut image = Memory::with_room(PageBuilder::cell_bytes(key, versions));
        image.put(&[0; SLOT_BYTES]);
        let has_operands = put_cell(&mut image, key, versions);
        let prefix_bytes = key.len();
        let (heads, offsets) = slots_of(image.get_mut(..SLOT_BYTES).expect(CHECKED));
        heads.fill(head_behind(key, prefix_bytes));
        offsets.fill(offset_of(SLOT_BYTES));
        Page { image, rows: 1, prefix_bytes, has_operands, charge: None }
    }

    /// What `rows` rows take in memory besides their cells.
    pub fn slots_bytes(rows: usize) -> usize {
        SLOT_BYTES.saturating_mul(rows)
    }

    /// Attaches what the page costs its budget; given back when the page is dropped.
    pub fn set_charge(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// How many keys it holds; at least one.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a version in it is an operand.
    pub fn has_operands(&self) -> bool {
        self.has_operands
    }

    /// The key of a row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn key(&self, row: usize) -> &[u8] {
        split_key(self.cell(row)).0
    }

    /// The versions of a row's key, newest first.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn versions(&self, row: usize) -> Versions<'_> {
        self.row(row).1
    }

    /// The key of a row, and its versions, newest first.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> (&[u8], Versions<'_>) {
        let (key, versions) = split_key(self.cell(row));
        (key, Versions::behind_key(versions))
    }

    /// Finds `key`: its row, or else the row before which it would stand.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        self.ask_for_slots();
        let head = match side_of(key, self.prefix()) {
            Side::Before => return Err(0),
            Side::Behind => return Err(self.rows),
            Side::Among(head) => head,
        };
        let heads = self.heads();
        let row = heads.partition_point(|other| u64::from_be_bytes(*other) < head);
        match heads.get(row) {
            Some(other) if u64::from_be_bytes(*other) == head => self.search_keys(key, head, row),
            _ => Err(row),
        }
    }

    /// The smallest key.
    pub fn first_key(&self) -> &[u8] {
        self.key(0)
    }

    /// The largest key.
    pub fn last_key(&self) -> &[u8] {
        self.key(self.rows - 1)
    }

    /// All that it holds, for slices that stay within it.
    pub fn image(&self) -> &[u8] {
        &self.image
    }

    /// What lies on disk, before it is compressed: what [`Page::decode`] reads.
    pub fn cells(&self) -> &[u8] {
        self.image.get(SLOT_BYTES * self.rows..).expect(CHECKED)
    }

    /// The length of the image.
    pub fn bytes(&self) -> usize {
        self.image.len()
    }

    /// Asks the processor for all heads and offsets at once: a search looks at one line of them
    /// after the other, each of which it would wait for. Of a page with more rows than this, most
    /// would be asked for in vain.
    fn ask_for_slots(&self) {
        const ROWS_MOST: usize = 128;
        if self.rows <= ROWS_MOST {
            for line in (0..SLOT_BYTES * self.rows).step_by(128) {
                prefetch(self.image.as_ptr().wrapping_add(line));
            }
        }
    }

    /// Finds `key` among the rows from `first` on that have the same `head`; mostly there is one.
    fn search_keys(&self, key: &[u8], head: u64, first: usize) -> Result<usize, usize> {
        // With the key, what lies behind it: mostly it is the row that is looked for.
        prefetch(self.cell(first).as_ptr().wrapping_add(64));
        match self.key(first).cmp(key) {
            Ordering::Equal => return Ok(first),
            Ordering::Greater => return Err(first),
            Ordering::Less => {}
        }
        let behind = self.heads().get(first..).expect(CHECKED);
        let same = behind.partition_point(|other| u64::from_be_bytes(*other) == head);
        let (mut low, mut high) = (first + 1, first + same);
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn heads(&self) -> &[[u8; 8]] {
        let heads = self.image.get(..8 * self.rows);
        heads.expect(CHECKED).as_chunks().0
    }

    /// The start of the first key, which every key shares.
    fn prefix(&self) -> &[u8] {
        let first_key = SLOT_BYTES * self.rows + 2;
        self.image.get(first_key..first_key + self.prefix_bytes).expect(CHECKED)
    }

    /// The bytes from the start of a row's cell to the end of the image.
    fn cell(&self, row: usize) -> &[u8] {
        assert!(row < self.rows, "row {row} of a page with {} rows", self.rows);
        let (image, slot) = (&*self.image, 8 * self.rows + 4 * row);
        let offset = image.get(slot..).and_then(<[u8]>::first_chunk).expect(CHECKED);
        image.get(u32::from_le_bytes(*offset) as usize..).expect(CHECKED)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes())
            .field("charged", &self.charge.as_ref().map(Charge::bytes))
            .finish_non_exhaustive()
    }
}

/// What a builder keeps from page to page; a large value's room goes with it.
const KEPT_BYTES_MOST: usize = 1 << 20;

/// Gathers rows in key order and makes pages of them.
#[derive(Debug, Default)]
pub struct PageBuilder {
    /// The cells so far. Kept from page to page, so that a long merge allocates images only.
    cells: Vec<u8>,
    /// Where each cell starts in `cells`.
    starts: Vec<usize>,
    has_operands: bool,
}

impl PageBuilder {
    /// A builder without rows.
    pub fn new() -> PageBuilder {
        PageBuilder::default()
    }

    /// Appends a row. Keys must strictly ascend, `versions` must strictly descend in msn.
    ///
    /// # Panics
    /// When there is no version, and when a key or value is longer than the format allows.
    pub fn push(&mut self, key: &[u8], versions: &[Version<'_>]) {
        debug_assert!(self.last_key().is_none_or(|last| last < key));
        self.starts.push(self.cells.len());
        self.has_operands |= put_cell(&mut self.cells, key, versions);
    }

    /// The length that the image would have if it were finished now.
    pub fn bytes(&self) -> usize {
        SLOT_BYTES * self.starts.len() + self.cells.len()
    }

    /// How much one push adds to [`PageBuilder::bytes`].
    pub fn cell_bytes(key: &[u8], versions: &[Version<'_>]) -> usize {
        let version_bytes = |version: &Version<'_>| {
            let payload = version.op.payload().len();
            1 + varint_len(version.msn) + varint_len(payload as u64) + payload
        };
        let versions_bytes: usize = versions.iter().map(version_bytes).sum();
        SLOT_BYTES + 2 + key.len() + varint_len(versions.len() as u64) + versions_bytes
    }

    /// How many rows were pushed since the last page.
    pub fn rows(&self) -> usize {
        self.starts.len()
    }

    /// Whether nothing was pushed since the last page.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Makes a page of the rows so far, and starts anew.
    ///
    /// # Panics
    /// When there are no rows, and when they exceed 4 GiB.
    pub fn finish(&mut self) -> Page {
        assert!(!self.is_empty(), "a page has at least one row");
        assert!(self.bytes() <= PAGE_BYTES_MAX, "a page stays below 4 GiB");
        let rows = self.rows();
        let last_key = self.last_key().unwrap_or_default();
        let prefix_bytes = common_prefix(split_key(&self.cells).0, last_key);
        let mut image = Memory::take(self.bytes());
        let (slots, cells) = image.split_at_mut(SLOT_BYTES * rows);
        cells.copy_from_slice(&self.cells);
        let (heads, offsets) = slots_of(slots);
        for ((head, offset), start) in heads.iter_mut().zip(offsets).zip(&self.starts) {
            *head = head_behind(split_key(self.cell(*start)).0, prefix_bytes);
            *offset = offset_of(SLOT_BYTES * rows + start);
        }
        let has_operands = std::mem::take(&mut self.has_operands);
        let found = Found { prefix_bytes, has_operands };
        debug_assert_eq!(index(&mut slots.to_vec(), cells), Ok(found));
        self.cells.clear();
        if self.cells.capacity() > KEPT_BYTES_MOST {
            self.cells = Vec::new();
        }
        self.starts.clear();
        Page { image, rows, prefix_bytes, has_operands, charge: None }
    }

    fn cell(&self, start: usize) -> &[u8] {
        self.cells.get(start..).expect(CHECKED)
    }

    fn last_key(&self) -> Option<&[u8]> {
        self.starts.last().map(|start| split_key(self.cell(*start)).0)
    }
}

/// Appends a cell; tells whether it has operands.
#[inline]
fn put_cell(out: &mut impl Encode, key: &[u8], versions: &[Version<'_>]) -> bool {
    debug_assert!(versions.is_sorted_by(|newer, older| newer.msn > older.msn));
    assert!(!versions.is_empty());
    out.put_u16(u16::try_from(key.len()).expect("keys are limited to 65535 bytes"));
    out.put(key);
    out.put_varint(versions.len() as u64);
    let mut has_operands = false;
    for Version { msn, op } in versions {
        assert!(op.payload().len() <= VALUE_BYTES_MAX);
        has_operands |= matches!(op, Op::Merge(_));
        out.put_u8(op.kind());
        out.put_varint(*msn);
        out.put_bytes(op.payload());
    }
    has_operands
}

/// The heads and the offsets in what stands before the cells.
fn slots_of(slots: &mut [u8]) -> (&mut [[u8; 8]], &mut [[u8; 4]]) {
    let (heads, offsets) = slots.split_at_mut(slots.len() / SLOT_BYTES * 8);
    (heads.as_chunks_mut().0, offsets.as_chunks_mut().0)
}

fn head_behind(key: &[u8], prefix_bytes: usize) -> [u8; 8] {
    key_head(key.get(prefix_bytes..).expect(CHECKED)).to_be_bytes()
}

fn offset_of(position: usize) -> [u8; 4] {
    u32::try_from(position).expect("a page stays below 4 GiB").to_le_bytes()
}

/// What is known of cells that were gone through.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    prefix_bytes: usize,
    has_operands: bool,
}

/// Checks the cells against the invariants, and makes the heads and offsets by which they are
/// found.
fn index(slots: &mut [u8], cells: &[u8]) -> Result<Found, Corruption> {
    let before = slots.len();
    let (heads, offsets) = slots_of(slots);
    let mut decoder = Decoder::new("page", cells);
    let mut keys: Option<(&[u8], &[u8])> = None;
    let mut has_operands = false;
    for offset in &mut *offsets {
        *offset = offset_of(before + decoder.position());
        let key = read_cell(&mut decoder, &mut has_operands)?;
        let (first, previous) = keys.unwrap_or((key, key));
        if keys.is_some() && previous >= key {
            return Err(decoder.broken("keys do not ascend"));
        }
        keys = Some((first, key));
    }
    decoder.finish()?;
    let prefix_bytes = keys.map_or(0, |(first, last)| common_prefix(first, last));
    for (head, offset) in heads.iter_mut().zip(offsets) {
        let cell = cells.get(u32::from_le_bytes(*offset) as usize - before..).expect(CHECKED);
        *head = head_behind(split_key(cell).0, prefix_bytes);
    }
    Ok(Found { prefix_bytes, has_operands })
}

/// Reads one cell to its end; returns its key. Notes whether it has operands.
fn read_cell<'a>(cell: &mut Decoder<'a>, has_operands: &mut bool) -> Result<&'a [u8], Corruption> {
    let key = read_key(cell)?;
    let mut newer: Option<u64> = None;
    for _ in 0..read_count(cell)? {
        let version = read_version(cell)?;
        if newer.is_some_and(|newer| newer <= version.msn) {
            return Err(cell.broken("versions do not stand newest first"));
        }
        *has_operands |= matches!(version.op, Op::Merge(_));
        newer = Some(version.msn);
    }
    if newer.is_none() { Err(cell.broken("a key has no version")) } else { Ok(key) }
}

fn read_key<'a>(cell: &mut Decoder<'a>) -> Result<&'a [u8], Corruption> {
    let key_bytes = usize::from(cell.u16()?);
    cell.take(key_bytes)
}

/// Reads the count of versions, each of which takes at least three bytes.
fn read_count(cell: &mut Decoder<'_>) -> Result<usize, Corruption> {
    cell.count(cell.remaining() / 3)
}

fn read_version<'a>(cell: &mut Decoder<'a>) -> Result<Version<'a>, Corruption> {
    let kind = cell.u8()?;
    let msn = cell.varint()?;
    let payload = cell.bytes()?;
    let op = Op::from_parts(kind, payload);
    let op = op.ok_or_else(|| cell.broken("the kind of an op is unknown"))?;
    Ok(Version { msn, op })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::charge::Meter;
    use crate::testing::{Rows, any_rows, as_versions, flipped, page_of, rows_of};

    fn put(value: &[u8]) -> [Version<'_>; 1] {
        [Version { msn: 1, op: Op::Put(value) }]
    }

    fn page(keys: &[&[u8]]) -> Page {
        let mut builder = PageBuilder::new();
        for key in keys {
            builder.push(key, &put(key));
        }
        builder.finish()
    }

    fn decode(rows: usize, cells: &[u8]) -> Result<Page, Corruption> {
        Page::decode(rows, cells.len(), |into| {
            into.copy_from_slice(cells);
            Ok(())
        })
    }

    fn reread(page: &Page) -> Page {
        decode(page.rows(), page.cells()).unwrap()
    }

    fn rule(rows: usize, cells: &[u8]) -> &'static str {
        decode(rows, cells).unwrap_err().rule
    }

    /// The cells of `KEYS` with `bytes` written over them at `offset`.
    fn overwritten(offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut cells = page(&KEYS).cells().to_vec();
        cells.splice(offset..offset + bytes.len(), bytes.iter().copied());
        cells
    }

    #[test]
    fn the_empty_key_is_a_key() {
        let page = page(&[b"", b"\0", b"\0\0"]);
        assert_eq!(page.search(b""), Ok(0));
        assert_eq!(page.search(b"\0"), Ok(1));
        assert_eq!(page.search(b"\0\0"), Ok(2));
        assert_eq!(page.search(b"\0\0\0"), Err(3));
        assert_eq!(reread(&page).image(), page.image());
    }

    #[test]
    fn keys_with_equal_heads_are_told_apart() {
        let keys: Vec<Vec<u8>> = (0..50).map(|n| format!("{:<20}{n:02}", "x").into()).collect();
        let keys: Vec<&[u8]> =
            [&b"a"[..]].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
        let page = page(&keys);
        for (row, key) in keys.iter().enumerate() {
            assert_eq!(page.search(key), Ok(row));
            assert_eq!(page.search(&[key, &b"!"[..]].concat()), Err(row + 1));
        }
    }

    #[test]
    fn keys_around_the_common_prefix_fall_outside() {
        let page = page(&[b"user1", b"user2"]);
        assert_eq!(page.search(b"use"), Err(0));
        assert_eq!(page.search(b"user"), Err(0));
        assert_eq!(page.search(b"tree"), Err(0));
        assert_eq!(page.search(b"v"), Err(2));
        assert_eq!(page.search(b"user11"), Err(1));
    }

    #[test]
    fn the_largest_key_and_a_large_value_fit() {
        let (key, value) = (vec![7; 65_535], vec![8; 3 << 20]);
        let mut builder = PageBuilder::new();
        builder.push(&key, &put(&value));
        let page = reread(&builder.finish());
        assert_eq!(page.first_key(), key);
        assert_eq!(page.versions(0).next().unwrap().op, Op::Put(&value));
    }

    #[test]
    fn versions_stand_newest_first() {
        let versions =
            [(900, Op::Delete), (7, Op::Put(b"old"))].map(|(msn, op)| Version { msn, op });
        let mut builder = PageBuilder::new();
        builder.push(b"k", &versions);
        let page = builder.finish();
        assert_eq!(page.versions(0).len(), 2);
        assert!(page.versions(0).eq(versions));
    }

    #[test]
    fn a_builder_starts_anew_after_each_page() {
        let mut builder = PageBuilder::new();
        builder.push(b"b", &put(b"1"));
        assert_eq!(rows_of(&builder.finish()).len(), 1);
        assert!(builder.is_empty());
        builder.push(b"a", &put(b"2"));
        let page = builder.finish();
        assert_eq!((page.rows(), page.first_key(), page.last_key()), (1, &b"a"[..], &b"a"[..]));
    }

    #[test]
    fn a_charge_is_given_back_with_the_page() {
        let meter = Meter::new();
        let mut page = page(&[b"k"]);
        page.set_charge(meter.charge(page.bytes()));
        assert_eq!(meter.bytes(), page.bytes() as u64);
        drop(page);
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "at least one row")]
    fn a_page_without_rows_is_not_built() {
        let _ = PageBuilder::new().finish();
    }

    // The cells of keys "ka" and "kb", of ten bytes each: key length, key, count, kind, msn,
    // payload length, payload.
    const KEYS: [&[u8]; 2] = [b"ka", b"kb"];

    #[test]
    fn counts_of_rows_are_checked() {
        assert_eq!(page(&KEYS).bytes(), 24 + 20);
        let cells = overwritten(0, &[]);
        assert_eq!(rule(0, &cells), "the count of rows is out of range");
        assert_eq!(rule(usize::MAX, &cells), "the count of rows is out of range");
        assert_eq!(rule(4, &cells), "the count of rows is out of range");
        assert_eq!(rule(3, &cells), "it ends too early");
        assert_eq!(rule(1, &cells), "bytes follow its end");
        assert_eq!(rule(1, &[]), "the count of rows is out of range");
    }

    #[test]
    fn cells_are_checked() {
        assert_eq!(rule(2, &overwritten(13, b"a")), "keys do not ascend");
        assert_eq!(rule(2, &overwritten(14, &[0])), "a key has no version");
        assert_eq!(rule(2, &overwritten(15, &[3])), "the kind of an op is unknown");
        assert_eq!(rule(2, &overwritten(15, &[2])), "the kind of an op is unknown");
        assert_eq!(rule(2, &overwritten(17, &[1])), "bytes follow its end");
        let mut longer = page(&KEYS).cells().to_vec();
        longer.push(0);
        assert_eq!(rule(2, &longer), "bytes follow its end");
    }

    #[test]
    fn a_reader_that_fails_is_told() {
        let broken = Corruption::new("page", 7, "it cannot be read");
        let read = Page::decode(1, 10, |_| Err(broken.clone()));
        assert_eq!(read.unwrap_err(), broken);
    }

    #[test]
    fn versions_out_of_order_are_refused() {
        let mut builder = PageBuilder::new();
        let versions = [9, 8].map(|msn| Version { msn, op: Op::Delete });
        builder.push(b"k", &versions);
        let mut cells = builder.finish().cells().to_vec();
        *cells.last_chunk_mut().unwrap() = [9, 0];
        assert_eq!(rule(1, &cells), "versions do not stand newest first");
    }

    /// Touches everything that a page can be asked for.
    fn read_all(page: &Page) -> Rows {
        let rows = rows_of(page);
        for row in 0..page.rows() {
            assert_eq!(page.search(page.key(row)), Ok(row));
        }
        rows
    }

    proptest! {
        #[test]
        fn rows_round_trip(rows in any_rows()) {
            let page = page_of(&rows);
            prop_assert_eq!(&rows_of(&page), &rows);
            let read = reread(&page);
            prop_assert_eq!(read.image(), page.image());
            prop_assert_eq!(&read_all(&read), &rows);
        }

        #[test]
        fn searches_agree_with_a_sorted_vector(
            rows in any_rows(),
            key in prop::collection::vec(0u8..3, 0..14),
        ) {
            let page = page_of(&rows);
            let keys: Vec<&Vec<u8>> = rows.keys().collect();
            prop_assert_eq!(page.search(&key), keys.binary_search(&&key));
            for (row, key) in keys.iter().enumerate() {
                prop_assert_eq!(page.search(key), Ok(row));
            }
        }

        #[test]
        fn sizes_are_exact(rows in any_rows()) {
            let mut builder = PageBuilder::new();
            for (key, versions) in &rows {
                let before = builder.bytes();
                builder.push(key, &as_versions(versions));
                let added = PageBuilder::cell_bytes(key, &as_versions(versions));
                prop_assert_eq!(builder.bytes(), before + added);
            }
            let bytes = builder.bytes();
            prop_assert_eq!(builder.rows(), rows.len());
            prop_assert_eq!(builder.finish().bytes(), bytes);
        }

        #[test]
        fn one_image_for_one_content(rows in any_rows(), bit in any::<prop::sample::Index>()) {
            // Whatever a flipped bit turns the page into is refused, or is another content whose
            // own image it is: no bit is without meaning.
            let page = page_of(&rows);
            let cells = flipped(page.cells(), bit.index(page.cells().len() * 8));
            if let Ok(other) = decode(page.rows(), &cells) {
                let read = read_all(&other);
                prop_assert_ne!(&read, &rows);
                let again = page_of(&read);
                prop_assert_eq!(again.cells(), cells);
            }
        }

        #[test]
        fn damaged_pages_decode_or_fail(
            rows in any_rows(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..20), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut cells = page_of(&rows).cells().to_vec();
            for (place, byte) in damage {
                *place.get_mut(&mut cells) = byte;
            }
            if cut.index(4) == 0 {
                cells.truncate(cut.index(cells.len()));
            }
            if let Ok(page) = decode(rows.len(), &cells) {
                read_all(&page);
            }
        }

        #[test]
        fn any_bytes_decode_or_fail(
            cells in prop::collection::vec(0u8..4, 0..200),
            rows in 0usize..40,
        ) {
            if let Ok(page) = decode(rows, &cells) {
                read_all(&page);
            }
        }
    }
}
