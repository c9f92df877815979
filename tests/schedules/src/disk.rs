//! The simulated disk, each call of which is a moment for other threads.
//!
//! Its clock is virtual: it goes on by calls, and by what somebody sleeps. A database that has let
//! go of its lock must not change a file any more, because the folder may be another one's by then;
//! one that does panics.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sapwood_serialize::{LockError, MappedFile, Storage, StorageFile, StorageLock};
use sapwood_sim::disk::SimDisk;

/// A simulated disk under a schedule; clones are the same disk.
#[derive(Clone)]
pub struct Disk(pub SimDisk);

impl Disk {
    /// An empty disk.
    pub fn new(seed: u64) -> Disk {
        Disk(SimDisk::new(seed))
    }

    /// The disk for one opening of a database.
    pub fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(Lent { disk: self.0.clone(), lease: Lease::default() })
    }
}

/// Whether who opened the folder may still change it. Real atomics, so that a look is no moment for
/// other threads.
#[derive(Clone, Default)]
struct Lease(Arc<AtomicBool>);

impl Lease {
    /// A moment for other threads, before something that is allowed at any time.
    fn switch() {
        shuttle::thread::sleep(Duration::ZERO);
    }

    /// A moment for other threads, before a change.
    fn change(&self) {
        Lease::switch();
        assert!(!self.0.load(Ordering::Relaxed), "it changes files that it has let go of");
    }
}

/// Holds the folder; the lease ends with it.
struct Lock {
    _held: Box<dyn StorageLock>,
    lease: Lease,
}

impl StorageLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.lease.0.store(true, Ordering::Relaxed);
    }
}

struct Lent {
    disk: SimDisk,
    lease: Lease,
}

impl Lent {
    fn file(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(File { file, lease: self.lease.clone() })
    }
}

impl Storage for Lent {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Lease::switch();
        Ok(self.file(self.disk.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.lease.change();
        Ok(self.file(self.disk.create(name)?))
    }

    fn map(&self, name: &str, bytes: u64) -> io::Result<Option<Box<dyn MappedFile>>> {
        self.lease.change();
        let mapped = self.disk.map(name, bytes)?;
        let lease = self.lease.clone();
        Ok(mapped.map(|file| Box::new(Mapped { file, lease }) as Box<dyn MappedFile>))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lease.change();
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Lease::switch();
        self.disk.list()
    }

    fn sync_names(&self) -> io::Result<()> {
        Lease::switch();
        self.disk.sync_names()
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        Ok(Box::new(Lock { _held: self.disk.lock()?, lease: self.lease.clone() }))
    }

    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.disk.lock_shared()
    }

    fn now(&self) -> Duration {
        self.disk.now()
    }

    fn sleep(&self, time: Duration) {
        self.disk.sleep(time);
        shuttle::thread::yield_now();
    }

    fn random(&self) -> [u8; 16] {
        self.disk.random()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

struct Mapped {
    file: Box<dyn MappedFile>,
    lease: Lease,
}

impl MappedFile for Mapped {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.lease.change();
        self.file.put(offset, bytes)
    }
}

struct File {
    file: Arc<dyn StorageFile>,
    lease: Lease,
}

impl StorageFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Lease::switch();
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.lease.change();
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Lease::switch();
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.lease.change();
        self.file.set_len(bytes)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.lease.change();
        self.file.allocate(offset, bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.lease.change();
        self.file.punch(offset, bytes)
    }

    fn start_writeback(&self, offset: u64, bytes: u64) {
        self.file.start_writeback(offset, bytes);
    }
}
