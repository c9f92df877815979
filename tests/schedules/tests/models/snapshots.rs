//! Snapshots come and go beside flushes, which forget what no reader can see.

use std::sync::Arc;

use sapwood::{Database, Durability, Error, Snapshot, Tree};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::random::Random;

use crate::stage::{self, key, spawn, value};

const ROWS: u64 = 12;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn rows(tree: &Tree, snapshot: &Snapshot) -> Rows {
    let rows = tree.at(snapshot).iter().map(Result::unwrap);
    rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// All rows have the same number at every moment.
fn write(db: &Database, tree: &Tree, rounds: u64) {
    for round in 1..=rounds {
        let mut batch = db.batch();
        if round % 3 == 0 {
            batch.remove_range(tree, key(0)..key(ROWS));
        }
        (0..ROWS).for_each(|row| batch.insert(tree, key(row), value(round, 60)));
        batch.commit(Durability::Buffered).unwrap();
    }
}

fn hold(db: &Database, tree: &Tree) {
    for _ in 0..3 {
        let snapshot = db.snapshot();
        let first = rows(tree, &snapshot);
        assert_eq!(first.len() as u64, ROWS, "rows are missing");
        assert!(first.iter().all(|row| row.1 == first[0].1), "half a batch was seen");
        let clone = snapshot.clone();
        drop(snapshot);
        assert_eq!(rows(tree, &clone), first, "what a snapshot sees has changed");
    }
}

fn a_snapshot_stays_what_it_was_on(random: &mut Random) {
    let db = stage::roomy(&Disk::new(random.draw()));
    let tree = db.tree("t").unwrap();
    write(&db, &tree, 1);
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (ours, its) = (db.clone(), tree.clone());
        threads.push(spawn(move || hold(&ours, &its)));
    }
    let (ours, its) = (db.clone(), tree.clone());
    threads.push(spawn(move || write(&ours, &its, 6)));
    let ours = db.clone();
    threads.push(spawn(move || (0..3).for_each(|_| ours.daemon().drain().unwrap())));
    stage::join(threads);
    assert_eq!(db.stats().readers.count, 0, "a reader was not released");
    db.verify().unwrap();
    db.close().unwrap();
}

/// Trees that are dropped one after the other, by the only changes there are.
struct Dropped {
    trees: Vec<Tree>,
    /// The number of the last change before them.
    last: u64,
}

impl Dropped {
    /// Whoever came before a drop reads the tree to its end, whoever came later is told.
    fn look(&self, snapshot: &Snapshot) {
        let gone = usize::try_from(snapshot.sequence() - self.last).unwrap();
        let read = |tree: &Tree| tree.at(snapshot).iter().collect::<Result<Vec<_>, Error>>();
        if let Some(next) = self.trees.get(gone) {
            assert_eq!(read(next).unwrap().len(), 1, "it went before its reader");
        }
        if gone > 0 {
            let told = read(&self.trees[gone - 1]).unwrap_err().to_string();
            assert!(told.contains("was dropped"), "{told}");
        }
    }
}

fn a_dropped_tree_stays_for_who_came_before_on(random: &mut Random) {
    let db = stage::still(&Disk::new(random.draw()));
    let names: Vec<_> = ('a'..='p').map(String::from).collect();
    let trees: Vec<_> = names.iter().map(|name| db.tree(name).unwrap()).collect();
    trees.iter().for_each(|tree| tree.insert("key", "value").unwrap());
    db.daemon().drain().unwrap();
    let dropped = Arc::new(Dropped { trees, last: db.snapshot().sequence() });
    let (ours, its) = (db.clone(), dropped.clone());
    let reader = spawn(move || {
        for _ in 0..20 {
            let snapshot = ours.snapshot();
            // As much may happen as wants to, and so it may while nobody is registered.
            shuttle::thread::yield_now();
            its.look(&snapshot);
            drop(snapshot);
            shuttle::thread::yield_now();
        }
    });
    let ours = db.clone();
    let dropper = spawn(move || names.iter().for_each(|name| ours.drop_tree(name).unwrap()));
    let mut threads = vec![reader, dropper];
    for _ in 0..2 {
        let ours = db.clone();
        threads.push(spawn(move || {
            for _ in 0..20 {
                ours.maintain(1).unwrap();
                shuttle::thread::yield_now();
            }
        }));
    }
    stage::join(threads);
    while db.maintain(10).unwrap() > 0 {}
    assert_eq!(db.verify().unwrap().dropped_trees, 0, "nobody reads them any more");
    db.close().unwrap();
}

#[test]
fn a_dropped_tree_stays_for_who_came_before() {
    explore(
        "snapshots::a_dropped_tree_stays_for_who_came_before",
        400,
        a_dropped_tree_stays_for_who_came_before_on,
    );
}

#[test]
fn a_snapshot_stays_what_it_was() {
    explore("snapshots::a_snapshot_stays_what_it_was", 100, a_snapshot_stays_what_it_was_on);
}
