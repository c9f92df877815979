//! What a job takes from an edge.

use std::sync::Arc;

use sapwood_serialize::catalog_image::PageOptions;
use sapwood_serialize::fold::{Floor, Horizon, Rules};
use sapwood_serialize::node::Edge;
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{Msn, Operator, Tombstones};

/// The oldest runs of an edge, taken to be moved.
pub(crate) struct Taken {
    pub(crate) edge: Arc<Edge>,
    pub(crate) bounds: Bounds,
    pub(crate) horizon: Horizon,
    pub(crate) operator: Option<Operator>,
    /// How the pages are made that it goes into.
    pub(crate) pages: PageOptions,
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

    /// Whether something that the move needs is not in memory.
    pub(crate) fn needs_io(&self, leaf: Option<&Run>) -> bool {
        let parts = self.edge.segments().chain(leaf.into_iter().flat_map(Run::segments));
        parts.into_iter().any(|part| part.segment.peek().is_none())
    }
}
