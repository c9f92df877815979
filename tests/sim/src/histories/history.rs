//! What was recorded of concurrent transactions.
//!
//! A value is a list of numbers, each of which is written once in a history. In a history of
//! *lists* every write puts one number behind those that are there; in one of *registers* every
//! write replaces the value by one number, or by nothing.

/// One of a few keys, numbered from 0.
pub type Key = u8;

/// What a transaction did, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It found these numbers, its own included; none when the key was absent.
    Read(Key, Vec<u32>),
    /// Lists: it put this number behind the others.
    Append(Key, u32),
    /// Registers: it made this the value, or removed the key.
    Set(Key, Option<u32>),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With the sequence of the commit.
    Committed(u64),
    /// It lost, or was rolled back.
    Aborted,
}

/// Whether it depends on anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Transaction,
    /// A batch, which is never refused.
    Batch,
}

#[derive(Clone, Debug)]
pub struct Recorded {
    pub sort: Sort,
    /// The sequence of what it saw when it began.
    pub begin: u64,
    pub steps: Vec<Step>,
    /// Numbers that it wrote and took back before it ended.
    pub undone: Vec<u32>,
    pub outcome: Outcome,
}

impl Recorded {
    /// The sequence of its commit, if it was one that changed something.
    pub fn commit(&self) -> Option<u64> {
        let writes = self.steps.iter().any(|step| !matches!(step, Step::Read(..)));
        match self.outcome {
            Outcome::Committed(sequence) if writes => Some(sequence),
            _ => None,
        }
    }
}

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    Lists,
    Registers,
}

/// All transactions of a run; all keys were absent before them. For lists the last one reads all
/// keys after all others have ended.
#[derive(Clone, Debug)]
pub struct History {
    pub values: Values,
    pub all: Vec<Recorded>,
}

pub fn encode(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub fn decode(bytes: &[u8]) -> Vec<u32> {
    assert!(bytes.len().is_multiple_of(4), "a value was cut");
    bytes.chunks(4).map(|some| u32::from_le_bytes(some.try_into().unwrap())).collect()
}
