//! Commits that are searched for, with something else committed at every read of the search.
//!
//! ```text
//! watch -> search: read, read, [somebody commits], read, read -> the leader looks at the watch
//! ```
//!
//! The storage lets the test in between: when the search comes to a read, the test commits first.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sapwood::{
    Background, Config, Database, Isolation, LockError, Storage, StorageFile, StorageLock,
    Transaction, Tree,
};

use crate::sim::disk::SimDisk;

type Intruder = Box<dyn FnOnce() + Send>;

/// What happens at some later read, counted down.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Option<(usize, Intruder)>>>);

impl Gate {
    /// At the read behind `reads` others, `intruder` runs.
    fn set(&self, reads: usize, intruder: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((reads, Box::new(intruder)));
    }

    /// Whether the intruder has not run; it never will.
    fn lift(&self) -> bool {
        self.0.lock().unwrap().take().is_some()
    }

    fn pass(&self) {
        let mut set = self.0.lock().unwrap();
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
    gate: Gate,
}

impl GatedDisk {
    fn gated(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(GatedFile { file, gate: self.gate.clone() })
    }
}

impl Storage for GatedDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.open(name).map(|file| self.gated(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.disk.create(name).map(|file| self.gated(file))
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
        self.gate.pass();
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.file.punch(offset, bytes)
    }

    fn start_writeback(&self, offset: u64, bytes: u64) {
        self.file.start_writeback(offset, bytes);
    }
}

const ROWS: u32 = 600;

fn key(row: u32) -> String {
    format!("{row:04}")
}

/// A database of cold rows: none of them is in memory, and not all of them fit.
fn cold() -> (Database, Tree, Gate) {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let open = || {
        let storage = Arc::new(GatedDisk { disk: disk.clone(), gate: gate.clone() });
        let config = Config::on(storage).tiny().cache_bytes(128 << 10);
        config.background(Background::Manual).open().unwrap()
    };
    let db = open();
    let tree = db.tree("t").unwrap();
    for row in 0..ROWS {
        tree.insert(key(row), [b'.'; 400]).unwrap();
    }
    drop(tree);
    db.close().unwrap();
    let db = open();
    let tree = db.tree("t").unwrap();
    (db, tree, gate)
}

/// What the intruder does to the tree, and whether the commit that is searched for stands it.
type Intrusion = (fn(&Database, &Tree), bool);

const INTRUSIONS: [Intrusion; 6] = [
    (|_, tree| tree.insert(key(0), "new").unwrap(), false),
    (|_, tree| tree.remove(key(ROWS - 1)).unwrap(), false),
    (|_, tree| tree.remove_range(key(17)..key(19)).unwrap(), false),
    (|_, tree| tree.insert("other", "new").unwrap(), true),
    // So much that the leader does not look through it, with one that matters at its end.
    (
        |_, tree| {
            (0..1500).for_each(|row| tree.insert(format!("z{row}"), [b'.'; 30]).unwrap());
            tree.insert(key(1), "new").unwrap();
        },
        false,
    ),
    // It leaves the memtables at once.
    (
        |db, tree| {
            tree.insert(key(1), "new").unwrap();
            db.checkpoint().unwrap();
            db.daemon().drain().unwrap();
        },
        false,
    ),
];

/// Commits a transaction that depends on all rows, with each intrusion at each of its reads.
fn intrude(begin: fn(&Database, &Tree) -> Transaction) {
    for (intrusion, stands) in INTRUSIONS {
        let mut reads = 0;
        loop {
            let (db, tree, gate) = cold();
            let tx = begin(&db, &tree);
            let (other_db, other_tree) = (db.clone(), tree.clone());
            gate.set(reads, move || intrusion(&other_db, &other_tree));
            let committed = tx.commit();
            if gate.lift() {
                committed.unwrap();
                break;
            }
            assert_eq!(committed.is_ok(), stands, "at read {reads}");
            assert!(committed.err().is_none_or(|error| error.is_conflict()));
            assert_eq!(tree.get("mine").unwrap().is_some(), stands);
            db.verify().unwrap();
            reads = 2 * reads + 1;
        }
        assert!(reads > 3, "the search read nothing");
    }
}

#[test]
fn what_is_committed_during_a_search_for_keys_is_noticed() {
    intrude(|db, tree| {
        let mut tx = db.begin().unwrap();
        (0..ROWS).for_each(|row| tx.insert(tree, key(row), "mine").unwrap());
        tx.insert(tree, "mine", "").unwrap();
        tx
    });
}

#[test]
fn what_is_committed_during_a_search_for_a_range_is_noticed() {
    intrude(|db, tree| {
        // What is read later cannot be told from the memtables any more.
        let mut tx = db.begin().unwrap();
        tree.insert("unrelated", "").unwrap();
        db.checkpoint().unwrap();
        tx.remove_range(tree, key(0)..key(ROWS)).unwrap();
        tx.insert(tree, "mine", "").unwrap();
        tx
    });
}

#[test]
fn a_reader_that_writes_elsewhere_notices_what_is_committed_during_its_search() {
    intrude(|db, tree| {
        let mut tx = db.begin_with(Isolation::Serializable).unwrap();
        tree.insert("unrelated", "").unwrap();
        db.checkpoint().unwrap();
        assert_eq!(tx.range(tree, key(0)..key(ROWS)).count(), ROWS as usize);
        tx.insert(tree, "mine", "").unwrap();
        tx
    });
}
