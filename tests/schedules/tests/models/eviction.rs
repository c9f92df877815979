//! A cache of a few pages: what a reader needs is let go of, fetched and replaced beside it.

use sapwood::{Durability, Tree};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::random::Random;

use crate::stage::{self, key, number, spawn, value};

const ROWS: u64 = 120;

/// Each row is right, and none goes back in time.
fn read(tree: &Tree, random: &mut Random) {
    let mut seen = vec![0; ROWS as usize];
    for _ in 0..12 {
        let row = random.below(ROWS);
        let found = tree.get(key(row)).unwrap().expect("no row is ever removed");
        assert_eq!(found.len(), 300, "it is another value");
        let now = number(&found);
        assert!(now % ROWS == row && now >= seen[row as usize], "it is older than before");
        seen[row as usize] = now;
    }
}

fn readers_find_what_is_let_go_of_on(random: &mut Random) {
    let disk = Disk::new(random.draw());
    let db = stage::tight(&disk);
    let tree = db.tree("t").unwrap();
    for row in 0..ROWS {
        tree.insert(key(row), value(row, 300)).unwrap();
    }
    let readers = (0..3).map(|_| {
        let (tree, mut random) = (tree.clone(), stage::fork(random));
        spawn(move || read(&tree, &mut random))
    });
    let readers: Vec<_> = readers.collect();
    let (ours, its, mut numbers) = (db.clone(), tree.clone(), stage::fork(random));
    let writer = spawn(move || {
        for round in 1..=20 {
            let row = numbers.below(ROWS);
            let mut batch = ours.batch();
            batch.insert(&its, key(row), value(round * ROWS + row, 300));
            batch.commit(Durability::Buffered).unwrap();
        }
    });
    let (ours, _) = (db.clone(), ());
    let checkpoints = spawn(move || (0..2).for_each(|_| ours.checkpoint().unwrap()));
    stage::join(readers);
    stage::join([writer, checkpoints]);
    assert!(db.stats().pages_read > 0, "nothing had to be fetched");
    let scanned: Vec<_> = tree.iter().map(|row| row.unwrap().0).collect();
    assert!(scanned.into_iter().eq((0..ROWS).map(|row| key(row).into_bytes())));
    db.verify().unwrap();
    db.close().unwrap();
}

/// A checkpoint writes what is only in memory, beside jobs that write it because memory gets short.
fn what_two_want_to_write_is_written_once_on(random: &mut Random) {
    const FEW: u64 = 64;
    let db = stage::snug(&Disk::new(random.draw()));
    let tree = db.tree("t").unwrap();
    stage::fill(&db, &tree, FEW, 500);
    let (ours, its) = (db.clone(), tree.clone());
    let writer = spawn(move || {
        for row in 0..FEW / 2 {
            its.insert(key(2 * row), value(row + 1, 500)).unwrap();
        }
        ours.daemon().drain().unwrap();
    });
    let ours = db.clone();
    let checkpoint = spawn(move || ours.checkpoint().unwrap());
    stage::join([writer, checkpoint]);
    let scanned: Vec<_> = tree.iter().map(|row| number(&row.unwrap().1)).collect();
    let expected = (0..FEW).map(|row| if row % 2 == 0 { row / 2 + 1 } else { 0 });
    assert!(scanned.into_iter().eq(expected));
    db.verify().unwrap();
    db.close().unwrap();
}

#[test]
fn what_two_want_to_write_is_written_once() {
    explore(
        "eviction::what_two_want_to_write_is_written_once",
        20,
        what_two_want_to_write_is_written_once_on,
    );
}

#[test]
fn readers_find_what_is_let_go_of() {
    explore("eviction::readers_find_what_is_let_go_of", 60, readers_find_what_is_let_go_of_on);
}
