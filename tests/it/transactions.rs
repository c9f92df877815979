//! Snapshots, transactions and tickets, one promise after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sapwood::{
    Background, Config, Database, Durability, Isolation, Read, Result, Slice, Transaction, Tree,
    merge,
};

fn manual() -> Database {
    Config::in_memory().background(Background::Manual).tiny().cache_bytes(1 << 20).open().unwrap()
}

fn value(slice: Option<Slice>) -> Option<String> {
    slice.map(|slice| String::from_utf8(slice.to_vec()).unwrap())
}

fn rows(iter: impl Iterator<Item = Result<(Slice, Slice)>>) -> Vec<String> {
    let text = |slice: Slice| String::from_utf8(slice.to_vec()).unwrap();
    iter.map(|row| row.map(|(key, value)| format!("{}={}", text(key), text(value))).unwrap())
        .collect()
}

/// Moves everything out of memory into the leaves.
fn settle(db: &Database) {
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
}

#[test]
fn a_snapshot_sees_all_trees_as_they_were() {
    let db = manual();
    let (one, two) = (db.tree("one").unwrap(), db.tree("two").unwrap());
    for key in 0..200 {
        one.insert(format!("{key:03}"), "old").unwrap();
    }
    two.insert("a", "1").unwrap();
    let before = db.snapshot();
    let again = before.clone();
    for key in 0..200 {
        one.insert(format!("{key:03}"), "new").unwrap();
    }
    two.remove("a").unwrap();
    one.remove_range("050".."100").unwrap();
    settle(&db);
    assert_eq!(value(one.at(&before).get("007").unwrap()), Some("old".into()));
    assert_eq!(one.at(&before).iter().count(), 200);
    assert!(one.at(&before).iter().all(|row| row.unwrap().1 == "old"));
    assert_eq!(one.iter().count(), 150);
    assert_eq!(value(before.get(&two, "a").unwrap()), Some("1".into()));
    assert_eq!(two.get("a").unwrap(), None);
    let stats = db.stats();
    assert_eq!(stats.readers.count, 1);
    assert!(stats.readers.held_bytes > 0);
    drop(before);
    assert_eq!(one.at(&again).iter().rev().count(), 200);
    drop(again);
    one.compact::<&str>(..).unwrap();
    two.compact::<&str>(..).unwrap();
    let stats = db.stats();
    assert_eq!((stats.readers.count, stats.readers.held_bytes), (0, 0));
    assert!(db.verify().is_ok());
}

#[test]
fn a_transaction_reads_its_own_changes() {
    let db = manual();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
        tree.insert(key, value).unwrap();
    }
    settle(&db);
    let mut tx = db.begin().unwrap();
    tx.merge(&tree, "a", "+").unwrap();
    tx.insert(&tree, "bb", "new").unwrap();
    tx.remove_range(&tree, "c"..).unwrap();
    tx.insert(&tree, "d", "again").unwrap();
    tx.merge(&tree, "d", "!").unwrap();
    tree.insert("x", "of somebody else").unwrap();
    let seen = ["a=1+", "b=2", "bb=new", "d=again!"];
    assert_eq!(rows(tx.iter(&tree)), seen);
    let mut reversed = rows(tx.range(&tree, "a"..="z").rev());
    reversed.reverse();
    assert_eq!(reversed, seen);
    assert_eq!(value(tx.get(&tree, "a").unwrap()), Some("1+".into()));
    assert_eq!(tx.get(&tree, "c").unwrap(), None);
    assert_eq!(tx.first(&tree).unwrap().unwrap().0, "a");
    assert_eq!(tx.last(&tree).unwrap().unwrap().0, "d");
    assert_eq!(tx.multi_get(&tree, ["b", "c"]).unwrap()[1], None);
    assert_eq!(rows(tree.iter()), ["a=1", "b=2", "c=3", "d=4", "x=of somebody else"]);
    let error = tx.commit().unwrap_err();
    assert!(error.is_conflict() && error.is_retryable(), "{error}");
    assert!(error.to_string().contains("\"x\""), "{error}");

    let mut tx = db.begin().unwrap();
    tx.remove_range(&tree, "c"..).unwrap();
    let commit = tx.commit().unwrap();
    assert_eq!(commit.changes, 1);
    assert!(db.snapshot().sequence() >= commit.sequence);
    assert_eq!(rows(tree.iter()), ["a=1", "b=2"]);
}

#[test]
fn an_iterator_sees_the_changes_that_were_made_before_it() {
    let db = manual();
    let tree = db.tree("t").unwrap();
    let mut tx = db.begin().unwrap();
    tx.insert(&tree, "a", "1").unwrap();
    let iter = tx.iter(&tree);
    tx.insert(&tree, "a", "2").unwrap();
    tx.insert(&tree, "b", "2").unwrap();
    assert_eq!(rows(iter), ["a=1"]);
    assert_eq!(rows(tx.iter(&tree)), ["a=2", "b=2"]);
}

type Touch = fn(&mut Transaction, &Tree);

/// Whether a transaction that has done `ours` commits after another one has done `theirs`; once
/// with everything in memory, once with all of it in the leaves.
fn commits(isolation: Isolation, ours: Touch, theirs: Touch) -> [bool; 2] {
    [false, true].map(|moved| {
        let db = manual();
        let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
        for key in ["b", "d", "f"] {
            tree.insert(key, "0").unwrap();
        }
        settle(&db);
        let mut tx = db.begin_with(isolation).unwrap();
        ours(&mut tx, &tree);
        let mut other = db.begin().unwrap();
        theirs(&mut other, &tree);
        other.commit().unwrap();
        if moved {
            settle(&db);
        }
        match tx.commit() {
            Ok(_) => true,
            Err(error) => {
                assert!(error.is_conflict(), "{error}");
                false
            }
        }
    })
}

#[test]
fn the_first_committer_of_a_key_wins() {
    let put: Touch = |tx, tree| tx.insert(tree, "b", "x").unwrap();
    let put_other: Touch = |tx, tree| tx.insert(tree, "c", "x").unwrap();
    let remove: Touch = |tx, tree| tx.remove(tree, "b").unwrap();
    let merge: Touch = |tx, tree| tx.merge(tree, "b", "x").unwrap();
    let range: Touch = |tx, tree| tx.remove_range(tree, "a".."c").unwrap();
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        for ours in [put, remove, merge, range] {
            for theirs in [put, remove, merge, range] {
                assert_eq!(commits(isolation, ours, theirs), [false; 2]);
            }
            assert_eq!(commits(isolation, ours, put_other), [true; 2]);
        }
    }
}

#[test]
fn a_serializable_transaction_finds_what_it_read_unchanged() {
    let read: Touch = |tx, tree| {
        tx.get(tree, "b").unwrap();
        tx.insert(tree, "z", "").unwrap();
    };
    let scan: Touch = |tx, tree| {
        assert_eq!(tx.range(tree, "a".."e").count(), 2);
        tx.insert(tree, "z", "").unwrap();
    };
    let scan_one: Touch = |tx, tree| {
        assert!(tx.range(tree, "a"..).next().is_some());
        tx.insert(tree, "z", "").unwrap();
    };
    let last: Touch = |tx, tree| {
        assert_eq!(tx.last(tree).unwrap().unwrap().0, "f");
        tx.insert(tree, "0", "").unwrap();
    };
    let change: Touch = |tx, tree| tx.insert(tree, "b", "x").unwrap();
    let phantom: Touch = |tx, tree| tx.insert(tree, "c", "x").unwrap();
    let beyond: Touch = |tx, tree| tx.insert(tree, "g", "x").unwrap();
    for (ours, theirs, stands) in [
        (read, change, false),
        (read, phantom, true),
        (scan, change, false),
        (scan, phantom, false),
        (scan, beyond, true),
        (scan_one, change, false),
        (scan_one, phantom, true),
        (last, beyond, false),
        (last, change, true),
    ] {
        assert_eq!(commits(Isolation::Serializable, ours, theirs), [stands; 2]);
        assert_eq!(commits(Isolation::Snapshot, ours, theirs), [true; 2]);
    }
}

#[test]
fn get_for_update_guards_a_key_under_snapshot_isolation() {
    let ours: Touch = |tx, tree| {
        tx.get_for_update(tree, "b").unwrap();
        tx.insert(tree, "z", "").unwrap();
    };
    let theirs: Touch = |tx, tree| tx.insert(tree, "b", "x").unwrap();
    assert_eq!(commits(Isolation::Snapshot, ours, theirs), [false; 2]);
}

#[test]
fn an_iterator_that_outlives_its_transaction_was_read() {
    let db = manual();
    let tree = db.tree("t").unwrap();
    tree.insert("a", "1").unwrap();
    let mut tx = db.begin_with(Isolation::Serializable).unwrap();
    let mut iter = tx.iter(&tree);
    iter.next().unwrap().unwrap();
    tx.insert(&tree, "z", "").unwrap();
    tree.insert("a", "2").unwrap();
    assert!(tx.commit().unwrap_err().is_conflict());
    assert!(iter.next().is_none());
}

#[test]
fn a_large_footprint_is_checked_as_exactly_as_a_small_one() {
    for touched in [None, Some("0777"), Some("2999")] {
        let db = manual();
        let tree = db.tree("t").unwrap();
        let mut tx = db.begin().unwrap();
        for key in 0..3000 {
            tx.insert(&tree, format!("{key:04}"), "x").unwrap();
        }
        if let Some(key) = touched {
            tree.insert(key, "y").unwrap();
        }
        tree.insert("other", "y").unwrap();
        assert_eq!(tx.commit().is_err(), touched.is_some());
        assert_eq!(tree.iter().count(), if touched.is_some() { 2 } else { 3001 });
    }
}

#[test]
fn a_transaction_goes_back_to_its_savepoints() {
    let db = manual();
    let tree = db.tree("t").unwrap();
    let mut tx = db.begin().unwrap();
    tx.insert(&tree, "a", "1").unwrap();
    let one = tx.savepoint();
    tx.insert(&tree, "a", "2").unwrap();
    assert_eq!(rows(tx.iter(&tree)), ["a=2"]);
    let two = tx.savepoint();
    tx.insert(&tree, "b", "3").unwrap();
    tx.rollback_to(&two).unwrap();
    tx.insert(&tree, "c", "4").unwrap();
    tx.rollback_to(&two).unwrap();
    assert_eq!(rows(tx.iter(&tree)), ["a=2"]);
    tx.rollback_to(&one).unwrap();
    assert_eq!(rows(tx.iter(&tree)), ["a=1"]);
    assert!(tx.rollback_to(&two).unwrap_err().to_string().contains("savepoint"));
    let mut other = db.begin().unwrap();
    assert!(other.rollback_to(&one).is_err());
    tx.commit().unwrap();
    assert_eq!(rows(tree.iter()), ["a=1"]);
}

#[test]
fn dropping_rolls_back_and_an_empty_commit_succeeds() {
    let db = manual();
    let tree = db.tree("t").unwrap();
    let mut tx = db.begin().unwrap();
    tx.insert(&tree, "a", "1").unwrap();
    drop(tx);
    db.begin().unwrap().rollback();
    let reader = db.begin_with(Isolation::Serializable).unwrap();
    assert_eq!(reader.get(&tree, "a").unwrap(), None);
    tree.insert("a", "2").unwrap();
    assert_eq!(reader.get(&tree, "a").unwrap(), None);
    assert_eq!(reader.commit().unwrap().changes, 0);
}

#[test]
fn a_closure_is_run_again_until_it_commits() {
    let db = manual();
    let tree = db.tree("t").unwrap();
    let mut runs = 0;
    db.transaction(|tx| {
        runs += 1;
        tx.get(&tree, "a")?;
        if runs < 3 {
            tree.insert("a", runs.to_string())?;
        }
        tx.insert(&tree, "b", runs.to_string())
    })
    .unwrap();
    assert_eq!(value(tree.get("b").unwrap()), Some("3".into()));
    let mut attempts = 0;
    let lost = db.transaction(|tx| {
        attempts += 1;
        tree.insert("a", "again")?;
        tx.insert(&tree, "a", "mine")
    });
    assert!(lost.unwrap_err().is_conflict());
    assert_eq!(attempts, 64);
}

#[test]
fn threads_that_count_in_transactions_lose_nothing() {
    let db = Config::in_memory().open().unwrap();
    let tree = db.tree("t").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    db.transaction(|tx| {
                        let old = tx
                            .get(&tree, "n")?
                            .map_or(0, |old| u64::from_le_bytes(old.as_ref().try_into().unwrap()));
                        tx.insert(&tree, "n", (old + 1).to_le_bytes())
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(tree.get("n").unwrap().as_deref(), Some(&400u64.to_le_bytes()[..]));
}

#[test]
fn a_ticket_tells_when_a_commit_is_durable() {
    let db = manual();
    let tree = db.tree("t").unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let mut tickets = Vec::new();
    for key in 0..4u8 {
        let mut batch = db.batch();
        batch.insert(&tree, [key], "v");
        let ticket = batch.commit_async(Durability::Synced).unwrap();
        assert!(tree.contains_key([key]).unwrap());
        assert!(!ticket.is_durable());
        let told = told.clone();
        ticket.clone().on_synced(move |outcome| {
            outcome.unwrap();
            told.fetch_add(1, Ordering::Relaxed);
        });
        tickets.push(ticket);
    }
    assert_eq!(told.load(Ordering::Relaxed), 0);
    tickets[1].wait().unwrap();
    assert!(tickets[0].is_durable());
    assert_eq!(told.load(Ordering::Relaxed), 4);
    let mut tx = db.begin().unwrap();
    tx.insert(&tree, "x", "v").unwrap();
    let ticket = tx.commit_async(Durability::Synced).unwrap();
    assert_eq!(ticket.commit().changes, 1);
    let later = told.clone();
    ticket.clone().on_synced(move |outcome| {
        outcome.unwrap();
        later.fetch_add(10, Ordering::Relaxed);
    });
    db.maintain(1).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 14);
    assert!(ticket.is_durable());
    tree.insert("before", "").unwrap();
    let empty = db.batch().commit_async(Durability::Synced).unwrap();
    assert!(!empty.is_durable());
    empty.wait().unwrap();
    assert!(empty.is_durable());
    let shared = told.clone();
    ticket.on_synced(move |outcome| {
        outcome.unwrap();
        shared.fetch_add(100, Ordering::Relaxed);
    });
    assert_eq!(told.load(Ordering::Relaxed), 114);
}

#[test]
fn trees_of_another_database_are_refused() {
    let (db, other) = (manual(), manual());
    let tree = other.tree("t").unwrap();
    let mut tx = db.begin().unwrap();
    assert!(tx.insert(&tree, "a", "").is_err());
    assert!(tx.get(&tree, "a").is_err());
    assert!(tree.at(&db.snapshot()).get("a").is_err());
    assert!(tree.at(&db.snapshot()).iter().next().unwrap().is_err());
}
