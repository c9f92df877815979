//! Rows side by side in one piece of memory: what a cursor has gathered.
//!
//! ```text
//! bytes     oak ring-porous | beech diffuse-porous | ...     nothing is allocated for a row
//! entries   [key, value]      [key, value]                   in the order of the keys
//! ```

use std::ops::Range;

use sapwood_serialize::merge_iter::Direction;

use crate::error::{Error, Result};
use crate::iter::BYTES_MOST;
use crate::scan::{Found, FoundValue, Sink};

/// More than this is not kept when the rows are cleared.
const KEPT_BYTES: usize = 2 * BYTES_MOST;

/// See the module's head.
#[derive(Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    key: Range<usize>,
    value: Place,
}

/// Where a value is.
enum Place {
    At(Range<usize>),
    /// Its operands cannot be merged.
    Failed(Error),
    /// Only the key was gathered.
    Unread,
}

/// The value of a row.
pub(super) enum Value<'a> {
    Known(&'a [u8]),
    Failed(&'a Error),
    Unread,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }

    pub(super) fn key(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.entries.get(index)?.key.clone())
    }

    pub(super) fn value(&self, index: usize) -> Option<Value<'_>> {
        Some(match &self.entries.get(index)?.value {
            Place::At(range) => Value::Known(self.bytes.get(range.clone())?),
            Place::Failed(error) => Value::Failed(error),
            Place::Unread => Value::Unread,
        })
    }

    /// The first row at or behind `key`.
    pub(super) fn at_or_after(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|entry| self.bytes.get(entry.key.clone()) < Some(key))
    }

    /// The first row behind a cut, see `Cut`.
    pub(super) fn behind(&self, cut: Option<&[u8]>) -> usize {
        cut.map_or(self.len(), |key| self.at_or_after(key))
    }

    /// Puts the rows that were gathered in `direction` into the order of their keys.
    pub(super) fn sort_from(&mut self, direction: Direction) {
        if direction == Direction::Backward {
            self.entries.reverse();
        }
    }

    /// Adds a row before the one at `index`, for now without its value.
    pub(super) fn insert(&mut self, index: usize, key: &[u8]) {
        let entry = Entry { key: self.push(key), value: Place::Unread };
        self.entries.insert(index, entry);
    }

    /// Gives the row at `index` another value, or the reason why that cannot be told.
    pub(super) fn set(&mut self, index: usize, value: Result<&[u8]>) {
        let place = match value {
            Ok(value) => Place::At(self.push(value)),
            Err(error) => Place::Failed(error),
        };
        if let Some(entry) = self.entries.get_mut(index) {
            entry.value = place;
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
        self.entries.remove(index);
    }

    /// Whether values were set here so often that they should be gathered anew.
    pub(super) fn is_bloated(&self) -> bool {
        self.bytes.len() > 2 * KEPT_BYTES
    }

    /// The row at `index` alone.
    pub(super) fn single(&self, index: usize) -> Rows {
        let mut single = Rows::default();
        if let (Some(key), Some(value)) = (self.key(index), self.value(index)) {
            single.insert(0, key);
            match value {
                Value::Known(value) => single.set(0, Ok(value)),
                Value::Failed(error) => single.set(0, Err(error.clone())),
                Value::Unread => {}
            }
        }
        single
    }

    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}

impl Sink for Rows {
    fn take(&mut self, found: Found<'_>) {
        let key = self.push(found.key);
        let value = match found.value {
            FoundValue::Plain(value) => Place::At(self.push(value)),
            FoundValue::Merged(value) => Place::At(self.push(&value)),
            FoundValue::Failed(cause) => Place::Failed(Error::from_merge(found.key, cause)),
            FoundValue::Unread => Place::Unread,
        };
        self.entries.push(Entry { key, value });
    }
}
