//! Residency: what is in memory, what is on disk, and the way between.
//!
//! ```text
//!            node / part / page                      build segment
//!  readers ---------------------->  Cachetable  <---------------------  jobs
//!                                   |    |    |
//!                       fetch <-----'    |    '-----> write back, evict
//!                                        |
//!                              ledger (publish mutex)
//! ```
//!
//! Readers hash nothing, lock nothing and wait for nobody while what they need is resident: edges
//! hold handles, segments hold page slots. What is not resident is read, checked, and put into its
//! slot; the clock then makes room for it. Only jobs and the scribe write, and only jobs wait for
//! space.

use std::sync::Arc;
use std::time::Duration;

use sapwood_serialize::node::{Handle, Image, Node, ResidentNode};
use sapwood_serialize::segment::{ResidentSegment, Segment, SegmentFacts};
use sapwood_serialize::segment_image::{SegmentIdentity, SegmentMeta};
use sapwood_serialize::{
    BlockId, Charge, Compression, DatabaseId, Memory, Meter, Page, SegmentId, Storage, StorageFile,
    mapping,
};

use crate::budget::Budget;
use crate::clock::{Clock, Entry};
use crate::crew::Waker;
use crate::fault::{Fault, Poison};
use crate::ledger::{Ledger, Opened};
use crate::stats::Counters;
use crate::step::{StepPoint, Steps};
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{Condvar, Mutex, MutexGuard, Rank};
use crate::untold::Untold;
use crate::write_behind::Gate;

/// The name of the block file in its folder.
pub const BLOCK_FILE: &str = "sapwood.db";

/// What is in memory, by kind, in bytes.
#[derive(Debug, Default)]
pub struct Meters {
    /// Pages, written or not.
    pub pages: Meter,
    /// Those of them that are not written, and so cannot be evicted.
    pub unwritten: Meter,
    /// Directories, filters and nodes.
    pub directories: Meter,
    /// Generations.
    pub memtables: Meter,
    /// Copies of what is large, on their way between memory and disk.
    pub on_their_way: Meter,
    /// Space that was promised to what is not written yet.
    pub promised: Meter,
    /// Versions in segments that newer ones follow: kept for readers, or not forgotten yet.
    pub superseded: Meter,
}

impl Meters {
    /// Everything that counts against the budget.
    pub fn resident(&self) -> u64 {
        self.pages.bytes()
            + self.directories.bytes()
            + self.memtables.bytes()
            + self.on_their_way.bytes()
    }
}

/// Threads for what is worth several at once.
pub type EncoderPool = rayon::ThreadPool;

/// The cachetable of one open database.
pub struct Cachetable {
    // Constant after construction.
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) database: DatabaseId,
    budget: Budget,
    /// A pool of our own, for what is worth several threads at once; `None` does it in place.
    pub(crate) pool: Option<EncoderPool>,
    pub(crate) behind: Arc<Gate>,
    // Synchronised by themselves.
    meters: Meters,
    counters: Counters,
    poison: Arc<Poison>,
    steps: Steps,
    // Behind the publish mutex.
    pub(crate) ledger: Mutex<Ledger>,
    /// Signalled when a write that somebody may wait for has ended.
    pub(crate) written: Condvar,
    // Behind mutexes of their own.
    pages: Mutex<Clock>,
    directories: Mutex<Clock>,
    pub(crate) growing: Mutex<()>,
    /// Who writes while jobs go on, if there is such a thread, see `room`.
    pub(crate) scribe: Mutex<Option<Waker>>,
    pub(crate) untold: Mutex<Untold>,
    /// The bytes that were promised since somebody last saw to more.
    pub(crate) lately_promised: AtomicU64,
    /// Whether all hollow extents are known to be holes.
    pub(crate) holes_are_real: AtomicBool,
}

impl std::fmt::Debug for Cachetable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cachetable").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Cachetable {
    /// The cachetable over an opened block file.
    pub fn new(
        storage: Arc<dyn Storage>,
        file: Arc<dyn StorageFile>,
        database: DatabaseId,
        budget: Budget,
        pool: Option<EncoderPool>,
        opened: Opened,
    ) -> Cachetable {
        let ledger = Ledger::new(opened);
        let poison = ledger.poison().clone();
        mapping::keep(usize::try_from(budget.reserve()).unwrap_or(usize::MAX));
        Cachetable {
            storage,
            file,
            database,
            budget,
            pool,
            behind: Arc::default(),
            meters: Meters::default(),
            counters: Counters::default(),
            poison,
            steps: Steps::default(),
            ledger: Mutex::new(Rank::Publish, ledger),
            written: Condvar::new(),
            pages: Mutex::new(Rank::PageShard, Clock::default()),
            directories: Mutex::new(Rank::PageShard, Clock::default()),
            growing: Mutex::new(Rank::Claims, ()),
            scribe: Mutex::new(Rank::Storage, None),
            untold: Mutex::new(Rank::JobQueue, Untold::default()),
            lately_promised: AtomicU64::new(0),
            holes_are_real: AtomicBool::new(false),
        }
    }

    /// The same with step points of its own.
    #[must_use]
    pub fn hooked(self, steps: Steps) -> Cachetable {
        Cachetable { steps, ..self }
    }

    /// The way to disk and clock.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The block file.
    pub fn file(&self) -> &Arc<dyn StorageFile> {
        &self.file
    }

    /// The database's identity.
    pub fn database(&self) -> DatabaseId {
        self.database
    }

    /// How memory is shared out.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// What is in memory.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What was read, written and evicted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The first failed write, if any.
    pub fn poison(&self) -> &Poison {
        &self.poison
    }

    /// Where tests can hook into background work.
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// Takes the publish mutex: hold it for microseconds, do nothing that can fail or wait.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    // ----- making ------------------------------------------------------------------------------

    /// The name of a new node.
    pub fn name_block(&self) -> BlockId {
        self.ledger.lock().name_block()
    }

    /// The name of a new segment.
    pub fn name_segment(&self) -> SegmentId {
        self.ledger.lock().name_segment()
    }

    /// A handle to a new node with an image of its own.
    pub fn new_node(&self, block: BlockId, node: Node) -> Arc<Handle> {
        self.handle(block, node, Arc::default())
    }

    /// A handle to a node that was copied for its path and is unchanged on disk.
    pub fn copied_node(&self, original: &Handle, node: Node) -> Arc<Handle> {
        self.handle(original.block(), node, original.image().clone())
    }

    fn handle(&self, block: BlockId, node: Node, image: Arc<Image>) -> Arc<Handle> {
        let charge = self.meters.directories.charge(node.memory());
        let handle = Arc::new(Handle::resident(block, ResidentNode::new(node, charge), image));
        self.directories.lock().enter(Entry::Node(Arc::downgrade(&handle)));
        handle
    }

    /// A segment of freshly built pages, in memory alone. `promise` holds space on disk for it, as
    /// much as it takes without compression; `superseded` bytes of it are versions that newer ones
    /// follow.
    pub fn build_segment(
        &self,
        facts: SegmentFacts,
        meta: SegmentMeta,
        pages: Vec<Page>,
        promise: Charge,
        compression: Compression,
        superseded: usize,
    ) -> Arc<Segment> {
        let unwritten = self.meters.unwritten.charge(pages.iter().map(page_memory).sum());
        let pages = pages.into_iter().map(|page| Arc::new(self.charged(page))).collect();
        let memory = self.meters.directories.charge(ResidentSegment::memory(&meta));
        let part = ResidentSegment::with_pages(meta, pages, vec![memory, promise, unwritten]);
        let superseded = (superseded > 0).then(|| self.meters.superseded.charge(superseded));
        Arc::new(Segment::built(facts, part, compression, superseded))
    }

    pub(crate) fn charged(&self, mut page: Page) -> Page {
        let charge = self.meters.pages.charge(page_memory(&page));
        page.set_charge(charge);
        page
    }

    pub(crate) fn identity(&self, segment: &Segment) -> SegmentIdentity {
        SegmentIdentity { database: self.database, segment: segment.id() }
    }

    // ----- evicting ----------------------------------------------------------------------------

    pub(crate) fn enter_pages(&self, part: &Arc<ResidentSegment>) {
        let mut clock = self.pages.lock();
        for index in 0..part.slots().len() {
            if part.slot(index).is_resident() {
                clock.enter(Entry::page(part, index));
            }
        }
    }

    pub(crate) fn enter_page(&self, part: &Arc<ResidentSegment>, index: usize) {
        self.pages.lock().enter(Entry::page(part, index));
    }

    pub(crate) fn enter_part(&self, segment: &Arc<Segment>) {
        self.directories.lock().enter(Entry::Part(Arc::downgrade(segment)));
    }

    pub(crate) fn enter_node(&self, handle: &Arc<Handle>) {
        self.directories.lock().enter(Entry::Node(Arc::downgrade(handle)));
    }

    /// Evicts what is written and cold until the budget holds; `false` when too little was. Never
    /// waits: the caller may be a reader.
    pub fn make_room(&self) -> bool {
        while self.meters.directories.bytes() > self.budget.directories() {
            if !self.evict_directory() {
                break;
            }
        }
        while self.meters.resident() > self.budget.resident() {
            if !self.evict_page() && !self.evict_directory() {
                return false;
            }
        }
        true
    }

    /// Accounts for a copy of `bytes` bytes for as long as the returned value lives, and makes room
    /// for it. What is not large is not asked for: the reserve has room for that.
    pub fn on_its_way(&self, bytes: usize) -> Option<Charge> {
        let is_large = bytes > Memory::SMALL_BYTES_MOST;
        let charge = is_large.then(|| self.meters.on_their_way.charge(bytes));
        if is_large {
            self.make_room();
        }
        charge
    }

    fn evict_page(&self) -> bool {
        let entry = self.pages.lock().take_cold();
        let Some(Entry::Page(part, index)) = entry else { return false };
        if let Some(part) = part.upgrade() {
            part.slot(index as usize).evict();
            self.counters.pages_evicted.add(1);
            self.steps.pass(StepPoint::PageEvicted);
        }
        true
    }

    /// Lets a directory or a node go. What is not written yet is put back; after a few such there
    /// is nothing to be had.
    fn evict_directory(&self) -> bool {
        for _ in 0..32 {
            let Some(entry) = self.directories.lock().take_cold() else { return false };
            if self.let_go(&entry) {
                return true;
            }
            self.directories.lock().keep(entry);
        }
        false
    }

    /// Lets go of directories (with their pages) and nodes that nobody has used since they came,
    /// while too much is resident. A job builds many of them, and needs none again soon. What is
    /// not written yet, or pinned, waits once more; after a few such that is all for now.
    pub(crate) fn evict_unused_directories(&self) {
        let mut refused = 0;
        while refused < 32 && self.meters.resident() > self.budget.resident() {
            let Some(entry) = self.directories.lock().take_unused() else { return };
            if !self.let_go(&entry) {
                self.directories.lock().put_off(entry);
                refused += 1;
            }
        }
    }

    fn let_go(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Page(..) => true,
            Entry::Part(segment) => segment.upgrade().is_none_or(|segment| segment.evict()),
            Entry::Node(handle) => handle.upgrade().is_none_or(|handle| self.evict_node(&handle)),
        }
    }

    fn evict_node(&self, handle: &Arc<Handle>) -> bool {
        if handle.image().place().is_none() || handle.is_pinned() {
            return false;
        }
        if handle.height() > 0 {
            // Under the publish mutex, so that no child changes between the look and the deed.
            let _ledger = self.ledger.lock();
            if handle.is_superseded() || has_resident_child(handle) {
                return false;
            }
            handle.evict();
        } else {
            handle.evict();
        }
        self.counters.nodes_evicted.add(1);
        self.steps.pass(StepPoint::NodeEvicted);
        true
    }

    /// Gives back extents that a job wrote and never published.
    pub fn give_back(&self, segments: &[Arc<Segment>]) {
        let mut ledger = self.ledger.lock();
        for place in segments.iter().filter_map(|segment| segment.place()) {
            ledger.give_back(place.extent);
        }
    }

    /// Makes everything that was written to the block file durable.
    pub fn sync_blocks(&self) -> Result<(), Fault> {
        self.sync()
    }

    /// Time on the storage's clock.
    pub fn now(&self) -> Duration {
        self.storage.now()
    }
}

/// A pool of `threads` named threads for checkpoints; `None`, which works in place, for zero. Its
/// threads are no crew's: a schedule that is explored has none of them.
///
/// # Errors
/// When the system gives no thread.
pub fn encoder_pool(threads: usize) -> std::io::Result<Option<EncoderPool>> {
    if threads == 0 || cfg!(shuttle) {
        return Ok(None);
    }
    let builder = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("sapwood-encode-{}", number + 1));
    builder.build().map(Some).map_err(std::io::Error::other)
}

fn page_memory(page: &Page) -> usize {
    page.bytes() + size_of::<Page>()
}

fn has_resident_child(handle: &Handle) -> bool {
    match handle.peek().as_ref().map(|resident| &resident.node) {
        Some(Node::Internal(node)) => node.edges().iter().any(|edge| {
            let child = &edge.child;
            child.peek().is_some() || child.image().place().is_none()
        }),
        _ => false,
    }
}
