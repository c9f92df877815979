//! Checkpoints beside publications and commits; then the power fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood::{Database, Durability, Tree};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::disk::{Cut, SimDisk};
use sapwood_sim::random::Random;

use crate::stage::{self, key, spawn, value};

const WRITERS: usize = 2;
const ROUNDS: u64 = 10;

/// How far each writer is, for whoever cuts the power: real atomics, so that looking at them is no
/// moment for other threads.
#[derive(Default)]
struct Marks {
    begun: [AtomicU64; WRITERS],
    acknowledged: [AtomicU64; WRITERS],
}

impl Marks {
    fn now(marks: &[AtomicU64; WRITERS]) -> [u64; WRITERS] {
        std::array::from_fn(|writer| marks[writer].load(Ordering::Relaxed))
    }
}

fn write(db: &Database, trees: &[Tree; 2], writer: usize, marks: &Marks, random: &mut Random) {
    for round in 0..ROUNDS {
        let mut batch = db.batch();
        for tree in trees {
            batch.insert(tree, key(100 * writer as u64 + round), value(round, 400));
            batch.insert(tree, key(900 + writer as u64), value(round, 8));
        }
        marks.begun[writer].store(round + 1, Ordering::Relaxed);
        if random.chance(60) {
            batch.commit(Durability::Synced).unwrap();
            marks.acknowledged[writer].store(round + 1, Ordering::Relaxed);
        } else {
            batch.commit(Durability::Buffered).unwrap();
        }
    }
}

/// What the machine finds must have all that was acknowledged, nothing that was not begun, no
/// batch in part, and of each writer no later round without the earlier ones.
fn judge(found: SimDisk, acknowledged: [u64; WRITERS], begun: [u64; WRITERS]) {
    let db = stage::still(&Disk(found));
    let trees = ["left", "right"].map(|name| db.tree(name).unwrap());
    for writer in 0..WRITERS {
        let first = 100 * writer as u64;
        let rows = |tree: &Tree| -> Vec<_> {
            tree.range(key(first)..key(first + 100)).map(|row| row.unwrap().0).collect()
        };
        let [left, right] = [rows(&trees[0]), rows(&trees[1])];
        assert_eq!(left, right, "a batch was found in part");
        let count = left.len() as u64;
        assert!(left.into_iter().eq((0..count).map(|round| key(first + round).into_bytes())));
        assert!(count >= acknowledged[writer], "acknowledged {acknowledged:?}, found {count}");
        assert!(count <= begun[writer], "begun {begun:?}, found {count}");
    }
    db.verify().unwrap();
    trees[0].insert("after", "all").unwrap();
    db.close().unwrap();
}

fn a_power_cut_beside_a_checkpoint_on(random: &mut Random) {
    let disk = Disk::new(random.draw());
    let db = match random.below(2) {
        0 => stage::tight(&disk),
        _ => stage::roomy(&disk),
    };
    let trees = ["left", "right"].map(|name| db.tree(name).unwrap());
    db.sync().unwrap();
    let marks = Arc::new(Marks::default());
    let writers = (0..WRITERS).map(|writer| {
        let (db, trees, marks) = (db.clone(), trees.clone(), marks.clone());
        let mut random = stage::fork(random);
        spawn(move || write(&db, &trees, writer, &marks, &mut random))
    });
    let mut threads: Vec<_> = writers.collect();
    let ours = db.clone();
    threads.push(spawn(move || (0..2).for_each(|_| ours.checkpoint().unwrap())));
    let ours = db.clone();
    threads.push(spawn(move || ours.daemon().drain().unwrap()));
    let mut cuts = Vec::new();
    for _ in 0..3 {
        (0..random.below(30)).for_each(|_| shuttle::thread::yield_now());
        // Nothing of this is a moment for other threads.
        let found = disk.0.power_cut(Cut::Random(random.draw()));
        cuts.push((found, Marks::now(&marks.acknowledged), Marks::now(&marks.begun)));
    }
    stage::join(threads);
    db.close().unwrap();
    drop(trees);
    for (found, acknowledged, begun) in cuts {
        judge(found, acknowledged, begun);
    }
}

#[test]
fn a_power_cut_beside_a_checkpoint() {
    explore("checkpoint::a_power_cut_beside_a_checkpoint", 60, a_power_cut_beside_a_checkpoint_on);
}
