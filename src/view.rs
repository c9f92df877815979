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
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use sapwood_cachetable::sync::{Mutex, Rank};
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
