//! Who owns which stretch of the block file: the state behind the publish mutex.
//!
//! ```text
//!         reserve            publish / install         retire            older views gone
//!   free ----------> reserved ---------------> used ----------> retired ----------------> free
//!                        |                                     ... unless a checkpoint owns it
//!                        '--- give back (an abandoned job) ---> free
//! ```
//!
//! There are three owners: the *current* view, the checkpoint *in progress*, and the *checkpointed*
//! one that recovery would find; and the log, which names what a large commit has written, until a
//! checkpoint has it. Each of the three owns a set of extents (its used-set) and, but for the last,
//! a block table. Both are persistent maps, so that a checkpoint captures them by a clone that
//! costs the same for any size.
//!
//! Invariants, checked by [`Ledger::check`]:
//! 1. an extent is free (or hollow: free, but its space may not be there) if and only if none of
//!    the three owns it, nobody reserved it, the log does not name it, and no live view that is
//!    older than its retirement can reach it;
//! 2. a written segment or image that the current view holds is in the current used-set; one that
//!    is not written is on the unwritten list;
//! 3. being written, the block-table entry and the used-set change in one step.
//!
//! Nothing here can fail, does I/O or takes a lock. What contradicts itself poisons the database.

mod check;
mod hollow;
#[cfg(test)]
mod tests;
mod unwritten;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use sapwood_serialize::block_table_image::NodePlace;
use sapwood_serialize::node::Handle;
use sapwood_serialize::segment::{ResidentSegment, Segment, SegmentPlace, Standing};
use sapwood_serialize::{BlockId, Corruption, Extent, GenerationId, SegmentId};

pub use self::hollow::Lack;
use self::unwritten::Unwritten;
use crate::allocator::Allocator;
use crate::cachetable::BLOCK_FILE;
use crate::fault::Poison;
use crate::versions::Versions;

/// Extents by offset, with their lengths.
pub type UsedSet = OrdMap<u64, u64>;
/// Where the newest written image of each node lies.
pub type BlockTable = OrdMap<BlockId, NodePlace>;

/// Lives as long as somebody holds the view that it came with.
#[derive(Debug)]
pub struct ViewToken(());

/// What a publication adds to the view and takes from it.
#[derive(Debug, Default)]
pub struct Change {
    /// Segments that leaves now own.
    pub leaf_segments: Vec<Arc<Segment>>,
    /// Segments that buffers now own.
    pub buffer_segments: Vec<Arc<Segment>>,
    /// Nodes whose image is new.
    pub nodes: Vec<Arc<Handle>>,
    /// Nodes whose handle is new, while the image stays what it was.
    pub copied_nodes: Vec<Arc<Handle>>,
    /// Segments that nothing in the view refers to any more.
    pub left_segments: Vec<Arc<Segment>>,
    /// Nodes whose image is no longer the view's.
    pub left_nodes: Vec<Arc<Handle>>,
    /// Handles that were replaced, whether their image was or not.
    pub replaced: Vec<Arc<Handle>>,
    /// Names that no node of the view has any more.
    pub removed: Vec<BlockId>,
}

/// What a checkpoint has to write.
#[derive(Debug)]
pub struct CutList {
    /// The checkpoint's number.
    pub number: u64,
    /// Unwritten segments.
    pub segments: Vec<Arc<Segment>>,
    /// Unwritten nodes, children before parents.
    pub nodes: Vec<Arc<Handle>>,
    /// The next node's name.
    pub next_block: BlockId,
    /// The next segment's name.
    pub next_segment: SegmentId,
}

/// An extent that the log names.
#[derive(Clone, Copy, Debug)]
struct Logged {
    bytes: u64,
    /// The generation whose log file names it.
    generation: GenerationId,
    /// Nothing but the log needs it any more.
    is_left: bool,
}

#[derive(Debug)]
struct Cut {
    number: u64,
    used: UsedSet,
    table: BlockTable,
}

/// The state behind the publish mutex; see the module's head.
pub struct Ledger {
    poison: Arc<Poison>,
    allocator: Allocator,
    file_bytes: u64,
    /// Between the allocator's end and here, the file has the space that it seems to have. A crash
    /// may have left less.
    backed_bytes: u64,
    used: UsedSet,
    table: BlockTable,
    versions: Versions,
    in_progress: Option<Cut>,
    checkpointed: UsedSet,
    /// Extents that a record of the log names, by offset: a recovery would read them.
    logged: BTreeMap<u64, Logged>,
    reserved: BTreeMap<u64, u64>,
    retired: VecDeque<(u64, Extent)>,
    /// The extents in `retired`.
    waiting: BTreeMap<u64, u64>,
    views: VecDeque<(u64, Weak<ViewToken>)>,
    view: u64,
    unwritten: Unwritten,
    /// Whether something large is being written.
    is_writing_large: bool,
    checkpoints: u64,
    next_block: BlockId,
    next_segment: SegmentId,
}

/// Something that one thread is to write.
#[derive(Clone, Copy, Debug)]
pub struct Writable<'a> {
    /// Where it stands.
    pub standing: &'a Standing,
    /// Of what is large one at a time is written: each has a second copy on its way.
    pub is_large: bool,
}

impl Ledger {
    /// The state after a checkpoint was read: it owns `checkpointed`, of which `tables` belong to
    /// the checkpoint alone. The file has `file_bytes`, and no view exists yet.
    pub fn new(opened: Opened) -> Ledger {
        let mut used = opened.checkpointed.clone();
        for extent in opened.tables {
            used.remove(&extent.offset);
        }
        Ledger {
            poison: Arc::default(),
            backed_bytes: opened.allocator.end(),
            allocator: opened.allocator,
            file_bytes: opened.file_bytes,
            used,
            table: opened.table,
            versions: Versions::default(),
            in_progress: None,
            checkpointed: opened.checkpointed,
            logged: opened.logged.into_iter().map(logged).collect(),
            reserved: BTreeMap::new(),
            retired: VecDeque::new(),
            waiting: BTreeMap::new(),
            views: VecDeque::new(),
            view: 0,
            unwritten: Unwritten::default(),
            is_writing_large: false,
            checkpoints: 0,
            next_block: opened.next_block,
            next_segment: opened.next_segment,
        }
    }

    /// The name of a new node.
    pub fn name_block(&mut self) -> BlockId {
        let block = self.next_block;
        self.next_block = block.next();
        block
    }

    /// The name of a new segment.
    pub fn name_segment(&mut self) -> SegmentId {
        let segment = self.next_segment;
        self.next_segment = segment.next();
        segment
    }

    /// Where the newest written image of `block` lies.
    pub fn place_of(&self, block: BlockId) -> Option<NodePlace> {
        self.table.get(&block).copied()
    }

    /// The handle of the current version of `block`, a node of `height`; `None` when the block
    /// table lacks it.
    pub fn handle_of(&mut self, block: BlockId, height: u8) -> Option<Arc<Handle>> {
        let place = self.place_of(block)?;
        Some(self.versions.handle(block, height, place))
    }

    // ----- space ------------------------------------------------------------------------------

    /// How long the file is.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Up to where the file can be written without asking the system for space, save for what is
    /// hollow.
    pub fn backed_bytes(&self) -> u64 {
        self.backed_bytes
    }

    /// Records that the system has put space behind everything up to `bytes`.
    pub fn set_backed_bytes(&mut self, bytes: u64) {
        self.backed_bytes = bytes;
        self.file_bytes = self.file_bytes.max(bytes);
    }

    /// The space within the file that nothing uses, and that is really there.
    pub fn headroom(&self) -> u64 {
        self.allocator.free_bytes() + self.backed_bytes.saturating_sub(self.allocator.end())
    }

    /// Takes an extent of at least `bytes`, or says what has to be there first.
    pub fn reserve(&mut self, bytes: u64) -> Result<Extent, Lack> {
        let extent = self.allocator.allocate(bytes);
        if extent.end() > self.backed_bytes {
            self.allocator.free(extent);
            self.allocator.cut_tail();
            return Err(match self.hollow_for(extent.bytes) {
                Some(front) => Lack::Hollow { front, least: extent.bytes },
                None => Lack::Length(extent.end()),
            });
        }
        self.reserved.insert(extent.offset, extent.bytes);
        Ok(extent)
    }

    /// Gives back an extent that was reserved and never published.
    pub fn give_back(&mut self, extent: Extent) {
        let known = self.reserved.remove(&extent.offset);
        assert_eq!(known, Some(extent.bytes), "only what is reserved can be given back");
        self.free(extent);
    }

    /// Frees an extent that nobody owns any more, unless the log names it.
    fn free(&mut self, extent: Extent) {
        match self.logged.get_mut(&extent.offset) {
            Some(logged) => logged.is_left = true,
            None => self.allocator.free(extent),
        }
    }

    /// A record in the log file of `generation` is about to name reserved extents: they are not
    /// used for anything else before a checkpoint needs that file no more.
    pub fn name_in_log(&mut self, extents: &[Extent], generation: GenerationId) {
        for extent in extents {
            debug_assert_eq!(self.reserved.get(&extent.offset), Some(&extent.bytes));
            let named = Logged { bytes: extent.bytes, generation, is_left: false };
            self.logged.insert(extent.offset, named);
        }
    }

    /// Reserves an extent that the log names, for the replay; whether it does name it.
    pub fn reserve_logged(&mut self, extent: Extent) -> bool {
        let known = self.logged.get_mut(&extent.offset);
        let Some(logged) = known.filter(|logged| logged.bytes == extent.bytes && logged.is_left)
        else {
            return false;
        };
        logged.is_left = false;
        self.reserved.insert(extent.offset, extent.bytes);
        true
    }

    /// Frees what only log files before `first` name.
    fn forget_logged(&mut self, first: GenerationId) {
        let allocator = &mut self.allocator;
        self.logged.retain(|offset, logged| {
            let stays = logged.generation >= first;
            if !stays && logged.is_left {
                allocator.free(Extent { offset: *offset, bytes: logged.bytes });
            }
            stays
        });
    }

    /// Whether a view or a checkpoint owns just this extent.
    pub fn is_owned(&self, extent: Extent) -> bool {
        let owns = |used: &UsedSet| used.get(&extent.offset) == Some(&extent.bytes);
        owns(&self.used)
            || owns(&self.checkpointed)
            || self.in_progress.as_ref().is_some_and(|cut| owns(&cut.used))
            || self.waiting.get(&extent.offset) == Some(&extent.bytes)
    }

    /// Whether the caller is the one to write; `false` while somebody else is at it, or at
    /// something else that is large where this is.
    pub fn begin_write(&mut self, what: Writable<'_>) -> bool {
        if what.is_large && self.is_writing_large || !what.standing.begin_write() {
            return false;
        }
        self.is_writing_large |= what.is_large;
        true
    }

    /// A write that was begun has ended, well or not.
    pub fn end_write(&mut self, what: Writable<'_>) {
        what.standing.end_write();
        self.is_writing_large &= !what.is_large;
    }

    /// The bytes of the file that the current view owns.
    pub fn live_bytes(&self) -> u64 {
        self.used.values().sum()
    }

    fn settle(&mut self, extent: Extent) {
        let known = self.reserved.remove(&extent.offset);
        assert_eq!(known, Some(extent.bytes), "only what is reserved can be put to use");
    }

    /// Frees an extent that no view reaches any more, unless a checkpoint owns it.
    fn release(&mut self, extent: Extent) {
        let cut = self.in_progress.as_ref();
        let held = self.checkpointed.contains_key(&extent.offset)
            || cut.is_some_and(|cut| cut.used.contains_key(&extent.offset));
        if !held {
            self.free(extent);
        }
    }

    // ----- views ------------------------------------------------------------------------------

    /// Moves on to the next view. What the change takes away is retired with the view before.
    pub fn publish(&mut self, change: Change) -> Arc<ViewToken> {
        self.take_away(&change);
        self.bring_in(change);
        self.view += 1;
        let token = Arc::new(ViewToken(()));
        self.views.push_back((self.view, Arc::downgrade(&token)));
        self.reclaim();
        token
    }

    fn take_away(&mut self, change: &Change) {
        for handle in &change.replaced {
            handle.supersede();
        }
        for segment in &change.left_segments {
            segment.standing().supersede();
            self.unwritten.remove(segment.id());
            if let Some(place) = segment.place() {
                self.retire(place.extent);
            }
        }
        for handle in &change.left_nodes {
            handle.image().standing().supersede();
            self.unwritten.remove_node(handle.block());
            if let Some(place) = handle.image().place() {
                self.retire(place.extent);
            }
        }
        for block in &change.removed {
            self.table.remove(block);
            self.versions.forget(*block);
        }
    }

    fn bring_in(&mut self, change: Change) {
        for segment in change.leaf_segments {
            if self.own_segment(&segment) {
                self.unwritten.remove(segment.id());
            } else {
                self.unwritten.insert_leaf(segment);
            }
        }
        for segment in change.buffer_segments {
            if !self.own_segment(&segment) {
                self.unwritten.insert_buffer(segment);
            }
        }
        for handle in change.nodes {
            debug_assert!(handle.image().place().is_none());
            self.versions.note(&handle);
            self.unwritten.insert_node(handle);
        }
        for handle in change.copied_nodes {
            self.versions.note(&handle);
            self.unwritten.replace_node(handle);
        }
    }

    /// Takes over the extent of a segment that a job has written already.
    fn own_segment(&mut self, segment: &Arc<Segment>) -> bool {
        let Some(place) = segment.place() else { return false };
        if !self.used.contains_key(&place.extent.offset) {
            self.settle(place.extent);
            self.used.insert(place.extent.offset, place.extent.bytes);
        }
        true
    }

    /// Where it is told that the references which were read contradict one another.
    pub fn poison(&self) -> &Arc<Poison> {
        &self.poison
    }

    /// Takes an extent from the current view. Older views may still read it. One that the view does
    /// not own any more was named twice by what was read, and whatever is written from here on
    /// could be written over somebody else's.
    fn retire(&mut self, extent: Extent) {
        if self.used.get(&extent.offset) == Some(&extent.bytes) {
            self.used.remove(&extent.offset);
            self.wait(extent);
        } else {
            let rule = "two references lead to it";
            let broken = Corruption::new("extent", extent.offset, rule).within(BLOCK_FILE, 0);
            self.poison.record(broken.into());
        }
    }

    fn wait(&mut self, extent: Extent) {
        self.retired.push_back((self.view, extent));
        self.waiting.insert(extent.offset, extent.bytes);
    }

    /// Frees what was retired with views that nobody holds any more.
    pub fn reclaim(&mut self) {
        while self.views.len() > 1
            && self.views.front().is_some_and(|(_, token)| token.strong_count() == 0)
        {
            self.views.pop_front();
        }
        let oldest = self.views.front().map_or(self.view, |(number, _)| *number);
        while let Some((number, extent)) = self.retired.front().copied() {
            if number >= oldest {
                break;
            }
            self.retired.pop_front();
            self.waiting.remove(&extent.offset);
            self.release(extent);
        }
    }

    // ----- writing ----------------------------------------------------------------------------

    /// Records that a published segment was written to a reserved extent. One that was superseded
    /// meanwhile, and is on no checkpoint's list, is forgotten again.
    pub fn segment_written(
        &mut self,
        segment: &Arc<Segment>,
        place: SegmentPlace,
        part: ResidentSegment,
    ) {
        if self.own_written(segment.standing(), place.extent) {
            segment.set_written(place, part);
            self.unwritten.remove(segment.id());
        }
    }

    /// The same for the image of a node.
    pub fn node_written(&mut self, handle: &Arc<Handle>, place: NodePlace) {
        let standing = handle.image().standing();
        let (superseded, captured) = (standing.is_superseded(), standing.captured_by());
        if self.own_written(standing, place.extent) {
            handle.image().set_written(place);
        }
        if !superseded {
            self.table.insert(handle.block(), place);
            self.unwritten.remove_node(handle.block());
        }
        if let Some(cut) = self.in_progress.as_mut().filter(|cut| cut.number == captured) {
            cut.table.insert(handle.block(), place);
        }
    }

    /// Finds the owners of a freshly written extent; `false` when there is none.
    fn own_written(&mut self, standing: &Standing, extent: Extent) -> bool {
        let cut = self.in_progress.as_mut();
        let cut = cut.filter(|cut| cut.number == standing.captured_by());
        let captured = cut.map(|cut| cut.used.insert(extent.offset, extent.bytes)).is_some();
        match (standing.is_superseded(), captured) {
            (false, _) => {
                self.settle(extent);
                self.used.insert(extent.offset, extent.bytes);
                true
            }
            (true, true) => {
                self.settle(extent);
                self.wait(extent);
                true
            }
            (true, false) => {
                self.give_back(extent);
                false
            }
        }
    }

    /// The unwritten segment that should be written first.
    pub fn next_to_write(&self) -> Option<Arc<Segment>> {
        self.unwritten.next().cloned()
    }

    /// The same of leaves alone, when more than `most` bytes of theirs are not written.
    pub fn next_leaf_to_write(&self, most: u64) -> Option<Arc<Segment>> {
        self.unwritten.next_leaf_beyond(most).cloned()
    }

    /// The memory of segments that are not written and so cannot be evicted.
    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten.bytes()
    }

    /// How many segments and nodes are not written.
    pub fn unwritten(&self) -> usize {
        self.unwritten.count()
    }

    // ----- checkpoints ------------------------------------------------------------------------

    /// Captures the current view for a checkpoint.
    ///
    /// # Panics
    /// When one is in progress.
    pub fn cut(&mut self) -> CutList {
        assert!(self.in_progress.is_none(), "one checkpoint at a time");
        self.checkpoints += 1;
        let number = self.checkpoints;
        let segments: Vec<_> = self.unwritten.segments().cloned().collect();
        let mut nodes: Vec<_> = self.unwritten.nodes().cloned().collect();
        nodes.sort_by_key(|handle| (handle.height(), handle.block()));
        segments.iter().for_each(|segment| segment.standing().capture(number));
        nodes.iter().for_each(|handle| handle.image().standing().capture(number));
        self.in_progress = Some(Cut { number, used: self.used.clone(), table: self.table.clone() });
        let (next_block, next_segment) = (self.next_block, self.next_segment);
        CutList { number, segments, nodes, next_block, next_segment }
    }

    /// Hands a reserved extent to the checkpoint in progress alone, for its tables.
    pub fn own_table(&mut self, extent: Extent) {
        self.settle(extent);
        let cut = self.in_progress.as_mut().expect("tables belong to a checkpoint in progress");
        cut.used.insert(extent.offset, extent.bytes);
    }

    /// The used-set and block table of the checkpoint in progress.
    pub fn captured(&self) -> (UsedSet, BlockTable) {
        let cut = self.in_progress.as_ref().expect("a checkpoint is in progress");
        (cut.used.clone(), cut.table.clone())
    }

    /// The checkpoint in progress has become the one that recovery finds: what the one before
    /// alone owned is free, and what only log files before `first_generation` name.
    pub fn checkpoint_done(&mut self, first_generation: GenerationId) {
        let cut = self.in_progress.take().expect("a checkpoint is in progress");
        let before = std::mem::replace(&mut self.checkpointed, cut.used);
        self.free_what_left(&before, &self.checkpointed.clone());
        self.forget_logged(first_generation);
        self.reclaim();
    }

    /// The checkpoint in progress is given up: what it alone owned is free.
    pub fn checkpoint_abandoned(&mut self) {
        let cut = self.in_progress.take().expect("a checkpoint is in progress");
        self.free_what_left(&cut.used, &self.checkpointed.clone());
    }

    fn free_what_left(&mut self, before: &UsedSet, after: &UsedSet) {
        let gone = before.diff(after).filter_map(|item| match item {
            DiffItem::Remove(offset, bytes) => Some(Extent { offset: *offset, bytes: *bytes }),
            DiffItem::Add(..) | DiffItem::Update { .. } => None,
        });
        for extent in gone {
            let held =
                self.used.contains_key(&extent.offset) || self.waiting.contains_key(&extent.offset);
            if !held {
                self.free(extent);
            }
        }
    }
}

fn logged((extent, generation): (Extent, GenerationId)) -> (u64, Logged) {
    (extent.offset, Logged { bytes: extent.bytes, generation, is_left: true })
}

/// What the ledger of an opened database starts from.
pub struct Opened {
    /// What is free between the checkpoint's extents.
    pub allocator: Allocator,
    /// How long the file is.
    pub file_bytes: u64,
    /// Everything that the checkpoint owns.
    pub checkpointed: UsedSet,
    /// Those of it that hold its tables.
    pub tables: Vec<Extent>,
    /// Extents that the log names, and in the file of which generation.
    pub logged: Vec<(Extent, GenerationId)>,
    /// Where the nodes lie.
    pub table: BlockTable,
    /// The next node's name.
    pub next_block: BlockId,
    /// The next segment's name.
    pub next_segment: SegmentId,
}
