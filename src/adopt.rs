//! Commits of what was written ahead: too much for memory, and atomic all the same.
//!
//! ```text
//! runs written and synced -> seal what is active -> one log record that names the runs
//!                         -> they are the oldest part of the next generation -> visible
//! ```
//!
//! From then on they move like any generation, by reference. Until a checkpoint has them, their
//! space is named by the log and used for nothing else, since a recovery would read them there.

use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::Fault;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;
use sapwood_serialize::{
    Extent, FrameKind, Memory, Msn, Record, Sight, begin_frame, encode_record, encode_runs,
};

use crate::commit::{Committed, Settled};
use crate::conflict::{Guard, Verdict};
use crate::engine::{Engine, SEALED_MAX};
use crate::error::Result;
use crate::generation::{Generation, Written};
use crate::view::View;

/// Runs to be committed, numbered from [`Sight::OWN_FIRST`] on.
pub(crate) struct Adoption {
    pub(crate) written: Written,
    /// How many numbers they take.
    pub(crate) numbers: u64,
}

/// What the leader made of an adoption.
enum Led {
    Settled(Settled),
    /// Too many generations wait to be spilled.
    NoRoom,
}

impl Engine {
    /// Commits runs that were written ahead, unless `guard`, whose footprint was searched already,
    /// has changed; returns when they are visible.
    pub(crate) fn adopt(&self, adoption: &Adoption, guard: Option<&Guard>) -> Result<Settled> {
        self.table.sync_blocks()?;
        let trees = adoption.written.runs.iter().map(|(tree, runs)| (*tree, runs.clone()));
        let runs = encode_runs(&trees.collect());
        let mut frame = Memory::with_room(runs.len() + 64);
        begin_frame(&mut frame);
        encode_record(&mut frame, &Record::Runs { numbers: adoption.numbers, runs: &runs });
        loop {
            self.admit(0)?;
            match self.lead(|| self.adopt_now(adoption, guard, &mut frame))? {
                Led::Settled(settled) => return Ok(settled),
                Led::NoRoom => self.make_way()?,
            }
        }
    }

    /// Waits for a generation to be spilled; does it itself in manual mode.
    fn make_way(&self) -> Result<()> {
        self.check_met()?;
        if self.background == crate::config::Background::Manual {
            return self.relieve();
        }
        self.bell.wait(Duration::from_millis(1));
        Ok(())
    }

    fn adopt_now(
        &self,
        adoption: &Adoption,
        guard: Option<&Guard>,
        frame: &mut Memory,
    ) -> std::result::Result<Led, Fault> {
        self.table.poison().check()?;
        if self.is_closed() {
            return Err(Fault::Closed);
        }
        match guard.map_or(Ok(Verdict::Stands), |guard| self.verdict(guard))? {
            Verdict::Stands => {}
            Verdict::Changed(touch) => return Ok(Led::Settled(Settled::Changed(touch))),
            Verdict::Unknown => return Ok(Led::Settled(Settled::Unknown)),
        }
        if self.views.load().sealed.len() >= SEALED_MAX {
            return Ok(Led::NoRoom);
        }
        if !self.views.load().active.is_empty() {
            self.seal()?;
        }
        self.log.make_room(frame.len() as u64 + 8)?;
        let first = self.line.next_msn();
        let id = self.views.load().active.id;
        let extents = adoption.written.reserved.iter().flat_map(|reserved| reserved.extents());
        let extents: Vec<Extent> = extents.collect();
        self.table.ledger().name_in_log(&extents, id);
        let appended = self.log.append(FrameKind::Group, first, frame);
        let end = appended.map_err(|fault| Fault::Indeterminate(Arc::new(fault)))?;
        self.activate(adoption, first);
        let newest = Msn::from_raw(first.plus(adoption.numbers).to_raw() - 1);
        self.line.set_next_msn(newest.next());
        self.line.tell(&stretches_of(&adoption.written));
        self.views.advance(newest);
        self.wake();
        Ok(Led::Settled(Settled::Committed(Committed { end, newest })))
    }

    /// Puts the runs under the active generation, which is empty.
    fn activate(&self, adoption: &Adoption, first: Msn) {
        let written = adoption.written.renumbered(Sight::OWN_FIRST, first);
        let ledger = self.table.ledger();
        let current = self.views.load();
        // Changes of the catalog leave nothing in a memtable, and have numbers and log records.
        let (id, oldest) = (current.active.id, current.active.first_msn());
        let next = Generation::holding(id, oldest, &self.table, written);
        self.counters.user_bytes.add(next.user_bytes());
        let (forest, sealed) = (current.forest.clone(), current.sealed.clone());
        let old = self.views.store(View { forest, sealed, active: Arc::new(next) });
        drop(ledger);
        drop((current, old));
    }
}

/// What those who watch are told of runs: that everything between their ends may have changed.
fn stretches_of(written: &Written) -> Vec<u8> {
    let mut records = Vec::new();
    for (tree, runs) in &written.runs {
        for bounds in runs.iter().filter_map(|run| run.bounds()) {
            let Bounds { lower, upper } = bounds;
            let upper: Option<&Key> = upper.as_ref();
            let upper = upper.map(|upper| &**upper);
            encode_record(&mut records, &Record::DeleteRange { tree: *tree, lower: &lower, upper });
        }
    }
    records
}
