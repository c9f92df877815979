//! What lies where in the files of a sound database, and which checksum covers it.
//!
//! ```text
//! superblock <- catalog      <- meta block <- page
//!            <- block table  <- node       <- meta block <- page
//!            <- space map
//! log file                                 <- meta block <- page
//! ```
//!
//! Each piece but the roots names its *parent*, which repeats the checksum of the piece.

use std::collections::BTreeSet;
use std::ops::Range;

use sapwood_serialize::catalog_image::decode_catalog;
use sapwood_serialize::run::SegmentRef;
use sapwood_serialize::superblock::{SLOT_BYTES, Superblock, choose, slot};
use sapwood_serialize::{
    BlobKind, BlobPlace, BlockId, DatabaseId, FrameKind, NodePlace, Record, Records,
    SegmentIdentity, WAL_HEADER_BYTES, WalHeader, decode_block_table, decode_frame, decode_meta,
    decode_runs,
    node_image::{children_at, decode_node},
    open_blob,
};

use crate::files::{BLOCK_FILE, Files};

/// What a piece of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Superblock,
    Catalog,
    BlockTable,
    SpaceMap,
    Node,
    Meta,
    Page,
    Log,
}

/// A stretch of a file that one checksum covers, or a log file with the checksums of its frames.
#[derive(Clone, Debug)]
pub struct Piece {
    pub part: Part,
    pub file: String,
    /// Its bytes in the file.
    pub range: Range<usize>,
    /// Where the checksum of it is repeated.
    pub parent: Option<usize>,
    /// Seeds that checksum.
    pub seed: u64,
}

/// All pieces of a database.
pub struct Anatomy {
    pub database: DatabaseId,
    pub pieces: Vec<Piece>,
    segments: BTreeSet<u64>,
}

impl Anatomy {
    /// Takes a sound database apart.
    pub fn of(files: &Files) -> Anatomy {
        let block_file = files.bytes(BLOCK_FILE);
        let slots = [&block_file[..SLOT_BYTES], &block_file[SLOT_BYTES..2 * SLOT_BYTES]];
        let superblock = choose(slots).unwrap();
        let database = superblock.database;
        let mut anatomy = Anatomy { database, pieces: Vec::new(), segments: BTreeSet::new() };
        let start = slot(superblock.sequence) * SLOT_BYTES;
        anatomy.add(Part::Superblock, BLOCK_FILE, start..start + SLOT_BYTES, None, 0);
        anatomy.trees(block_file, &superblock);
        for log in files.logs().filter(|name| !files.bytes(name).is_empty()) {
            anatomy.log(files, log);
        }
        anatomy
    }

    fn add(
        &mut self,
        part: Part,
        file: &str,
        range: Range<usize>,
        parent: Option<usize>,
        seed: u64,
    ) -> usize {
        self.pieces.push(Piece { part, file: file.to_owned(), range, parent, seed });
        self.pieces.len() - 1
    }

    fn blob(&mut self, part: Part, place: BlobPlace, parent: usize) -> usize {
        let range = range(place.extent.offset, place.bytes);
        self.add(part, BLOCK_FILE, range, Some(parent), self.database.seed())
    }

    fn trees(&mut self, file: &[u8], superblock: &Superblock) {
        if let Some(map) = superblock.space_map {
            self.blob(Part::SpaceMap, map, 0);
        }
        let mut table = Vec::new();
        if let Some(place) = superblock.block_table {
            let parent = self.blob(Part::BlockTable, place, 0);
            let bytes = &file[self.pieces[parent].range.clone()];
            table = decode_block_table(self.database, bytes).unwrap();
            let resolve = |block: BlockId| place_in(&table, block);
            for (block, place) in &table {
                self.node(file, *block, *place, parent, &resolve);
            }
        }
        if let Some(place) = superblock.catalog {
            let parent = self.blob(Part::Catalog, place, 0);
            let bytes = &file[self.pieces[parent].range.clone()];
            let payload = open_blob(BlobKind::Catalog, self.database, bytes).unwrap();
            let resolve = |block: BlockId| place_in(&table, block);
            let catalog = decode_catalog(payload, &children_at(&resolve)).unwrap();
            let dropped = catalog.dropped.iter().map(|dropped| &dropped.tree);
            for tree in catalog.trees.iter().chain(dropped) {
                self.segments(file, tree.top.segments(), parent);
            }
        }
    }

    fn node(
        &mut self,
        file: &[u8],
        block: BlockId,
        place: NodePlace,
        parent: usize,
        resolve: &dyn Fn(BlockId) -> Option<NodePlace>,
    ) {
        let range = range(place.extent.offset, u64::from(place.bytes));
        let bytes = &file[range.clone()];
        let payload = open_blob(BlobKind::Node, self.database, bytes).unwrap();
        let (_, height) = name_and_height(payload).unwrap();
        let node = decode_node(block, height, payload, &children_at(resolve)).unwrap();
        let here = self.add(Part::Node, BLOCK_FILE, range, Some(parent), self.database.seed());
        self.segments(file, node.segments(), here);
    }

    fn segments<'r>(
        &mut self,
        file: &[u8],
        parts: impl Iterator<Item = &'r SegmentRef>,
        parent: usize,
    ) {
        for part in parts {
            let (id, place) = (part.segment.id(), part.segment.place().unwrap());
            if !self.segments.insert(id.to_raw()) {
                continue;
            }
            let start = place.extent.offset;
            let meta_range =
                range(start + u64::from(place.meta.offset), u64::from(place.meta.bytes));
            let identity = SegmentIdentity { database: self.database, segment: id };
            let meta = decode_meta(identity, place.meta, &file[meta_range.clone()]).unwrap();
            let seed = meta_seed(identity);
            let here = self.add(Part::Meta, BLOCK_FILE, meta_range, Some(parent), seed);
            for index in 0..meta.directory.pages() {
                let page = meta.directory.place(index).unwrap();
                let range = range(start + u64::from(page.offset), u64::from(page.stored_bytes));
                let seed = page_seed(identity, index as u64);
                self.add(Part::Page, BLOCK_FILE, range, Some(here), seed);
            }
        }
    }

    fn log(&mut self, files: &Files, name: &str) {
        let bytes = files.bytes(name);
        let header = WalHeader::decode(bytes).unwrap();
        let here = self.add(Part::Log, name, 0..bytes.len(), None, self.database.seed());
        let mut offset = WAL_HEADER_BYTES;
        while let Ok(Some(frame)) = decode_frame(&header, bytes, offset) {
            offset = frame.next;
            if frame.head.kind != FrameKind::Group {
                continue;
            }
            for record in Records::new(frame.payload) {
                if let Record::Runs { numbers, runs } = record.unwrap() {
                    let trees = decode_runs(numbers, runs).unwrap();
                    let runs = trees.iter().flat_map(|(_, runs)| runs);
                    let parts = runs.flat_map(|run| run.segments());
                    self.segments(files.bytes(BLOCK_FILE), parts, here);
                }
            }
        }
    }
}

/// The seeds by which the format tells segments and their pages apart.
pub fn meta_seed(identity: SegmentIdentity) -> u64 {
    let next = identity.segment.to_raw().wrapping_add(1);
    identity.database.seed() ^ next.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub fn page_seed(identity: SegmentIdentity, index: u64) -> u64 {
    meta_seed(identity) ^ (index + 1).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
}

/// What a node's image says that it is.
pub fn name_and_height(payload: &[u8]) -> Option<(BlockId, u8)> {
    let mut decoder = sapwood_serialize::codec::Decoder::new("node", payload);
    let block = decoder.varint().ok()?;
    Some((BlockId::from_raw(block), decoder.u8().ok()?))
}

fn place_in(table: &[(BlockId, NodePlace)], block: BlockId) -> Option<NodePlace> {
    let found = table.binary_search_by_key(&block, |(id, _)| *id).ok()?;
    Some(table[found].1)
}

fn range(offset: u64, bytes: u64) -> Range<usize> {
    let start = usize::try_from(offset).unwrap();
    start..start + usize::try_from(bytes).unwrap()
}
