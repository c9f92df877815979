//! Every numbered point in background work: crashes there, and a thread that is held there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use sapwood::{Background, Config, Database, Durability};

use crate::sim::disk::{Cut, SimDisk};
use crate::sim::machine::{Machine, Wreck};
use crate::sim::model::{Change, What};
use crate::sim::random::Random;
use crate::sim::workload::{Action, Shape, TREES, key};

/// The hits of a point at which the machine crashes, counted from 1.
const HITS: [usize; 4] = [1, 2, 7, 30];

/// The disks that a crash at some point of the current action would have left.
#[derive(Default)]
struct Wrecks {
    hits: BTreeMap<usize, usize>,
    found: Vec<(Moment, SimDisk)>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    point: usize,
    hit: usize,
}

impl Wrecks {
    fn hit(&mut self, point: usize, disk: &SimDisk) {
        let hit = self.hits.entry(point).or_default();
        *hit += 1;
        if HITS.contains(hit) {
            // A killed process leaves the disk with everything that is pending.
            self.found.push((Moment { point, hit: *hit }, disk.kill()));
        }
    }
}

/// A database in which everything happens that background work can do.
struct Script {
    random: Random,
    serial: u64,
}

impl Script {
    const ROWS: u64 = 500;

    fn actions() -> Vec<Action> {
        let mut script = Script { random: Random::new(7), serial: 0 };
        let mut actions = vec![Action::Create(TREES[0]), Action::Create(TREES[2])];
        script.grow(&mut actions);
        script.trickle(&mut actions);
        script.change(&mut actions);
        script.shrink(&mut actions);
        actions
    }

    fn value(&mut self) -> Vec<u8> {
        self.serial += 1;
        format!("value {:06} {}", self.serial, ".".repeat(40)).into_bytes()
    }

    fn any(&mut self) -> u64 {
        self.random.below(Script::ROWS)
    }

    fn put(&mut self, number: u64) -> Change {
        Change::put(TREES[0], key(number), self.value())
    }

    /// Spills, flushes, reconciliations, splits, and a tree that grows.
    fn grow(&mut self, actions: &mut Vec<Action>) {
        for batch in 0..Script::ROWS / 10 {
            let rows = (0..10).map(|row| self.put(batch + row * Script::ROWS / 10)).collect();
            let durability = match batch % 8 {
                3 => Durability::Synced,
                6 => Durability::NoWal,
                _ => Durability::Buffered,
            };
            actions.push(Action::Batch(rows, durability));
            actions.push(Action::Maintain(3));
        }
        actions.push(Action::Checkpoint);
    }

    /// Many spills of next to nothing: they are gathered.
    fn trickle(&mut self, actions: &mut Vec<Action>) {
        actions.push(Action::Drain);
        for _ in 0..12 {
            let row = self.any();
            actions.push(Action::Single(Change::put(TREES[0], key(row), [])));
            actions.push(Action::Checkpoint);
            actions.push(Action::Maintain(8));
        }
    }

    /// Deletes, operands and range deletes over rows that are there.
    fn change(&mut self, actions: &mut Vec<Action>) {
        for round in 0..60 {
            let number = self.any();
            let (tree, key) = (TREES[usize::from(round % 3 == 0) * 2], key(number));
            let what = match round % 6 {
                0 | 1 => What::Merge(self.value()),
                2 => What::Remove,
                3 => What::Merge(b"!".to_vec()),
                4 => What::Put(self.value()),
                _ => What::RemoveRange(Some([&*key, b"5"].concat())),
            };
            actions.push(Action::Single(Change { tree, key, what }));
            match round % 12 {
                4 => actions.push(Action::Sync),
                11 => actions.push(Action::Checkpoint),
                _ => actions.push(Action::Maintain(2)),
            }
        }
        actions.extend([Action::Drain, Action::Compact(TREES[0]), Action::Checkpoint]);
    }

    /// Leaves that get small, nodes that are merged and share, a tree that shrinks.
    fn shrink(&mut self, actions: &mut Vec<Action>) {
        for batch in 0..Script::ROWS / 10 {
            let remove = |number| Change { tree: TREES[0], key: key(number), what: What::Remove };
            let rows = (0..10).map(|row| remove(batch * 10 + row)).collect();
            actions.push(Action::Batch(rows, Durability::Buffered));
            actions.push(Action::Maintain(4));
        }
        let all = Change { tree: TREES[2], key: Vec::new(), what: What::RemoveRange(None) };
        actions.push(Action::Single(all));
        actions.extend([Action::Drain, Action::Maintain(1000), Action::Checkpoint]);
        self.replace(actions);
    }

    /// A tree that is dropped with some rows, and made anew.
    fn replace(&mut self, actions: &mut Vec<Action>) {
        for number in 0..Script::ROWS {
            let row = self.put(number);
            actions.push(Action::Single(row));
        }
        actions.extend([Action::Checkpoint, Action::Drop(TREES[0]), Action::Create(TREES[0])]);
        actions.push(Action::Single(self.put(0)));
        actions.extend([Action::Drain, Action::Maintain(1000), Action::Checkpoint]);
        actions.extend([Action::Sync, Action::Maintain(1000)]);
    }
}

/// A kill, and what power cuts may leave: everything, what was synced, the later half of what was
/// not, and torn writes.
fn cuts(moment: Moment) -> [Option<Cut>; 6] {
    let seed = (moment.point * 64 + moment.hit) as u64;
    let torn = |seed| Some(Cut::Random(seed));
    let (all, none, half) = (Cut::KeepAll, Cut::LoseAll, Cut::KeepLastLoseFirst);
    [None, Some(all), Some(none), Some(half), torn(2 * seed), torn(2 * seed + 1)]
}

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_synced() {
    let disk = SimDisk::new(3);
    let wrecks = Arc::new(Mutex::new(Wrecks::default()));
    let hook = {
        let (disk, wrecks) = (disk.clone(), wrecks.clone());
        move |point| {
            wrecks.lock().unwrap().hit(point, &disk);
            ControlFlow::Continue(())
        }
    };
    let shape = Shape { cache_bytes: 64 << 10, checkpoint_bytes: 16 << 10, ..Shape::large() };
    let mut machine = Machine::boot_with(&disk, shape, |config| config.on_step(hook)).unwrap();
    let mut states = 0;
    for action in Script::actions() {
        let before = Wreck::of(&machine);
        machine.play(&action).unwrap();
        for (moment, disk) in std::mem::take(&mut wrecks.lock().unwrap().found) {
            let wreck = before.during(&action, disk);
            for cut in cuts(moment) {
                let left = cut.map_or_else(|| wreck.kill(), |cut| wreck.power_cut(cut));
                println!("{moment:?}, {cut:?}, in {action:.60?}");
                left.check();
                states += 1;
            }
        }
    }
    machine.look().unwrap();
    machine.db().verify().unwrap();
    let hits = &wrecks.lock().unwrap().hits;
    let missed: Vec<_> = (0..Config::STEP_POINTS).filter(|at| !hits.contains_key(at)).collect();
    assert!(missed.is_empty(), "points {missed:?} were not reached: {hits:?}");
    // One point stands for several things; each of them was done. (Tiny leaves have too few
    // segments to share; larger ones do it in `movement`.)
    let moved = machine.db().stats().movement;
    let done = [
        ("leaf splits", moved.leaf_splits),
        ("internal splits", moved.internal_splits),
        ("leaf merges", moved.leaf_merges),
        ("internal merges", moved.internal_merges),
        ("internal balances", moved.internal_balances),
        ("gatherings", moved.gathers),
        ("shrinks", moved.shrinks),
        ("adopted segments", moved.segments_adopted),
    ];
    assert!(done.iter().all(|(_, count)| *count > 0), "{done:?}");
    println!("{states} crash states, {hits:?}");
    machine.end();
}

/// A point at which the first thread that comes to it is held until it is let go.
struct Held {
    came: Receiver<()>,
    let_go: Sender<()>,
}

/// A database in memory with two background threads, one of which will be held at `point`.
fn held_at(point: usize) -> (Database, Held) {
    let (told, came) = channel();
    let (let_go, wait) = channel();
    let wait = Mutex::new(Some(wait));
    let hook = move |at: usize| {
        let wait = if at == point { wait.lock().unwrap().take() } else { None };
        if let Some(wait) = wait {
            told.send(()).unwrap();
            // An error means that the test has ended already.
            let _ = wait.recv();
        }
        ControlFlow::Continue(())
    };
    let config = Config::in_memory().tiny().cache_bytes(1 << 20).on_step(hook);
    let db = config.background(Background::Threads(2)).open().unwrap();
    (db, Held { came, let_go })
}

fn name(number: u64) -> String {
    format!("key-{:08}", number.wrapping_mul(2_654_435_761) % 100_000_000)
}

/// Everything that users do while a background thread stands still.
fn go_on(db: &Database, first: u64) {
    let tree = db.tree("t").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..first {
                assert!(tree.get(name(number)).unwrap().is_some(), "{number}");
            }
            assert!(tree.iter().count() as u64 >= first);
            assert!(tree.iter().rev().count() as u64 >= first);
        });
        scope.spawn(|| {
            for number in first..first + 200 {
                tree.insert(name(number), "written meanwhile").unwrap();
            }
            let mut batch = db.batch();
            batch.insert(&tree, name(first + 200), "synced meanwhile");
            batch.commit(Durability::Synced).unwrap();
        });
    });
    assert_eq!(tree.iter().count() as u64, first + 201);
}

/// The job may still read what it has taken: the tree's nodes stay for it.
#[test]
fn while_a_flush_stands_still_its_tree_can_be_dropped() {
    for point in IN_FLUSHES {
        let (db, held) = held_at(point);
        let tree = db.tree("t").unwrap();
        let mut rows = 0;
        while held.came.try_recv().is_err() {
            for number in rows..rows + 100 {
                tree.insert(name(number), format!("value {number}")).unwrap();
            }
            rows += 100;
            db.checkpoint().unwrap();
            assert!(rows < 1_000_000, "point {point} is never reached");
        }
        db.drop_tree("t").unwrap();
        let again = db.tree("t").unwrap();
        // What is written now would take the place of what the job still reads.
        for number in 0..rows {
            again.insert(name(number), "anew").unwrap();
            if number % 100 == 0 {
                db.checkpoint().unwrap();
            }
        }
        db.checkpoint().unwrap();
        assert_eq!(again.iter().count() as u64, rows);
        held.let_go.send(()).unwrap();
        db.daemon().wait_idle().unwrap();
        assert!(db.daemon().last_error().is_none(), "{:?}", db.daemon().last_error());
        assert_eq!(db.verify().unwrap().dropped_trees, 0);
        assert_eq!(again.iter().count() as u64, rows);
    }
}

/// The points inside flushes into nodes and into leaves.
const IN_FLUSHES: [usize; 7] = [3, 4, 5, 6, 10, 11, 12];

#[test]
fn while_a_flush_stands_still_everybody_goes_on() {
    for point in IN_FLUSHES {
        let (db, held) = held_at(point);
        let tree = db.tree("t").unwrap();
        let mut rows = 0;
        // A checkpoint spills what was written, so no writer has to wait for the thread.
        while held.came.try_recv().is_err() {
            for number in rows..rows + 100 {
                tree.insert(name(number), format!("value {number}")).unwrap();
            }
            rows += 100;
            db.checkpoint().unwrap();
            assert!(rows < 1_000_000, "point {point} is never reached");
        }
        go_on(&db, rows);
        db.checkpoint().unwrap();
        db.verify().unwrap();
        assert!(db.daemon().status().jobs_running > 0, "point {point} was left");
        held.let_go.send(()).unwrap();
        db.daemon().drain().unwrap();
        assert_eq!((db.stats().debt_bytes, tree.iter().count() as u64), (0, rows + 201));
        db.verify().unwrap();
    }
}
