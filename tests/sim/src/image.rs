//! The bytes of one simulated file.
//!
//! ```text
//! slots   | Data(page) | Hole | Reserved | Data(page) |      length: may end within the last page
//! ```
//!
//! Pages are shared between clones until one of them writes, so a clone costs a counter per page.
//!
//! Invariants:
//! 1. there are exactly as many slots as `length` needs;
//! 2. bytes of the last page from `length` on are zero;
//! 3. `backed` counts the slots that take space: all but holes.

use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

const PAGE_BYTES: usize = 4096;

/// The bytes of a file, and which of them take space.
#[derive(Clone, Default)]
pub struct Image {
    slots: Vec<Slot>,
    length: usize,
    backed: usize,
}

#[derive(Clone)]
enum Slot {
    /// Zeros that take no space.
    Hole,
    /// Zeros whose space is there.
    Reserved,
    Data(Arc<[u8; PAGE_BYTES]>),
}

impl Image {
    /// An image with these bytes.
    pub fn of(bytes: &[u8]) -> Image {
        let mut image = Image::default();
        image.write(bytes, 0);
        image
    }

    /// How long the file is.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many bytes of the disk it takes.
    pub fn space(&self) -> usize {
        self.backed * PAGE_BYTES
    }

    /// How many bytes of the disk it would take in addition if `range` were backed.
    pub fn missing_space(&self, range: Range<usize>) -> usize {
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        let is_missing = |page: &usize| matches!(self.slots.get(*page), None | Some(Slot::Hole));
        pages.filter(is_missing).count() * PAGE_BYTES
    }

    /// Copies bytes out; all of them lie within the length.
    pub fn read(&self, buffer: &mut [u8], offset: usize) {
        assert!(offset + buffer.len() <= self.length);
        for (page, range, target) in pieces(offset..offset + buffer.len()) {
            match &self.slots[page] {
                Slot::Data(data) => buffer[target].copy_from_slice(&data[range]),
                Slot::Hole | Slot::Reserved => buffer[target].fill(0),
            }
        }
    }

    /// Copies bytes in, and grows where needed.
    pub fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.set_length(self.length.max(end));
        for (page, range, source) in pieces(offset..end) {
            self.page(page)[range].copy_from_slice(&bytes[source]);
        }
    }

    /// Cuts, or grows with a hole.
    pub fn set_length(&mut self, length: usize) {
        if length < self.length {
            self.clear(length..self.length);
        }
        let slots = length.div_ceil(PAGE_BYTES);
        let dropped = self.slots.get(slots..).unwrap_or_default();
        self.backed -= dropped.iter().filter(|slot| !matches!(slot, Slot::Hole)).count();
        self.slots.resize(slots, Slot::Hole);
        self.length = length;
    }

    /// Grows to hold `range` and gives every hole in it its space.
    pub fn reserve(&mut self, range: Range<usize>) {
        self.set_length(self.length.max(range.end));
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        for slot in &mut self.slots[pages] {
            if matches!(slot, Slot::Hole) {
                *slot = Slot::Reserved;
                self.backed += 1;
            }
        }
    }

    /// Makes a stretch read as zeros; whole pages become holes.
    pub fn clear(&mut self, range: Range<usize>) {
        let end = range.end.min(self.length);
        for (page, range, _) in pieces(range.start.min(end)..end) {
            let is_whole = range.len() == PAGE_BYTES;
            match &mut self.slots[page] {
                Slot::Hole => {}
                slot if is_whole => {
                    *slot = Slot::Hole;
                    self.backed -= 1;
                }
                Slot::Reserved => {}
                Slot::Data(data) => Arc::make_mut(data)[range].fill(0),
            }
        }
    }

    /// Flips the bits of `mask` in one byte.
    pub fn flip(&mut self, offset: usize, mask: u8) {
        assert!(offset < self.length);
        self.page(offset / PAGE_BYTES)[offset % PAGE_BYTES] ^= mask;
    }

    /// Adds the bytes and the length to a digest.
    pub fn digest(&self, digest: &mut Xxh3) {
        digest.update(&self.length.to_le_bytes());
        for (page, slot) in self.slots.iter().enumerate() {
            if let Slot::Data(data) = slot {
                digest.update(&page.to_le_bytes());
                digest.update(&data[..]);
            }
        }
    }

    /// All bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.read(&mut bytes, 0);
        bytes
    }

    fn page(&mut self, page: usize) -> &mut [u8; PAGE_BYTES] {
        let slot = &mut self.slots[page];
        if !matches!(slot, Slot::Data(_)) {
            self.backed += usize::from(matches!(slot, Slot::Hole));
            *slot = Slot::Data(Arc::new([0; PAGE_BYTES]));
        }
        match slot {
            Slot::Data(data) => Arc::make_mut(data),
            Slot::Hole | Slot::Reserved => unreachable!("the slot has just become data"),
        }
    }
}

/// Cuts a stretch at the pages: the page, the range within it, and the range within the stretch.
fn pieces(stretch: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let mut position = stretch.start;
    std::iter::from_fn(move || {
        if position >= stretch.end {
            return None;
        }
        let (page, start) = (position / PAGE_BYTES, position % PAGE_BYTES);
        let end = PAGE_BYTES.min(start + (stretch.end - position));
        let within = position - stretch.start;
        position += end - start;
        Some((page, start..end, within..within + (end - start)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_does_what_a_vector_does() {
        let mut random = crate::random::Random::new(1);
        let (mut image, mut plain) = (Image::default(), Vec::new());
        for step in 0..2000 {
            let [offset, length] = [30_000, 9_000]
                .map(|bound| usize::try_from(random.below(bound)).expect("the bound is small"));
            let end = offset + length;
            match random.below(4) {
                0 => {
                    image.set_length(end);
                    plain.resize(end, 0);
                }
                1 => {
                    image.clear(offset..end);
                    let end = end.min(plain.len());
                    plain[offset.min(end)..end].fill(0);
                }
                2 => {
                    image.reserve(0..offset);
                    plain.resize(plain.len().max(offset), 0);
                    assert_eq!(image.missing_space(0..offset), 0);
                }
                _ => {
                    image.write(&vec![u8::try_from(step % 255).unwrap(); length], offset);
                    plain.resize(plain.len().max(end * usize::from(length > 0)), 0);
                    plain[offset.min(end)..].iter_mut().take(length).for_each(|byte| {
                        *byte = u8::try_from(step % 255).unwrap();
                    });
                }
            }
            assert_eq!(image.to_vec(), plain);
            let holes = image.missing_space(0..image.length());
            assert_eq!(image.space() + holes, plain.len().next_multiple_of(PAGE_BYTES));
        }
    }

    #[test]
    fn clones_do_not_see_later_writes() {
        let mut image = Image::of(&[1; 10_000]);
        let clone = image.clone();
        image.write(b"x", 5_000);
        image.flip(0, 3);
        assert_eq!(clone.to_vec(), [1; 10_000]);
        assert_eq!((image.to_vec()[0], image.to_vec()[5_000]), (2, b'x'));
    }
}
