//! Where the data lies and where it waits, as a value: for pictures, for text, for programs.
//!
//! ```text
//! Shape   generations, newest first: what waits in memory
//!         trees, by id
//! Tree    top node -> its children -> ... -> leaves
//! Node    what it holds, and the buffer of the edge above it
//! ```
//!
//! Invariants:
//! 1. a node's `subtree_bytes` are its `bytes`, those that wait above it, and the `subtree_bytes`
//!    of its children;
//! 2. a buffer's fill is 100 percent or more just when a flusher would move or gather it.
//!
//! It is taken from one view, so that nothing is in it twice and nothing is missed.

use std::sync::Arc;

use sapwood_cachetable::Cachetable;
use sapwood_flusher::Limits;
use sapwood_flusher::remedy::fill_percent;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Bounds;
use serde::{Serialize, Serializer};

use crate::database::Database;
use crate::error::Result;

/// Memtables and trees at one moment. All bytes are uncompressed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Shape {
    /// What is not in the trees yet, newest first; the first one takes messages.
    pub generations: Vec<GenerationShape>,
    /// Each tree, by id.
    pub trees: Vec<TreeShape>,
}

/// One generation's memtable, of all trees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GenerationShape {
    /// Its number.
    pub id: u64,
    /// Messages that wait in it.
    pub messages: u64,
    /// Their keys and values.
    pub bytes: u64,
}

/// One tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TreeShape {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The node below the top edge.
    pub top: NodeShape,
}

/// A node with what waits above it and what lies below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeShape {
    /// The node's block id.
    pub block: u64,
    /// 0 for a leaf.
    pub height: u8,
    /// The key at which its bounds begin; the empty key for the leftmost nodes.
    #[serde(serialize_with = "escaped")]
    pub lower: Vec<u8>,
    /// The rows of a leaf; 0 for an internal node.
    pub rows: u64,
    /// The bytes of a leaf's rows; 0 for an internal node.
    pub bytes: u64,
    /// How full it is: a leaf by its bytes, an internal node by its edges. Above 100 it is split.
    pub fill_percent: u64,
    /// What waits above it.
    pub buffer: BufferShape,
    /// Rows and waiting messages: its own, those above it, and all below it.
    pub subtree_bytes: u64,
    /// The nodes below it, ascending; none for a leaf.
    pub children: Vec<NodeShape>,
}

/// The buffer of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BufferShape {
    /// The runs that wait.
    pub runs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How much of what makes it move is there, by bytes or by runs, whichever is more. From 100
    /// on it is due.
    pub fill_percent: u64,
}

impl Database {
    /// Where the data lies and where it waits, now. Reads the nodes that are not in memory; reads
    /// no page.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// let db = sapwood::Config::in_memory().open()?;
    /// db.tree("rings")?.insert("2026", "narrow")?;
    /// let shape = db.shape()?;
    /// assert_eq!(shape.trees[0].name, "rings");
    /// let waiting: u64 = shape.generations.iter().map(|generation| generation.messages).sum();
    /// assert_eq!(waiting, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a node cannot be read or is damaged.
    pub fn shape(&self) -> Result<Shape> {
        let engine = self.engine();
        engine.check_open()?;
        let (forest, generations) = engine.views.hold();
        let walk = Walk { table: &engine.table, limits: engine.mover.limits() };
        let trees = forest.trees.values().map(|tree| {
            let top = walk.node(&tree.top, &Bounds::all())?;
            Ok(TreeShape { id: tree.id.to_raw(), name: tree.options.name.clone(), top })
        });
        let trees = trees.collect::<Result<_>>()?;
        let generations = generations.iter().map(|generation| GenerationShape {
            id: generation.id.to_raw(),
            messages: generation.rows(),
            bytes: generation.user_bytes(),
        });
        Ok(Shape { generations: generations.collect(), trees })
    }
}

struct Walk<'a> {
    table: &'a Cachetable,
    limits: &'a Limits,
}

impl Walk<'_> {
    fn node(&self, edge: &Arc<Edge>, bounds: &Bounds) -> Result<NodeShape> {
        let resident = self.table.node(&edge.child)?;
        let mut shape = NodeShape {
            block: edge.child.block().to_raw(),
            height: edge.child.height(),
            lower: bounds.lower.to_vec(),
            ..NodeShape::default()
        };
        match &resident.node {
            Node::Leaf(run) => {
                shape.rows = run.rows();
                shape.bytes = run.bytes();
                shape.fill_percent = percent(run.bytes(), self.limits.leaf_bytes);
            }
            Node::Internal(node) => {
                let edges = node.edges().iter().enumerate();
                let children =
                    edges.map(|(index, edge)| self.node(edge, &node.bounds_of(index, bounds)));
                shape.children = children.collect::<Result<_>>()?;
                let fanout = self.limits.fanout as u64;
                shape.fill_percent = percent(shape.children.len() as u64, fanout);
            }
        }
        shape.buffer = buffer(edge, bounds, self.limits);
        let below = shape.children.iter().map(|child| child.subtree_bytes);
        // Saturating, since the numbers come from disk.
        shape.subtree_bytes =
            below.chain([shape.bytes, shape.buffer.bytes]).fold(0, u64::saturating_add);
        Ok(shape)
    }
}

fn buffer(edge: &Edge, bounds: &Bounds, limits: &Limits) -> BufferShape {
    let (runs, bytes) = (edge.buffer().len() as u64, edge.bytes());
    BufferShape { runs, bytes, fill_percent: fill_percent(edge, bounds, limits) }
}

/// Rounded down, so that 100 means all of it.
fn percent(amount: u64, most: u64) -> u64 {
    let percent = u128::from(amount) * 100 / u128::from(most.max(1));
    u64::try_from(percent).unwrap_or(u64::MAX)
}

fn escaped<S: Serializer>(key: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&key.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Background, Config};
    use sapwood_flusher::remedy::{Need, need};

    fn key(number: u64) -> String {
        format!("key-{:08}", number.wrapping_mul(2_654_435_761) % 100_000_000)
    }

    type Look<'a> = dyn FnMut(&Edge, &NodeShape) + 'a;

    /// Calls `look` with each edge beside its node's shape.
    fn pairs(db: &Database, edge: &Arc<Edge>, shape: &NodeShape, look: &mut Look<'_>) {
        let resident = db.engine().table.node(&edge.child).unwrap();
        look(edge, shape);
        if let Node::Internal(node) = &resident.node {
            assert_eq!(node.edges().len(), shape.children.len());
            for (edge, child) in node.edges().iter().zip(&shape.children) {
                pairs(db, edge, child, look);
            }
        }
    }

    #[test]
    fn a_buffer_is_full_just_when_it_is_due() {
        let config = Config::in_memory().tiny().cache_bytes(256 << 10);
        let db = config.background(Background::Manual).open().unwrap();
        let tree = db.tree("t").unwrap();
        let (mut due, mut waiting, mut height) = (0, 0, 0);
        for number in 0..20_000u64 {
            tree.insert(key(number), format!("value {number}")).unwrap();
            if number % 500 != 0 {
                continue;
            }
            db.maintain(usize::try_from(number % 7).unwrap()).unwrap();
            let shape = db.shape().unwrap();
            let forest = db.engine().views.load().forest.clone();
            let top = forest.trees.values().next().unwrap().top.clone();
            height = height.max(shape.trees[0].top.height);
            pairs(&db, &top, &shape.trees[0].top, &mut |edge, node| {
                let full = node.buffer.fill_percent >= 100;
                let needs = need(edge, &Bounds::all(), db.engine().mover.limits()) != Need::Nothing;
                assert_eq!(full, needs, "{node:?}");
                due += usize::from(full);
                waiting += usize::from(!full && node.buffer.bytes > 0);
            });
        }
        assert!(
            due > 0 && waiting > 0 && height > 1,
            "{due} due, {waiting} waiting, {height} high"
        );
    }

    fn check(node: &NodeShape) -> u64 {
        let below: u64 = node.children.iter().map(check).sum();
        assert_eq!(node.subtree_bytes, below + node.bytes + node.buffer.bytes);
        assert!(node.children.iter().all(|child| child.height + 1 == node.height));
        assert!(node.children.iter().all(|child| child.lower >= node.lower));
        assert!(node.children.is_sorted_by(|left, right| left.lower < right.lower));
        node.subtree_bytes
    }

    #[test]
    fn a_shape_has_the_figures_of_the_statistics() {
        let config = Config::in_memory().tiny().cache_bytes(256 << 10);
        let db = config.background(Background::Manual).open().unwrap();
        let empty = db.shape().unwrap();
        assert!(empty.trees.is_empty());
        assert_eq!(empty.generations.len(), 1);
        let (tree, _other) = (db.tree("t").unwrap(), db.tree("other").unwrap());
        for number in 0..5_000u64 {
            tree.insert(key(number), format!("value {number}")).unwrap();
        }
        while db.maintain(100).unwrap() > 0 {}
        let (shape, stats) = (db.shape().unwrap(), db.stats());
        let names: Vec<_> = shape.trees.iter().map(|tree| tree.name.as_str()).collect();
        assert_eq!(names, ["t", "other"]);
        let debt: u64 = shape.generations.iter().map(|generation| generation.bytes).sum();
        let buffered: u64 = stats.trees.values().map(|tree| tree.buffered_bytes).sum();
        assert_eq!(debt + buffered, stats.debt_bytes);
        let mut nodes = 0;
        let forest = db.engine().views.load().forest.clone();
        let top = forest.trees.values().next().unwrap().top.clone();
        pairs(&db, &top, &shape.trees[0].top, &mut |_, _| nodes += 1);
        assert_eq!(nodes, stats.trees["t"].nodes);
        assert!(check(&shape.trees[0].top) > 0);
        assert_eq!(shape.trees[1].top.subtree_bytes, 0);
    }
}
