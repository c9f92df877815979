//! Closing beside everything else: who comes too late is refused, and nothing acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood::{Database, Durability, Error, Tree};
use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::random::Random;

use crate::stage::{self, key, spawn, value};

/// Whether it went well; the only other end is that the database was closed.
fn is_open(result: Result<(), Error>) -> bool {
    if let Err(error) = &result {
        assert_eq!(error.to_string(), "the database is closed");
    }
    result.is_ok()
}

/// Writes until it is refused; tells how many rows were acknowledged.
fn write(tree: &Tree, writer: u64) -> u64 {
    (0..200)
        .take_while(|row| is_open(tree.insert(key(1000 * writer + row), value(*row, 90))))
        .count() as u64
}

/// Commits with a ticket until it is refused. Each is told once: that it is durable, or that
/// nobody knows.
fn commit_with_tickets(db: &Database, tree: &Tree, told: &Arc<AtomicU64>) -> u64 {
    let mut asked = 0;
    for row in 0..4 {
        let mut batch = db.batch();
        batch.insert(tree, key(9000 + row), value(row, 20));
        match batch.commit_async(Durability::Synced) {
            Ok(ticket) => {
                asked += 1;
                let told = told.clone();
                ticket.on_synced(move |_| {
                    told.fetch_add(1, Ordering::Relaxed);
                });
            }
            Err(error) => assert_eq!(error.to_string(), "the database is closed"),
        }
    }
    asked
}

fn a_close_waits_and_refuses_on(random: &mut Random) {
    let disk = Disk::new(random.draw());
    let db = stage::roomy(&disk);
    let trees = ["t", "u"].map(|name| db.tree(name).unwrap());
    stage::fill(&db, &trees[0], 30, 200);
    let writers: Vec<_> = (1..=2u64)
        .map(|writer| {
            let tree = trees[(writer % 2) as usize].clone();
            spawn(move || write(&tree, writer))
        })
        .collect();
    let told = Arc::new(AtomicU64::new(0));
    let (ours, its, telling) = (db.clone(), trees[0].clone(), told.clone());
    let tickets = spawn(move || commit_with_tickets(&ours, &its, &telling));
    let mut others = Vec::new();
    let ours = db.clone();
    others.push(spawn(move || {
        while is_open(ours.daemon().drain()) {
            shuttle::thread::yield_now();
        }
    }));
    let (ours, its) = (db.clone(), trees[0].clone());
    others.push(spawn(move || {
        is_open(ours.checkpoint());
        is_open(its.compact::<&str>(..));
    }));
    (0..random.below(40)).for_each(|_| shuttle::thread::yield_now());
    db.clone().close().unwrap();
    let acknowledged = stage::join(writers);
    let asked = stage::join([tickets]);
    stage::join(others);
    assert_eq!(told.load(Ordering::Relaxed), asked[0], "each ticket is told once");
    drop((trees, db));
    let db = stage::still(&disk);
    for (writer, rows) in (1..).zip(acknowledged) {
        let tree = db.tree(["t", "u"][(writer % 2) as usize]).unwrap();
        let found = tree.range(key(1000 * writer)..key(1000 * (writer + 1)));
        assert_eq!(found.map(Result::unwrap).count() as u64, rows, "it was acknowledged");
    }
    db.verify().unwrap();
    db.close().unwrap();
}

/// Tickets that are given in beside the end of a database, or behind it: after a close each is
/// durable; when it was let go of, nobody knows.
fn a_ticket_is_told_whatever_happens_on(random: &mut Random) {
    let db = stage::still(&Disk::new(random.draw()));
    let tree = db.tree("t").unwrap();
    let told = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let threads = (0..2).map(|row| {
        let mut batch = db.batch();
        batch.insert(&tree, key(row), value(row, 20));
        let (ticket, told) = (batch.commit_async(Durability::Synced).unwrap(), told.clone());
        spawn(move || {
            ticket.on_synced(move |result| {
                told[usize::from(result.is_ok())].fetch_add(1, Ordering::Relaxed);
            });
        })
    });
    let threads: Vec<_> = threads.collect();
    let is_closed = random.chance(50);
    if is_closed {
        db.clone().close().unwrap();
    } else {
        db.clone().abandon();
    }
    stage::join(threads);
    let told: Vec<u64> = told.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert_eq!(told, if is_closed { [0, 2] } else { [2, 0] }, "unsure and durable");
}

#[test]
fn a_ticket_is_told_whatever_happens() {
    explore(
        "shutdown::a_ticket_is_told_whatever_happens",
        1000,
        a_ticket_is_told_whatever_happens_on,
    );
}

/// Work that writes as it goes, because memory is short. The disk refuses whoever changes a file
/// behind the end of the close.
fn a_close_waits_for_who_writes_on(random: &mut Random) {
    let db = stage::still_and_tight(&Disk::new(random.draw()));
    let tree = db.tree("t").unwrap();
    for row in 0..24 {
        tree.insert(key(row), value(row, 400)).unwrap();
    }
    let (ours, its, kind) = (db.clone(), tree.clone(), random.below(3));
    let at_work = spawn(move || match kind {
        0 => is_open(ours.daemon().drain()),
        1 => is_open(its.compact::<&str>(..)),
        _ => is_open(ours.checkpoint()),
    });
    (0..random.below(3)).for_each(|_| shuttle::thread::yield_now());
    db.close().unwrap();
    stage::join([at_work]);
}

#[test]
fn a_close_waits_for_who_writes() {
    explore("shutdown::a_close_waits_for_who_writes", 200, a_close_waits_for_who_writes_on);
}

#[test]
fn a_close_waits_and_refuses() {
    explore("shutdown::a_close_waits_and_refuses", 100, a_close_waits_and_refuses_on);
}
