//! Checkpoints: a view is kept, what of it is not on disk is written, and a superblock makes it the
//! state that recovery finds.
//!
//! ```text
//! cut        under the publish mutex: the trees, the unwritten list, table and used-set (clones)
//! write      segments, then nodes, children first        to fresh extents
//! tables     block table, catalog, space map             to fresh extents
//! sync       everything above is durable
//! flip       the older superblock slot; sync             from here on this is the checkpoint
//! release    what the previous checkpoint alone owned
//! ```
//!
//! A crash anywhere leaves the previous checkpoint whole: nothing that it owns is overwritten
//! before `release`.

use std::sync::Arc;

use rayon::prelude::*;
use sapwood_serialize::blob::{BlobKind, seal_blob};
use sapwood_serialize::block_table_image::encode_block_table;
use sapwood_serialize::catalog_image::{CatalogImage, encode_catalog};
use sapwood_serialize::segment::Segment;
use sapwood_serialize::space_map_image::encode_space_map;
use sapwood_serialize::superblock::{BlobPlace, SLOT_BYTES, Session, Superblock, slot};
use sapwood_serialize::{Epoch, Extent, GenerationId, Lsn, Msn, checksum};

use crate::cachetable::{BLOCK_FILE, Cachetable};
use crate::fault::Fault;
use crate::ledger::{CutList, Ledger};
use crate::step::StepPoint;
use crate::writer::Ownership;

/// The part of a view that a checkpoint keeps, taken under the publish mutex.
#[derive(Debug)]
pub struct Captured {
    /// The trees.
    pub catalog: CatalogImage,
    /// The first generation that is not wholly in the trees.
    pub first_generation: GenerationId,
    /// Every message in the trees has a smaller one.
    pub next_msn: Msn,
}

/// What the superblock says besides where the tables lie.
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    /// The number of this superblock, one more than the last.
    pub sequence: u64,
    /// The epoch of the log that continues from here.
    pub epoch: Epoch,
    /// Whether a log continues from here at all.
    pub session: Session,
}

impl Cachetable {
    /// Takes a checkpoint of what `capture` returns; it runs under the publish mutex. `sync_log`
    /// makes the log durable from a generation on and tells up to where: the superblock will say
    /// that it goes on there.
    ///
    /// One at a time, which the caller sees to. On a full disk the checkpoint is abandoned and the
    /// previous one stays; any other failure poisons the database.
    pub fn checkpoint(
        &self,
        flip: Flip,
        capture: impl FnOnce(&mut Ledger) -> Captured,
        sync_log: &dyn Fn(GenerationId) -> Result<Lsn, Fault>,
    ) -> Result<Superblock, Fault> {
        self.poison().check()?;
        self.steps().reach(StepPoint::CheckpointBegun)?;
        let (captured, list) = {
            let mut ledger = self.ledger();
            let captured = capture(&mut ledger);
            let list = ledger.cut();
            (captured, list)
        };
        match self.write_checkpoint(flip, &captured, &list, sync_log) {
            Ok(superblock) => {
                self.ledger().checkpoint_done(captured.first_generation);
                self.counters().checkpoints.add(1);
                self.written.notify_all();
                self.steps().pass(StepPoint::CheckpointReleased);
                Ok(superblock)
            }
            Err(fault) => {
                if fault.is_retryable() {
                    self.ledger().checkpoint_abandoned();
                } else {
                    self.poison().record(fault.clone());
                }
                Err(fault)
            }
        }
    }

    fn write_checkpoint(
        &self,
        flip: Flip,
        captured: &Captured,
        list: &CutList,
        sync_log: &dyn Fn(GenerationId) -> Result<Lsn, Fault>,
    ) -> Result<Superblock, Fault> {
        let steps = self.steps();
        steps.reach(StepPoint::CheckpointCaptured)?;
        self.write_segments(&list.segments, Ownership::View)?;
        steps.reach(StepPoint::CheckpointSegments)?;
        for handle in &list.nodes {
            self.write_node(handle)?;
        }
        steps.reach(StepPoint::CheckpointNodes)?;
        let (_, table) = self.ledger().captured();
        let block_table = table.iter().map(|(block, place)| (*block, *place));
        let block_table = encode_block_table(self.database, block_table);
        let block_table = self.write_table(&block_table)?;
        steps.reach(StepPoint::CheckpointBlockTable)?;
        let catalog = encode_catalog(&captured.catalog);
        let catalog = seal_blob(BlobKind::Catalog, self.database, &catalog);
        let catalog = self.write_table(&catalog)?;
        let space_map = self.write_space_map()?;
        let superblock = Superblock {
            database: self.database,
            sequence: flip.sequence,
            epoch: flip.epoch,
            first_generation: captured.first_generation,
            durable: sync_log(captured.first_generation)?,
            next_msn: captured.next_msn,
            next_block: list.next_block,
            next_segment: list.next_segment,
            file_bytes: self.ledger().file_bytes(),
            session: flip.session,
            catalog: Some(catalog),
            block_table: Some(block_table),
            space_map: Some(space_map),
        };
        steps.reach(StepPoint::CheckpointTables)?;
        self.sync()?;
        steps.reach(StepPoint::CheckpointSynced)?;
        self.write_superblock(&superblock)?;
        steps.pass(StepPoint::CheckpointFlipped);
        Ok(superblock)
    }

    /// Writes what of `segments` is not written yet. Compressing is most of the work, so the pool
    /// shares it out.
    pub fn write_segments(&self, segments: &[Arc<Segment>], owner: Ownership) -> Result<(), Fault> {
        let write = |segment: &Arc<Segment>| self.write_segment(segment, owner);
        match &self.pool {
            Some(pool) => pool.install(|| segments.par_iter().try_for_each(write)),
            None => segments.iter().try_for_each(write),
        }
    }

    fn write_table(&self, sealed: &[u8]) -> Result<BlobPlace, Fault> {
        let extent = self.write_extent(sealed)?;
        self.ledger().own_table(extent);
        Ok(self.blob_place(extent, sealed))
    }

    /// The space map names its own extent too, so that extent is taken first, for a map that is
    /// large enough whatever the numbers are.
    fn write_space_map(&self) -> Result<BlobPlace, Fault> {
        const ENTRY_BYTES_MAX: u64 = 20;
        const ENVELOPE_BYTES_MAX: u64 = 256;
        let (used, _) = self.ledger().captured();
        let entries = used.len() as u64 + 1;
        let extent = self.reserve(entries * ENTRY_BYTES_MAX + ENVELOPE_BYTES_MAX)?;
        self.ledger().own_table(extent);
        let (used, _) = self.ledger().captured();
        let extents = used.iter().map(|(offset, bytes)| Extent { offset: *offset, bytes: *bytes });
        let bytes = encode_space_map(self.database, extents);
        let place = self.blob_place(extent, &bytes);
        let mut padded = bytes;
        padded.resize(usize::try_from(extent.bytes).expect("a map fits into memory"), 0);
        self.write_at(&padded, extent.offset)?;
        Ok(place)
    }

    fn blob_place(&self, extent: Extent, bytes: &[u8]) -> BlobPlace {
        let checksum = checksum(self.database.seed(), bytes);
        BlobPlace { extent, bytes: bytes.len() as u64, checksum }
    }

    /// Writes `superblock` into the slot that its number says, and syncs it.
    pub fn write_superblock(&self, superblock: &Superblock) -> Result<(), Fault> {
        let offset = SLOT_BYTES * slot(superblock.sequence);
        self.write_at(&superblock.encode(), offset as u64)?;
        self.steps().pass(StepPoint::SuperblockWritten);
        self.sync()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Fault> {
        let written = self.file.write_at(bytes, offset);
        written.map_err(|error| self.poison().record(Fault::io("writing", BLOCK_FILE, error)))?;
        self.counters().bytes_written.add(bytes.len() as u64);
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), Fault> {
        // The sync tells of all; told of once more, it would be let go of.
        drop(self.untold.lock().take(0));
        let synced = self.file.sync();
        synced.map_err(|error| self.poison().record(Fault::io("syncing", BLOCK_FILE, error)))
    }
}
