//! What a cursor of a serializable transaction has passed since it last sought.
//!
//! ```text
//! behind ( .... <-------|-------> .... ) ahead      both begin where the cursor was put
//! ```

use std::sync::Arc;

use sapwood_serialize::TreeId;
use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;

use super::Cut;
use crate::transaction::{RangeRead, ReadSet};

/// See the module's head.
pub(super) struct Trail {
    set: Arc<ReadSet>,
    tree: TreeId,
    origin: Cut,
    ahead: Option<RangeRead>,
    behind: Option<RangeRead>,
}

impl Trail {
    pub(super) fn new(set: Arc<ReadSet>, tree: TreeId) -> Trail {
        Trail { set, tree, origin: Some(Key::from([])), ahead: None, behind: None }
    }

    /// The cursor was put elsewhere.
    pub(super) fn begin(&mut self, origin: Cut) {
        (self.ahead, self.behind) = (None, None);
        self.origin = origin;
    }

    /// The cursor has gone to the row of `key`, or found none in this direction.
    pub(super) fn pass(&mut self, direction: Direction, key: Option<&[u8]>) {
        let lies_ahead = |key: &[u8]| self.origin.as_deref().is_some_and(|origin| origin <= key);
        // Where it came from the other way, that was noted then.
        if key.is_some_and(|key| lies_ahead(key) != (direction == Direction::Forward)) {
            return;
        }
        let (set, tree) = (&self.set, self.tree);
        let part = match (direction, &self.origin) {
            // Behind the last row there is nothing to pass.
            (Direction::Forward, None) => return,
            (Direction::Forward, Some(lower)) => self.ahead.get_or_insert_with(|| {
                set.open_range(tree, &Bounds { lower: lower.clone(), upper: None })
            }),
            (Direction::Backward, upper) => self.behind.get_or_insert_with(|| {
                set.open_range(tree, &Bounds { lower: Key::from([]), upper: upper.clone() })
            }),
        };
        part.passed_to(direction, key);
    }
}
