//! The sorted index of a memtable: a linked list of entries that one thread extends while others
//! read it, and a tree of guides that tells where in the list to begin.
//!
//! ```text
//! guides     [ start |  a |  c ]  [ d |  f |  g ]  a slot for each entry, see [`guide`]
//! entries    start -> a -> c -----> d -> f -> g    every entry, in order
//! ```
//!
//! What is in the memtable, and in which order, is what the list says. The guides only make a
//! search short: a reader comes to some entry before the place that it looks for, and goes along
//! the list; the writer comes right there.
//!
//! Invariants:
//! 1. in the list the entries are in strictly ascending order (see [`Position`]);
//! 2. between two insertions, the guides of level 0 have a slot for each entry, in the same order;
//! 3. entries are never unlinked, so a reader may stop and go on at any entry.
//!
//! Threads: one writer at a time, enforced; any number of readers, which never lock, retry or
//! wait. A reader sees at least every entry whose insertion happened before its search began.
#![expect(unsafe_code, reason = "measured: a random insert takes 0.35 us, an ascending one 0.1 us")]

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::AtomicPtr;

use sapwood_cachetable::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sapwood_serialize::{Meter, Msn, Op, TreeId};

use super::ahead::Ahead;
use super::arena::Arena;
use super::entry::{self, Entry, Header, Position};
use super::guide::{GUIDE_BYTES, Guide, Target};

/// Entries in order, and the memory that holds them.
pub(super) struct Index {
    /// Stands before all entries, whatever its own key.
    start: NonNull<Header>,
    /// The guide that all others are found from. A reader that sees an old one only goes a longer
    /// way along the list.
    root: AtomicPtr<Guide>,
    /// Whether somebody has the writer.
    writing: AtomicBool,
    writer: UnsafeCell<Writer>,
    totals: Totals,
}

/// What the entries add up to; stored by the writer alone, read by anyone.
#[derive(Default)]
pub(super) struct Totals {
    /// Entries.
    pub(super) rows: AtomicU64,
    /// Bytes of keys and payloads.
    pub(super) user_bytes: AtomicU64,
    /// Bytes of entries, and of guides but the first.
    pub(super) bytes: AtomicU64,
}

/// The two neighbours of a place in the order.
pub(super) struct Split<'a> {
    /// The last entry before the place, if there is one.
    pub(super) last: Option<Entry<'a>>,
    /// The first entry behind it, if there is one.
    pub(super) next: Option<Entry<'a>>,
}

/// Entries that one guide of level 0 leads to.
pub(super) struct Span<'a> {
    pub(super) first: Entry<'a>,
    pub(super) entries: usize,
}

/// What only the writer touches.
struct Writer {
    /// For entries, which are read once a search has found its slot.
    entries: Arena,
    /// For guides, which every search reads: close together, apart from all payloads.
    guides: Arena,
    /// Where the newest entry is, so that ascending keys find their place at once.
    newest: Place,
    /// How many entries have come right behind the one before, up to the newest. Where keys are
    /// random, the next one need not be compared with what lies around the newest, most of which is
    /// in no cache.
    in_order: u32,
}

/// Where a full guide is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Middle,
    /// Before its last slot, for an entry behind that: where entries come in order, full guides are
    /// left behind.
    Behind,
}

/// So many entries must have come in order for that. (With fewer, short runs of keys that each come
/// before the run before would make guides of two or three slots.)
const IN_ORDER: u32 = 8;

/// A place in the list, behind `last`, to which slot `at` leads.
#[derive(Clone, Copy)]
struct Place {
    guide: NonNull<Guide>,
    at: usize,
    last: NonNull<Header>,
}

// SAFETY: the pointers lead into the memory that the index owns, so that they move with it.
unsafe impl Send for Index {}
// SAFETY: `writing` lets one thread at a time into `writer`; all else is atomic or constant.
unsafe impl Sync for Index {}

impl Index {
    pub(super) fn new(meter: &Meter) -> Index {
        let (entries, mut guides) = (Arena::new(meter), Arena::new(meter));
        let first = Position::new(TreeId::ZERO, &[], Msn::ZERO);
        // SAFETY: the memory goes into the index, and both are used only through the index.
        let (start, root) = unsafe {
            let start = entry::write(&mut guides, first, Op::Delete);
            (start, Guide::write(&mut guides, Target::Entry(start)))
        };
        let newest = Place { guide: root.into(), at: 0, last: start.address() };
        Index {
            start: start.address(),
            root: AtomicPtr::new(NonNull::from(root).as_ptr()),
            writing: AtomicBool::new(false),
            writer: UnsafeCell::new(Writer { entries, guides, newest, in_order: 1 }),
            totals: Totals::default(),
        }
    }

    /// Adds an entry.
    ///
    /// # Panics
    /// When another thread inserts at the same time, or panicked while it did.
    pub(super) fn insert(&self, position: Position<'_>, op: Op<'_>) {
        let busy = self.writing.swap(true, Ordering::Acquire);
        assert!(!busy, "a memtable has one writer at a time");
        // SAFETY: nobody else gets here before `writing` is false again.
        let writer = unsafe { &mut *self.writer.get() };
        let place = match writer.in_order > 0 && self.is_right(&writer.newest, &position) {
            true => writer.newest,
            false => self.place(&position),
        };
        let comes_in_order = place.last == writer.newest.last;
        writer.in_order = if comes_in_order { writer.in_order.saturating_add(1) } else { 0 };
        let new = self.link(&mut writer.entries, place, position, op);
        let cut = if writer.in_order < IN_ORDER { Cut::Middle } else { Cut::Behind };
        writer.newest = self.guide_to(&mut writer.guides, place, new, cut);
        self.totals.add_entry(position.key(), op.payload());
        self.writing.store(false, Ordering::Release);
    }

    /// Finds the place of `position`: before it, or the entry that is right there.
    pub(super) fn split(&self, position: &Position<'_>) -> Split<'_> {
        let (guide, at) = self.find(position);
        let mut last = guide.entry(at);
        let mut next = last.next();
        while let Some(entry) = next.filter(|entry| entry.is_before(position)) {
            (last, next) = (entry, entry.next());
        }
        self.between(last, next)
    }

    /// The place before all entries.
    pub(super) fn before_all(&self) -> Split<'_> {
        let start = self.entry(self.start);
        self.between(start, start.next())
    }

    /// The place behind all entries.
    pub(super) fn behind_all(&self) -> Split<'_> {
        let mut guide = self.root();
        while guide.level() > 0 {
            guide = guide.child(guide.len() - 1);
        }
        let mut last = guide.entry(guide.len() - 1);
        while let Some(entry) = last.next() {
            last = entry;
        }
        self.between(last, None)
    }

    /// Spans with all entries of `tree`, in order, some `most` of them, at the same distances; and
    /// how many there are for each. The first and the last one may have entries of other trees,
    /// too, or alone.
    ///
    /// While nobody inserts.
    pub(super) fn spans_of(&self, tree: TreeId, most: usize) -> (Vec<Span<'_>>, usize) {
        debug_assert!(!self.writing.load(Ordering::Acquire), "nobody inserts meanwhile");
        let (mut count, mut spans) = (0_usize, Vec::new());
        self.root().each_below(tree, &mut |_| count += 1);
        let (every, mut passed) = (count.div_ceil(most).max(1), 0);
        self.root().each_below(tree, &mut |guide| {
            if passed % every == 0 {
                spans.push(Span { first: guide.entry(0), entries: guide.len() });
            }
            passed += 1;
        });
        // What stands before all entries is none.
        if let Some(span) = spans.first_mut()
            && span.first.address() == self.start
            && let Some(next) = span.first.next()
        {
            *span = Span { first: next, entries: span.entries - 1 };
        }
        (spans, every)
    }

    /// Ahead of somebody who goes along the list from the place of `position` on.
    pub(super) fn ahead_of(&self, position: &Position<'_>) -> Ahead<'_> {
        let (mut guide, mut path) = (self.root(), Vec::new());
        loop {
            let at = guide.find(position);
            path.push((guide, at));
            if guide.level() == 0 {
                return Ahead::new(path);
            }
            guide = guide.child(at);
        }
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    fn between<'a>(&self, last: Entry<'a>, next: Option<Entry<'a>>) -> Split<'a> {
        Split { last: (last.address() != self.start).then_some(last), next }
    }

    fn entry(&self, address: NonNull<Header>) -> Entry<'_> {
        // SAFETY: all addresses in the index are of entries in its own memory, and it is borrowed.
        unsafe { Entry::from_address(address) }
    }

    fn guide(&self, address: NonNull<Guide>) -> &Guide {
        // SAFETY: all addresses in the index are of guides in its own memory, and it is borrowed.
        unsafe { address.as_ref() }
    }

    fn root(&self) -> &Guide {
        let root = self.root.load(Ordering::Acquire);
        self.guide(NonNull::new(root).expect("there is always a root"))
    }

    /// The guide and the slot of the last entry before `position`; of one before that, where the
    /// writer is at work.
    fn find(&self, position: &Position<'_>) -> (&Guide, usize) {
        let mut guide = self.root();
        loop {
            let at = guide.find(position);
            if guide.level() == 0 {
                return (guide, at);
            }
            guide.prefetch_child(at);
            guide = guide.child(at);
        }
    }

    /// Where an entry at `position` belongs.
    fn place(&self, position: &Position<'_>) -> Place {
        let (guide, at) = self.find(position);
        Place { guide: NonNull::from(guide), at, last: guide.entry(at).address() }
    }

    fn is_right(&self, place: &Place, position: &Position<'_>) -> bool {
        let last = self.entry(place.last);
        last.is_before(position) && last.next().is_none_or(|next| !next.is_before(position))
    }

    /// Puts a new entry at `place`.
    fn link(
        &self,
        memory: &mut Arena,
        place: Place,
        position: Position<'_>,
        op: Op<'_>,
    ) -> Entry<'_> {
        let last = self.entry(place.last);
        // It need not have been looked at until now. Meanwhile the new entry is written.
        last.prefetch();
        // SAFETY: the index owns the memory and is borrowed for longer than this call; the entry
        // belongs right behind `last`, and nobody else stores links.
        unsafe {
            let new = entry::write(memory, position, op);
            let next = last.next();
            debug_assert!(next.is_none_or(|next| !next.is_at(&position)), "an msn came twice");
            new.set_next(next);
            last.set_next(Some(new));
            new
        }
    }

    /// Gives the entry that was put at `place` its slot. Returns the place behind it.
    fn guide_to(&self, memory: &mut Arena, place: Place, new: Entry<'_>, cut: Cut) -> Place {
        let guide = self.guide(place.guide);
        let (guide, at) = match guide.is_full() {
            true => self.make_room(memory, &new.position(), cut),
            false => (guide, place.at),
        };
        // SAFETY: all memory is the index's.
        unsafe { guide.insert(at + 1, Target::Entry(new)) };
        Place { guide: NonNull::from(guide), at: at + 1, last: new.address() }
    }

    /// Where a slot for `position` belongs, in a guide that is not full: the full ones on the way
    /// are split.
    fn make_room(&self, memory: &mut Arena, position: &Position<'_>, cut: Cut) -> (&Guide, usize) {
        if self.root().is_full() {
            self.raise_root(memory);
        }
        let mut guide = self.root();
        loop {
            let at = guide.find(position);
            if guide.level() == 0 {
                return (guide, at);
            }
            let child = guide.child(at);
            if child.is_full() {
                self.split_guide(memory, guide, at, position, cut);
            }
            guide = guide.child(guide.find(position));
        }
    }

    /// Puts a new root over the old one.
    fn raise_root(&self, memory: &mut Arena) {
        // SAFETY: the index owns the memory.
        let root = unsafe { Guide::write(memory, Target::Guide(self.root())) };
        self.totals.add_guide();
        self.root.store(NonNull::from(root).as_ptr(), Ordering::Release);
    }

    /// Splits the full guide that slot `at` of `parent` leads to: in the middle, or before its last
    /// slot when `position` belongs behind that and entries come in order.
    fn split_guide(
        &self,
        memory: &mut Arena,
        parent: &Guide,
        at: usize,
        position: &Position<'_>,
        cut: Cut,
    ) {
        let lower = parent.child(at);
        let len = lower.len();
        let is_behind = cut == Cut::Behind && lower.find(position) == len - 1;
        let from = if is_behind { len - 1 } else { len / 2 };
        // SAFETY: all memory is the index's.
        unsafe {
            let upper = lower.copy_upper(memory, from);
            parent.insert(at + 1, Target::Guide(upper));
        }
        lower.truncate(from);
        self.totals.add_guide();
    }
}

impl Totals {
    fn add_entry(&self, key: &[u8], payload: &[u8]) {
        add(&self.rows, 1);
        add(&self.user_bytes, key.len() + payload.len());
        add(&self.bytes, entry::entry_bytes(key, payload));
    }

    fn add_guide(&self) {
        add(&self.bytes, GUIDE_BYTES);
    }
}

/// A load and a store are enough, and cheaper than an addition, because there is one writer.
fn add(total: &AtomicU64, count: usize) {
    total.store(total.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(keys: impl IntoIterator<Item = u64>) -> Index {
        let index = Index::new(&Meter::new());
        for (msn, key) in (1..).zip(keys) {
            let tree = TreeId::from_raw(key % 3);
            index.insert(Position::new(tree, &key.to_be_bytes(), Msn::from_raw(msn)), Op::Delete);
        }
        index
    }

    fn slots_below<'a>(guide: &'a Guide, slots: &mut Vec<Entry<'a>>) -> u64 {
        let len = guide.len();
        match guide.level() {
            0 => {
                slots.extend((0..len).map(|at| guide.entry(at)));
                1
            }
            _ => 1 + (0..len).map(|at| slots_below(guide.child(at), slots)).sum::<u64>(),
        }
    }

    /// Goes along the whole list, and compares it with what the guides say; returns how many guides
    /// there are.
    fn check(index: &Index) -> u64 {
        let mut slots = Vec::new();
        let guides = slots_below(index.root(), &mut slots);
        let mut rest = Some(index.entry(index.start));
        for slot in slots {
            assert!(rest == Some(slot));
            rest = slot.next();
            let is_start = slot.address() == index.start;
            assert!(rest.is_none_or(|next| is_start || slot.is_before(&next.position())));
        }
        assert!(rest.is_none());
        guides
    }

    /// In whatever order keys come, a search ends where they are.
    #[test]
    fn every_entry_has_a_slot() {
        let scattered = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        const ROWS: u64 = if cfg!(miri) { 200 } else { 20_000 };
        check(&index_of([]));
        check(&index_of(0..ROWS));
        check(&index_of((0..ROWS).rev()));
        check(&index_of((0..ROWS).map(scattered)));
        check(&index_of((0..ROWS).map(|_| 7)));
        check(&index_of(
            (0..ROWS).map(|number| if number % 2 == 0 { number } else { ROWS * 2 - number }),
        ));
    }

    /// So many rows of fourteen keys, and behind them short runs, each before the one before.
    fn runs_before_each_other(run: u64) -> impl Iterator<Item = u64> {
        let runs = (0..GUIDED_ROWS / run).rev();
        let behind = runs.flat_map(move |number| (0..run).map(move |key| number * run + key));
        (1..15).chain(behind.map(|key| key + 1000)).map(|key| key * 3)
    }

    const GUIDED_ROWS: u64 = if cfg!(miri) { 200 } else { 6_000 };

    /// Where keys come in order, or a key again and again, guides are full, or half full.
    #[test]
    fn guides_take_little_memory() {
        const ROWS: u64 = GUIDED_ROWS;
        let ascending = check(&index_of((0..ROWS).map(|number| number * 3)));
        assert!(ascending <= ROWS / 14 + 2, "{ascending} guides");
        let descending = check(&index_of((0..ROWS).map(|number| 3 * (10_000 - number))));
        let again_and_again = check(&index_of((0..ROWS).map(|_| 18)));
        let pairs = check(&index_of(runs_before_each_other(2)));
        let triples = check(&index_of(runs_before_each_other(3)));
        for guides in [descending, again_and_again, pairs, triples] {
            assert!(guides <= ROWS / 6 + 2, "{guides} guides");
        }
    }
}
