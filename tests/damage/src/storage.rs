//! A disk in memory that counts its calls and refuses to be called without end.
//!
//! Its clock and its random numbers are the same in every run. What goes round in a circle on disk
//! runs into the limit, from which on every call fails; the test then sees that it was reached.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sapwood::{LockError, MappedFile, MemoryStorage, Storage, StorageFile, StorageLock};

use crate::files::Files;

/// Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    files: MemoryStorage,
    calls: Arc<Calls>,
    identity: [u8; 16],
    marks: Marks,
}

/// Which bytes of each file were read; clones are the same marks.
#[derive(Clone, Default)]
pub struct Marks(Arc<Mutex<BTreeMap<String, Vec<bool>>>>);

impl Marks {
    /// For these files, none of their bytes read yet.
    pub fn of(files: &Files) -> Marks {
        let unread = files.0.iter().map(|(name, bytes)| (name.clone(), vec![false; bytes.len()]));
        Marks(Arc::new(Mutex::new(unread.collect())))
    }

    /// What was marked so far.
    pub fn take(&self) -> BTreeMap<String, Vec<bool>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn mark(&self, name: &str, offset: u64, length: usize) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = marks.get_mut(name) {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(read.len());
            let end = start.saturating_add(length).min(read.len());
            read[start..end].fill(true);
        }
    }
}

struct Calls {
    made: AtomicU64,
    most: u64,
}

impl Calls {
    fn count(&self) -> io::Result<()> {
        if self.made.fetch_add(1, Ordering::Relaxed) < self.most {
            return Ok(());
        }
        Err(io::Error::other("the disk was called more often than any sound opening calls it"))
    }
}

impl Disk {
    /// A disk with these files that can be called `most` times, and marks what is read of those
    /// that `marks` knows.
    pub fn with(files: &Files, most: u64, marks: &Marks) -> Disk {
        let disk = MemoryStorage::new();
        for (name, bytes) in &files.0 {
            disk.create(name).unwrap().write_at(bytes, 0).unwrap();
        }
        let marks = marks.clone();
        let calls = Arc::new(Calls { made: AtomicU64::new(0), most });
        Disk { files: disk, calls, identity: *b"a damaged sample", marks }
    }

    /// An empty disk without a limit; the database made on it gets its identity from `seed`.
    pub fn seeded(seed: u64) -> Disk {
        let mut disk = Disk::with(&Files::default(), u64::MAX, &Marks::default());
        disk.identity[..8].copy_from_slice(&sapwood_serialize::checksum(seed, b"").to_le_bytes());
        disk
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.calls.made.load(Ordering::Relaxed)
    }

    /// Whether it was called more often than it may be.
    pub fn is_exhausted(&self) -> bool {
        self.calls() > self.calls.most
    }

    /// What is on it now.
    pub fn files(&self) -> Files {
        let names = self.files.list().unwrap();
        let read = |name: String| {
            let file = self.files.open(&name).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            (name, bytes)
        };
        Files(names.into_iter().map(read).collect())
    }

    fn handle(
        &self,
        name: &str,
        file: io::Result<Arc<dyn StorageFile>>,
    ) -> io::Result<Arc<dyn StorageFile>> {
        let (calls, marks) = (self.calls.clone(), self.marks.clone());
        Ok(Arc::new(Handle { name: name.to_owned(), file: file?, calls, marks }))
    }
}

impl Storage for Disk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.calls.count()?;
        self.handle(name, self.files.open(name))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.calls.count()?;
        self.handle(name, self.files.create(name))
    }

    fn map(&self, name: &str, bytes: u64) -> io::Result<Option<Box<dyn MappedFile>>> {
        let file = self.create(name)?;
        file.allocate(0, bytes)?;
        Ok(Some(Box::new(Mapped(file))))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.calls.count()?;
        self.files.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.calls.count()?;
        self.files.list()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.calls.count()
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.files.lock()
    }

    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.files.lock_shared()
    }

    /// Time passes by calls.
    fn now(&self) -> Duration {
        Duration::from_micros(self.calls())
    }

    fn sleep(&self, _time: Duration) {}

    fn random(&self) -> [u8; 16] {
        self.identity
    }

    fn describe(&self) -> String {
        "a harmed disk".to_owned()
    }
}

/// A mapped file: each copy is a write.
struct Mapped(Arc<dyn StorageFile>);

impl MappedFile for Mapped {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
}

struct Handle {
    name: String,
    marks: Marks,
    file: Arc<dyn StorageFile>,
    calls: Arc<Calls>,
}

impl StorageFile for Handle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.calls.count()?;
        self.marks.mark(&self.name, offset, buffer.len());
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.calls.count()?;
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.calls.count()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.calls.count()?;
        self.file.set_len(bytes)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.calls.count()?;
        self.file.allocate(offset, bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.calls.count()?;
        self.file.punch(offset, bytes)
    }

    fn start_writeback(&self, _offset: u64, _bytes: u64) {}
}
