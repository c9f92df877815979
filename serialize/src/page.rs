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

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

pub use crate::cell::Versions;
use crate::cell::split_key;
use crate::charge::Charge;
use crate::codec::{Decoder, Encode, varint_len};
use crate::error::Corruption;
use crate::fixed::Fixed;
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
/// What [`Page::decode`] would refuse must not get to disk.
const LARGEST: &str = "a page stays below 1 GiB";
/// Why reading a page that was decoded or built cannot fail.
const CHECKED: &str = "the image was checked when the page was decoded, or built by us";

/// Immutable sorted cells: keys with their versions.
pub struct Page {
    image: Fixed,
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
        let mut image = Memory::unwritten(SLOT_BYTES * rows + bytes);
        let (slots, cells) = image.split_at_mut(SLOT_BYTES * rows);
        read(cells)?;
        let Found { prefix_bytes, has_operands } = index(slots, cells)?;
        Ok(Page { image: image.into(), rows, prefix_bytes, has_operands, charge: None })
    }

    /// A page of one row, made without another copy of it on the way; `versions` newest first.
    ///
    /// # Panics
    /// As [`PageBuilder::push`] and [`PageBuilder::finish`] do.
    pub fn of_row(key: &[u8], versions: &[Version<'_>]) -> Page {
        let bytes = PageBuilder::cell_bytes(key, versions);
        assert!(bytes <= PAGE_BYTES_MAX, "{LARGEST}");
        let mut image = Memory::with_room(bytes);
        image.put(&[0; SLOT_BYTES]);
        let has_operands = put_cell(&mut image, key, versions);
        let prefix_bytes = key.len();
        let (heads, offsets) = slots_of(image.get_mut(..SLOT_BYTES).expect(CHECKED));
        heads.fill(head_behind(key, prefix_bytes));
        offsets.fill(offset_of(SLOT_BYTES));
        let (slots, cells) = image.split_at(SLOT_BYTES);
        debug_assert_eq!(
            index(&mut slots.to_vec(), cells),
            Ok(Found { prefix_bytes, has_operands })
        );
        Page { image: image.into(), rows: 1, prefix_bytes, has_operands, charge: None }
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
        assert!(self.bytes() <= PAGE_BYTES_MAX, "{LARGEST}");
        let rows = self.rows();
        let last_key = self.last_key().unwrap_or_default();
        let prefix_bytes = common_prefix(split_key(&self.cells).0, last_key);
        let mut image = Memory::unwritten(self.bytes());
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
        Page { image: image.into(), rows, prefix_bytes, has_operands, charge: None }
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
