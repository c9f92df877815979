//! The ledger under random publications, writes, checkpoints and long-lived readers: after each
//! step the space equation must hold, and no extent that somebody can reach may be handed out
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use sapwood_serialize::segment::{Content, Key, PageSlot, Segment, SegmentFacts, SegmentPlace};
use sapwood_serialize::segment_image::{Directory, PageSummary, SegmentMeta};
use sapwood_serialize::{
    Compression, Filter, MetaPlace, Meter, Op, PageBuilder, SegmentId, Version,
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
    /// The n-th segment of the view leaves it.
    Leave(u8),
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Enter),
        2 => any::<u8>().prop_map(Step::EnterWritten),
        4 => any::<u8>().prop_map(Step::Leave),
        4 => any::<(u8, u8)>().prop_map(|(which, size)| Step::Write(which, size)),
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
    let meta = SegmentMeta { directory: directory.finish(), filter: Filter::build(&[1]) };
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
    /// Older views: their tokens, and the extents that they can read.
    readers: Vec<(Arc<ViewToken>, BTreeMap<u64, u64>)>,
    seen: Vec<Arc<Segment>>,
    list: Option<CutList>,
    /// What recovery would need: the extents of the last checkpoint.
    durable: BTreeMap<u64, u64>,
}

impl World {
    fn new() -> World {
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
        let token = ledger.publish(Change::default());
        let (view, readers, seen) = (Vec::new(), Vec::new(), Vec::new());
        World { ledger, view, token, readers, seen, list: None, durable: BTreeMap::new() }
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
        let readers = self.readers.iter().map(|(_, extents)| extents);
        for extents in readers.chain([&self.durable, &self.reachable()]) {
            for (offset, bytes) in extents {
                let apart = *offset >= extent.end() || offset + bytes <= extent.offset;
                assert!(apart, "an extent that can be reached was handed out again");
            }
        }
        extent
    }

    fn reachable(&self) -> BTreeMap<u64, u64> {
        let places = self.view.iter().filter_map(|segment| segment.place());
        places.map(|place| (place.extent.offset, place.extent.bytes)).collect()
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
                let segment = segment(self.ledger.name_segment());
                let place = place(self.take(size));
                let part = segment.resident().unwrap();
                let pages = part.slots().iter().filter_map(PageSlot::page).collect();
                let part = ResidentSegment::with_pages(part.meta().clone(), pages, Vec::new());
                segment.set_written(place, part);
                self.enter(segment);
            }
            Step::Leave(which) if !self.view.is_empty() => {
                let segment = self.view.remove(usize::from(which) % self.view.len());
                self.publish(Change { left_segments: vec![segment], ..Change::default() });
            }
            Step::Write(which, size) if !self.seen.is_empty() => {
                let segment = self.seen[usize::from(which) % self.seen.len()].clone();
                self.write(&segment, size);
            }
            Step::Hold => self.readers.push((self.token.clone(), self.reachable())),
            Step::LetGo(which) if !self.readers.is_empty() => {
                self.readers.remove(usize::from(which) % self.readers.len());
                self.ledger.reclaim();
            }
            Step::Cut if self.list.is_none() => self.list = Some(self.ledger.cut()),
            Step::Done => {
                if self.finish_writing().is_some() {
                    let (used, _) = self.ledger.captured();
                    self.durable = used.iter().map(|(offset, bytes)| (*offset, *bytes)).collect();
                    self.ledger.checkpoint_done(GenerationId::ZERO);
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
            Step::Leave(_) | Step::Write(..) | Step::LetGo(_) | Step::Cut => {}
        }
    }

    fn enter(&mut self, segment: Arc<Segment>) {
        self.seen.push(segment.clone());
        self.view.push(segment.clone());
        self.publish(Change { buffer_segments: vec![segment], ..Change::default() });
    }
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
            prop_assert_eq!(world.ledger.check(&world.reachable()), Ok(()), "after {:?}", step);
        }
        // With no reader, no view content and two checkpoints, everything is free again.
        world.readers.clear();
        world.step(&Step::Done);
        let left = std::mem::take(&mut world.view);
        world.publish(Change { left_segments: left, ..Change::default() });
        for _ in 0..2 {
            world.step(&Step::Cut);
            world.step(&Step::Done);
        }
        prop_assert_eq!(world.ledger.live_bytes(), 0);
        let kept: u64 = world.durable.values().sum();
        let end = world.ledger.cut_tail();
        let unused = world.ledger.headroom() - ((1 << 30) - end);
        prop_assert_eq!(end - SLOTS_BYTES - unused, kept);
    }
}
