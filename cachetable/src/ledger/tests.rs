//! The ledger under random publications, writes, checkpoints and long-lived readers: after each
//! step the space equation must hold, and no extent that somebody can reach may be handed out
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sapwood_serialize::block_table_image::NodePlace;
use sapwood_serialize::node::{Edge, Handle, Image, Internal, Node, ResidentNode};
use sapwood_serialize::run::Run;
use sapwood_serialize::segment::{Content, Key, PageSlot, Segment, SegmentFacts, SegmentPlace};
use sapwood_serialize::segment_image::{Directory, PageSummary, SegmentMeta};
use sapwood_serialize::superblock::SLOTS_BYTES;
use sapwood_serialize::{
    Compression, Filter, KeyBits, MetaPlace, Meter, Op, PageBuilder, SegmentId, Version,
};

use super::*;
use crate::allocator::Allocator;

/// What can happen.
#[derive(Clone, Debug)]
enum Step {
    /// A new segment enters the view, unwritten.
    Enter,
    /// A job writes a segment before it enters.
    EnterWritten(u8),
    /// The same, and the log names what was written.
    EnterLogged(u8),
    /// The n-th segment of the view comes to lie in a leaf.
    Settle(u8),
    /// The n-th segment of the view leaves it.
    Leave(u8),
    Node(NodeStep),
    /// Somebody writes the n-th unwritten segment that he once saw, whatever became of it.
    Write(u8, u8),
    /// A reader keeps the current view; the n-th reader lets go.
    Hold,
    LetGo(u8),
    /// A checkpoint begins; it ends (or is given up) after writing its list.
    Cut,
    Done,
    Abandon,
    /// A job reserves and gives back.
    Waste(u8),
}

/// What can happen to nodes.
#[derive(Clone, Debug)]
enum NodeStep {
    Enter,
    /// The n-th node of the view gets a new image, or a new handle with the old one.
    Change(u8),
    Copy(u8),
    Remove(u8),
    /// Somebody writes the n-th unwritten node that he once saw.
    Write(u8, u8),
}

fn node_steps() -> impl Strategy<Value = NodeStep> {
    prop_oneof![
        2 => Just(NodeStep::Enter),
        2 => any::<u8>().prop_map(NodeStep::Change),
        1 => any::<u8>().prop_map(NodeStep::Copy),
        1 => any::<u8>().prop_map(NodeStep::Remove),
        3 => any::<(u8, u8)>().prop_map(|(which, size)| NodeStep::Write(which, size)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Enter),
        2 => any::<u8>().prop_map(Step::EnterWritten),
        1 => any::<u8>().prop_map(Step::EnterLogged),
        1 => any::<u8>().prop_map(Step::Settle),
        4 => any::<u8>().prop_map(Step::Leave),
        4 => any::<(u8, u8)>().prop_map(|(which, size)| Step::Write(which, size)),
        9 => node_steps().prop_map(Step::Node),
        2 => Just(Step::Hold),
        2 => any::<u8>().prop_map(Step::LetGo),
        2 => Just(Step::Cut),
        2 => Just(Step::Done),
        1 => Just(Step::Abandon),
        1 => any::<u8>().prop_map(Step::Waste),
    ];
    proptest::collection::vec(step, 1..120)
}

fn segment(id: SegmentId) -> Arc<Segment> {
    let mut builder = PageBuilder::new();
    builder.push(b"key", &[Version { msn: 0, op: Op::Put(b"value") }]);
    let page = builder.finish();
    let mut directory = Directory::builder();
    let summary = PageSummary { rows: 1, raw_bytes: u32::try_from(page.bytes()).unwrap() };
    directory.push(b"key", b"key", &summary);
    let meta =
        SegmentMeta { directory: directory.finish(), filter: Filter::build(&[1], KeyBits::LEAF) };
    let (first, last) = (Key::from(&b"key"[..]), Key::from(&b"key"[..]));
    let facts = SegmentFacts { id, first, last, rows: 1, bytes: 9, content: Content::Plain };
    let part =
        ResidentSegment::with_pages(meta, vec![Arc::new(page)], vec![Meter::new().charge(1)]);
    Arc::new(Segment::built(facts, part, Compression::Lz4, None))
}

struct World {
    ledger: Ledger,
    view: Vec<Arc<Segment>>,
    token: Arc<ViewToken>,
    /// Older views: their tokens, and the segments that they can read.
    readers: Vec<(Arc<ViewToken>, Vec<Arc<Segment>>)>,
    seen: Vec<Arc<Segment>>,
    nodes: Vec<Arc<Handle>>,
    seen_nodes: Vec<Arc<Handle>>,
    list: Option<CutList>,
    /// What recovery would need: the extents of the last checkpoint.
    durable: BTreeMap<u64, u64>,
    /// What the log names, and in which file.
    logged: Vec<(Extent, GenerationId)>,
    /// The log file of now, and the first one that the checkpoint in progress needs.
    generation: GenerationId,
    first: GenerationId,
}

/// The ledger of a database that was just made.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new(Opened {
        allocator: Allocator::new(SLOTS_BYTES),
        file_bytes: 1 << 30,
        checkpointed: UsedSet::new(),
        tables: Vec::new(),
        logged: Vec::new(),
        table: BlockTable::new(),
        next_block: BlockId::from_raw(1),
        next_segment: SegmentId::from_raw(1),
    });
    ledger.set_backed_bytes(1 << 30);
    ledger
}

impl World {
    fn new() -> World {
        let mut ledger = ledger();
        let token = ledger.publish(Change::default());
        World {
            ledger,
            view: Vec::new(),
            token,
            readers: Vec::new(),
            seen: Vec::new(),
            nodes: Vec::new(),
            seen_nodes: Vec::new(),
            list: None,
            durable: BTreeMap::new(),
            logged: Vec::new(),
            generation: GenerationId::ZERO,
            first: GenerationId::ZERO,
        }
    }

    fn write(&mut self, segment: &Arc<Segment>, size: u8) {
        if segment.place().is_some() {
            return;
        }
        let extent = self.take(size);
        let place = place(extent);
        let part = segment.resident().unwrap();
        let pages = part.slots().iter().filter_map(PageSlot::page).collect();
        let part = ResidentSegment::with_pages(part.meta().clone(), pages, Vec::new());
        self.ledger.segment_written(segment, place, part);
    }

    /// Reserves an extent and checks that nobody can reach it.
    fn take(&mut self, size: u8) -> Extent {
        let extent = self.ledger.reserve(u64::from(size) * 1000 + 1).unwrap();
        let mut reached = self.reachable();
        reached.extend(&self.durable);
        reached.extend(self.readers.iter().flat_map(|(_, segments)| extents(segments)));
        reached.extend(self.logged.iter().map(|(named, _)| (named.offset, named.bytes)));
        for (offset, bytes) in reached {
            let apart = offset >= extent.end() || offset + bytes <= extent.offset;
            assert!(apart, "an extent that can be reached was handed out again");
        }
        extent
    }

    fn reachable(&self) -> BTreeMap<u64, u64> {
        let places = self.nodes.iter().filter_map(|node| node.image().place());
        let nodes = places.map(|place| (place.extent.offset, place.extent.bytes));
        extents(&self.view).chain(nodes).collect()
    }

    fn write_node(&mut self, handle: &Arc<Handle>, size: u8) {
        if handle.image().place().is_none() {
            let extent = self.take(size);
            self.ledger.node_written(handle, NodePlace { extent, bytes: 1, checksum: 0 });
        }
    }

    /// A node takes the place of the n-th one of the view.
    fn replace_node(
        &mut self,
        which: u8,
        image: impl Fn(&Handle) -> Arc<Image>,
    ) -> [Arc<Handle>; 2] {
        let at = usize::from(which) % self.nodes.len();
        let new = internal(self.nodes[at].block(), image(&self.nodes[at]));
        self.seen_nodes.push(new.clone());
        [std::mem::replace(&mut self.nodes[at], new.clone()), new]
    }

    /// What the ledger knows of the nodes of the view.
    fn check_nodes(&mut self) {
        for node in self.nodes.clone() {
            if let Some(place) = node.image().place() {
                assert_eq!(self.ledger.place_of(node.block()), Some(place));
                let known = self.ledger.handle_of(node.block(), 1).unwrap();
                assert!(Arc::ptr_eq(&known, &node), "a node of the view has two handles");
            }
        }
    }

    fn publish(&mut self, change: Change) {
        self.token = self.ledger.publish(change);
    }

    fn finish_writing(&mut self) -> Option<CutList> {
        let list = self.list.take()?;
        for segment in &list.segments {
            self.write(segment, 3);
        }
        for segment in &list.segments {
            assert!(segment.place().is_some(), "a captured segment must have been written");
        }
        for node in &list.nodes {
            self.write_node(node, 2);
        }
        let (_, table) = self.ledger.captured();
        for node in &list.nodes {
            assert_eq!(table.get(&node.block()), node.image().place().as_ref());
        }
        let table = self.take(1);
        self.ledger.own_table(table);
        Some(list)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Enter => {
                let segment = segment(self.ledger.name_segment());
                self.enter(segment);
            }
            Step::EnterWritten(size) => {
                let extent = self.take(size);
                self.enter_written(extent);
            }
            Step::EnterLogged(size) => {
                let extent = self.take(size);
                self.ledger.name_in_log(&[extent], self.generation);
                self.logged.push((extent, self.generation));
                self.enter_written(extent);
            }
            Step::Settle(which) if !self.view.is_empty() => {
                let segment = self.view[usize::from(which) % self.view.len()].clone();
                self.publish(Change { leaf_segments: vec![segment], ..Change::default() });
            }
            Step::Leave(which) if !self.view.is_empty() => {
                let segment = self.view.remove(usize::from(which) % self.view.len());
                self.publish(Change { left_segments: vec![segment], ..Change::default() });
            }
            Step::Write(which, size) if !self.seen.is_empty() => {
                let segment = self.seen[usize::from(which) % self.seen.len()].clone();
                self.write(&segment, size);
            }
            Step::Node(ref step) => self.step_node(step),
            Step::Hold => self.readers.push((self.token.clone(), self.view.clone())),
            Step::LetGo(which) if !self.readers.is_empty() => {
                self.readers.remove(usize::from(which) % self.readers.len());
                self.ledger.reclaim();
            }
            Step::Cut if self.list.is_none() => {
                self.generation = self.generation.next();
                self.first = self.generation;
                self.list = Some(self.ledger.cut());
            }
            Step::Done => {
                if self.finish_writing().is_some() {
                    let (used, _) = self.ledger.captured();
                    self.durable = used.iter().map(|(offset, bytes)| (*offset, *bytes)).collect();
                    self.ledger.checkpoint_done(self.first);
                    self.logged.retain(|(_, generation)| *generation >= self.first);
                }
            }
            Step::Abandon => {
                if self.finish_writing().is_some() {
                    self.ledger.checkpoint_abandoned();
                }
            }
            Step::Waste(size) => {
                let extent = self.take(size);
                self.ledger.give_back(extent);
            }
            Step::Leave(_) | Step::Settle(_) | Step::Write(..) | Step::LetGo(_) | Step::Cut => {}
        }
    }

    fn step_node(&mut self, step: &NodeStep) {
        match *step {
            NodeStep::Enter => {
                let node = internal(self.ledger.name_block(), Arc::default());
                self.nodes.push(node.clone());
                self.seen_nodes.push(node.clone());
                self.publish(Change { nodes: vec![node], ..Change::default() });
            }
            NodeStep::Change(which) if !self.nodes.is_empty() => {
                let [old, new] = self.replace_node(which, |_| Arc::default());
                let (nodes, left_nodes, replaced) = (vec![new], vec![old.clone()], vec![old]);
                self.publish(Change { nodes, left_nodes, replaced, ..Change::default() });
            }
            NodeStep::Copy(which) if !self.nodes.is_empty() => {
                let [old, new] = self.replace_node(which, |old| old.image().clone());
                let (copied_nodes, replaced) = (vec![new], vec![old]);
                self.publish(Change { copied_nodes, replaced, ..Change::default() });
            }
            NodeStep::Remove(which) if !self.nodes.is_empty() => {
                let node = self.nodes.remove(usize::from(which) % self.nodes.len());
                let (removed, left_nodes) = (vec![node.block()], vec![node.clone()]);
                let replaced = vec![node.clone()];
                self.publish(Change { removed, left_nodes, replaced, ..Change::default() });
                assert_eq!(self.ledger.place_of(node.block()), None);
            }
            NodeStep::Write(which, size) if !self.seen_nodes.is_empty() => {
                let node = self.seen_nodes[usize::from(which) % self.seen_nodes.len()].clone();
                self.write_node(&node, size);
            }
            NodeStep::Change(_) | NodeStep::Copy(_) | NodeStep::Remove(_) | NodeStep::Write(..) => {
            }
        }
    }

    fn enter_written(&mut self, extent: Extent) {
        let segment = segment(self.ledger.name_segment());
        let part = segment.resident().unwrap();
        let pages = part.slots().iter().filter_map(PageSlot::page).collect();
        let part = ResidentSegment::with_pages(part.meta().clone(), pages, Vec::new());
        segment.set_written(place(extent), part);
        self.enter(segment);
    }

    fn enter(&mut self, segment: Arc<Segment>) {
        self.seen.push(segment.clone());
        self.view.push(segment.clone());
        self.publish(Change { buffer_segments: vec![segment], ..Change::default() });
    }
}

/// An internal node of one edge.
fn internal(block: BlockId, image: Arc<Image>) -> Arc<Handle> {
    let resident = |node| ResidentNode::new(node, Meter::new().charge(1));
    let leaf = resident(Node::Leaf(Run::default()));
    let leaf = Arc::new(Handle::resident(BlockId::from_raw(1 << 40), leaf, Arc::default()));
    let node = Internal::new(1, Vec::new(), vec![Arc::new(Edge::new(leaf, Vec::new()))]);
    Arc::new(Handle::resident(block, resident(Node::Internal(node)), image))
}

fn extents(segments: &[Arc<Segment>]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let places = segments.iter().filter_map(|segment| segment.place());
    places.map(|place| (place.extent.offset, place.extent.bytes))
}

fn place(extent: Extent) -> SegmentPlace {
    SegmentPlace { extent, meta: MetaPlace { offset: 0, bytes: 1, checksum: 0 } }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn space_has_one_owner_and_none_is_lost(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            let (ledger, reachable) = (&world.ledger, world.reachable());
            prop_assert_eq!(ledger.check(&reachable), Ok(()), "after {:?}", step);
            prop_assert_eq!(ledger.live_bytes(), reachable.values().sum::<u64>());
            let unwritten = || world.view.iter().filter(|segment| segment.place().is_none());
            let (segments, bytes) = (unwritten().count(), unwritten().map(|one| one.facts().bytes));
            prop_assert_eq!(ledger.unwritten_bytes(), bytes.sum::<u64>(), "after {:?}", step);
            prop_assert!(ledger.next_leaf_to_write(ledger.unwritten_bytes()).is_none());
            let nodes = world.nodes.iter().filter(|node| node.image().place().is_none()).count();
            prop_assert_eq!(ledger.unwritten(), segments + nodes, "after {:?}", step);
            prop_assert_eq!(ledger.next_to_write().is_some(), segments > 0);
            world.check_nodes();
        }
        // With no reader, no view content and two checkpoints, everything is free again.
        world.readers.clear();
        world.step(&Step::Done);
        let left = std::mem::take(&mut world.view);
        world.publish(Change { left_segments: left, ..Change::default() });
        while !world.nodes.is_empty() {
            world.step_node(&NodeStep::Remove(0));
        }
        for _ in 0..2 {
            world.step(&Step::Cut);
            world.step(&Step::Done);
        }
        prop_assert_eq!(world.ledger.live_bytes(), 0);
        let kept: u64 = world.durable.values().sum();
        let end = world.ledger.cut_tail();
        let unused = world.ledger.headroom();
        prop_assert_eq!(end - SLOTS_BYTES - unused, kept);
    }
}

/// What was read names an extent twice: it may be somebody else's by now, so nothing more is
/// written.
#[test]
fn an_extent_that_leaves_twice_ends_all_writing() {
    let mut world = World::new();
    world.step(&Step::EnterWritten(1));
    let segment = world.view[0].clone();
    let left = || Change { left_segments: vec![segment.clone()], ..Change::default() };
    world.publish(left());
    assert!(world.ledger.poison().check().is_ok());
    world.publish(left());
    assert!(world.ledger.poison().check().is_err());
}

/// The check finds what it is there for.
#[test]
fn lost_and_twice_owned_space_is_found() {
    let sound = || {
        let mut world = World::new();
        [Step::EnterWritten(1), Step::EnterLogged(1)].iter().for_each(|step| world.step(step));
        world
    };
    let world = sound();
    assert_eq!(world.ledger.check(&world.reachable()), Ok(()));
    assert!(world.ledger.check(&BTreeMap::new()).is_err(), "not reached");
    let mut lost = sound();
    lost.ledger.used.clear();
    assert!(lost.ledger.check(&BTreeMap::new()).is_err(), "nobody owns it");
    let mut twice = sound();
    let (offset, bytes) = twice.reachable().into_iter().next().unwrap();
    twice.ledger.allocator.free(Extent { offset, bytes });
    assert!(twice.ledger.check(&twice.reachable()).is_err(), "used and free");
}

/// Three threads each had a second copy of a value of an eighth of the cache on its way to disk.
#[test]
fn what_is_large_is_written_one_at_a_time() {
    let mut ledger = ledger();
    let [first, second, little] = [(); 3].map(|()| Standing::default());
    let large = |standing| Writable { standing, is_large: true };
    let small = Writable { standing: &little, is_large: false };
    assert!(ledger.begin_write(large(&first)));
    assert!(!ledger.begin_write(large(&second)));
    assert!(ledger.begin_write(small) && !ledger.begin_write(small));
    ledger.end_write(small);
    assert!(!ledger.begin_write(large(&second)), "a small one ends nothing large");
    ledger.end_write(large(&first));
    assert!(ledger.begin_write(large(&second)) && !ledger.begin_write(large(&first)));
}
