//! Readers beside everything that publishes views and retires what is old.

use sapwood::{Database, Durability, Read, Tree};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::random::Random;

use crate::stage::{self, key, number, spawn, value};

const ROWS: u64 = 24;
/// What each row begins with.
const EACH: u64 = 1000;

/// Moves amounts between rows of two trees.
fn transfer(db: &Database, trees: &[Tree; 2], random: &mut Random, rounds: u64) {
    for _ in 0..rounds {
        let (from, to, amount) = (random.below(ROWS), random.below(ROWS), random.below(20));
        let read = |tree: &Tree, row| number(&tree.get(key(row)).unwrap().unwrap());
        let mut batch = db.batch();
        batch.insert(&trees[0], key(from), value(read(&trees[0], from) - amount, 120));
        batch.insert(&trees[1], key(to), value(read(&trees[1], to) + amount, 120));
        batch.commit(Durability::Buffered).unwrap();
    }
}

/// Rows and the sum of their numbers; each row is read in a look of its own as well.
fn sum(moment: &impl Read, tree: &Tree) -> (u64, u64) {
    let rows: Vec<_> = tree.at(moment).iter().map(Result::unwrap).collect();
    for (key, value) in rows.iter().step_by(7) {
        assert_eq!(tree.at(moment).get(key).unwrap().as_ref(), Some(value));
    }
    (rows.len() as u64, rows.iter().map(|row| number(&row.1)).sum())
}

fn look(db: &Database, trees: &[Tree; 2], rounds: u64) {
    for _ in 0..rounds {
        let snapshot = db.snapshot();
        let [left, right] = [sum(&snapshot, &trees[0]), sum(&snapshot, &trees[1])];
        assert_eq!((left.0, right.0), (ROWS, ROWS), "rows are missing");
        assert_eq!(left.1 + right.1, 2 * ROWS * EACH, "half a batch was seen");
    }
}

fn begin(db: &Database) -> [Tree; 2] {
    let trees = ["left", "right"].map(|name| db.tree(name).unwrap());
    let mut batch = db.batch();
    for row in 0..ROWS {
        trees.iter().for_each(|tree| batch.insert(tree, key(row), value(EACH, 120)));
    }
    batch.commit(Durability::Buffered).unwrap();
    trees
}

fn sums_hold(db: &Database, random: &mut Random) {
    let trees = begin(db);
    let gone = db.tree("gone").unwrap();
    stage::fill(db, &gone, 12, 200);
    let mut held = gone.iter();
    assert_eq!(held.next().unwrap().unwrap().0, key(0).into_bytes());
    let mut threads = Vec::new();
    let (ours, its, mut numbers) = (db.clone(), trees.clone(), stage::fork(random));
    threads.push(spawn(move || transfer(&ours, &its, &mut numbers, 8)));
    for _ in 0..2 {
        let (ours, its) = (db.clone(), trees.clone());
        threads.push(spawn(move || look(&ours, &its, 2)));
    }
    let ours = db.clone();
    threads.push(spawn(move || {
        ours.drop_tree("gone").unwrap();
        ours.daemon().drain().unwrap();
        ours.checkpoint().unwrap();
    }));
    threads.push(spawn(move || {
        let left: Vec<_> = held.map(|row| row.unwrap().0).collect();
        assert!(left.iter().eq(&(1..12).map(|row| key(row).into_bytes()).collect::<Vec<_>>()));
    }));
    stage::join(threads);
    look(db, &trees, 1);
    db.verify().unwrap();
}

fn sums_hold_in_a_tight_cache(random: &mut Random) {
    let db = stage::tight(&Disk::new(random.draw()));
    sums_hold(&db, random);
    db.close().unwrap();
}

fn sums_hold_beside_two_flushers(random: &mut Random) {
    let db = stage::roomy(&Disk::new(random.draw()));
    sums_hold(&db, random);
    db.close().unwrap();
}

#[test]
fn sums_hold_while_everything_moves() {
    explore("views::sums_hold_while_everything_moves", 60, sums_hold_in_a_tight_cache);
}

#[test]
fn sums_hold_while_two_flushers_drain() {
    explore("views::sums_hold_while_two_flushers_drain", 60, sums_hold_beside_two_flushers);
}
