//! Snapshots come and go beside flushes, which forget what no reader can see.

use sapwood::{Database, Durability, Snapshot, Tree};
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

#[test]
fn a_snapshot_stays_what_it_was() {
    explore("snapshots::a_snapshot_stays_what_it_was", 100, a_snapshot_stays_what_it_was_on);
}
