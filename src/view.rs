//! The view: the whole database as one immutable value, swapped atomically.
//!
//! ```text
//! View   active generation | sealed generations, newest last | forest (all trees' top edges)
//! ```
//!
//! 1. A reader loads the view once, *then* the visible MSN; it never locks, retries or waits.
//! 2. Whoever may load a second view registers its MSN first, then loads.
//! 3. A view is stored under the publish mutex only, and before the first MSN of a new generation
//!    is handed out.
//! 4. No view is held across a return to the user.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::sync::atomic::{AtomicU64, Ordering};
use sapwood_cachetable::sync::{ArcSwap, Guard, Mutex, Rank};
use sapwood_cachetable::{StepPoint, Steps};
use sapwood_flusher::{Forest, Views};
use sapwood_serialize::fold::Horizon;
use sapwood_serialize::{GenerationId, Msn};

use crate::generation::Generation;

/// Everything there is, at one moment.
pub(crate) struct View {
    /// The trees.
    pub(crate) forest: Arc<Forest>,
    /// Generations that take no more messages and are not in the trees yet, oldest first.
    pub(crate) sealed: Vec<Arc<Generation>>,
    /// The generation that takes messages.
    pub(crate) active: Arc<Generation>,
}

impl View {
    /// All generations, newest first.
    pub(crate) fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        std::iter::once(&self.active).chain(self.sealed.iter().rev())
    }
}

/// The current view, what is visible in it, and who reads at which MSN.
pub(crate) struct ViewCell {
    current: ArcSwap<View>,
    visible: AtomicU64,
    registered: Mutex<BTreeMap<Msn, Readers>>,
    steps: Steps,
}

/// Who reads at one MSN.
struct Readers {
    count: usize,
    /// When the first of them came.
    since: Duration,
}

impl ViewCell {
    pub(crate) fn new(view: View, visible: Msn, steps: Steps) -> ViewCell {
        ViewCell {
            current: ArcSwap::from_pointee(view),
            visible: AtomicU64::new(visible.to_raw()),
            registered: Mutex::new(Rank::Snapshots, BTreeMap::new()),
            steps,
        }
    }

    /// The current view, for a moment.
    pub(crate) fn load(&self) -> Guard<Arc<View>> {
        self.current.load()
    }

    /// What a walk over everything needs: the trees, and the generations, newest first. It keeps
    /// their space from being used for anything else, so it should not be held for long.
    pub(crate) fn hold(&self) -> (Arc<Forest>, Vec<Arc<Generation>>) {
        let view = self.load();
        (view.forest.clone(), view.generations().cloned().collect())
    }

    /// Stores another view. Called under the publish mutex; the old one is to be dropped outside.
    pub(crate) fn store(&self, view: View) -> Arc<View> {
        self.current.swap(Arc::new(view))
    }

    /// The newest MSN that readers may see.
    pub(crate) fn visible(&self) -> Msn {
        Msn::from_raw(self.visible.load(Ordering::Acquire))
    }

    /// Everything up to `msn` is in the memtable: readers may see it.
    pub(crate) fn advance(&self, msn: Msn) {
        debug_assert!(msn >= self.visible());
        self.visible.store(msn.to_raw(), Ordering::Release);
    }

    /// Registers a reader at what is visible now, in one step; `now` is the time.
    pub(crate) fn register(self: &Arc<Self>, now: Duration) -> Registration {
        let mut registered = self.registered.lock();
        let msn = self.visible();
        registered.entry(msn).or_insert(Readers { count: 0, since: now }).count += 1;
        Registration { cell: self.clone(), msn }
    }

    /// How many readers are registered, and since when the one has been that sees the oldest state.
    pub(crate) fn readers(&self) -> (usize, Option<Duration>) {
        let registered = self.registered.lock();
        let count = registered.values().map(|readers| readers.count).sum();
        (count, registered.values().next().map(|oldest| oldest.since))
    }
}

impl Views for ViewCell {
    fn forest(&self) -> Arc<Forest> {
        self.load().forest.clone()
    }

    fn install(&self, forest: Forest, spilled: Option<GenerationId>) -> Box<dyn Any> {
        let current = self.load();
        let stays = |generation: &&Arc<Generation>| Some(generation.id) != spilled;
        let sealed = current.sealed.iter().filter(stays).cloned().collect();
        let active = current.active.clone();
        Box::new(self.store(View { forest: Arc::new(forest), sealed, active }))
    }

    fn horizon(&self) -> Horizon {
        let registered = self.registered.lock();
        Horizon::new(self.visible(), registered.keys().copied())
    }
}

/// A reader's MSN; while it lives, nothing that this reader may see is forgotten.
pub(crate) struct Registration {
    cell: Arc<ViewCell>,
    msn: Msn,
}

impl Registration {
    /// The newest MSN that the reader sees.
    pub(crate) fn msn(&self) -> Msn {
        self.msn
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registration({})", self.msn)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registered = self.cell.registered.lock();
        if let Some(readers) = registered.get_mut(&self.msn) {
            readers.count -= 1;
            if readers.count == 0 {
                registered.remove(&self.msn);
            }
        }
        drop(registered);
        self.cell.steps.pass(StepPoint::ReaderReleased);
    }
}

#[cfg(test)]
mod tests {
    use sapwood_cachetable::Cachetable;
    use sapwood_cachetable::storage::MemoryStorage;
    use sapwood_serialize::node::{Edge, Node};

    use super::*;
    use crate::{Background, Config, Database};

    const ROWS: usize = 3000;

    fn key(number: usize) -> String {
        format!("key-{number:04}")
    }

    /// A drained tree in which nodes of height 1 have siblings and a grandparent.
    fn tall() -> Database {
        let config = Config::on(Arc::new(MemoryStorage::new())).tiny().cache_bytes(8 << 20);
        let db = config.background(Background::Manual).open().unwrap();
        let tree = db.tree("t").unwrap();
        for number in 0..ROWS {
            tree.insert(key(number), "a value of some length").unwrap();
        }
        settle(&db);
        assert!(db.stats().trees["t"].height >= 3);
        db
    }

    fn settle(db: &Database) {
        db.daemon().drain().unwrap();
        db.checkpoint().unwrap();
    }

    /// Lets go of every node that can be read again.
    fn evict_all(db: &Database) {
        let table = &db.engine().table;
        let _crowd = table.meters().memtables.charge(1 << 30);
        let evicted = || table.counters().nodes_evicted.get();
        let before = evicted();
        for _ in 0..1000 {
            table.make_room();
        }
        assert!(evicted() > before, "nothing was evicted");
    }

    /// The nodes and segments below an edge.
    fn outline(table: &Cachetable, edge: &Edge, found: &mut Vec<String>) {
        let node = table.node(&edge.child).unwrap();
        found.push(format!("node {}", edge.child.block()));
        found.extend(node.node.segments().map(|part| format!("segment {:?}", part.segment.id())));
        if let Node::Internal(node) = &node.node {
            node.edges().iter().for_each(|edge| outline(table, edge, found));
        }
    }

    fn outline_of(db: &Database, forest: &Forest) -> Vec<String> {
        let mut found = Vec::new();
        let top = &forest.trees.values().next().unwrap().top;
        outline(&db.engine().table, top, &mut found);
        found
    }

    /// The old view holds a node that the current view holds too; the one above it was changed, so
    /// that each view has its own. After evictions the current view reads its own again, and
    /// changes the node that both hold: the old view must not be shown the change.
    #[test]
    fn an_old_view_stays_what_it_was_when_what_it_shares_is_read_again_and_changed() {
        let db = tall();
        let tree = db.tree("t").unwrap();
        let (old, _) = db.engine().views.hold();
        let before = outline_of(&db, &old);
        for changed in [key(0), key(ROWS - 1)] {
            tree.insert(&changed, "another value").unwrap();
            settle(&db);
            evict_all(&db);
            let (current, _) = db.engine().views.hold();
            outline_of(&db, &current);
            evict_all(&db);
        }
        tree.insert(key(ROWS / 2), "another value").unwrap();
        settle(&db);
        evict_all(&db);
        assert_eq!(outline_of(&db, &old), before);
    }
}
