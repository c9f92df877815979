//! A file of the write-ahead log: a header, then frames back to back.
//!
//! ```text
//! file     | header, 72 bytes | frame | frame | ... | zeros, where space was taken ahead |
//!
//! header   checksum u64 | magic u64 | version u32 | zero u32 | database id, 16 bytes |
//!          generation u64 | epoch u64 | zeros, 16 bytes
//!
//! frame    checksum u64 | magic u24, kind u8 | payload length u32 | lsn u64 | epoch u64 |
//!          durable lsn u64 | first msn u64                               48 bytes, then
//!          the payload, then zeros up to a multiple of 8
//! ```
//!
//! A checksum covers everything behind it, a frame's padding included; a frame's is seeded with
//! the database. The header is written before anybody knows where in the log the file will go on:
//! its first frame, a mark, tells. (Up to version 2 the header did, with its last fields: base lsn
//! u64, durable lsn u64.) The LSN of a frame is the base of the file plus its offset, so a frame
//! that was left behind by an earlier use of the space, or written elsewhere, is not taken for one
//! of this log. Behind the first frame of a file some may be [brief](crate::brief_frame).
//!
//! Invariants:
//! 1. frames start at multiples of 8 and lie back to back; behind the last are zeros or nothing;
//! 2. a frame's lsn is that of its place, its epoch that of the file;
//! 3. what a frame knows durable lies before it; a mark has no payload;
//! 4. the first frame of a file, and of a tail, is not brief.

use crate::brief_frame::{BRIEF_HEADER_BYTES, is_brief, read_brief_frame};
use crate::checksum::checksum;
use crate::codec::{COUNTER_END, COUNTER_RULE, Decoder, Encode};
use crate::error::Corruption;
use crate::frame_head::{
    CHECKSUM_BYTES, ENDS_EARLY, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Frame, FrameHead, FrameKind,
    WalHeader, covered, pad_frame, payload,
};
use crate::identity::read_database;
use crate::ids::{DatabaseId, Epoch, GenerationId, Lsn, Msn};
use crate::zeros::is_zero;

/// The length of a file's header; the first frame starts here.
pub const WAL_HEADER_BYTES: usize = 72;
/// The first bytes of a log file, behind the checksum.
const WAL_MAGIC: u64 = u64::from_le_bytes(*b"sapw-wal");
/// The version of the log's format. Since 2 the last frames may be in the log's tail, since 3 the
/// first frame tells where in the log a file goes on, since 4 there are brief frames.
const WAL_VERSION: u32 = 4;
/// Seeds the header's checksum; the identity of the database is only learned from the header.
const WAL_HEADER_SEED: u64 = WAL_MAGIC;
/// The rest of a frame's header.
const HEAD_BYTES: usize = FRAME_HEADER_BYTES - CHECKSUM_BYTES;
/// The first bytes of a frame behind its checksum; its kind follows.
const FRAME_MAGIC: [u8; 3] = *b"swF";

impl WalHeader {
    /// The header's bytes, [`WAL_HEADER_BYTES`] of them. They do not tell where in the log the file
    /// goes on.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(WAL_HEADER_BYTES);
        fields.put_u64(WAL_MAGIC);
        fields.put_u32(WAL_VERSION);
        fields.put_u32(0);
        fields.extend_from_slice(&self.database.to_bytes());
        fields.put_u64(self.generation.to_raw());
        fields.put_u64(self.epoch.to_raw());
        fields.put_u64(0);
        fields.put_u64(0);
        let mut bytes = Vec::with_capacity(WAL_HEADER_BYTES);
        bytes.put_u64(checksum(WAL_HEADER_SEED, &fields));
        bytes.extend_from_slice(&fields);
        debug_assert_eq!(bytes.len(), WAL_HEADER_BYTES);
        bytes
    }

    /// Reads the header at the start of `file`, and finds out from its first frame where in the
    /// log it goes on.
    pub fn decode(file: &[u8]) -> Result<WalHeader, Corruption> {
        let mut whole = Decoder::new("log file header", file);
        let mut decoder = Decoder::new("log file header", whole.take(WAL_HEADER_BYTES)?);
        let stored = decoder.u64()?;
        let fields = decoder;
        if checksum(WAL_HEADER_SEED, decoder.take(decoder.remaining())?) != stored {
            return Err(fields.broken("its checksum differs"));
        }
        decoder = fields;
        if decoder.u64()? != WAL_MAGIC {
            return Err(decoder.broken("it is no log file"));
        }
        let version = decoder.u32()?;
        if !(1..=WAL_VERSION).contains(&version) {
            return Err(decoder.broken("its version is unknown"));
        }
        let is_begun = version < 3;
        let unused = decoder.u32()?;
        let header = WalHeader {
            database: read_database(&mut decoder)?,
            generation: GenerationId::from_raw(decoder.u64()?),
            epoch: Epoch::from_raw(decoder.u64()?),
            base: Lsn::from_raw(decoder.u64()?),
            durable: Lsn::from_raw(decoder.u64()?),
            first_msn: Msn::ZERO,
            is_begun,
        };
        let is_placed = (header.base, header.durable) != (Lsn::ZERO, Lsn::ZERO);
        if unused != 0 || (!is_begun && is_placed) {
            return Err(decoder.broken("unused bytes are not zero"));
        }
        let begun = if is_begun { None } else { header.begun_by_mark(file) };
        let header = begun.unwrap_or(header);
        let WalHeader { generation, epoch, base, durable, .. } = header;
        let counters = [generation.to_raw(), epoch.to_raw(), base.to_raw(), durable.to_raw()];
        if counters.into_iter().any(|counter| counter >= COUNTER_END) {
            return Err(decoder.broken(COUNTER_RULE));
        }
        Ok(header)
    }

    /// The header with what the file's first frame tells of its place in the log. What lies behind
    /// that is no help: a value may be a log.
    fn begun_by_mark(&self, file: &[u8]) -> Option<WalHeader> {
        let rest = file.get(WAL_HEADER_BYTES..)?;
        let (head, _) = read_head(rest.get(CHECKSUM_BYTES..)?)?;
        let base = Lsn::from_raw(head.lsn.to_raw().checked_sub(WAL_HEADER_BYTES as u64)?);
        let header = WalHeader { base, first_msn: head.first_msn, is_begun: true, ..*self };
        read_frame(&header, rest, WAL_HEADER_BYTES).is_ok().then_some(header)
    }
}

/// Pads and seals the frame that was begun when `out` was `start` bytes long.
///
/// # Panics
/// When no frame was begun there, when the payload reaches 4 GiB, when a mark has a payload, and
/// when the frame claims to know durable what lies behind its own start.
pub fn finish_frame(database: DatabaseId, head: &FrameHead, out: &mut impl Encode, start: usize) {
    let payload_bytes = out.len() - start - FRAME_HEADER_BYTES;
    assert!(head.kind == FrameKind::Group || payload_bytes == 0);
    assert!(head.durable <= head.lsn);
    let [a, b, c] = FRAME_MAGIC;
    let length = u32::try_from(payload_bytes).expect("a group stays below 4 GiB");
    let kind_and_length =
        u64::from(u32::from_le_bytes([a, b, c, head.kind.to_raw()])) | u64::from(length) << 32;
    let FrameHead { lsn, epoch, durable, first_msn, .. } = *head;
    let counters = [lsn.to_raw(), epoch.to_raw(), durable.to_raw(), first_msn.to_raw()];
    pad_frame(out, start);
    let frame = out.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut);
    let (sum, covered) = frame.expect("a frame was begun there");
    let words = std::iter::once(kind_and_length).chain(counters);
    covered.as_chunks_mut().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
    *sum = checksum(database.seed(), covered).to_le_bytes();
}

/// Reads the frame at `offset` of a whole log file. `None` when only zeros follow, or nothing: the
/// log ends here cleanly. Anything else that is no frame of this file is a corruption, which the
/// caller may find to be a torn end.
pub fn decode_frame<'a>(
    header: &WalHeader,
    file: &'a [u8],
    offset: usize,
) -> Result<Option<Frame<'a>>, Corruption> {
    let rest = file.get(offset..).unwrap_or_default();
    match read_any_frame(header, rest, offset) {
        Ok(frame) => Ok(Some(frame)),
        Err(_) if is_zero(rest) => Ok(None),
        Err(rule) => Err(Corruption::new("log frame", offset as u64, rule)),
    }
}

/// What the tail of a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailFrames<'a> {
    /// Where in the log they belong.
    pub lsn: Lsn,
    /// Valid frames back to back.
    pub frames: &'a [u8],
    /// What they knew durable.
    pub durable: Lsn,
}

/// Reads the tail of a log: frames from its start on, for as long as each is valid and continues
/// the one before; what lies behind them is left over from earlier ones. `None` when there are none
/// of this database and epoch.
pub fn tail_frames(database: DatabaseId, epoch: Epoch, tail: &[u8]) -> Option<TailFrames<'_>> {
    let (first, _) = read_head(tail.get(CHECKSUM_BYTES..)?)?;
    let (generation, base) = (GenerationId::ZERO, first.lsn);
    // A file that begins where the first frame says that it belongs.
    let first_msn = first.first_msn;
    let (durable, is_begun) = (base, true);
    let header = WalHeader { database, generation, epoch, base, durable, first_msn, is_begun };
    let (mut end, mut durable) = (0, Lsn::ZERO);
    while let Some(rest) = tail.get(end..)
        && let Ok(frame) = read_any_frame(&header, rest, end)
    {
        (end, durable) = (frame.next, durable.max(frame.head.durable));
    }
    let frames = tail.get(..end).filter(|frames| !frames.is_empty())?;
    Some(TailFrames { lsn: base, frames, durable })
}

/// What any valid frame behind `offset` knew durable at most; brief ones know nothing. Asked about
/// a bad frame at `offset`: when the answer lies behind the bad place, the log did not end there
/// but was damaged.
///
/// A brief frame is only looked for where a frame has ended: it does not name its place, so a value
/// full of what may be one would have to be checked at every step.
pub fn later_knowledge(header: &WalHeader, file: &[u8], offset: usize) -> Option<Lsn> {
    let (mut known, mut is_next) = (None, false);
    let mut place = offset.checked_add(1)?.checked_next_multiple_of(FRAME_ALIGNMENT)?;
    while let Some(rest) = file.get(place..).filter(|rest| rest.len() >= BRIEF_HEADER_BYTES) {
        let read = if is_next { read_any_frame } else { read_frame };
        if let Ok(frame) = read(header, rest, place) {
            known = known.max(Some(frame.head.durable));
            (place, is_next) = (frame.next, true);
        } else {
            (place, is_next) = (place + FRAME_ALIGNMENT, false);
        }
    }
    known
}

/// Reads the frame at the start of `rest`, which is the file from `offset` on, or says which rule
/// it breaks.
fn read_any_frame<'a>(
    header: &WalHeader,
    rest: &'a [u8],
    offset: usize,
) -> Result<Frame<'a>, &'static str> {
    if is_brief(rest) {
        read_brief_frame(header, rest, offset)
    } else {
        read_frame(header, rest, offset)
    }
}

/// The same for a frame that is not brief. What is cheap comes first: only what names its own place
/// is worth a checksum.
fn read_frame<'a>(
    header: &WalHeader,
    rest: &'a [u8],
    offset: usize,
) -> Result<Frame<'a>, &'static str> {
    let (sum, behind_sum) = rest.split_first_chunk().ok_or(ENDS_EARLY)?;
    let (head, payload_bytes) = read_head(behind_sum).ok_or("it does not begin as a frame")?;
    let lsn = header.base.to_raw().checked_add(offset as u64).map(Lsn::from_raw);
    if lsn != Some(head.lsn) || !offset.is_multiple_of(FRAME_ALIGNMENT) {
        return Err("it belongs to another place in the log");
    }
    if head.epoch != header.epoch {
        return Err("it belongs to another epoch");
    }
    let covered = covered(behind_sum, HEAD_BYTES, payload_bytes).ok_or(ENDS_EARLY)?;
    if checksum(header.database.seed(), covered) != u64::from_le_bytes(*sum) {
        return Err("its checksum differs");
    }
    if head.durable > head.lsn {
        return Err("it knows durable what lies behind it");
    }
    let payload = payload(covered, HEAD_BYTES, payload_bytes)?;
    if head.kind == FrameKind::Mark && !payload.is_empty() {
        return Err("a mark has a payload");
    }
    Ok(Frame { head, payload, next: offset + CHECKSUM_BYTES + covered.len() })
}

/// Reads what stands behind the checksum, and the length of the payload. `None` for anything that
/// does not begin as a frame.
fn read_head(bytes: &[u8]) -> Option<(FrameHead, usize)> {
    if !bytes.starts_with(&FRAME_MAGIC) {
        return None;
    }
    let mut decoder = Decoder::new("log frame", bytes);
    decoder.take(FRAME_MAGIC.len()).ok()?;
    let kind = FrameKind::from_raw(decoder.u8().ok()?)?;
    let payload_bytes = decoder.u32().ok()? as usize;
    let head = FrameHead {
        kind,
        lsn: Lsn::from_raw(decoder.u64().ok()?),
        epoch: Epoch::from_raw(decoder.u64().ok()?),
        durable: Lsn::from_raw(decoder.u64().ok()?),
        first_msn: Msn::from_raw(decoder.u64().ok()?),
    };
    Some((head, payload_bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame_head::begin_frame;
    use crate::testing::{DATABASE, LOG_HEADER as HEADER, STRANGER, flipped};

    impl WalHeader {
        /// What is known of the file while only its header is there.
        fn ahead(self) -> WalHeader {
            WalHeader { base: Lsn::ZERO, first_msn: Msn::ZERO, is_begun: false, ..self }
        }
    }

    /// Appends a frame to a file; its durable position is its own.
    fn append(file: &mut Vec<u8>, kind: FrameKind, payload: &[u8]) {
        let lsn = HEADER.base.plus(file.len() as u64);
        let head = FrameHead {
            kind,
            lsn,
            epoch: HEADER.epoch,
            durable: lsn,
            first_msn: Msn::from_raw(77),
        };
        let start = file.len();
        begin_frame(file);
        file.extend_from_slice(payload);
        finish_frame(DATABASE, &head, file, start);
    }

    /// A file with one group for each payload, and a mark.
    fn file_of(payloads: &[&[u8]]) -> Vec<u8> {
        let mut file = HEADER.encode();
        for payload in payloads {
            append(&mut file, FrameKind::Group, payload);
        }
        append(&mut file, FrameKind::Mark, b"");
        file
    }

    /// Where each frame starts.
    fn starts(file: &[u8]) -> Vec<usize> {
        let mut starts = vec![WAL_HEADER_BYTES];
        while let Ok(Some(frame)) = decode_frame(&HEADER, file, *starts.last().unwrap()) {
            starts.push(frame.next);
        }
        starts
    }

    fn read(file: &[u8]) -> Result<Vec<Vec<u8>>, Corruption> {
        let header = WalHeader::decode(file)?;
        let (mut offset, mut payloads) = (WAL_HEADER_BYTES, Vec::new());
        while let Some(frame) = decode_frame(&header, file, offset)? {
            payloads.push(frame.payload.to_vec());
            offset = frame.next;
        }
        Ok(payloads)
    }

    fn rule(header: &WalHeader, file: &[u8], offset: usize) -> &'static str {
        decode_frame(header, file, offset).unwrap_err().rule
    }

    #[test]
    fn a_header_whose_numbers_leave_no_next_one_is_refused() {
        let generation = WalHeader { generation: GenerationId::from_raw(COUNTER_END), ..HEADER };
        assert_eq!(WalHeader::decode(&generation.encode()).unwrap_err().rule, COUNTER_RULE);
        let mut file = HEADER.encode();
        let lsn = Lsn::from_raw(COUNTER_END + WAL_HEADER_BYTES as u64);
        let WalHeader { epoch, durable, .. } = HEADER;
        let kind = FrameKind::Mark;
        let mark = FrameHead { kind, lsn, epoch, durable, first_msn: Msn::from_raw(1) };
        begin_frame(&mut file);
        finish_frame(DATABASE, &mark, &mut file, WAL_HEADER_BYTES);
        assert_eq!(WalHeader::decode(&file).unwrap_err().rule, COUNTER_RULE);
        let epoch = WalHeader { epoch: Epoch::from_raw(u64::MAX), ..HEADER };
        assert_eq!(WalHeader::decode(&epoch.encode()).unwrap_err().rule, COUNTER_RULE);
    }

    #[test]
    fn the_first_frame_tells_where_a_file_goes_on() {
        let file = file_of(&[b"one", b"two"]);
        assert_eq!(WalHeader::decode(&file), Ok(HEADER));
        let ahead = HEADER.ahead();
        let cut = |bytes: usize| WalHeader::decode(file.get(..bytes).unwrap());
        assert_eq!(cut(WAL_HEADER_BYTES), Ok(ahead));
        assert_eq!(cut(WAL_HEADER_BYTES + FRAME_HEADER_BYTES - 1), Ok(ahead));
        let damaged = flipped(&file, (WAL_HEADER_BYTES + 9) * 8);
        assert_eq!(WalHeader::decode(&damaged), Ok(ahead), "others do not");
    }

    #[test]
    fn the_header_of_version_2_tells_where_a_file_goes_on() {
        let mut fields = Vec::new();
        fields.put_u64(WAL_MAGIC);
        fields.put_u32(2);
        fields.put_u32(0);
        fields.extend_from_slice(&DATABASE.to_bytes());
        [3, 5, 10_000, 9_000].into_iter().for_each(|field| fields.put_u64(field));
        let mut bytes = checksum(WAL_HEADER_SEED, &fields).to_le_bytes().to_vec();
        bytes.extend_from_slice(&fields);
        let (durable, first_msn) = (Lsn::from_raw(9_000), Msn::ZERO);
        let header = WalHeader { durable, first_msn, ..HEADER };
        assert_eq!(WalHeader::decode(&bytes), Ok(header));
    }

    #[test]
    fn frames_come_back_in_order() {
        let file = file_of(&[b"one", b"", b"three three"]);
        assert_eq!(read(&file).unwrap(), [&b"one"[..], b"", b"three three", b""]);
        assert!(starts(&file).iter().all(|start| start.is_multiple_of(FRAME_ALIGNMENT)));
    }

    #[test]
    fn a_head_comes_back_whole() {
        let file = file_of(&[b"one"]);
        let frame = decode_frame(&HEADER, &file, WAL_HEADER_BYTES).unwrap().unwrap();
        let lsn = Lsn::from_raw(10_072);
        let first_msn = Msn::from_raw(77);
        let head =
            FrameHead { kind: FrameKind::Group, lsn, epoch: HEADER.epoch, durable: lsn, first_msn };
        assert_eq!(frame.head, head);
    }

    #[test]
    fn zeros_behind_the_last_frame_are_a_clean_end() {
        let mut file = file_of(&[b"one"]);
        let end = file.len();
        assert_eq!(decode_frame(&HEADER, &file, end), Ok(None));
        file.resize(end + 1_000, 0);
        assert_eq!(decode_frame(&HEADER, &file, end), Ok(None));
        assert_eq!(decode_frame(&HEADER, &file, end + 5_000), Ok(None));
        *file.last_mut().unwrap() = 1;
        assert_eq!(rule(&HEADER, &file, end), "it does not begin as a frame");
    }

    #[test]
    fn a_cut_frame_is_no_frame() {
        let file = file_of(&[&[7; 100]]);
        for length in WAL_HEADER_BYTES + 1..WAL_HEADER_BYTES + FRAME_HEADER_BYTES + 100 {
            let cut = file.get(..length).unwrap();
            let frame = decode_frame(&HEADER, cut, WAL_HEADER_BYTES);
            assert!(!matches!(frame, Ok(Some(_))), "{length}");
        }
    }

    #[test]
    fn frames_of_another_log_are_refused() {
        let file = file_of(&[b"one"]);
        let check = |header: WalHeader| rule(&header, &file, WAL_HEADER_BYTES);
        assert_eq!(
            check(WalHeader { epoch: Epoch::from_raw(6), ..HEADER }),
            "it belongs to another epoch"
        );
        assert_eq!(
            check(WalHeader { base: Lsn::from_raw(1), ..HEADER }),
            "it belongs to another place in the log"
        );
        assert_eq!(check(WalHeader { database: STRANGER, ..HEADER }), "its checksum differs");
    }

    #[test]
    fn later_frames_tell_what_was_durable() {
        let mut file = file_of(&[b"one", b"two", b"three"]);
        let starts = starts(&file);
        let [first, .., mark, _end] = starts[..] else { panic!("five places") };
        let known = HEADER.base.plus(mark as u64);
        assert_eq!(later_knowledge(&HEADER, &file, first), Some(known));
        file = flipped(&file, (first + 20) * 8);
        assert_eq!(later_knowledge(&HEADER, &file, first), Some(known));
        assert_eq!(later_knowledge(&HEADER, &file, mark), None);
        assert_eq!(later_knowledge(&HEADER, &file, file.len() + 99), None);
        let elsewhere = WalHeader { base: Lsn::from_raw(2), ..HEADER };
        assert_eq!(later_knowledge(&elsewhere, &file, first), None);
    }

    #[test]
    fn a_tail_is_read_as_far_as_it_goes_on() {
        let file = file_of(&[b"one", b"two", b"three"]);
        let starts = starts(&file);
        let [_, second, third, ..] = starts[..] else { panic!("five places") };
        let tail = file.get(second..).unwrap();
        let found = tail_frames(DATABASE, HEADER.epoch, tail).unwrap();
        let lsn = HEADER.base.plus(second as u64);
        let durable = HEADER.base.plus((file.len() - FRAME_HEADER_BYTES) as u64);
        assert_eq!(found, TailFrames { lsn, frames: tail, durable });
        // An older frame behind it is no part of it.
        let mut left_over = tail.to_vec();
        left_over.extend_from_slice(file.get(WAL_HEADER_BYTES..second).unwrap());
        assert_eq!(tail_frames(DATABASE, HEADER.epoch, &left_over), Some(found));
        for bit in 0..(third - second) * 8 {
            assert_eq!(tail_frames(DATABASE, HEADER.epoch, &flipped(tail, bit)), None, "bit {bit}");
        }
        let first_alone = flipped(tail, (third - second) * 8 + 100);
        let found = tail_frames(DATABASE, HEADER.epoch, &first_alone).unwrap();
        assert_eq!((found.frames.len(), found.durable), (third - second, lsn));
        assert_eq!(tail_frames(STRANGER, HEADER.epoch, tail), None);
        assert_eq!(tail_frames(DATABASE, Epoch::from_raw(6), tail), None);
        assert_eq!(tail_frames(DATABASE, HEADER.epoch, &[]), None);
    }

    #[test]
    fn a_log_inside_a_value_is_not_this_log() {
        let inner = file_of(&[b"one", b"two"]);
        let file = file_of(&[&inner]);
        assert_eq!(later_knowledge(&HEADER, &file, WAL_HEADER_BYTES - 8), read_durable(&file));
        let damaged = flipped(&file, WAL_HEADER_BYTES * 8);
        assert_eq!(later_knowledge(&HEADER, &damaged, WAL_HEADER_BYTES), read_durable(&file));
    }

    /// What the mark at the end of a file says.
    fn read_durable(file: &[u8]) -> Option<Lsn> {
        Some(HEADER.base.plus((file.len() - FRAME_HEADER_BYTES) as u64))
    }

    #[test]
    fn headers_are_checked() {
        let bytes = HEADER.encode();
        let ahead = HEADER.ahead();
        assert_eq!(WalHeader::decode(&bytes), Ok(ahead));
        for bit in 0..WAL_HEADER_BYTES * 8 {
            assert!(WalHeader::decode(&flipped(&bytes, bit)).is_err(), "bit {bit}");
        }
        assert!(WalHeader::decode(&[]).is_err());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let file = file_of(&[b"one", b"two and more"]);
        for bit in 0..file.len() * 8 {
            assert!(read(&flipped(&file, bit)).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn payloads_round_trip(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..6),
        ) {
            let borrowed: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let mut expected = payloads.clone();
            expected.push(Vec::new());
            prop_assert_eq!(read(&file_of(&borrowed)), Ok(expected));
        }

        #[test]
        fn any_bytes_decode_or_fail(
            file in prop::collection::vec(any::<u8>(), 0..300),
            offset in any::<usize>(),
        ) {
            let _ = WalHeader::decode(&file);
            prop_assert_eq!(tail_frames(DATABASE, HEADER.epoch, &file), None);
            let _ = decode_frame(&HEADER, &file, offset);
            let _ = decode_frame(&HEADER, &file, offset % 300);
            prop_assert_eq!(later_knowledge(&HEADER, &file, offset), None);
            prop_assert_eq!(later_knowledge(&HEADER, &file, offset % 300), None);
            prop_assert_eq!(later_knowledge(&HEADER, &file, usize::MAX), None);
        }

        #[test]
        fn resealed_frames_decode_or_fail(
            place in 0usize..FRAME_HEADER_BYTES - CHECKSUM_BYTES + 8,
            byte in any::<u8>(),
        ) {
            let mut file = HEADER.encode();
            append(&mut file, FrameKind::Group, b"12345");
            let (_, frame) = file.split_at_mut(WAL_HEADER_BYTES);
            let (sum, covered) = frame.split_first_chunk_mut().unwrap();
            *covered.get_mut(place).unwrap() = byte;
            *sum = checksum(DATABASE.seed(), covered).to_le_bytes();
            if let Ok(Some(frame)) = decode_frame(&HEADER, &file, WAL_HEADER_BYTES) {
                prop_assert!(frame.next <= file.len());
                prop_assert!(frame.head.durable <= frame.head.lsn);
            }
        }
    }
}
