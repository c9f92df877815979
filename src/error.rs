//! The one error of the public API.

use std::fmt;
use std::sync::Arc;

use sapwood_cachetable::Fault;
use sapwood_cachetable::block_file::OpenFault;
use sapwood_serialize::catalog_image::OperatorName;
use sapwood_serialize::superblock::SuperblockError;
use sapwood_serialize::{Corruption, LockError, MergeError};

use crate::refusal::Refusal;
use crate::typed::CodecError;

/// A result with sapwood's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done: a sentence to print, and questions to ask.
///
/// It is cheap to clone, so that everyone who waited for the same thing gets it.
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// let db = sapwood::Config::in_memory().open()?;
/// let error = db.tree("t")?.insert(vec![0; 70_000], "v").unwrap_err();
/// assert_eq!(error.to_string(), "the key has 70000 bytes; at most 65535 are allowed");
/// assert!(!error.is_retryable());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Kind>);

#[derive(Debug)]
pub(crate) enum Kind {
    Fault(Fault),
    /// A commit whose write failed: nobody knows whether it is on disk.
    Indeterminate(Fault),
    Superblock {
        file: String,
        cause: SuperblockError,
    },
    Locked {
        folder: String,
        holder: String,
    },
    Open {
        folder: String,
        source: std::io::Error,
    },
    NotADatabase(String),
    /// A copy's folder holds something.
    NotEmpty(String),
    /// A copy could not be written.
    Copy {
        folder: String,
        cause: Fault,
    },
    NoDatabase(String),
    KeyTooLarge(usize),
    ValueTooLarge {
        bytes: usize,
        most: usize,
    },
    BatchTooLarge {
        bytes: u64,
        most: u64,
    },
    TreeName(String),
    NoSuchTree(String),
    /// A handle's tree is gone.
    TreeDropped(String),
    /// The name is taken.
    TreeExists(String),
    OtherDatabase,
    /// Somebody else has changed a key that a transaction depends on.
    Conflict {
        tree: String,
        key: Box<[u8]>,
    },
    /// A row of a bulk load whose key is not above the one before.
    NotAscending {
        row: u64,
        key: Box<[u8]>,
    },
    /// A row is not changed as it was asked for.
    Refused(Refusal),
    /// A savepoint that a transaction cannot go back to.
    Savepoint,
    /// A tree was opened with another operator than it has.
    Operator {
        tree: String,
        stored: OperatorName,
        declared: OperatorName,
    },
    /// A tree was opened with another option than it was created with.
    TreeOption {
        tree: String,
        option: &'static str,
        stored: String,
        given: String,
    },
    /// A merge into a tree whose operator nobody has declared.
    NoOperator(String),
    /// A merge operator has failed on a key.
    Merge {
        key: Box<[u8]>,
        cause: MergeError,
    },
    /// A codec has refused a value.
    Encode {
        tree: String,
        type_name: &'static str,
        reason: CodecError,
    },
    /// A row does not fit the types with which it is read.
    Decode {
        tree: String,
        key: Box<[u8]>,
        part: RowPart,
        type_name: &'static str,
        reason: CodecError,
    },
    Option {
        option: &'static str,
        reason: String,
    },
    Closed,
    /// A change of a database that was opened for reading alone.
    ReadOnly,
    /// What would have to be replayed is more than a reader keeps in memory.
    NeedsRecovery(LargeLog),
    /// Background work is asked for while it is paused.
    Paused,
    Verify(String),
    /// A database of which nothing can be found any more.
    Lost {
        folder: String,
        reason: String,
    },
}

const READ_ONLY: &str =
    "the database was opened read-only and takes no changes; open it for writing";

/// A log that is too large for a reader.
#[derive(Debug)]
pub(crate) struct LargeLog {
    pub(crate) folder: String,
    pub(crate) bytes: u64,
    /// So much memory its replay may take.
    pub(crate) most: u64,
}

impl fmt::Display for LargeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LargeLog { folder, bytes, most } = self;
        write!(
            f,
            "the database {folder} was not closed, and replaying its log of {bytes} bytes takes \
             more than the {most} bytes that a reader has for it; open it once for writing, or \
             give it a larger cache"
        )
    }
}

/// Which part of a row is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowPart {
    Key,
    Value,
}

impl fmt::Display for RowPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowPart::Key => "the key",
            RowPart::Value => "the value of the key",
        })
    }
}

impl Error {
    pub(crate) fn new(kind: Kind) -> Error {
        Error(Arc::new(kind))
    }

    /// The fault that it came from, for whoever can only pass faults on.
    pub(crate) fn to_fault(&self) -> Fault {
        match self.fault() {
            Some(fault) => fault.clone(),
            None => Fault::io(
                "looking through",
                "what was committed",
                std::io::Error::other(self.clone()),
            ),
        }
    }

    /// The name of its kind, for tests.
    #[doc(hidden)]
    pub fn kind_name(&self) -> String {
        let text = format!("{:?}", self.0);
        text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
    }

    fn fault(&self) -> Option<&Fault> {
        match &*self.0 {
            Kind::Fault(fault) | Kind::Indeterminate(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether a transaction lost against another one and can be run again.
    pub fn is_conflict(&self) -> bool {
        matches!(&*self.0, Kind::Conflict { .. })
    }

    /// Whether a key was to be inserted that is there already, and must not be overwritten.
    pub fn is_already_exists(&self) -> bool {
        matches!(&*self.0, Kind::Refused(refusal) if refusal.is_already_exists())
    }

    /// Whether a row was to be changed that is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(&*self.0, Kind::Refused(refusal) if refusal.is_not_found())
    }

    /// Whether bytes on disk break a rule of the format.
    pub fn is_corruption(&self) -> bool {
        let corrupt = matches!(self.fault(), Some(Fault::Corrupt(_)));
        let superblock = matches!(
            &*self.0,
            Kind::Superblock { cause: SuperblockError::Corrupt(_) | SuperblockError::NotOurs, .. }
        );
        corrupt || superblock || matches!(&*self.0, Kind::Verify(_) | Kind::Lost { .. })
    }

    /// Whether nothing happened and the same may work later: the disk was full, another process had
    /// the database, or a transaction lost against another one and can be run again.
    pub fn is_retryable(&self) -> bool {
        let target = match &*self.0 {
            Kind::Copy { cause, .. } => Some(cause),
            _ => None,
        };
        let full = self.fault().or(target).is_some_and(Fault::is_retryable);
        full || matches!(&*self.0, Kind::Locked { .. } | Kind::Conflict { .. })
    }

    /// Whether this handle takes no more writes: it was closed, an earlier write or sync failed, or
    /// work on the database panicked.
    pub fn is_fatal(&self) -> bool {
        let poisoned = matches!(
            self.fault(),
            Some(Fault::Poisoned(_) | Fault::Panicked(_) | Fault::Io { .. })
        );
        poisoned || matches!(&*self.0, Kind::Closed)
    }

    /// Whether a commit's fate is unknown: its write or sync failed, and it may or may not be found
    /// after the database is opened again.
    pub fn is_indeterminate(&self) -> bool {
        matches!(&*self.0, Kind::Indeterminate(_))
    }

    /// Whether a merge operator failed, or is not declared: only this key is concerned.
    pub fn is_merge(&self) -> bool {
        matches!(&*self.0, Kind::Merge { .. })
    }

    /// Whether a key or value of a [`TypedTree`](crate::TypedTree) does not fit the types with
    /// which it is read: only this row is concerned, and the untyped tree still reads it.
    pub fn is_decode(&self) -> bool {
        matches!(&*self.0, Kind::Decode { .. })
    }

    /// Whether a change was asked of a database that was opened for reading alone
    /// ([`Config::read_only`](crate::Config::read_only)).
    pub fn is_read_only(&self) -> bool {
        matches!(&*self.0, Kind::ReadOnly)
    }

    /// Whether a database cannot be opened for reading alone because its log is too large to be
    /// replayed in memory: opening it once for writing makes it readable.
    pub fn is_needs_recovery(&self) -> bool {
        matches!(&*self.0, Kind::NeedsRecovery(_))
    }

    /// Whether another process (or another handle of this one) holds the database.
    pub fn is_locked(&self) -> bool {
        matches!(&*self.0, Kind::Locked { .. })
    }
}

impl fmt::Display for Error {
    #[expect(clippy::too_many_lines, reason = "a list: one sentence for each kind")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Fault(fault) => fault.fmt(f),
            Kind::Indeterminate(fault) => {
                write!(f, "nobody knows whether the commit is on disk: {fault}")
            }
            Kind::Superblock { file, cause } => write!(f, "{file}: {cause}"),
            Kind::Locked { folder, holder } => write!(
                f,
                "the database {folder} is in use by {holder}; close it there, or open another one"
            ),
            Kind::Open { folder, source } => {
                write!(f, "the database {folder} cannot be opened: {source}")
            }
            Kind::NotADatabase(folder) => write!(
                f,
                "{folder} is no sapwood database: it holds other files and no block file; name an empty or a new folder"
            ),
            Kind::NotEmpty(folder) => {
                write!(f, "{folder} is not empty; name an empty or a new folder to write to")
            }
            Kind::Copy { folder, cause } => {
                write!(f, "the copy in {folder} could not be made: {cause}")
            }
            Kind::NoDatabase(folder) => write!(f, "there is no database in {folder}"),
            Kind::KeyTooLarge(bytes) => {
                let most = sapwood_serialize::KEY_BYTES_MAX;
                write!(f, "the key has {bytes} bytes; at most {most} are allowed")
            }
            Kind::ValueTooLarge { bytes, most } => write!(
                f,
                "the value has {bytes} bytes; at most {most} are allowed with this cache size"
            ),
            Kind::BatchTooLarge { bytes, most } => write!(
                f,
                "the batch has {bytes} bytes; at most {most} are allowed with this cache size"
            ),
            Kind::TreeName(reason) => write!(f, "the tree's name is not allowed: {reason}"),
            Kind::NoSuchTree(name) => write!(f, "there is no tree named {name:?}"),
            Kind::TreeDropped(name) => write!(
                f,
                "the tree {name:?} was dropped; open the tree of that name again to make a new one"
            ),
            Kind::TreeExists(name) => write!(
                f,
                "there is a tree named {name:?} already; choose another name, or rename that one first"
            ),
            Kind::OtherDatabase => f.write_str("the tree belongs to another database"),
            Kind::Conflict { tree, key } => write!(
                f,
                "the transaction lost against another one: the key \"{}\" of the tree {tree:?} was \
                 changed after it began; run it again",
                key.escape_ascii()
            ),
            Kind::NotAscending { row, key } => write!(
                f,
                "row {row} of the rows to ingest has the key \"{}\", which is not above the one \
                 before; sort the rows by key, each key once",
                key.escape_ascii()
            ),
            Kind::Refused(refusal) => refusal.fmt(f),
            Kind::Savepoint => f.write_str(
                "the savepoint is of another transaction, or was itself gone back behind; take a new one",
            ),
            Kind::Operator { tree, stored, declared } => write!(
                f,
                "the tree {tree:?} has the merge operator {:?} version {}, and was opened with {:?} \
                 version {}; open it with the operator that it has",
                stored.name, stored.version, declared.name, declared.version
            ),
            Kind::TreeOption { tree, option, stored, given } => write!(
                f,
                "the tree {tree:?} was created with {option} {stored}, and was opened with {given}; \
                 leave the option out, or give what the tree has"
            ),
            Kind::NoOperator(tree) => write!(
                f,
                "the tree {tree:?} has no merge operator; declare one when opening it, with tree_with"
            ),
            Kind::Merge { key, cause } => {
                write!(f, "the key \"{}\" cannot be merged: {cause}", key.escape_ascii())
            }
            Kind::Encode { tree, type_name, reason } => write!(
                f,
                "a value for the tree {tree:?} cannot be encoded by {type_name}: {reason}; nothing \
                 was written"
            ),
            Kind::Decode { tree, key, part, type_name, reason } => write!(
                f,
                "{part} \"{}\" in the tree {tree:?} cannot be decoded as {type_name}: {reason}; \
                 open the tree with the types it was written with",
                key.escape_ascii()
            ),
            Kind::Option { option, reason } => {
                write!(f, "the option {option} is refused: {reason}")
            }
            Kind::Closed => f.write_str("the database is closed"),
            Kind::ReadOnly => f.write_str(READ_ONLY),
            Kind::NeedsRecovery(log) => log.fmt(f),
            Kind::Paused => f.write_str("background work is paused; resume the daemon first"),
            Kind::Verify(what) => write!(f, "the database is damaged: {what}"),
            Kind::Lost { folder, reason } => {
                write!(f, "nothing can be salvaged from {folder}: {reason}")
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Kind::Fault(fault) | Kind::Indeterminate(fault) => fault.source(),
            Kind::Superblock { cause, .. } => Some(cause),
            Kind::Copy { cause, .. } => cause.source(),
            Kind::Open { source, .. } => Some(source),
            Kind::Merge { cause, .. } => Some(cause),
            Kind::Encode { reason, .. } | Kind::Decode { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::new(match fault {
            Fault::Closed => Kind::Closed,
            Fault::Indeterminate(cause) => Kind::Indeterminate((*cause).clone()),
            fault => Kind::Fault(fault),
        })
    }
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Error {
        Fault::from(corruption).into()
    }
}

impl Error {
    pub(crate) fn from_open(fault: OpenFault) -> Error {
        match fault {
            OpenFault::Fault(fault) => fault.into(),
            OpenFault::Superblock(cause) => {
                let file = sapwood_cachetable::BLOCK_FILE.to_owned();
                Error::new(Kind::Superblock { file, cause })
            }
        }
    }

    /// The key that could not be merged, if it was that.
    pub(crate) fn unmerged_key(&self) -> Option<&[u8]> {
        match &*self.0 {
            Kind::Merge { key, .. } => Some(key),
            _ => None,
        }
    }

    /// What is wrong with the bytes, if it was that.
    pub(crate) fn corruption(&self) -> Option<&Corruption> {
        match self.fault() {
            Some(Fault::Corrupt(corruption)) => Some(corruption),
            _ => None,
        }
    }

    pub(crate) fn from_merge(key: &[u8], cause: MergeError) -> Error {
        Error::new(Kind::Merge { key: key.into(), cause })
    }

    /// The system gives no thread.
    pub(crate) fn from_spawn(error: &std::io::Error) -> Error {
        let reason = format!("a thread could not be started: {error}");
        Error::new(Kind::Option { option: "background", reason })
    }

    pub(crate) fn from_lock(folder: String, error: LockError) -> Error {
        Error::new(match error {
            LockError::Held(holder) => Kind::Locked { folder, holder },
            LockError::Io(source) => Kind::Open { folder, source },
        })
    }
}
