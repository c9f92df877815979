//! Space that goes back to the system: a file that is shortened, and holes in it.
//!
//! ```text
//! | used | free | used |   free   | used | free |     what is used moves to the front of a sparse
//! | used | free | used |   hole   | used |            file; checkpoints cut the end; when nobody
//!                                                     writes, long free extents become holes
//! ```

use sapwood_cachetable::Fault;
use sapwood_flusher::FarOut;
use sapwood_serialize::superblock::Session;

use crate::engine::{By, Engine};

/// A hole has to be filled again before it is written to, so space is given back only where it is
/// more than a part of what is in use.
#[derive(Clone, Copy)]
pub(crate) enum Worth {
    /// Nobody writes: a sixteenth.
    AtRest = 16,
    /// Somebody may be writing: as much as is in use.
    Beside = 1,
}

impl Engine {
    /// Moves what lies far out in a file with little in it to its front, and takes a checkpoint,
    /// which shortens the file.
    pub(crate) fn pull_together(&self, by: By) -> Result<(), Fault> {
        let Some(far_out) = self.sparse_beyond() else { return Ok(()) };
        self.guarded(|| self.mover.relocate(far_out))?;
        self.checkpoint_once(Session::Open, by)
    }

    /// Where the file would end if everything were at its front, when that is worth it.
    pub(crate) fn sparse_beyond(&self) -> Option<FarOut> {
        const WORTH_BYTES: u64 = 1 << 20;
        let ledger = self.table.ledger();
        let (file, live) = (ledger.file_bytes(), ledger.live_bytes());
        (file > WORTH_BYTES.max(16 * live)).then(|| FarOut(2 * live + WORTH_BYTES / 4))
    }

    /// Whether the last checkpoint alone holds so much space that another one is worth it.
    pub(crate) fn is_space_superseded(&self) -> bool {
        let ledger = self.table.ledger();
        self.is_worth(Worth::AtRest, ledger.superseded_bytes(), ledger.live_bytes())
    }

    /// Punches holes, if they give back enough, until `stop` says that somebody waits. Who closes
    /// waits for it: the folder may be another one's afterwards.
    pub(crate) fn punch_holes(&self, worth: Worth, stop: &dyn Fn() -> bool) {
        if let Ok(_open) = self.enter_open() {
            self.punch_holes_anyway(worth, stop);
        }
    }

    /// The same for who closes.
    pub(crate) fn punch_holes_anyway(&self, worth: Worth, stop: &dyn Fn() -> bool) {
        let live = self.table.ledger().live_bytes();
        if self.is_worth(worth, self.table.punchable_bytes(), live) {
            self.table.punch_holes(stop);
        }
    }

    fn is_worth(&self, worth: Worth, bytes: u64, live: u64) -> bool {
        bytes > self.mover.limits().holes_bytes.max(live / worth as u64)
    }
}
