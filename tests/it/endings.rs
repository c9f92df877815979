//! What becomes of transactions, snapshots, savepoints, iterators and tickets when something that
//! they hang on ends: a transaction, the database, the process, the space on the disk.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use sapwood::{
    Background, Config, Database, Durability, Isolation, Result, Slice, Transaction, Tree,
};

use crate::sim::disk::SimDisk;

fn manual(disk: &SimDisk) -> (Database, Tree) {
    let config = Config::on(Arc::new(disk.clone())).background(Background::Manual).tiny();
    let db = config.cache_bytes(1 << 20).open().unwrap();
    let tree = db.tree("t").unwrap();
    (db, tree)
}

fn readers(db: &Database) -> u64 {
    db.stats().readers.count
}

fn keys(rows: impl Iterator<Item = Result<(Slice, Slice)>>) -> Vec<String> {
    rows.map(|row| String::from_utf8(row.unwrap().0.to_vec()).unwrap()).collect()
}

/// A savepoint that was kept kept all that its transaction had seen, too.
#[test]
fn a_savepoint_keeps_nothing_after_its_transaction() {
    let (db, tree) = manual(&SimDisk::new(1));
    tree.insert("a", "1").unwrap();
    let mut tx = db.begin().unwrap();
    let savepoint = tx.savepoint();
    tx.insert(&tree, "b", "2").unwrap();
    assert_eq!(readers(&db), 1);
    tx.commit().unwrap();
    assert_eq!(readers(&db), 0);
    let mut next = db.begin().unwrap();
    assert!(next.rollback_to(&savepoint).is_err());
}

/// However it ends, nobody is left registered.
#[test]
fn an_ended_transaction_keeps_nothing() {
    type End = fn(Transaction, &Tree);
    let ends: [End; 5] = [
        |tx, _| drop(tx),
        |tx, _| tx.rollback(),
        |tx, _| assert_eq!(tx.commit().unwrap().changes, 1),
        |tx, tree| {
            tree.insert("b", "of somebody else").unwrap();
            assert!(tx.commit().unwrap_err().is_conflict());
        },
        |tx, _| drop(tx.commit_async(Durability::Synced).unwrap()),
    ];
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        for end in ends {
            let (db, tree) = manual(&SimDisk::new(1));
            tree.insert("a", "1").unwrap();
            let mut tx = db.begin_with(isolation).unwrap();
            tx.get(&tree, "a").unwrap();
            tx.insert(&tree, "b", "2").unwrap();
            let mut iter = tx.iter(&tree);
            assert!(iter.next().is_some());
            drop(iter);
            end(tx, &tree);
            assert_eq!(readers(&db), 0);
        }
    }
}

#[test]
fn an_iterator_outlives_its_transaction_with_its_changes() {
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        let (db, tree) = manual(&SimDisk::new(1));
        (0..300).for_each(|row| tree.insert(format!("k{row:03}"), [b'.'; 50]).unwrap());
        let mut tx = db.begin_with(isolation).unwrap();
        tx.remove_range(&tree, "k100".."k200").unwrap();
        tx.insert(&tree, "k150", "mine").unwrap();
        let mut iter = tx.iter(&tree);
        assert_eq!(iter.next().unwrap().unwrap().0, "k000");
        tx.rollback();
        tree.remove_range::<&str>(..).unwrap();
        db.checkpoint().unwrap();
        tree.compact::<&str>(..).unwrap();
        let rest = keys(iter);
        assert_eq!(rest.len(), 200);
        assert!(rest.contains(&"k150".to_owned()) && !rest.contains(&"k151".to_owned()));
        assert_eq!(tree.iter().count(), 0);
        assert_eq!(readers(&db), 0);
    }
}

#[test]
fn nothing_is_committed_after_a_close_or_a_crash() {
    for is_crash in [false, true] {
        let disk = SimDisk::new(1);
        let (db, tree) = manual(&disk);
        tree.insert("a", "1").unwrap();
        let mut tx = db.begin_with(Isolation::Serializable).unwrap();
        assert!(tx.get(&tree, "a").unwrap().is_some());
        tx.insert(&tree, "b", "2").unwrap();
        let (snapshot, mut iter) = (db.snapshot(), tx.iter(&tree));
        if is_crash {
            db.clone().abandon();
        } else {
            db.clone().close().unwrap();
        }
        assert!(tx.get(&tree, "a").unwrap_err().is_fatal());
        assert!(tx.insert(&tree, "c", "3").unwrap_err().is_fatal());
        assert!(iter.next().unwrap().unwrap_err().is_fatal());
        assert!(tree.at(&snapshot).get("a").unwrap_err().is_fatal());
        assert!(db.begin().unwrap_err().is_fatal());
        let error = tx.commit().unwrap_err();
        assert!(error.is_fatal() && !error.is_conflict() && !error.is_indeterminate(), "{error}");
        let (_, tree) = manual(&disk);
        assert_eq!(keys(tree.iter()), ["a"]);
    }
}

type Told = Arc<Mutex<Vec<Result<()>>>>;

/// Commits `key`, and asks to be told.
fn ask(db: &Database, tree: &Tree, key: &str, told: &Told) {
    let mut tx = db.begin().unwrap();
    tx.insert(tree, key, "").unwrap();
    let told = told.clone();
    let ticket = tx.commit_async(Durability::Synced).unwrap();
    ticket.on_synced(move |outcome| told.lock().unwrap().push(outcome));
}

#[test]
fn a_close_tells_that_everything_is_durable() {
    let disk = SimDisk::new(1);
    let (db, tree) = manual(&disk);
    let told = Told::default();
    (0..3).for_each(|number| ask(&db, &tree, &number.to_string(), &told));
    assert_eq!(told.lock().unwrap().len(), 0);
    db.close().unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(Result::is_ok), "{told:?}");
}

/// Who asked while a close was under way was told that nobody knows, before the close had made it
/// durable.
#[test]
fn who_asks_during_a_close_is_told_how_it_ends() {
    type Asking = Box<dyn FnOnce() + Send>;
    let slot: Arc<Mutex<Option<Asking>>> = Arc::default();
    let step = slot.clone();
    let config = Config::in_memory().background(Background::Manual).tiny();
    let config = config.cache_bytes(1 << 20).on_step(move |_| {
        let asking = step.lock().unwrap().take();
        if let Some(asking) = asking {
            asking();
        }
        ControlFlow::Continue(())
    });
    let db = config.open().unwrap();
    let tree = db.tree("t").unwrap();
    let mut batch = db.batch();
    batch.insert(&tree, "a", "");
    let ticket = batch.commit_async(Durability::Synced).unwrap();
    let told = Told::default();
    let teller = told.clone();
    *slot.lock().unwrap() = Some(Box::new(move || {
        assert!(!ticket.is_durable(), "the close has got too far");
        ticket.on_synced(move |outcome| teller.lock().unwrap().push(outcome));
    }));
    db.close().unwrap();
    let told = told.lock().unwrap();
    assert!(matches!(told[..], [Ok(())]), "{told:?}");
}

#[test]
fn a_checkpoint_tells_that_everything_is_durable() {
    let (db, tree) = manual(&SimDisk::new(1));
    let told = Told::default();
    ask(&db, &tree, "a", &told);
    db.checkpoint().unwrap();
    assert!(matches!(told.lock().unwrap()[..], [Ok(())]));
}

#[test]
fn a_crash_tells_that_nobody_knows() {
    let (db, tree) = manual(&SimDisk::new(1));
    let told = Told::default();
    ask(&db, &tree, "a", &told);
    let mut batch = db.batch();
    batch.insert(&tree, "b", "");
    let ticket = batch.commit_async(Durability::Synced).unwrap();
    db.abandon();
    let told = told.lock().unwrap();
    assert!(matches!(&told[..], [Err(error)] if error.is_indeterminate()), "{told:?}");
    assert!(!ticket.is_durable());
}

#[test]
fn a_full_disk_refuses_a_transaction_as_a_whole() {
    let disk = SimDisk::new(1).with_capacity(600 << 10);
    let (db, tree) = manual(&disk);
    let mut rows = 0;
    let error = loop {
        let mut tx = db.begin_with(Isolation::Serializable).unwrap();
        for part in 0..4 {
            tx.insert(&tree, format!("k{rows:04}-{part}"), vec![b'.'; 2 << 10]).unwrap();
        }
        match tx.commit() {
            Ok(_) => rows += 1,
            Err(error) => break error,
        }
        assert!(rows < 1000, "the disk is never full");
    };
    assert!(error.is_retryable() && !error.is_conflict(), "{error}");
    assert_eq!(tree.iter().count(), 4 * rows);
    assert_eq!(readers(&db), 0);
    db.verify().unwrap();
}

/// From 65 536 keys on it is remembered more coarsely what was read; nothing may be forgotten.
#[test]
fn a_reader_of_very_many_keys_forgets_none() {
    let (db, tree) = manual(&SimDisk::new(1));
    for touched in [0u32, 65_535, 69_999] {
        let mut tx = db.begin_with(Isolation::Serializable).unwrap();
        for key in 0..70_000u32 {
            tx.get(&tree, key.to_be_bytes()).unwrap();
        }
        tx.insert(&tree, "mine", "").unwrap();
        tree.insert(touched.to_be_bytes(), "").unwrap();
        assert!(tx.commit().unwrap_err().is_conflict(), "{touched}");
    }
    let mut tx = db.begin_with(Isolation::Serializable).unwrap();
    (0..70_000u32).for_each(|key| drop(tx.get(&tree, key.to_be_bytes()).unwrap()));
    tx.insert(&tree, "mine", "").unwrap();
    tree.insert("far behind", "").unwrap();
    tx.commit().unwrap();
}
