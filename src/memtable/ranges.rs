//! The range deletes of one memtable, by tree.
//!
//! They are few: a memtable that has many is sealed (see [`ENTRIES_MAX`]). So they are one
//! immutable value that each new one replaces, and a reader takes it whole.
//!
//! Threads: as for the memtable, one writes at a time, any number read and never wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::{Charge, Meter, Msn, Tombstones, TreeId};

/// A memtable with this many entries (a range delete counts once a piece that it covers) is full:
/// each further one copies them all.
pub(super) const ENTRIES_MAX: usize = 4096;

/// See the module's head.
pub(super) struct Ranges {
    meter: Meter,
    current: ArcSwapOption<Deleted>,
    /// The number of entries; zero tells readers at once that there are none.
    entries: AtomicUsize,
    messages: AtomicU64,
    user_bytes: AtomicU64,
}

struct Deleted {
    trees: BTreeMap<TreeId, Tombstones>,
    charge: Charge,
}

impl Ranges {
    pub(super) fn new(meter: &Meter) -> Ranges {
        Ranges {
            meter: meter.clone(),
            current: ArcSwapOption::empty(),
            entries: AtomicUsize::new(0),
            messages: AtomicU64::new(0),
            user_bytes: AtomicU64::new(0),
        }
    }

    /// Adds a range delete.
    pub(super) fn insert(&self, tree: TreeId, bounds: &Bounds, msn: Msn) {
        let current = self.current.load();
        let mut trees = current.as_ref().map(|now| now.trees.clone()).unwrap_or_default();
        let before = trees.remove(&tree).unwrap_or_default();
        trees.insert(tree, Tombstones::merged([&before, &Tombstones::one(bounds, msn)]));
        let entries = trees.values().map(Tombstones::entries).sum();
        let bytes: u64 = trees.values().map(Tombstones::bytes).sum();
        let charge = self.meter.charge(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.current.store(Some(Arc::new(Deleted { trees, charge })));
        let keys = bounds.lower.len() + bounds.upper.as_ref().map_or(0, |upper| upper.len());
        self.user_bytes.fetch_add(keys as u64, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.entries.store(entries, Ordering::Release);
    }

    /// The range deletes of `tree`.
    pub(super) fn of(&self, tree: TreeId) -> Tombstones {
        if self.entries() == 0 {
            return Tombstones::default();
        }
        let current = self.current.load();
        current.as_ref().and_then(|now| now.trees.get(&tree).cloned()).unwrap_or_default()
    }

    /// The trees that have some, ascending.
    pub(super) fn trees(&self) -> Vec<TreeId> {
        let current = self.current.load();
        current.as_ref().map(|now| now.trees.keys().copied().collect()).unwrap_or_default()
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    /// How many were inserted.
    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// The bytes of their keys.
    pub(super) fn user_bytes(&self) -> u64 {
        self.user_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that they take in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |now| now.charge.bytes())
    }
}
