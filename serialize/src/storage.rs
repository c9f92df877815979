//! The only way to disk and to the clock.
//!
//! A [`Storage`] is one folder: files by name, a lock, and a monotonic clock. What is written is
//! durable only after [`StorageFile::sync`]; that a file exists (or no longer does) is durable only
//! after [`Storage::sync_names`]. Nothing else orders anything.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One folder that holds one database.
pub trait Storage: Send + Sync + 'static {
    /// Opens an existing file. `NotFound` when there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates a file of zero bytes, or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Removes a file; readers that have it open keep it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, in order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `bytes` zeros, in place of the one that is there, to be written by copying
    /// into memory. `None` where the storage has no such files.
    fn map(&self, _name: &str, _bytes: u64) -> io::Result<Option<Box<dyn MappedFile>>> {
        Ok(None)
    }

    /// Makes every creation and removal so far durable.
    fn sync_names(&self) -> io::Result<()>;

    /// Takes the folder for one writer until the guard is dropped (or the process ends).
    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError>;

    /// Takes the folder for one of any number of readers: no writer gets it meanwhile, and none of
    /// them while a writer has it. A storage that has no such lock takes the writer's.
    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.lock()
    }

    /// Time since some moment in the past; never goes back.
    fn now(&self) -> Duration;

    /// Lets `time` pass.
    fn sleep(&self, time: Duration);

    /// 16 random bytes, the identity of a new database.
    fn random(&self) -> [u8; 16];

    /// The folder's name for error sentences.
    fn describe(&self) -> String;
}

/// One file. All offsets and lengths are bytes.
pub trait StorageFile: Send + Sync + 'static {
    /// Fills `buffer` from `offset`; `UnexpectedEof` when the file is too short.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable, and the length with it.
    fn sync(&self) -> io::Result<()>;

    /// The file's length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or grows it with zeros that may take no space.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Puts space that is really there behind a stretch, punched or beyond the end of the file,
    /// which grows to hold it: later writes to it do not meet a full disk. `StorageFull` when there
    /// is not enough. Nobody needs what the stretch holds: it may be zeros afterwards.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Gives the space of a stretch back; it then reads as zeros. Best effort: a file system that
    /// cannot do it keeps the bytes.
    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Hints that reads will be small and anywhere, so that reading ahead would be in vain.
    fn expect_random_reads(&self) {}

    /// Hints that a stretch will be read soon: the system may fetch it meanwhile.
    fn will_read(&self, _offset: u64, _bytes: u64) {}

    /// Hints that a stretch was written and should go to the device soon. Where it has gone there
    /// already, the system may let go of its copy: who hints at it once more will not read it.
    fn start_writeback(&self, offset: u64, bytes: u64);
}

/// A file that is written by copying into memory, which costs no call of the system. Whoever reads
/// the file finds what was put there, also when the process was killed right afterwards; in a power
/// cut it is lost, wholly or in parts, like anything that was written and not synced.
pub trait MappedFile: Send {
    /// Copies `bytes` to `offset`; they lie within the file. After an error the stretch may hold
    /// anything.
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// Holds a folder for one writer, or for one of several readers; dropping it lets go.
pub trait StorageLock: Send + Sync {}

/// Why a folder could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process (or another `Database` of this one) has it; what is known of the holder.
    Held(String),
    /// The lock file could not be opened or locked.
    Io(io::Error),
}
