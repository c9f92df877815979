//! Databases of every kind, and everything that was ever in them.
//!
//! - closed: everything a block file can hold: several trees, nodes with buffers, leaves, range
//!   deletes, operands, old versions that a snapshot has kept, a dropped tree, a bulk load; no log
//! - killed: the same with a log of several files behind a checkpoint, all of it synced and marked
//!   so
//! - young: no checkpoint yet: trees, rows, a bulk load and a large transaction that only the log
//!   names
//! - mere: a tree with one row, closed

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sapwood::{Background, Compression, Config, Database, Durability, Result, Tree, merge};

use crate::files::Files;
use crate::storage::Disk;

pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// The rows of all trees.
pub type Contents = BTreeMap<String, Rows>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Closed,
    Killed,
    Young,
    Mere,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Closed, Kind::Killed, Kind::Young, Kind::Mere];
}

/// A database at rest.
#[derive(Clone)]
pub struct Specimen {
    pub kind: Kind,
    pub files: Files,
    /// What was in it after each commit, oldest first; before the first one, nothing.
    pub states: Vec<Contents>,
    /// From this state on, all are in the log alone.
    pub checkpointed: usize,
    /// Its files at earlier moments, with the number of the state then.
    pub moments: Vec<(usize, Files)>,
    keys: BTreeMap<String, BTreeSet<Vec<u8>>>,
}

impl Specimen {
    pub fn of(kind: Kind) -> Specimen {
        Specimen::from_seed(kind, 0)
    }

    /// Another database of the same kind for each seed: other values, another identity.
    pub fn from_seed(kind: Kind, seed: u64) -> Specimen {
        let mut author = Author::new(seed);
        match kind {
            Kind::Closed | Kind::Killed => author.everything(),
            Kind::Young => author.only_logged(),
            Kind::Mere => author.one_row(),
        }
        author.end(kind)
    }

    /// A killed database whose last commits are in the log's tail alone; those before
    /// [`Specimen::checkpointed`] are durable.
    pub fn tailed(seed: u64) -> Specimen {
        let mut author = Author::new(seed);
        author.only_logged();
        author.note_moment();
        author.checkpointed = author.states.len() - 1;
        (0..6).for_each(|number| author.put("tall", 70 + number, 30));
        author.db.clone().abandon();
        author.leave(Kind::Young)
    }

    pub fn last(&self) -> &Contents {
        self.states.last().unwrap()
    }

    /// All keys that a tree has ever had.
    pub fn keys(&self, tree: &str) -> impl Iterator<Item = &Vec<u8>> {
        self.keys.get(tree).into_iter().flatten()
    }
}

/// How all of them are opened.
pub fn config(disk: &Disk) -> Config {
    Config::on(Arc::new(disk.clone()))
        .tiny()
        .cache_bytes(256 << 10)
        .checkpoint_bytes(1 << 40)
        .background(Background::Manual)
        .existing()
}

/// Writes a database and notes what is in it.
struct Author {
    disk: Disk,
    db: Database,
    seed: u64,
    states: Vec<Contents>,
    checkpointed: usize,
    moments: Vec<(usize, Files)>,
}

impl Author {
    fn new(seed: u64) -> Author {
        let disk = Disk::seeded(seed);
        let on: Arc<Disk> = Arc::new(disk.clone());
        let db = Config::on(on).tiny().cache_bytes(256 << 10).checkpoint_bytes(1 << 40);
        let db = db.background(Background::Manual).open().unwrap();
        let states = vec![Contents::new()];
        Author { disk, db, seed, states, checkpointed: 0, moments: Vec::new() }
    }

    fn everything(&mut self) {
        self.create("tall");
        self.create_with("plain", |tree| tree.compression(Compression::None));
        self.create_with("texts", |tree| tree.merge_operator(merge::Append));
        self.create("bulk");
        self.create("empty");
        self.create("gone");
        (0..60).for_each(|number| self.put("tall", number, 40));
        (0..12).for_each(|number| self.put("gone", number, 20));
        self.db.daemon().drain().unwrap();
        self.checkpoint();
        let snapshot = self.db.snapshot();
        self.batch();
        (0..40).for_each(|number| self.append("texts", number % 10));
        self.ingest("bulk", 30);
        (10..30).step_by(3).for_each(|number| self.put("tall", number, 60));
        self.remove_range("tall", 35, 42);
        self.drop_tree("gone");
        self.db.maintain(40).unwrap();
        self.checkpoint();
        (0..60).step_by(7).for_each(|number| self.put("tall", number, 30));
        self.remove_range("bulk", 3, 6);
        (5..9).for_each(|number| self.remove("tall", number));
        self.db.maintain(3).unwrap();
        self.checkpoint();
        drop(snapshot);
    }

    /// More than fits into one memtable, so that there are several files.
    fn later(&mut self) {
        for round in 0..6 {
            (0..18).for_each(|number| self.put("tall", number * 3 + round, 240));
            self.append("texts", round);
            self.remove("plain", round);
        }
        self.remove_range("tall", 50, 53);
        self.create("late");
        self.put("late", 1, 10);
    }

    fn only_logged(&mut self) {
        self.create("tall");
        self.create_with("texts", |tree| tree.merge_operator(merge::Append));
        (0..10).for_each(|number| self.put("tall", number, 30));
        self.note_moment();
        self.ingest("bulk", 25);
        self.note_moment();
        self.large_transaction("tall");
        self.note_moment();
        (0..6).for_each(|number| self.append("texts", number % 2));
    }

    fn one_row(&mut self) {
        self.create("tall");
        self.put("tall", 1, 10);
    }

    fn end(mut self, kind: Kind) -> Specimen {
        match kind {
            Kind::Closed | Kind::Mere => {
                self.note_moment();
                self.checkpointed = self.states.len() - 1;
                self.db.clone().close().unwrap();
            }
            Kind::Killed | Kind::Young => {
                if kind == Kind::Killed {
                    self.later();
                }
                // The step behind the sync writes the mark.
                self.db.sync().unwrap();
                self.db.maintain(100).unwrap();
                self.db.clone().abandon();
            }
        }
        self.leave(kind)
    }

    /// What is on the disk now.
    fn leave(self, kind: Kind) -> Specimen {
        let Author { disk, states, checkpointed, moments, .. } = self;
        let mut keys: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for (tree, rows) in states.iter().flatten() {
            keys.entry(tree.clone()).or_default().extend(rows.keys().cloned());
        }
        Specimen { kind, files: disk.files(), states, checkpointed, moments, keys }
    }

    fn note_moment(&mut self) {
        self.db.sync().unwrap();
        self.moments.push((self.states.len() - 1, self.disk.files()));
    }

    fn checkpoint(&mut self) {
        self.note_moment();
        self.db.checkpoint().unwrap();
        self.checkpointed = self.states.len() - 1;
        self.note_moment();
    }

    /// Every commit is one more state.
    fn commit(&mut self, change: impl FnOnce(&mut Contents)) {
        let mut state = self.states.last().unwrap().clone();
        change(&mut state);
        self.states.push(state);
    }

    fn tree(&self, name: &str) -> Tree {
        self.db.tree(name).unwrap()
    }

    fn create(&mut self, name: &str) {
        self.create_with(name, |tree| tree);
    }

    fn create_with(
        &mut self,
        name: &str,
        options: impl FnOnce(sapwood::TreeConfig) -> sapwood::TreeConfig,
    ) {
        self.db.tree_with(name, options).unwrap();
        self.commit(|state| {
            state.entry(name.to_owned()).or_default();
        });
    }

    fn drop_tree(&mut self, name: &str) {
        self.db.drop_tree(name).unwrap();
        self.commit(|state| {
            state.remove(name);
        });
    }

    /// A value unlike any other, half of it compressible.
    fn value(&self, bytes: usize) -> Vec<u8> {
        let (serial, seed) = (self.states.len(), self.seed);
        let mut value = format!("{serial} of {seed} ").into_bytes();
        value.extend((0..bytes / 2).map(|_| b'.'));
        let noise = sapwood_serialize::checksum(seed, &serial.to_le_bytes());
        value.extend(noise.to_le_bytes().iter().cycle().take(bytes / 2).enumerate().map(noisy));
        value
    }

    fn put(&mut self, name: &str, number: u64, bytes: usize) {
        let value = self.value(bytes);
        self.tree(name).insert(key(number), &value).unwrap();
        self.commit(|state| {
            state.entry(name.to_owned()).or_default().insert(key(number), value);
        });
    }

    fn remove(&mut self, name: &str, number: u64) {
        self.tree(name).remove(key(number)).unwrap();
        self.commit(|state| {
            state.entry(name.to_owned()).or_default().remove(&key(number));
        });
    }

    fn append(&mut self, name: &str, number: u64) {
        let operand = self.value(6);
        self.tree(name).merge(key(number), &operand).unwrap();
        self.commit(|state| {
            let rows = state.entry(name.to_owned()).or_default();
            rows.entry(key(number)).or_default().extend(operand);
        });
    }

    fn remove_range(&mut self, name: &str, from: u64, to: u64) {
        self.tree(name).remove_range(key(from)..key(to)).unwrap();
        self.commit(|state| {
            let rows = state.entry(name.to_owned()).or_default();
            rows.retain(|row, _| !(key(from)..key(to)).contains(row));
        });
    }

    /// One commit over two trees.
    fn batch(&mut self) {
        let (plain, tall, value) = (self.tree("plain"), self.tree("tall"), self.value(50));
        let mut batch = self.db.batch();
        for number in 0..14 {
            batch.insert(&plain, key(number), &value);
        }
        batch.insert(&tall, key(61), &value);
        batch.commit(Durability::Buffered).unwrap();
        self.commit(|state| {
            let rows = (0..14).map(|number| (key(number), value.clone()));
            state.entry("plain".to_owned()).or_default().extend(rows);
            state.entry("tall".to_owned()).or_default().insert(key(61), value.clone());
        });
    }

    fn ingest(&mut self, name: &str, count: u64) {
        self.create(name);
        let value = self.value(70);
        let rows = (0..count).map(|number| (key(number), value.clone()));
        self.tree(name).ingest(rows.clone()).unwrap();
        self.commit(|state| state.entry(name.to_owned()).or_default().extend(rows));
    }

    /// Larger than a memtable: it becomes runs on disk, which one log record names.
    fn large_transaction(&mut self, name: &str) {
        let (tree, value) = (self.tree(name), self.value(300));
        let mut tx = self.db.begin().unwrap();
        for number in 0..60 {
            tx.insert(&tree, key(number), &value).unwrap();
        }
        tx.remove_range(&tree, key(7)..key(9)).unwrap();
        tx.commit().unwrap();
        self.commit(|state| {
            let rows = state.entry(name.to_owned()).or_default();
            rows.extend((0..60).map(|number| (key(number), value.clone())));
            rows.retain(|row, _| !(key(7)..key(9)).contains(row));
        });
    }
}

fn noisy((at, byte): (usize, &u8)) -> u8 {
    byte.wrapping_mul(u8::try_from(at % 251).unwrap() | 1)
}

pub fn key(number: u64) -> Vec<u8> {
    format!("key-{number:04}").into_bytes()
}

/// All rows of all trees of a sound database.
pub fn contents(db: &Database) -> Result<Contents> {
    let rows = |name: String| {
        let rows = db.tree(&name)?.iter();
        let owned = rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())));
        Ok((name, owned.collect::<Result<Rows>>()?))
    };
    db.tree_names().into_iter().map(rows).collect()
}
