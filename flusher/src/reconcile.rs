//! Reconcile: messages become rows of a leaf.
//!
//! ```text
//! leaf [ S1 ][ S2 ][ S3 ]  +  buffer [ r1 ][ r2 ]   ->   leaf [ S1 ][ S2'][ B9 ] | leaf [ S3'] ...
//! ```
//!
//! Rows that overlap are merged and rewritten, in groups (see [`crate::groups`]). A segment of the
//! leaf that nothing touches is kept as it is; one of plain puts from the buffer that overlaps
//! nothing is adopted by reference. So a load in key order writes each byte once. What a range
//! delete has made invisible to everybody is clipped off before, so that its pages are never read.
//!
//! What comes out is cut at segment boundaries into as many leaves as it needs.

use std::sync::Arc;

use sapwood_cachetable::{Fault, StepPoint};
use sapwood_serialize::Msn;
use sapwood_serialize::fold::Floor;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::{Content, Key};

use crate::edit::{Above, EdgeName, Edit, Refused, Replacement};
use crate::effort::Effort;
use crate::forest::{JobResult, Outcome};
use crate::groups::{Group, groups};
use crate::limits::Limits;
use crate::mover::Mover;
use crate::segment_writer::{Draft, SegmentWriter, Space};
use crate::stop::Stop;
use crate::taken::Taken;

impl Mover {
    pub(crate) fn reconcile(
        &self,
        name: &EdgeName,
        taken: &Taken,
        leaf: &Run,
        stop: Stop<'_>,
    ) -> JobResult {
        self.reconcile_with(name, taken, leaf, Effort::Needed, stop)
    }

    pub(crate) fn reconcile_with(
        &self,
        name: &EdgeName,
        taken: &Taken,
        leaf: &Run,
        effort: Effort,
        stop: Stop<'_>,
    ) -> JobResult {
        self.table.steps().reach(StepPoint::ReconcileBegun)?;
        let mut draft = Draft::new(&self.table, stop);
        let parts = self.reconciled(taken, leaf, effort, &mut draft)?;
        let (oldest, newest) = (oldest_of(leaf, taken), leaf.newest().max(taken.newest()));
        let pieces = cut_into_leaves(parts, self.limits.leaf_bytes, cut_for(taken, leaf));
        let pieces: Vec<Run> =
            pieces.into_iter().map(|parts| Run::new(parts, oldest, newest)).collect();
        self.table.steps().reach(StepPoint::ReconcileBuilt)?;
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |edit, edge, bounds| {
                replace_leaf(edit, edge, bounds, taken, &pieces)
            })
        })?;
        if outcome == Outcome::Done {
            draft.published();
            self.counters.reconciles.add(1);
            self.counters.leaf_splits.add(pieces.len().saturating_sub(1) as u64);
            self.table.steps().pass(StepPoint::ReconcilePublished);
            if let [only] = pieces.as_slice()
                && Limits::is_undersize(only.bytes(), self.limits.leaf_bytes)
            {
                // Now, since later its header may no longer be in memory.
                self.due.merge_leaf(name.clone());
            }
        }
        Ok(outcome)
    }

    /// The leaf's new references, ascending.
    fn reconciled(
        &self,
        taken: &Taken,
        leaf: &Run,
        effort: Effort,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<SegmentRef>, Fault> {
        let base = oldest_of(leaf, taken);
        let (groups, dropped) = groups(leaf, taken);
        self.counters.bytes_dropped.add(dropped);
        let mut done = Vec::new();
        let mut writer =
            SegmentWriter::new(draft, &self.limits, taken.pages, base, Space::Ask).in_leaf();
        for group in groups {
            match self.stays(&group, effort) {
                Some(part) => {
                    done.extend(writer.finish()?);
                    done.push(part);
                }
                None => self.rewrite(&group, taken, &mut writer)?,
            }
        }
        done.extend(writer.finish()?);
        self.count_built(draft);
        Ok(done)
    }

    /// The one reference of the group, if it can become part of the leaf as it is.
    fn stays(&self, group: &Group, effort: Effort) -> Option<SegmentRef> {
        let only = group.whole()?;
        let facts = only.part.segment.facts();
        let is_plain = facts.content == Content::Plain;
        if only.age == 0 {
            let place = only.part.segment.place().map(|place| place.extent.offset);
            let goes = match effort {
                Effort::Needed => false,
                Effort::Thorough => !is_plain,
                Effort::Beyond(far_out) => far_out.has(place),
            };
            if goes {
                return None;
            }
            self.counters.segments_kept.add(1);
        } else if is_plain && facts.bytes >= self.limits.segment_bytes / 2 {
            self.counters.segments_adopted.add(1);
        } else {
            return None;
        }
        Some(only.part.clone())
    }

    fn rewrite(
        &self,
        group: &Group,
        taken: &Taken,
        writer: &mut SegmentWriter<'_, '_>,
    ) -> Result<(), Fault> {
        let mut merge = group.merge(&self.table, &taken.bounds)?;
        while let Some(key) = merge.key() {
            let covers = taken.covers.covers(key);
            let folded = merge.fold(key, covers, taken.rules(Floor::Leaf));
            writer.push(key, &folded.versions())?;
            merge.advance()?;
        }
        Ok(())
    }
}

/// No message of the leaf and what comes into it is older.
fn oldest_of(leaf: &Run, taken: &Taken) -> Msn {
    if leaf.is_empty() { taken.oldest() } else { leaf.oldest().min(taken.oldest()) }
}

/// How a leaf that became too large is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Into leaves of about the same size.
    Even,
    /// All but the last one full: what comes next belongs behind it.
    LeftHeavy,
    /// All but the first one full: what comes next belongs before it.
    RightHeavy,
}

/// At an end of the tree, rows that lie beyond all others mean that keys come in order: the leaves
/// left behind will get nothing more, so they should be full.
fn cut_for(taken: &Taken, leaf: &Run) -> Cut {
    let runs = std::iter::once(leaf).chain(taken.runs().iter().map(|run| &**run));
    let runs: Vec<&Run> = runs.filter(|run| !run.segments().is_empty()).collect();
    let ends = |run: &Run| run.segments().last().map(|part| part.last().to_vec());
    let rises =
        |pair: &[&Run]| matches!(pair, [older, newer] if ends(older).as_deref() < newer.first());
    let falls =
        |pair: &[&Run]| matches!(pair, [older, newer] if ends(newer).as_deref() < older.first());
    let several = runs.len() > 1;
    if several && taken.bounds.upper.is_none() && runs.windows(2).all(rises) {
        Cut::LeftHeavy
    } else if several && taken.bounds.lower.is_empty() && runs.windows(2).all(falls) {
        Cut::RightHeavy
    } else {
        Cut::Even
    }
}

/// Cuts ascending references into stretches of at most `most` bytes, if segments allow. At least
/// one, which may be empty.
pub(crate) fn cut_into_leaves(parts: Vec<SegmentRef>, most: u64, cut: Cut) -> Vec<Vec<SegmentRef>> {
    match cut {
        Cut::Even => cut_evenly(parts, most),
        Cut::LeftHeavy => cut_full(parts, most),
        Cut::RightHeavy => {
            let backward = parts.into_iter().rev().collect();
            let mut leaves = cut_full(backward, most);
            leaves.iter_mut().for_each(|leaf| leaf.reverse());
            leaves.reverse();
            leaves
        }
    }
}

/// Fills one leaf after the other.
fn cut_full(parts: Vec<SegmentRef>, most: u64) -> Vec<Vec<SegmentRef>> {
    let mut leaves: Vec<Vec<SegmentRef>> = vec![Vec::new()];
    let mut bytes = 0;
    for part in parts {
        let last = leaves.last_mut().expect("there is at least one");
        if !last.is_empty() && bytes + part.bytes > most {
            bytes = part.bytes;
            leaves.push(vec![part]);
        } else {
            bytes += part.bytes;
            last.push(part);
        }
    }
    leaves
}

fn cut_evenly(parts: Vec<SegmentRef>, most: u64) -> Vec<Vec<SegmentRef>> {
    let total: u64 = parts.iter().map(|part| part.bytes).sum();
    let count = total.div_ceil(most).max(1);
    let mut leaves: Vec<Vec<SegmentRef>> = vec![Vec::new()];
    let mut before = 0;
    for part in parts {
        let due = leaves.len() as u64 * total / count;
        let last = leaves.last_mut().expect("there is at least one");
        // At the boundary that lies nearest.
        if before + part.bytes / 2 >= due && !last.is_empty() && (leaves.len() as u64) < count {
            leaves.push(Vec::new());
        }
        before += part.bytes;
        leaves.last_mut().expect("there is at least one").push(part);
    }
    leaves
}

/// Puts the new leaves where the old one was; what has arrived since is cut at their bounds.
fn replace_leaf(
    edit: &mut Edit<'_>,
    edge: &Arc<Edge>,
    bounds: &Bounds,
    taken: &Taken,
    pieces: &[Run],
) -> Result<Replacement, Refused> {
    if !taken.is_still_on(edge) || !Arc::ptr_eq(&edge.child, &taken.edge.child) {
        return Err(Refused::Stale);
    }
    let resident = edge.child.node().ok_or_else(|| Refused::Absent(edge.child.clone()))?;
    edit.forget(&edge.child);
    edit.left_segments(resident.node.segments().map(|part| part.segment.clone()));
    let rest = edge.without_oldest(taken.runs().len());
    Ok(divide(edit, &rest, bounds, pieces))
}

/// One edge for each of `pieces`, which replace the leaf below `edge`.
pub(crate) fn divide(
    edit: &mut Edit<'_>,
    edge: &Edge,
    bounds: &Bounds,
    pieces: &[Run],
) -> Replacement {
    let pivots: Vec<Key> = pieces.iter().skip(1).filter_map(Run::first).map(Key::from).collect();
    let mut edges = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        let lower = index.checked_sub(1).and_then(|left| pivots.get(left));
        let bounds = Bounds {
            lower: lower.unwrap_or(&bounds.lower).clone(),
            upper: pivots.get(index).or(bounds.upper.as_ref()).cloned(),
        };
        edit.leaf_segments(piece.segments().iter().map(|part| part.segment.clone()));
        let block = if index == 0 { edge.child.block() } else { edit.ledger.name_block() };
        let leaf = edit.node(block, Node::Leaf(piece.clone()));
        edges.push(Arc::new(edge.clip(&bounds, leaf)));
    }
    Replacement { pivots, edges, above: Above::Changes }
}
