//! Real processes on real file systems: a worker that acknowledges what it has synced, and drivers
//! that kill it, stop it, starve it, fill its disk and cut its power, and look from outside at what
//! is left.
//!
//! | file | owns |
//! |---|---|
//! | `load` | what a worker writes, and what must be found after so many batches |
//! | `worker` | the process that writes |
//! | `child` | such a process, as a driver sees it |
//! | `kill` | `kill -9` at any moment |
//! | `together` | two processes that want the same database, one of them stopped perhaps |
//! | `limits` | too few descriptors, too small files, too little memory |
//! | `memory` | how much a process takes that does what takes most |
//! | `mount` | file systems of our own, where that is allowed |
//! | `full` | a small file system that fills up, and has space again |
//! | `power_cut` | a file system that is shut down, and mounted again |
//! | `inject` | system calls that fail, by `strace` |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]
#![expect(missing_docs, reason = "the names of steps and choices say what they are")]

pub mod child;
pub mod full;
pub mod inject;
pub mod kill;
pub mod limits;
pub mod load;
pub mod memory;
pub mod mount;
pub mod power_cut;
pub mod together;
pub mod worker;

/// Why something was not run here.
#[derive(Debug)]
pub struct Skipped(pub String);

/// What a driver has counted, or why it could not.
pub type Outcome<T> = Result<T, Skipped>;
