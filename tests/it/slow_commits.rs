//! Commits that are searched for, with something else committed at every read of the search.
//!
//! ```text
//! watch -> search: read, read, [somebody commits], read, read -> the leader looks at the watch
//! ```
//!
//! The storage lets the test in between: when the search comes to a read, the test commits first.

use sapwood::{Database, Isolation, Transaction, Tree};

use crate::gate::{ROWS, cold, key};

/// What the intruder does to the tree, and whether the commit that is searched for stands it.
type Intrusion = (fn(&Database, &Tree), bool);

const INTRUSIONS: [Intrusion; 6] = [
    (|_, tree| tree.insert(key(0), "new").unwrap(), false),
    (|_, tree| tree.remove(key(ROWS - 1)).unwrap(), false),
    (|_, tree| tree.remove_range(key(17)..key(19)).unwrap(), false),
    (|_, tree| tree.insert("other", "new").unwrap(), true),
    // So much that the leader does not look through it, with one that matters at its end.
    (
        |_, tree| {
            (0..1500).for_each(|row| tree.insert(format!("z{row}"), [b'.'; 30]).unwrap());
            tree.insert(key(1), "new").unwrap();
        },
        false,
    ),
    // It leaves the memtables at once.
    (
        |db, tree| {
            tree.insert(key(1), "new").unwrap();
            db.checkpoint().unwrap();
            db.daemon().drain().unwrap();
        },
        false,
    ),
];

/// Commits a transaction that depends on all rows, with each intrusion at each of its reads.
fn intrude(begin: fn(&Database, &Tree) -> Transaction) {
    for (intrusion, stands) in INTRUSIONS {
        let mut reads = 0;
        loop {
            let (db, tree, gate) = cold();
            let tx = begin(&db, &tree);
            let (other_db, other_tree) = (db.clone(), tree.clone());
            gate.set(reads, move || intrusion(&other_db, &other_tree));
            let committed = tx.commit();
            if gate.lift() {
                committed.unwrap();
                break;
            }
            assert_eq!(committed.is_ok(), stands, "at read {reads}");
            assert!(committed.err().is_none_or(|error| error.is_conflict()));
            assert_eq!(tree.get("mine").unwrap().is_some(), stands);
            db.verify().unwrap();
            reads = 2 * reads + 1;
        }
        assert!(reads > 3, "the search read nothing");
    }
}

#[test]
fn what_is_committed_during_a_search_for_keys_is_noticed() {
    intrude(|db, tree| {
        let mut tx = db.begin().unwrap();
        (0..ROWS).for_each(|row| tx.insert(tree, key(row), "mine").unwrap());
        tx.insert(tree, "mine", "").unwrap();
        tx
    });
}

#[test]
fn what_is_committed_during_a_search_for_a_range_is_noticed() {
    intrude(|db, tree| {
        // What is read later cannot be told from the memtables any more.
        let mut tx = db.begin().unwrap();
        tree.insert("unrelated", "").unwrap();
        db.checkpoint().unwrap();
        tx.remove_range(tree, key(0)..key(ROWS)).unwrap();
        tx.insert(tree, "mine", "").unwrap();
        tx
    });
}

#[test]
fn a_reader_that_writes_elsewhere_notices_what_is_committed_during_its_search() {
    intrude(|db, tree| {
        let mut tx = db.begin_with(Isolation::Serializable).unwrap();
        tree.insert("unrelated", "").unwrap();
        db.checkpoint().unwrap();
        assert_eq!(tx.range(tree, key(0)..key(ROWS)).count(), ROWS as usize);
        tx.insert(tree, "mine", "").unwrap();
        tx
    });
}
