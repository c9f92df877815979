//! How many rows there are: counted, or estimated from what references say.

use sapwood_cachetable::Cachetable;
use sapwood_serialize::TreeId;
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::node::{Edge, Node};

use crate::database::Database;
use crate::engine::Engine;
use crate::error::Result;
use crate::generation::Generation;
use crate::memtable::Memtable;
use crate::tree::Tree;

impl Tree {
    /// How many rows there are now, counted one by one: it costs what a scan of the whole tree
    /// costs. [`Tree::approximate_len`] reads far less.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// tree.insert("a", "1")?;
    /// tree.insert("a", "2")?;
    /// tree.insert("b", "3")?;
    /// tree.remove("b")?;
    /// assert_eq!(tree.len()?, 1);
    /// assert_eq!(tree.approximate_len()?, 2); // each key that a message waits for counts
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a page cannot be read or is damaged, or the operands of a row cannot be merged.
    pub fn len(&self) -> Result<u64> {
        self.iter().try_fold(0, |count, row| row.map(|_| count + 1))
    }

    /// Whether there is no row. Looks for the first one; passes over what was removed.
    ///
    /// # Errors
    /// As for [`Tree::len`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first()?.is_none())
    }

    /// About how many rows there are: those that leaves hold, and for each buffer and memtable the
    /// keys that a message waits for, be it a new row, a change, or a remove. Range deletes that
    /// wait are not looked at. Exact once everything has moved into the leaves
    /// ([`Daemon::drain`](crate::Daemon::drain)) and nobody has been reading older versions.
    ///
    /// No page is read. It looks at every node: those that are not in memory are read, a small read
    /// for each (a leaf of some megabytes has a node of some hundred bytes), and it counts in the
    /// memtables.
    ///
    /// # Errors
    /// When a node cannot be read or is damaged.
    pub fn approximate_len(&self) -> Result<u64> {
        self.check_live()?;
        estimate(self.db().engine(), |tree| tree.id == self.id())
    }
}

impl Database {
    /// About how many rows all trees have together; see [`Tree::approximate_len`].
    ///
    /// # Errors
    /// When a node cannot be read or is damaged.
    pub fn approximate_len(&self) -> Result<u64> {
        estimate(self.engine(), |_| true)
    }
}

/// About how many rows the trees have that are `meant`.
fn estimate(engine: &Engine, meant: impl Fn(&CatalogTree) -> bool) -> Result<u64> {
    engine.check_open()?;
    let (forest, generations) = engine.views.hold();
    let mut rows = 0u64;
    for tree in forest.trees.values().filter(|tree| meant(tree)) {
        let written =
            |one: &Generation| one.runs(tree.id).iter().map(|run| run.rows()).sum::<u64>();
        let waiting = generations.iter().map(|one| keys_in(&one.memtable, tree.id) + written(one));
        rows = waiting.fold(rows, u64::saturating_add);
        rows = rows.saturating_add(rows_below(&engine.table, &tree.top)?);
    }
    Ok(rows)
}

/// The keys of a tree that have a message in a memtable.
fn keys_in(memtable: &Memtable, tree: TreeId) -> u64 {
    let mut cursor = memtable.cursor(tree);
    cursor.seek_first();
    let mut keys = 0;
    while cursor.valid() {
        keys += 1;
        cursor.next_key();
    }
    keys
}

/// The rows that references say there are in an edge's buffer and below.
fn rows_below(table: &Cachetable, edge: &Edge) -> Result<u64> {
    let waiting = edge.buffer().iter().map(|run| run.rows()).fold(0, u64::saturating_add);
    // Held while its children are looked at, so that their handles stay the current ones.
    let resident = table.node(&edge.child)?;
    let below = match &resident.node {
        Node::Leaf(run) => run.rows(),
        Node::Internal(node) => node.edges().iter().try_fold(0u64, |sum, edge| {
            Ok::<_, crate::Error>(sum.saturating_add(rows_below(table, edge)?))
        })?,
    };
    Ok(below.saturating_add(waiting))
}
