//! The tail of the log: frames that a kill of the process cannot lose, and that are not yet in the
//! log's file.
//!
//! ```text
//! tail-0000000005   frame | frame | left over from earlier frames
//! ```
//!
//! A call of the system for each commit is a quarter of all that a small one costs. So frames are
//! copied into a mapped file, which the system keeps, and go to the log's file many at a time: when
//! the tail is full, before a sync, and before a seal. The first says where in the log they belong:
//! recovery goes on with the tail where a file's own frames end.
//!
//! Invariants:
//! 1. frames in the tail continue the active file, in which there is space for them already;
//! 2. no frame is overwritten here before it is in the file;
//! 3. without a tail (a storage that has no mapped files, a file that has hardly been begun, one
//!    that could not be written) frames go to the file one by one.

use sapwood_serialize::{Epoch, MappedFile, Storage};

const PREFIX: &str = "tail-";

/// So much of a tail is read: the format's limit.
pub(super) const TAIL_BYTES_MAX: u64 = 64 << 10;

/// No larger tail is made. Measured where the system is short of memory: one write of twice as much
/// each 450 rows shows in the slowest insert of a thousand, half as much makes them no faster.
const MADE_BYTES_MAX: u64 = 32 << 10;

/// The name of the tail of an epoch's log.
pub(super) fn tail_name(epoch: Epoch) -> String {
    format!("{PREFIX}{:010}", epoch.to_raw())
}

/// Whether a file is the tail of some log.
pub(super) fn is_tail(name: &str) -> bool {
    let number = name.strip_prefix(PREFIX).and_then(|number| number.parse().ok());
    number.is_some_and(|number| name == tail_name(Epoch::from_raw(number)))
}

/// The frames that wait to be written to the log's file, and their copy that survives.
pub(super) struct Tail {
    bytes: u64,
    map: Map,
    waiting: Vec<u8>,
}

enum Map {
    /// It has not been made yet.
    Wanted,
    Made(Box<dyn MappedFile>),
    /// There is none for the rest of the log's file.
    Refused,
    /// The storage has no such files.
    Impossible,
}

impl Tail {
    /// A tail for logs with files of this size at most.
    pub(super) fn of(bytes: u64) -> Tail {
        Tail { bytes: bytes.min(MADE_BYTES_MAX), map: Map::Wanted, waiting: Vec::new() }
    }

    /// The frames that are not in the log's file.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.waiting
    }

    /// All that waited is in the file now.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Whether there is room for a frame of `bytes` beside those that wait.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        (self.waiting.len() + bytes) as u64 <= self.bytes
    }

    /// Takes a frame behind those that wait. `false` when it has to go to the file, and whatever
    /// waits before it: it is too large to be worth the copy, or there is no tail.
    pub(super) fn take(&mut self, frame: &[u8]) -> bool {
        let Map::Made(file) = &mut self.map else { return false };
        if frame.len() as u64 > self.bytes / 2 {
            return false;
        }
        if file.put(self.waiting.len() as u64, frame).is_err() {
            self.map = Map::Refused;
            return false;
        }
        self.waiting.extend_from_slice(frame);
        true
    }

    /// Makes the mapped file when there is none yet, and the log's file has come so far (to
    /// `written`) that one is worth its space.
    pub(super) fn prepare(&mut self, storage: &dyn Storage, epoch: Epoch, written: u64) {
        if matches!(self.map, Map::Wanted) && written >= self.bytes / 4 {
            self.map = match storage.map(&tail_name(epoch), self.bytes) {
                Ok(Some(file)) => Map::Made(file),
                Ok(None) => Map::Impossible,
                Err(_) => Map::Refused,
            };
        }
    }

    /// The log goes on in another file: what was refused may be tried again.
    pub(super) fn restart(&mut self) {
        if matches!(self.map, Map::Refused) {
            self.map = Map::Wanted;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_told_from_other_files() {
        assert!(is_tail("tail-0000000005"));
        for name in ["tail-", "tail-5", "tail-000000005", "tail-00000000x5", "wal-0000000005"] {
            assert!(!is_tail(name), "{name}");
        }
    }
}
