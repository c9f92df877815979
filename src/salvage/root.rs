//! Where a damaged database begins: the newest superblock whose tables can be read.

use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::ledger::{BlockTable, UsedSet};
use sapwood_cachetable::{BLOCK_FILE, Fault};
use sapwood_serialize::blob::BLOB_HEADER_BYTES;
use sapwood_serialize::catalog_image::{CatalogImage, decode_catalog};
use sapwood_serialize::codec::Decoder;
use sapwood_serialize::node_image::children_at;
use sapwood_serialize::superblock::{SLOT_BYTES, decode_slot, guess_slot, slot};
use sapwood_serialize::{
    BlobKind, BlockId, Corruption, Extent, NodePlace, Storage, Superblock, SuperblockError,
    checksum, is_zero, open_blob,
};

use super::{Damages, Loss};
use crate::error::{Error, Kind, Result};

/// What a node lies at that the block table lacks.
pub(super) const NOWHERE: NodePlace =
    NodePlace { extent: Extent { offset: 0, bytes: 0 }, bytes: 0, checksum: 0 };

/// A checkpoint whose catalog can be read.
pub(super) struct Root {
    pub(super) block_file: BlockFile,
    pub(super) places: BlockTable,
    catalog: Option<Vec<u8>>,
}

impl Root {
    /// The newest checkpoint that leads anywhere.
    pub(super) fn find(storage: &dyn Storage, damages: &mut Damages) -> Result<Root> {
        let lost = |reason: &str| {
            let (folder, reason) = (storage.describe(), reason.to_owned());
            Error::new(Kind::Lost { folder, reason })
        };
        let superblocks = superblocks(storage, damages)?;
        if superblocks.is_empty() {
            return Err(lost(
                "both superblocks are damaged, and only they tell where the trees are",
            ));
        }
        for superblock in superblocks {
            let failed = |error| Fault::io("opening", BLOCK_FILE, error);
            let file = storage.open(BLOCK_FILE).map_err(failed)?;
            let block_file = BlockFile { file, superblock };
            match Root::at(block_file, damages) {
                Ok(root) => return Ok(root),
                Err(broken) => damages.note(&broken, None, Loss::Changes),
            }
        }
        let first = damages.all.last().map_or(String::new(), |damage| damage.what.clone());
        let reason = "the catalog, which tells what trees there are, cannot be read";
        Err(lost(&format!("{reason} ({first})")))
    }

    /// The checkpoint of one superblock.
    fn at(block_file: BlockFile, damages: &mut Damages) -> std::result::Result<Root, Corruption> {
        let length = block_file.file.len().unwrap_or(block_file.superblock.file_bytes);
        let used = block_file.space_map(length).map_err(corruption);
        let places = match (block_file.block_table().map_err(corruption), &used) {
            (Ok(places), _) => places,
            (Err(broken), Err(_)) => return Err(broken),
            (Err(broken), Ok(used)) => {
                damages.note(&broken, None, Loss::Nothing);
                find_nodes(&block_file, used)
            }
        };
        let catalog = block_file.catalog().map_err(corruption)?;
        let root = Root { block_file, places, catalog };
        root.decode()?;
        if let Err(broken) = used {
            damages.note(&broken, None, Loss::Nothing);
        }
        Ok(root)
    }

    /// The trees as the catalog has them.
    pub(super) fn trees(&self) -> Result<CatalogImage> {
        Ok(self.decode()?)
    }

    fn decode(&self) -> std::result::Result<CatalogImage, Corruption> {
        let Some(catalog) = &self.catalog else { return Ok(CatalogImage::default()) };
        let place = self.block_file.superblock.catalog;
        let start = place.map_or(0, |place| place.extent.offset);
        let resolve = resolver(&self.places);
        decode_catalog(catalog, &children_at(&resolve))
            .map_err(|broken| broken.within(BLOCK_FILE, start))
    }
}

/// Where nodes lie; one that the table lacks lies nowhere, which is noticed when it is read.
pub(super) fn resolver(places: &BlockTable) -> impl Fn(BlockId) -> Option<NodePlace> {
    |block| Some(places.get(&block).copied().unwrap_or(NOWHERE))
}

/// What is wrong, also where it could not even be read.
pub(super) fn corruption(fault: Fault) -> Corruption {
    match fault {
        Fault::Corrupt(corruption) => corruption,
        _ => Corruption::new("block", 0, "it cannot be read"),
    }
}

/// The superblocks that can be read, and what is left of one that is damaged; newest first. What a
/// damaged one leads to has checksums of its own.
fn superblocks(storage: &dyn Storage, damages: &mut Damages) -> Result<Vec<Superblock>> {
    let file = storage.open(BLOCK_FILE).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::NoDatabase(storage.describe())),
        _ => Fault::io("opening", BLOCK_FILE, error).into(),
    })?;
    let (mut sound, mut guessed) = (Vec::new(), Vec::new());
    for index in 0..2 {
        let start = (index * SLOT_BYTES) as u64;
        let mut bytes = [0; SLOT_BYTES];
        let read = file.read_at(&mut bytes, start);
        if read.is_ok() && is_zero(&bytes) {
            // Never written.
            continue;
        }
        let rule = match decode_slot(&bytes) {
            Ok(superblock) if slot(superblock.sequence) == index => {
                sound.push(superblock);
                continue;
            }
            Err(cause @ SuperblockError::OtherVersion { .. }) => {
                let file = BLOCK_FILE.to_owned();
                return Err(Error::new(Kind::Superblock { file, cause }));
            }
            Ok(_) => "it lies in the other one's slot",
            Err(SuperblockError::NotOurs) => "it does not begin as one does",
            Err(SuperblockError::Corrupt(broken)) => broken.rule,
        };
        // It may have been the newer one.
        damages.note(&Corruption::new("superblock", start, rule), None, Loss::Changes);
        guessed.extend(guess_slot(&bytes).filter(|guess| guess.catalog.is_some()));
    }
    Ok(newest_first(sound, guessed))
}

/// A guess counts as newer than a sound one only if it says just the next number.
fn newest_first(mut sound: Vec<Superblock>, mut guessed: Vec<Superblock>) -> Vec<Superblock> {
    let newest = |superblock: &Superblock| std::cmp::Reverse(superblock.sequence);
    sound.sort_unstable_by_key(newest);
    guessed.sort_unstable_by_key(newest);
    let Some(known) = sound.first().copied() else { return guessed };
    let is_next = |guess: &Superblock| guess.sequence == known.sequence + 1;
    let (mut all, older): (Vec<_>, Vec<_>) = guessed.into_iter().partition(is_next);
    all.extend(sound);
    all.extend(older);
    all
}

/// The nodes that lie in the extents of a checkpoint: each tells its own name.
fn find_nodes(block_file: &BlockFile, used: &UsedSet) -> BlockTable {
    let extents = used.iter().map(|(offset, bytes)| Extent { offset: *offset, bytes: *bytes });
    extents.filter_map(|extent| node_at(block_file, extent)).collect()
}

fn node_at(block_file: &BlockFile, extent: Extent) -> Option<(BlockId, NodePlace)> {
    let database = block_file.superblock.database;
    let mut header = [0; BLOB_HEADER_BYTES];
    block_file.file.read_at(&mut header, extent.offset).ok()?;
    let payload = u64::from_le_bytes(*header.last_chunk()?);
    let length = payload.checked_add(BLOB_HEADER_BYTES as u64)?;
    let bytes = u32::try_from(length).ok().filter(|_| length <= extent.bytes)?;
    let mut image = vec![0; usize::try_from(length).ok()?];
    block_file.file.read_at(&mut image, extent.offset).ok()?;
    let payload = open_blob(BlobKind::Node, database, &image).ok()?;
    let block = BlockId::from_raw(Decoder::new("node", payload).varint().ok()?);
    let checksum = checksum(database.seed(), &image);
    Some((block, NodePlace { extent, bytes, checksum }))
}
