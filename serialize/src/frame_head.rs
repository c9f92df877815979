//! What both kinds of frames of the write-ahead log have in common: what they say, what their
//! reader knows of the file that they are in, and how their payload lies behind their head.
//!
//! ```text
//! frame   checksum | rest of the head | payload | zeros up to a multiple of 8
//!                   `------------- covered by the checksum ----------------'
//! ```

use crate::codec::Encode;
use crate::ids::{DatabaseId, Epoch, GenerationId, Lsn, Msn};
use crate::zeros::is_zero;

/// The length of a frame's header, if it is not [brief](crate::brief_frame).
pub const FRAME_HEADER_BYTES: usize = 48;

/// Frames start at multiples of this.
pub const FRAME_ALIGNMENT: usize = 8;

/// The rule that a frame breaks of which only the beginning is there.
pub const ENDS_EARLY: &str = "it ends too early";

/// What stands before everything that a checksum covers.
pub(crate) const CHECKSUM_BYTES: usize = 8;

/// What the header of a log file and its first frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalHeader {
    /// The database that the log belongs to.
    pub database: DatabaseId,
    /// The generation whose messages are in this file.
    pub generation: GenerationId,
    /// The opening that wrote it.
    pub epoch: Epoch,
    /// The position in the log of the file's first byte.
    pub base: Lsn,
    /// What the header knows durable.
    pub durable: Lsn,
    /// The number of the first message behind its first frame's head; brief frames count from it.
    pub first_msn: Msn,
    /// Whether the log goes on in this file. If not, the position is zero.
    pub is_begun: bool,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Batches that were committed together; the payload is their records.
    Group,
    /// Nothing but the news of what is durable; at the front of a file, and of where that goes on.
    Mark,
}

impl FrameKind {
    pub(crate) const fn to_raw(self) -> u8 {
        match self {
            FrameKind::Group => 1,
            FrameKind::Mark => 2,
        }
    }

    pub(crate) const fn from_raw(raw: u8) -> Option<FrameKind> {
        match raw {
            1 => Some(FrameKind::Group),
            2 => Some(FrameKind::Mark),
            _ => None,
        }
    }
}

/// What a frame says besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// What it is for.
    pub kind: FrameKind,
    /// Its position in the log.
    pub lsn: Lsn,
    /// The opening that wrote it.
    pub epoch: Epoch,
    /// Everything before this position was durable when the frame was written; zero where it does
    /// not tell.
    pub durable: Lsn,
    /// The number of the first message in it; the others count on.
    pub first_msn: Msn,
}

/// A frame that was read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it says.
    pub head: FrameHead,
    /// The records of a group; nothing for a mark.
    pub payload: &'a [u8],
    /// Where in the file the next frame starts.
    pub next: usize,
}

/// Makes room for a frame's header at the end of `out`; its payload is appended behind.
pub fn begin_frame(out: &mut impl Encode) {
    out.put(&[0; FRAME_HEADER_BYTES]);
}

/// Appends zeros until the frame that begins at `start` ends where another one may begin.
pub(crate) fn pad_frame(out: &mut impl Encode, start: usize) {
    let end = start + (out.len() - start).next_multiple_of(FRAME_ALIGNMENT);
    let padding = [0; FRAME_ALIGNMENT].get(..end - out.len());
    out.put(padding.expect("it is shorter than what it aligns to"));
}

/// What a frame's checksum covers: the rest of its head, the payload and the padding.
pub(crate) fn covered(behind_sum: &[u8], head_bytes: usize, payload_bytes: usize) -> Option<&[u8]> {
    let padded_bytes = payload_bytes.checked_next_multiple_of(FRAME_ALIGNMENT)?;
    behind_sum.get(..padded_bytes.checked_add(head_bytes)?)
}

/// The payload in what the checksum covers, behind which there is nothing but zeros.
pub(crate) fn payload(
    covered: &[u8],
    head_bytes: usize,
    bytes: usize,
) -> Result<&[u8], &'static str> {
    let behind_head = covered.get(head_bytes..).unwrap_or_default();
    let (payload, padding) = behind_head.split_at_checked(bytes).unwrap_or_default();
    if is_zero(padding) { Ok(payload) } else { Err("unused bytes are not zero") }
}
