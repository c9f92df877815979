//! Threads that are held at a step point while everybody else goes on.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use sapwood::{Background, Config, Database, Durability, StepPoint};

/// A point at which the first thread that comes to it is held until it is let go.
struct Held {
    came: Receiver<()>,
    let_go: Sender<()>,
}

/// A database in memory with two background threads, one of which will be held at `point`.
fn held_at(point: StepPoint) -> (Database, Held) {
    let (told, came) = channel();
    let (let_go, wait) = channel();
    let wait = Mutex::new(Some(wait));
    let hook = move |at: StepPoint| {
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
            assert!(rows < 1_000_000, "{point:?} is never reached");
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
const IN_FLUSHES: [StepPoint; 7] = [
    StepPoint::FlushClaimed,
    StepPoint::FlushFetched,
    StepPoint::FlushBuilt,
    StepPoint::FlushPublished,
    StepPoint::ReconcileBegun,
    StepPoint::ReconcileBuilt,
    StepPoint::ReconcilePublished,
];

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
            assert!(rows < 1_000_000, "{point:?} is never reached");
        }
        go_on(&db, rows);
        db.checkpoint().unwrap();
        db.verify().unwrap();
        assert!(db.daemon().status().jobs_running > 0, "{point:?} was left");
        held.let_go.send(()).unwrap();
        db.daemon().drain().unwrap();
        assert_eq!((db.stats().debt_bytes, tree.iter().count() as u64), (0, rows + 201));
        db.verify().unwrap();
    }
}
