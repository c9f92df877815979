//! The space that nobody uses: what of it is there, what has to be asked for, what can be given
//! back.

use imbl::ordmap::DiffItem;
use sapwood_serialize::Extent;

use super::Ledger;

/// What has to be there before an extent can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The space of the front of a hollow extent,
    Hollow {
        /// all of it where the disk has so much,
        front: Extent,
        /// or so many bytes of it.
        least: u64,
    },
    /// or a file that is so long.
    Length(u64),
}

/// So much of a hollow extent is filled at once, where it is as long: each call to the system costs
/// as much as some rows.
const FILL_BYTES: u64 = 1 << 20;

impl Ledger {
    /// Where `short` more bytes of headroom come from.
    pub fn lack_of(&self, short: u64) -> Lack {
        let ample = Extent::round_up(short.max(FILL_BYTES));
        match self.allocator.hollow_front(Extent::UNIT, ample) {
            Some(front) => Lack::Hollow { front, least: Extent::round_up(short).min(front.bytes) },
            None => Lack::Length(self.backed_bytes + short),
        }
    }

    /// The hollow extent that should be filled for `bytes` rather than that they are written
    /// further out: what is used should gather at the front of the file.
    pub fn hollow_for(&self, bytes: u64) -> Option<Extent> {
        let bytes = Extent::round_up(bytes);
        let front = self.allocator.hollow_front(bytes, FILL_BYTES)?;
        let free = self.allocator.lowest_free(bytes);
        free.is_none_or(|free| front.offset < free.offset).then_some(front)
    }

    /// The front of a hollow tail that has to be filled before the rest of it is cut off, so that
    /// `keep` bytes of headroom stay.
    pub fn hollow_to_keep(&mut self, keep: u64) -> Option<Extent> {
        self.allocator.cut_tail();
        let tail = self.allocator.hollow_tail()?;
        let short = Extent::round_up(keep.saturating_sub(self.allocator.free_bytes()));
        (short > 0 && short < tail.bytes).then_some(Extent { bytes: short, ..tail })
    }

    /// Hollow space from `offset` on that is worth holes, in no more than `most` pieces.
    pub fn hollow_from(&self, offset: u64, most: usize) -> Vec<Extent> {
        self.allocator.hollow_pieces(offset).take(most).collect()
    }

    /// Cuts what nothing uses off the end, and tells how long the file has to be now.
    pub fn cut_tail(&mut self) -> u64 {
        let mut end = self.allocator.cut_tail();
        while self.allocator.cut_hollow_tail() {
            end = self.allocator.cut_tail();
        }
        self.backed_bytes = end;
        self.file_bytes = end;
        end
    }

    /// Makes long free extents hollow, in no more than `most` pieces, save for `keep` bytes of
    /// headroom. Their space is there until the caller gives it back.
    pub fn hollow_out(&mut self, keep: u64, most: usize) -> Vec<Extent> {
        let tail = self.backed_bytes.saturating_sub(self.allocator.end());
        self.allocator.hollow_out(keep.saturating_sub(tail), most)
    }

    /// Whether `front` is the front of a hollow extent.
    pub fn is_hollow(&self, front: Extent) -> bool {
        self.allocator.is_hollow_front(front)
    }

    /// The front of a hollow extent has its space again.
    pub fn fill(&mut self, front: Extent) {
        self.allocator.fill(front);
    }

    /// The bytes within the file whose space may not be there.
    pub fn hollow_bytes(&self) -> u64 {
        self.allocator.hollow_bytes()
    }

    /// The bytes of free extents whose space is there.
    pub fn free_bytes(&self) -> u64 {
        self.allocator.free_bytes()
    }

    /// The bytes that the last checkpoint owns and the current view does not.
    pub fn superseded_bytes(&self) -> u64 {
        let gone = self.checkpointed.diff(&self.used).map(|item| match item {
            DiffItem::Remove(_, bytes) => *bytes,
            DiffItem::Add(..) | DiffItem::Update { .. } => 0,
        });
        gone.sum()
    }

    /// Shortens the file to what is in use and `keep` bytes of free space, if that is worth it, and
    /// tells the new length.
    pub fn shorten(&mut self, keep: u64) -> Option<u64> {
        const WORTH_BYTES: u64 = 256 << 10;
        let mut end = self.allocator.cut_tail();
        // What lies behind a hollow tail is headroom, too, which may be needed.
        while self.allocator.free_bytes() >= keep && self.allocator.cut_hollow_tail() {
            self.backed_bytes = self.allocator.end();
            end = self.allocator.cut_tail();
        }
        let tail = keep.saturating_sub(self.allocator.free_bytes());
        let wanted = Extent::round_up(end + tail);
        let saved = self.file_bytes.saturating_sub(wanted);
        if saved < WORTH_BYTES.max(self.file_bytes / 4) {
            return None;
        }
        self.backed_bytes = self.backed_bytes.min(wanted);
        self.file_bytes = wanted;
        Some(wanted)
    }
}
