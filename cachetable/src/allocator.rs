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
    /// `most` pieces, none of which is much longer than [`PIECE_BYTES`]; `keep` bytes of such
    /// extents stay. Shorter ones are not counted, since what is promised may not fit into them.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT: u64 = Extent::UNIT;
    const START: u64 = 2 * UNIT;

    fn extent(offset_units: u64, units: u64) -> Extent {
        Extent { offset: offset_units * UNIT, bytes: units * UNIT }
    }

    /// A file with these extents, and with all its space.
    fn filled(used: impl IntoIterator<Item = Extent>) -> Allocator {
        let mut allocator = Allocator::from_used(START, used).unwrap();
        while let Some(front) = allocator.hollow_front(UNIT, u64::MAX) {
            allocator.fill(front);
        }
        allocator
    }

    fn free_of(allocator: &Allocator) -> Vec<Extent> {
        allocator.check().unwrap();
        allocator.free_extents().collect()
    }

    #[test]
    fn the_lowest_extent_that_fits_is_taken() {
        let used = [extent(3, 1), extent(6, 1), extent(9, 1), extent(11, 1)];
        let mut allocator = filled(used);
        assert_eq!(free_of(&allocator), [extent(2, 1), extent(4, 2), extent(7, 2), extent(10, 1)]);
        assert_eq!(allocator.largest_free(), 2 * UNIT);
        assert_eq!(allocator.allocate(UNIT + 1), extent(4, 2));
        assert_eq!(allocator.allocate(1), extent(2, 1));
        assert_eq!(allocator.allocate(1), extent(7, 1));
        assert_eq!(free_of(&allocator), [extent(8, 1), extent(10, 1)]);
        assert_eq!(allocator.allocate(3 * UNIT), extent(12, 3));
        assert_eq!(allocator.free_bytes(), 2 * UNIT);
    }

    #[test]
    fn free_extents_that_touch_are_found() {
        let mut allocator = filled([extent(5, 1)]);
        allocator.remove(extent(2, 3));
        allocator.insert(extent(2, 2));
        assert_eq!(allocator.check(), Ok(()));
        allocator.insert(extent(4, 1));
        assert_eq!(allocator.check(), Err("free extents neither overlap nor touch"));
    }

    #[test]
    fn a_free_tail_is_extended() {
        let mut allocator = Allocator::new(START);
        assert_eq!(allocator.allocate(4 * UNIT), extent(2, 4));
        allocator.free(extent(4, 2));
        assert_eq!(allocator.end(), 6 * UNIT);
        assert_eq!(allocator.allocate(3 * UNIT), extent(4, 3));
        assert_eq!((allocator.end(), free_of(&allocator)), (7 * UNIT, vec![]));
    }

    #[test]
    fn the_tail_is_cut_on_demand() {
        let mut allocator = Allocator::from_used(START, [extent(2, 8)]).unwrap();
        allocator.free(extent(3, 1));
        assert_eq!(allocator.cut_tail(), 10 * UNIT);
        allocator.free(extent(5, 5));
        assert_eq!(allocator.cut_tail(), 5 * UNIT);
        assert_eq!(free_of(&allocator), [extent(3, 1)]);
        allocator.free(extent(2, 1));
        allocator.free(extent(4, 1));
        assert_eq!(allocator.cut_tail(), START);
        assert_eq!((allocator.free_bytes(), allocator.largest_free()), (0, 0));
    }

    #[test]
    fn bad_used_extents_are_refused() {
        let beyond = Extent { offset: u64::MAX - UNIT + 1, bytes: 2 * UNIT };
        let bad = [
            vec![extent(1, 2)],
            vec![extent(2, 0)],
            vec![Extent { offset: START + 1, bytes: UNIT }],
            vec![Extent { offset: START, bytes: UNIT - 1 }],
            vec![extent(4, 2), extent(5, 1)],
            vec![extent(4, 2), extent(2, 1)],
            vec![beyond],
        ];
        for used in bad {
            let offset = used.last().unwrap().offset;
            assert_eq!(Allocator::from_used(START, used).err().unwrap().offset, offset);
        }
    }

    #[test]
    fn wrong_frees_panic() {
        let mut allocator = Allocator::from_used(START, [extent(2, 8)]).unwrap();
        allocator.free(extent(4, 2));
        let wrong = [extent(4, 1), extent(3, 2), extent(5, 2), extent(3, 4), extent(1, 1)];
        for extent in wrong.into_iter().chain([extent(9, 2), extent(2, 0)]) {
            let mut copy = allocator.clone();
            let freed = std::panic::catch_unwind(move || copy.free(extent));
            assert!(freed.is_err(), "{extent:?}");
        }
    }

    /// What each unit is. As slow as it is plain.
    struct Model {
        units: Vec<Unit>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Unit {
        Used,
        Free,
        Hollow,
    }

    impl Model {
        fn allocate(&mut self, units: usize) -> Extent {
            let tail = self.units.iter().rev().take_while(|unit| **unit == Unit::Free).count();
            let is_free = |window: &[Unit]| window.iter().all(|unit| *unit == Unit::Free);
            let fits = self.units.windows(units).position(is_free);
            let place = fits.unwrap_or(self.units.len() - tail);
            let length = self.units.len().max(place + units);
            self.units.resize(length, Unit::Free);
            let taken = extent(2 + place as u64, units as u64);
            self.turn(taken, Unit::Free, Unit::Used);
            taken
        }

        /// Turns a stretch of `from` into one of `into`.
        fn turn(&mut self, extent: Extent, from: Unit, into: Unit) {
            let place = usize::try_from((extent.offset - START) / UNIT).unwrap();
            let units = usize::try_from(extent.bytes / UNIT).unwrap();
            let stretch = &mut self.units[place..place + units];
            assert!(stretch.iter().all(|unit| *unit == from), "{stretch:?}");
            stretch.fill(into);
        }

        fn cut_tail(&mut self, goes: fn(Unit) -> bool) -> u64 {
            while self.units.last().is_some_and(|unit| goes(*unit)) {
                self.units.pop();
            }
            START + self.units.len() as u64 * UNIT
        }

        fn all(&self, is: fn(Unit) -> bool) -> Vec<Extent> {
            stretches((0..self.units.len()).filter(|place| is(self.units[*place])))
        }

        /// As after an opening: gaps may have been punched.
        fn reopen(&mut self) {
            self.cut_tail(|unit| unit != Unit::Used);
            for gap in self.all(|unit| unit != Unit::Used) {
                let place = usize::try_from((gap.offset - START) / UNIT).unwrap();
                let units = usize::try_from(gap.bytes / UNIT).unwrap();
                self.units[place..][..units].fill(Unit::Hollow);
            }
        }
    }

    fn stretches(places: impl Iterator<Item = usize>) -> Vec<Extent> {
        let mut found: Vec<Extent> = Vec::new();
        for place in places {
            let unit = extent(2 + place as u64, 1);
            match found.last_mut().filter(|last| last.end() == unit.offset) {
                Some(last) => last.bytes += UNIT,
                None => found.push(unit),
            }
        }
        found
    }

    #[derive(Clone, Debug)]
    enum Step {
        Allocate(u64),
        Free(prop::sample::Index),
        FreeHalf(prop::sample::Index),
        HollowOut(u64),
        Fill(u64),
        CutTail,
        CutHollowTail,
        Rebuild,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..24 * UNIT).prop_map(Step::Allocate),
            5 => any::<prop::sample::Index>().prop_map(Step::Free),
            2 => any::<prop::sample::Index>().prop_map(Step::FreeHalf),
            2 => (1..100 * UNIT).prop_map(Step::HollowOut),
            2 => (1..24 * UNIT).prop_map(Step::Fill),
            1 => Just(Step::CutTail),
            1 => Just(Step::CutHollowTail),
            1 => Just(Step::Rebuild),
        ]
    }

    /// The allocator, the model, and what is allocated.
    struct Pair {
        allocator: Allocator,
        model: Model,
        live: Vec<Extent>,
    }

    impl Pair {
        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Allocate(bytes) => {
                    let units = usize::try_from(bytes.div_ceil(UNIT)).unwrap();
                    let taken = self.allocator.allocate(bytes);
                    assert_eq!(taken, self.model.allocate(units));
                    self.live.push(taken);
                }
                Step::Free(ref index) if !self.live.is_empty() => {
                    let extent = self.live.swap_remove(index.index(self.live.len()));
                    self.free(extent);
                }
                Step::FreeHalf(ref index) if !self.live.is_empty() => {
                    let index = index.index(self.live.len());
                    let whole = self.live.swap_remove(index);
                    let half = Extent::round_up(whole.bytes / 2);
                    self.free(Extent { bytes: half, ..whole });
                    let rest = Extent { offset: whole.offset + half, bytes: whole.bytes - half };
                    self.live.extend(Some(rest).filter(|rest| rest.bytes > 0));
                }
                Step::Free(_) | Step::FreeHalf(_) => {}
                Step::HollowOut(bytes) => self.hollow_out(bytes),
                Step::Fill(bytes) => self.fill_front(Extent::round_up(bytes)),
                Step::CutTail => {
                    let end = self.model.cut_tail(|unit| unit == Unit::Free);
                    assert_eq!(self.allocator.cut_tail(), end);
                }
                Step::CutHollowTail => {
                    let before = self.model.units.len();
                    self.model.cut_tail(|unit| unit == Unit::Hollow);
                    let is_cut = self.model.units.len() < before;
                    assert_eq!(self.allocator.cut_hollow_tail(), is_cut);
                }
                Step::Rebuild => {
                    self.model.reopen();
                    let used = self.model.all(|unit| unit == Unit::Used);
                    self.allocator = Allocator::from_used(START, used).unwrap();
                }
            }
        }

        fn free(&mut self, extent: Extent) {
            self.allocator.free(extent);
            self.model.turn(extent, Unit::Used, Unit::Free);
        }

        fn hollow_out(&mut self, bytes: u64) {
            let free = |model: &Model| model.all(|unit| unit == Unit::Free);
            let long = |extents: Vec<Extent>| -> u64 {
                let bytes = extents.iter().map(|extent| extent.bytes);
                bytes.filter(|bytes| *bytes >= HOLE_BYTES).sum()
            };
            let before = long(free(&self.model));
            let hollowed = self.allocator.hollow_out(bytes, 3);
            assert!(hollowed.len() <= 3);
            let gone: u64 = hollowed.iter().map(|extent| extent.bytes).sum();
            assert!(gone == 0 || before - gone >= bytes, "{before} {gone} {bytes}");
            for extent in hollowed {
                assert!(extent.bytes >= HOLE_BYTES);
                self.model.turn(extent, Unit::Free, Unit::Hollow);
            }
        }

        fn fill_front(&mut self, bytes: u64) {
            let hollow = self.model.all(|unit| unit == Unit::Hollow);
            let lowest = hollow.into_iter().find(|extent| extent.bytes >= bytes);
            let front = self.allocator.hollow_front(bytes, 4 * UNIT);
            assert_eq!(front.map(|front| front.offset), lowest.map(|lowest| lowest.offset));
            let Some(front) = front else { return };
            assert!(front.bytes >= bytes && front.bytes <= bytes.max(4 * UNIT));
            self.allocator.fill(front);
            self.model.turn(front, Unit::Hollow, Unit::Free);
        }

        fn check(&self) {
            let free = self.model.all(|unit| unit == Unit::Free);
            assert_eq!(free_of(&self.allocator), free);
            let hollow: Vec<_> = self.allocator.hollow_extents().collect();
            assert_eq!(hollow, self.model.all(|unit| unit == Unit::Hollow));
            assert_eq!(self.allocator.end(), START + self.model.units.len() as u64 * UNIT);
            let longest = free.iter().map(|extent| extent.bytes).max();
            assert_eq!(self.allocator.largest_free(), longest.unwrap_or(0));
            let mut live = self.live.clone();
            live.sort_unstable();
            assert!(live.windows(2).all(|pair| pair[0].end() <= pair[1].offset));
            let bytes: u64 = live.iter().map(|extent| extent.bytes).sum();
            let hollow: u64 = hollow.iter().map(|extent| extent.bytes).sum();
            assert_eq!(bytes + self.allocator.free_bytes() + hollow + START, self.allocator.end());
        }
    }

    #[test]
    fn long_extents_become_holes_in_pieces_from_their_end() {
        const MIB: u64 = 1 << 20;
        let mut allocator = Allocator::new(0);
        let long = allocator.allocate(10 * MIB + UNIT);
        allocator.allocate(UNIT);
        allocator.free(long);
        let first = allocator.hollow_out(6 * MIB, 3);
        let at = |offset: u64, bytes: u64| Extent { offset, bytes };
        let expected = [9, 8, 7].map(|mib| at(mib * MIB + UNIT, MIB));
        assert_eq!(first, expected);
        assert_eq!(allocator.hollow_out(6 * MIB, 3), [at(6 * MIB + UNIT, MIB)]);
        assert_eq!(allocator.hollow_out(6 * MIB, 3), []);
        assert_eq!(allocator.free_bytes(), 6 * MIB + UNIT);
        let rest = allocator.hollow_out(0, 100);
        assert_eq!(rest.len(), 6);
        assert_eq!(rest.last(), Some(&at(0, MIB + UNIT)), "no sliver is left");
        assert_eq!(allocator.hollow_bytes(), long.bytes);
        let all: Vec<Extent> = allocator.hollow_pieces(0).collect();
        assert_eq!(all.len(), 10);
        assert_eq!(all.last(), Some(&at(9 * MIB, MIB + UNIT)));
        let behind: Vec<Extent> = allocator.hollow_pieces(9 * MIB - UNIT).collect();
        assert_eq!(behind, [at(9 * MIB - UNIT, MIB + 2 * UNIT)]);
        assert!(allocator.hollow_pieces(long.end() - UNIT).next().is_none(), "too short for one");
    }

    proptest! {
        #[test]
        fn it_does_what_a_bitmap_does(steps in prop::collection::vec(step(), 1..200)) {
            let mut pair = Pair {
                allocator: Allocator::new(START),
                model: Model { units: Vec::new() },
                live: Vec::new(),
            };
            for step in steps {
                pair.apply(&step);
                pair.check();
            }
        }
    }
}
