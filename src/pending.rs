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
    #[inline(always)]
    pub(crate) fn take(&mut self, direction: Direction) -> Option<Row> {
        if !self.pages.is_empty()
            && let Some(row) = self.take_kept(direction)
        {
            return Some(row);
        }
        if direction != self.direction {
            return self.rows.pop_back();
        }
        let row = self.rows.pop_front();
        self.taken += usize::from(row.is_some());
        row
    }

    /// Takes the row from a page, if one comes next.
    fn take_kept(&mut self, direction: Direction) -> Option<Row> {
        let is_first = direction == self.direction;
        let place = if is_first { self.taken } else { self.taken + self.rows.len() };
        loop {
            let page = if is_first { self.pages.front_mut() } else { self.pages.back_mut() };
            let row = page.filter(|page| page.place == place)?.take(direction);
            if row.is_some() {
                return row;
            }
            if is_first {
                self.pages.pop_front()
            } else {
                self.pages.pop_back()
            };
        }
    }
}

impl KeptPage {
    /// Takes the next row that the reader sees.
    fn take(&mut self, direction: Direction) -> Option<Row> {
        loop {
            let (page, key, mut versions) = self.held.take(direction)?;
            // (There are no operands among them.)
            let newest = versions.find(|version| self.sight.sees(version.msn));
            let Some(Op::Put(value)) = newest.map(|version| version.op) else { continue };
            let value = match self.wanted {
                Wanted::Rows => FoundValue::Plain(value),
                Wanted::Keys => FoundValue::Unread,
            };
            return Some(Found { key, value, page: Some(page) }.into_row());
        }
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
