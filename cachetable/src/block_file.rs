//! Making and opening the block file.
//!
//! ```text
//! byte 0       4096       8192
//!   | slot 0   | slot 1   | extents ...
//! ```
//!
//! The superblock that was found may be known to the page cache alone: a process that was killed
//! between its write and its sync leaves such a one. So it is rewritten and synced before anything
//! is allocated, and before the other slot, which may be the only durable one, is touched.

use std::io;
use std::sync::Arc;

use imbl::OrdMap;
use sapwood_serialize::blob::{BlobKind, open_blob};
use sapwood_serialize::block_table_image::{NodePlace, decode_block_table};
use sapwood_serialize::space_map_image::decode_space_map;
use sapwood_serialize::superblock::{
    BlobPlace, MAGIC, SLOT_BYTES, SLOTS_BYTES, Session, Superblock, SuperblockError, choose, slot,
};
use sapwood_serialize::{
    BlockId, Corruption, DatabaseId, Epoch, Extent, GenerationId, Lsn, Msn, SegmentId, Storage,
    StorageFile, checksum,
};

use crate::allocator::Allocator;
use crate::cachetable::BLOCK_FILE;
use crate::fault::Fault;
use crate::ledger::{Opened, UsedSet};

/// Why there is no superblock to start from.
#[derive(Debug)]
pub enum OpenFault {
    /// The file is no block file of ours, or of a newer kind, or damaged.
    Superblock(SuperblockError),
    /// It could not be read or written.
    Fault(Fault),
}

impl From<Fault> for OpenFault {
    fn from(fault: Fault) -> OpenFault {
        OpenFault::Fault(fault)
    }
}

/// The block file and its newest superblock.
pub struct BlockFile {
    /// The file.
    pub file: Arc<dyn StorageFile>,
    /// What it says of itself.
    pub superblock: Superblock,
}

impl BlockFile {
    /// Makes an empty block file. Until its first superblock is durable the file counts as absent.
    pub fn create(storage: &dyn Storage) -> Result<BlockFile, Fault> {
        let created = BlockFile::create_now(storage);
        if created.is_err() {
            // Nobody may find it later: a name whose sync failed may never become durable. What
            // cannot be removed either is told by the error that there already is.
            let _ = storage.remove(BLOCK_FILE);
        }
        created
    }

    fn create_now(storage: &dyn Storage) -> Result<BlockFile, Fault> {
        let failed = |error| full_or_io("creating", error);
        let file = storage.create(BLOCK_FILE).map_err(failed)?;
        // Durable zeros first: a power cut in the next write then leaves zeros or a torn
        // superblock, which `open` knows for what it is, and nothing else.
        file.allocate(0, SLOTS_BYTES).map_err(failed)?;
        file.sync().map_err(failed)?;
        storage.sync_names().map_err(failed)?;
        file.expect_random_reads();
        let superblock = Superblock {
            database: DatabaseId::from_bytes(storage.random()),
            sequence: 1,
            epoch: Epoch::from_raw(0),
            first_generation: GenerationId::from_raw(1),
            durable: Lsn::ZERO,
            next_msn: Msn::from_raw(1),
            next_block: BlockId::from_raw(1),
            next_segment: SegmentId::from_raw(1),
            file_bytes: SLOTS_BYTES,
            session: Session::Closed,
            catalog: None,
            block_table: None,
            space_map: None,
        };
        let offset = slot(superblock.sequence) * SLOT_BYTES;
        file.write_at(&superblock.encode(), offset as u64).map_err(failed)?;
        file.sync().map_err(failed)?;
        Ok(BlockFile { file, superblock })
    }

    /// Opens the block file; `None` when there is none, or one whose creation was cut off.
    pub fn open(storage: &dyn Storage) -> Result<Option<BlockFile>, OpenFault> {
        let file = match storage.open(BLOCK_FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::io("opening", BLOCK_FILE, error).into()),
        };
        file.expect_random_reads();
        let failed = |error| Fault::io("reading", BLOCK_FILE, error);
        let length = file.len().map_err(failed)?;
        let mut slots = [0; SLOTS_BYTES as usize];
        let present = usize::try_from(length).unwrap_or(slots.len()).min(slots.len());
        file.read_at(slots.get_mut(..present).unwrap_or_default(), 0).map_err(failed)?;
        let (one, other) = slots.split_at(SLOT_BYTES);
        match choose([one, other]) {
            Ok(superblock) => Ok(Some(BlockFile { file, superblock })),
            Err(_) if length <= SLOTS_BYTES && is_cut_off(one, other) => Ok(None),
            Err(error) => Err(OpenFault::Superblock(error)),
        }
    }

    /// Makes sure that the superblock that was read is durable.
    pub fn secure(&self) -> Result<(), Fault> {
        let failed = |error| Fault::io("rewriting the superblock of", BLOCK_FILE, error);
        let offset = slot(self.superblock.sequence) * SLOT_BYTES;
        self.file.write_at(&self.superblock.encode(), offset as u64).map_err(failed)?;
        self.file.sync().map_err(failed)
    }

    /// Reads the tables that the superblock points to. Space that the log names is not free either.
    pub fn tables(&self, logged: Vec<(Extent, GenerationId)>) -> Result<Opened, Fault> {
        let superblock = &self.superblock;
        let file_bytes =
            self.file.len().map_err(|error| Fault::io("reading", BLOCK_FILE, error))?;
        let places = [superblock.catalog, superblock.block_table, superblock.space_map];
        let tables = places.into_iter().flatten().map(|place| place.extent).collect();
        let (table, used) = (self.block_table()?, self.space_map(file_bytes)?);
        let owned = used.iter().map(|(offset, bytes)| Extent { offset: *offset, bytes: *bytes });
        let mut extents: Vec<Extent> =
            owned.chain(logged.iter().map(|(extent, _)| *extent)).collect();
        extents.sort_unstable();
        if extents.last().is_some_and(|last| last.end() > file_bytes) {
            let rule = "it ends before space that the log names";
            let cut = Corruption::new("block file", file_bytes, rule);
            return Err(cut.within(BLOCK_FILE, 0).into());
        }
        let allocator = Allocator::from_used(SLOTS_BYTES, extents);
        let allocator = allocator.map_err(|broken| broken.within(BLOCK_FILE, 0))?;
        let owned = |place: &NodePlace| {
            used.get(&place.extent.offset) == Some(&place.extent.bytes)
                && u64::from(place.bytes) <= place.extent.bytes
        };
        if !table.values().all(owned) {
            let rule = "it names space that the space map lacks";
            return Err(Corruption::new("block table", 0, rule).within(BLOCK_FILE, 0).into());
        }
        let (next_block, next_segment) = (superblock.next_block, superblock.next_segment);
        if table.get_max().is_some_and(|(last, _)| *last >= next_block) {
            let rule = "it names a node whose number is still to be given";
            return Err(Corruption::new("block table", 0, rule).within(BLOCK_FILE, 0).into());
        }
        Ok(Opened {
            allocator,
            file_bytes,
            checkpointed: used,
            tables,
            logged,
            table,
            next_block,
            next_segment,
        })
    }

    /// Where the nodes lie.
    pub fn block_table(&self) -> Result<OrdMap<BlockId, NodePlace>, Fault> {
        let Some(place) = self.superblock.block_table else { return Ok(OrdMap::new()) };
        let sealed = self.blob(place)?;
        let entries = decode_block_table(self.superblock.database, &sealed);
        let entries = entries.map_err(|broken| broken.within(BLOCK_FILE, place.extent.offset))?;
        Ok(entries.into_iter().collect())
    }

    /// Which extents are in use, of a file with `file_bytes`.
    pub fn space_map(&self, file_bytes: u64) -> Result<UsedSet, Fault> {
        let Some(place) = self.superblock.space_map else { return Ok(OrdMap::new()) };
        let sealed = self.blob(place)?;
        let within = |broken: Corruption| broken.within(BLOCK_FILE, place.extent.offset);
        let extents = decode_space_map(self.superblock.database, &sealed).map_err(within)?;
        if extents.last().is_some_and(|last| last.end() > file_bytes) {
            let rule = "it names space beyond the end of the file, which was cut";
            return Err(within(Corruption::new("space map", 0, rule)).into());
        }
        Ok(extents.into_iter().map(|extent| (extent.offset, extent.bytes)).collect())
    }

    /// The catalog's payload; `None` for a database that never had a checkpoint.
    pub fn catalog(&self) -> Result<Option<Vec<u8>>, Fault> {
        let Some(place) = self.superblock.catalog else { return Ok(None) };
        let sealed = self.blob(place)?;
        let payload = open_blob(BlobKind::Catalog, self.superblock.database, &sealed)
            .map_err(|broken| broken.within(BLOCK_FILE, place.extent.offset))?;
        Ok(Some(payload.to_vec()))
    }

    fn blob(&self, place: BlobPlace) -> Result<Vec<u8>, Fault> {
        let within = |broken: Corruption| broken.within(BLOCK_FILE, place.extent.offset);
        let failed = |error| Fault::io("reading", BLOCK_FILE, error);
        let end = place.extent.offset.checked_add(place.bytes);
        let length = self.file.len().map_err(failed)?;
        if place.bytes > place.extent.bytes || end.is_none_or(|end| end > length) {
            let rule = "it lies beyond the end of the file, which was cut";
            return Err(within(Corruption::new("table", 0, rule)).into());
        }
        let mut bytes = vec![0; usize::try_from(place.bytes).unwrap_or(usize::MAX)];
        self.file.read_at(&mut bytes, place.extent.offset).map_err(failed)?;
        if checksum(self.superblock.database.seed(), &bytes) != place.checksum {
            let rule = "its checksum is not the one in the superblock";
            return Err(within(Corruption::new("table", 0, rule)).into());
        }
        Ok(bytes)
    }
}

/// Whether the slots of a file that holds nothing else are what a creation leaves that was cut off:
/// the first superblock lies in the second slot, torn or not there at all.
fn is_cut_off(one: &[u8], other: &[u8]) -> bool {
    let begins = other.get(..8).unwrap_or_default();
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    is_zero(one) && (is_zero(begins) || begins == MAGIC)
}

fn full_or_io(doing: &'static str, error: io::Error) -> Fault {
    if crate::space::is_full(&error) {
        return Fault::DiskFull { bytes: SLOTS_BYTES };
    }
    Fault::io(doing, BLOCK_FILE, error)
}
