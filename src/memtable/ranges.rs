//! The range deletes of one memtable, by tree.
//!
//! They are few: a memtable that has many is sealed (see [`ENTRIES_MAX`]). So they are one
//! immutable value that each new one replaces, and a reader takes it whole. A tree's are in a few
//! lists, each at least twice as long as the next, so that a new one is not merged with all others:
//!
//! ```text
//! lists    [ 9 pieces ] [ 3 pieces ] [ 1 piece ]       newest last; a key is looked up in each
//! ```
//!
//! The range deletes of one commit group come in together, and no reader stands between them: of
//! those that cover one key, the newest alone is kept. So a batch of very many stays cheap.
//!
//! Threads: as for the memtable, one writes at a time, any number read and never wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_cachetable::sync::ArcSwapOption;
use sapwood_cachetable::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use sapwood_serialize::fold::Horizon;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::{Charge, Meter, Msn, Sight, Tombstones, TreeId};

/// A memtable with this many entries (a range delete counts once a piece that it covers) is full.
pub(super) const ENTRIES_MAX: usize = 4096;

/// See the module's head.
pub(crate) struct Ranges {
    meter: Meter,
    current: ArcSwapOption<Deleted>,
    /// The number of entries; zero tells readers at once that there are none.
    entries: AtomicUsize,
    messages: AtomicU64,
    user_bytes: AtomicU64,
}

struct Deleted {
    trees: BTreeMap<TreeId, Vec<Tombstones>>,
    charge: Charge,
}

/// The range deletes of one commit group, gathered to come into a memtable together.
#[derive(Default)]
pub(crate) struct Gathered(BTreeMap<TreeId, Vec<(Bounds, Msn)>>);

impl Gathered {
    /// Adds a range delete, newer than all others.
    pub(crate) fn push(&mut self, tree: TreeId, bounds: Bounds, msn: Msn) {
        self.0.entry(tree).or_default().push((bounds, msn));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All of `ranges` in one, the newest over each key.
fn newest_of(ranges: &[(Bounds, Msn)]) -> Tombstones {
    if let [(bounds, msn)] = ranges {
        return Tombstones::one(bounds, *msn);
    }
    let (older, newer) = ranges.split_at(ranges.len() / 2);
    let both = Tombstones::merged([&newest_of(older), &newest_of(newer)]);
    both.folded(&Horizon::new(Msn::from_raw(u64::MAX), []))
}

/// Adds a list behind the others, and merges those at the end until each is short beside the one
/// before it.
fn append(lists: &mut Vec<Tombstones>, mut last: Tombstones) {
    while let Some(before) = lists.pop_if(|before| before.entries() < 2 * last.entries()) {
        last = Tombstones::merged([&before, &last]);
    }
    lists.push(last);
}

impl Ranges {
    pub(crate) fn new(meter: &Meter) -> Ranges {
        Ranges {
            meter: meter.clone(),
            current: ArcSwapOption::empty(),
            entries: AtomicUsize::new(0),
            messages: AtomicU64::new(0),
            user_bytes: AtomicU64::new(0),
        }
    }

    /// Adds the range deletes of a group, which are newer than all others.
    pub(crate) fn insert(&self, gathered: &Gathered) {
        if gathered.is_empty() {
            return;
        }
        let current = self.current.load();
        let mut trees = current.as_ref().map(|now| now.trees.clone()).unwrap_or_default();
        for (tree, ranges) in &gathered.0 {
            append(trees.entry(*tree).or_default(), newest_of(ranges));
            let keys = |(bounds, _): &(Bounds, Msn)| {
                bounds.lower.len() + bounds.upper.as_ref().map_or(0, |upper| upper.len())
            };
            let bytes: usize = ranges.iter().map(keys).sum();
            self.user_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            self.messages.fetch_add(ranges.len() as u64, Ordering::Relaxed);
        }
        let entries = trees.values().flatten().map(Tombstones::entries).sum();
        let bytes: u64 = trees.values().flatten().map(Tombstones::bytes).sum();
        let charge = self.meter.charge(usize::try_from(bytes).unwrap_or(usize::MAX));
        self.current.store(Some(Arc::new(Deleted { trees, charge })));
        self.entries.store(entries, Ordering::Release);
    }

    /// The range deletes of `tree`, in any number of lists.
    pub(crate) fn of(&self, tree: TreeId) -> Vec<Tombstones> {
        if self.entries() == 0 {
            return Vec::new();
        }
        let current = self.current.load();
        current.as_ref().and_then(|now| now.trees.get(&tree).cloned()).unwrap_or_default()
    }

    /// When a reader at `visible` sees `key` deleted last.
    pub(super) fn newest_over(&self, tree: TreeId, key: &[u8], visible: Msn) -> Option<u64> {
        if self.entries() == 0 {
            return None;
        }
        let current = self.current.load();
        let lists = current.as_ref()?.trees.get(&tree)?;
        let sight = Sight::at(visible);
        lists.iter().filter_map(|list| list.covering(key)?.visible_at(sight)).max()
    }

    /// The trees that have some, ascending.
    pub(crate) fn trees(&self) -> Vec<TreeId> {
        let current = self.current.load();
        current.as_ref().map(|now| now.trees.keys().copied().collect()).unwrap_or_default()
    }

    pub(super) fn entries(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    /// Whether what has them is to be sealed.
    pub(crate) fn is_full(&self) -> bool {
        self.entries() >= ENTRIES_MAX
    }

    /// How many were inserted.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// The bytes of their keys.
    pub(super) fn user_bytes(&self) -> u64 {
        self.user_bytes.load(Ordering::Relaxed)
    }

    /// The bytes that they take in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.current.load().as_ref().map_or(0, |now| now.charge.bytes())
    }
}
