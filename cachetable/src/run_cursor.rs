//! Walks over the messages of a run, in either direction, reading what is not resident.
//!
//! ```text
//! run      [ segment | segment | segment ]
//!                        ^ page window, row        bounds: lower <= key < upper
//! ```
//!
//! Pages that are not resident are read several at once: a job takes a whole segment with one call,
//! a scan starts with one page and doubles.

use std::ops::Range;
use std::sync::Arc;

use sapwood_serialize::merge_iter::{Direction, Stream};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::ResidentSegment;
use sapwood_serialize::{Page, Version, Versions};

use crate::cachetable::Cachetable;
use crate::fault::Fault;
use crate::fetch::Caching;

/// How a cursor reads ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAhead {
    /// How many pages the first read takes.
    pub first: usize,
    /// Up to how many a read grows.
    pub most: usize,
    /// From reads of how many on the next two segments are asked for, too.
    pub next_from: usize,
    /// What becomes of the pages.
    pub caching: Caching,
}

impl ReadAhead {
    /// For a job, which reads everything once.
    pub const JOB: ReadAhead =
        ReadAhead { first: 64, most: 64, next_from: 64, caching: Caching::Pass };
    /// For a scan that has gone on for long, and probably will.
    pub const LONG_SCAN: ReadAhead =
        ReadAhead { first: 32, most: 64, next_from: 32, caching: Caching::Keep };
    /// For a scan that may stop after a few rows.
    pub const SCAN: ReadAhead =
        ReadAhead { first: 1, most: 32, next_from: 32, caching: Caching::Keep };
}

/// Where the cursor stands.
struct Position {
    part: usize,
    segment: Arc<ResidentSegment>,
    page_index: usize,
    page: Arc<Page>,
    row: usize,
    /// The rows of the page that lie within the bounds, in the cursor's direction: before this one,
    /// or, backwards, from it on.
    limit: usize,
}

/// A cursor over one run; see the module's head.
pub struct RunCursor<'a> {
    table: &'a Cachetable,
    run: Arc<Run>,
    bounds: Bounds,
    direction: Direction,
    ahead: ReadAhead,
    window: usize,
    /// Pages read ahead: the index of the first, and the pages.
    fetched: (usize, Vec<Arc<Page>>),
    position: Option<Position>,
    /// Whether a segment was opened.
    has_begun: bool,
}

impl<'a> RunCursor<'a> {
    /// A cursor at the first message of `run` within `bounds` (the last, backwards).
    pub fn new(
        table: &'a Cachetable,
        run: Arc<Run>,
        bounds: Bounds,
        direction: Direction,
        ahead: ReadAhead,
    ) -> Result<RunCursor<'a>, Fault> {
        let fetched = (0, Vec::new());
        let window = ahead.first;
        let mut cursor = RunCursor {
            table,
            run,
            bounds,
            direction,
            ahead,
            window,
            fetched,
            position: None,
            has_begun: false,
        };
        match direction {
            Direction::Forward => cursor.seek_first()?,
            Direction::Backward => cursor.seek_last()?,
        }
        Ok(cursor)
    }

    fn reference(&self, part: usize) -> Option<&SegmentRef> {
        self.run.segments().get(part)
    }

    fn seek_first(&mut self) -> Result<(), Fault> {
        let lower = self.bounds.lower.clone();
        let part = self.run.segments().partition_point(|part| part.is_below(&lower));
        self.enter_part_forward(part)
    }

    /// Goes to the first message of reference `part` or a later one.
    fn enter_part_forward(&mut self, part: usize) -> Result<(), Fault> {
        for part in part.. {
            self.position = None;
            let Some(reference) = self.reference(part) else { return Ok(()) };
            if self.bounds.upper.as_ref().is_some_and(|upper| **upper <= *reference.first()) {
                return Ok(());
            }
            let from = reference.first().max(&self.bounds.lower).to_vec();
            let segment = self.open_part(part)?;
            let page_index = segment.meta().directory.find(&from);
            let page = self.load(part, &segment, page_index)?;
            let row = page.search(&from).unwrap_or_else(|next| next);
            let limit = self.limit(part, &page);
            self.position = Some(Position { part, segment, page_index, page, row, limit });
            if self.settle_forward()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn open_part(&mut self, part: usize) -> Result<Arc<ResidentSegment>, Fault> {
        self.fetched = (0, Vec::new());
        self.read_next_soon(part);
        let reference = self.run.segments().get(part).expect("the caller saw that it is there");
        self.table.part(&reference.segment)
    }

    /// A cursor that reads large windows will probably come to the next segments, too: the device
    /// reads them while the rows of this one are gone through. One may take it longer than that, so
    /// it is asked for the one behind the next; at the cursor's first segment, for both.
    fn read_next_soon(&mut self, part: usize) {
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        if self.window < self.ahead.next_from {
            return;
        }
        for distance in if has_begun { 2..=2 } else { 1..=2 } {
            let next = match self.direction {
                Direction::Forward => Some(part + distance),
                Direction::Backward => part.checked_sub(distance),
            };
            let next = next.and_then(|next| self.reference(next));
            if let Some(next) = next.filter(|next| next.may_meet(&self.bounds)) {
                self.table.read_soon(&next.segment);
            }
        }
    }

    /// Moves over page ends; `false` when the reference has no message left within the bounds.
    fn settle_forward(&mut self) -> Result<bool, Fault> {
        loop {
            let Some(position) = &self.position else { return Ok(false) };
            if position.row < position.limit {
                return Ok(true);
            }
            if position.row < position.page.rows() {
                self.position = None;
                return Ok(false);
            }
            let (part, next) = (position.part, position.page_index + 1);
            let directory = &position.segment.meta().directory;
            if next >= directory.pages() || !self.is_below_upper(part, directory.fence(next)) {
                self.position = None;
                return Ok(false);
            }
            let segment = position.segment.clone();
            let page = self.load(part, &segment, next)?;
            let (page_index, row, limit) = (next, 0, self.limit(part, &page));
            self.position = Some(Position { part, segment, page_index, page, row, limit });
        }
    }

    fn is_below_upper(&self, part: usize, key: &[u8]) -> bool {
        let clip = self.reference(part).and_then(|reference| reference.upper.as_ref());
        let below = |upper: &Arc<[u8]>| *key < **upper;
        self.bounds.upper.as_ref().is_none_or(below) && clip.is_none_or(below)
    }

    /// Where in a page of reference `part` the bounds end, in the cursor's direction. Most pages
    /// lie wholly within them, which one comparison tells.
    fn limit(&self, part: usize, page: &Page) -> usize {
        let at = |key: &Arc<[u8]>| page.search(key).unwrap_or_else(|next| next);
        let reference = self.reference(part);
        match self.direction {
            Direction::Forward => {
                let clip = reference.and_then(|reference| reference.upper.as_ref());
                let uppers = self.bounds.upper.iter().chain(clip);
                let cutting = uppers.filter(|upper| ***upper <= *page.last_key());
                cutting.map(at).min().unwrap_or(page.rows())
            }
            Direction::Backward => {
                let clip = reference.and_then(|reference| reference.lower.as_ref());
                let lowers = [&self.bounds.lower].into_iter().chain(clip);
                let cutting = lowers.filter(|lower| ***lower > *page.first_key());
                cutting.map(at).max().unwrap_or(0)
            }
        }
    }

    fn seek_last(&mut self) -> Result<(), Fault> {
        let parts = self.run.segments();
        let part = match self.bounds.upper.clone() {
            None => parts.len(),
            Some(upper) => parts.partition_point(|part| *part.first() < *upper),
        };
        self.enter_part_backward(part)
    }

    /// Goes to the last message of the references before `end`.
    fn enter_part_backward(&mut self, end: usize) -> Result<(), Fault> {
        for part in (0..end).rev() {
            self.position = None;
            let reference = self.reference(part).expect("the index is below the count");
            if reference.is_below(&self.bounds.lower) {
                return Ok(());
            }
            let upper = match (&self.bounds.upper, &reference.upper) {
                (Some(one), Some(other)) => Some(one.min(other).clone()),
                (one, other) => one.clone().or_else(|| other.clone()),
            };
            let segment = self.open_part(part)?;
            let directory = &segment.meta().directory;
            let last = directory.pages() - 1;
            let page_index = upper.as_ref().map_or(last, |upper| directory.find(upper));
            let page = self.load(part, &segment, page_index)?;
            let end =
                upper.map_or(page.rows(), |upper| page.search(&upper).unwrap_or_else(|at| at));
            let (row, limit) = (end, self.limit(part, &page));
            self.position = Some(Position { part, segment, page_index, page, row, limit });
            if self.step_back()? {
                return Ok(());
            }
        }
        self.position = None;
        Ok(())
    }

    /// Moves one row back within the reference; `false` when none is left within the bounds.
    fn step_back(&mut self) -> Result<bool, Fault> {
        loop {
            let Some(position) = &mut self.position else { return Ok(false) };
            if position.row > position.limit {
                position.row -= 1;
                return Ok(true);
            }
            if position.row > 0 {
                self.position = None;
                return Ok(false);
            }
            let Some(previous) = position.page_index.checked_sub(1) else {
                self.position = None;
                return Ok(false);
            };
            let (part, segment) = (position.part, position.segment.clone());
            let page = self.load(part, &segment, previous)?;
            let (page_index, row, limit) = (previous, page.rows(), self.limit(part, &page));
            self.position = Some(Position { part, segment, page_index, page, row, limit });
        }
    }

    /// Page `index`: from its slot, from what was read ahead, or from disk.
    fn load(
        &mut self,
        part: usize,
        segment: &Arc<ResidentSegment>,
        index: usize,
    ) -> Result<Arc<Page>, Fault> {
        if let Some(page) = segment.slot(index).page() {
            segment.slot(index).heat().warm();
            return Ok(page);
        }
        let (start, pages) = &self.fetched;
        if let Some(page) = index.checked_sub(*start).and_then(|offset| pages.get(offset)) {
            return Ok(page.clone());
        }
        let (from, to) = self.window_around(part, segment, index);
        let reference = &self.run.segments().get(part).expect("the cursor stands in it").segment;
        let pages = self.table.fetch_pages(reference, segment, from..to, self.ahead.caching)?;
        self.window = (self.window * 2).min(self.ahead.most);
        let page = pages.get(index - from).expect("the window holds the page").clone();
        self.fetched = (from, pages);
        Ok(page)
    }

    /// Pages around `index`, in the cursor's direction, that are not resident. Forward, none that
    /// lies wholly behind the bounds.
    fn window_around(
        &self,
        part: usize,
        segment: &ResidentSegment,
        index: usize,
    ) -> (usize, usize) {
        let absent = |page: &usize| !segment.slot(*page).is_resident();
        let window = self.window.min(self.pages_at_once(segment));
        match self.direction {
            Direction::Forward => {
                let end = (index + window).min(segment.slots().len());
                let fence = |page: usize| segment.meta().directory.fence(page);
                let wanted = |page: &usize| absent(page) && self.is_below_upper(part, fence(*page));
                (index, index + (index..end).take_while(wanted).count().max(1))
            }
            Direction::Backward => {
                let start = (index + 1).saturating_sub(window);
                (index + 1 - (start..=index).rev().take_while(absent).count().max(1), index + 1)
            }
        }
    }

    /// How many pages of `segment` the budget allows in one read, going by the average.
    fn pages_at_once(&self, segment: &ResidentSegment) -> usize {
        let directory = &segment.meta().directory;
        let average = directory.raw_bytes() / directory.pages() as u64;
        let pages = self.table.budget().window() / average.max(1);
        usize::try_from(pages).unwrap_or(usize::MAX).max(1)
    }
}

/// Rows of one page, side by side: those from where a cursor stands to the end of the page, or of
/// the cursor's bounds.
#[derive(Debug)]
pub struct Stretch<'p> {
    page: &'p Arc<Page>,
    base: u64,
    rows: Range<usize>,
    direction: Direction,
}

impl<'p> Stretch<'p> {
    /// The page that they lie in.
    pub fn page(&self) -> &'p Arc<Page> {
        self.page
    }

    /// The key of the row that comes last in the cursor's direction.
    pub fn last_key(&self) -> &'p [u8] {
        let last = match self.direction {
            Direction::Forward => self.rows.end - 1,
            Direction::Backward => self.rows.start,
        };
        self.page.key(last)
    }

    /// How many rows there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.page.bytes() / self.page.rows() * self.rows.len()
    }

    /// The rows, to be taken later.
    pub fn hold(&self) -> HeldRows {
        HeldRows { page: self.page.clone(), base: self.base, rows: self.rows.clone() }
    }

    /// The rows, in the cursor's direction.
    pub fn rows(&self) -> impl Iterator<Item = (&'p [u8], RowVersions<'p>)> {
        let (page, base, rows, direction) =
            (self.page, self.base, self.rows.clone(), self.direction);
        (0..rows.len()).map(move |count| {
            let (key, versions) = page.row(match direction {
                Direction::Forward => rows.start + count,
                Direction::Backward => rows.end - 1 - count,
            });
            (key, RowVersions { base, versions })
        })
    }
}

/// Rows of a page that is kept for them: nothing is done for a row before it is taken.
#[derive(Debug)]
pub struct HeldRows {
    page: Arc<Page>,
    base: u64,
    rows: Range<usize>,
}

/// A row with the page that it lies in.
pub type HeldRow<'p> = (&'p Arc<Page>, &'p [u8], RowVersions<'p>);

impl HeldRows {
    /// Takes rows from the first one in the direction on: the one with the smallest key forward,
    /// with the largest one backward.
    #[inline]
    pub fn take(&mut self, direction: Direction) -> impl Iterator<Item = HeldRow<'_>> {
        let (page, base, rows) = (&self.page, self.base, &mut self.rows);
        std::iter::from_fn(move || {
            let row = match direction {
                Direction::Forward => rows.next()?,
                Direction::Backward => rows.next_back()?,
            };
            let (key, versions) = page.row(row);
            Some((page, key, RowVersions { base, versions }))
        })
    }
}

impl RunCursor<'_> {
    /// The rows from the current one on that lie in the same page; `None` behind the last row.
    pub fn stretch(&self) -> Option<Stretch<'_>> {
        let Position { part, page, row, limit, .. } = self.position.as_ref()?;
        let rows = match self.direction {
            Direction::Forward => *row..*limit,
            Direction::Backward => *limit..row + 1,
        };
        let base = self.reference(*part)?.base.to_raw();
        Some(Stretch { page, base, rows, direction: self.direction })
    }

    /// Goes on by `rows`, at least one and no more than the [`stretch`](RunCursor::stretch) has.
    pub fn pass(&mut self, rows: usize) -> Result<(), Fault> {
        if let Some(position) = &mut self.position {
            match self.direction {
                Direction::Forward => position.row += rows - 1,
                Direction::Backward => position.row -= rows - 1,
            }
        }
        self.advance()
    }

    /// The page in which the cursor stands, for those who want to keep a view into it.
    pub fn page(&self) -> Option<&Arc<Page>> {
        self.position.as_ref().map(|position| &position.page)
    }
}

impl Stream for RunCursor<'_> {
    type Error = Fault;

    fn key(&self) -> Option<&[u8]> {
        self.position.as_ref().map(|position| position.page.key(position.row))
    }

    fn versions(&self) -> impl Iterator<Item = Version<'_>> {
        let position = self.position.as_ref().expect("there is a current key");
        let reference = self.run.segments().get(position.part).expect("the cursor stands in it");
        let base = reference.base.to_raw();
        position
            .page
            .versions(position.row)
            .map(move |version| Version { msn: base.saturating_add(version.msn), op: version.op })
    }

    fn advance(&mut self) -> Result<(), Fault> {
        let Some(position) = &mut self.position else { return Ok(()) };
        let part = position.part;
        match self.direction {
            Direction::Forward => {
                position.row += 1;
                if !self.settle_forward()? {
                    self.enter_part_forward(part + 1)?;
                }
            }
            Direction::Backward => {
                if !self.step_back()? {
                    self.enter_part_backward(part)?;
                }
            }
        }
        Ok(())
    }
}

/// The versions of one row, newest first, with whole MSNs.
#[derive(Clone, Debug)]
pub struct RowVersions<'p> {
    base: u64,
    versions: Versions<'p>,
}

impl<'p> Iterator for RowVersions<'p> {
    type Item = Version<'p>;

    #[inline]
    fn next(&mut self) -> Option<Version<'p>> {
        let Version { msn, op } = self.versions.next()?;
        Some(Version { msn: self.base.saturating_add(msn), op })
    }
}

/// What a run's rows have to say of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// No segment of the run reaches over the key.
    Outside,
    /// The filter has denied it.
    Denied,
    /// The filter has not denied it (or was not asked), and the page does not have it.
    Missing(Asked),
    /// It is there.
    Found(T, Asked),
}

/// Whether a filter was asked before the page was looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The page was not resident.
    Filter,
    /// The page was at hand.
    Page,
}

impl Cachetable {
    /// Looks for the rows of `key` in `run`; its versions go to `found`, with their page. Range
    /// deletes are not looked at.
    pub fn lookup<T>(
        &self,
        run: &Run,
        key: &[u8],
        hash: u64,
        found: impl FnOnce(&Arc<Page>, RowVersions<'_>) -> T,
    ) -> Result<Lookup<T>, Fault> {
        let Some(reference) = run.locate(key) else { return Ok(Lookup::Outside) };
        // What is in memory is looked at without touching its reference count.
        let (part_read, page_read);
        let resident = reference.segment.peek();
        let part = if let Some(part) = &*resident {
            part.heat().warm();
            part
        } else {
            part_read = self.part(&reference.segment)?;
            // This is a use, too: see `evict_unused_directories`.
            part_read.heat().warm();
            &part_read
        };
        let index = part.meta().directory.find(key);
        let (slot, in_memory) = (part.slot(index), part.slot(index).peek());
        // A resident page answers for less than a filter probe would cost beside it.
        let asked = if in_memory.is_some() { Asked::Page } else { Asked::Filter };
        if asked == Asked::Filter && !part.meta().filter.may_contain(hash) {
            return Ok(Lookup::Denied);
        }
        let page = if let Some(page) = &*in_memory {
            slot.heat().warm();
            page
        } else {
            page_read = self.page(&reference.segment, part, index, Caching::Keep)?;
            &page_read
        };
        let Ok(row) = page.search(key) else { return Ok(Lookup::Missing(asked)) };
        let versions = RowVersions { base: reference.base.to_raw(), versions: page.versions(row) };
        Ok(Lookup::Found(found(page, versions), asked))
    }
}
