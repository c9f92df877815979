//! What a reader looks through, newest first.
//!
//! ```text
//! own changes      of the reader's transaction, if it has any
//! generations      active, then sealed, newest first       \ one view
//! trees            from the top edge down to a leaf        /
//! ```

use std::sync::Arc;

use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::{Msn, Sight, TreeId};

use crate::generation::Generation;
use crate::view::View;

/// A view, and on top of it a transaction's own changes.
pub(crate) struct Layers<'a> {
    /// Newest first.
    pub(crate) own: &'a [Arc<Generation>],
    pub(crate) view: &'a View,
}

impl<'a> Layers<'a> {
    /// A view with nothing on top of it.
    pub(crate) fn of(view: &'a View) -> Layers<'a> {
        Layers { own: &[], view }
    }

    /// All generations, newest first, each with the newest MSN that the reader sees of it.
    pub(crate) fn generations(
        &self,
        sight: Sight,
    ) -> impl Iterator<Item = (&'a Arc<Generation>, Msn)> {
        let own = self.own.iter().map(move |generation| (generation, sight.own()));
        let committed = self.view.generations().map(move |one| (one, sight.committed()));
        own.chain(committed)
    }

    /// A tree as the reader sees it, also when it was dropped later.
    pub(crate) fn tree(&self, tree: TreeId, sight: Sight) -> Option<&'a CatalogTree> {
        self.view.forest.tree_at(tree, sight.committed())
    }
}
