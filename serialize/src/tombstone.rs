//! Range deletes: stretches of keys that were deleted, and when.
//!
//! ```text
//! said        [b ------- f) @3        [d ---------- m) @7
//! pieces      [b - d) 3  [d - f) 7 3  [f --- m) 7             sorted, disjoint, newest first
//! ```
//!
//! A range delete stays one message however many keys it covers: it is cut only where others begin
//! or end. A key is covered by at most one piece, found by one binary search.
//!
//! Invariants, checked by [`Tombstones::check`]:
//! 1. pieces ascend, do not overlap, and none is empty;
//! 2. every piece has at least one MSN, and its MSNs strictly descend.

use std::sync::Arc;

use crate::bounds::Bounds;
use crate::fold::Horizon;
use crate::segment::Key;
use crate::{Msn, Sight, Violation};

/// A stretch of keys, and the range deletes that cover all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The first key covered.
    pub lower: Key,
    /// The first key behind; `None` for no end.
    pub upper: Option<Key>,
    /// When it was deleted, newest first.
    pub msns: Arc<[u64]>,
}

impl Tombstone {
    /// The newest delete that a reader sees.
    pub fn visible_at(&self, sight: Sight) -> Option<u64> {
        self.msns.iter().copied().find(|deleted| sight.sees(*deleted))
    }

    /// The keys covered.
    pub fn bounds(&self) -> Bounds {
        Bounds { lower: self.lower.clone(), upper: self.upper.clone() }
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        *self.lower > *key
    }

    fn ends_by(&self, key: &[u8]) -> bool {
        self.upper.as_ref().is_some_and(|upper| **upper <= *key)
    }
}

/// The range deletes of a run or a memtable; see the module's head. A clone is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones(Option<Arc<[Tombstone]>>);

impl Tombstones {
    /// One range delete; nothing when the range is empty.
    pub fn one(bounds: &Bounds, msn: Msn) -> Tombstones {
        if bounds.is_empty() {
            return Tombstones::default();
        }
        let Bounds { lower, upper } = bounds.clone();
        Tombstones::new(vec![Tombstone { lower, upper, msns: Arc::new([msn.to_raw()]) }])
    }

    /// Takes pieces as they are, for decoders and tests: [`Tombstones::check`] tells what is wrong
    /// with them.
    pub fn new(pieces: Vec<Tombstone>) -> Tombstones {
        if pieces.is_empty() { Tombstones(None) } else { Tombstones(Some(pieces.into())) }
    }

    /// The pieces, ascending.
    pub fn pieces(&self) -> &[Tombstone] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many messages the pieces name; one that was cut counts once a piece.
    pub fn entries(&self) -> usize {
        self.pieces().iter().map(|piece| piece.msns.len()).sum()
    }

    /// What they weigh in a buffer, in bytes: their keys and what a piece takes beside them.
    pub fn bytes(&self) -> u64 {
        const PIECE_BYTES: usize = 64;
        let keys = |piece: &Tombstone| {
            piece.lower.len() + piece.upper.as_ref().map_or(0, |upper| upper.len())
        };
        let bytes = |piece: &Tombstone| PIECE_BYTES + keys(piece) + 8 * piece.msns.len();
        self.pieces().iter().map(|piece| bytes(piece) as u64).sum()
    }

    /// The piece that covers `key`.
    pub fn covering(&self, key: &[u8]) -> Option<&Tombstone> {
        let next = self.pieces().partition_point(|piece| piece.ends_by(key));
        self.pieces().get(next).filter(|piece| !piece.is_behind(key))
    }

    /// The piece that covers the keys right before `key` (the last keys of all, for `None`).
    pub fn covering_before(&self, key: Option<&[u8]>) -> Option<&Tombstone> {
        let Some(key) = key else {
            return self.pieces().last().filter(|piece| piece.upper.is_none());
        };
        let behind = self.pieces().partition_point(|piece| *piece.lower < *key);
        let piece = self.pieces().get(behind.checked_sub(1)?)?;
        piece.upper.as_ref().is_none_or(|upper| **upper >= *key).then_some(piece)
    }

    /// When `key` was deleted, newest first.
    pub fn covers(&self, key: &[u8]) -> &[u64] {
        self.covering(key).map_or(&[], |piece| &piece.msns)
    }

    /// The newest and the oldest MSN of all; `None` without pieces.
    pub fn interval(&self) -> Option<(Msn, Msn)> {
        let all = || self.pieces().iter().flat_map(|piece| piece.msns.iter().copied());
        Some((Msn::from_raw(all().min()?), Msn::from_raw(all().max()?)))
    }

    /// The part within `bounds`.
    #[must_use]
    pub fn clip(&self, bounds: &Bounds) -> Tombstones {
        if self.is_within(bounds) {
            return self.clone();
        }
        let from = self.pieces().partition_point(|piece| piece.ends_by(&bounds.lower));
        let is_within =
            |piece: &&Tombstone| bounds.upper.as_ref().is_none_or(|upper| piece.lower < *upper);
        let pieces = self.pieces().iter().skip(from).take_while(is_within);
        let cut = |piece: &Tombstone| {
            let Bounds { lower, upper } = piece.bounds().intersection(bounds);
            Tombstone { lower, upper, msns: piece.msns.clone() }
        };
        let empty = |piece: &Tombstone| !piece.bounds().is_empty();
        Tombstones::new(pieces.map(cut).filter(empty).collect())
    }

    /// Whether all of them lie within `bounds`.
    pub fn is_within(&self, bounds: &Bounds) -> bool {
        let (Some(first), Some(last)) = (self.pieces().first(), self.pieces().last()) else {
            return true;
        };
        let ends = match (&last.upper, &bounds.upper) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(upper), Some(most)) => upper <= most,
        };
        *first.lower >= *bounds.lower && ends
    }

    /// All of `lists` in one, cut where they begin and end.
    pub fn merged<'a>(lists: impl IntoIterator<Item = &'a Tombstones>) -> Tombstones {
        let lists: Vec<&Tombstones> = lists.into_iter().filter(|list| !list.is_empty()).collect();
        match lists.as_slice() {
            [] => Tombstones::default(),
            [only] => (*only).clone(),
            many => merge(many),
        }
    }

    /// Those at or below `newest`.
    #[must_use]
    pub fn up_to(&self, newest: Msn) -> Tombstones {
        let pieces = self.pieces().iter().filter_map(|piece| {
            let older = piece.msns.iter().copied().filter(|msn| *msn <= newest.to_raw());
            let msns: Arc<[u64]> = older.collect();
            (!msns.is_empty()).then(|| Tombstone { msns, ..piece.clone() })
        });
        join(pieces)
    }

    /// The same range deletes, numbered from `to` on instead of from `from` on.
    #[must_use]
    pub fn renumbered(&self, from: Msn, to: Msn) -> Tombstones {
        let moved = |msn: &u64| msn - from.to_raw() + to.to_raw();
        let pieces = self.pieces().iter().map(|piece| {
            let msns = piece.msns.iter().map(moved).collect();
            Tombstone { msns, ..piece.clone() }
        });
        Tombstones::new(pieces.collect())
    }

    /// Without the MSNs that nobody can tell from newer ones of the same piece, and with
    /// neighbours joined that have become alike.
    #[must_use]
    pub fn folded(&self, horizon: &Horizon) -> Tombstones {
        let pieces = self.pieces().iter().map(|piece| {
            let mut msns: Vec<u64> = Vec::with_capacity(piece.msns.len());
            for msn in piece.msns.iter().copied() {
                if msns.last().is_none_or(|newer| !horizon.hides(*newer, msn)) {
                    msns.push(msn);
                }
            }
            Tombstone { msns: msns.into(), ..piece.clone() }
        });
        join(pieces)
    }

    /// Checks the invariants of the module's head.
    pub fn check(&self) -> Result<(), Violation> {
        let ascends = |pair: &[Tombstone]| match pair {
            [left, right] => left.ends_by(&right.lower),
            _ => true,
        };
        if !self.pieces().windows(2).all(ascends) {
            return Err(Violation("range deletes overlap or do not ascend"));
        }
        if self.pieces().iter().any(|piece| piece.bounds().is_empty()) {
            return Err(Violation("a range delete covers nothing"));
        }
        let descends = |piece: &Tombstone| {
            !piece.msns.is_empty() && piece.msns.is_sorted_by(|newer, older| newer > older)
        };
        if !self.pieces().iter().all(descends) {
            return Err(Violation("the MSNs of a range delete do not descend"));
        }
        Ok(())
    }
}

/// Cuts `lists` at every place where one of their pieces begins or ends.
fn merge(lists: &[&Tombstones]) -> Tombstones {
    let pieces = || lists.iter().flat_map(|list| list.pieces());
    let lowers = pieces().map(|piece| &piece.lower);
    let uppers = pieces().filter_map(|piece| piece.upper.as_ref());
    let mut cuts: Vec<&Key> = lowers.chain(uppers).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut rests: Vec<&[Tombstone]> = lists.iter().map(|list| list.pieces()).collect();
    let stretches = cuts.iter().enumerate().filter_map(|(index, lower)| {
        let mut msns: Vec<u64> = Vec::new();
        for rest in &mut rests {
            while let [first, behind @ ..] = rest
                && first.ends_by(lower)
            {
                *rest = behind;
            }
            let first = rest.first().filter(|first| !first.is_behind(lower));
            msns.extend(first.map_or(&[][..], |first| &first.msns));
        }
        msns.sort_unstable_by(|one, other| other.cmp(one));
        msns.dedup();
        let upper = cuts.get(index + 1).map(|upper| (*upper).clone());
        (!msns.is_empty()).then(|| Tombstone { lower: (*lower).clone(), upper, msns: msns.into() })
    });
    join(stretches)
}

/// Joins neighbours that touch and were deleted at the same times.
fn join(pieces: impl Iterator<Item = Tombstone>) -> Tombstones {
    let mut joined: Vec<Tombstone> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if last.upper.as_ref() == Some(&piece.lower) && last.msns == piece.msns => {
                last.upper = piece.upper;
            }
            _ => joined.push(piece),
        }
    }
    Tombstones::new(joined)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail so")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> Key {
        Key::from([byte])
    }

    fn bounds(lower: u8, upper: u8) -> Bounds {
        Bounds { lower: key(lower), upper: (upper < 20).then(|| key(upper)) }
    }

    fn all(ranges: &[(u8, u8)]) -> Tombstones {
        let lists: Vec<Tombstones> = ranges
            .iter()
            .zip(1..)
            .map(|((lower, upper), msn)| {
                Tombstones::one(&bounds(*lower, *upper), Msn::from_raw(msn))
            })
            .collect();
        lists.iter().fold(Tombstones::default(), |sum, one| Tombstones::merged([&sum, one]))
    }

    #[test]
    fn ranges_are_cut_only_where_others_begin_or_end() {
        let two = all(&[(2, 6), (4, 9)]);
        let seen: Vec<_> = two
            .pieces()
            .iter()
            .map(|piece| {
                (piece.lower[0], piece.upper.as_ref().map(|upper| upper[0]), piece.msns.to_vec())
            })
            .collect();
        let expected = [(2, Some(4), vec![1]), (4, Some(6), vec![2, 1]), (6, Some(9), vec![2])];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_a_newer_range_hides_is_forgotten_and_neighbours_are_joined() {
        let horizon = |readers: &[u64]| {
            Horizon::new(Msn::from_raw(9), readers.iter().map(|msn| Msn::from_raw(*msn)))
        };
        let three = all(&[(2, 3), (4, 5), (1, 8)]);
        assert_eq!(three.folded(&horizon(&[])).pieces().len(), 1);
        assert_eq!(three.folded(&horizon(&[2])), three);
        assert_eq!(three.folded(&horizon(&[3])).entries(), 1);
    }

    #[test]
    fn each_broken_invariant_is_found_and_named() {
        let piece = |lower, upper, msns: &[u64]| Tombstone {
            lower: key(lower),
            upper: Some(key(upper)),
            msns: msns.into(),
        };
        let check = |pieces| Tombstones::new(pieces).check().map_err(|broken| broken.0);
        assert_eq!(check(vec![piece(1, 2, &[4, 3]), piece(2, 3, &[1])]), Ok(()));
        let overlap = Err("range deletes overlap or do not ascend");
        assert_eq!(check(vec![piece(1, 4, &[4]), piece(2, 3, &[1])]), overlap);
        assert_eq!(check(vec![piece(4, 4, &[4])]), Err("a range delete covers nothing"));
        let order = Err("the MSNs of a range delete do not descend");
        assert_eq!(check(vec![piece(1, 2, &[3, 4])]), order);
        assert_eq!(check(vec![piece(1, 2, &[])]), order);
    }

    proptest! {
        #[test]
        fn every_key_is_covered_as_was_said(ranges in prop::collection::vec((0u8..20, 0u8..24), 0..12)) {
            let tombstones = all(&ranges);
            prop_assert_eq!(tombstones.check(), Ok(()));
            for byte in 0..24 {
                let mut said: Vec<u64> = ranges.iter().zip(1..)
                    .filter(|((lower, upper), _)| *lower <= byte && (byte < *upper || *upper >= 20) && (lower < upper))
                    .map(|(_, msn)| msn).collect();
                said.reverse();
                prop_assert_eq!(tombstones.covers(&[byte]), &said[..], "key {}", byte);
            }
        }

        #[test]
        fn a_clip_keeps_what_lies_within(
            ranges in prop::collection::vec((0u8..20, 0u8..24), 0..12),
            lower in 0u8..20,
            upper in 0u8..24,
        ) {
            let (whole, bounds) = (all(&ranges), bounds(lower, upper));
            let part = whole.clip(&bounds);
            prop_assert_eq!(part.check(), Ok(()));
            prop_assert!(part.is_within(&bounds));
            for byte in 0..24 {
                let expected = if bounds.contains(&[byte]) { whole.covers(&[byte]) } else { &[] };
                prop_assert_eq!(part.covers(&[byte]), expected);
                let before = part.covering_before(Some(&[byte]));
                if let Some(piece) = before {
                    prop_assert!(*piece.lower < [byte][..] && !piece.ends_by(&[byte.saturating_sub(1), 255]));
                }
            }
        }
    }
}
