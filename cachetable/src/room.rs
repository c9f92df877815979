//! Room for what jobs build.
//!
//! ```text
//! jobs     build . build . build ..      evict what is written; write themselves when it is late
//! scribe     [oldest] [oldest] ..        writes while few pages are left that could be evicted
//! ```
//!
//! What is not written cannot be evicted. It is written as late as memory allows, since much of it
//! dies before; and, where there is a thread for it, a little before a job would have to do it:
//! compressing and writing were a quarter of a flusher's time.

use std::sync::Arc;

use sapwood_serialize::segment::Segment;

use crate::cachetable::Cachetable;
use crate::crew::Waker;
use crate::fault::Fault;
use crate::writer::Ownership;

impl Cachetable {
    /// Names the scribe: the thread that calls [`write_due`](Cachetable::write_due); or none.
    pub fn set_scribe(&self, waker: Option<Waker>) {
        *self.scribe.lock() = waker;
    }

    /// Makes room as a job may: writes out what leaves have too much of, evicts directories that
    /// nobody has used, then what is cold, then writes out what is oldest and evicts that.
    pub fn make_room_by_writing(&self) -> Result<(), Fault> {
        self.write_leaves()?;
        self.evict_unused_directories();
        while !self.make_room() {
            let Some(segment) = self.ledger().next_to_write() else { return Ok(()) };
            self.write_segment(&segment, Ownership::View)?;
        }
        Ok(())
    }

    /// Writes out what leaves have too much of. A full disk leaves it in memory as long as that has
    /// room.
    fn write_leaves(&self) -> Result<(), Fault> {
        let most = self.budget().unwritten_leaves() + self.left_to_scribe();
        loop {
            let Some(segment) = self.ledger().next_leaf_to_write(most) else { return Ok(()) };
            match self.write_segment(&segment, Ownership::View) {
                Err(fault) if fault.is_retryable() => return Ok(()),
                written => written?,
            };
        }
    }

    /// How much of what is to be written a job leaves to the scribe, which is woken for it; nothing
    /// where there is none.
    fn left_to_scribe(&self) -> u64 {
        let Some(scribe) = self.scribe.lock().clone() else { return 0 };
        if self.next_due().is_some() {
            scribe.wake();
        }
        self.budget().spare()
    }

    /// Writes the next segment that a job would soon have to write; `false` when there is none.
    pub fn write_due(&self) -> Result<bool, Fault> {
        let Some(segment) = self.next_due() else { return Ok(false) };
        self.write_segment(&segment, Ownership::View)?;
        Ok(true)
    }

    fn next_due(&self) -> Option<Arc<Segment>> {
        let is_short = self.is_short_of_written_pages();
        let ledger = self.ledger();
        let leaf = ledger.next_leaf_to_write(self.budget().unwritten_leaves());
        leaf.or_else(|| is_short.then(|| ledger.next_to_write())?)
    }

    /// Whether a job would soon find no page to evict. (Before it writes itself, it evicts
    /// directories that were used as well: those are better kept for readers.)
    fn is_short_of_written_pages(&self) -> bool {
        let (meters, budget) = (self.meters(), self.budget());
        let written = meters.pages.bytes().saturating_sub(meters.unwritten.bytes());
        let held = meters.resident().saturating_sub(written);
        held + budget.spare() > budget.resident()
    }
}

#[cfg(test)]
mod tests {
    use sapwood_serialize::block_table_image::NodePlace;
    use sapwood_serialize::node::{Handle, Image, Node, ResidentNode};
    use sapwood_serialize::run::Run;
    use sapwood_serialize::segment::ResidentSegment;
    use sapwood_serialize::segment_image::{Directory, PageSummary, SegmentMeta};
    use sapwood_serialize::{BlockId, Extent, Filter, KeyBits, Op, PageBuilder, Version};

    use super::*;
    use crate::block_file::BlockFile;
    use crate::budget::Budget;
    use crate::storage::MemoryStorage;

    fn table() -> Cachetable {
        let storage = Arc::new(MemoryStorage::new());
        let block_file = BlockFile::create(&*storage).unwrap();
        let opened = block_file.tables(Vec::new()).unwrap();
        let (file, database) = (block_file.file, block_file.superblock.database);
        Cachetable::new(storage, file, database, Budget { total: 8 << 20 }, None, opened)
    }

    /// A leaf that has entered the cachetable, with this image.
    fn leaf(table: &Cachetable, image: Image) -> Arc<Handle> {
        let charge = table.meters().directories.charge(1 << 20);
        let node = ResidentNode::new(Node::Leaf(Run::default()), charge);
        let handle = Arc::new(Handle::resident(BlockId::from_raw(1), node, Arc::new(image)));
        table.enter_node(&handle);
        handle
    }

    fn written() -> Image {
        Image::written(NodePlace {
            extent: Extent { offset: 8192, bytes: 4096 },
            bytes: 1,
            checksum: 0,
        })
    }

    /// A page that can be evicted, and never was used.
    fn page(table: &Cachetable) -> Arc<ResidentSegment> {
        let mut builder = PageBuilder::new();
        builder.push(b"key", &[Version { msn: 0, op: Op::Put(b"value") }]);
        let page = table.charged(builder.finish());
        let mut directory = Directory::builder();
        let summary = PageSummary { rows: 1, raw_bytes: u32::try_from(page.bytes()).unwrap() };
        directory.push(b"key", b"key", &summary);
        let filter = Filter::build(&[1], KeyBits::LEAF);
        let meta = SegmentMeta { directory: directory.finish(), filter };
        let part = ResidentSegment::with_pages(meta, vec![Arc::new(page)], Vec::new());
        let part = Arc::new(part);
        table.enter_pages(&part);
        part
    }

    /// A drain of 50 M rows left 60 MiB of directories behind that it had built, while there were
    /// pages to evict instead: the process grew beyond what is promised in every third run, since
    /// what pages give back does not serve directories.
    #[test]
    fn jobs_let_go_of_what_they_built_and_nobody_used() {
        let table = table();
        let page = page(&table);
        let used = leaf(&table, written());
        used.node().unwrap().heat.warm();
        let (unwritten, unused) = (leaf(&table, Image::default()), leaf(&table, written()));
        table.make_room_by_writing().unwrap();
        assert!(unused.peek().is_some(), "there is room");
        let room = table.budget().resident() - table.meters().resident();
        let _full = table.meters().memtables.charge(usize::try_from(room).unwrap() + 1);
        table.make_room_by_writing().unwrap();
        assert!(used.peek().is_some() && unwritten.peek().is_some());
        assert!(unused.peek().is_none());
        assert!(page.slot(0).is_resident(), "it is not its turn");
    }
}
