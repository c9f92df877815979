//! The tree part of a view: every tree with its top edge, as one immutable value.

use std::sync::Arc;

use imbl::OrdMap;
use sapwood_cachetable::Fault;
use sapwood_cachetable::ledger::ViewToken;
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::fold::Horizon;
use sapwood_serialize::{GenerationId, TreeId};

/// All trees, ascending by id. A clone costs the same for any number of trees.
#[derive(Clone, Debug)]
pub struct Forest {
    /// The trees with their top edges.
    pub trees: OrdMap<TreeId, CatalogTree>,
    /// The id that the next tree gets.
    pub next_tree: TreeId,
    /// Keeps the extents that this view reads from being used for anything else.
    pub token: Arc<ViewToken>,
}

/// What movement needs of whoever owns the view.
pub trait Views: Send + Sync {
    /// The tree part of the current view.
    fn forest(&self) -> Arc<Forest>;

    /// Makes `forest` the current tree part, and lets `spilled` leave the view, in one step. Called
    /// under the publish mutex; what it returns is dropped outside.
    fn install(&self, forest: Forest, spilled: Option<GenerationId>) -> Box<dyn std::any::Any>;

    /// What a job may forget. To be taken after the job's inputs are fixed.
    fn horizon(&self) -> Horizon;
}

/// What came of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done and published.
    Done,
    /// There was nothing to do, or what it was about to do no longer made sense.
    Nothing,
    /// Another job is at the same place; later again.
    Busy,
}

/// A job's result.
pub type JobResult = Result<Outcome, Fault>;
