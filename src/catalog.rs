//! Changes of the catalog: trees that come into being, and operators that are declared.
//!
//! Each is one publication; all of them can be made twice, as a replay may.

use std::sync::Arc;

use sapwood_cachetable::Cachetable;
use sapwood_cachetable::ledger::Change;
use sapwood_flusher::Forest;
use sapwood_serialize::catalog_image::{CatalogTree, CompressionOption, OperatorName, TreeOptions};
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Run;
use sapwood_serialize::{Operator, TreeId};

use crate::merge;
use crate::throttle::value_bytes_max;
use crate::view::{View, ViewCell};

/// The catalog of the current view, to be changed.
#[derive(Clone, Copy)]
pub(crate) struct Catalog<'a> {
    pub(crate) table: &'a Cachetable,
    pub(crate) views: &'a ViewCell,
}

impl Catalog<'_> {
    /// Makes an empty tree part of the view; nothing when it is there already.
    pub(crate) fn plant(self, tree: TreeId, name: &str) {
        let block = self.table.name_block();
        let leaf = self.table.new_node(block, Node::Leaf(Run::default()));
        let mut ledger = self.table.ledger();
        let current = self.views.load();
        let mut known = current.forest.trees.values();
        if known.any(|known| known.id == tree || known.options.name == name) {
            return;
        }
        let change = Change { nodes: vec![leaf.clone()], ..Change::default() };
        let mut forest = Forest::clone(&current.forest);
        let compression = CompressionOption::Lz4;
        let options = TreeOptions { name: name.to_owned(), compression, operator: None };
        let top = Arc::new(Edge::new(leaf, Vec::new()));
        let planted = CatalogTree { id: tree, options: Arc::new(options), top, operator: None };
        forest.trees.insert(tree, planted);
        forest.next_tree = forest.next_tree.max(tree.next());
        forest.token = ledger.publish(change);
        let old = self.store(&current, forest);
        drop(ledger);
        drop((current, old));
    }

    /// Notes which operator a tree has; a built-in one is then at hand. The first one stays.
    pub(crate) fn name_operator(self, tree: TreeId, name: &OperatorName) {
        let operator = merge::built_in(name).map(|operator| self.limited(&operator));
        self.change(tree, &mut |known| {
            if known.options.operator.is_some() {
                return;
            }
            let options = TreeOptions { operator: Some(name.clone()), ..(*known.options).clone() };
            known.options = Arc::new(options);
            known.operator = known.operator.take().or_else(|| operator.clone());
        });
    }

    /// Gives a tree the operator that it was declared with.
    pub(crate) fn set_operator(self, tree: TreeId, operator: &Operator) {
        let operator = &self.limited(operator);
        self.change(tree, &mut |known| {
            known.operator.get_or_insert_with(|| operator.clone());
        });
    }

    /// The operator with the limit that values have here.
    pub(crate) fn limited(self, operator: &Operator) -> Operator {
        operator.limited_to(value_bytes_max(self.table))
    }

    /// Changes what is known of a tree besides its nodes.
    fn change(self, tree: TreeId, change: &mut dyn FnMut(&mut CatalogTree)) {
        let ledger = self.table.ledger();
        let current = self.views.load();
        let Some(mut known) = current.forest.trees.get(&tree).cloned() else { return };
        change(&mut known);
        let mut forest = Forest::clone(&current.forest);
        forest.trees.insert(tree, known);
        let old = self.store(&current, forest);
        drop(ledger);
        drop((current, old));
    }

    fn store(self, current: &View, forest: Forest) -> Arc<View> {
        let (sealed, active) = (current.sealed.clone(), current.active.clone());
        self.views.store(View { forest: Arc::new(forest), sealed, active })
    }
}
