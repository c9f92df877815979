//! What was written to the log's files, and nobody has asked the system to write out.
//!
//! A system that keeps a whole log in its cache writes it out when it is short of memory, and has
//! whoever takes the next page wait for that: the writer, for a tenth of a second and more. So it
//! is asked at the log's own pace, by a thread that has time.

use std::sync::Arc;

use super::writer::LogFile;

/// So much is worth a call of the system: a third of a millisecond's disk time.
const WORTH: u64 = 1 << 20;

/// What lies in a file between two places.
pub(super) struct Stretch {
    pub(super) file: Arc<LogFile>,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Stretches that the system was not asked for.
#[derive(Default)]
pub(super) struct Outgoing {
    /// In files that are sealed, oldest first.
    sealed: Vec<Stretch>,
    /// Where that of the active file begins.
    from: u64,
}

impl Outgoing {
    /// The active file ends here, and another one begins.
    pub(super) fn seal(&mut self, file: Arc<LogFile>, to: u64) {
        self.sealed.push(Stretch { file, from: self.from, to });
        self.from = 0;
    }

    /// What there is, with the active file's if that is worth a call; as if it had been asked for.
    pub(super) fn take(&mut self, active: &Arc<LogFile>, to: u64) -> Vec<Stretch> {
        let mut taken = std::mem::take(&mut self.sealed);
        if to >= self.from + WORTH {
            taken.push(Stretch { file: active.clone(), from: self.from, to });
            self.from = to;
        }
        taken
    }
}
