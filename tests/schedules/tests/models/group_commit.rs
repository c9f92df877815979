//! Commits of several threads share frames and syncs: each is told what became of it, and the order
//! in memory is that of the log.

use sapwood::{Database, Durability, Tree, merge};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::disk::Cut;
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
