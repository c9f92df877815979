//! Flush: the buffer above a node moves one level down.
//!
//! ```text
//! P   [ edge: r1 r2 r3 ]            P'  [ edge:          ]     r1 r2 r3 merged and cut at C's
//! pivots
//!          |                  =>             |
//! C   [ edge | edge | edge ]        C'  [ edge+ | edge+ | edge+ ]
//! ```
//!
//! Above a leaf the buffer is reconciled into it instead, see [`crate::reconcile`]. A segment that
//! overlaps nothing and belongs below one edge moves by reference.
//!
//! A flush cascades: it goes on below for as long as its [`Pick`] finds an edge there.

use std::sync::Arc;

use sapwood_cachetable::{Fault, StepPoint};
use sapwood_serialize::Tombstones;
use sapwood_serialize::fold::Floor;
use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};

use crate::edit::{Above, EdgeName, Edit, Refused, Replacement};
use crate::forest::{Forest, JobResult, Outcome};
use crate::groups::{Group, groups};
use crate::mover::Mover;
use crate::policy::{Pick, pick};
use crate::segment_writer::{Draft, SegmentWriter, Space};
use crate::stop::Stop;
use crate::taken::Taken;

/// What became of a flush of one edge.
pub(crate) struct Flushed {
    pub(crate) outcome: Outcome,
    /// The bounds of the edge, if something waited on it.
    pub(crate) bounds: Option<Bounds>,
}

impl Mover {
    /// Moves the buffer of the edge `name` one level down, and goes on below as `way` says. `Done`
    /// if anything was moved.
    pub fn flush(&self, name: &EdgeName, way: Pick<'_>, stop: Stop<'_>) -> JobResult {
        let mut moved = Outcome::Nothing;
        let (mut name, mut depth) = (name.clone(), 0);
        loop {
            match self.flush_one(&name, stop)? {
                Outcome::Done => {
                    self.counters.count_cascade(depth);
                    (moved, depth) = (Outcome::Done, depth + 1);
                }
                Outcome::Nothing => {}
                Outcome::Busy if moved == Outcome::Nothing => return Ok(Outcome::Busy),
                Outcome::Busy => return Ok(moved),
            }
            match self.next_below(&name, way)? {
                Some(below) => name = below,
                None => return Ok(moved),
            }
        }
    }

    /// The edge below `name` at which a cascade goes on.
    fn next_below(&self, name: &EdgeName, way: Pick<'_>) -> Result<Option<EdgeName>, Fault> {
        let forest = self.views.forest();
        let Some((edge, bounds)) = self.find(&forest, name)? else { return Ok(None) };
        if edge.child.height() == 0 {
            return Ok(None);
        }
        let child = self.table.node(&edge.child)?;
        let Node::Internal(node) = &child.node else { return Ok(None) };
        let Some(index) = pick(node, &bounds, way, &self.limits) else { return Ok(None) };
        let key = match way {
            // The name must lead to the key's own edge further down, too.
            Pick::Toward(key) => key.into(),
            _ => node.bounds_of(index, &bounds).lower,
        };
        Ok(Some(EdgeName { tree: name.tree, key, block: node.edge(index).child.block() }))
    }

    /// Moves the buffer of the edge `name` one level down.
    pub(crate) fn flush_one(&self, name: &EdgeName, stop: Stop<'_>) -> JobResult {
        Ok(self.flush_edge(name, stop)?.outcome)
    }

    /// The same; tells where the edge was then, which may not be where it was seen before.
    pub(crate) fn flush_edge(&self, name: &EdgeName, stop: Stop<'_>) -> Result<Flushed, Fault> {
        let nowhere = |outcome| Ok(Flushed { outcome, bounds: None });
        let Some(_claim) = self.claims.take(name.block) else { return nowhere(Outcome::Busy) };
        let forest = self.views.forest();
        let Some((edge, bounds)) = self.find(&forest, name)? else {
            return nowhere(Outcome::Nothing);
        };
        if edge.buffer().is_empty() {
            return nowhere(Outcome::Nothing);
        }
        self.table.steps().reach(StepPoint::FlushClaimed)?;
        let was_absent = edge.child.peek().is_none();
        // The view is held until the child is in memory: it may be replaced meanwhile, and where
        // its image lies is kept for those who hold the view. What is taken is kept by the claim.
        let child = self.table.node(&edge.child)?;
        let taken = self.take(name, edge, bounds, &forest);
        drop(forest);
        self.table.steps().reach(StepPoint::FlushFetched)?;
        let (needed_io, outcome) = match &child.node {
            Node::Internal(internal) => {
                (taken.needs_io(None), self.flush_down(name, &taken, internal, stop)?)
            }
            Node::Leaf(leaf) => {
                (taken.needs_io(Some(leaf)), self.reconcile(name, &taken, leaf, stop)?)
            }
        };
        if outcome == Outcome::Done {
            let io = was_absent || needed_io;
            let counters = &self.counters;
            let counter = if io { &counters.flushes_with_io } else { &counters.flushes_in_memory };
            counter.add(1);
            self.table.steps().pass(StepPoint::FlushPublished);
        }
        // Also when it was stale: what was due still is, perhaps elsewhere.
        self.tend_after(name);
        Ok(Flushed { outcome, bounds: Some(taken.bounds) })
    }

    /// What waits on `edge`, with what decides what becomes of it.
    pub(crate) fn take(
        &self,
        name: &EdgeName,
        edge: Arc<Edge>,
        bounds: Bounds,
        forest: &Forest,
    ) -> Taken {
        let known = forest.trees.get(&name.tree);
        let operator = known.and_then(|tree| tree.operator.clone());
        let pages = known.map(|tree| tree.options.pages).unwrap_or_default();
        let covers = Tombstones::merged(edge.buffer().iter().map(|run| run.tombstones()));
        let horizon = self.views.horizon();
        Taken { edge, bounds, horizon, operator, pages, covers }
    }

    fn flush_down(
        &self,
        name: &EdgeName,
        taken: &Taken,
        child: &Internal,
        stop: Stop<'_>,
    ) -> JobResult {
        let mut draft = Draft::new(&self.table, stop);
        let runs = self.merge_for(taken, child, &mut draft)?;
        self.table.steps().reach(StepPoint::FlushBuilt)?;
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |edit, edge, bounds| {
                hand_down(edit, edge, bounds, taken, &runs)
            })?;
            // With those that move by reference: the node above no longer owns them.
            let segments = runs.iter().flat_map(|run| run.segments());
            edit.buffer_segments(segments.map(|part| part.segment.clone()));
            Ok(())
        })?;
        if outcome == Outcome::Done {
            draft.published();
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
        let covers = taken.covers.folded(&taken.horizon);
        let stretches: Vec<Bounds> =
            (0..child.edges().len()).map(|index| child.bounds_of(index, &taken.bounds)).collect();
        let parts = self.merge_into(taken, &stretches, draft)?;
        let runs = stretches.iter().zip(parts).map(|(bounds, parts)| {
            let run = Run::new(parts, taken.oldest(), taken.newest());
            Arc::new(run.with_tombstones(covers.clip(bounds)))
        });
        Ok(runs.filter(|run| !run.is_empty()).collect())
    }

    /// The rows that were taken, merged and cut into `stretches`, which cover the bounds in order.
    pub(crate) fn merge_into(
        &self,
        taken: &Taken,
        stretches: &[Bounds],
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Vec<SegmentRef>>, Fault> {
        let (groups, dropped) = groups(&Run::default(), taken);
        self.counters.bytes_dropped.add(dropped);
        let (pages, oldest) = (taken.pages, taken.oldest());
        let mut writer = SegmentWriter::new(draft, &self.limits, pages, oldest, Space::Ask);
        let mut parts: Vec<Vec<SegmentRef>> = vec![Vec::new()];
        for group in groups {
            if let Some(part) = self.movable(&group, stretches) {
                while is_behind(stretches.get(parts.len() - 1), part.first()) {
                    last(&mut parts).extend(writer.finish()?);
                    parts.push(Vec::new());
                }
                let done = writer.finish()?;
                last(&mut parts).extend(done.into_iter().chain([part]));
                self.counters.segments_adopted.add(1);
                continue;
            }
            let mut merge = group.merge(&self.table, &taken.bounds)?;
            while let Some(key) = merge.key() {
                while is_behind(stretches.get(parts.len() - 1), key) {
                    last(&mut parts).extend(writer.finish()?);
                    parts.push(Vec::new());
                }
                let covers = taken.covers.covers(key);
                let folded = merge.fold(key, covers, taken.rules(Floor::Buffer));
                writer.push(key, &folded.versions())?;
                merge.advance()?;
            }
        }
        last(&mut parts).extend(writer.finish()?);
        self.count_built(draft);
        parts.resize(stretches.len(), Vec::new());
        Ok(parts)
    }

    /// The reference that can move as it is: whole, not tiny, and within one stretch.
    fn movable(&self, group: &Group, stretches: &[Bounds]) -> Option<SegmentRef> {
        let part = &group.whole()?.part;
        let large = part.segment.facts().bytes >= self.limits.segment_bytes / 2;
        let fits = stretches.iter().any(|bounds| {
            let ends = bounds.upper.as_ref().is_none_or(|upper| part.is_below(upper));
            ends && *bounds.lower <= *part.first()
        });
        (large && fits).then(|| part.clone())
    }

    pub(crate) fn count_built(&self, draft: &Draft<'_>) {
        let bytes = draft.segments().iter().map(|segment| segment.facts().bytes);
        self.counters.bytes_built.add(bytes.sum());
        self.counters.segments_built.add(draft.segments().len() as u64);
    }
}

fn is_behind(bounds: Option<&Bounds>, key: &[u8]) -> bool {
    bounds.and_then(|bounds| bounds.upper.as_ref()).is_some_and(|upper| **upper <= *key)
}

fn last(parts: &mut [Vec<SegmentRef>]) -> &mut Vec<SegmentRef> {
    parts.last_mut().expect("there is one for the stretch that is being filled")
}

/// Takes the moved runs off `edge` and appends the merged ones to the child's edges as they are
/// now.
pub(crate) fn hand_down(
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
