//! Where the log goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use sapwood_serialize::{GenerationId, Lsn, StorageFile, WalHeader};

use super::blank::{Blank, PAGE};
use super::outgoing::Outgoing;
use super::runway::Runway;

/// No more files are made ahead. A sync may take seconds beside that of a checkpoint, and a
/// memtable may be full in a tenth of one.
const READY_MAX: usize = 8;

/// No more files than these are wanted where each is long: so much log is written in two seconds.
const AHEAD_BYTES: u64 = 128 << 20;

/// One file of the log.
pub(super) struct LogFile {
    pub(super) generation: GenerationId,
    pub(super) name: String,
    pub(super) file: Arc<dyn StorageFile>,
}

/// Where the next frame goes. Only the leader changes it, save for the files that are made ahead.
pub(super) struct Append {
    pub(super) active: Arc<LogFile>,
    pub(super) header: WalHeader,
    /// Where the next frame goes; the last ones may still be in the tail.
    pub(super) written: u64,
    pub(super) allocated: u64,
    /// Files that were made ahead, oldest first.
    pub(super) ready: VecDeque<Ready>,
    /// Files that were sealed.
    pub(super) seals: usize,
    /// How long one becomes that takes a whole memtable, from the last ones.
    pub(super) whole_bytes: u64,
    /// The durable position that was told last.
    pub(super) told: Lsn,
    /// Where the last frame is that was not brief.
    pub(super) told_at: u64,
    pub(super) outgoing: Outgoing<Arc<LogFile>>,
    pub(super) blank: Blank,
    pub(super) runway: Runway,
}

impl Append {
    /// The position behind the last frame.
    pub(super) fn end(&self) -> Lsn {
        self.header.base.plus(self.written)
    }

    /// Whether a frame that goes behind all others and knows `durable` has to say so: it is news,
    /// or no frame has said it yet that begins in the same block of the file. So what a block has
    /// lost that was durable, the next one tells.
    pub(super) fn has_to_tell(&self, durable: Lsn) -> bool {
        durable > self.told || self.written / PAGE > self.told_at / PAGE
    }

    /// A frame of `bytes` was put there.
    pub(super) fn advance(&mut self, bytes: u64, told: Option<Lsn>) {
        if let Some(durable) = told {
            (self.told, self.told_at) = (durable, self.written);
        }
        self.written += bytes;
    }

    /// The newest file.
    pub(super) fn newest(&self) -> &LogFile {
        self.ready.back().map_or(&self.active, |ready| &ready.file)
    }

    /// Learns from the length of a file that is sealed. One that a checkpoint has sealed early says
    /// little of how long the next ones become; what is longer than two of `memtable` bytes has
    /// come of one large commit.
    pub(super) fn note_length(&mut self, memtable: u64) {
        let length = self.written.min(2 * memtable);
        self.whole_bytes = length.max(self.whole_bytes - self.whole_bytes / 64);
    }

    /// The space that a file is given when it is made ahead: a little more than it will need, since
    /// no two memtables take quite the same.
    pub(super) fn ample_bytes(&self) -> u64 {
        (self.whole_bytes + self.whole_bytes / 16).min(AHEAD_BYTES / 2)
    }

    /// How many files are to be ready: one, and one more after each seal.
    pub(super) fn ready_wanted(&self) -> usize {
        let most = usize::try_from(AHEAD_BYTES / self.whole_bytes.max(1)).unwrap_or(READY_MAX);
        (1 + self.seals).min(most.clamp(2, READY_MAX))
    }
}

/// A file that was made ahead.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) file: Arc<LogFile>,
    pub(super) allocated: u64,
}
