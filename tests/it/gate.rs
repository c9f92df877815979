//! A disk that lets a test in between: when somebody comes to a read, something else happens; and
//! syncs of the log do not come back while they are held.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sapwood::{
    Background, Config, Database, LockError, MappedFile, Storage, StorageFile, StorageLock, Tree,
};

use crate::sim::disk::SimDisk;

type Intruder = Box<dyn FnOnce() + Send>;

/// What happens at some later read, counted down; and what the disk was told of reads to come.
#[derive(Clone, Default)]
pub struct Gate {
    next: Arc<Mutex<Option<(usize, Intruder)>>>,
    hints: Arc<AtomicUsize>,
    /// The stretches of the block file that it was told of, as starts and ends.
    told: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Reads of the block file: those that it was told of, and the others.
    reads: Arc<[AtomicUsize; 2]>,
    /// The bytes of the longest read of a log file.
    longest_log_read: Arc<AtomicUsize>,
    /// Up to where it was asked to write out each file of the log, without a gap.
    written_out: Arc<Mutex<BTreeMap<String, u64>>>,
    /// How many bytes of the block file it was asked to write out.
    block_file_written_out: Arc<AtomicU64>,
    /// Whether syncs of the log are held.
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// At the read behind `reads` others, `intruder` runs: after the bytes were read, before the
    /// reader has them.
    pub fn set(&self, reads: usize, intruder: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some((reads, Box::new(intruder)));
    }

    /// Whether the intruder has not run; it never will.
    pub fn lift(&self) -> bool {
        self.next.lock().unwrap().take().is_some()
    }

    /// How often the disk was told of a read to come.
    pub fn hints(&self) -> usize {
        self.hints.load(Ordering::Relaxed)
    }

    /// How many reads of the block file the disk was told of, and how many it was not.
    pub fn reads(&self) -> (usize, usize) {
        let [told, others] = &*self.reads;
        (told.load(Ordering::Relaxed), others.load(Ordering::Relaxed))
    }

    /// The bytes of the longest read of a log file.
    pub fn longest_log_read(&self) -> usize {
        self.longest_log_read.load(Ordering::Relaxed)
    }

    /// How many bytes of the log the disk was asked to write out.
    pub fn written_out(&self) -> u64 {
        self.written_out.lock().unwrap().values().sum()
    }

    /// How many bytes of the block file the disk was asked to write out.
    pub fn block_file_written_out(&self) -> u64 {
        self.block_file_written_out.load(Ordering::Relaxed)
    }

    fn note_read(&self, offset: u64) {
        let told = self.told.lock().unwrap();
        let is_told = told.iter().any(|(start, end)| (*start..*end).contains(&offset));
        self.reads[usize::from(!is_told)].fetch_add(1, Ordering::Relaxed);
    }

    /// Lets no sync of a log file come back from now on.
    pub fn hold_log_syncs(&self) {
        *self.held.0.lock().unwrap() = true;
    }

    /// Lets all of them come back.
    pub fn release_log_syncs(&self) {
        *self.held.0.lock().unwrap() = false;
        self.held.1.notify_all();
    }

    fn wait_while_held(&self) {
        let (is_held, changed) = &*self.held;
        let _let_go = changed.wait_while(is_held.lock().unwrap(), |held| *held).unwrap();
    }

    fn pass(&self) {
        let mut set = self.next.lock().unwrap();
        let due = match set.as_mut() {
            Some((0, _)) => set.take(),
            Some((reads, _)) => {
                *reads -= 1;
                None
            }
            None => None,
        };
        drop(set);
        if let Some((_, intruder)) = due {
            intruder();
        }
    }
}

/// A disk whose reads go through a gate.
struct GatedDisk {
    disk: SimDisk,
    gate: Gate,
}

struct GatedFile {
    file: Arc<dyn StorageFile>,
    name: String,
    is_log: bool,
    gate: Gate,
}

impl GatedDisk {
    fn gated(&self, name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        let is_log = name.starts_with("wal-");
        Arc::new(GatedFile { file, name: name.to_owned(), is_log, gate: self.gate.clone() })
    }
}

impl Storage for GatedDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.open(name).map(|file| self.gated(name, file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.create(name).map(|file| self.gated(name, file))
    }

    fn map(&self, name: &str, bytes: u64) -> io::Result<Option<Box<dyn MappedFile>>> {
        self.disk.map(name, bytes)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        self.disk.lock()
    }

    fn now(&self) -> Duration {
        self.disk.now()
    }

    fn sleep(&self, time: Duration) {
        self.disk.sleep(time);
    }

    fn random(&self) -> [u8; 16] {
        self.disk.random()
    }

    fn describe(&self) -> String {
        self.disk.describe()
    }
}

impl StorageFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)?;
        if self.is_log {
            self.gate.longest_log_read.fetch_max(buffer.len(), Ordering::Relaxed);
        } else {
            self.gate.note_read(offset);
        }
        self.gate.pass();
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        if self.is_log {
            self.gate.wait_while_held();
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.file.allocate(offset, bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.file.punch(offset, bytes)
    }

    fn will_read(&self, offset: u64, bytes: u64) {
        self.gate.hints.fetch_add(1, Ordering::Relaxed);
        if !self.is_log {
            self.gate.told.lock().unwrap().push((offset, offset + bytes));
        }
    }

    fn start_writeback(&self, offset: u64, bytes: u64) {
        if self.is_log {
            let mut ends = self.gate.written_out.lock().unwrap();
            let end = ends.entry(self.name.clone()).or_default();
            if offset <= *end {
                *end = (offset + bytes).max(*end);
            }
        } else {
            self.gate.block_file_written_out.fetch_add(bytes, Ordering::Relaxed);
        }
        self.file.start_writeback(offset, bytes);
    }
}

/// The rows of [`cold`].
pub const ROWS: u32 = 600;

pub fn key(row: u32) -> String {
    format!("{row:04}")
}

/// A database of cold rows: none of them is in memory, and not all of them fit.
pub fn cold() -> (Database, Tree, Gate) {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let (db, tree) = open(&disk, &gate);
    for row in 0..ROWS {
        tree.insert(key(row), [b'.'; 400]).unwrap();
    }
    drop(tree);
    db.close().unwrap();
    let (db, tree) = open(&disk, &gate);
    (db, tree, gate)
}

/// Opens what is on `disk` behind `gate`, or makes it.
pub fn open(disk: &SimDisk, gate: &Gate) -> (Database, Tree) {
    let db = config(disk, gate).open().unwrap();
    let tree = db.tree("t").unwrap();
    (db, tree)
}

/// Reads go through `gate` to `disk`.
pub fn config(disk: &SimDisk, gate: &Gate) -> Config {
    let storage = Arc::new(GatedDisk { disk: disk.clone(), gate: gate.clone() });
    let config = Config::on(storage).tiny().cache_bytes(128 << 10);
    config.background(Background::Manual)
}
