//! What can go wrong between memory and disk.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use sapwood_serialize::Corruption;

/// A failed action on the database's files. Cheap to clone, so that everyone who waits gets it.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The system refused.
    Io {
        /// What was tried: a verb in its `-ing` form.
        doing: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Bytes that were read break a rule of the format.
    Corrupt(Corruption),
    /// There is no space for `bytes` more. Nothing was written; it can be tried again.
    DiskFull {
        /// How many bytes were wanted.
        bytes: u64,
    },
    /// A commit's write failed: whether the commit is on disk is not known.
    Indeterminate(Arc<Fault>),
    /// The database was closed.
    Closed,
    /// The work was broken off because something else is more urgent; it can be done later.
    Stopped,
    /// Work on the database panicked with this message.
    Panicked(Arc<str>),
    /// An earlier write or sync failed; since then nothing is written any more.
    Poisoned(Arc<Fault>),
}

impl Fault {
    /// A failure of the system, told apart from a full disk.
    pub fn io(doing: &'static str, file: &str, error: io::Error) -> Fault {
        Fault::Io { doing, file: file.to_owned(), source: Arc::new(error) }
    }

    /// Whether nothing happened and it can be tried again.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Fault::DiskFull { .. } | Fault::Stopped)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Io { doing, file, source } => write!(f, "{doing} {file} failed: {source}"),
            Fault::Corrupt(corruption) => corruption.fmt(f),
            Fault::DiskFull { bytes } => {
                write!(
                    f,
                    "the disk is full: {bytes} more bytes are needed; free some space and try again"
                )
            }
            Fault::Indeterminate(cause) => cause.fmt(f),
            Fault::Closed => f.write_str("the database is closed"),
            Fault::Stopped => f.write_str("the work was put off; try it again"),
            Fault::Panicked(message) => write!(f, "work on the database panicked: {message}"),
            Fault::Poisoned(cause) => write!(
                f,
                "the database takes no more writes since an earlier failure ({cause}); reopen it"
            ),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Io { source, .. } => Some(&**source),
            Fault::Corrupt(corruption) => Some(corruption),
            Fault::Poisoned(cause) | Fault::Indeterminate(cause) => Some(&**cause),
            Fault::DiskFull { .. } | Fault::Closed | Fault::Stopped | Fault::Panicked(_) => None,
        }
    }
}

impl From<Corruption> for Fault {
    fn from(corruption: Corruption) -> Fault {
        Fault::Corrupt(corruption)
    }
}

/// Remembers the first failed write or sync, or panic. After one, nobody knows what is on disk, so
/// nothing more is written, released or acknowledged, and nothing is tried again.
#[derive(Debug, Default)]
pub struct Poison(OnceLock<Arc<Fault>>);

impl Poison {
    /// Records `fault` unless there was one before, and returns it.
    pub fn record(&self, fault: Fault) -> Fault {
        let _ = self.0.set(Arc::new(fault.clone()));
        fault
    }

    /// The first failure, wrapped for whoever comes later.
    pub fn check(&self) -> Result<(), Fault> {
        self.0.get().map_or(Ok(()), |cause| Err(Fault::Poisoned(cause.clone())))
    }

    /// The first failure itself.
    pub fn cause(&self) -> Option<Arc<Fault>> {
        self.0.get().cloned()
    }
}
