//! Order rule 1, for every key and every stretch that a range delete covers: whatever lies higher
//! is newer.
//!
//! ```text
//! rank 0   run     a@9        [c -- f)@8       every MSN of a rank is greater
//! rank 1   run     a@5  b@4                    than every MSN of the ranks below
//! rank 2   leaf    a@2  b@1   d@3
//! ```

use std::sync::Arc;

use sapwood_cachetable::{Fault, ReadAhead, RunCursor};
use sapwood_serialize::merge_iter::{Direction, Merge, Stream};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{OpKind, Tombstones, Version, Violation};

use super::{Walk, damaged};
use crate::error::{Error, Result};

/// The rows of one run, and its rank among the runs over a leaf: 0 is the highest and newest.
struct Layer<'t> {
    rank: usize,
    cursor: RunCursor<'t>,
}

impl Stream for Layer<'_> {
    type Error = Fault;

    fn key(&self) -> Option<&[u8]> {
        self.cursor.key()
    }

    fn versions(&self) -> impl Iterator<Item = Version<'_>> {
        self.cursor.versions()
    }

    fn advance(&mut self) -> std::result::Result<(), Fault> {
        self.cursor.advance()
    }
}

impl Walk<'_> {
    /// Checks the rule over a leaf and counts its rows. `above` holds the runs of each edge newest
    /// first, edges from the top down: newest first.
    pub(super) fn order(&mut self, leaf: &Run, bounds: &Bounds, above: &[Arc<Run>]) -> Result<()> {
        let covers = Covers::new(above, bounds);
        covers.check()?;
        let runs = above.iter().cloned().chain([Arc::new(leaf.clone())]).enumerate();
        let layer = |(rank, run)| {
            let (way, ahead) = (Direction::Forward, ReadAhead::JOB);
            let cursor = RunCursor::new(self.table, run, bounds.clone(), way, ahead)?;
            Ok(Layer { rank, cursor })
        };
        let layers = runs.map(layer).collect::<std::result::Result<Vec<_>, Fault>>()?;
        let mut merge = Merge::new(layers, Direction::Forward);
        while let Some(key) = merge.key() {
            covers.check_key(key, &merge)?;
            let newest = merge.versions().next();
            let deleted = covers.newest(key);
            let stays = newest.is_some_and(|newest| {
                newest.op.kind() != OpKind::DELETE && Some(newest.msn) > deleted
            });
            self.report.rows += u64::from(stays);
            merge.advance()?;
        }
        Ok(())
    }
}

/// The range deletes over a leaf, by the rank of their runs.
struct Covers(Vec<(usize, Tombstones)>);

impl Covers {
    fn new(above: &[Arc<Run>], bounds: &Bounds) -> Covers {
        let clipped = above.iter().map(|run| run.tombstones().clip(bounds)).enumerate();
        Covers(clipped.filter(|(_, tombstones)| !tombstones.is_empty()).collect())
    }

    /// When `key` was deleted last.
    fn newest(&self, key: &[u8]) -> Option<u64> {
        self.0.iter().filter_map(|(_, tombstones)| tombstones.covers(key).first().copied()).max()
    }

    /// Checks range deletes against one another. Where some overlap, one of them begins.
    fn check(&self) -> Result<()> {
        let pieces = self.0.iter().flat_map(|(_, tombstones)| tombstones.pieces());
        for piece in pieces {
            let mut floor = Floor::default();
            for (_, tombstones) in &self.0 {
                floor = floor.below(tombstones.covers(&piece.lower).iter().copied())?;
            }
        }
        Ok(())
    }

    /// Checks the rows of `key`, at which `merge` stands, with the range deletes that cover it.
    fn check_key(&self, key: &[u8], merge: &Merge<Layer<'_>>) -> Result<()> {
        let mut floor = Floor::default();
        let mut covers = self.0.iter().peekable();
        for layer in merge.current() {
            while let Some((_, higher)) = covers.next_if(|(rank, _)| *rank < layer.rank) {
                floor = floor.below(higher.covers(key).iter().copied())?;
            }
            let rows = floor.below(layer.versions().map(|version| version.msn))?;
            // Of one run, rows and range deletes may come in any order.
            floor = match covers.next_if(|(rank, _)| *rank == layer.rank) {
                Some((_, own)) => rows.min(floor.below(own.covers(key).iter().copied())?),
                None => rows,
            };
        }
        for (_, lower) in covers {
            floor = floor.below(lower.covers(key).iter().copied())?;
        }
        Ok(())
    }
}

/// What comes next has to be older than this.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Floor(u64);

impl Default for Floor {
    fn default() -> Floor {
        Floor(u64::MAX)
    }
}

impl Floor {
    /// The floor below `msns`, newest first, which have to lie below this one.
    fn below(self, msns: impl Iterator<Item = u64>) -> Result<Floor> {
        let mut floor = self;
        for msn in msns {
            if msn >= floor.0 {
                return Err(newer_below());
            }
            floor = Floor(msn);
        }
        Ok(floor)
    }
}

fn newer_below() -> Error {
    let rule = "for one key, an older message lies above a newer one";
    damaged("an order rule", Violation(rule))
}
