//! The free extents of the block file.
//!
//! ```text
//! 0        start                                                    end
//! | super- |  used  |  free  | used |    hollow    |  used  |  free  |  not in the file yet
//! | blocks |        |        |      |              |        |  tail  |
//! ```
//!
//! An allocation takes the front of the free extent with the *lowest offset of all that fit*,
//! exactly; only when none fits does the file grow, and then a free tail is extended rather than
//! skipped. So data gathers at the front, the tail empties, and the file can be cut.
//!
//! An extent is *hollow* when nobody uses it and its space may have been given back to the system:
//! nothing is allocated there before the system has been asked for the space again.
//!
//! Invariants, checked by [`Allocator::check`]:
//! 1. free extents lie within `start..end`, are not empty, and neither overlap nor touch; the same
//!    holds for hollow ones, and no free one overlaps a hollow one;
//! 2. all offsets and lengths are multiples of [`Extent::UNIT`];
//! 3. what is neither free nor hollow in `start..end` is used: each byte belongs to one extent that
//!    somebody allocated.
//!
//! Every change takes expected O(log n) of n free extents. No locks, no I/O, no randomness: the
//! same calls give the same extents.

mod free_tree;
#[cfg(test)]
mod tests;

use sapwood_serialize::{Corruption, Extent};

use free_tree::FreeTree;

/// Smaller extents keep their space: each hole costs the file system an entry of its map, and two
/// calls, to make it and to fill it.
pub const HOLE_BYTES: u64 = 16 << 10;

/// Longer extents become holes piece by piece: the file system lets nobody else write to the file
/// while it makes one, which takes some 0.3 ms a MiB. (A checkpoint waited 134 ms behind a hole of
/// 449 MB.)
const PIECE_BYTES: u64 = 1 << 20;

/// How long a hole to begin with, in an extent of `bytes`; what stays is worth one, too.
fn piece_bytes(bytes: u64) -> u64 {
    if bytes < PIECE_BYTES + HOLE_BYTES { bytes } else { PIECE_BYTES }
}

/// The holes that `extent` is worth, ascending.
fn pieces(extent: Extent) -> impl Iterator<Item = Extent> {
    let mut rest = extent;
    std::iter::from_fn(move || {
        let piece = Extent { bytes: piece_bytes(rest.bytes), ..rest };
        rest = Extent { offset: piece.end(), bytes: rest.bytes - piece.bytes };
        (piece.bytes >= HOLE_BYTES).then_some(piece)
    })
}

/// Knows which extents of the block file are free.
#[derive(Clone)]
pub struct Allocator {
    // Constant after construction.
    start: u64,
    end: u64,
    free: FreeTree,
    free_bytes: u64,
    hollow: FreeTree,
    hollow_bytes: u64,
}

impl Allocator {
    /// A file in which nothing is allocated and that ends at `start`, behind the superblocks.
    ///
    /// # Panics
    /// When `start` is not a multiple of [`Extent::UNIT`].
    pub fn new(start: u64) -> Allocator {
        assert!(is_aligned(start));
        Allocator {
            start,
            end: start,
            free: FreeTree::default(),
            free_bytes: 0,
            hollow: FreeTree::default(),
            hollow_bytes: 0,
        }
    }

    /// A file in which exactly `used`, in ascending order, is allocated and that ends with it. All
    /// gaps are hollow: each may have been punched, or be what was left of a hole.
    ///
    /// # Errors
    /// When an extent is empty, not aligned, out of order, before `start` or beyond 2^64. The
    /// offset of the error is the extent's place in the block file.
    ///
    /// # Panics
    /// When `start` is not a multiple of [`Extent::UNIT`].
    pub fn from_used(
        start: u64,
        used: impl IntoIterator<Item = Extent>,
    ) -> Result<Allocator, Corruption> {
        let mut allocator = Allocator::new(start);
        for extent in used {
            let end = check_used(extent, allocator.end)?;
            let gap = Extent { offset: allocator.end, bytes: extent.offset - allocator.end };
            if gap.bytes > 0 {
                allocator.insert_hollow(gap);
            }
            allocator.end = end;
        }
        Ok(allocator)
    }

    /// Takes `bytes`, rounded up to [`Extent::UNIT`], where the lowest free extent fits them.
    ///
    /// # Panics
    /// When `bytes` is zero, or the file would grow beyond 2^64 bytes.
    pub fn allocate(&mut self, bytes: u64) -> Extent {
        assert!(bytes > 0, "an extent has at least one byte");
        let bytes = bytes.checked_next_multiple_of(Extent::UNIT).expect("extents end below 2^64");
        let Some(offset) = self.free.take_first(bytes) else { return self.grow(bytes) };
        self.free_bytes -= bytes;
        Extent { offset, bytes }
    }

    /// Appends an extent to the file; a free tail becomes its front.
    fn grow(&mut self, bytes: u64) -> Extent {
        let offset = self.cut_tail();
        self.end = offset.checked_add(bytes).expect("a file ends below 2^64");
        Extent { offset, bytes }
    }

    /// Gives an extent, or a part of one, back. It becomes one with free neighbours. A free tail
    /// stays until [`Allocator::cut_tail`].
    ///
    /// # Panics
    /// When the extent is empty, not aligned, out of the file, or partly free already: going on
    /// would let two owners write to one place.
    pub fn free(&mut self, extent: Extent) {
        assert!(extent.bytes > 0 && is_aligned(extent.offset) && is_aligned(extent.bytes));
        let end = extent.offset.checked_add(extent.bytes).expect("extents end below 2^64");
        assert!(extent.offset >= self.start && end <= self.end, "{extent:?} is not in the file");
        let before = self.free.last_before(end);
        for other in before.into_iter().chain(self.hollow.last_before(end)) {
            assert!(other.end() <= extent.offset, "{extent:?} is freed, but {other:?} is free");
        }
        let mut merged = extent;
        if let Some(before) = before.filter(|before| before.end() == extent.offset) {
            self.remove(before);
            merged = Extent { offset: before.offset, bytes: before.bytes + merged.bytes };
        }
        if let Some(after) = self.free.at(end) {
            self.remove(after);
            merged.bytes += after.bytes;
        }
        self.insert(merged);
    }

    /// Drops a free extent at the end of the file, and returns where the file ends now.
    pub fn cut_tail(&mut self) -> u64 {
        let tail = self.free.last_before(u64::MAX).filter(|tail| tail.end() == self.end);
        if let Some(tail) = tail {
            self.remove(tail);
            self.end = tail.offset;
        }
        self.end
    }

    /// The hollow extent at the end of the file.
    pub fn hollow_tail(&self) -> Option<Extent> {
        self.hollow.last_before(u64::MAX).filter(|tail| tail.end() == self.end)
    }

    /// Drops a hollow extent at the end of the file; whether there was one. What lies behind the
    /// new end has to be asked for again.
    pub fn cut_hollow_tail(&mut self) -> bool {
        let tail = self.hollow_tail();
        if let Some(tail) = tail {
            self.remove_hollow(tail);
            self.end = tail.offset;
        }
        tail.is_some()
    }

    /// Makes free extents of at least [`HOLE_BYTES`] hollow, from the last one on, in no more than
    /// `most` pieces, none of which is much longer than a MiB; `keep` bytes of such extents stay.
    /// Shorter ones are not counted, since what is promised may not fit into them.
    pub fn hollow_out(&mut self, keep: u64, most: usize) -> Vec<Extent> {
        let long = self.free.iter().map(|extent| extent.bytes).filter(|bytes| *bytes >= HOLE_BYTES);
        let mut bytes = long.sum::<u64>().saturating_sub(keep);
        let mut found = Vec::new();
        let mut behind = u64::MAX;
        while let Some(extent) = self.free.last_before(behind).filter(|_| found.len() < most) {
            let piece = piece_bytes(extent.bytes);
            if extent.bytes < HOLE_BYTES || piece > bytes {
                behind = extent.offset;
                continue;
            }
            let hole = Extent { offset: extent.end() - piece, bytes: piece };
            behind = hole.offset;
            bytes -= piece;
            self.remove(extent);
            let rest = Extent { bytes: extent.bytes - piece, ..extent };
            if rest.bytes > 0 {
                self.insert(rest);
            }
            self.insert_hollow(hole);
            found.push(hole);
        }
        found
    }

    /// The hollow space from `offset` on that is worth holes, in pieces as those of
    /// [`Allocator::hollow_out`].
    pub fn hollow_pieces(&self, offset: u64) -> impl Iterator<Item = Extent> {
        let behind = self.hollow.iter().filter(move |extent| extent.end() > offset);
        behind.flat_map(move |extent| {
            let begin = extent.offset.max(offset);
            pieces(Extent { offset: begin, bytes: extent.end() - begin })
        })
    }

    fn insert_hollow(&mut self, extent: Extent) {
        let mut merged = extent;
        let before = self.hollow.last_before(extent.offset);
        if let Some(before) = before.filter(|before| before.end() == extent.offset) {
            self.remove_hollow(before);
            merged = Extent { offset: before.offset, bytes: before.bytes + merged.bytes };
        }
        if let Some(after) = self.hollow.at(extent.end()) {
            self.remove_hollow(after);
            merged.bytes += after.bytes;
        }
        self.hollow.insert(merged);
        self.hollow_bytes += merged.bytes;
    }

    fn remove_hollow(&mut self, extent: Extent) {
        self.hollow.remove(extent.offset);
        self.hollow_bytes -= extent.bytes;
    }

    /// The lowest free extent that has `bytes`.
    pub fn lowest_free(&self, bytes: u64) -> Option<Extent> {
        self.free.first(bytes)
    }

    /// The front of the lowest hollow extent that has `least` bytes: up to `ample` bytes.
    pub fn hollow_front(&self, least: u64, ample: u64) -> Option<Extent> {
        let extent = self.hollow.first(least.max(1))?;
        Some(Extent { bytes: extent.bytes.min(ample.max(least)), ..extent })
    }

    /// The front of a hollow extent has its space again, and is free.
    ///
    /// # Panics
    /// When it is not the front of a hollow extent.
    pub fn fill(&mut self, front: Extent) {
        let hollow = self.hollow.at(front.offset).expect("it is the front of a hollow extent");
        assert!(front.bytes > 0 && is_aligned(front.bytes) && front.bytes <= hollow.bytes);
        self.remove_hollow(hollow);
        let rest = Extent { offset: front.end(), bytes: hollow.bytes - front.bytes };
        if rest.bytes > 0 {
            self.insert_hollow(rest);
        }
        self.free(front);
    }

    /// Whether the whole of `extent`, not empty, is the front of a hollow one.
    pub fn is_hollow_front(&self, extent: Extent) -> bool {
        self.hollow.at(extent.offset).is_some_and(|hollow| extent.bytes <= hollow.bytes)
    }

    /// The bytes of all hollow extents.
    pub fn hollow_bytes(&self) -> u64 {
        self.hollow_bytes
    }

    /// All hollow extents in ascending order.
    pub fn hollow_extents(&self) -> impl Iterator<Item = Extent> {
        self.hollow.iter()
    }

    /// Where the file ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The bytes of all free extents.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// The bytes of the longest free extent; zero when nothing is free.
    pub fn largest_free(&self) -> u64 {
        self.free.longest()
    }

    /// All free extents in ascending order.
    pub fn free_extents(&self) -> impl Iterator<Item = Extent> {
        self.free.iter()
    }

    /// Walks everything.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), &'static str> {
        self.free.check()?;
        self.hollow.check()?;
        if !is_aligned(self.start) || !is_aligned(self.end) || self.end < self.start {
            return Err("the file begins and ends at a multiple of the unit");
        }
        self.check_places(&self.free)?;
        self.check_places(&self.hollow)?;
        let ends_before = |free: &Extent| {
            let hollow = self.hollow.last_before(free.end());
            hollow.is_none_or(|hollow| hollow.end() <= free.offset)
        };
        if !self.free.iter().all(|free| ends_before(&free)) {
            return Err("what is free is not hollow");
        }
        let sum = |extents: &FreeTree| extents.iter().map(|extent| extent.bytes).sum::<u64>();
        let are_counted =
            sum(&self.free) == self.free_bytes && sum(&self.hollow) == self.hollow_bytes;
        if are_counted { Ok(()) } else { Err("the free bytes are counted") }
    }

    fn check_places(&self, extents: &FreeTree) -> Result<(), &'static str> {
        let mut behind = None;
        for extent in extents.iter() {
            if extent.bytes == 0 || !is_aligned(extent.offset) || !is_aligned(extent.bytes) {
                return Err("a free extent is a positive multiple of the unit");
            }
            if extent.offset < self.start || extent.bytes > self.end.saturating_sub(extent.offset) {
                return Err("a free extent lies within the file");
            }
            if behind.is_some_and(|behind| extent.offset <= behind) {
                return Err("free extents neither overlap nor touch");
            }
            behind = Some(extent.end());
        }
        Ok(())
    }

    fn insert(&mut self, extent: Extent) {
        self.free.insert(extent);
        self.free_bytes += extent.bytes;
    }

    fn remove(&mut self, extent: Extent) {
        self.free.remove(extent.offset);
        self.free_bytes -= extent.bytes;
    }
}

const fn is_aligned(position: u64) -> bool {
    position.is_multiple_of(Extent::UNIT)
}

/// The end of a used extent that may start at `behind` at the earliest.
fn check_used(extent: Extent, behind: u64) -> Result<u64, Corruption> {
    let wrong = |rule| Err(Corruption::new("used extent", extent.offset, rule));
    if extent.bytes == 0 || !is_aligned(extent.offset) || !is_aligned(extent.bytes) {
        return wrong("it is not a positive multiple of the unit");
    }
    if extent.offset < behind {
        return wrong("it starts before the end of what precedes it");
    }
    match extent.offset.checked_add(extent.bytes) {
        Some(end) => Ok(end),
        None => wrong("it ends beyond the largest file"),
    }
}
