//! Sorted messages: references to segments, one after the other.
//!
//! ```text
//! run    [ segment 7: a..f | segment 9: g..m, clipped to g..k | segment 12: n..z ]
//!        [ range deletes: c..p @12 ]
//! ```
//!
//! Range deletes stand beside the segments, not in them, and are consulted whatever a filter says.
//!
//! Invariants, checked by [`Run::check`]:
//! 1. references ascend and do not overlap, after clipping;
//! 2. no reference is clipped to nothing that its bounds can tell;
//! 3. every MSN lies between `oldest` and `newest`;
//! 4. range deletes are sorted and disjoint, see [`Tombstones`].

use std::sync::Arc;

pub use crate::bounds::Bounds;
use crate::key_head::KeyHeads;
use crate::segment::{Key, Segment};
use crate::tombstone::Tombstones;
use crate::{Msn, Violation};

/// A reference to a segment, clipped to the part that its owner uses. Only ever shrinks.
#[derive(Clone, Debug)]
pub struct SegmentRef {
    /// The segment.
    pub segment: Arc<Segment>,
    /// What the MSN offsets in its pages count from.
    pub base: Msn,
    /// Keys below it are not part of the reference.
    pub lower: Option<Key>,
    /// Keys from here on are not part of the reference.
    pub upper: Option<Key>,
    /// The uncompressed bytes referred to; an estimate when clipped.
    pub bytes: u64,
    /// The keys referred to; an estimate when clipped.
    pub rows: u64,
}

impl SegmentRef {
    /// The whole of `segment`.
    pub fn whole(segment: Arc<Segment>, base: Msn) -> SegmentRef {
        let facts = segment.facts();
        let (bytes, rows) = (facts.bytes, facts.rows);
        SegmentRef { segment, base, lower: None, upper: None, bytes, rows }
    }

    /// A key at or below every key referred to.
    pub fn first(&self) -> &[u8] {
        let first = &self.segment.facts().first;
        self.lower.as_ref().map_or(&**first, |lower| lower.max(first))
    }

    /// The last key of the segment, even where the reference ends before it.
    pub fn last(&self) -> &[u8] {
        &self.segment.facts().last
    }

    /// Whether a part was cut off.
    pub fn is_clipped(&self) -> bool {
        self.lower.is_some() || self.upper.is_some()
    }

    /// Whether `key` could be in it.
    pub fn covers(&self, key: &[u8]) -> bool {
        self.first() <= key && !self.is_below(key)
    }

    /// Whether every key referred to is smaller than `key`.
    pub fn is_below(&self, key: &[u8]) -> bool {
        self.last() < key || self.upper.as_ref().is_some_and(|upper| **upper <= *key)
    }

    /// Whether a key referred to may lie within `bounds`.
    pub fn may_meet(&self, bounds: &Bounds) -> bool {
        let begins_before = bounds.upper.as_ref().is_none_or(|upper| *self.first() < **upper);
        begins_before && !self.is_below(&bounds.lower)
    }

    /// Whether every key referred to is smaller than every key of `next`.
    pub fn is_before(&self, next: &SegmentRef) -> bool {
        self.is_below(next.first())
    }

    /// The part within `bounds`; `None` when that is nothing.
    pub fn clip(&self, bounds: &Bounds) -> Option<SegmentRef> {
        if self.is_below(&bounds.lower) {
            return None;
        }
        if bounds.upper.as_ref().is_some_and(|upper| **upper <= *self.first()) {
            return None;
        }
        let mut part = self.clone();
        if *bounds.lower > *self.first() {
            part.lower = Some(bounds.lower.clone());
        }
        if let Some(upper) = &bounds.upper
            && **upper <= *self.last()
            && self.upper.as_ref().is_none_or(|old| upper < old)
        {
            part.upper = Some(upper.clone());
        }
        part.estimate(self);
        Some(part)
    }

    /// Bounds that hold every key referred to, and are within those of the reference.
    pub fn bounds(&self) -> Bounds {
        let behind = || self.last().iter().copied().chain([0]).collect();
        let upper = self.upper.clone().unwrap_or_else(behind);
        Bounds { lower: Key::from(self.first()), upper: Some(upper) }
    }

    /// What is left outside `gone`, which ascend and do not overlap; the reference itself when that
    /// is everything.
    pub fn without(&self, gone: &[Bounds]) -> Vec<SegmentRef> {
        let mut left = Vec::new();
        let mut rest = Some(self.clone());
        for hole in gone {
            let Some(part) = rest.take() else { break };
            let before = Bounds { lower: Key::from([]), upper: Some(hole.lower.clone()) };
            left.extend(part.clip(&before));
            rest = hole.upper.clone().and_then(|lower| part.clip(&Bounds { lower, upper: None }));
        }
        left.extend(rest);
        left
    }

    /// Recomputes the size from the directory; where that is not resident, half of what it was.
    fn estimate(&mut self, whole: &SegmentRef) {
        if self.lower == whole.lower && self.upper == whole.upper {
            return;
        }
        match self.segment.resident() {
            Some(part) => {
                let directory = &part.meta().directory;
                let from = self.lower.as_ref().map_or(0, |lower| directory.find(lower));
                let to = self.upper.as_ref().map_or(directory.pages() - 1, |u| directory.find(u));
                let pages = (from..=to.max(from)).map(|page| directory.summary(page));
                (self.bytes, self.rows) = pages.fold((0, 0), |(bytes, rows), page| {
                    (bytes + u64::from(page.raw_bytes), rows + u64::from(page.rows))
                });
            }
            None => (self.bytes, self.rows) = (whole.bytes.div_ceil(2), whole.rows.div_ceil(2)),
        }
    }
}

/// The first key of one of `parts`.
fn first_of(parts: &[SegmentRef], part: usize) -> &[u8] {
    parts.get(part).map_or(&[], SegmentRef::first)
}

/// Sorted messages; see the module's head. A copy of one shares the references.
#[derive(Clone, Debug, Default)]
pub struct Run {
    segments: Arc<[SegmentRef]>,
    /// Those of the references' first keys.
    heads: KeyHeads,
    tombstones: Tombstones,
    oldest: Msn,
    newest: Msn,
    bytes: u64,
    rows: u64,
}

impl Run {
    /// The run of `segments`, which ascend, with messages from `oldest` to `newest`.
    pub fn new(segments: Vec<SegmentRef>, oldest: Msn, newest: Msn) -> Run {
        // Saturating, since the numbers may come from disk.
        let bytes = segments.iter().map(|part| part.bytes).fold(0, u64::saturating_add);
        let rows = segments.iter().map(|part| part.rows).fold(0, u64::saturating_add);
        let run =
            Run { bytes, rows, ..Run::unchecked(segments, Tombstones::default(), oldest, newest) };
        debug_assert_eq!(run.check(), Ok(()));
        run
    }

    /// A run that may break every rule, for tests of those who look for that.
    #[doc(hidden)]
    pub fn unchecked(
        segments: Vec<SegmentRef>,
        tombstones: Tombstones,
        oldest: Msn,
        newest: Msn,
    ) -> Run {
        let heads = KeyHeads::of(segments.len(), |part| first_of(&segments, part));
        let segments = segments.into();
        Run { segments, heads, tombstones, oldest, newest, bytes: 0, rows: 0 }
    }

    /// The run with range deletes besides, which count as bytes.
    #[must_use]
    pub fn with_tombstones(mut self, tombstones: Tombstones) -> Run {
        self.bytes = self.bytes.saturating_add(tombstones.bytes());
        self.tombstones = tombstones;
        debug_assert_eq!(self.check(), Ok(()));
        self
    }

    /// The same messages, numbered from `to` on instead of from `from` on.
    #[must_use]
    pub fn renumbered(&self, from: Msn, to: Msn) -> Run {
        let moved = |msn: Msn| Msn::from_raw(msn.to_raw() - from.to_raw() + to.to_raw());
        let part = |part: &SegmentRef| SegmentRef { base: moved(part.base), ..part.clone() };
        let segments = self.segments.iter().map(part).collect();
        let run = Run::new(segments, moved(self.oldest), moved(self.newest));
        run.with_tombstones(self.tombstones.renumbered(from, to))
    }

    /// Its range deletes.
    pub fn tombstones(&self) -> &Tombstones {
        &self.tombstones
    }

    /// The references, ascending.
    pub fn segments(&self) -> &[SegmentRef] {
        &self.segments
    }

    /// No message is older.
    pub fn oldest(&self) -> Msn {
        self.oldest
    }

    /// No message is newer.
    pub fn newest(&self) -> Msn {
        self.newest
    }

    /// Uncompressed bytes, an estimate where clipped.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keys, an estimate where clipped.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.tombstones.is_empty()
    }

    /// The one reference in which `key` could be.
    pub fn locate(&self, key: &[u8]) -> Option<&SegmentRef> {
        let next = self.heads.count_up_to(key, |part| first_of(&self.segments, part));
        self.segments.get(next.checked_sub(1)?).filter(|part| !part.is_below(key))
    }

    /// A key at or below every key that it says something of.
    pub fn first(&self) -> Option<&[u8]> {
        let rows = self.segments.first().map(SegmentRef::first);
        let deleted = self.tombstones.pieces().first().map(|piece| &*piece.lower);
        rows.into_iter().chain(deleted).min()
    }

    /// Bounds that hold every key that it says something of; `None` when it says nothing.
    pub fn bounds(&self) -> Option<Bounds> {
        let lower = Key::from(self.first()?);
        let rows = self.segments.last().map(|part| part.bounds().upper);
        let deleted = self.tombstones.pieces().last().map(|piece| piece.upper.clone());
        let ends = rows.into_iter().chain(deleted);
        let upper = ends.reduce(|one, other| Some(one?.max(other?))).flatten();
        Some(Bounds { lower, upper })
    }

    /// The part within `bounds`; `None` when that is nothing.
    pub fn clip(&self, bounds: &Bounds) -> Option<Run> {
        let parts: Vec<_> = self.segments.iter().filter_map(|part| part.clip(bounds)).collect();
        let run = Run::new(parts, self.oldest, self.newest);
        let run = run.with_tombstones(self.tombstones.clip(bounds));
        (!run.is_empty()).then_some(run)
    }

    /// Whether all of it lies within `bounds`, as far as can be told without reading.
    pub fn is_within(&self, bounds: &Bounds) -> bool {
        let rows_are = self.segments.iter().all(|part| {
            let ends_within = bounds.upper.as_ref().is_none_or(|upper| part.is_below(upper));
            *bounds.lower <= *part.first() && ends_within
        });
        rows_are && self.tombstones.is_within(bounds)
    }

    /// Checks the invariants of the module's head, as far as they show without reading pages.
    pub fn check(&self) -> Result<(), Violation> {
        let ascends = |pair: &[SegmentRef]| match pair {
            [left, right] => left.is_before(right),
            _ => true,
        };
        if !self.segments.windows(2).all(ascends) {
            return Err(Violation("the segments of a run overlap or do not ascend"));
        }
        if self.segments.iter().any(|part| part.is_below(part.first())) {
            return Err(Violation("a reference to a segment is clipped to nothing"));
        }
        if self.oldest > self.newest || self.segments.iter().any(|part| part.base > self.newest) {
            return Err(Violation("the MSN interval of a run is not one"));
        }
        let outside = |(oldest, newest)| oldest < self.oldest || newest > self.newest;
        if self.tombstones.interval().is_some_and(outside) {
            return Err(Violation("a range delete lies outside the MSN interval of its run"));
        }
        self.tombstones.check()
    }

    /// Whether the two have a key in common, as far as can be told without reading.
    pub fn overlaps(&self, other: &Run) -> bool {
        let meets = |left: &SegmentRef, right: &SegmentRef| {
            !left.is_before(right) && !right.is_before(left)
        };
        let covers = |covering: &Run, covered: &Run| {
            covering.tombstones.pieces().iter().any(|piece| {
                let bounds = piece.bounds();
                let rows = covered.segments.iter().any(|part| part.clip(&bounds).is_some());
                rows || !covered.tombstones.clip(&bounds).is_empty()
            })
        };
        let rows =
            self.segments.iter().any(|left| other.segments.iter().any(|right| meets(left, right)));
        rows || covers(self, other) || covers(other, self)
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail so")]
mod tests {
    use super::*;
    use crate::segment::{Content, SegmentFacts, SegmentPlace};
    use crate::{Extent, MetaPlace, SegmentId};

    fn part(first: &str, last: &str) -> SegmentRef {
        let (first, last) = (Key::from(first.as_bytes()), Key::from(last.as_bytes()));
        let id = SegmentId::from_raw(1);
        let facts = SegmentFacts { id, first, last, rows: 1, bytes: 1, content: Content::Plain };
        let extent = Extent { offset: 8192, bytes: 4096 };
        let meta = MetaPlace { offset: 0, bytes: 1, checksum: 0 };
        let segment = Arc::new(Segment::written(facts, SegmentPlace { extent, meta }));
        SegmentRef::whole(segment, Msn::from_raw(3))
    }

    /// A run that nobody has checked.
    fn run(segments: Vec<SegmentRef>, oldest: u64, newest: u64) -> Run {
        let (oldest, newest) = (Msn::from_raw(oldest), Msn::from_raw(newest));
        Run::unchecked(segments, Tombstones::default(), oldest, newest)
    }

    fn bounds(lower: &str, upper: &str) -> Bounds {
        let key = |text: &str| Key::from(text.as_bytes());
        Bounds { lower: key(lower), upper: Some(key(upper)) }
    }

    #[test]
    fn each_broken_invariant_is_found_and_named() {
        assert_eq!(run(vec![part("a", "c"), part("d", "f")], 3, 9).check(), Ok(()));
        let overlap = Violation("the segments of a run overlap or do not ascend");
        assert_eq!(run(vec![part("a", "d"), part("d", "f")], 3, 9).check(), Err(overlap));
        assert_eq!(run(vec![part("d", "f"), part("a", "c")], 3, 9).check(), Err(overlap));
        let interval = Violation("the MSN interval of a run is not one");
        assert_eq!(run(vec![part("a", "c")], 9, 3).check(), Err(interval));
        assert_eq!(run(vec![part("a", "c")], 1, 2).check(), Err(interval));
        let mut nothing = part("a", "c");
        nothing.lower = Some(Key::from(&b"d"[..]));
        let clipped = Violation("a reference to a segment is clipped to nothing");
        assert_eq!(run(vec![nothing], 3, 9).check(), Err(clipped));
    }

    #[test]
    fn a_clip_keeps_just_what_lies_within() {
        let whole = run(vec![part("a", "c"), part("d", "h"), part("k", "m")], 3, 9);
        let cut = whole.clip(&bounds("e", "l")).map(|run| run.segments);
        let cut = cut.unwrap_or_default();
        assert_eq!(cut.len(), 2);
        assert_eq!((cut[0].first(), cut[0].upper.as_deref()), (&b"e"[..], None));
        assert_eq!((cut[1].first(), cut[1].upper.as_deref()), (&b"k"[..], Some(&b"l"[..])));
        assert!(whole.clip(&bounds("i", "j")).is_none());
        assert!(whole.clip(&bounds("n", "z")).is_none());
        assert!(!whole.is_within(&bounds("a", "m")));
        assert!(whole.is_within(&bounds("a", "n")));
    }

    #[test]
    fn a_clip_never_widens() {
        let once = part("a", "z").clip(&bounds("f", "q"));
        let twice = once.and_then(|part| part.clip(&bounds("b", "x")));
        let bounds_of = |part: SegmentRef| (part.lower, part.upper);
        let expected = (Some(Key::from(&b"f"[..])), Some(Key::from(&b"q"[..])));
        assert_eq!(twice.map(bounds_of), Some(expected));
    }

    #[test]
    fn holes_leave_what_lies_between_them() {
        let left = |holes: &[Bounds]| {
            let text = |key: &[u8]| key.escape_ascii().to_string();
            let part = part("b", "m").without(holes);
            part.iter()
                .map(|part| (text(part.first()), part.upper.as_deref().map(text)))
                .collect::<Vec<_>>()
        };
        let (from, to) = (|key: &str| key.to_owned(), |key: &str| Some(key.to_owned()));
        assert_eq!(left(&[]), [(from("b"), None)]);
        assert_eq!(left(&[bounds("n", "p")]), [(from("b"), None)]);
        assert_eq!(
            left(&[bounds("d", "f"), bounds("f", "h")]),
            [(from("b"), to("d")), (from("h"), None)]
        );
        assert_eq!(left(&[bounds("a", "d"), bounds("k", "z")]), [(from("d"), to("k"))]);
        assert!(left(&[Bounds::all()]).is_empty());
    }

    #[test]
    fn a_key_is_located_in_the_one_reference_that_may_hold_it() {
        let run = run(vec![part("b", "d"), part("f", "h")], 3, 9);
        let found = |key: &str| run.locate(key.as_bytes()).map(|part| part.first().to_vec());
        assert_eq!(found("a"), None);
        assert_eq!(found("b"), Some(b"b".to_vec()));
        assert_eq!(found("d"), Some(b"b".to_vec()));
        assert_eq!(found("e"), None);
        assert_eq!(found("g"), Some(b"f".to_vec()));
        assert_eq!(found("i"), None);
    }
}
