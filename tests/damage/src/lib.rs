//! Small databases, everything that can happen to their bytes, and what may be read of them then.
//!
//! | file | owns |
//! |---|---|
//! | `files` | the bytes of a database at rest |
//! | `storage` | a disk that counts its calls, and refuses to be called without end |
//! | `memory` | an allocator that counts, so that a test can bound what reading takes |
//! | `specimen` | databases of every kind, and everything that was ever in them |
//! | `harm` | one thing that happens to the files; all of them, and samples |
//! | `judge` | opens, reads, checks, writes; every read is right, or an error that says where |
//! | `salvager` | salvages; every row kept is right, or an older one where that was said |
//! | `anatomy` | what lies where in the files, found through the tables |
//! | `forge` | bytes changed under checksums that hold |
//! | `decoders` | every decoder of the format, fed with such bytes |
//! | `samples` | sound bytes for each of them |
//! | `sweep` | goes through harms, a sample or all, and tells how to repeat one |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]
#![expect(missing_docs, reason = "the names of harms and parts say what they are")]

pub mod anatomy;
pub mod decoders;
pub mod files;
pub mod forge;
pub mod harm;
pub mod judge;
pub mod memory;

pub mod salvager;
pub mod samples;
pub mod specimen;
pub mod storage;
pub mod sweep;
