//! Which references overlap: what has to be merged and rewritten, and what can stay as it is.
//!
//! ```text
//! leaf     [ S1  ] [ S2  ]        [ S3 ]   [ S4 ]
//! buffer        [ m m ]   [ B9 ]           [ m ]
//! groups   [---- 1 ------] [ 2 ] [  3  ]  [- 4 --]
//! ```
//!
//! Whatever overlaps, directly or through others, is one group. A group of a single reference can
//! be moved by reference, if it is whole.

use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Fault, ReadAhead, RunCursor};
use sapwood_serialize::merge_iter::{Direction, Merge};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::{Msn, Tombstone, common_prefix};

use crate::taken::Taken;

/// One reference and where it comes from: 0 is the leaf, then the buffer's runs, oldest first.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) age: usize,
    pub(crate) part: SegmentRef,
    /// A range delete newer than some of its rows covers some of its keys.
    is_covered: bool,
}

/// References that overlap one another and nothing else.
#[derive(Default)]
pub(crate) struct Group(Vec<Source>);

impl Group {
    /// All of `runs`, oldest first; for the benches.
    pub(crate) fn of_runs(runs: &[Arc<Run>]) -> Group {
        let sources = runs.iter().enumerate().flat_map(|(age, run)| {
            let parts = run.segments().iter().cloned();
            parts.map(move |part| Source { age, part, is_covered: false })
        });
        Group(sources.collect())
    }

    /// The one reference that is all there is, if nothing of it was clipped off or deleted.
    pub(crate) fn whole(&self) -> Option<&Source> {
        let [only] = self.0.as_slice() else { return None };
        (!only.part.is_clipped() && !only.is_covered).then_some(only)
    }

    /// The rows of all references within `bounds`, in key order.
    pub(crate) fn merge<'t>(
        &self,
        table: &'t Cachetable,
        bounds: &Bounds,
    ) -> Result<Merge<RunCursor<'t>>, Fault> {
        let mut ages: Vec<usize> = self.0.iter().map(|source| source.age).collect();
        ages.sort_unstable_by(|one, other| other.cmp(one));
        ages.dedup();
        self.read_first_parts_soon(table, &ages);
        let newest_first = ages.into_iter().map(|age| {
            let parts = self.0.iter().filter(|source| source.age == age);
            let parts: Vec<SegmentRef> = parts.map(|source| source.part.clone()).collect();
            // Only the references matter to a cursor, so any interval that holds them will do.
            let run = Arc::new(Run::new(parts, Msn::ZERO, Msn::from_raw(u64::MAX)));
            RunCursor::new(table, run, bounds.clone(), Direction::Forward, ReadAhead::JOB)
        });
        let cursors = newest_first.collect::<Result<Vec<_>, Fault>>()?;
        Ok(Merge::of_prefix(self.prefix_bytes(), cursors, Direction::Forward))
    }

    /// How many bytes all keys share at their start.
    fn prefix_bytes(&self) -> usize {
        let first = self.0.iter().map(|source| source.part.first()).min();
        let last = self.0.iter().map(|source| source.part.last()).max();
        first.zip(last).map_or(0, |(first, last)| common_prefix(first, last))
    }

    /// Has the device fetch what the cursors begin with all at once: each waits for its own alone.
    fn read_first_parts_soon(&self, table: &Cachetable, ages: &[usize]) {
        if ages.len() < 2 {
            return;
        }
        for age in ages {
            let first = self.0.iter().find(|source| source.age == *age);
            // Of one that is clipped little may be needed.
            if let Some(first) = first.filter(|first| !first.part.is_clipped()) {
                table.read_soon(&first.part.segment);
            }
        }
    }
}

/// The references of a leaf and the buffer above it in groups, ascending, and how many bytes of
/// them range deletes have made invisible to everybody. A buffer is grouped alone above an empty
/// leaf.
pub(crate) fn groups(leaf: &Run, taken: &Taken) -> (Vec<Group>, u64) {
    let runs = taken.runs().iter().map(|run| &**run);
    let all = std::iter::once(leaf).chain(runs).enumerate();
    let mut dropped = 0;
    let mut sources: Vec<Source> = Vec::new();
    for (age, run) in all {
        dropped += visible_parts(age, run, taken, &mut sources);
    }
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
    (groups, dropped)
}

/// Adds the references of `run`, less what range deletes have made invisible to everybody: that is
/// left out by clipping, so its pages are dropped unread. Returns the bytes left out.
fn visible_parts(age: usize, run: &Run, taken: &Taken, sources: &mut Vec<Source>) -> u64 {
    let oldest = run.oldest().to_raw();
    let is_gone = |piece: &&Tombstone| {
        let newer = |deleted: &&u64| **deleted > run.newest().to_raw();
        piece.msns.iter().take_while(newer).any(|deleted| taken.horizon.hides(*deleted, oldest))
    };
    let is_newer = |piece: &Tombstone| piece.msns.iter().any(|deleted| *deleted > oldest);
    let mut dropped = 0;
    for part in run.segments().iter().filter_map(|part| part.clip(&taken.bounds)) {
        if taken.covers.is_empty() {
            sources.push(Source { age, part, is_covered: false });
            continue;
        }
        let covers = taken.covers.clip(&part.bounds());
        let gone: Vec<Bounds> =
            covers.pieces().iter().filter(is_gone).map(Tombstone::bounds).collect();
        let before = part.bytes;
        let mut left = 0;
        for part in part.without(&gone) {
            left += part.bytes;
            let is_covered = covers.clip(&part.bounds()).pieces().iter().any(is_newer);
            sources.push(Source { age, part, is_covered });
        }
        dropped += before.saturating_sub(left);
    }
    dropped
}
