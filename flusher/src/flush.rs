//! Flush: the buffer above a node moves one level down.
//!
//! ```text
//! P   [ edge: r1 r2 r3 ]            P'  [ edge:          ]     r1 r2 r3 merged and cut at C's
//! pivots
//!          |                  =>             |
//! C   [ edge | edge | edge ]        C'  [ edge+ | edge+ | edge+ ]
//! ```
//!
//! Above a leaf the buffer is reconciled into it instead, see [`crate::reconcile`].

use std::sync::Arc;

use sapwood_cachetable::{Fault, ReadAhead, RunCursor};
use sapwood_serialize::fold::{Floor, Horizon, Rules, fold};
use sapwood_serialize::merge_iter::{Direction, Merge};
use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{Msn, Operator, Tombstones};

use crate::edit::{Above, EdgeName, Edit, Refused, Replacement};
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;
use crate::segment_writer::{Draft, SegmentWriter, Space};

/// The oldest runs of an edge, taken to be moved.
pub(crate) struct Taken {
    pub(crate) edge: Arc<Edge>,
    pub(crate) bounds: Bounds,
    pub(crate) horizon: Horizon,
    pub(crate) operator: Option<Operator>,
    /// The range deletes of all runs.
    pub(crate) covers: Tombstones,
}

impl Taken {
    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        self.edge.buffer()
    }

    /// What decides which versions stay when they come to lie on `floor`.
    pub(crate) fn rules(&self, floor: Floor) -> Rules<'_> {
        Rules { horizon: &self.horizon, floor, operator: self.operator.as_ref() }
    }

    /// No message in the runs is older.
    pub(crate) fn oldest(&self) -> Msn {
        self.runs().iter().map(|run| run.oldest()).min().unwrap_or_default()
    }

    /// No message in the runs is newer.
    pub(crate) fn newest(&self) -> Msn {
        self.runs().iter().map(|run| run.newest()).max().unwrap_or_default()
    }

    /// Whether the oldest runs of `current` are still the ones that were taken: under the claim
    /// nobody else removes any, so it is enough to look at them.
    pub(crate) fn is_still_on(&self, current: &Edge) -> bool {
        let mut pairs = self.runs().iter().zip(current.buffer());
        current.buffer().len() >= self.runs().len()
            && pairs.all(|(taken, there)| Arc::ptr_eq(taken, there))
    }
}

impl Mover {
    /// Moves the buffer of the edge `name` one level down, and sees to what that leads to.
    pub fn flush(&self, name: &EdgeName) -> JobResult {
        let Some(_claim) = self.claims.take(name.block) else { return Ok(Outcome::Busy) };
        let forest = self.views.forest();
        let Some((edge, bounds)) = self.find(&forest, name)? else { return Ok(Outcome::Nothing) };
        if edge.buffer().is_empty() {
            return Ok(Outcome::Nothing);
        }
        // The view is held until the child is in memory: it may be replaced meanwhile, and where
        // its image lies is kept for those who hold the view. What is taken is kept by the claim.
        let child = self.table.node(&edge.child)?;
        let operator = forest.trees.get(&name.tree).and_then(|tree| tree.operator.clone());
        drop(forest);
        let covers = Tombstones::merged(edge.buffer().iter().map(|run| run.tombstones()));
        let horizon = self.views.horizon();
        let taken = Taken { edge, bounds, horizon, operator, covers };
        let outcome = match &child.node {
            Node::Internal(internal) => self.flush_down(name, &taken, internal),
            Node::Leaf(leaf) => self.reconcile(name, &taken, leaf),
        }?;
        // Also when it was stale: what was due still is, perhaps elsewhere.
        self.tend_after(name);
        Ok(outcome)
    }

    fn flush_down(&self, name: &EdgeName, taken: &Taken, child: &Internal) -> JobResult {
        let mut draft = Draft::new(&self.table);
        let runs = self.merge_for(taken, child, &mut draft)?;
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |edit, edge, bounds| {
                hand_down(edit, edge, bounds, taken, &runs)
            })?;
            edit.buffer_segments(draft.segments().iter().cloned());
            Ok(())
        })?;
        if outcome == Outcome::Done {
            draft.published();
            self.counters.flushes.add(1);
        }
        Ok(outcome)
    }

    /// One new run for each edge of `child`.
    fn merge_for(
        &self,
        taken: &Taken,
        child: &Internal,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Arc<Run>>, Fault> {
        let mut merge = self.merge(taken.runs(), &taken.bounds)?;
        let covers = taken.covers.folded(&taken.horizon);
        let mut runs = Vec::new();
        for index in 0..child.edges().len() {
            let bounds = child.bounds_of(index, &taken.bounds);
            let mut writer = SegmentWriter::new(draft, &self.limits, taken.oldest(), Space::Ask);
            while let Some(key) = merge.key() {
                if bounds.upper.as_ref().is_some_and(|upper| **upper <= *key) {
                    break;
                }
                let rules = taken.rules(Floor::Buffer);
                let folded = fold(key, merge.versions(), taken.covers.covers(key), rules);
                writer.push(key, &folded.versions())?;
                merge.advance()?;
            }
            let run = Run::new(writer.finish()?, taken.oldest(), taken.newest());
            let run = run.with_tombstones(covers.clip(&bounds));
            if !run.is_empty() {
                self.counters.bytes_built.add(run.bytes());
                runs.push(Arc::new(run));
            }
        }
        Ok(runs)
    }

    /// The messages of `runs` (oldest first) within `bounds`, in key order.
    pub(crate) fn merge<'a>(
        &'a self,
        runs: &[Arc<Run>],
        bounds: &Bounds,
    ) -> Result<Merge<RunCursor<'a>>, Fault> {
        let newest_first = runs.iter().rev().map(|run| {
            let (run, bounds) = (run.clone(), bounds.clone());
            RunCursor::new(&self.table, run, bounds, Direction::Forward, ReadAhead::JOB)
        });
        Ok(Merge::new(newest_first.collect::<Result<_, _>>()?, Direction::Forward))
    }
}

/// Takes the moved runs off `edge` and appends the merged ones to the child's edges as they are
/// now.
fn hand_down(
    edit: &mut Edit<'_>,
    edge: &Arc<Edge>,
    bounds: &Bounds,
    taken: &Taken,
    runs: &[Arc<Run>],
) -> Result<Replacement, Refused> {
    if !taken.is_still_on(edge) {
        return Err(Refused::Stale);
    }
    let resident = edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()))?;
    let Node::Internal(child) = &resident.node else { return Err(Refused::Stale) };
    let fuller = Node::Internal(Edit::append(child, bounds, runs));
    let child = edit.changed(&edge.child, fuller);
    let rest = edge.without_oldest(taken.runs().len()).with_child(child);
    Ok(Replacement::one(rest, Above::Changes))
}
