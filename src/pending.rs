//! Rows that were gathered and not taken yet: the two ends of an iterator.
//!
//! Where rows of a page are nobody else's, a short scan keeps the page for them, and each row is
//! made when it is taken: for what it does not take of a page it has not paid. A long scan takes
//! them all, and making them one after the other is a tenth faster.

use std::collections::VecDeque;

use sapwood_cachetable::{HeldRows, Stretch};
use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::{Op, Sight};

use crate::scan::{Found, FoundValue, Request, Row, Sink, Wanted};

/// See the module's head.
pub(crate) struct Pending {
    direction: Direction,
    /// In the order in which they were gathered.
    rows: VecDeque<Row>,
    /// How many of the first ones were taken.
    taken: usize,
    /// Between the rows, in the same order.
    pages: VecDeque<KeptPage>,
}

/// A page with rows that are nobody else's. Not all of them need be there for the reader.
struct KeptPage {
    /// How many of the other rows were gathered before these.
    place: usize,
    held: HeldRows,
    sight: Sight,
    wanted: Wanted,
}

impl Pending {
    /// For rows that are gathered in `direction`.
    pub(crate) fn new(direction: Direction) -> Pending {
        Pending { direction, rows: VecDeque::new(), taken: 0, pages: VecDeque::new() }
    }

    /// Whether everything that was gathered was taken; what is left may turn out to be no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.pages.is_empty()
    }

    /// Takes the row with the smallest key forward, the one with the largest key backward.
    pub(crate) fn take(&mut self, direction: Direction) -> Option<Row> {
        loop {
            if let Some(found) = self.take_kept(direction) {
                return Some(found.into_row());
            }
            if !self.drop_kept(direction) {
                break;
            }
        }
        if direction != self.direction {
            return self.rows.pop_back();
        }
        let row = self.rows.pop_front();
        self.taken += usize::from(row.is_some());
        row
    }

    /// Takes the row from the page that comes next, if one does and has any left.
    #[inline(always)]
    pub(crate) fn take_kept(&mut self, direction: Direction) -> Option<Found<'_>> {
        let (is_first, place) = self.next_place(direction);
        let page = if is_first { self.pages.front_mut() } else { self.pages.back_mut() };
        page.filter(|page| page.place == place)?.take(direction)
    }

    /// Lets the page go that comes next and has nothing left; `false` where none comes next.
    fn drop_kept(&mut self, direction: Direction) -> bool {
        let (is_first, place) = self.next_place(direction);
        let next = if is_first { self.pages.front() } else { self.pages.back() };
        let is_next = next.is_some_and(|page| page.place == place);
        if is_next && is_first {
            self.pages.pop_front();
        } else if is_next {
            self.pages.pop_back();
        }
        is_next
    }

    /// Whether what comes next was gathered first, and how many rows were gathered before it.
    #[inline(always)]
    fn next_place(&self, direction: Direction) -> (bool, usize) {
        let is_first = direction == self.direction;
        (is_first, if is_first { self.taken } else { self.taken + self.rows.len() })
    }
}

impl KeptPage {
    /// Takes the next row that the reader sees.
    #[inline(always)]
    fn take(&mut self, direction: Direction) -> Option<Found<'_>> {
        let (sight, wanted) = (self.sight, self.wanted);
        self.held.take(direction).find_map(|(page, key, mut versions)| {
            // (There are no operands among them.)
            let newest = versions.find(|version| sight.sees(version.msn))?;
            let Op::Put(value) = newest.op else { return None };
            let value = match wanted {
                Wanted::Rows => FoundValue::Plain(value),
                Wanted::Keys => FoundValue::Unread,
            };
            Some(Found { key, value, page: Some(page) })
        })
    }
}

impl Sink for Pending {
    fn take(&mut self, found: Found<'_>) {
        self.rows.push_back(found.into_row());
    }

    fn take_whole(&mut self, stretch: &Stretch<'_>, request: &Request<'_>) -> bool {
        if request.is_long() {
            return false;
        }
        let (held, place) = (stretch.hold(), self.taken + self.rows.len());
        let Request { sight, wanted, .. } = *request;
        self.pages.push_back(KeptPage { place, held, sight, wanted });
        true
    }
}
