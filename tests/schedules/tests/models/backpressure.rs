//! Writers that are faster than what moves their messages: they wait, and always get on.

use sapwood::{Database, Durability, Tree, merge};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::random::Random;

use crate::stage::{self, key, spawn, value};

const WRITERS: u64 = 3;
const ROWS: u64 = 15;

/// Inserts rows and adds to a sum, which whatever is moved twice makes too large.
fn write(db: &Database, tree: &Tree, writer: u64) {
    for row in 0..ROWS {
        let mut batch = db.batch();
        batch.insert(tree, key(writer * ROWS + row), value(row, 700));
        batch.merge(tree, "sum", 1u64.to_le_bytes());
        batch.commit(Durability::Buffered).unwrap();
    }
}

fn writers_at_the_limit_get_on_on(random: &mut Random) {
    let db = stage::tight(&Disk::new(random.draw()));
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    let mut threads = Vec::new();
    for writer in 0..WRITERS {
        let (ours, its) = (db.clone(), tree.clone());
        threads.push(spawn(move || write(&ours, &its, writer)));
    }
    // They spill what flushers would.
    for _ in 0..2 {
        let ours = db.clone();
        threads.push(spawn(move || (0..2).for_each(|_| ours.checkpoint().unwrap())));
    }
    stage::join(threads);
    assert_eq!(tree.get("sum").unwrap().as_deref().map(stage::number), Some(WRITERS * ROWS));
    assert_eq!(tree.iter().map(Result::unwrap).count() as u64, WRITERS * ROWS + 1);
    db.verify().unwrap();
    db.close().unwrap();
}

/// Nothing happens any more once what it waits for is done: if it does not see that, it waits for
/// ever.
fn one_that_waits_sees_when_there_is_room_on(random: &mut Random) {
    let db = stage::quiet(&Disk::new(random.draw()));
    let tree = db.tree("t").unwrap();
    for round in 0..ROWS {
        let mut batch = db.batch();
        // More than a generation takes: there is hardly a delay before there is a stop.
        (0..2).for_each(|row| batch.insert(&tree, key(row), value(round, 1200)));
        batch.commit(Durability::Buffered).unwrap();
    }
    assert!(waits(&db) > 0, "it never had to wait");
    db.close().unwrap();
}

/// How often a writer has waited for room, as against slept for a while: no disk call takes long.
fn waits(db: &Database) -> u64 {
    db.stats().write_delay.iter().take(10).sum()
}

#[test]
fn writers_at_the_limit_get_on() {
    explore("backpressure::writers_at_the_limit_get_on", 120, writers_at_the_limit_get_on_on);
}

#[test]
fn one_that_waits_sees_when_there_is_room() {
    explore(
        "backpressure::one_that_waits_sees_when_there_is_room",
        200,
        one_that_waits_sees_when_there_is_room_on,
    );
}
