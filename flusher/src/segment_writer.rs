//! Packs sorted rows into pages and pages into segments.
//!
//! ```text
//! rows -> [ page ][ page ] ... -> held segment (complete) + open segment (filling) -> done
//! ```
//!
//! The last two pages and the last two segments are held back until the end, so that a tail of less
//! than half a page (a segment) can be shared out evenly with the one before it: no tiny tails.

use std::collections::BTreeSet;
use std::sync::Arc;

use sapwood_cachetable::{
    BLOCK_FILE, Cachetable, Caching, Entered, Fault, Ownership, Reserved, WriteBehind,
};
use sapwood_serialize::catalog_image::PageOptions;
use sapwood_serialize::run::SegmentRef;
use sapwood_serialize::segment::{Content, Key, Segment, SegmentFacts};
use sapwood_serialize::segment_image::{Directory, PageSummary, SegmentMeta};
use sapwood_serialize::{
    Charge, Corruption, Filter, KeyBits, Msn, Op, Page, PageBuilder, SegmentId, Version,
};

use crate::limits::Limits;
use crate::stop::Stop;

/// Segments that a job has built and nobody else knows of. What of them was written is given back
/// when the draft is dropped unpublished.
pub struct Draft<'a> {
    table: &'a Cachetable,
    stop: Stop<'a>,
    /// Writes what was built while more is built; without it, segments are written when memory is
    /// short: what dies early is never written.
    behind: Option<Arc<WriteBehind>>,
    segments: Vec<Arc<Segment>>,
}

impl<'a> Draft<'a> {
    /// An empty draft of a job that breaks off when `stop` says so.
    pub fn new(table: &'a Cachetable, stop: Stop<'a>) -> Draft<'a> {
        Draft { table, stop, behind: None, segments: Vec::new() }
    }

    /// An empty draft of something that is written ahead of its commit.
    pub fn ahead(table: &'a Arc<Cachetable>, caching: Caching) -> Draft<'a> {
        let behind = Some(Arc::new(WriteBehind::new(table.clone(), caching)));
        Draft { table, stop: Stop::NEVER, behind, segments: Vec::new() }
    }

    /// Waits for what is being written.
    pub(crate) fn finish_writing(&self) -> Result<(), Fault> {
        self.behind.as_ref().map_or(Ok(()), |behind| behind.finish())
    }

    /// Waits until all is written, and keeps it for whoever will publish it.
    pub fn keep(mut self, table: Arc<Cachetable>) -> Result<Reserved, Fault> {
        self.finish_writing()?;
        Ok(Reserved::new(table, std::mem::take(&mut self.segments)))
    }

    fn add(&mut self, segment: Arc<Segment>) {
        self.segments.push(segment);
    }

    /// Everything built so far.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The view has them now: called right after the publication has succeeded.
    pub fn published(&mut self) {
        self.segments.clear();
    }

    /// The view has all but these, which are given back.
    pub fn published_but(&mut self, lost: &BTreeSet<SegmentId>) {
        self.segments.retain(|segment| lost.contains(&segment.id()));
    }

    /// Keeps the database open while something is built, where nobody else does.
    fn enter(&self) -> Result<Option<Entered>, Fault> {
        self.behind.as_deref().map(WriteBehind::enter).transpose()
    }

    /// Makes room before something of `bytes` bytes is built, for which the returned value stands
    /// until then.
    fn make_room_for(&self, bytes: usize) -> Result<Option<Charge>, Fault> {
        let charge = self.table.on_its_way(bytes);
        if charge.is_some() {
            let _open = self.enter()?;
            self.make_room()?;
        }
        Ok(charge)
    }

    /// Has the last segment written meanwhile, where there is somebody for it.
    fn hand_over_last(&self) -> Result<(), Fault> {
        match (&self.behind, self.segments.last()) {
            (Some(behind), Some(last)) => behind.write(last),
            _ => Ok(()),
        }
    }

    /// Writes segments out where memory needs it: those of the view, then its own, oldest first.
    fn make_room(&self) -> Result<(), Fault> {
        self.table.make_room_by_writing()?;
        if self.behind.is_some() {
            return Ok(());
        }
        for segment in &self.segments {
            if self.table.make_room() {
                break;
            }
            self.table.write_segment(segment, Ownership::Job)?;
        }
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // First, so that nothing is being written any more.
        drop(self.behind.take());
        self.table.give_back(&self.segments);
    }
}

/// Refuses versions that were read with numbers which those who refer to them do not know of: what
/// would be written of them would be neither old nor new.
fn check_numbers(versions: &[Version<'_>], base: Msn) -> Result<(), Fault> {
    let descend = versions.is_sorted_by(|newer, older| newer.msn > older.msn);
    if descend && versions.last().is_none_or(|oldest| oldest.msn >= base.to_raw()) {
        return Ok(());
    }
    let rule = "its message numbers are not those of the runs that hold it";
    Err(Corruption::new("row", 0, rule).within(BLOCK_FILE, 0).into())
}

/// Whether the space for what is written was promised before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Ask for it; the disk may be full.
    Ask,
    /// A generation's promise covers it.
    Promised,
}

/// Pages that make one segment.
#[derive(Default)]
struct Pack {
    pages: Vec<Page>,
    bytes: u64,
}

impl Pack {
    fn push(&mut self, page: Page) {
        self.bytes += page.bytes() as u64;
        self.pages.push(page);
    }
}

/// Builds one sorted run; see the module's head.
pub struct SegmentWriter<'a, 'd> {
    table: &'a Cachetable,
    draft: &'d mut Draft<'a>,
    limits: &'d Limits,
    options: PageOptions,
    space: Space,
    key_bits: KeyBits,
    base: Msn,
    builder: PageBuilder,
    /// What all rows so far are; as long as it is plain, pages need not be looked through for it.
    content: Content,
    held_page: Option<Page>,
    held: Option<Pack>,
    open: Pack,
    done: Vec<SegmentRef>,
}

impl<'a, 'd> SegmentWriter<'a, 'd> {
    /// A writer of messages that are none older than `base`, into pages as their tree has them, to
    /// wait in a buffer.
    pub fn new(
        draft: &'d mut Draft<'a>,
        limits: &'d Limits,
        options: PageOptions,
        base: Msn,
        space: Space,
    ) -> SegmentWriter<'a, 'd> {
        SegmentWriter {
            table: draft.table,
            draft,
            limits,
            options,
            space,
            key_bits: KeyBits::BUFFER,
            base,
            builder: PageBuilder::new(),
            content: Content::Plain,
            held_page: None,
            held: None,
            open: Pack::default(),
            done: Vec::new(),
        }
    }

    /// The same writer for what goes into a leaf.
    pub fn in_leaf(self) -> SegmentWriter<'a, 'd> {
        SegmentWriter { key_bits: KeyBits::LEAF, ..self }
    }

    /// Adds a row behind all others; `versions` newest first, with whole MSNs.
    pub fn push(&mut self, key: &[u8], versions: &[Version<'_>]) -> Result<(), Fault> {
        self.draft.stop.check()?;
        check_numbers(versions, self.base)?;
        let relative = |version: &Version<'_>| version.msn - self.base.to_raw();
        match versions {
            [] => Ok(()),
            [only] => {
                let only = Version { msn: relative(only), op: only.op };
                self.push_relative(key, std::slice::from_ref(&only))
            }
            many => {
                let many: Vec<_> = many
                    .iter()
                    .map(|version| Version { msn: relative(version), op: version.op })
                    .collect();
                self.push_relative(key, &many)
            }
        }
    }

    fn push_relative(&mut self, key: &[u8], versions: &[Version<'_>]) -> Result<(), Fault> {
        if !matches!(versions, [Version { op: Op::Put(_), .. }]) {
            self.content = Content::Mixed;
        }
        let bytes = PageBuilder::cell_bytes(key, versions);
        let page_bytes = self.options.page_bytes as usize;
        if !self.builder.is_empty() && self.builder.bytes() + bytes > page_bytes {
            self.close_page()?;
        }
        if bytes > page_bytes && self.is_large(bytes as u64) {
            let room = self.draft.make_room_for(bytes)?;
            let page = Page::of_row(key, versions);
            drop(room);
            return self.hold(page);
        }
        self.builder.push(key, versions);
        Ok(())
    }

    fn close_page(&mut self) -> Result<(), Fault> {
        let page = self.builder.finish();
        self.hold(page)
    }

    /// Holds a page back for the one that comes next, unless it is large.
    fn hold(&mut self, page: Page) -> Result<(), Fault> {
        let is_large = self.is_large(page.bytes() as u64);
        if let Some(held) = self.held_page.replace(page) {
            self.pack(held)?;
        }
        let large = self.held_page.take_if(|_| is_large);
        large.map_or(Ok(()), |page| self.pack(page))
    }

    /// Whether something is so large that it does not wait for its neighbours: they could not share
    /// with it, and until it is sealed nobody accounts for its memory.
    fn is_large(&self, bytes: u64) -> bool {
        bytes > self.limits.segment_bytes * 4
    }

    fn pack(&mut self, page: Page) -> Result<(), Fault> {
        let full = self.open.bytes + page.bytes() as u64 > self.limits.segment_bytes;
        if full && !self.open.pages.is_empty() {
            let complete = std::mem::take(&mut self.open);
            if let Some(held) = self.held.replace(complete) {
                self.seal(held)?;
            }
        }
        self.open.push(page);
        if self.is_large(self.open.bytes) {
            let (held, open) = (self.held.take(), std::mem::take(&mut self.open));
            self.seal_both(held, open)?;
        }
        Ok(())
    }

    /// Closes the run so far, tails shared out, and begins anew behind it. Returns the references.
    pub fn finish(&mut self) -> Result<Vec<SegmentRef>, Fault> {
        if !self.builder.is_empty() {
            self.close_page()?;
        }
        self.finish_pages()?;
        let (held, open) = (self.held.take(), std::mem::take(&mut self.open));
        let small = open.bytes * 2 < self.limits.segment_bytes;
        match held {
            Some(held) if small => {
                let (left, right) = share_out(held, open);
                self.seal(left)?;
                self.seal(right)?;
            }
            held => self.seal_both(held, open)?,
        }
        Ok(std::mem::take(&mut self.done))
    }

    /// Packs the last page; one of less than half a page is shared out with the one before.
    fn finish_pages(&mut self) -> Result<(), Fault> {
        let Some(last) = self.held_page.take() else { return Ok(()) };
        let small = last.bytes() * 2 < self.options.page_bytes as usize;
        let before = if small { self.open.pages.pop() } else { None };
        let Some(before) = before else { return self.pack(last) };
        self.open.bytes -= before.bytes() as u64;
        for page in halve(&[before, last]) {
            self.pack(page)?;
        }
        Ok(())
    }

    fn seal_both(&mut self, held: Option<Pack>, open: Pack) -> Result<(), Fault> {
        held.map_or(Ok(()), |held| self.seal(held))?;
        self.seal(open)
    }

    fn seal(&mut self, pack: Pack) -> Result<(), Fault> {
        if pack.pages.is_empty() {
            return Ok(());
        }
        let _open = self.draft.enter()?;
        let filter_bytes = self.key_bits.bytes(pack.pages.iter().map(Page::rows).sum()) as u64;
        let promised = pack.bytes + pack.bytes / 32 + filter_bytes + 4096;
        let promise = match self.space {
            Space::Ask => self.table.promise(promised)?,
            Space::Promised => self.table.promise_anyway(promised),
        };
        let (content, superseded) = match self.content {
            Content::Plain => (Content::Plain, 0),
            Content::Mixed => content_of(&pack),
        };
        let (facts, meta) = describe(self.table, &pack, content, self.key_bits);
        let compression = self.options.compression;
        let segment =
            self.table.build_segment(facts, meta, pack.pages, promise, compression, superseded);
        self.draft.add(segment.clone());
        self.done.push(SegmentRef::whole(segment, self.base));
        self.draft.hand_over_last()?;
        self.draft.make_room()
    }
}

/// What the rows of a pack are, and how many bytes of it are versions that newer ones follow.
fn content_of(pack: &Pack) -> (Content, usize) {
    let (mut content, mut superseded) = (Content::Plain, 0);
    for page in &pack.pages {
        for row in 0..page.rows() {
            let mut versions = page.versions(row);
            let is_put = matches!(versions.next(), Some(Version { op: Op::Put(_), .. }));
            let older: usize = versions.map(|version| version.op.payload().len() + 10).sum();
            if !is_put || older > 0 {
                content = Content::Mixed;
            }
            superseded += older;
        }
    }
    (content, superseded)
}

/// What is to be known of a pack.
fn describe(
    table: &Cachetable,
    pack: &Pack,
    content: Content,
    key_bits: KeyBits,
) -> (SegmentFacts, SegmentMeta) {
    let mut directory = Directory::builder();
    let mut hashes = Vec::new();
    for page in &pack.pages {
        let rows = page.rows();
        hashes.extend((0..rows).map(|row| Filter::hash(page.key(row))));
        let summary = PageSummary {
            rows: u32::try_from(rows).expect("a page has fewer than 2^32 rows"),
            raw_bytes: u32::try_from(page.bytes()).expect("a page has less than 4 GiB"),
        };
        directory.push(page.first_key(), page.last_key(), &summary);
    }
    let directory = directory.finish();
    let facts = SegmentFacts {
        id: table.name_segment(),
        first: Key::from(directory.first_key()),
        last: Key::from(directory.last_key()),
        rows: directory.rows(),
        bytes: directory.raw_bytes(),
        content,
    };
    (facts, SegmentMeta { directory, filter: Filter::build(&hashes, key_bits) })
}

/// Two packs with the same pages, about as large as each other.
fn share_out(left: Pack, right: Pack) -> (Pack, Pack) {
    let total = left.bytes + right.bytes;
    let (mut low, mut high) = (Pack::default(), Pack::default());
    for page in left.pages.into_iter().chain(right.pages) {
        if low.pages.is_empty() || (high.pages.is_empty() && low.bytes * 2 < total) {
            low.push(page);
        } else {
            high.push(page);
        }
    }
    (low, high)
}

/// The rows of two pages in two pages of about the same size.
fn halve(pages: &[Page; 2]) -> Vec<Page> {
    let total: usize = pages.iter().map(Page::bytes).sum();
    let mut builder = PageBuilder::new();
    let mut halves = Vec::with_capacity(2);
    for page in pages {
        for row in 0..page.rows() {
            if halves.is_empty() && !builder.is_empty() && builder.bytes() * 2 >= total {
                halves.push(builder.finish());
            }
            let versions: Vec<_> = page.versions(row).collect();
            builder.push(page.key(row), &versions);
        }
    }
    halves.push(builder.finish());
    halves
}
