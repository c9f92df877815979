//! The allocator beside a bitmap.

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
