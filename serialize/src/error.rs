//! What is wrong with bytes that were read.

use std::fmt;

/// Bytes that break a rule of the format: what they should have been, where they lie, which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The structure that was being read, as a noun: `"page"`, `"superblock"`.
    pub what: &'static str,
    /// The byte at which it was noticed: within the structure, until [`Corruption::within`] moves
    /// it to the place in the file.
    pub offset: u64,
    /// The file that holds it, once known.
    pub file: Option<String>,
    /// The rule that does not hold, as a clause: `"its checksum differs"`.
    pub rule: &'static str,
}

impl Corruption {
    /// Something at byte `offset` of a `what` that breaks `rule`.
    pub fn new(what: &'static str, offset: u64, rule: &'static str) -> Corruption {
        Corruption { what, offset, file: None, rule }
    }

    /// Says that the structure starts at byte `start` of `file`.
    #[must_use]
    pub fn within(mut self, file: &str, start: u64) -> Corruption {
        if self.file.is_none() {
            self.offset = self.offset.saturating_add(start);
            self.file = Some(file.to_owned());
        }
        self
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corrupt {} at byte {}", self.what, self.offset)?;
        if let Some(file) = &self.file {
            write!(f, " of {file}")?;
        }
        write!(f, ": {}", self.rule)
    }
}

impl std::error::Error for Corruption {}
