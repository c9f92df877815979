//! The cleaner: what is flushed when nobody is in a hurry.
//!
//! It works through a list of everything that waits: edges high up first, since what lies above a
//! leaf would make it be rewritten once more, and on each level the heaviest first. When the list
//! is done it makes a new one, until nothing waits.
//!
//! Its writes are paid for: every byte that users write gives credit for twenty, and a flush is
//! done only when its cost is there. A load has more than enough to be drained to the last buffer;
//! a trickle of rows into a large tree, each of which would have a leaf rewritten, has not, and
//! waits. What is left when everything is drained is forfeited, so that a load does not pay for a
//! later trickle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood_cachetable::{Fault, StepPoint};
use sapwood_serialize::TreeId;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::{Bounds, Run};

use crate::edit::EdgeName;
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;
use crate::policy::{Pick, clean_order, weight};
use crate::stop::Stop;

/// Bytes that idle work may write for each byte that a user wrote, the log and all moves included.
pub const IDLE_WRITES_PER_BYTE: u64 = 20;

/// What idle work may write besides, once after an opening: a little database is drained whatever
/// it costs.
const START_BYTES: u64 = 256 << 10;

/// What idle work may still write.
#[derive(Debug, Default)]
pub struct Credit {
    /// User bytes and written bytes from which on is counted.
    user_before: AtomicU64,
    written_before: AtomicU64,
    /// For what already waited when the database was opened.
    granted: AtomicU64,
}

impl Credit {
    /// The bytes left after users wrote `user` and everybody `written` bytes in all.
    pub fn left(&self, user: u64, written: u64) -> u64 {
        let user = user.saturating_sub(self.user_before.load(Ordering::Relaxed));
        let spent = written.saturating_sub(self.written_before.load(Ordering::Relaxed));
        let granted = self.granted.load(Ordering::Relaxed);
        (user.saturating_mul(IDLE_WRITES_PER_BYTE) + granted).saturating_sub(spent)
    }

    /// Gives credit for `bytes` that waited before anything was counted: less than for others,
    /// since they have been written at least once.
    pub fn grant(&self, bytes: u64) {
        let waiting = bytes.saturating_mul(IDLE_WRITES_PER_BYTE / 2);
        self.granted.store(START_BYTES + waiting, Ordering::Relaxed);
    }

    /// Starts anew from here: what was left is forfeited.
    pub fn forfeit(&self, user: u64, written: u64) {
        self.user_before.store(user, Ordering::Relaxed);
        self.written_before.store(written, Ordering::Relaxed);
        self.granted.store(0, Ordering::Relaxed);
    }
}

/// An edge on which something waits.
#[derive(Clone, Debug)]
pub struct Debt {
    name: EdgeName,
    height: u8,
    weight: u64,
    bytes: u64,
    work: u64,
    /// The most that a flush would write.
    cost: u64,
}

impl Debt {
    /// What goes first comes to stand last, to be taken from there.
    fn order(debts: &mut [Debt]) {
        debts.sort_by_key(|debt| clean_order(debt.height, debt.weight));
    }
}

/// What came of a look for idle work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// A buffer was flushed (or looked at, and found flushed already).
    Flushed,
    /// Something waits, and so many bytes are missing of what it costs.
    TooDear(u64),
    /// Somebody else is at work there.
    Busy,
    /// Nothing waits in any buffer.
    Nothing,
}

/// The list that the cleaner works through.
#[derive(Debug, Default)]
pub struct Cleaner {
    debts: Vec<Debt>,
}

impl Cleaner {
    /// Flushes the next buffer of the list if `credit` bytes pay for it.
    pub fn step(&mut self, mover: &Mover, credit: u64, stop: Stop<'_>) -> Result<Cleaned, Fault> {
        let mut skipped = Cleaned::Nothing;
        if self.debts.is_empty() {
            self.debts = mover.debts()?;
            Debt::order(&mut self.debts);
        }
        while let Some(debt) = self.debts.pop() {
            if debt.cost > credit {
                let short = debt.cost - credit;
                skipped = match skipped {
                    Cleaned::TooDear(least) => Cleaned::TooDear(least.min(short)),
                    _ => Cleaned::TooDear(short),
                };
                continue;
            }
            return match mover.clean(&debt, stop) {
                Ok(Outcome::Busy) => Ok(Cleaned::Busy),
                Ok(_) => Ok(Cleaned::Flushed),
                Err(fault) => Err(fault),
            };
        }
        Ok(skipped)
    }

    /// The bytes that wait in all buffers.
    pub fn bytes_waiting(mover: &Mover) -> Result<u64, Fault> {
        Ok(mover.debts()?.iter().map(|debt| debt.bytes).sum())
    }
}

impl Mover {
    fn clean(&self, debt: &Debt, stop: Stop<'_>) -> JobResult {
        let picked = self.table.steps().reach(StepPoint::CleanPicked);
        let outcome = match picked.and_then(|()| self.flush(&debt.name, Pick::Due, stop)) {
            Err(Fault::Stopped) => {
                self.counters.stopped.add(1);
                Ok(Outcome::Busy)
            }
            outcome => outcome,
        }?;
        if outcome == Outcome::Done {
            self.counters.cleaner_runs.add(1);
            self.counters.cleaner_buffer.note(debt.bytes);
            self.counters.cleaner_work.note(debt.work);
        }
        Ok(outcome)
    }

    /// Everything that waits in any buffer, in no order. Reads internal nodes, but no leaf.
    pub fn debts(&self) -> Result<Vec<Debt>, Fault> {
        let forest = self.views.forest();
        let mut debts = Vec::new();
        for tree in forest.trees.values() {
            self.collect(tree.id, &tree.top, &Bounds::all(), &mut debts)?;
        }
        Ok(debts)
    }

    fn collect(
        &self,
        tree: TreeId,
        edge: &Arc<Edge>,
        bounds: &Bounds,
        debts: &mut Vec<Debt>,
    ) -> Result<(), Fault> {
        let height = edge.child.height();
        if !edge.buffer().is_empty() {
            let name = EdgeName { tree, key: bounds.lower.clone(), block: edge.child.block() };
            let (bytes, work) = (edge.bytes(), edge.work());
            let cost = self.cost(edge);
            debts.push(Debt { name, height, weight: weight(edge), bytes, work, cost });
        }
        if height == 0 {
            return Ok(());
        }
        let resident = self.table.node(&edge.child)?;
        if let Node::Internal(node) = &resident.node {
            for (index, edge) in node.edges().iter().enumerate() {
                self.collect(tree, edge, &node.bounds_of(index, bounds), debts)?;
            }
        }
        Ok(())
    }

    /// The most that a flush of `edge` would write: what waits, and of a leaf the segments that it
    /// may touch, with an image of the nodes concerned.
    fn cost(&self, edge: &Edge) -> u64 {
        const IMAGES: u64 = 16 << 10;
        let bytes = edge.bytes();
        if edge.child.height() > 0 {
            return bytes + IMAGES;
        }
        // A range delete may touch a segment at each of its ends, and what lies between is dropped.
        let touches = |run: &Arc<Run>| run.rows() + 2 * run.tombstones().pieces().len() as u64;
        let rows: u64 = edge.buffer().iter().map(touches).sum();
        let resident = edge.child.peek();
        let leaf = match resident.as_ref().map(|resident| &resident.node) {
            Some(Node::Leaf(run)) => run.bytes(),
            _ => self.limits.leaf_bytes,
        };
        let touched = leaf.min(rows.saturating_mul(self.limits.segment_bytes));
        bytes + touched + IMAGES
    }

    /// The most that draining `rows` rows of `bytes` bytes out of memory would write, its share of
    /// the checkpoint included that lets the log files go.
    pub fn cost_of_spill(&self, bytes: u64, rows: u64) -> u64 {
        const SHARE: u64 = 8 << 10;
        let touched = rows.saturating_mul(self.limits.segment_bytes);
        let stored = self.table.ledger().live_bytes().saturating_mul(2);
        SHARE + 3 * bytes + touched.min(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_twenty_bytes_a_byte_and_does_not_outlive_a_drain() {
        let credit = Credit::default();
        assert_eq!(credit.left(100, 0), 2_000);
        assert_eq!(credit.left(100, 1_500), 500);
        assert_eq!(credit.left(100, 3_000), 0);
        credit.forfeit(100, 1_500);
        assert_eq!(credit.left(100, 1_500), 0);
        assert_eq!(credit.left(101, 1_502), 18);
        credit.grant(5);
        assert_eq!(credit.left(100, 1_500), 50 + START_BYTES);
        credit.forfeit(100, 1_500);
        assert_eq!(credit.left(100, 1_500), 0);
    }

    #[test]
    fn high_edges_go_first_and_then_heavy_ones() {
        let debt = |height, weight| Debt {
            name: EdgeName {
                tree: TreeId::from_raw(1),
                key: Bounds::all().lower,
                block: sapwood_serialize::BlockId::from_raw(1),
            },
            height,
            weight,
            bytes: 0,
            work: 0,
            cost: 0,
        };
        let mut debts = vec![debt(0, 5), debt(1, 2), debt(0, 9), debt(1, 7)];
        Debt::order(&mut debts);
        let taken: Vec<_> = debts.iter().rev().map(|debt| (debt.height, debt.weight)).collect();
        assert_eq!(taken, [(1, 7), (1, 2), (0, 9), (0, 5)]);
    }
}
