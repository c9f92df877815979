//! Commits of several threads share frames and syncs: each is told what became of it, and the order
//! in memory is that of the log.

use std::io::ErrorKind;

use sapwood::{Database, Durability, Tree, merge};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::disk::{Cut, Repeat};
use sapwood_sim::random::Random;

use crate::stage::{self, spawn};

const COMMITTERS: u8 = 3;
const ROUNDS: u8 = 3;

struct Committer {
    db: Database,
    /// Its values are joined operands: their order is that of the commits.
    tree: Tree,
    who: u8,
    random: Random,
    /// Updates that this one has made.
    updates: u64,
}

impl Committer {
    fn commit(&mut self, round: u8) {
        let operand = [self.who, round, b' '];
        match self.random.below(4) {
            0 => self.tree.merge("log", operand).unwrap(),
            1 => self.batch(operand).commit(Durability::Synced).unwrap(),
            2 => {
                let ticket = self.batch(operand).commit_async(Durability::Synced).unwrap();
                ticket.wait().unwrap();
                assert!(ticket.is_durable());
            }
            _ => {
                let one_more =
                    |old: Option<&[u8]>| Some(stage::value(old.map_or(0, stage::number) + 1, 8));
                self.tree.fetch_update("updates", one_more).unwrap();
                self.updates += 1;
                self.tree.merge("log", operand).unwrap();
            }
        }
        let log = self.tree.get("log").unwrap().unwrap();
        assert!(log.chunks(3).any(|one| one == operand), "what was committed is visible");
    }

    fn batch(&self, operand: [u8; 3]) -> sapwood::Batch {
        let mut batch = self.db.batch();
        batch.merge(&self.tree, "log", operand);
        batch.merge(&self.tree, "twin", operand);
        batch
    }
}

fn everybody_is_told_and_the_log_has_their_order_on(random: &mut Random) {
    let disk = Disk::new(random.draw());
    let db = stage::still(&disk);
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    let committers = (0..COMMITTERS).map(|who| {
        let (db, tree, random) = (db.clone(), tree.clone(), stage::fork(random));
        spawn(move || {
            let mut committer = Committer { db, tree, who, random, updates: 0 };
            (0..ROUNDS).for_each(|round| committer.commit(round));
            committer.updates
        })
    });
    let updates: u64 = stage::join(committers.collect::<Vec<_>>()).into_iter().sum();
    let state = |tree: &Tree| ["log", "twin", "updates"].map(|key| tree.get(key).unwrap());
    let before = state(&tree);
    let log = before[0].clone().unwrap();
    let of = |who: u8| log.chunks(3).filter(move |one| one[0] == who).map(|one| one[1]);
    for who in 0..COMMITTERS {
        assert!(of(who).eq(0..ROUNDS), "each commit is there once, in its order");
    }
    let counted = before[2].as_deref().map_or(0, stage::number);
    assert_eq!(counted, updates, "an update was lost");
    db.sync().unwrap();
    let found = Disk(disk.0.power_cut(Cut::LoseAll));
    db.abandon();
    let db = stage::still(&found);
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    assert_eq!(state(&tree), before, "the log has another order");
    db.close().unwrap();
}

#[test]
fn everybody_is_told_and_the_log_has_their_order() {
    explore(
        "group_commit::everybody_is_told_and_the_log_has_their_order",
        400,
        everybody_is_told_and_the_log_has_their_order_on,
    );
}

/// A log file ends and the next begins while others sync: no sync may call more durable than is.
fn a_sync_beside_a_seal_covers_what_it_says_on(random: &mut Random) {
    const ROWS: u64 = 40;
    let disk = Disk::new(random.draw());
    let db = stage::still_and_tight(&disk);
    let tree = db.tree("t").unwrap();
    let writer = {
        let tree = tree.clone();
        spawn(move || {
            (0..ROWS)
                .for_each(|row| tree.insert(row.to_be_bytes(), stage::value(row, 300)).unwrap());
        })
    };
    let syncer = {
        let db = db.clone();
        spawn(move || (0..ROWS).for_each(|_| db.sync().unwrap()))
    };
    stage::join(vec![writer, syncer]);
    let mut batch = db.batch();
    batch.insert(&tree, "last", "durable");
    batch.commit(Durability::Synced).unwrap();
    let newest = disk.0.files().into_iter().map(|(name, _)| name).max();
    assert!(newest.is_some_and(|name| name > "wal-0000000004".to_owned()), "no file has ended");
    let found = Disk(disk.0.power_cut(Cut::LoseAll));
    db.abandon();
    let db = stage::still_and_tight(&found);
    let tree = db.tree("t").unwrap();
    assert!(tree.contains_key("last").unwrap(), "it was not synced");
    assert_eq!(tree.iter().count() as u64, ROWS + 1);
    db.close().unwrap();
}

#[test]
fn a_sync_beside_a_seal_covers_what_it_says() {
    explore(
        "group_commit::a_sync_beside_a_seal_covers_what_it_says",
        2000,
        a_sync_beside_a_seal_covers_what_it_says_on,
    );
}

/// A sync fails once, as systems tell it: the next one succeeds, and what it should have written is
/// lost. Whoever was told that a commit is durable must find it.
fn a_failed_sync_is_no_success_of_another_on(random: &mut Random) {
    const ROWS: u64 = 30;
    let disk = Disk::new(random.draw());
    let db = stage::still_and_tight(&disk);
    let tree = db.tree("t").unwrap();
    disk.0.fail_at(disk.0.operations() + random.below(80), ErrorKind::Other, Repeat::Once);
    let syncing = {
        let db = db.clone();
        spawn(move || {
            (0..ROWS).for_each(|_| drop(db.sync()));
            0
        })
    };
    let committing = {
        let (db, tree) = (db.clone(), tree.clone());
        spawn(move || {
            let commit = |row: &u64| {
                let mut batch = db.batch();
                batch.insert(&tree, row.to_be_bytes(), stage::value(*row, 300));
                batch.commit(Durability::Synced).is_ok()
            };
            (0..ROWS).take_while(commit).count() as u64
        })
    };
    let durable: u64 = stage::join(vec![syncing, committing]).into_iter().sum();
    let found = Disk(disk.0.power_cut(Cut::LoseAll));
    db.abandon();
    let db = stage::still_and_tight(&found);
    let tree = db.tree("t").unwrap();
    let there = |row: u64| tree.contains_key(row.to_be_bytes()).unwrap();
    assert!((0..durable).all(there), "{durable} were told to be durable");
    db.close().unwrap();
}

#[test]
fn a_failed_sync_is_no_success_of_another() {
    explore(
        "group_commit::a_failed_sync_is_no_success_of_another",
        2000,
        a_failed_sync_is_no_success_of_another_on,
    );
}
