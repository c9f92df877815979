//! A replay's way into the trees.

use sapwood_serialize::{Charge, Msn, Op, TreeId};

use super::helpers::{Helpers, Load, LoadOf};
use super::replayed::Replayed;
use super::{Opening, Taker};
use crate::commit::Messages;
use crate::engine::SEALED_MAX;
use crate::error::Result;
use crate::generation::Generation;
use crate::memtable::Gathered;

/// So many loads are in memory at once: one that is filled, and one that is spilled.
const LOADS: u64 = 2;

/// Gathers what is replayed, and hands it over to be spilled, a load at a time.
pub(super) struct IntoTrees<'o> {
    opening: &'o Opening,
    helpers: &'o Helpers,
    /// The memory of one load: no more than what there is to be replayed is worth.
    room: usize,
    replayed: Replayed,
    /// The space promised to the files that have been replayed since the last load was put away.
    owed: Vec<Charge>,
}

impl<'o> IntoTrees<'o> {
    /// For a log of `bytes`. The loads together have the memory that memtables will have.
    pub(super) fn new(opening: &'o Opening, helpers: &'o Helpers, bytes: u64) -> IntoTrees<'o> {
        let most = opening.table.budget().memtable() * (SEALED_MAX as u64 + 1) / LOADS;
        // A small message takes more here than in a batch of the log.
        let room = usize::try_from(most.min(2 * bytes)).unwrap_or(usize::MAX);
        let replayed = Replayed::new(opening.next_msn(), room, &opening.table);
        IntoTrees { opening, helpers, room, replayed, owed: Vec::new() }
    }

    /// A file has been replayed; what was promised to it is given back once it is in the trees.
    pub(super) fn owe(&mut self, owed: Charge) {
        self.owed.push(owed);
    }

    fn fresh(&self) -> Replayed {
        let (table, next_msn) = (&self.opening.table, self.opening.next_msn());
        match self.helpers.take_spilled() {
            Some(spilled) => spilled.emptied(next_msn, table),
            None => Replayed::new(next_msn, self.room, table),
        }
    }

    fn spill(&mut self, messages: LoadOf) -> Result<()> {
        self.helpers.spill(Load { messages, owed: std::mem::take(&mut self.owed) })
    }
}

impl Messages for IntoTrees<'_> {
    fn insert(&mut self, tree: TreeId, key: &[u8], msn: Msn, op: Op<'_>) {
        self.replayed.insert(tree, key, msn, op);
    }

    fn delete_ranges(&mut self, gathered: &Gathered) {
        self.replayed.delete_ranges(gathered);
    }
}

impl Taker for IntoTrees<'_> {
    fn is_full(&self) -> bool {
        self.replayed.is_full()
    }

    fn put_away(&mut self) -> Result<()> {
        self.replayed.seal(self.opening.views.visible());
        // So that there are no more loads than there is memory for.
        self.helpers.wait()?;
        let fresh = self.fresh();
        let replayed = std::mem::replace(&mut self.replayed, fresh);
        if replayed.is_empty() { Ok(()) } else { self.spill(LoadOf::Messages(replayed)) }
    }

    fn take_runs(&mut self, adopted: Generation) -> Result<()> {
        adopted.seal(self.opening.views.visible());
        let spilled = self.spill(LoadOf::Runs(Box::new(adopted)));
        self.replayed = self.fresh();
        spilled
    }
}
