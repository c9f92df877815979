//! Room for what jobs build.
//!
//! ```text
//! jobs     build . build . build ..      evict what is written; write themselves when it is late
//! scribe     [oldest] [oldest] ..        writes while few pages are left that could be evicted
//! ```
//!
//! What is not written cannot be evicted. It is written as late as memory allows, since much of it
//! dies before; and, where there is a thread for it, a little before a job would have to do it:
//! compressing and writing were a quarter of a flusher's time.

use std::sync::Arc;

use sapwood_serialize::segment::Segment;

use crate::cachetable::Cachetable;
use crate::crew::Waker;
use crate::fault::Fault;
use crate::writer::Ownership;

impl Cachetable {
    /// Names the scribe: the thread that calls [`write_due`](Cachetable::write_due); or none.
    pub fn set_scribe(&self, waker: Option<Waker>) {
        *self.scribe.lock() = waker;
    }

    /// Makes room as a job may: writes out what leaves have too much of, evicts what is cold, then
    /// writes out what is oldest and evicts that.
    pub fn make_room_by_writing(&self) -> Result<(), Fault> {
        self.write_leaves()?;
        while !self.make_room() {
            let Some(segment) = self.ledger().next_to_write() else { return Ok(()) };
            self.write_segment(&segment, Ownership::View)?;
        }
        Ok(())
    }

    /// Writes out what leaves have too much of. A full disk leaves it in memory as long as that has
    /// room.
    fn write_leaves(&self) -> Result<(), Fault> {
        let most = self.budget().unwritten_leaves() + self.left_to_scribe();
        loop {
            let Some(segment) = self.ledger().next_leaf_to_write(most) else { return Ok(()) };
            match self.write_segment(&segment, Ownership::View) {
                Err(fault) if fault.is_retryable() => return Ok(()),
                written => written?,
            };
        }
    }

    /// How much of what is to be written a job leaves to the scribe, which is woken for it; nothing
    /// where there is none.
    fn left_to_scribe(&self) -> u64 {
        let Some(scribe) = self.scribe.lock().clone() else { return 0 };
        if self.next_due().is_some() {
            scribe.wake();
        }
        self.budget().spare()
    }

    /// Writes the next segment that a job would soon have to write; `false` when there is none.
    pub fn write_due(&self) -> Result<bool, Fault> {
        let Some(segment) = self.next_due() else { return Ok(false) };
        self.write_segment(&segment, Ownership::View)?;
        Ok(true)
    }

    fn next_due(&self) -> Option<Arc<Segment>> {
        let is_short = self.is_short_of_written_pages();
        let ledger = self.ledger();
        let leaf = ledger.next_leaf_to_write(self.budget().unwritten_leaves());
        leaf.or_else(|| is_short.then(|| ledger.next_to_write())?)
    }

    /// Whether a job would soon find no page to evict. (Before it writes itself, it evicts
    /// directories as well: those are better kept for readers.)
    fn is_short_of_written_pages(&self) -> bool {
        let (meters, budget) = (self.meters(), self.budget());
        let written = meters.pages.bytes().saturating_sub(meters.unwritten.bytes());
        let held = meters.resident().saturating_sub(written);
        held + budget.spare() > budget.resident()
    }
}
