//! What should be found: the keys of the data set in order, and a hash of each value.
//!
//! The values themselves stay on disk, so that the demo's own memory stays small beside the cache
//! that it is about.

use std::hash::{DefaultHasher, Hasher};

use crate::demo::data::DataSet;
use crate::failure::Failure;

/// The rows of a data set, in key order.
pub struct Expected {
    /// All keys, one behind the other, in the order of the file.
    keys: Vec<u8>,
    rows: Vec<ExpectedRow>,
    bytes: u64,
}

struct ExpectedRow {
    start: usize,
    end: usize,
    value_hash: u64,
}

impl Expected {
    /// Reads the data set once.
    pub fn of(data: &DataSet) -> Result<Expected, Failure> {
        let mut expected = Expected { keys: Vec::new(), rows: Vec::new(), bytes: 0 };
        let mut lines = data.lines()?;
        while let Some((key, value)) = lines.next_row()? {
            let start = expected.keys.len();
            expected.keys.extend_from_slice(&key);
            let (end, value_hash) = (expected.keys.len(), hash(&value));
            expected.rows.push(ExpectedRow { start, end, value_hash });
            expected.bytes += (key.len() + value.len()) as u64;
        }
        let Expected { keys, rows, .. } = &mut expected;
        rows.sort_unstable_by_key(|row| &keys[row.start..row.end]);
        Ok(expected)
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The row at `index` of the key order.
    pub fn row(&self, index: usize) -> (&[u8], u64) {
        let row = &self.rows[index];
        (&self.keys[row.start..row.end], row.value_hash)
    }
}

/// The hash by which values are compared.
pub fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    hasher.finish()
}
