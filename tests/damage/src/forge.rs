//! Bytes that are changed under checksums that hold, so that what decodes them is really reached.
//!
//! A piece is changed, and from there on up to the superblock every checksum is made anew: the new
//! one takes the place of the old one in the parent, wherever it stands there.

use std::fmt;

use sapwood_serialize::checksum;
use sapwood_serialize::superblock::SLOT_BYTES;
use sapwood_serialize::{BRIEF_HEADER_BYTES, FRAME_HEADER_BYTES, WAL_HEADER_BYTES};

use crate::anatomy::{Anatomy, Part};
use crate::files::Files;

/// The bytes of a blob's own checksum.
const SUM_BYTES: usize = 8;
/// The first bytes of a superblock seed its checksum, those of a log file that of its header.
const SUPERBLOCK_SEED: u64 = u64::from_le_bytes(*b"sapwood\x1b");
const LOG_SEED: u64 = u64::from_le_bytes(*b"sapw-wal");

/// One byte of one piece that is another one, or two neighbours.
#[derive(Clone, Debug)]
pub struct Forgery {
    piece: usize,
    part: Part,
    offset: usize,
    bytes: Vec<u8>,
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Forgery { piece, part, offset, bytes } = self;
        write!(f, "forge {part:?} {piece} {offset} {bytes:?}")
    }
}

impl Forgery {
    /// Every byte of every piece, each to values that break what bytes mean: a length, a count, a
    /// flag, a sign, the end of a number.
    pub fn all(files: &Files, anatomy: &Anatomy) -> Vec<Forgery> {
        let mut all = Vec::new();
        for (index, piece) in anatomy.pieces.iter().enumerate() {
            let bytes = &files.bytes(&piece.file)[piece.range.clone()];
            for (offset, was) in bytes.iter().enumerate() {
                let unused = piece.part == Part::Log && bytes[offset..].iter().all(|it| *it == 0)
                    || piece.part == Part::Superblock && (208..SLOT_BYTES - 8).contains(&offset);
                if unused {
                    continue;
                }
                let others = [0, 1, was ^ 1, was ^ 0x80, was.wrapping_add(1), 0x7f, 0xff];
                for (place, other) in others.iter().enumerate() {
                    if other != was && !others[..place].contains(other) {
                        let bytes = vec![*other];
                        all.push(Forgery { piece: index, part: piece.part, offset, bytes });
                    }
                }
                if offset + 8 <= bytes.len() {
                    let bytes = vec![0xff; 8];
                    all.push(Forgery { piece: index, part: piece.part, offset, bytes });
                }
            }
        }
        all
    }

    pub fn part(&self) -> Part {
        self.part
    }

    /// The files with it, all checksums holding.
    pub fn apply(&self, files: &Files, anatomy: &Anatomy) -> Files {
        let mut forged = files.clone();
        let piece = &anatomy.pieces[self.piece];
        let start = piece.range.start + self.offset;
        let bytes = forged.bytes_mut(&piece.file);
        bytes[start..start + self.bytes.len()].copy_from_slice(&self.bytes);
        seal(&mut forged, files, anatomy, self.piece);
        forged
    }
}

/// Makes the checksums of a piece that was changed hold, and those of all above it.
pub fn seal(forged: &mut Files, sound: &Files, anatomy: &Anatomy, piece: usize) {
    let Anatomy { pieces, database, .. } = anatomy;
    let changed = &pieces[piece];
    let bytes = &mut forged.bytes_mut(&changed.file)[changed.range.clone()];
    match changed.part {
        Part::Superblock => seal_superblock(bytes),
        Part::Log => seal_log(database.seed(), bytes),
        Part::Catalog | Part::BlockTable | Part::SpaceMap | Part::Node => {
            seal_blob_bytes(database.seed(), bytes);
        }
        Part::Meta | Part::Page => {}
    }
    let Some(parent) = changed.parent else { return };
    let new = checksum(changed.seed, bytes).to_le_bytes();
    let was = checksum(changed.seed, &sound.bytes(&changed.file)[changed.range.clone()]);
    let above = &pieces[parent];
    replace(&mut forged.bytes_mut(&above.file)[above.range.clone()], was.to_le_bytes(), new);
    seal(forged, sound, anatomy, parent);
}

fn replace(bytes: &mut [u8], was: [u8; 8], new: [u8; 8]) {
    for start in 0..bytes.len().saturating_sub(7) {
        if bytes[start..start + 8] == was {
            bytes[start..start + 8].copy_from_slice(&new);
        }
    }
}

/// The checksum at the start of a blob.
pub fn seal_blob_bytes(seed: u64, bytes: &mut [u8]) {
    if let Some((sum, covered)) = bytes.split_first_chunk_mut::<SUM_BYTES>() {
        *sum = checksum(seed, covered).to_le_bytes();
    }
}

/// The checksum at the end of a superblock.
pub fn seal_superblock(bytes: &mut [u8]) {
    if let Some((covered, sum)) = bytes.split_last_chunk_mut::<SUM_BYTES>() {
        *sum = checksum(SUPERBLOCK_SEED, covered).to_le_bytes();
    }
}

/// The checksums of a log file: its header's, and each frame's as far as its length says.
pub fn seal_log(seed: u64, bytes: &mut [u8]) {
    let Some((header, frames)) = bytes.split_at_mut_checked(WAL_HEADER_BYTES) else { return };
    seal_blob_bytes(LOG_SEED, header);
    let Some(first_lsn) = number_at(frames, 16) else { return };
    let epoch = number_at(header, 48).unwrap_or_default();
    let (mut lsn, mut frames) = (first_lsn, frames);
    while let Some(length) = frame_length(frames) {
        let (frame, behind) = frames.split_at_mut(length);
        let place = [lsn.to_le_bytes(), epoch.to_le_bytes()].concat();
        seal_blob_bytes(if is_brief(frame) { checksum(seed, &place) } else { seed }, frame);
        (lsn, frames) = (lsn.wrapping_add(length as u64), behind);
    }
}

fn number_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|number| u64::from_le_bytes(*number))
}

fn is_brief(frame: &[u8]) -> bool {
    frame[SUM_BYTES..].starts_with(b"sf")
}

/// How long the frame is that bytes begin with, by what it says itself.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let (sum, head) = (bytes.get(..SUM_BYTES)?, bytes.get(SUM_BYTES..BRIEF_HEADER_BYTES)?);
    if [sum, head].iter().all(|part| part.iter().all(|byte| *byte == 0)) {
        return None;
    }
    let length = if is_brief(bytes) {
        BRIEF_HEADER_BYTES + usize::from(u16::from_le_bytes([head[2], head[3]]))
    } else {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        usize::try_from(length).ok()?.checked_add(FRAME_HEADER_BYTES)?
    };
    length.checked_next_multiple_of(8).filter(|length| *length <= bytes.len())
}
