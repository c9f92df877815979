//! A storage of which nothing can be changed, whatever lies below it.
//!
//! A database that is opened for reading alone lives on it, so that no mistake further up can reach
//! a file: what would change one is refused here, before the storage below hears of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sapwood_serialize::{LockError, Storage, StorageFile, StorageLock};

/// Another storage without everything that changes files.
pub struct ReadOnlyStorage(Arc<dyn Storage>);

impl ReadOnlyStorage {
    /// The files of `storage`, for reading.
    pub fn new(storage: Arc<dyn Storage>) -> ReadOnlyStorage {
        ReadOnlyStorage(storage)
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "it was opened for reading alone"))
}

impl Storage for ReadOnlyStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(ReadOnlyFile(self.0.open(name)?)))
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn StorageFile>> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn sync_names(&self) -> io::Result<()> {
        refused()
    }

    /// A reader's lock, too: there is no writer here.
    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.0.lock_shared()
    }

    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.0.lock_shared()
    }

    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, time: Duration) {
        self.0.sleep(time);
    }

    fn random(&self) -> [u8; 16] {
        self.0.random()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

struct ReadOnlyFile(Arc<dyn StorageFile>);

impl StorageFile for ReadOnlyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, _bytes: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        refused()
    }

    fn punch(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        refused()
    }

    fn expect_random_reads(&self) {
        self.0.expect_random_reads();
    }

    fn will_read(&self, offset: u64, bytes: u64) {
        self.0.will_read(offset, bytes);
    }

    fn start_writeback(&self, _offset: u64, _bytes: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn nothing_can_be_changed() {
        let below = MemoryStorage::new();
        below.create("a").unwrap().write_at(b"kept", 0).unwrap();
        let storage = ReadOnlyStorage::new(Arc::new(below.clone()));
        let file = storage.open("a").unwrap();
        let results = [
            file.write_at(b"x", 0),
            file.sync(),
            file.set_len(0),
            file.allocate(0, 100),
            file.punch(0, 4),
            storage.remove("a"),
            storage.create("b").map(|_| ()),
            storage.sync_names(),
        ];
        for result in results {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
        let mut bytes = [0; 4];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!((&bytes, file.len().unwrap()), (b"kept", 4));
        assert_eq!(below.list().unwrap(), ["a"]);
        let reader = storage.lock().unwrap();
        assert!(below.lock().is_err(), "a reader keeps writers out");
        drop((reader, storage.lock_shared().unwrap()));
    }
}
