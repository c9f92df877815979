//! The tree part of a view: every tree with its name and its top edge, as one immutable value.
//!
//! ```text
//! names  "rings" -> 3          trees    3 -> { options, top edge }
//!                              dropped  2 -> { the same, and when it was dropped }
//! ```
//!
//! Invariants:
//! 1. each tree has one name, and each name leads to the tree that has it;
//! 2. ids ascend in the order in which trees came into being, and are never reused;
//! 3. the catalog was last changed at `changed`: a change that is not newer has been made already.
//!    So a replay may say it again;
//! 4. a dropped tree stays as it is for as long as a reader sees what was before its drop; then it
//!    is emptied (see `empty`), and is gone.

use std::sync::Arc;

use imbl::OrdMap;
use sapwood_cachetable::Fault;
use sapwood_cachetable::ledger::ViewToken;
use sapwood_serialize::catalog_image::{CatalogImage, CatalogTree, DroppedTree, TreeOptions};
use sapwood_serialize::fold::Horizon;
use sapwood_serialize::node::Edge;
use sapwood_serialize::{GenerationId, Msn, TreeId};

/// All trees, ascending by id. A clone costs the same for any number of trees.
#[derive(Clone, Debug)]
pub struct Forest {
    /// The trees with their top edges.
    pub trees: OrdMap<TreeId, CatalogTree>,
    /// Trees that were dropped and are not empty yet.
    pub dropped: OrdMap<TreeId, DroppedTree>,
    /// The id that the next tree gets.
    pub next_tree: TreeId,
    /// Keeps the extents that this view reads from being used for anything else.
    pub token: Arc<ViewToken>,
    names: OrdMap<String, TreeId>,
    changed: Msn,
}

impl Forest {
    /// The forest that `image` describes.
    pub fn new(image: CatalogImage, token: Arc<ViewToken>) -> Forest {
        let names = image.trees.iter().map(|tree| (tree.options.name.clone(), tree.id)).collect();
        let trees = image.trees.into_iter().map(|tree| (tree.id, tree)).collect();
        let dropped = image.dropped.into_iter().map(|it| (it.tree.id, it)).collect();
        let CatalogImage { next_tree, changed, .. } = image;
        Forest { trees, dropped, next_tree, token, names, changed }
    }

    /// What a checkpoint keeps of it.
    pub fn image(&self) -> CatalogImage {
        CatalogImage {
            next_tree: self.next_tree,
            changed: self.changed,
            trees: self.trees.values().cloned().collect(),
            dropped: self.dropped.values().cloned().collect(),
        }
    }

    /// The tree `name`.
    pub fn named(&self, name: &str) -> Option<&CatalogTree> {
        self.names.get(name).and_then(|tree| self.trees.get(tree))
    }

    /// The tree as a reader at `msn` sees it, also when it was dropped after that; `None` when it
    /// was dropped before.
    pub fn tree_at(&self, tree: TreeId, msn: Msn) -> Option<&CatalogTree> {
        self.trees.get(&tree).or_else(|| {
            let dropped = self.dropped.get(&tree).filter(|dropped| msn < dropped.at);
            dropped.map(|dropped| &dropped.tree)
        })
    }

    /// All trees with nodes, the dropped ones behind the others.
    pub fn all(&self) -> impl Iterator<Item = &CatalogTree> {
        self.trees.values().chain(self.dropped.values().map(|dropped| &dropped.tree))
    }

    /// The names of all trees, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    /// Notes that the catalog is changed at `msn`; `false` when that change was made already.
    pub fn begin_change(&mut self, msn: Msn) -> bool {
        let is_new = msn > self.changed;
        self.changed = self.changed.max(msn);
        is_new
    }

    /// Takes in a new tree.
    pub fn plant(&mut self, tree: CatalogTree) {
        self.next_tree = self.next_tree.max(tree.id.next());
        self.names.insert(tree.options.name.clone(), tree.id);
        self.trees.insert(tree.id, tree);
    }

    /// Gives a tree another name.
    pub fn rename(&mut self, tree: TreeId, name: &str) {
        let Some(known) = self.trees.get_mut(&tree) else { return };
        self.names.remove(&known.options.name);
        self.names.insert(name.to_owned(), tree);
        let options = TreeOptions { name: name.to_owned(), ..(*known.options).clone() };
        known.options = Arc::new(options);
    }

    /// Takes a tree from those that can be found; its nodes stay for readers from before `at`.
    pub fn drop_tree(&mut self, tree: TreeId, at: Msn) {
        let Some(tree) = self.trees.remove(&tree) else { return };
        self.names.remove(&tree.options.name);
        self.dropped.insert(tree.id, DroppedTree { tree, at });
    }

    /// Gives a tree, dropped or not, another top edge.
    pub fn set_top(&mut self, tree: TreeId, top: Arc<Edge>) {
        if let Some(known) = self.trees.get_mut(&tree) {
            known.top = top;
        } else if let Some(dropped) = self.dropped.get_mut(&tree) {
            dropped.tree.top = top;
        }
    }
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
