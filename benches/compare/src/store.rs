//! What a workload asks of a store; each engine answers in a file of its own below `stores`.
//!
//! ```text
//! Store::run        operations one by one, as a script hands them out, from one thread
//! Store::read       reads of one state
//! Store::committer  commits that wait for the disk, one committer for each thread
//! ```
//!
//! In a run the store draws operations and the script takes the time: the latency of an operation
//! runs from the moment it was handed out to the moment the next one is asked for. So an engine
//! that collects operations in transactions pays for a commit in the latency of the operation that
//! caused it, whatever its calls look like.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::answer::Answer;
use crate::row::{Key, Value};

/// Where a store lies and what it may use.
pub struct Place {
    pub folder: PathBuf,
    /// All the memory that the engine is told to use, caches and write buffers together.
    pub cache_bytes: u64,
    /// Operations in one transaction, for engines whose commits are not made to be small.
    pub group: usize,
    /// How long nothing must happen before an engine counts as at rest.
    pub quiet: Duration,
    /// Whether what is asked for lies side by side, so that it pays to read ahead.
    #[cfg_attr(not(feature = "heed"), expect(dead_code, reason = "only LMDB wants to know"))]
    pub is_ordered: bool,
}

/// What a script wants done.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Put(Key, Value),
    /// Adds to a counter of 8 bytes, little-endian, which is 0 where there is none.
    Add(Key, u64),
    Remove(Key),
    /// Removes from the first key on, that one included, up to the second, that one excluded.
    RemoveRange(Key, Key),
    Get(Key),
    /// So many rows from a key on, forward.
    Scan(Key, usize),
}

/// Operations to be carried out, and what is made of their answers.
pub trait Script {
    /// The next operation; `None` at the end. The last one counts as done now.
    fn next_operation(&mut self) -> Option<Operation>;

    /// Where the answer to the operation that was handed out last belongs.
    fn answer(&mut self) -> &mut Answer;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// An open store with one table.
pub trait Store {
    /// Carries out all operations, each so that it survives a kill as soon as the engine's cheapest
    /// call for that allows.
    fn run(&mut self, script: &mut dyn Script) -> Result<()>;

    /// Waits until the engine has nothing left to do in the background; returns how much of the
    /// waiting was only to be sure.
    fn drain(&mut self) -> Result<Duration>;

    /// Lets `work` read the rows as they are now.
    fn read(&self, work: &mut Work<'_>) -> Result<()>;

    /// Commits from one of several threads.
    fn committer(&self) -> Result<Box<dyn Committer + '_>>;

    /// What the engine itself counts, by name.
    fn own_figures(&self) -> Result<Vec<(&'static str, f64)>> {
        Ok(Vec::new())
    }

    /// Closes the store; everything in it is then found by the next opening.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Commits that are on the disk when the call returns.
pub trait Committer: Send {
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()>;
}

/// What reads one state of a store.
pub type Work<'a> = dyn FnMut(&dyn Reader) -> Result<()> + 'a;

/// What a scan calls for each row, with key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Reads of one state of the table.
pub trait Reader {
    /// Puts the value of `key` into `value`; whether there is one.
    fn get(&self, key: &Key, value: &mut Vec<u8>) -> Result<bool>;

    /// Visits the rows from `from` on, that one included, or from the end where that is `None`.
    fn scan(&self, from: Option<&Key>, direction: Direction, visit: &mut Visit<'_>) -> Result<()>;
}

/// A table that is open for writing, and reads what was written.
pub trait Table: Reader {
    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()>;

    fn remove(&mut self, key: &Key) -> Result<()>;

    /// Reads and writes, for engines that cannot add blindly.
    fn add(&mut self, key: &Key, amount: u64) -> Result<()> {
        let mut value = Vec::new();
        let before = match self.get(key, &mut value)? {
            true => counter(&value)?,
            false => 0,
        };
        self.put(key, &before.wrapping_add(amount).to_le_bytes())
    }

    /// Removes key by key, for engines that have nothing better.
    fn remove_range(&mut self, from: &Key, to: &Key) -> Result<()> {
        let mut keys = Vec::new();
        self.scan(Some(from), Direction::Forward, &mut |key, _| {
            match Key::try_from(key) {
                Ok(key) if key < *to => keys.push(key),
                _ => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        })?;
        keys.iter().try_for_each(|key| self.remove(key))
    }
}

/// The number that a counter's value holds.
pub fn counter(value: &[u8]) -> Result<u64> {
    let bytes = <[u8; 8]>::try_from(value).map_err(|_| "a counter does not have 8 bytes")?;
    Ok(u64::from_le_bytes(bytes))
}

/// Carries out up to `most` operations; whether there may be more.
pub fn perform(
    table: &mut dyn Table,
    script: &mut dyn Script,
    most: usize,
) -> Result<ControlFlow<()>> {
    for _ in 0..most {
        let Some(operation) = script.next_operation() else {
            return Ok(ControlFlow::Break(()));
        };
        match operation {
            Operation::Put(key, value) => table.put(&key, &value)?,
            Operation::Add(key, amount) => table.add(&key, amount)?,
            Operation::Remove(key) => table.remove(&key)?,
            Operation::RemoveRange(from, to) => table.remove_range(&from, &to)?,
            Operation::Get(key) => script.answer().take(|value| table.get(&key, value))?,
            Operation::Scan(key, rows) => {
                let answer = script.answer();
                answer.expect(Direction::Forward, rows);
                table.scan(Some(&key), Direction::Forward, &mut |key, _| answer.meet(key))?;
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Leaves in `value` what an engine has found, or nothing; returns whether it has found anything.
pub fn keep(found: Option<&[u8]>, value: &mut Vec<u8>) -> bool {
    value.clear();
    value.extend_from_slice(found.unwrap_or_default());
    found.is_some()
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
