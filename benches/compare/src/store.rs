//! What a workload asks of a store; each engine answers in a file of its own below `engines`.
//!
//! The store draws rows and the workload takes the time: a row's latency runs from the moment it
//! was handed out to the moment the next one is asked for. So an engine that collects rows in
//! transactions pays for a commit in the latency of the row that caused it, whatever its calls look
//! like.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::row::{Key, Value};

/// Where a store lies and what it may use.
pub struct Place {
    pub folder: PathBuf,
    /// All the memory that the engine is told to use, caches and write buffers together.
    pub cache_bytes: u64,
}

/// Rows to be stored.
pub trait Source {
    /// The next row; `None` when all were handed out.
    fn next_row(&mut self) -> Option<(Key, Value)>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// An open store with one table.
pub trait Store {
    /// Stores all rows, each so that it survives a kill as soon as the engine's cheapest call for
    /// that allows.
    fn load(&mut self, rows: &mut dyn Source) -> Result<()>;

    /// Waits until the engine has nothing left to do in the background; returns how much of the
    /// waiting was only to be sure.
    fn drain(&mut self) -> Result<Duration>;

    /// Reads the rows as they are now.
    fn reader(&self) -> Result<Box<dyn Reader + '_>>;

    /// What the engine itself counts, by name.
    fn own_figures(&self) -> Result<Vec<(&'static str, f64)>>;

    /// Closes the store; everything in it is then found by the next opening.
    fn close(self: Box<Self>) -> Result<()>;
}

/// What a scan calls for each row, with key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reads of one state of the table.
pub trait Reader {
    /// Puts the value of `key` into `value`; whether there is one.
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool>;

    /// Visits the rows from `from` on, that one included, or from the end where that is `None`.
    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()>;
}

/// Visits what an iterator of an engine gives, until the visitor has enough.
pub fn visit_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    entries: impl Iterator<Item = Result<(K, V)>>,
    visit: &mut Visit<'_>,
) -> Result<()> {
    for entry in entries {
        let (key, value) = entry?;
        if visit(key.as_ref(), value.as_ref()).is_break() {
            break;
        }
    }
    Ok(())
}
