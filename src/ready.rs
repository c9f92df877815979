//! What is made ready before somebody needs it: log files and space for writers, memory for
//! flushers. Each waits for the file system, so it is work for a thread of its own.

use sapwood_cachetable::Fault;
use sapwood_flusher::Outcome;

use crate::engine::Engine;

impl Engine {
    /// Has log files ready that a writer would wait for otherwise. Waits for the file system, so it
    /// is no work for a thread that has other things to do. `Done` where there may be more to do.
    /// On a full disk nothing happens: a writer is told when there is a need.
    pub(crate) fn prepare_log(&self) -> std::result::Result<Outcome, Fault> {
        self.prepare(|| {
            if !self.log.lacks_files() {
                return Ok(Outcome::Nothing);
            }
            match self.log.prepare_next() {
                Ok(()) => Ok(Outcome::Done),
                Err(fault) if fault.is_retryable() => Ok(Outcome::Nothing),
                Err(fault) => Err(fault),
            }
        })
    }

    /// The same for space in the block file. While a log file is synced, which may take a second,
    /// so much is promised that this cannot wait for it.
    pub(crate) fn prepare_space(&self) -> std::result::Result<Outcome, Fault> {
        self.prepare(|| self.table.grow_ahead().map(|()| Outcome::Nothing))
    }

    /// The same for memory: writes the next segment that a job would have to write.
    pub(crate) fn prepare_room(&self) -> std::result::Result<Outcome, Fault> {
        self.prepare(|| match self.table.write_due() {
            Ok(true) => Ok(Outcome::Done),
            Ok(false) => Ok(Outcome::Nothing),
            Err(fault) if fault.is_retryable() => Ok(Outcome::Nothing),
            Err(fault) => Err(fault),
        })
    }

    fn prepare(
        &self,
        step: impl FnOnce() -> std::result::Result<Outcome, Fault>,
    ) -> std::result::Result<Outcome, Fault> {
        // Who closes waits for it: the folder may be another one's afterwards.
        let Ok(_open) = self.enter_open() else { return Ok(Outcome::Nothing) };
        self.table.poison().check()?;
        if self.is_paused() || self.is_read_only() {
            return Ok(Outcome::Nothing);
        }
        step()
    }
}
