//! Reconcile: messages become rows of a leaf.
//!
//! ```text
//! leaf     [ S1  ] [ S2  ]        [ S3 ]   [ S4 ]
//! buffer        [ m m ]   [ B9 ]           [ m ]
//! groups   [---- 1 ------] [ 2 ] [  3  ]  [- 4 --]
//! ```
//!
//! Whatever overlaps, directly or through others, is one group and is merged and rewritten. A group
//! that is a single segment of the leaf is kept as it is; one that is a single unclipped segment of
//! plain puts from the buffer is adopted by reference. So a load in key order writes each byte
//! once. What a range delete has made invisible to everybody is clipped off before, so that its
//! pages are never read.
//!
//! What comes out is cut at segment boundaries into as many leaves as it needs.

use std::sync::Arc;

use sapwood_cachetable::{Fault, ReadAhead, RunCursor};
use sapwood_serialize::fold::{Floor, fold};
use sapwood_serialize::merge_iter::{Direction, Merge};
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::{Content, Key};
use sapwood_serialize::{Msn, Tombstone};

use crate::edit::{Above, EdgeName, Edit, Refused, Replacement};
use crate::flush::Taken;
use crate::forest::{JobResult, Outcome};
use crate::mover::Mover;
use crate::segment_writer::{Draft, SegmentWriter, Space};

/// One reference and where it comes from: 0 is the leaf, then the buffer's runs, oldest first.
#[derive(Clone)]
struct Source {
    age: usize,
    part: SegmentRef,
    /// A range delete newer than some of its rows covers some of its keys.
    is_covered: bool,
}

/// References that overlap one another and nothing else.
#[derive(Default)]
struct Group(Vec<Source>);

impl Group {
    /// The one reference that can stay as it is, if that is all there is.
    fn untouched(&self, floor_bytes: u64) -> Option<&SegmentRef> {
        let [only] = self.0.as_slice() else { return None };
        let facts = only.part.segment.facts();
        let large = only.age == 0 || facts.bytes >= floor_bytes;
        let plain = only.age == 0 || facts.content == Content::Plain;
        let as_it_is = !only.part.is_clipped() && !only.is_covered;
        (large && plain && as_it_is).then_some(&only.part)
    }
}

/// The references of `run`, less what range deletes have made invisible to everybody: that is left
/// out by clipping, so its pages are dropped unread.
fn sources(age: usize, run: &Run, taken: &Taken) -> Vec<Source> {
    let is_gone = |piece: &&Tombstone| {
        let newer = |deleted: &&u64| **deleted > run.newest().to_raw();
        let oldest = run.oldest().to_raw();
        piece.msns.iter().take_while(newer).any(|deleted| taken.horizon.hides(*deleted, oldest))
    };
    let mut sources = Vec::new();
    for part in run.segments().iter().filter_map(|part| part.clip(&taken.bounds)) {
        let covers = taken.covers.clip(&part.bounds());
        let gone: Vec<Bounds> =
            covers.pieces().iter().filter(is_gone).map(Tombstone::bounds).collect();
        let newer =
            |piece: &Tombstone| piece.msns.iter().any(|deleted| *deleted > run.oldest().to_raw());
        for part in part.without(&gone) {
            let is_covered = covers.clip(&part.bounds()).pieces().iter().any(newer);
            sources.push(Source { age, part, is_covered });
        }
    }
    sources
}

/// Sorts the references of a leaf and its buffer into groups, ascending.
fn groups(leaf: &Run, taken: &Taken) -> Vec<Group> {
    let runs = taken.runs().iter().map(|run| &**run);
    let all = std::iter::once(leaf).chain(runs).enumerate();
    let mut sources: Vec<Source> = all.flat_map(|(age, run)| sources(age, run, taken)).collect();
    sources.sort_by(|left, right| left.part.first().cmp(right.part.first()));
    let mut groups: Vec<Group> = Vec::new();
    for source in sources {
        let apart = groups
            .last()
            .is_none_or(|group| group.0.iter().all(|other| other.part.is_before(&source.part)));
        if apart {
            groups.push(Group::default());
        }
        groups.last_mut().expect("one was just pushed").0.push(source);
    }
    groups
}

impl Mover {
    pub(crate) fn reconcile(&self, name: &EdgeName, taken: &Taken, leaf: &Run) -> JobResult {
        let mut draft = Draft::new(&self.table);
        let parts = self.reconciled(taken, leaf, &mut draft)?;
        let (oldest, newest) = (oldest_of(leaf, taken), leaf.newest().max(taken.newest()));
        let pieces = cut_into_leaves(parts, self.limits.leaf_bytes);
        let pieces: Vec<Run> =
            pieces.into_iter().map(|parts| Run::new(parts, oldest, newest)).collect();
        let outcome = self.publish(None, &mut |edit| {
            edit.replace_edge(name, &mut |edit, edge, bounds| {
                replace_leaf(edit, edge, bounds, taken, &pieces)
            })
        })?;
        if outcome == Outcome::Done {
            draft.published();
            self.counters.reconciles.add(1);
            self.counters.splits.add(pieces.len().saturating_sub(1) as u64);
        }
        Ok(outcome)
    }

    /// The leaf's new references, ascending.
    fn reconciled(
        &self,
        taken: &Taken,
        leaf: &Run,
        draft: &mut Draft<'_>,
    ) -> Result<Vec<SegmentRef>, Fault> {
        let base = oldest_of(leaf, taken);
        let mut done = Vec::new();
        let mut writer = SegmentWriter::new(draft, &self.limits, base, Space::Ask);
        for group in groups(leaf, taken) {
            match group.untouched(self.limits.segment_bytes / 2) {
                Some(part) => {
                    done.extend(writer.finish()?);
                    done.push(part.clone());
                    self.counters.adopted.add(1);
                }
                None => self.rewrite(&group, taken, &mut writer)?,
            }
        }
        done.extend(writer.finish()?);
        let built: u64 = draft.segments().iter().map(|segment| segment.facts().bytes).sum();
        self.counters.bytes_built.add(built);
        Ok(done)
    }

    fn rewrite(
        &self,
        group: &Group,
        taken: &Taken,
        writer: &mut SegmentWriter<'_, '_>,
    ) -> Result<(), Fault> {
        let ages = taken.runs().len() + 1;
        let mut cursors = Vec::new();
        for age in (0..ages).rev() {
            let parts = group.0.iter().filter(|source| source.age == age);
            let parts: Vec<SegmentRef> = parts.map(|source| source.part.clone()).collect();
            if parts.is_empty() {
                continue;
            }
            // Only the references matter to a cursor, so any interval that holds them will do.
            let run = Arc::new(Run::new(parts, Msn::ZERO, Msn::from_raw(u64::MAX)));
            let bounds = taken.bounds.clone();
            cursors.push(RunCursor::new(
                &self.table,
                run,
                bounds,
                Direction::Forward,
                ReadAhead::JOB,
            )?);
        }
        let mut merge = Merge::new(cursors, Direction::Forward);
        while let Some(key) = merge.key() {
            let covers = taken.covers.covers(key);
            let folded = fold(key, merge.versions(), covers, taken.rules(Floor::Leaf));
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

/// Cuts ascending references into stretches of about the same size, none above `most` if segments
/// allow. At least one, which may be empty.
pub(crate) fn cut_into_leaves(parts: Vec<SegmentRef>, most: u64) -> Vec<Vec<SegmentRef>> {
    let total: u64 = parts.iter().map(|part| part.bytes).sum();
    let count = total.div_ceil(most).max(1);
    let mut leaves: Vec<Vec<SegmentRef>> = vec![Vec::new()];
    let mut before = 0;
    for part in parts {
        let due = leaves.len() as u64 * total / count;
        let last = leaves.last_mut().expect("there is at least one");
        if before >= due && !last.is_empty() && (leaves.len() as u64) < count {
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
