//! Drains that callers and flushers share: each is over when nothing waits any more, and not
//! before.

use sapwood::{Database, Durability, Tree};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::random::Random;

use crate::stage::{self, key, spawn, value};

const ROWS: u64 = 90;

fn drain(db: &Database) {
    db.daemon().drain().unwrap();
    // Nobody writes meanwhile.
    assert_eq!(db.stats().debt_bytes, 0, "something waits that was there before the drain");
}

/// A tree of some height with messages for all its leaves.
fn prepare(db: &Database) -> Tree {
    let tree = db.tree("t").unwrap();
    stage::fill(db, &tree, ROWS, 200);
    let mut batch = db.batch();
    (0..ROWS).for_each(|row| batch.insert(&tree, key(row), value(row + 1, 60)));
    batch.commit(Durability::Buffered).unwrap();
    tree
}

fn a_drain_ends_when_nothing_waits_on(random: &mut Random) {
    let db = stage::roomy(&Disk::new(random.draw()));
    let tree = prepare(&db);
    let mut threads = Vec::new();
    for _ in 0..=random.below(2) {
        let ours = db.clone();
        threads.push(spawn(move || drain(&ours)));
    }
    let ours = db.clone();
    threads.push(spawn(move || ours.checkpoint().unwrap()));
    stage::join(threads);
    for row in 0..ROWS {
        let found = tree.get(key(row)).unwrap().unwrap();
        assert_eq!(stage::number(&found), row + 1);
    }
    db.verify().unwrap();
    db.close().unwrap();
}

/// Otherwise no seed would show a failure again.
#[test]
fn the_same_seeds_make_the_same_schedules() {
    let name = "drain::the_same_seeds_make_the_same_schedules";
    let play = || explore(name, 20, a_drain_ends_when_nothing_waits_on);
    assert_eq!(play(), play());
}

#[test]
fn a_drain_ends_when_nothing_waits() {
    explore("drain::a_drain_ends_when_nothing_waits", 400, a_drain_ends_when_nothing_waits_on);
}
