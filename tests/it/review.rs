//! Large transactions and bulk loads when something goes wrong in the middle.

use std::ops::Range;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sapwood::{Background, Config, Database, Durability, Slice, Tree, merge};

use crate::sim::disk::{Repeat, SimDisk};

fn config(disk: &SimDisk) -> Config {
    Config::on(Arc::new(disk.clone()))
        .tiny()
        .cache_bytes(128 << 10)
        .checkpoint_bytes(1 << 40)
        .background(Background::Manual)
}

fn tree(db: &Database, name: &str) -> Tree {
    db.tree_with(name, |tree| tree.merge_operator(merge::Append)).unwrap()
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number:05}").into_bytes()
}

fn rows(rows: impl Iterator<Item = sapwood::Result<(Slice, Slice)>>) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
}

/// Merges five operands into each of 60 keys of two trees, again where one was refused; tells which
/// operations of the disk it took.
fn merge_all(disk: &SimDisk, fail: Option<u64>) -> Range<u64> {
    let db = config(disk).open().unwrap();
    let (one, two) = (tree(&db, "one"), tree(&db, "two"));
    let start = disk.operations();
    if let Some(operation) = fail {
        disk.fail_at(operation, std::io::ErrorKind::StorageFull, Repeat::Once);
    }
    let mut tx = db.begin().unwrap();
    for number in 0..600 {
        let tree = if number % 2 == 0 { &one } else { &two };
        let mut attempts = 0;
        while let Err(error) = tx.merge(tree, key(number % 120), [b'+'; 12]) {
            assert!(error.is_retryable(), "{error}");
            attempts += 1;
            assert!(attempts < 3);
        }
    }
    let check = |db: &Database, what: &str| {
        for (name, odd) in [("one", 0), ("two", 1)] {
            let found = rows(self::tree(db, name).iter());
            assert_eq!(found.len(), 60, "{what}, {fail:?}");
            for (at, (found, value)) in found.iter().enumerate() {
                assert_eq!(*found, key(at as u64 * 2 + odd));
                assert_eq!(value.len(), 60, "{what}, {fail:?}: {name} {at}");
            }
        }
    };
    let end = disk.operations();
    match tx.commit() {
        Err(error) => assert!(error.is_retryable(), "{error}"),
        Ok(_) => {
            check(&db, "after the commit");
            let killed = disk.kill();
            let reopened = config(&killed).open().unwrap();
            check(&reopened, "after a kill");
            reopened.verify().unwrap();
        }
    }
    db.verify().unwrap();
    db.abandon();
    start..end
}

#[test]
fn a_change_that_met_a_full_disk_is_not_made_twice() {
    let operations = merge_all(&SimDisk::new(1), None);
    assert!(!operations.is_empty());
    for operation in operations {
        merge_all(&SimDisk::new(1), Some(operation));
    }
}

/// Goes back to a savepoint that lies within a run; tells which operations of the disk that took.
fn go_back(disk: &SimDisk, fail: Option<u64>) -> Range<u64> {
    let db = config(disk).open().unwrap();
    let (one, two) = (tree(&db, "one"), tree(&db, "two"));
    let mut tx = db.begin().unwrap();
    let fill = |tx: &mut sapwood::Transaction, from: u64| {
        for number in from..from + 150 {
            for tree in [&one, &two] {
                tx.insert(tree, key(number * 7 % 400), [b'v'; 30]).unwrap();
            }
        }
    };
    fill(&mut tx, 0);
    let savepoint = tx.savepoint();
    fill(&mut tx, 150);
    let start = disk.operations();
    if let Some(operation) = fail {
        disk.fail_at(operation, std::io::ErrorKind::StorageFull, Repeat::Once);
    }
    let gone_back = tx.rollback_to(&savepoint);
    let end = disk.operations();
    let rows = if gone_back.is_ok() { 150 } else { 300 };
    assert_eq!(tx.iter(&one).count(), rows, "{fail:?} {gone_back:?}");
    assert_eq!(tx.iter(&two).count(), rows, "{fail:?}");
    assert_eq!(tx.len(), rows as u64 * 2);
    tx.commit().unwrap();
    assert_eq!((one.iter().count(), two.iter().count()), (rows, rows), "{fail:?}");
    db.verify().unwrap();
    start..end
}

#[test]
fn going_back_that_met_a_full_disk_has_not_gone_half_the_way() {
    let operations = go_back(&SimDisk::new(1), None);
    assert!(!operations.is_empty());
    for operation in operations {
        go_back(&SimDisk::new(1), Some(operation));
    }
}

#[test]
fn a_bulk_load_writes_nothing_after_the_close() {
    let disk = SimDisk::new(1);
    let db = config(&disk).open().unwrap();
    let load = tree(&db, "load");
    let mut reopened = None;
    let numbers = (0..4000u64).map(|number| {
        if number == 600 {
            db.clone().close().unwrap();
            let other = config(&disk).open().unwrap();
            let kept = tree(&other, "kept");
            for number in 0..1500 {
                kept.insert(key(number), [b'k'; 30]).unwrap();
            }
            other.checkpoint().unwrap();
            reopened = Some(other);
        }
        (key(number), [b'l'; 30])
    });
    assert!(load.ingest(numbers).is_err());
    let other = reopened.unwrap();
    other.verify().unwrap();
    other.abandon();
    let again = config(&disk).open().unwrap();
    again.verify().unwrap();
    assert_eq!(tree(&again, "kept").iter().count(), 1500);
}

fn in_time(what: &'static str, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).ok();
    });
    assert!(is_done.recv_timeout(Duration::from_secs(20)).is_ok(), "{what} hangs");
}

#[test]
fn a_callback_may_let_go_of_the_last_handle() {
    in_time("the last handle in a callback", || {
        let db = Config::in_memory().open().unwrap();
        let t = db.tree("t").unwrap();
        let mut batch = db.batch();
        batch.insert(&t, "a", "1");
        let ticket = batch.commit_async(Durability::Synced).unwrap();
        let (told, is_told) = mpsc::channel();
        let last = db.clone();
        let (go, gone) = mpsc::channel::<()>();
        ticket.on_synced(move |synced| {
            gone.recv().ok();
            synced.unwrap();
            drop(last);
            told.send(()).ok();
        });
        drop(t);
        drop(db);
        go.send(()).ok();
        is_told.recv_timeout(Duration::from_secs(10)).unwrap();
    });
}

#[test]
fn a_callback_may_commit() {
    for background in [Background::Manual, Background::Threads(2)] {
        in_time("a commit in a callback", move || {
            let db = Config::in_memory().background(background).open().unwrap();
            let t = db.tree("t").unwrap();
            let mut batch = db.batch();
            batch.insert(&t, "a", "1");
            let ticket = batch.commit_async(Durability::Synced).unwrap();
            let (told, is_told) = mpsc::channel();
            let (within, t2) = (db.clone(), t.clone());
            ticket.on_synced(move |_| {
                t2.insert("b", "2").unwrap();
                let mut tx = within.begin().unwrap();
                tx.insert(&t2, "c", "3").unwrap();
                tx.commit_with(Durability::Synced).unwrap();
                told.send(()).ok();
            });
            db.maintain(10).unwrap();
            db.sync().unwrap();
            is_told.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!(t.iter().count(), 3);
        });
    }
}

#[test]
fn a_callback_of_a_checkpoint_may_take_one() {
    in_time("a checkpoint in a callback", || {
        let db = Config::in_memory().background(Background::Manual).open().unwrap();
        let t = db.tree("t").unwrap();
        let mut batch = db.batch();
        batch.insert(&t, "a", "1");
        let ticket = batch.commit_async(Durability::Synced).unwrap();
        let (told, is_told) = mpsc::channel();
        let within = db.clone();
        ticket.on_synced(move |synced| {
            synced.unwrap();
            within.checkpoint().unwrap();
            told.send(()).ok();
        });
        db.checkpoint().unwrap();
        is_told.try_recv().unwrap();
        db.verify().unwrap();
    });
}

#[test]
fn many_transactions_alive_do_not_keep_writers_out() {
    in_time("writing beside many transactions", || {
        let db = Config::in_memory().cache_bytes(8 << 20).open().unwrap();
        let t = db.tree("t").unwrap();
        let mut alive = Vec::new();
        for number in 0..150u64 {
            let mut tx = db.begin().unwrap();
            for row in 0..200u64 {
                tx.insert(&t, (number * 1000 + row).to_be_bytes(), [7; 1000]).unwrap();
            }
            alive.push(tx);
        }
        for row in 0..20_000u64 {
            t.insert((1_000_000 + row).to_be_bytes(), [7; 200]).unwrap();
        }
        for tx in alive {
            tx.commit().unwrap();
        }
        assert_eq!(t.iter().count(), 150 * 200 + 20_000);
        db.verify().unwrap();
    });
}

#[test]
fn what_a_large_transaction_shows_outlives_it() {
    let disk = SimDisk::new(1);
    let db = config(&disk).open().unwrap();
    let (one, two) = (tree(&db, "one"), tree(&db, "two"));
    let mut tx = db.begin().unwrap();
    for number in 0..600u64 {
        tx.insert(&one, key(number * 7 % 600), [b'v'; 30]).unwrap();
        tx.insert(&two, key(number * 7 % 600), [b'v'; 30]).unwrap();
    }
    let mut early = tx.iter(&one);
    let mut cursor = tx.cursor(&two);
    assert!(early.next().is_some());
    assert!(cursor.first().unwrap().is_some());
    let end = tx.savepoint();
    let more = tx.iter(&one);
    tx.insert(&one, "last", "x").unwrap();
    tx.rollback_to(&end).unwrap();
    tx.commit().unwrap();
    db.verify().unwrap();
    let copy = SimDisk::new(7);
    db.checkpoint_onto(&copy).unwrap();
    drop(two);
    db.drop_tree("two").unwrap();
    for round in 0..3u8 {
        for number in 0..600u64 {
            one.insert(key(number), [b'0' + round; 40]).unwrap();
        }
        db.daemon().drain().unwrap();
        db.checkpoint().unwrap();
    }
    let left = rows(early);
    assert_eq!(left.len(), 599);
    assert!(left.iter().all(|(_, value)| *value == [b'v'; 30]));
    assert_eq!(rows(more).len(), 600);
    let mut count = 1;
    while let Some((_, value)) = cursor.next().unwrap() {
        assert_eq!(value, [b'v'; 30]);
        count += 1;
    }
    assert_eq!(count, 600);
    drop(cursor);
    db.daemon().drain().unwrap();
    db.verify().unwrap();
    let copied = config(&copy).open().unwrap();
    assert_eq!(tree(&copied, "two").iter().count(), 600);
    copied.verify().unwrap();
    db.close().unwrap();
}
