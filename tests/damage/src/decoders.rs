//! Every decoder of the format, fed with any bytes whose checksums are made to hold.
//!
//! Each either refuses the bytes with a corruption, or what it made of them passes its own checks
//! and is written as those bytes again.

use sapwood_serialize::catalog_image::{decode_catalog, encode_catalog};
use sapwood_serialize::codec::Decoder;
use sapwood_serialize::node_image::{children_at, decode_node, encode_node};
use sapwood_serialize::run::Bounds;
use sapwood_serialize::superblock::{SLOT_BYTES, SuperblockError, choose, decode_slot};
use sapwood_serialize::{
    BlobKind, BlockId, Corruption, DatabaseId, Extent, Filter, MetaPlace, NodePlace, Op, Page,
    PageBuilder, PagePlace, PageSummary, Records, SegmentId, SegmentIdentity, Version,
    WAL_HEADER_BYTES, WalHeader, checksum, decode_block_table, decode_frame, decode_meta,
    decode_page, decode_runs, decode_space_map, encode_block_table, encode_record, encode_runs,
    encode_space_map, later_knowledge, open_blob, seal_blob, tail_frames,
};

use crate::anatomy::{meta_seed, name_and_height, page_seed};
use crate::forge::{seal_blob_bytes, seal_log, seal_superblock};

/// Whose the bytes are.
pub const DATABASE: DatabaseId = DatabaseId::from_bytes(*b"a damaged sample");
/// How many numbers the runs of a commit say that they take.
const NUMBERS: u64 = 1 << 40;

/// A decoder, by what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decodes {
    Page,
    /// The rows that its directory says (u32), then the stored page.
    StoredPage,
    Meta,
    Filter,
    /// A blob, its own checksum included.
    Blob,
    Node,
    Catalog,
    BlockTable,
    SpaceMap,
    Superblock,
    /// A whole log file.
    Log,
    Records,
    Runs,
}

impl Decodes {
    pub const ALL: [Decodes; 13] = [
        Decodes::Page,
        Decodes::StoredPage,
        Decodes::Meta,
        Decodes::Filter,
        Decodes::Blob,
        Decodes::Node,
        Decodes::Catalog,
        Decodes::BlockTable,
        Decodes::SpaceMap,
        Decodes::Superblock,
        Decodes::Log,
        Decodes::Records,
        Decodes::Runs,
    ];

    /// Decodes the bytes, under checksums that hold.
    ///
    /// # Errors
    /// The decoder's.
    ///
    /// # Panics
    /// When what was decoded is not sound.
    pub fn feed(self, bytes: &[u8]) -> Result<(), Corruption> {
        match self {
            Decodes::Page => cells(bytes),
            Decodes::StoredPage => stored_page(bytes),
            Decodes::Meta => meta(bytes),
            Decodes::Filter => filter(bytes),
            Decodes::Blob => blob(bytes),
            Decodes::Node => node(bytes),
            Decodes::Catalog => catalog(bytes),
            Decodes::BlockTable => block_table(bytes),
            Decodes::SpaceMap => space_map(bytes),
            Decodes::Superblock => superblock(bytes),
            Decodes::Log => log(bytes),
            Decodes::Records => records(bytes),
            Decodes::Runs => runs(bytes),
        }
    }
}

fn check_page(page: &Page) {
    let mut builder = PageBuilder::new();
    for row in 0..page.rows() {
        let key = page.key(row);
        assert_eq!(page.search(key), Ok(row));
        let versions: Vec<Version<'_>> = page.versions(row).collect();
        assert!(versions.is_sorted_by(|newer, older| newer.msn > older.msn));
        builder.push(key, &versions);
    }
    assert!(page.search(b"").is_ok_and(|row| row == 0) || page.search(b"") == Err(0));
    assert_eq!(builder.finish().cells(), page.cells(), "one content has one image");
}

/// The count of rows, and their cells.
fn cells(bytes: &[u8]) -> Result<(), Corruption> {
    let mut decoder = Decoder::new("page", bytes);
    let rows = decoder.u32()? as usize;
    let cells = decoder.take(decoder.remaining())?;
    let page = Page::decode(rows, cells.len(), |into| {
        into.copy_from_slice(cells);
        Ok(())
    });
    page.map(|page| check_page(&page))
}

fn stored_page(bytes: &[u8]) -> Result<(), Corruption> {
    let mut decoder = Decoder::new("stored page", bytes);
    let rows = decoder.u32()?;
    let stored = decoder.take(decoder.remaining())?;
    let mut header = Decoder::new("stored page", stored);
    header.take(8)?;
    let (index, raw_bytes) = (header.u32()?, header.u32()?);
    let identity = identity(header.u64()?);
    let sum = checksum(page_seed(identity, u64::from(index)), stored);
    let stored_bytes = u32::try_from(stored.len()).unwrap();
    let place = PagePlace { offset: 0, stored_bytes, checksum: sum };
    let summary = PageSummary { rows, raw_bytes };
    let page = decode_page(identity, index as usize, place, summary, stored)?;
    assert_eq!((page.rows(), page.bytes()), (rows as usize, raw_bytes as usize));
    check_page(&page);
    Ok(())
}

fn meta(bytes: &[u8]) -> Result<(), Corruption> {
    let mut header = Decoder::new("segment meta block", bytes);
    header.take(8)?;
    let identity = identity(header.u64()?);
    let pages = header.u32()? as usize;
    header.take(12)?;
    let entries = (0..pages.min(header.remaining() / 20)).map(|_| {
        let stored = header.u32()?;
        header.take(16).map(|_| u64::from(stored))
    });
    // It has to stand right behind the pages that it lists.
    let end = entries.sum::<Result<u64, Corruption>>()?;
    let offset = u32::try_from(end).unwrap_or(u32::MAX);
    let sum = checksum(meta_seed(identity), bytes);
    let place = MetaPlace { offset, bytes: u32::try_from(bytes.len()).unwrap(), checksum: sum };
    let meta = decode_meta(identity, place, bytes)?;
    let directory = &meta.directory;
    assert!(directory.first_key() <= directory.last_key());
    for page in 0..directory.pages() {
        assert_eq!(directory.find(directory.fence(page)), page);
        assert!(directory.place(page).is_some() && directory.summary(page).rows > 0);
    }
    assert_eq!(directory.find(b""), 0);
    assert!(directory.rows() > 0 && directory.raw_bytes() > 0 && directory.bytes() > 0);
    let _either = meta.filter.may_contain(Filter::hash(directory.first_key()));
    Ok(())
}

fn filter(bytes: &[u8]) -> Result<(), Corruption> {
    let filter = Filter::decode(bytes)?;
    let mut again = Vec::new();
    filter.encode(&mut again);
    assert_eq!(again, bytes);
    for hash in [0, 1, u64::MAX] {
        let _either = filter.may_contain(hash);
    }
    Ok(())
}

fn blob(bytes: &[u8]) -> Result<(), Corruption> {
    let mut sealed = bytes.to_vec();
    seal_blob_bytes(DATABASE.seed(), &mut sealed);
    let payload = open_blob(BlobKind::Node, DATABASE, &sealed)?;
    assert_eq!(seal_blob(BlobKind::Node, DATABASE, payload), sealed);
    Ok(())
}

/// Blocks below this number are there.
fn resolve(block: BlockId) -> Option<NodePlace> {
    let extent = Extent { offset: 8192, bytes: 4096 };
    (block.to_raw() < 1 << 20).then_some(NodePlace { extent, bytes: 100, checksum: 0 })
}

fn node(payload: &[u8]) -> Result<(), Corruption> {
    let (block, height) = name_and_height(payload).unwrap_or((BlockId::from_raw(0), 0));
    let node = decode_node(block, height, payload, &children_at(&resolve))?;
    assert_eq!(node.check(&Bounds::all()), Ok(()));
    assert_eq!(encode_node(block, &node), payload);
    assert!(node.memory() > 0);
    Ok(())
}

fn catalog(payload: &[u8]) -> Result<(), Corruption> {
    let catalog = decode_catalog(payload, &children_at(&resolve))?;
    assert_eq!(encode_catalog(&catalog), payload);
    Ok(())
}

fn block_table(payload: &[u8]) -> Result<(), Corruption> {
    let sealed = seal_blob(BlobKind::BlockTable, DATABASE, payload);
    let entries = decode_block_table(DATABASE, &sealed)?;
    if entries.last().is_some_and(|(last, _)| last.to_raw() == u64::MAX) {
        // No superblock leads to it: every name that is given is below the next one.
        return Ok(());
    }
    assert_eq!(encode_block_table(DATABASE, entries), sealed);
    Ok(())
}

fn space_map(payload: &[u8]) -> Result<(), Corruption> {
    let sealed = seal_blob(BlobKind::SpaceMap, DATABASE, payload);
    let extents = decode_space_map(DATABASE, &sealed)?;
    assert_eq!(encode_space_map(DATABASE, extents), sealed);
    Ok(())
}

fn superblock(bytes: &[u8]) -> Result<(), Corruption> {
    let mut slot = bytes.to_vec();
    slot.resize(SLOT_BYTES, 0);
    seal_superblock(&mut slot);
    let refused = |rule| Corruption::new("superblock", 0, rule);
    let decoded = decode_slot(&slot).map_err(|error| match error {
        SuperblockError::Corrupt(broken) => broken,
        SuperblockError::NotOurs => refused("it is not ours"),
        SuperblockError::OtherVersion { .. } => refused("it is of another version"),
    })?;
    assert_eq!(decoded.encode()[..], slot[..]);
    let none = [0; SLOT_BYTES];
    let chosen = [choose([&slot, &none]), choose([&none, &slot])];
    assert_eq!(chosen.iter().filter(|chosen| chosen.as_ref() == Ok(&decoded)).count(), 1);
    Ok(())
}

fn log(bytes: &[u8]) -> Result<(), Corruption> {
    let mut file = bytes.to_vec();
    // Another database's header is read as well; its frames are sealed as its own.
    let database = file.get(24..40).and_then(|id| id.try_into().ok());
    seal_log(DatabaseId::from_bytes(database.unwrap_or_default()).seed(), &mut file);
    // The frames alone are what a tail would hold.
    let frames = file.get(WAL_HEADER_BYTES..).unwrap_or_default();
    if let Ok(WalHeader { database, epoch, .. }) = WalHeader::decode(&file)
        && let Some(tail) = tail_frames(database, epoch, frames)
    {
        assert!(frames.starts_with(tail.frames));
    }
    let header = WalHeader::decode(&file)?;
    // Older versions are read as well, and written no more.
    let is_newest = header.encode()[16..20] == file[16..20];
    assert!(!is_newest || header.encode() == file[..WAL_HEADER_BYTES]);
    let mut offset = WAL_HEADER_BYTES;
    while let Some(frame) = decode_frame(&header, &file, offset)? {
        assert!(frame.next > offset && frame.next <= file.len());
        assert!(frame.head.durable <= frame.head.lsn);
        let _either = later_knowledge(&header, &file, offset);
        records(frame.payload)?;
        offset = frame.next;
    }
    Ok(())
}

fn records(payload: &[u8]) -> Result<(), Corruption> {
    let mut again = Vec::new();
    for record in Records::new(payload) {
        let record = record?;
        encode_record(&mut again, &record);
        if let sapwood_serialize::Record::Runs { numbers, runs } = record {
            let _either = decode_runs(numbers, runs);
        }
    }
    assert_eq!(again, payload);
    Ok(())
}

fn runs(payload: &[u8]) -> Result<(), Corruption> {
    let trees = decode_runs(NUMBERS, payload)?;
    assert_eq!(encode_runs(&trees), payload);
    for run in trees.iter().flat_map(|(_, runs)| runs) {
        assert_eq!(run.check(), Ok(()));
        let whole = run.bounds().and_then(|bounds| run.clip(&bounds));
        assert!(whole.is_some() || run.is_empty());
    }
    Ok(())
}

fn identity(segment: u64) -> SegmentIdentity {
    SegmentIdentity { database: DATABASE, segment: SegmentId::from_raw(segment) }
}

/// A page with every kind of op.
pub fn page() -> Page {
    let mut builder = PageBuilder::new();
    builder.push(b"key-1", &[Version { msn: 9, op: Op::Merge(b"abc") }, put(3)]);
    builder.push(b"key-2", &[Version { msn: 300, op: Op::Delete }]);
    builder.push(b"key-22", &[put(200)]);
    builder.push(b"key-7 and a long tail of it", &[put(0)]);
    builder.finish()
}

fn put(msn: u64) -> Version<'static> {
    Version { msn, op: Op::Put(b"a value") }
}
