//! From disk into memory: nodes, directories with filters, pages.
//!
//! Everything is checked on every read: a reference carries the checksum of what it refers to, and
//! every block carries its identity. What two readers fetch at once is read twice; the first to
//! finish fills the slot, the other takes what it finds there.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use sapwood_serialize::blob::{BlobKind, open_blob};
use sapwood_serialize::block_table_image::NodePlace;
use sapwood_serialize::node::{Handle, Node, ResidentNode};
use sapwood_serialize::node_image::decode_node;
use sapwood_serialize::run::SegmentRef;
use sapwood_serialize::segment::{PageSlot, ResidentSegment, Segment, SegmentPlace};
use sapwood_serialize::segment_image::decode_meta;
use sapwood_serialize::{BlockId, Corruption, Directory, Memory, Page, checksum};

use crate::batch::{Batch, StoredPage};
use crate::cachetable::{BLOCK_FILE, Cachetable};
use crate::fault::Fault;
use crate::write_behind::Entered;

/// No thread keeps more for its next read.
const BUFFER_BYTES_MOST: usize = 192 << 10;

thread_local! {
    /// What a thread has read last, as it was stored: asking for the memory again, and having it
    /// made zero, took a twentieth of a scan's time.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What becomes of a page that had to be read, or was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// It stays in memory for the next reader.
    Keep,
    /// It goes when its reader is done: a job will not come back to it.
    Pass,
}

/// Refuses a page whose keys are not those that the directory sends to it.
fn lies_between_fences(
    page: Page,
    directory: &Directory,
    index: usize,
) -> Result<Page, Corruption> {
    let (first, last) = (page.first_key(), page.last_key());
    let begins = match index {
        0 => first == directory.first_key(),
        _ => first >= directory.fence(index),
    };
    let ends = match index + 1 {
        next if next == directory.pages() => last == directory.last_key(),
        next => last < directory.fence(next),
    };
    if begins && ends {
        return Ok(page);
    }
    Err(Corruption::new("page", 0, "its keys do not lie between its fences"))
}

impl Cachetable {
    /// The node behind `handle`, read if it is not resident.
    pub fn node(&self, handle: &Arc<Handle>) -> Result<Arc<ResidentNode>, Fault> {
        if let Some(node) = handle.node() {
            node.heat.warm();
            return Ok(node);
        }
        self.fetch_node(handle)
    }

    fn fetch_node(&self, handle: &Arc<Handle>) -> Result<Arc<ResidentNode>, Fault> {
        let Some(place) = handle.image().place() else {
            // It was resident until just now, or it could not have been evicted.
            return handle.node().ok_or_else(|| {
                Corruption::new("node", 0, "it is neither in memory nor on disk").into()
            });
        };
        let node = match self.decode_fetched(handle, place) {
            Ok(node) => node,
            // Somebody was faster, and has changed its children since: what was read refers to
            // what is no longer there. A node that is superseded stays resident, so it is here.
            Err(fault) => return handle.node().ok_or(fault),
        };
        let charge = self.meters().directories.charge(node.memory());
        self.counters().nodes_read.add(1);
        let node = handle.fetched(Arc::new(ResidentNode::new(node, charge)));
        self.enter_node(handle);
        self.make_room();
        Ok(node)
    }

    /// What the image at `place` says of the node, with the children as they are now.
    fn decode_fetched(&self, handle: &Arc<Handle>, place: NodePlace) -> Result<Node, Fault> {
        let bytes = self.read_node(place)?;
        let within = |corruption: Corruption| corruption.within(BLOCK_FILE, place.extent.offset);
        let payload = open_blob(BlobKind::Node, self.database, &bytes).map_err(within)?;
        let child_of = |block: BlockId, height| self.ledger().handle_of(block, height);
        let node =
            decode_node(handle.block(), handle.height(), payload, &child_of).map_err(within)?;
        self.check_owned(&mut node.segments()).map_err(within)?;
        Ok(node)
    }

    /// Refuses references to space that nobody owns: it may be handed out again at any time.
    pub fn check_owned(
        &self,
        parts: &mut dyn Iterator<Item = &SegmentRef>,
    ) -> Result<(), Corruption> {
        let ledger = self.ledger();
        let mut places = parts.filter_map(|part| part.segment.place());
        if places.all(|place| ledger.is_owned(place.extent)) {
            return Ok(());
        }
        Err(Corruption::new("node", 0, "it refers to space that the space map lacks"))
    }

    /// The image at `place`, checked against the block table's checksum.
    pub fn read_node(&self, place: NodePlace) -> Result<Vec<u8>, Fault> {
        let bytes = self.read(place.extent.offset, place.bytes as usize)?;
        if checksum(self.database.seed(), &bytes) != place.checksum {
            let rule = "its checksum is not the one in the block table";
            return Err(Corruption::new("node", 0, rule)
                .within(BLOCK_FILE, place.extent.offset)
                .into());
        }
        Ok(bytes)
    }

    /// The directory, filter and page slots of `segment`, read if they are not resident.
    pub fn part(&self, segment: &Arc<Segment>) -> Result<Arc<ResidentSegment>, Fault> {
        if let Some(part) = segment.resident() {
            part.heat().warm();
            return Ok(part);
        }
        let Some(place) = segment.place() else {
            return segment.resident().ok_or_else(|| {
                Corruption::new("segment", 0, "it is neither in memory nor on disk").into()
            });
        };
        let offset = place.extent.offset + u64::from(place.meta.offset);
        let bytes = self.read(offset, place.meta.bytes as usize)?;
        let meta = decode_meta(self.identity(segment), place.meta, &bytes)
            .and_then(|meta| self.agrees(segment, place, meta))
            .map_err(|corruption| corruption.within(BLOCK_FILE, offset))?;
        let charge = self.meters().directories.charge(ResidentSegment::memory(&meta));
        self.counters().directories_read.add(1);
        let part = segment.fetched(Arc::new(ResidentSegment::without_pages(meta, charge)));
        self.enter_part(segment);
        self.make_room();
        Ok(part)
    }

    /// Checks a directory against the reference that led to it.
    fn agrees(
        &self,
        segment: &Segment,
        place: SegmentPlace,
        meta: sapwood_serialize::segment_image::SegmentMeta,
    ) -> Result<sapwood_serialize::segment_image::SegmentMeta, Corruption> {
        let (facts, directory) = (segment.facts(), &meta.directory);
        let broken = |rule| Err(Corruption::new("segment", 0, rule));
        if directory.first_key() != &*facts.first || directory.last_key() != &*facts.last {
            return broken("its keys are not those of the reference to it");
        }
        if directory.rows() != facts.rows || directory.raw_bytes() != facts.bytes {
            return broken("its size is not that of the reference to it");
        }
        let pages = (0..directory.pages()).filter_map(|index| directory.place(index));
        let end = pages.map(|page| u64::from(page.offset) + u64::from(page.stored_bytes)).max();
        if end.is_none_or(|end| end > u64::from(place.meta.offset)) {
            return broken("its pages lie outside its extent");
        }
        Ok(meta)
    }

    /// Page `index` of `segment`, read if it is not resident.
    pub fn page(
        &self,
        segment: &Arc<Segment>,
        part: &Arc<ResidentSegment>,
        index: usize,
        caching: Caching,
    ) -> Result<Arc<Page>, Fault> {
        if let Some(page) = part.slot(index).page() {
            part.slot(index).heat().warm();
            return Ok(page);
        }
        let mut pages = self.fetch_pages(segment, part, index..index + 1, caching)?;
        pages.pop().ok_or_else(|| Corruption::new("segment", 0, "it lacks a page").into())
    }

    /// Reads the pages `range` of `segment` with one call.
    pub fn fetch_pages(
        &self,
        segment: &Arc<Segment>,
        part: &Arc<ResidentSegment>,
        range: Range<usize>,
        caching: Caching,
    ) -> Result<Vec<Arc<Page>>, Fault> {
        let directory = &part.meta().directory;
        let (offset, wanted, bytes) = self.find_pages(segment, directory, range)?;
        let start = wanted.first().map_or(0, |first| first.place.offset);
        let _on_its_way = self.on_its_way(bytes);
        let stored = self.read_pages(offset, bytes)?;
        self.counters().pages_read.add(wanted.len() as u64);
        let batch = Batch::new(self.identity(segment), wanted.clone(), stored);
        let (decoded, stored) = batch.decode(self.pool.as_ref());
        if let Some(kept) = stored.filter(|kept| kept.capacity() <= BUFFER_BYTES_MOST) {
            BUFFER.set(kept);
        }
        let mut pages = Vec::with_capacity(wanted.len());
        for (StoredPage { index, place, .. }, page) in wanted.into_iter().zip(decoded) {
            let page = page.and_then(|page| lies_between_fences(page, directory, index)).map_err(
                |wrong| wrong.within(BLOCK_FILE, offset + u64::from(place.offset - start)),
            )?;
            let page = Arc::new(self.charged(page));
            if caching == Caching::Keep {
                part.slot(index).fill(page.clone());
                self.enter_page(part, index);
            }
            pages.push(page);
        }
        if caching == Caching::Keep {
            self.make_room();
        }
        Ok(pages)
    }

    /// Where in the file the pages `range` begin, which they are, and how many bytes they take.
    fn find_pages(
        &self,
        segment: &Segment,
        directory: &Directory,
        range: Range<usize>,
    ) -> Result<(u64, Vec<StoredPage>, usize), Fault> {
        let wanted = |index| {
            let (place, summary) = (directory.place(index)?, directory.summary(index));
            Some(StoredPage { index, place, summary })
        };
        let wanted = range.map(wanted).collect::<Option<Vec<_>>>();
        let (Some(wanted), Some(place)) = (wanted, segment.place()) else {
            return Err(
                Corruption::new("segment", 0, "a page is neither in memory nor on disk").into()
            );
        };
        let start = wanted.first().map_or(0, |first| first.place.offset);
        let end = wanted.last().map_or(0, |last| last.place.offset + last.place.stored_bytes);
        let offset = place.extent.offset + u64::from(start);
        Ok((offset, wanted, (end - start) as usize))
    }

    /// Reads pages as they are stored.
    fn read_pages(&self, offset: u64, bytes: usize) -> Result<Memory, Fault> {
        self.check_reach(offset, bytes)?;
        let mut stored = buffer(bytes);
        self.read_at(offset, &mut stored)?;
        Ok(stored)
    }

    /// Has the system fetch all of `segment` meanwhile, if none of it is in memory.
    pub fn read_soon(&self, segment: &Segment) {
        let is_here = segment.resident().is_some_and(|part| {
            let slots = part.slots();
            [slots.first(), slots.last()].into_iter().flatten().any(PageSlot::is_resident)
        });
        let Some(place) = segment.place().filter(|_| !is_here) else { return };
        let bytes = u64::from(place.meta.offset) + u64::from(place.meta.bytes);
        self.will_read(place.extent.offset, bytes);
    }

    /// Tells the system on another thread, if there is one: taking such advice, it does for a
    /// segment what a read does but for the waiting, which is a fifth of a long scan's time.
    fn will_read(&self, offset: u64, bytes: u64) {
        let Some(pool) = &self.pool else { return self.file.will_read(offset, bytes) };
        let Ok(entered) = Entered::new(&self.behind) else { return };
        let file = self.file.clone();
        pool.spawn(move || {
            file.will_read(offset, bytes);
            // Before the database may be closed: nobody is to find the file open then.
            drop(file);
            drop(entered);
        });
    }

    /// Reads `count` bytes at `offset`; both come from references that were checked against the
    /// extent, and the file's length bounds what is allocated.
    pub(crate) fn read(&self, offset: u64, count: usize) -> Result<Vec<u8>, Fault> {
        self.check_reach(offset, count)?;
        let mut bytes = vec![0; count];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Refuses a large read beyond the end of the file before anything is allocated for it. A small
    /// one that fails costs nothing.
    fn check_reach(&self, offset: u64, count: usize) -> Result<(), Fault> {
        let end = offset.checked_add(count as u64).ok_or_else(|| beyond_the_end(offset))?;
        let is_large = count > Memory::SMALL_BYTES_MOST;
        if is_large && end > self.file.len().map_err(cannot_read)? {
            return Err(beyond_the_end(offset));
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.file.read_at(bytes, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => beyond_the_end(offset),
            _ => cannot_read(error),
        })?;
        self.counters().bytes_read.add(bytes.len() as u64);
        Ok(())
    }
}

fn cannot_read(error: std::io::Error) -> Fault {
    Fault::io("reading", BLOCK_FILE, error)
}

fn beyond_the_end(offset: u64) -> Fault {
    let rule = "it lies beyond the end of the file";
    Corruption::new("block", 0, rule).within(BLOCK_FILE, offset).into()
}

/// Memory for a read of this thread: what the last one was read into, which is not made zero again.
fn buffer(bytes: usize) -> Memory {
    if bytes > Memory::SMALL_BYTES_MOST {
        return Memory::unwritten(bytes);
    }
    let mut last = BUFFER.take();
    last.resize(bytes, 0);
    last.into()
}
