//! A brief frame of the write-ahead log: a group that leaves out what its reader knows.
//!
//! ```text
//! checksum u64 | magic u16 | payload length u16 | first msn less that of the file u32     16 bytes
//! the payload, then zeros up to a multiple of 8
//! ```
//!
//! Its lsn and the epoch are not in it; they seed its checksum, so it is valid in its own place
//! alone. It has no news of what is durable, as most frames of a busy log. A row of a hundred bytes
//! that is committed alone takes a fifth less of the log (`docs/notes/0029`).
//!
//! Invariants:
//! 1. the first frame of a file, and of a tail, is not brief: it tells where in the log that is;
//! 2. it is a group, and no older than the file's first message.

use crate::checksum::checksum;
use crate::codec::{Decoder, Encode};
use crate::frame_head::{
    CHECKSUM_BYTES, ENDS_EARLY, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Frame, FrameHead, FrameKind,
    WalHeader, covered, pad_frame, payload,
};
use crate::ids::{Lsn, Msn};

/// The length of a brief frame's header.
pub const BRIEF_HEADER_BYTES: usize = 16;

/// The first bytes of a brief frame behind its checksum.
const MAGIC: [u8; 2] = *b"sf";
/// The rest of its header.
const HEAD_BYTES: usize = BRIEF_HEADER_BYTES - CHECKSUM_BYTES;

/// Pads and seals the frame that was [begun](crate::begin_frame) when `out` was `start` bytes long
/// as a brief one in the file of `header`. Returns where in `out` it begins: behind `start`, since
/// its header is shorter. `None` when its numbers are too large for that; then nothing has
/// happened.
///
/// # Panics
/// When no frame was begun there, and when it is no group.
pub fn finish_brief_frame(
    header: &WalHeader,
    head: &FrameHead,
    out: &mut impl Encode,
    start: usize,
) -> Option<usize> {
    assert!(head.kind == FrameKind::Group);
    let length = u16::try_from(out.len() - start - FRAME_HEADER_BYTES).ok()?;
    let count = head.first_msn.to_raw().checked_sub(header.first_msn.to_raw())?;
    let count = u32::try_from(count).ok()?;
    let start = start + FRAME_HEADER_BYTES - BRIEF_HEADER_BYTES;
    pad_frame(out, start);
    let frame = out.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut);
    let (sum, covered) = frame.expect("a frame was begun there");
    let [a, b] = MAGIC;
    let magic_and_length = u32::from(u16::from_le_bytes([a, b])) | u32::from(length) << 16;
    let words = [magic_and_length, count];
    covered.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
    *sum = checksum(seed(header, head.lsn), covered).to_le_bytes();
    Some(start)
}

/// Stands for a place in a log, as the checksum of a brief frame there knows it.
fn seed(header: &WalHeader, lsn: Lsn) -> u64 {
    let mut place = [0; 16];
    let words = [lsn.to_raw(), header.epoch.to_raw()];
    place.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
    checksum(header.database.seed(), &place)
}

/// Whether bytes begin as a brief frame.
pub(crate) fn is_brief(bytes: &[u8]) -> bool {
    bytes.get(CHECKSUM_BYTES..).is_some_and(|behind_sum| behind_sum.starts_with(&MAGIC))
}

/// Reads the brief frame at the start of `rest`, which is the file from `offset` on, or says which
/// rule it breaks.
pub(crate) fn read_brief_frame<'a>(
    header: &WalHeader,
    rest: &'a [u8],
    offset: usize,
) -> Result<Frame<'a>, &'static str> {
    let (sum, behind_sum) = rest.split_first_chunk().ok_or(ENDS_EARLY)?;
    let mut decoder = Decoder::new("log frame", behind_sum);
    let read = decoder.take(MAGIC.len()).and_then(|_| Ok((decoder.u16()?, decoder.u32()?)));
    let (payload_bytes, count) = read.map_err(|_| ENDS_EARLY)?;
    let payload_bytes = usize::from(payload_bytes);
    let lsn = header.base.to_raw().checked_add(offset as u64).map(Lsn::from_raw);
    let lsn = lsn.filter(|_| offset.is_multiple_of(FRAME_ALIGNMENT));
    let lsn = lsn.ok_or("it belongs to another place in the log")?;
    let covered = covered(behind_sum, HEAD_BYTES, payload_bytes).ok_or(ENDS_EARLY)?;
    if checksum(seed(header, lsn), covered) != u64::from_le_bytes(*sum) {
        return Err("its checksum differs");
    }
    let first_msn = header.first_msn.to_raw().checked_add(u64::from(count));
    let first_msn = first_msn.map(Msn::from_raw).ok_or("its number is out of range")?;
    let (kind, epoch, durable) = (FrameKind::Group, header.epoch, Lsn::ZERO);
    let head = FrameHead { kind, lsn, epoch, durable, first_msn };
    let payload = payload(covered, HEAD_BYTES, payload_bytes)?;
    Ok(Frame { head, payload, next: offset + CHECKSUM_BYTES + covered.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame_head::begin_frame;
    use crate::ids::Epoch;
    use crate::testing::{DATABASE, LOG_HEADER as HEADER, STRANGER, flipped};
    use crate::wal_frame::{
        WAL_HEADER_BYTES, decode_frame, finish_frame, later_knowledge, tail_frames,
    };

    const FIRST_MSN: Msn = Msn::from_raw(77);
    /// The head of a frame behind `bytes` of a file.
    fn head(kind: FrameKind, bytes: usize, first_msn: Msn) -> FrameHead {
        let lsn = HEADER.base.plus(bytes as u64);
        FrameHead { kind, lsn, epoch: HEADER.epoch, durable: lsn, first_msn }
    }

    /// Appends a frame that knows durable what lies before it.
    fn append(file: &mut Vec<u8>, kind: FrameKind, payload: &[u8]) {
        let start = file.len();
        begin_frame(file);
        file.extend_from_slice(payload);
        finish_frame(DATABASE, &head(kind, start, FIRST_MSN), file, start);
    }

    /// The same, brief, where that can be.
    fn try_brief(file: &mut Vec<u8>, payload: &[u8], first_msn: Msn) -> bool {
        let start = file.len();
        begin_frame(file);
        file.extend_from_slice(payload);
        let head = head(FrameKind::Group, start, first_msn);
        match finish_brief_frame(&HEADER, &head, file, start) {
            Some(begin) => drop(file.drain(start..begin)),
            None => file.truncate(start),
        }
        file.len() > start
    }

    fn brief(file: &mut Vec<u8>, payload: &[u8]) {
        assert!(try_brief(file, payload, FIRST_MSN.plus(payload.len() as u64)));
    }

    /// A file with a mark, two brief frames, and a frame that tells what is durable.
    fn file() -> Vec<u8> {
        let mut file = HEADER.encode();
        append(&mut file, FrameKind::Mark, b"");
        brief(&mut file, b"one");
        brief(&mut file, b"three three");
        append(&mut file, FrameKind::Group, b"told");
        file
    }

    /// Where the brief frames are.
    const ONE: usize = WAL_HEADER_BYTES + FRAME_HEADER_BYTES;
    const TWO: usize = ONE + BRIEF_HEADER_BYTES + 8;
    const BEHIND: usize = TWO + BRIEF_HEADER_BYTES + 16;

    fn rule(header: &WalHeader, file: &[u8], offset: usize) -> &'static str {
        decode_frame(header, file, offset).unwrap_err().rule
    }

    #[test]
    fn its_reader_knows_what_it_leaves_out() {
        let file = file();
        assert_eq!(WalHeader::decode(&file), Ok(HEADER));
        let read = |offset| decode_frame(&HEADER, &file, offset).unwrap().unwrap();
        let (one, two, behind) = (read(ONE), read(TWO), read(BEHIND));
        let left_out =
            FrameHead { durable: Lsn::ZERO, ..head(FrameKind::Group, ONE, FIRST_MSN.plus(3)) };
        assert_eq!((one.head, one.payload, one.next), (left_out, &b"one"[..], TWO));
        assert_eq!((two.head.first_msn, two.payload), (FIRST_MSN.plus(11), &b"three three"[..]));
        assert_eq!((two.next, behind.payload), (BEHIND, &b"told"[..]));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_has_happened() {
        let mut file = file();
        let before = file.clone();
        let most = FIRST_MSN.plus(u64::from(u32::MAX));
        assert!(!try_brief(&mut file, &[7; 1 << 16], FIRST_MSN));
        assert!(!try_brief(&mut file, b"x", Msn::from_raw(76)));
        assert!(!try_brief(&mut file, b"x", most.plus(1)));
        assert_eq!(file, before);
        let end = file.len();
        assert!(try_brief(&mut file, &[7; (1 << 16) - 1], most));
        let frame = decode_frame(&HEADER, &file, end).unwrap().unwrap();
        assert_eq!((frame.payload.len(), frame.head.first_msn), ((1 << 16) - 1, most));
    }

    #[test]
    fn it_is_valid_in_its_own_place_alone() {
        let file = file();
        let check = |header: WalHeader| rule(&header, &file, ONE);
        let differs = "its checksum differs";
        assert_eq!(check(WalHeader { epoch: Epoch::from_raw(6), ..HEADER }), differs);
        assert_eq!(check(WalHeader { base: Lsn::from_raw(10_008), ..HEADER }), differs);
        assert_eq!(check(WalHeader { database: STRANGER, ..HEADER }), differs);
        let mut moved = file.clone();
        moved.copy_within(ONE..TWO, TWO);
        assert_eq!(rule(&HEADER, &moved, TWO), differs);
        for bit in ONE * 8..TWO * 8 {
            assert!(decode_frame(&HEADER, &flipped(&file, bit), ONE).is_err(), "bit {bit}");
        }
        for end in ONE + 1..TWO {
            let cut = decode_frame(&HEADER, file.get(..end).unwrap(), ONE);
            assert!(!matches!(cut, Ok(Some(_))), "{end}");
        }
    }

    #[test]
    fn no_file_begins_with_one() {
        let mut file = HEADER.encode();
        brief(&mut file, b"one");
        let header = WalHeader::decode(&file).unwrap();
        assert!(!header.is_begun);
    }

    #[test]
    fn one_that_is_damaged_is_found_by_what_comes_behind() {
        let file = file();
        let known = Some(HEADER.base.plus(BEHIND as u64));
        assert_eq!(later_knowledge(&HEADER, &flipped(&file, ONE * 8), ONE), known);
        assert_eq!(later_knowledge(&HEADER, &file, BEHIND), None);
        let mut only_brief = file.get(..BEHIND).unwrap().to_vec();
        brief(&mut only_brief, b"more");
        assert_eq!(later_knowledge(&HEADER, &only_brief, ONE), None, "they know nothing");
    }

    #[test]
    fn a_frame_inside_the_value_of_one_is_not_believed() {
        let mut file = file();
        let known = HEADER.base.plus(BEHIND as u64);
        let place = file.len() + BRIEF_HEADER_BYTES;
        let mut inner = Vec::new();
        begin_frame(&mut inner);
        finish_frame(DATABASE, &head(FrameKind::Group, place, FIRST_MSN), &mut inner, 0);
        brief(&mut file, &inner);
        assert!(decode_frame(&HEADER, &file, place).is_ok(), "it would be one");
        assert_eq!(later_knowledge(&HEADER, &flipped(&file, ONE * 8), ONE), Some(known));
    }

    #[test]
    fn a_tail_goes_on_with_them() {
        let mut file = file();
        let from = file.len();
        append(&mut file, FrameKind::Group, b"first in the tail");
        brief(&mut file, b"behind it");
        let tail = file.get(from..).unwrap();
        let lsn = HEADER.base.plus(from as u64);
        let found = tail_frames(DATABASE, HEADER.epoch, tail).unwrap();
        assert_eq!((found.lsn, found.durable, found.frames.len()), (lsn, lsn, tail.len()));
        // One that was left over from an earlier tail is no part of it.
        let mut left_over = tail.to_vec();
        left_over.extend_from_slice(file.get(ONE..TWO).unwrap());
        assert_eq!(tail_frames(DATABASE, HEADER.epoch, &left_over), Some(found));
        assert_eq!(tail_frames(DATABASE, HEADER.epoch, file.get(ONE..).unwrap()), None);
    }

    #[test]
    #[should_panic(expected = "FrameKind::Group")]
    fn no_mark_is_brief() {
        let mut out = Vec::new();
        begin_frame(&mut out);
        let _ = finish_brief_frame(&HEADER, &head(FrameKind::Mark, 0, FIRST_MSN), &mut out, 0);
    }
}
