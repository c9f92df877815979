//! What a transaction has read, and must find unchanged when it commits.
//!
//! Keys that were looked up, and of each iterator the stretch that it has passed:
//!
//! ```text
//! bounds   [ lower ....... front ]            [ back ........ upper )
//!            passed from the front              passed from the back
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_serialize::TreeId;
use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;

use crate::footprint::Footprint;
use crate::keys::successor;
use crate::scan::Row;

/// From so many keys and stretches on, what was read is remembered more coarsely: the memory for it
/// is bounded, and a conflict may be seen where there was none.
const COARSE_FROM: usize = 1 << 16;

/// The keys and stretches that were read; shared with the iterators that add to it.
pub(crate) struct ReadSet(Mutex<Noted>);

struct Noted {
    footprint: Footprint,
    coarse_from: usize,
    /// What the iterators that are alive have passed so far.
    open: BTreeMap<u64, Passed>,
    next: u64,
}

/// What one iterator has passed.
struct Passed {
    tree: TreeId,
    bounds: Bounds,
    /// The last row that was passed from the front.
    front: Option<Vec<u8>>,
    /// The last row that was passed from the back.
    back: Option<Vec<u8>>,
    is_whole: bool,
}

impl Passed {
    fn add_to(&self, footprint: &mut Footprint) {
        let Bounds { lower, upper } = self.bounds.clone();
        if self.is_whole {
            footprint.push_range(self.tree, self.bounds.clone());
            return;
        }
        if let Some(front) = &self.front {
            let upper = Some(successor(front));
            footprint.push_range(self.tree, Bounds { lower, upper });
        }
        if let Some(back) = &self.back {
            footprint.push_range(self.tree, Bounds { lower: Key::from(&**back), upper });
        }
    }
}

impl Default for ReadSet {
    fn default() -> ReadSet {
        let (footprint, open) = (Footprint::default(), BTreeMap::new());
        let noted = Noted { footprint, coarse_from: COARSE_FROM, open, next: 0 };
        ReadSet(Mutex::new(Rank::JobQueue, noted))
    }
}

impl Noted {
    fn bound(&mut self) {
        if self.footprint.len() >= self.coarse_from {
            self.footprint.coarsen();
            self.coarse_from = COARSE_FROM.max(2 * self.footprint.len());
        }
    }
}

impl ReadSet {
    /// `key` was looked up.
    pub(crate) fn note_key(&self, tree: TreeId, key: &[u8]) {
        let mut noted = self.0.lock();
        noted.footprint.push_key(tree, key);
        noted.bound();
    }

    /// An iterator begins to read within `bounds`.
    pub(crate) fn open_range(self: &Arc<Self>, tree: TreeId, bounds: &Bounds) -> RangeRead {
        let (front, back) = (None, None);
        let passed = Passed { tree, bounds: bounds.clone(), front, back, is_whole: false };
        let mut noted = self.0.lock();
        let id = noted.next;
        noted.next += 1;
        noted.open.insert(id, passed);
        RangeRead { set: self.clone(), id }
    }

    /// All that was read so far.
    pub(crate) fn footprint(&self) -> Footprint {
        let noted = self.0.lock();
        let mut footprint = noted.footprint.clone();
        noted.open.values().for_each(|passed| passed.add_to(&mut footprint));
        footprint
    }
}

/// An iterator's part in a [`ReadSet`].
pub(crate) struct RangeRead {
    set: Arc<ReadSet>,
    id: u64,
}

impl RangeRead {
    /// The iterator has returned `row`, or its end.
    pub(crate) fn passed(&mut self, direction: Direction, row: Option<&Row>) {
        let key = row.and_then(|row| row.as_ref().ok()).map(|(key, _)| &**key);
        self.passed_to(direction, key);
    }

    /// All was passed up to `key`, and with it; up to the end of the bounds, when there is none.
    pub(crate) fn passed_to(&mut self, direction: Direction, key: Option<&[u8]>) {
        let mut noted = self.set.0.lock();
        let Some(passed) = noted.open.get_mut(&self.id) else { return };
        let Some(key) = key else {
            passed.is_whole = true;
            return;
        };
        let (end, is_farther) = match direction {
            Direction::Forward => {
                let is_farther = passed.front.as_deref().is_none_or(|front| front < key);
                (&mut passed.front, is_farther)
            }
            Direction::Backward => {
                let is_farther = passed.back.as_deref().is_none_or(|back| back > key);
                (&mut passed.back, is_farther)
            }
        };
        if is_farther {
            let end = end.get_or_insert_default();
            end.clear();
            end.extend_from_slice(key);
        }
    }
}

impl Drop for RangeRead {
    fn drop(&mut self) {
        let mut noted = self.set.0.lock();
        if let Some(passed) = noted.open.remove(&self.id) {
            passed.add_to(&mut noted.footprint);
            noted.bound();
        }
    }
}
