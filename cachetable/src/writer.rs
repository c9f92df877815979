//! From memory to disk: segments and node images, each written once, by whoever comes first.
//!
//! ```text
//! begin (single-flight) -> encode, compress -> reserve an extent -> write -> install under the
//! publish mutex, in one step: place, used-set, block table, unwritten list
//! ```
//!
//! Nothing is synced here: what is written counts only once a checkpoint that refers to it has
//! synced the file. A write that meets a full disk is given back and can be tried again; any other
//! failed write poisons the database.

use std::sync::Arc;

use sapwood_serialize::blob::{BlobKind, seal_blob};
use sapwood_serialize::block_table_image::NodePlace;
use sapwood_serialize::node::Handle;
use sapwood_serialize::node_image::encode_node;
use sapwood_serialize::segment::{PageSlot, ResidentSegment, Segment, SegmentPlace};
use sapwood_serialize::segment_image::encode_segment;
use sapwood_serialize::{Extent, Page, checksum};

use crate::cachetable::{BLOCK_FILE, Cachetable};
use crate::fault::Fault;
use crate::ledger::Writable;
use crate::space::is_full;

/// What a job's own segment is, as against one that a view already holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// No view holds it yet; its extent stays reserved until it is published or given back.
    Job,
    /// The same, and nobody will come back for its pages soon: they do not stay in memory.
    Load,
    /// A view holds it.
    View,
}

/// Ends a write that was begun, also when it panics: others may wait for it.
struct Ends<'a>(&'a Cachetable, Writable<'a>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let Ends(table, what) = self;
        let mut ledger = table.ledger.lock();
        ledger.end_write(*what);
        table.written.notify_all();
    }
}

impl Cachetable {
    /// Writes `segment` if it was not written yet, and waits for a write that is under way.
    pub fn write_segment(&self, segment: &Arc<Segment>, owner: Ownership) -> Result<(), Fault> {
        let is_large = segment.facts().bytes > self.budget().large();
        let what = Writable { standing: segment.standing(), is_large };
        if !self.begin(what, &|| segment.place().is_some()) {
            return Ok(());
        }
        let _ends = Ends(self, what);
        self.write_segment_now(segment, owner)
    }

    fn write_segment_now(&self, segment: &Arc<Segment>, owner: Ownership) -> Result<(), Fault> {
        let part = segment.resident().expect("an unwritten segment is resident");
        let pages: Vec<Arc<Page>> = part.slots().iter().filter_map(PageSlot::page).collect();
        let _on_its_way = self.on_its_way(pages.iter().map(|page| page.bytes()).sum());
        let encoded =
            encode_segment(self.identity(segment), part.meta(), &pages, segment.compression());
        let extent = self.write_extent(&encoded.bytes)?;
        let place = SegmentPlace { extent, meta: encoded.meta_place };
        let mut meta = part.meta().clone();
        meta.directory = encoded.directory;
        let memory = self.meters().directories.charge(ResidentSegment::memory(&meta));
        let written = match owner {
            Ownership::Load => ResidentSegment::without_pages(meta, memory),
            _ => ResidentSegment::with_pages(meta, pages, vec![memory]),
        };
        match owner {
            Ownership::Job | Ownership::Load => segment.set_written(place, written),
            Ownership::View => self.ledger().segment_written(segment, place, written),
        }
        self.counters().segments_written.add(1);
        // What was written too late has no place, and must not be evicted.
        if segment.place().is_some()
            && let Some(part) = segment.resident()
        {
            self.enter_part(segment);
            self.enter_pages(&part);
        }
        Ok(())
    }

    /// Writes the image of `handle` if it was not written yet; its segments must be.
    pub fn write_node(&self, handle: &Arc<Handle>) -> Result<(), Fault> {
        let what = Writable { standing: handle.image().standing(), is_large: false };
        if !self.begin(what, &|| handle.image().place().is_some()) {
            return Ok(());
        }
        let _ends = Ends(self, what);
        self.write_node_now(handle)
    }

    fn write_node_now(&self, handle: &Arc<Handle>) -> Result<(), Fault> {
        let node = handle.node().expect("an unwritten node is resident");
        for part in node.node.segments() {
            self.write_segment(&part.segment, Ownership::View)?;
        }
        let payload = encode_node(handle.block(), &node.node);
        let bytes = seal_blob(BlobKind::Node, self.database, &payload);
        let checksum = checksum(self.database.seed(), &bytes);
        let extent = self.write_extent(&bytes)?;
        let length = u32::try_from(bytes.len()).expect("an image is smaller than 4 GiB");
        let place = NodePlace { extent, bytes: length, checksum };
        self.ledger().node_written(handle, place);
        self.counters().nodes_written.add(1);
        Ok(())
    }

    /// Whether the caller is the one to write; waits while somebody else is at it, or at something
    /// else that is large where this is.
    fn begin(&self, what: Writable<'_>, is_written: &dyn Fn() -> bool) -> bool {
        let mut ledger = self.ledger.lock();
        loop {
            if is_written() {
                return false;
            }
            if ledger.begin_write(what) {
                return true;
            }
            self.written.wait(&mut ledger);
        }
    }

    /// Writes `bytes` to a fresh extent, zeros behind them up to its end.
    pub(crate) fn write_extent(&self, bytes: &[u8]) -> Result<Extent, Fault> {
        self.poison().check()?;
        let extent = self.reserve(bytes.len() as u64)?;
        let mut padded = std::borrow::Cow::Borrowed(bytes);
        if bytes.len() as u64 != extent.bytes {
            padded.to_mut().resize(bytes.len().next_multiple_of(Extent::UNIT as usize), 0);
        }
        debug_assert_eq!(padded.len() as u64, extent.bytes);
        match self.file.write_at(&padded, extent.offset) {
            Ok(()) => {
                self.counters().bytes_written.add(extent.bytes);
                self.untold.lock().add(extent);
                Ok(extent)
            }
            Err(error) => {
                self.ledger().give_back(extent);
                if is_full(&error) {
                    return Err(Fault::DiskFull { bytes: extent.bytes });
                }
                Err(self.poison().record(Fault::io("writing", BLOCK_FILE, error)))
            }
        }
    }

    /// Tells the disk to begin with what was written, if that is `worth` bytes and more. Does not
    /// wait for the disk, save where too much is on its way to that already.
    pub fn start_writeback(&self, worth: u64) {
        let stretches = self.untold.lock().take(worth);
        for (offset, bytes) in stretches {
            self.file.start_writeback(offset, bytes);
        }
    }
}
