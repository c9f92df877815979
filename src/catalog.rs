//! Changes of the catalog: trees that come into being, get other names and go, and operators that
//! are declared.
//!
//! Each is one log record and one publication. Each has an MSN like a message, and the catalog
//! remembers the newest: so a replay that says a change again is passed over, whatever has been
//! done with the names since.
//!
//! A drop is where readers part: whoever sees an older MSN reads the tree on, whoever sees a later
//! one is told that it was dropped. Writes are refused before they line up for the commit; one that
//! races with the drop, and comes behind it in the log, is as if it had come before: its messages
//! are numbered behind the drop, where no reader of the tree looks, and a spill forgets them, now
//! as in a replay.

use std::sync::Arc;

use sapwood_cachetable::Cachetable;
use sapwood_cachetable::ledger::Change;
use sapwood_flusher::Forest;
use sapwood_serialize::catalog_image::{CatalogTree, OperatorName, PageOptions, TreeOptions};
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Run;
use sapwood_serialize::{Msn, Operator, TreeId};

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
    /// Makes an empty tree part of the view.
    pub(crate) fn plant(self, msn: Msn, tree: TreeId, name: &str, pages: PageOptions) {
        let block = self.table.name_block();
        let leaf = self.table.new_node(block, Node::Leaf(Run::default()));
        let mut ledger = self.table.ledger();
        let current = self.views.load();
        let mut forest = Forest::clone(&current.forest);
        if !forest.begin_change(msn) {
            return;
        }
        let change = Change { nodes: vec![leaf.clone()], ..Change::default() };
        let options = TreeOptions { name: name.to_owned(), pages, operator: None };
        let top = Arc::new(Edge::new(leaf, Vec::new()));
        forest.plant(CatalogTree { id: tree, options: Arc::new(options), top, operator: None });
        forest.token = ledger.publish(change);
        let old = self.store(&current, forest);
        drop(ledger);
        drop((current, old));
    }

    /// Gives a tree another name.
    pub(crate) fn rename(self, msn: Msn, tree: TreeId, name: &str) {
        self.change(Some(msn), &mut |forest| forest.rename(tree, name));
    }

    /// Takes a tree away; its nodes go once nobody reads what was before.
    pub(crate) fn drop_tree(self, msn: Msn, tree: TreeId) {
        self.change(Some(msn), &mut |forest| forest.drop_tree(tree, msn));
    }

    /// Notes which operator a tree has; a built-in one is then at hand. The first one stays.
    pub(crate) fn name_operator(self, msn: Msn, tree: TreeId, name: &OperatorName) {
        let operator = merge::built_in(name).map(|operator| self.limited(&operator));
        self.change(Some(msn), &mut |forest| {
            let Some(known) = forest.trees.get_mut(&tree) else { return };
            if known.options.operator.is_some() {
                return;
            }
            let options = TreeOptions { operator: Some(name.clone()), ..(*known.options).clone() };
            known.options = Arc::new(options);
            known.operator = known.operator.take().or_else(|| operator.clone());
        });
    }

    /// Gives a tree the operator that it was declared with; that is never logged.
    pub(crate) fn set_operator(self, tree: TreeId, operator: &Operator) {
        let operator = &self.limited(operator);
        self.change(None, &mut |forest| {
            if let Some(known) = forest.trees.get_mut(&tree) {
                known.operator.get_or_insert_with(|| operator.clone());
            }
        });
    }

    /// The operator with the limit that values have here.
    pub(crate) fn limited(self, operator: &Operator) -> Operator {
        operator.limited_to(value_bytes_max(self.table))
    }

    /// Changes the forest besides its nodes; nothing when the change of `msn` was made already.
    fn change(self, msn: Option<Msn>, change: &mut dyn FnMut(&mut Forest)) {
        let ledger = self.table.ledger();
        let current = self.views.load();
        let mut forest = Forest::clone(&current.forest);
        if msn.is_some_and(|msn| !forest.begin_change(msn)) {
            return;
        }
        change(&mut forest);
        let old = self.store(&current, forest);
        drop(ledger);
        drop((current, old));
    }

    fn store(self, current: &View, forest: Forest) -> Arc<View> {
        let (sealed, active) = (current.sealed.clone(), current.active.clone());
        self.views.store(View { forest: Arc::new(forest), sealed, active })
    }
}
