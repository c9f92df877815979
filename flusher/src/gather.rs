//! Gather: the newest, small runs of one buffer become one, where they are.
//!
//! ```text
//! edge   [ r1 ........ r2 .. r3 r4 r5 ]   ->   [ r1 ........ r2 .. r3' ]
//! ```
//!
//! So a buffer that gets many small spills keeps few runs without a leaf being rewritten for next
//! to nothing. Each row is rewritten about as often as the sizes can double.

use std::sync::Arc;

use sapwood_cachetable::StepPoint;
use sapwood_serialize::node::Edge;
use sapwood_serialize::run::Run;

use crate::edit::{Above, EdgeName, Refused, Replacement};
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;
use crate::remedy::{Need, need};
use crate::segment_writer::Draft;
use crate::stop::Stop;
use crate::taken::Taken;

impl Mover {
    /// Makes one run of the small ones on the edge `name`, if they still should be one.
    pub(crate) fn gather(&self, name: &EdgeName) -> JobResult {
        let Some(_claim) = self.claims.take(name.block) else { return Ok(Outcome::Busy) };
        let forest = self.views.forest();
        let Some((edge, bounds)) = self.find(&forest, name)? else { return Ok(Outcome::Nothing) };
        let Need::Gather(first) = need(&edge, &bounds, &self.limits) else {
            return Ok(Outcome::Nothing);
        };
        self.table.steps().reach(StepPoint::GatherBegun)?;
        let newest = Arc::new(edge.without_oldest(first));
        let taken = self.take(name, newest, bounds, &forest);
        drop(forest);
        let mut draft = Draft::new(&self.table, Stop::NEVER);
        let stretch = std::slice::from_ref(&taken.bounds);
        let parts = self.merge_into(&taken, stretch, &mut draft)?.into_iter().flatten().collect();
        let run = Run::new(parts, taken.oldest(), taken.newest());
        let run = run.with_tombstones(taken.covers.folded(&taken.horizon));
        self.table.steps().reach(StepPoint::GatherBuilt)?;
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |_, edge, _| gathered(edge, first, &taken, &run))?;
            edit.buffer_segments(run.segments().iter().map(|part| part.segment.clone()));
            Ok(())
        })?;
        if outcome == Outcome::Done {
            draft.published();
            self.counters.gathers.add(1);
            self.table.steps().pass(StepPoint::GatherPublished);
        }
        Ok(outcome)
    }
}

/// The edge with `run` where the runs from `first` on were taken; newer ones stay behind it.
fn gathered(
    edge: &Arc<Edge>,
    first: usize,
    taken: &Taken,
    run: &Run,
) -> Result<Replacement, Refused> {
    let (older, rest) = edge.buffer().split_at_checked(first).ok_or(Refused::Stale)?;
    let (there, newer) = rest.split_at_checked(taken.runs().len()).ok_or(Refused::Stale)?;
    if !there.iter().zip(taken.runs()).all(|(there, taken)| Arc::ptr_eq(there, taken)) {
        return Err(Refused::Stale);
    }
    let run = (!run.is_empty()).then(|| Arc::new(run.clone()));
    let buffer = older.iter().cloned().chain(run).chain(newer.iter().cloned()).collect();
    Ok(Replacement::one(edge.with_buffer(buffer), Above::Changes))
}
