//! What the benches of this package measure below the public API. Not part of that API: hidden
//! from the documentation, and changed without notice.

use sapwood_serialize::{Meter, Msn, Op, TreeId};

use crate::memtable::Memtable;

/// A memtable of one tree.
pub struct MemtableBench(Memtable);

impl MemtableBench {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "only benches call it")]
    pub fn new() -> MemtableBench {
        MemtableBench(Memtable::new(&Meter::new()))
    }

    /// Puts `value` at `key` as message `msn`.
    pub fn put(&self, key: &[u8], msn: u64, value: &[u8]) {
        self.0.insert(TreeId::from_raw(1), key, Msn::from_raw(msn), Op::Put(value));
    }

    /// The length of the newest value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<usize> {
        let version = self.0.get(TreeId::from_raw(1), key, Msn::from_raw(u64::MAX))?;
        Some(version.op.payload().len())
    }

    /// How many rows a scan of everything sees.
    pub fn scan(&self) -> usize {
        let mut cursor = self.0.cursor(TreeId::from_raw(1));
        let mut rows = 0;
        cursor.seek_first();
        while cursor.valid() {
            rows += 1;
            cursor.next_key();
        }
        rows
    }

    /// The bytes in use.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
