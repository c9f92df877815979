//! A segment in memory: what of it is resident, and where it lies once written.
//!
//! ```text
//! Segment { id, first key, last key, rows, bytes }      always there with the reference
//!   |-- place   where it lies, once written
//!   `-- resident part: directory, filter, one slot a page      comes and goes when written
//!         `-- slot: page, or nothing
//! ```
//!
//! 1. Until it is written, a segment's resident part is there with every page.
//! 2. `place` is set once and never changes; what was read from there is what was written.
//! 3. Readers never lock: slots are swapped atomically, and what a reader has loaded stays valid
//!    for as long as it holds it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;

use crate::segment_image::{MetaPlace, SegmentMeta};
use crate::shared::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::shared::{ArcSwapOption, Guard};
use crate::{Charge, Compression, Extent, Page, SegmentId};

/// A key that is shared between the structures that mention it.
pub type Key = Arc<[u8]>;

/// Where a written segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPlace {
    /// The stretch of the block file that holds the pages and the meta block.
    pub extent: Extent,
    /// The directory and filter within it.
    pub meta: MetaPlace,
}

/// What a segment's rows are, as far as it decides how they can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Puts only, one version a key: a leaf can adopt it as it is.
    Plain,
    /// Anything else.
    Mixed,
}

/// The fixed facts of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its name, never reused.
    pub id: SegmentId,
    /// The smallest key in it.
    pub first: Key,
    /// The largest key in it.
    pub last: Key,
    /// How many keys it holds.
    pub rows: u64,
    /// Its pages' uncompressed bytes.
    pub bytes: u64,
    /// Whether a leaf can adopt it.
    pub content: Content,
}

/// An immutable packed sequence of pages; see the module's head.
#[derive(Debug)]
pub struct Segment {
    facts: SegmentFacts,
    resident: ArcSwapOption<ResidentSegment>,
    place: OnceLock<SegmentPlace>,
    /// How its pages will be compressed; of no meaning once they are written.
    compression: Compression,
    standing: Standing,
    /// What was charged for as long as the segment exists.
    _charge: Option<Charge>,
}

impl Segment {
    /// A segment that was just built and lives in memory alone; `charge` lives as long as it.
    pub fn built(
        facts: SegmentFacts,
        resident: ResidentSegment,
        compression: Compression,
        charge: Option<Charge>,
    ) -> Segment {
        let resident = ArcSwapOption::from_pointee(resident);
        let (place, standing) = (OnceLock::new(), Standing::default());
        Segment { facts, resident, place, compression, standing, _charge: charge }
    }

    /// A segment that lies on disk, nothing of it resident.
    pub fn written(facts: SegmentFacts, place: SegmentPlace) -> Segment {
        let (resident, standing) = (ArcSwapOption::empty(), Standing::default());
        let (place, compression) = (place.into(), Compression::None);
        Segment { facts, resident, place, compression, standing, _charge: None }
    }

    /// The fixed facts.
    pub fn facts(&self) -> &SegmentFacts {
        &self.facts
    }

    /// How its pages are compressed when they are written.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Its name.
    pub fn id(&self) -> SegmentId {
        self.facts.id
    }

    /// Where it lies; `None` while it lives in memory alone.
    pub fn place(&self) -> Option<SegmentPlace> {
        self.place.get().copied()
    }

    /// The directory, filter and page slots, if they are in memory.
    pub fn resident(&self) -> Option<Arc<ResidentSegment>> {
        self.resident.load_full()
    }

    /// Like [`Segment::resident`], without touching the reference count.
    pub fn peek(&self) -> Guard<Option<Arc<ResidentSegment>>> {
        self.resident.load()
    }

    /// Puts a part that was read from disk into memory; the first one to do so wins.
    pub fn fetched(&self, part: Arc<ResidentSegment>) -> Arc<ResidentSegment> {
        let before =
            self.resident.compare_and_swap(&None::<Arc<ResidentSegment>>, Some(part.clone()));
        (*before).clone().unwrap_or(part)
    }

    /// Records that it was written to `place`; `part` knows where each page lies.
    ///
    /// # Panics
    /// When it was written before.
    pub fn set_written(&self, place: SegmentPlace, part: ResidentSegment) {
        self.resident.store(Some(Arc::new(part)));
        let first = self.place.set(place).is_ok();
        assert!(first, "a segment is written once");
    }

    /// Lets the resident part go, if it can be read again. Tells whether it could.
    pub fn evict(&self) -> bool {
        if self.place.get().is_none() {
            return false;
        }
        self.resident.store(None);
        true
    }

    /// Its standing in the view and in checkpoints.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }
}

/// The part of a segment that comes and goes.
#[derive(Debug)]
pub struct ResidentSegment {
    meta: SegmentMeta,
    slots: Box<[PageSlot]>,
    heat: Heat,
    _charges: Vec<Charge>,
}

impl ResidentSegment {
    /// A part with all its pages. The charges last as long as the part: one for its memory, and
    /// while it is unwritten one for that, and one for the space it was promised.
    pub fn with_pages(meta: SegmentMeta, pages: Vec<Arc<Page>>, charges: Vec<Charge>) -> Self {
        debug_assert_eq!(meta.directory.pages(), pages.len());
        let slots = pages.into_iter().map(|page| PageSlot::new(Some(page))).collect();
        ResidentSegment { meta, slots, heat: Heat::default(), _charges: charges }
    }

    /// A part with no page yet.
    pub fn without_pages(meta: SegmentMeta, charge: Charge) -> Self {
        let slots = (0..meta.directory.pages()).map(|_| PageSlot::new(None)).collect();
        ResidentSegment { meta, slots, heat: Heat::default(), _charges: vec![charge] }
    }

    /// The directory and filter.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// The slot of page `index`.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn slot(&self, index: usize) -> &PageSlot {
        self.slots.get(index).expect("the directory has one slot a page")
    }

    /// All slots, in key order.
    pub fn slots(&self) -> &[PageSlot] {
        &self.slots
    }

    /// How recently it was used.
    pub fn heat(&self) -> &Heat {
        &self.heat
    }

    /// The bytes that [`ResidentSegment`] itself takes, for its charge.
    pub fn memory(meta: &SegmentMeta) -> usize {
        meta.directory.bytes()
            + meta.filter.bytes()
            + meta.directory.pages() * size_of::<PageSlot>()
            + size_of::<ResidentSegment>()
    }
}

impl Drop for ResidentSegment {
    /// A swapped pointer that goes asks every thread whether it is reading it: most slots of most
    /// segments are empty, and asking for those was a sixtieth of a load's time.
    fn drop(&mut self) {
        for slot in std::mem::take(&mut self.slots) {
            if !slot.is_resident() {
                std::mem::forget(slot);
            }
        }
    }
}

/// A place for one page in memory.
#[derive(Debug)]
pub struct PageSlot {
    page: ArcSwapOption<Page>,
    heat: Heat,
}

impl PageSlot {
    fn new(page: Option<Arc<Page>>) -> PageSlot {
        PageSlot { page: ArcSwapOption::new(page), heat: Heat::default() }
    }

    /// The page, if it is in memory.
    pub fn page(&self) -> Option<Arc<Page>> {
        self.page.load_full()
    }

    /// Like [`PageSlot::page`], without touching the reference count.
    pub fn peek(&self) -> Guard<Option<Arc<Page>>> {
        self.page.load()
    }

    /// Whether the page is in memory.
    pub fn is_resident(&self) -> bool {
        self.page.load().is_some()
    }

    /// Puts the page in.
    pub fn fill(&self, page: Arc<Page>) {
        self.page.store(Some(page));
    }

    /// Lets the page go.
    pub fn evict(&self) {
        self.page.store(None);
    }

    /// How recently it was used.
    pub fn heat(&self) -> &Heat {
        &self.heat
    }
}

/// A small saturating count of uses, for the evictor.
#[derive(Debug, Default)]
pub struct Heat(AtomicU8);

impl Heat {
    const MOST: u8 = 3;

    /// Counts a use.
    pub fn warm(&self) {
        let heat = self.0.load(Ordering::Relaxed);
        if heat < Heat::MOST {
            self.0.store(heat + 1, Ordering::Relaxed);
        }
    }

    /// Takes one use off; `false` when there is none left.
    pub fn cool(&self) -> bool {
        let heat = self.0.load(Ordering::Relaxed);
        self.0.store(heat.saturating_sub(1), Ordering::Relaxed);
        heat > 0
    }
}

/// Where a segment or an image stands; changed under the publish mutex only.
#[derive(Debug, Default)]
pub struct Standing {
    superseded: AtomicBool,
    captured: AtomicU64,
    being_written: AtomicBool,
}

impl Standing {
    /// Whether the current view no longer owns it.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// Records that the current view no longer owns it.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    /// Starts a write; `false` when somebody else is at it.
    pub fn begin_write(&self) -> bool {
        !self.being_written.swap(true, Ordering::AcqRel)
    }

    /// Ends a write, whether it worked or not.
    pub fn end_write(&self) {
        self.being_written.store(false, Ordering::Release);
    }

    /// Whether somebody is writing it.
    pub fn is_being_written(&self) -> bool {
        self.being_written.load(Ordering::Acquire)
    }

    /// The checkpoint that has it on its list; zero for none.
    pub fn captured_by(&self) -> u64 {
        self.captured.load(Ordering::Acquire)
    }

    /// Puts it on the list of checkpoint `number`.
    pub fn capture(&self, number: u64) {
        self.captured.store(number, Ordering::Release);
    }
}
