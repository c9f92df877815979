//! Sound bytes for each decoder, taken out of the specimens: what mutations and fuzzing begin with.

use std::sync::OnceLock;

use sapwood_serialize::{
    BlobKind, DatabaseId, Filter, KeyBits, Record, Records, WAL_HEADER_BYTES, WalHeader,
    decode_frame, open_blob, tail_frames,
};

use crate::anatomy::{Anatomy, Part};
use crate::decoders::{DATABASE, Decodes, page};
use crate::files::Files;
use crate::specimen::{Kind, Specimen};

/// All samples of a decoder, the shortest first, each once.
pub fn of(decoder: Decodes) -> Vec<Vec<u8>> {
    let mut samples: Vec<Vec<u8>> = match decoder {
        Decodes::Page => vec![[&(page().rows() as u32).to_le_bytes(), page().cells()].concat()],
        Decodes::Filter => vec![filter(1), filter(60)],
        Decodes::StoredPage => found(Part::Page).map(|(bytes, _)| with_rows(bytes)).collect(),
        Decodes::Meta => found(Part::Meta).map(|(bytes, _)| bytes.to_vec()).collect(),
        Decodes::Blob => found(Part::Node).map(|(bytes, id)| as_ours(bytes, id)).collect(),
        Decodes::Node => payloads(Part::Node, BlobKind::Node),
        Decodes::Catalog => payloads(Part::Catalog, BlobKind::Catalog),
        Decodes::BlockTable => payloads(Part::BlockTable, BlobKind::BlockTable),
        Decodes::SpaceMap => payloads(Part::SpaceMap, BlobKind::SpaceMap),
        Decodes::Superblock => {
            found(Part::Superblock).map(|(bytes, _)| bytes[..208].to_vec()).collect()
        }
        Decodes::Log => logs(),
        Decodes::Records => frames(),
        Decodes::Runs => runs(),
    };
    samples.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    samples.dedup();
    samples
}

fn specimens() -> &'static [(Files, Anatomy)] {
    static SPECIMENS: OnceLock<Vec<(Files, Anatomy)>> = OnceLock::new();
    SPECIMENS.get_or_init(|| {
        let taken_apart = Kind::ALL.map(|kind| {
            let files = Specimen::of(kind).files;
            let anatomy = Anatomy::of(&files);
            (files, anatomy)
        });
        taken_apart.into()
    })
}

fn found(part: Part) -> impl Iterator<Item = (&'static [u8], DatabaseId)> {
    specimens().iter().flat_map(move |(files, anatomy)| {
        let pieces = anatomy.pieces.iter().filter(move |piece| piece.part == part);
        pieces.map(|piece| (&files.bytes(&piece.file)[piece.range.clone()], anatomy.database))
    })
}

fn payloads(part: Part, kind: BlobKind) -> Vec<Vec<u8>> {
    found(part).map(|(bytes, id)| open_blob(kind, id, bytes).unwrap().to_vec()).collect()
}

/// A blob that belongs to the database of the decoders.
fn as_ours(bytes: &[u8], database: DatabaseId) -> Vec<u8> {
    let payload = open_blob(BlobKind::Node, database, bytes).unwrap();
    sapwood_serialize::seal_blob(BlobKind::Node, DATABASE, payload)
}

/// Log files without the zeros behind them, each with what the log's tail has to go on with; none
/// that was made ahead, of which there is but a header.
fn logs() -> Vec<Vec<u8>> {
    let logs = specimens().iter().flat_map(|(files, anatomy)| {
        let tails = files.names().filter(|name| name.starts_with("tail-"));
        let tail = tails.map(|name| files.bytes(name)).next().unwrap_or_default();
        let logs = files.logs().map(|name| files.bytes(name));
        let begun = logs.filter(|log| WalHeader::decode(log).unwrap().is_begun);
        begun.map(|log| with_tail(log, anatomy.database, tail))
    });
    logs.collect()
}

fn with_tail(log: &[u8], database: DatabaseId, tail: &[u8]) -> Vec<u8> {
    let header = WalHeader::decode(log).unwrap();
    let mut end = WAL_HEADER_BYTES;
    while let Ok(Some(frame)) = decode_frame(&header, log, end) {
        end = frame.next;
    }
    let tail = tail_frames(database, header.epoch, tail);
    let tail = tail.filter(|tail| tail.lsn == header.base.plus(end as u64));
    [&log[..end], tail.map_or(&[][..], |tail| tail.frames), &[0; 8]].concat()
}

/// A stored page behind the count of its rows, which only its directory knows: as far as it can be
/// told from outside, for pages that are not compressed.
fn with_rows(bytes: &[u8]) -> Vec<u8> {
    let counted = (1u32..400).map(|rows| [&rows.to_le_bytes(), bytes].concat());
    let mut counted = counted.filter(|bytes| Decodes::StoredPage.feed(bytes).is_ok());
    counted.next().unwrap_or_else(|| [&[0; 4], bytes].concat())
}

fn filter(keys: u8) -> Vec<u8> {
    let hashes: Vec<u64> = (0..keys).map(|key| Filter::hash(&[key])).collect();
    let mut bytes = Vec::new();
    Filter::build(&hashes, KeyBits::LEAF).encode(&mut bytes);
    bytes
}

fn frames() -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for file in logs() {
        let header = WalHeader::decode(&file).unwrap();
        let mut offset = WAL_HEADER_BYTES;
        while let Ok(Some(frame)) = decode_frame(&header, &file, offset) {
            payloads.push(frame.payload.to_vec());
            offset = frame.next;
        }
    }
    payloads
}

fn runs() -> Vec<Vec<u8>> {
    let frames = frames();
    let records = frames.iter().flat_map(|frame| Records::new(frame));
    let runs = records.filter_map(|record| match record.unwrap() {
        Record::Runs { runs, .. } => Some(runs.to_vec()),
        _ => None,
    });
    runs.collect()
}
