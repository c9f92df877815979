//! A segment's directory: what its pages hold and where they lie.
//!
//! ```text
//!   fence 0       fence 1       fence 2        last key
//!      |  page 0     |  page 1     |  page 2     |
//!
//! image    n entries: stored bytes u32 | checksum u64 | rows u32 | raw bytes u32
//!          n fences:  length varint | bytes            fence 0 is the segment's first key
//!          last key:  length varint | bytes
//! ```
//!
//! A fence is the shortest key that is larger than the previous page's last key and no larger than
//! its own page's first, so that most are a few bytes. Pages lie back to back, so only their
//! lengths are stored, and no two places can overlap.
//!
//! Invariants, checked when a directory is read:
//! 1. there is at least one page, and no page is without rows;
//! 2. fences strictly ascend, and the last key is no smaller than the last fence;
//! 3. either every page has a place or, before the segment is written, none has.

use crate::codec::{Decoder, Encode};
use crate::error::Corruption;
use crate::key_head::{KeyHeads, common_prefix};
use crate::message::KEY_BYTES_MAX;

/// What an entry takes in the image.
const ENTRY_BYTES: usize = 20;
/// Why looking up what was built or checked cannot fail.
const CHECKED: &str = "fences were built or checked together with their ends";

/// Where a stored page lies within the segment's extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePlace {
    /// The first byte, counted from the start of the extent.
    pub offset: u32,
    /// The stored length, header included.
    pub stored_bytes: u32,
    /// The checksum of the stored bytes.
    pub checksum: u64,
}

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSummary {
    /// How many keys.
    pub rows: u32,
    /// The length of the uncompressed image.
    pub raw_bytes: u32,
}

/// The pages of a segment in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// All fences, one behind the other.
    fences: Box<[u8]>,
    /// Where each fence ends in `fences`.
    ends: Box<[usize]>,
    /// Those of the fences.
    heads: KeyHeads,
    last_key: Box<[u8]>,
    summaries: Box<[PageSummary]>,
    /// As many as there are pages, or none before the segment is written.
    places: Box<[PagePlace]>,
}

impl Directory {
    /// Starts a directory.
    pub fn builder() -> DirectoryBuilder {
        DirectoryBuilder::default()
    }

    /// How many pages there are; at least one.
    pub fn pages(&self) -> usize {
        self.summaries.len()
    }

    /// The smallest key of the segment.
    pub fn first_key(&self) -> &[u8] {
        self.fence(0)
    }

    /// The largest key of the segment.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// The page that holds `key` if any does: the last one whose fence is not above it, and page 0
    /// for a key before all.
    pub fn find(&self, key: &[u8]) -> usize {
        self.heads.count_up_to(key, |page| self.fence(page)).saturating_sub(1)
    }

    /// The lower bound of a page; the first key for page 0.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn fence(&self, page: usize) -> &[u8] {
        let start = if page == 0 { 0 } else { *self.ends.get(page - 1).expect(CHECKED) };
        let end = *self.ends.get(page).expect("the directory has such a page");
        self.fences.get(start..end).expect(CHECKED)
    }

    /// What a page holds.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn summary(&self, page: usize) -> PageSummary {
        *self.summaries.get(page).expect("the directory has such a page")
    }

    /// Where a page lies; `None` before the segment is written.
    pub fn place(&self, page: usize) -> Option<PagePlace> {
        self.places.get(page).copied()
    }

    /// How many keys the segment holds.
    pub fn rows(&self) -> u64 {
        self.summaries.iter().map(|summary| u64::from(summary.rows)).sum()
    }

    /// The length of all uncompressed pages together.
    pub fn raw_bytes(&self) -> u64 {
        self.summaries.iter().map(|summary| u64::from(summary.raw_bytes)).sum()
    }

    /// The memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Directory>()
            + self.fences.len()
            + self.last_key.len()
            + size_of_val(&*self.ends)
            + self.heads.bytes()
            + size_of_val(&*self.summaries)
            + size_of_val(&*self.places)
    }

    /// The same directory once its pages are written.
    pub(crate) fn with_places(&self, places: Vec<PagePlace>) -> Directory {
        assert_eq!(places.len(), self.pages());
        Directory { places: places.into_boxed_slice(), ..self.clone() }
    }

    /// Appends the image.
    ///
    /// # Panics
    /// When the pages have no places yet.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        assert_eq!(self.places.len(), self.pages(), "pages are placed before they are listed");
        for (place, summary) in self.places.iter().zip(&self.summaries) {
            out.put_u32(place.stored_bytes);
            out.put_u64(place.checksum);
            out.put_u32(summary.rows);
            out.put_u32(summary.raw_bytes);
        }
        for page in 0..self.pages() {
            out.put_bytes(self.fence(page));
        }
        out.put_bytes(&self.last_key);
    }

    /// Reads the image of a directory with `pages` pages.
    pub(crate) fn decode(image: &[u8], pages: usize) -> Result<Directory, Corruption> {
        let mut decoder = Decoder::new("segment directory", image);
        if pages == 0 || pages > decoder.remaining() / ENTRY_BYTES {
            return Err(decoder.broken("the count of pages is out of range"));
        }
        let mut builder = Directory::builder();
        let mut places = Vec::with_capacity(pages);
        let mut offset = 0;
        for _ in 0..pages {
            let (place, summary) = read_entry(&mut decoder, offset)?;
            let end = offset.checked_add(place.stored_bytes);
            offset = end.ok_or_else(|| decoder.broken("its pages exceed 4 GiB"))?;
            places.push(place);
            builder.summaries.push(summary);
        }
        let mut lower = None;
        for _ in 0..pages {
            let fence = read_key(&mut decoder)?;
            if lower.is_some_and(|lower| lower >= fence) {
                return Err(decoder.broken("fences do not ascend"));
            }
            builder.push_fence(fence);
            lower = Some(fence);
        }
        builder.last_key.extend_from_slice(read_key(&mut decoder)?);
        if lower.is_none_or(|fence| fence > builder.last_key.as_slice()) {
            return Err(decoder.broken("its last key lies before its last page"));
        }
        decoder.finish()?;
        Ok(builder.finish().with_places(places))
    }
}

/// Gathers the pages of a segment.
#[derive(Debug, Default)]
pub struct DirectoryBuilder {
    fences: Vec<u8>,
    ends: Vec<usize>,
    last_key: Vec<u8>,
    summaries: Vec<PageSummary>,
}

impl DirectoryBuilder {
    /// Appends a page; its keys must lie behind those of the page before.
    pub fn push(&mut self, first_key: &[u8], last_key: &[u8], summary: &PageSummary) {
        assert!(first_key <= last_key);
        assert!(summary.rows > 0);
        if self.summaries.is_empty() {
            self.push_fence(first_key);
        } else {
            assert!(self.last_key.as_slice() < first_key);
            // The first byte that differs tells the two keys apart; `first_key` has it, because it
            // is the larger one.
            let fence_bytes = common_prefix(&self.last_key, first_key) + 1;
            self.push_fence(first_key.get(..fence_bytes).expect("the larger key goes on"));
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(last_key);
        self.summaries.push(*summary);
    }

    /// The directory of the pages so far, without places.
    ///
    /// # Panics
    /// When there are no pages.
    pub fn finish(self) -> Directory {
        assert!(!self.summaries.is_empty(), "a segment has at least one page");
        let mut directory = Directory {
            fences: self.fences.into_boxed_slice(),
            ends: self.ends.into_boxed_slice(),
            heads: KeyHeads::default(),
            last_key: self.last_key.into_boxed_slice(),
            summaries: self.summaries.into_boxed_slice(),
            places: Box::default(),
        };
        directory.heads = KeyHeads::of(directory.pages(), |page| directory.fence(page));
        directory
    }

    fn push_fence(&mut self, fence: &[u8]) {
        self.fences.extend_from_slice(fence);
        self.ends.push(self.fences.len());
    }
}

/// Reads the entry of the page that starts at `offset`.
fn read_entry(
    decoder: &mut Decoder<'_>,
    offset: u32,
) -> Result<(PagePlace, PageSummary), Corruption> {
    let stored_bytes = decoder.u32()?;
    let checksum = decoder.u64()?;
    let summary = PageSummary { rows: decoder.u32()?, raw_bytes: decoder.u32()? };
    if summary.rows == 0 || summary.raw_bytes == 0 || stored_bytes == 0 {
        return Err(decoder.broken("a page is empty"));
    }
    Ok((PagePlace { offset, stored_bytes, checksum }, summary))
}

fn read_key<'a>(decoder: &mut Decoder<'a>) -> Result<&'a [u8], Corruption> {
    let key_bytes = decoder.count(KEY_BYTES_MAX.min(decoder.remaining()))?;
    decoder.take(key_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUMMARY: PageSummary = PageSummary { rows: 3, raw_bytes: 100 };

    fn directory(pages: &[(&[u8], &[u8])]) -> Directory {
        let mut builder = Directory::builder();
        for (first, last) in pages {
            builder.push(first, last, &SUMMARY);
        }
        builder.finish()
    }

    /// Pages of one key each.
    fn directory_of(keys: &[Vec<u8>]) -> Directory {
        let pages: Vec<(&[u8], &[u8])> = keys.iter().map(|key| (&key[..], &key[..])).collect();
        directory(&pages)
    }

    fn placed(directory: &Directory) -> Directory {
        let place = |page: usize| {
            let stored_bytes = 50 + u32::try_from(page).unwrap();
            PagePlace {
                offset: (0..page as u32).map(|page| 50 + page).sum(),
                stored_bytes,
                checksum: 9,
            }
        };
        directory.with_places((0..directory.pages()).map(place).collect())
    }

    fn encode(directory: &Directory) -> Vec<u8> {
        let mut image = Vec::new();
        directory.encode(&mut image);
        image
    }

    #[test]
    fn fences_are_the_shortest_that_separate() {
        let directory =
            directory(&[(b"apple", b"banana"), (b"bandana", b"cherry"), (b"fig", b"fig")]);
        assert_eq!(directory.first_key(), b"apple");
        assert_eq!(directory.fence(0), b"apple");
        assert_eq!(directory.fence(1), b"band");
        assert_eq!(directory.fence(2), b"f");
        assert_eq!(directory.last_key(), b"fig");
    }

    #[test]
    fn a_fence_may_be_a_whole_key() {
        let directory = directory(&[(b"a", b"ab"), (b"ab\0", b"b")]);
        assert_eq!(directory.fence(1), b"ab\0");
        assert_eq!(directory.find(b"ab"), 0);
        assert_eq!(directory.find(b"ab\0"), 1);
    }

    #[test]
    fn keys_outside_go_to_the_ends() {
        let directory = directory(&[(b"key1", b"key2"), (b"key3", b"key4")]);
        assert_eq!(directory.find(b""), 0);
        assert_eq!(directory.find(b"key"), 0);
        assert_eq!(directory.find(b"zzz"), 1);
    }

    #[test]
    fn sums_cover_all_pages() {
        let directory = directory(&[(b"a", b"b"), (b"c", b"d")]);
        assert_eq!((directory.pages(), directory.rows(), directory.raw_bytes()), (2, 6, 200));
        assert_eq!(directory.place(0), None);
        assert!(directory.bytes() > 0);
    }

    #[test]
    fn broken_orders_are_refused() {
        let mut image = encode(&placed(&directory(&[(b"a", b"b"), (b"c", b"d")])));
        let length = image.len();
        // The image ends with the fences "a" and "c" and the last key "d".
        *image.last_mut().unwrap() = b'b';
        let rule = |image: &[u8]| Directory::decode(image, 2).unwrap_err().rule;
        assert_eq!(rule(&image), "its last key lies before its last page");
        *image.get_mut(length - 3).unwrap() = b'a';
        assert_eq!(rule(&image), "fences do not ascend");
        assert_eq!(rule(&[0; 39]), "the count of pages is out of range");
        assert_eq!(rule(&[0; 40]), "a page is empty");
        assert_eq!(rule(&[255; 40]), "its pages exceed 4 GiB");
    }

    proptest! {
        #[test]
        fn finds_agree_with_a_scan(
            keys in prop::collection::btree_set(prop::collection::vec(0u8..3, 0..12), 1..40),
            key in prop::collection::vec(0u8..3, 0..12),
        ) {
            let keys: Vec<Vec<u8>> = keys.into_iter().collect();
            let directory = directory_of(&keys);
            let above = (0..keys.len()).take_while(|page| directory.fence(*page) <= &key[..]).count();
            prop_assert_eq!(directory.find(&key), above.saturating_sub(1));
            for (page, key) in keys.iter().enumerate() {
                prop_assert_eq!(directory.find(key), page);
            }
        }

        #[test]
        fn images_round_trip(
            keys in prop::collection::btree_set(prop::collection::vec(0u8..3, 0..12), 1..40),
        ) {
            let directory = placed(&directory_of(&keys.into_iter().collect::<Vec<_>>()));
            let read = Directory::decode(&encode(&directory), directory.pages());
            prop_assert_eq!(read, Ok(directory));
        }

        #[test]
        fn any_bytes_decode_or_fail(
            image in prop::collection::vec(0u8..4, 0..200),
            pages in 0usize..6,
        ) {
            if let Ok(directory) = Directory::decode(&image, pages) {
                prop_assert!(directory.find(b"\x01\x02") < pages);
            }
        }
    }
}
