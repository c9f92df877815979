//! The simulated disk, each call of which is a moment for other threads.
//!
//! Its clock is virtual: it goes on by calls, and by what somebody sleeps.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sapwood_serialize::{LockError, Storage, StorageFile, StorageLock};
use sapwood_sim::disk::SimDisk;

/// A simulated disk under a schedule; clones are the same disk.
#[derive(Clone)]
pub struct Disk(pub SimDisk);

impl Disk {
    /// An empty disk.
    pub fn new(seed: u64) -> Disk {
        Disk(SimDisk::new(seed))
    }
}

fn switch() {
    shuttle::thread::sleep(Duration::ZERO);
}

impl Storage for Disk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        switch();
        Ok(Arc::new(File(self.0.open(name)?)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        switch();
        Ok(Arc::new(File(self.0.create(name)?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        switch();
        self.0.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        switch();
        self.0.list()
    }

    fn sync_names(&self) -> io::Result<()> {
        switch();
        self.0.sync_names()
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.0.lock()
    }

    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.0.lock_shared()
    }

    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, time: Duration) {
        self.0.sleep(time);
        shuttle::thread::yield_now();
    }

    fn random(&self) -> [u8; 16] {
        self.0.random()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

struct File(Arc<dyn StorageFile>);

impl StorageFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        switch();
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        switch();
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        switch();
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        switch();
        self.0.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        switch();
        self.0.allocate(bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        switch();
        self.0.punch(offset, bytes)
    }

    fn start_writeback(&self, offset: u64, bytes: u64) {
        self.0.start_writeback(offset, bytes);
    }
}
