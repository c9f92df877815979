//! The bytes of a database at rest, by file name.

use std::collections::BTreeMap;

/// The file of blocks.
pub const BLOCK_FILE: &str = "sapwood.db";
/// The unit in which the block file is written.
pub const BLOCK: usize = 4096;
/// The unit in which a device writes.
pub const SECTOR: usize = 512;

/// All files of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The log files, oldest first.
    pub fn logs(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| name.starts_with("wal-"))
    }

    pub fn get(&self, name: &str) -> Option<&Vec<u8>> {
        self.0.get(name)
    }

    /// The bytes of a file that is there.
    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.0[name]
    }

    pub fn bytes_mut(&mut self, name: &str) -> &mut Vec<u8> {
        self.0.get_mut(name).unwrap()
    }

    /// How many bytes all of them have.
    pub fn total(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}
