//! The write-ahead log: one file a generation, frames one after the other.
//!
//! ```text
//! wal-0000000007   header | mark | group | group | zeros       sealed
//! wal-0000000008   header | mark | group | mark | zeros        active
//! wal-0000000009   header | zeros                              made ahead, durable
//! tail-0000000005  group | group | left over                   not in the active one yet
//! ```
//!
//! A file is there only when the header of the one before is durable. So a file that is missing, or
//! whose header cannot be read, while there is a later one, was lost by the disk.

mod append;
mod blank;
mod company;
mod outgoing;
mod reader;
mod runway;
mod sound;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use sapwood_serialize::GenerationId;

pub(crate) use reader::{
    Logged, ReadFile, ReadLog, read_log, read_log_so_far, rewrite_tail, runs_in,
};
pub(crate) use writer::{Log, LogStart, remove_after, remove_before, remove_tails};

const PREFIX: &str = "wal-";

/// The name of a generation's file; names sort as the numbers do.
pub(crate) fn file_name(generation: GenerationId) -> String {
    format!("{PREFIX}{:010}", generation.to_raw())
}

/// The generation that a file belongs to; `None` for a file that is no log.
pub(crate) fn generation_of(name: &str) -> Option<GenerationId> {
    // No database lives to see the bound; a larger number is a stranger's.
    let number = name.strip_prefix(PREFIX)?.parse().ok().filter(|number| *number < 1 << 60)?;
    Some(GenerationId::from_raw(number)).filter(|generation| file_name(*generation) == name)
}
