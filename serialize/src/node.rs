//! Nodes, their edges, and the handles by which a view holds them.
//!
//! ```text
//!                pivots[0]      pivots[1]
//!      edges[0]      |  edges[1]    |  edges[2]         key >= pivot goes right
//!   { child, runs }  { child, runs }  { child, runs }   runs oldest to newest
//! ```
//!
//! Invariants, checked by [`Node::check`]:
//! 1. there is one edge more than there are pivots, and at least one edge;
//! 2. pivots strictly ascend;
//! 3. a child is one lower than its parent, and a leaf has height 0;
//! 4. what an edge buffers lies within the edge's bounds, after clipping;
//! 5. overlapping runs of one buffer have disjoint MSN intervals in list order;
//! 6. a leaf's references are unclipped, and it holds no range delete.
//!
//! Nodes are immutable: a change makes a new node and a new handle with the same [`BlockId`].

use std::sync::{Arc, OnceLock};

use crate::block_table_image::NodePlace;
use crate::key_head::KeyHeads;
use crate::run::{Bounds, Run, SegmentRef};
use crate::segment::{Heat, Key, Standing};
use crate::shared::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::shared::{ArcSwapOption, Guard};
use crate::{BlockId, Charge};

/// A rule of a structure that does not hold: a clause, for `verify` and for assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation(pub &'static str);

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// A child and the messages that wait above it.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The child, in the version that this edge's owner sees.
    pub child: Arc<Handle>,
    buffer: Vec<Arc<Run>>,
    bytes: u64,
    /// What readers had to do because of the buffer, in bytes; shared by all versions of the edge
    /// until the buffer moves down. It is not stored.
    work: Arc<AtomicU64>,
}

impl Edge {
    /// An edge to `child` with `buffer`, oldest run first, and no work done on it.
    pub fn new(child: Arc<Handle>, buffer: Vec<Arc<Run>>) -> Edge {
        Edge::with_work(child, buffer, Arc::default())
    }

    fn with_work(child: Arc<Handle>, buffer: Vec<Arc<Run>>, work: Arc<AtomicU64>) -> Edge {
        let bytes = buffer.iter().map(|run| run.bytes()).fold(0, u64::saturating_add);
        Edge { child, buffer, bytes, work }
    }

    /// Charges a reader's work to the buffer, in bytes.
    pub fn charge_work(&self, bytes: u64) {
        self.work.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes of work that readers had because of the buffer since it was last moved.
    pub fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    /// The waiting runs, oldest first.
    pub fn buffer(&self) -> &[Arc<Run>] {
        &self.buffer
    }

    /// The bytes that wait, uncompressed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same buffer above another child (or another version of it).
    #[must_use]
    pub fn with_child(&self, child: Arc<Handle>) -> Edge {
        Edge { child, ..self.clone() }
    }

    /// The same child with `run` appended as the newest.
    #[must_use]
    pub fn with_run(&self, run: Arc<Run>) -> Edge {
        let buffer = self.buffer.iter().cloned().chain([run]).collect();
        Edge::with_work(self.child.clone(), buffer, self.work.clone())
    }

    /// The same child below another buffer of the same messages.
    #[must_use]
    pub fn with_buffer(&self, buffer: Vec<Arc<Run>>) -> Edge {
        Edge::with_work(self.child.clone(), buffer, self.work.clone())
    }

    /// The same child without the `count` oldest runs.
    #[must_use]
    pub fn without_oldest(&self, count: usize) -> Edge {
        Edge::new(self.child.clone(), self.buffer.iter().skip(count).cloned().collect())
    }

    /// The part of the buffer within `bounds`, above another child.
    #[must_use]
    pub fn clip(&self, bounds: &Bounds, child: Arc<Handle>) -> Edge {
        let clip = |run: &Arc<Run>| {
            if run.is_within(bounds) { Some(run.clone()) } else { run.clip(bounds).map(Arc::new) }
        };
        Edge::new(child, self.buffer.iter().filter_map(clip).collect())
    }

    /// Every reference in the buffer.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentRef> {
        self.buffer.iter().flat_map(|run| run.segments())
    }
}

/// One of `pivots`.
fn pivot_of(pivots: &[Key], pivot: usize) -> &[u8] {
    pivots.get(pivot).map_or(&[], |key| &**key)
}

/// A node with children.
#[derive(Clone, Debug)]
pub struct Internal {
    /// One more than the children's height.
    pub height: u8,
    pivots: Arc<[Key]>,
    /// Those of the pivots.
    heads: KeyHeads,
    edges: Vec<Arc<Edge>>,
}

impl Internal {
    /// A node with `edges` between `pivots`.
    pub fn new(height: u8, pivots: impl Into<Arc<[Key]>>, edges: Vec<Arc<Edge>>) -> Internal {
        let node = Internal::unchecked(height, pivots, edges);
        debug_assert_eq!(node.check(), Ok(()));
        node
    }

    /// A node that may break every rule, for tests of those who look for that.
    #[doc(hidden)]
    pub fn unchecked(height: u8, pivots: impl Into<Arc<[Key]>>, edges: Vec<Arc<Edge>>) -> Internal {
        let pivots: Arc<[Key]> = pivots.into();
        let heads = KeyHeads::of(pivots.len(), |pivot| pivot_of(&pivots, pivot));
        Internal { height, pivots, heads, edges }
    }

    /// The keys between the edges.
    pub fn pivots(&self) -> &[Key] {
        &self.pivots
    }

    /// The edges, ascending.
    pub fn edges(&self) -> &[Arc<Edge>] {
        &self.edges
    }

    /// Which edge `key` belongs to.
    pub fn index_of(&self, key: &[u8]) -> usize {
        self.heads.count_up_to(key, |pivot| pivot_of(&self.pivots, pivot))
    }

    /// Edge `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn edge(&self, index: usize) -> &Arc<Edge> {
        self.edges.get(index).expect("the index came from this node")
    }

    /// The bounds of edge `index` in a node with `bounds`.
    pub fn bounds_of(&self, index: usize, bounds: &Bounds) -> Bounds {
        let lower = index.checked_sub(1).and_then(|left| self.pivots.get(left));
        Bounds {
            lower: lower.unwrap_or(&bounds.lower).clone(),
            upper: self.pivots.get(index).or(bounds.upper.as_ref()).cloned(),
        }
    }

    /// The node with `edges[from..to]` replaced by `edges`, separated by `pivots`.
    #[must_use]
    pub fn splice(
        &self,
        from: usize,
        to: usize,
        pivots: &[Key],
        edges: Vec<Arc<Edge>>,
    ) -> Internal {
        debug_assert_eq!(pivots.len() + 1, edges.len());
        let left = self.pivots.iter().take(from);
        let right = self.pivots.iter().skip(to.saturating_sub(1));
        let pivots: Arc<[Key]> = left.chain(pivots).chain(right).cloned().collect();
        let left = self.edges.iter().take(from).cloned();
        let right = self.edges.iter().skip(to).cloned();
        Internal::new(self.height, pivots, left.chain(edges).chain(right).collect())
    }

    /// The node as two: the first `at` edges, the pivot behind them, and the rest.
    ///
    /// # Panics
    /// When one side would have no edge.
    pub fn split_at(&self, at: usize) -> (Internal, Key, Internal) {
        let (left, right) = self.edges.split_at(at);
        let (low, high) = self.pivots.split_at(at - 1);
        let (pivot, high) = high.split_first().expect("a split leaves edges on both sides");
        let left = Internal::new(self.height, low.to_vec(), left.to_vec());
        (left, pivot.clone(), Internal::new(self.height, high.to_vec(), right.to_vec()))
    }

    /// The node without its last edge; `None` when it has no other.
    #[must_use]
    pub fn without_last(&self) -> Option<Internal> {
        let ((_, edges), (_, pivots)) = (self.edges.split_last()?, self.pivots.split_last()?);
        Some(Internal::new(self.height, pivots, edges.to_vec()))
    }

    /// The node with one edge replaced by another to the same stretch of keys.
    #[must_use]
    pub fn with_edge(&self, index: usize, edge: Arc<Edge>) -> Internal {
        let mut edges = self.edges.clone();
        *edges.get_mut(index).expect("the index came from this node") = edge;
        let (pivots, heads) = (self.pivots.clone(), self.heads.clone());
        Internal { height: self.height, pivots, heads, edges }
    }

    fn check(&self) -> Result<(), Violation> {
        if self.edges.len() != self.pivots.len() + 1 {
            return Err(Violation("a node has not one edge more than pivots"));
        }
        if self.pivots.windows(2).any(|pair| matches!(pair, [a, b] if a >= b)) {
            return Err(Violation("the pivots of a node do not strictly ascend"));
        }
        if self.edges.iter().any(|edge| edge.child.height() + 1 != self.height) {
            return Err(Violation("a child is not one lower than its parent"));
        }
        Ok(())
    }

    fn check_buffers(&self, bounds: &Bounds) -> Result<(), Violation> {
        for (index, edge) in self.edges.iter().enumerate() {
            check_buffer(edge, &self.bounds_of(index, bounds))?;
        }
        Ok(())
    }
}

/// Checks that a buffer lies within its edge's `bounds`, and that its runs are in MSN order.
pub fn check_buffer(edge: &Edge, bounds: &Bounds) -> Result<(), Violation> {
    for run in edge.buffer() {
        run.check()?;
        if !run.is_within(bounds) {
            return Err(Violation("a buffered run reaches beyond its edge"));
        }
    }
    for (index, newer) in edge.buffer().iter().enumerate() {
        for older in edge.buffer().iter().take(index) {
            if older.newest() >= newer.oldest() && older.overlaps(newer) {
                return Err(Violation("overlapping runs of a buffer are not in MSN order"));
            }
        }
    }
    Ok(())
}

/// A node: what an image on disk says, with handles where the image names blocks.
#[derive(Clone, Debug)]
pub enum Node {
    /// Pivots and edges.
    Internal(Internal),
    /// The rows themselves.
    Leaf(Run),
}

impl Node {
    /// 0 for a leaf.
    pub fn height(&self) -> u8 {
        match self {
            Node::Internal(node) => node.height,
            Node::Leaf(_) => 0,
        }
    }

    /// Every reference to a segment, a shared segment once for each.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentRef> {
        let (edges, run) = match self {
            Node::Internal(node) => (node.edges(), None),
            Node::Leaf(run) => (&[][..], Some(run)),
        };
        edges.iter().flat_map(|edge| edge.segments()).chain(run.into_iter().flat_map(Run::segments))
    }

    /// The bytes that the node itself takes in memory, roughly.
    pub fn memory(&self) -> usize {
        const EDGE: usize = size_of::<Edge>() + size_of::<Handle>() + size_of::<Image>() + 96;
        const SEGMENT: usize = size_of::<SegmentRef>() + 320;
        let deletes = |edge: &Arc<Edge>| -> u64 {
            edge.buffer.iter().map(|run| run.tombstones().bytes()).sum()
        };
        let edges = match self {
            Node::Internal(node) => {
                let deletes: u64 = node.edges.iter().map(deletes).sum();
                node.edges.len() * EDGE + usize::try_from(deletes).unwrap_or(usize::MAX / 2)
            }
            Node::Leaf(_) => 0,
        };
        edges + self.segments().count() * SEGMENT + size_of::<Node>()
    }

    /// Checks the invariants of the module's head for a node with `bounds`.
    pub fn check(&self, bounds: &Bounds) -> Result<(), Violation> {
        match self {
            Node::Internal(node) => {
                node.check()?;
                let inside = |pivot: &Key| bounds.contains(pivot) && **pivot > *bounds.lower;
                if !node.pivots.iter().all(inside) {
                    return Err(Violation("a pivot lies outside its node's bounds"));
                }
                node.check_buffers(bounds)
            }
            Node::Leaf(run) => {
                run.check()?;
                if !run.is_within(bounds) {
                    return Err(Violation("a leaf reaches beyond its bounds"));
                }
                if !run.tombstones().is_empty() {
                    return Err(Violation("a leaf holds a range delete"));
                }
                if run.segments().iter().any(SegmentRef::is_clipped) {
                    return Err(Violation("a leaf's reference to a segment is clipped"));
                }
                Ok(())
            }
        }
    }
}

/// What a node looks like on disk: written or not. Handles whose nodes would be written as the same
/// bytes share one.
#[derive(Debug, Default)]
pub struct Image {
    place: OnceLock<NodePlace>,
    standing: Standing,
}

impl Image {
    /// An image that lies at `place`.
    pub fn written(place: NodePlace) -> Image {
        Image { place: place.into(), standing: Standing::default() }
    }

    /// Where it lies; `None` while it was not written.
    pub fn place(&self) -> Option<NodePlace> {
        self.place.get().copied()
    }

    /// Records that it was written to `place`.
    ///
    /// # Panics
    /// When it was written before.
    pub fn set_written(&self, place: NodePlace) {
        assert!(self.place.set(place).is_ok(), "an image is written once");
    }

    /// Its standing in the view and in checkpoints.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }
}

/// One version of one node: resident or not, and where its image lies.
#[derive(Debug)]
pub struct Handle {
    block: BlockId,
    height: u8,
    node: ArcSwapOption<ResidentNode>,
    image: Arc<Image>,
    superseded: AtomicBool,
}

/// A node in memory.
#[derive(Debug)]
pub struct ResidentNode {
    /// The node.
    pub node: Node,
    /// How recently it was used.
    pub heat: Heat,
    _charge: Charge,
}

impl ResidentNode {
    /// A node with its charge.
    pub fn new(node: Node, charge: Charge) -> ResidentNode {
        ResidentNode { node, heat: Heat::default(), _charge: charge }
    }
}

impl Handle {
    /// A node in memory whose image is `image`.
    pub fn resident(block: BlockId, node: ResidentNode, image: Arc<Image>) -> Handle {
        let height = node.node.height();
        let node = ArcSwapOption::from_pointee(node);
        Handle { block, height, node, image, superseded: AtomicBool::new(false) }
    }

    /// A node of `height` that lies on disk.
    pub fn on_disk(block: BlockId, height: u8, place: NodePlace) -> Handle {
        let image = Arc::new(Image::written(place));
        let node = ArcSwapOption::empty();
        Handle { block, height, node, image, superseded: AtomicBool::new(false) }
    }

    /// The node's name.
    pub fn block(&self) -> BlockId {
        self.block
    }

    /// The node's height; 0 for a leaf.
    pub fn height(&self) -> u8 {
        self.height
    }

    /// The node, if it is in memory.
    pub fn node(&self) -> Option<Arc<ResidentNode>> {
        self.node.load_full()
    }

    /// Like [`Handle::node`], without touching the reference count.
    pub fn peek(&self) -> Guard<Option<Arc<ResidentNode>>> {
        self.node.load()
    }

    /// Puts a node that was read from disk into memory; the first one to do so wins.
    pub fn fetched(&self, node: Arc<ResidentNode>) -> Arc<ResidentNode> {
        let before = self.node.compare_and_swap(&None::<Arc<ResidentNode>>, Some(node.clone()));
        (*before).clone().unwrap_or(node)
    }

    /// Whether somebody holds the node, as far as can be told without waiting.
    pub fn is_pinned(&self) -> bool {
        // One is the handle's own, one is this look's.
        self.node().is_some_and(|node| Arc::strong_count(&node) > 2)
    }

    /// Lets the node go. For an internal node: under the publish mutex, see `Handle::superseded`.
    ///
    /// # Panics
    /// When it could not be read again.
    pub fn evict(&self) {
        assert!(self.image.place().is_some(), "only a written node can be evicted");
        self.node.store(None);
    }

    /// The node's image.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// Whether the current view holds another version. An internal node in that state stays
    /// resident: read again it would find its children's later images.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// Records, under the publish mutex, that the current view holds another version.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_table_image::NodePlace;
    use crate::run::Bounds;
    use crate::segment::{Content, Segment, SegmentFacts, SegmentPlace};
    use crate::{Extent, MetaPlace, Msn, SegmentId};

    fn key(text: &str) -> Key {
        Key::from(text.as_bytes())
    }

    fn run(first: &str, last: &str, oldest: u64, newest: u64) -> Arc<Run> {
        let id = SegmentId::from_raw(1);
        let (first, last) = (key(first), key(last));
        let facts = SegmentFacts { id, first, last, rows: 1, bytes: 1, content: Content::Plain };
        let extent = Extent { offset: 8192, bytes: 4096 };
        let meta = MetaPlace { offset: 0, bytes: 1, checksum: 0 };
        let segment = Arc::new(Segment::written(facts, SegmentPlace { extent, meta }));
        let part = SegmentRef::whole(segment, Msn::from_raw(oldest));
        Arc::new(Run::new(vec![part], Msn::from_raw(oldest), Msn::from_raw(newest)))
    }

    fn edge(height: u8, buffer: Vec<Arc<Run>>) -> Arc<Edge> {
        let extent = Extent { offset: 8192, bytes: 4096 };
        let place = NodePlace { extent, bytes: 1, checksum: 0 };
        let child = Arc::new(Handle::on_disk(BlockId::from_raw(1), height, place));
        Arc::new(Edge::new(child, buffer))
    }

    /// A node that nobody has checked.
    fn node(pivots: &[&str], edges: Vec<Arc<Edge>>) -> Node {
        let pivots: Vec<Key> = pivots.iter().map(|pivot| key(pivot)).collect();
        Node::Internal(Internal::unchecked(1, pivots, edges))
    }

    fn bounds() -> Bounds {
        Bounds { lower: key("c"), upper: Some(key("t")) }
    }

    #[test]
    fn each_broken_invariant_is_found_and_named() {
        let calm = || edge(0, Vec::new());
        let check = |node: Node| node.check(&bounds()).map_err(|broken| broken.0);
        assert_eq!(check(node(&["g"], vec![calm(), calm()])), Ok(()));
        let count = Err("a node has not one edge more than pivots");
        assert_eq!(check(node(&["g"], vec![calm()])), count);
        let order = Err("the pivots of a node do not strictly ascend");
        assert_eq!(check(node(&["g", "g"], vec![calm(), calm(), calm()])), order);
        let height = Err("a child is not one lower than its parent");
        assert_eq!(check(node(&["g"], vec![calm(), edge(1, Vec::new())])), height);
        let outside = Err("a pivot lies outside its node's bounds");
        assert_eq!(check(node(&["b"], vec![calm(), calm()])), outside);
        assert_eq!(check(node(&["c"], vec![calm(), calm()])), outside);
        let beyond = Err("a buffered run reaches beyond its edge");
        let wide = edge(0, vec![run("d", "h", 1, 2)]);
        assert_eq!(check(node(&["g"], vec![wide, calm()])), beyond);
        let swapped = edge(0, vec![run("d", "e", 5, 9), run("e", "f", 1, 5)]);
        let msn_order = Err("overlapping runs of a buffer are not in MSN order");
        assert_eq!(check(node(&["g"], vec![swapped, calm()])), msn_order);
        let apart = edge(0, vec![run("d", "d", 5, 9), run("e", "f", 1, 5)]);
        assert_eq!(check(node(&["g"], vec![apart, calm()])), Ok(()));
    }

    #[test]
    fn a_leaf_holds_unclipped_references_within_its_bounds() {
        let check = |run: &Run| Node::Leaf(run.clone()).check(&bounds()).map_err(|broken| broken.0);
        assert_eq!(check(&run("c", "s", 1, 2)), Ok(()));
        assert_eq!(check(&run("b", "s", 1, 2)), Err("a leaf reaches beyond its bounds"));
        assert_eq!(check(&run("c", "t", 1, 2)), Err("a leaf reaches beyond its bounds"));
        let clipped = run("a", "s", 1, 2).clip(&bounds()).unwrap_or_default();
        assert_eq!(check(&clipped), Err("a leaf's reference to a segment is clipped"));
    }

    #[test]
    fn a_splice_replaces_edges_and_the_pivots_between() {
        let calm = || edge(0, Vec::new());
        let pivots: Vec<Key> = ["e", "h", "m"].into_iter().map(key).collect();
        let node = Internal::new(1, pivots, vec![calm(), calm(), calm(), calm()]);
        let names = |node: &Internal| {
            node.pivots().iter().map(|pivot| pivot.escape_ascii().to_string()).collect::<String>()
        };
        let split = node.splice(1, 2, &[key("f"), key("g")], vec![calm(), calm(), calm()]);
        assert_eq!((names(&split).as_str(), split.edges().len()), ("efghm", 6));
        let merged = node.splice(0, 2, &[], vec![calm()]);
        assert_eq!((names(&merged).as_str(), merged.edges().len()), ("hm", 3));
        let last = node.splice(2, 4, &[], vec![calm()]);
        assert_eq!((names(&last).as_str(), last.edges().len()), ("eh", 3));
    }
}
