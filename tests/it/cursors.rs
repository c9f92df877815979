//! Cursors: random walks beside a `BTreeMap`, and one promise after the other.

mod walk;

use std::sync::Arc;

use proptest::prelude::*;
use sapwood::merge::{self, MergeError, MergeOperator};
use sapwood::{
    Background, Config, Database, Durability, Error, Isolation, Near, Overwrite, Read, Seek,
    Transaction, Tree,
};

use self::walk::{Change, History, Move, Rows, Walker, history, moves, number};
use crate::sim::disk::SimDisk;

fn manual() -> Database {
    Config::in_memory().background(Background::Manual).tiny().cache_bytes(1 << 20).open().unwrap()
}

fn with_rows(rows: &[(&str, &str)]) -> (Database, Tree) {
    let db = manual();
    let tree = db.tree("t").unwrap();
    rows.iter().for_each(|(key, value)| tree.insert(key, value).unwrap());
    (db, tree)
}

/// A tree with the history's rows, some of them still on their way, and what it should hold.
struct Grown {
    db: Database,
    tree: Tree,
    rows: Rows,
}

impl Grown {
    fn new() -> Grown {
        let db = manual();
        let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
        Grown { db, tree, rows: Rows::default() }
    }

    fn play(&mut self, history: &History) {
        for change in history {
            match change {
                Change::Maintain(steps) => {
                    self.db.maintain(*steps).unwrap();
                }
                Change::Drain => self.db.daemon().drain().unwrap(),
                change => self.write(change),
            }
        }
    }

    fn write(&mut self, change: &Change) {
        let mut batch = self.db.batch();
        match change {
            Change::Fill(from, count) => {
                for at in *from..from + count {
                    batch.insert(&self.tree, number(at), format!("row {at}"));
                }
            }
            Change::Insert(key, value) => batch.insert(&self.tree, key, value),
            Change::Remove(key) => batch.remove(&self.tree, key),
            Change::Merge(key, operand) => batch.merge(&self.tree, key, operand),
            Change::RemoveRange(from, to) => {
                batch.remove_range(&self.tree, number(*from)..number(*to));
            }
            Change::Maintain(_) | Change::Drain => {}
        }
        batch.commit(Durability::Buffered).unwrap();
        self.rows.change(change);
    }
}

fn write_in(tx: &mut Transaction, tree: &Tree, change: &Change) {
    match change {
        Change::Fill(from, count) => {
            for at in *from..from + count {
                tx.insert(tree, number(at), format!("row {at}")).unwrap();
            }
        }
        Change::Insert(key, value) => tx.insert(tree, key, value).unwrap(),
        Change::Remove(key) => tx.remove(tree, key).unwrap(),
        Change::Merge(key, operand) => tx.merge(tree, key, operand).unwrap(),
        Change::RemoveRange(from, to) => {
            tx.remove_range(tree, number(*from)..number(*to)).unwrap();
        }
        Change::Maintain(_) | Change::Drain => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_cursor_walks_as_in_a_map(
        before in history(), meanwhile in history(), walks in [moves(), moves(), moves()],
    ) {
        let mut grown = Grown::new();
        grown.play(&before);
        let seen = grown.rows.clone();
        let snapshot = grown.db.snapshot();
        let mut latest = Walker::new(grown.tree.cursor(), seen.clone());
        latest.walk(&walks[0]);
        grown.play(&meanwhile);
        latest.walk(&walks[1]);
        Walker::new(grown.tree.at(&snapshot).cursor(), seen).walk(&walks[2]);
        Walker::new(grown.db.cursor(&grown.tree), grown.rows.clone()).walk(&walks[2]);
    }

    #[test]
    fn a_cursor_of_a_transaction_sees_what_it_does(
        before in history(), own in history(), meanwhile in history(),
        walks in [moves(), moves(), moves()], is_serializable in any::<bool>(),
    ) {
        let mut grown = Grown::new();
        grown.play(&before);
        let mut seen = grown.rows.clone();
        let isolation =
            if is_serializable { Isolation::Serializable } else { Isolation::Snapshot };
        let mut tx = grown.db.begin_with(isolation).unwrap();
        for change in &own {
            write_in(&mut tx, &grown.tree, change);
            seen.change(change);
        }
        Walker::new(tx.cursor(&grown.tree), seen.clone()).walk(&walks[0]);
        let tree = grown.tree.clone();
        let mut own = Walker::new(tx.cursor_mut(&tree), seen);
        own.walk(&walks[1]);
        grown.play(&meanwhile);
        own.walk(&walks[2]);
        let seen = own.finish();
        let found = tx.iter(&tree).map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())));
        let found: Vec<_> = found.collect::<sapwood::Result<_>>().unwrap();
        prop_assert_eq!(found, seen.into_vec());
        let keys: Vec<_> = tx.iter(&tree).keys().map(|key| key.unwrap().to_vec()).collect();
        let rev: Vec<_> = tx.iter(&tree).keys().rev().map(|key| key.unwrap().to_vec()).collect();
        prop_assert!(keys.iter().eq(rev.iter().rev()));
    }
}

#[test]
fn long_walks_turn_round_everywhere_in_a_high_tree() {
    let mut grown = Grown::new();
    for at in 0..60 {
        grown.write(&Change::Fill(at * 100, 100));
        grown.db.maintain(20).unwrap();
    }
    grown.write(&Change::RemoveRange(700, 3900));
    grown.write(&Change::Fill(1500, 90));
    let shape = grown.db.shape().unwrap();
    assert!(shape.trees[0].top.height >= 2, "{}", shape.trees[0].top.height);
    let mut walker = Walker::new(grown.tree.cursor(), grown.rows.clone());
    let back_and_forth = [Move::Next(97), Move::Prev(31), Move::NextKey(45), Move::Prev(3)];
    for _ in 0..40 {
        walker.walk(&back_and_forth);
    }
    walker.walk(&[Move::Next(9000), Move::Prev(1), Move::Next(2), Move::Prev(9000), Move::Next(1)]);
}

#[test]
fn ends_are_where_they_are_said_to_be() {
    let (_db, tree) = with_rows(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let row = |key: &'static str, value: &'static str| Some((key.as_bytes(), value.as_bytes()));
    let mut cursor = tree.cursor();
    assert_eq!(cursor.key(), None);
    assert_eq!(cursor.value().unwrap(), None);
    assert_eq!(cursor.prev().unwrap(), row("c", "3"));
    assert_eq!(cursor.next().unwrap(), None);
    assert_eq!(cursor.next().unwrap(), None);
    assert_eq!(cursor.key(), None);
    assert_eq!(cursor.prev().unwrap(), row("c", "3"));
    cursor.reset();
    assert_eq!(cursor.next().unwrap(), row("a", "1"));
    assert_eq!(cursor.prev().unwrap(), None);
    assert_eq!(cursor.prev_key().unwrap(), None);
    assert_eq!(cursor.next().unwrap(), row("a", "1"));
    assert!(!cursor.seek("bb", Seek::Exact).unwrap());
    assert_eq!(cursor.prev().unwrap(), row("b", "2"));
    assert!(!cursor.seek("bb", Seek::Exact).unwrap());
    assert_eq!(cursor.next().unwrap(), row("c", "3"));
    assert_eq!(cursor.first().unwrap(), row("a", "1"));
    assert_eq!(cursor.last().unwrap(), row("c", "3"));
    assert_eq!(cursor.search_near("b").unwrap(), Near::Exact);
    assert_eq!(cursor.search_near("bb").unwrap(), Near::After);
    assert_eq!(cursor.search_near("d").unwrap(), Near::Before);
    tree.remove_range::<&str>(..).unwrap();
    assert_eq!(tree.cursor().search_near("d").unwrap(), Near::Empty);
    assert_eq!(tree.cursor().last().unwrap(), None);
    assert_eq!(cursor.value().unwrap(), Some(&b"3"[..]));
}

/// An operator that never succeeds.
struct Never;

impl MergeOperator for Never {
    fn name(&self) -> &str {
        "never"
    }

    fn apply(&self, _: &[u8], _: Option<&[u8]>, _: &[u8]) -> Result<Vec<u8>, MergeError> {
        Err(MergeError::new("never"))
    }
}

#[test]
fn keys_are_there_where_values_cannot_be_told() {
    let db = manual();
    let tree = db.tree_with("t", |tree| tree.merge_operator(Never)).unwrap();
    tree.insert("a", "1").unwrap();
    tree.merge("b", "x").unwrap();
    tree.insert("c", "3").unwrap();
    for is_settled in [false, true] {
        if is_settled {
            db.daemon().drain().unwrap();
            db.checkpoint().unwrap();
        }
        let mut cursor = tree.cursor();
        assert_eq!(cursor.next_key().unwrap(), Some(&b"a"[..]));
        assert_eq!(cursor.value().unwrap(), Some(&b"1"[..]));
        assert!(cursor.next().unwrap_err().is_merge());
        assert_eq!(cursor.key(), Some(&b"b"[..]));
        assert!(cursor.value().unwrap_err().is_merge());
        assert_eq!(cursor.next().unwrap(), Some((&b"c"[..], &b"3"[..])));
        assert_eq!(cursor.prev_key().unwrap(), Some(&b"b"[..]));
        assert!(cursor.seek("b", Seek::Exact).unwrap());
        assert!(cursor.value().unwrap_err().is_merge());
        assert_eq!(cursor.prev().unwrap(), Some((&b"a"[..], &b"1"[..])));
        let keys: Vec<_> = tree.keys().map(Result::unwrap).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!(tree.range("b"..).keys().rev().map(Result::unwrap).last().unwrap(), "b");
        assert_eq!(tree.at(&db.snapshot()).keys().count(), 3);
    }
}

#[test]
fn rows_are_refused_by_name() {
    let (db, tree) = with_rows(&[("a", "1"), ("b", "2")]);
    let mut tx = db.begin().unwrap();
    let mut cursor = tx.cursor_mut(&tree);
    let nowhere = cursor.update("x").unwrap_err();
    assert!(nowhere.is_not_found() && nowhere.to_string().contains("stands at no row"));
    let there = cursor.insert("b", "x", Overwrite::Refused).unwrap_err();
    assert!(there.is_already_exists() && !there.is_not_found());
    assert!(there.to_string().contains("\"b\"") && there.to_string().contains("\"t\""));
    assert_eq!(cursor.value().unwrap(), Some(&b"2"[..]));
    cursor.remove().unwrap();
    for gone in [cursor.update("x"), cursor.remove()] {
        let gone = gone.unwrap_err();
        assert!(gone.is_not_found() && gone.to_string().contains("\"b\""), "{gone}");
    }
    cursor.insert("b", "again", Overwrite::Refused).unwrap();
    cursor.insert("a", "over", Overwrite::Allowed).unwrap();
    assert!(cursor.insert(vec![0; 70_000], "x", Overwrite::Allowed).is_err());
    assert_eq!(cursor.next().unwrap(), Some((&b"b"[..], &b"again"[..])));
    drop(cursor);
    tx.commit().unwrap();
    assert_eq!(tree.get("a").unwrap().unwrap(), "over");
    let other = manual();
    assert!(other.cursor(&tree).next().is_err());
    assert!(other.get(&tree, "a").is_err());
    let mut tx = other.begin().unwrap();
    assert!(tx.cursor_mut(&tree).seek("a", Seek::Exact).is_err());
    assert!(tx.cursor_mut(&tree).insert("a", "x", Overwrite::Allowed).is_err());
}

#[test]
fn a_row_that_grows_in_place_is_not_kept_again_and_again() {
    let (db, tree) = with_rows(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let mut tx = db.begin().unwrap();
    let mut cursor = tx.cursor_mut(&tree);
    cursor.first().unwrap();
    cursor.next().unwrap();
    let value = |round: u8| vec![round; 100 << 10];
    for round in 0..60 {
        cursor.update(value(round)).unwrap();
        assert_eq!(cursor.value().unwrap(), Some(&value(round)[..]));
    }
    assert_eq!(cursor.next_key().unwrap(), Some(&b"c"[..]));
    assert_eq!(cursor.prev().unwrap(), Some((&b"b"[..], &value(59)[..])));
    assert_eq!(cursor.prev_key().unwrap(), Some(&b"a"[..]));
}

/// Whether a serializable transaction that has done `ours` commits beside an insert of `theirs`.
fn commits(ours: fn(&mut Transaction, &Tree), theirs: &str) -> bool {
    let (db, tree) = with_rows(&[("b", "1"), ("d", "2"), ("f", "3"), ("h", "4")]);
    let mut tx = db.begin_with(Isolation::Serializable).unwrap();
    ours(&mut tx, &tree);
    tx.insert(&tree, "z", "").unwrap();
    tree.insert(theirs, "x").unwrap();
    let done = tx.commit();
    assert!(done.is_ok() || done.as_ref().is_err_and(Error::is_conflict));
    done.is_ok()
}

#[test]
fn a_serializable_transaction_notes_what_its_cursors_pass() {
    type Ours = fn(&mut Transaction, &Tree);
    let exact: Ours = |tx, tree| assert!(!tx.cursor(tree).seek("c", Seek::Exact).unwrap());
    let after: Ours = |tx, tree| assert!(tx.cursor_mut(tree).seek("c", Seek::AtOrAfter).unwrap());
    let before: Ours = |tx, tree| assert!(tx.cursor(tree).seek("e", Seek::AtOrBefore).unwrap());
    let near: Ours = |tx, tree| assert_eq!(tx.cursor(tree).search_near("k").unwrap(), Near::Before);
    let turned: Ours = |tx, tree| {
        let mut cursor = tx.cursor_mut(tree);
        cursor.seek("d", Seek::Exact).unwrap();
        cursor.next_key().unwrap();
        cursor.prev_key().unwrap();
        cursor.prev_key().unwrap();
        cursor.next_key().unwrap();
    };
    let last: Ours = |tx, tree| assert!(tx.cursor_mut(tree).last().unwrap().is_some());
    let sought_again: Ours = |tx, tree| {
        let mut cursor = tx.cursor(tree);
        cursor.first().unwrap();
        cursor.seek("g", Seek::AtOrAfter).unwrap();
    };
    let absent: Ours = |tx, tree| {
        tx.cursor_mut(tree).insert("c", "", Overwrite::Refused).unwrap();
    };
    for (name, ours, conflicts, stands) in [
        ("exact", exact, &["c"][..], &["b", "bb", "cc", "d"][..]),
        ("after", after, &["c", "cc", "d"], &["b", "bb", "dd", "f"]),
        ("before", before, &["d", "dd", "e"], &["cc", "ee", "f", "b"]),
        ("near", near, &["h", "i", "k", "l", "y"], &["g", "f"]),
        ("turned", turned, &["b", "bb", "c", "d", "e", "f"], &["a", "ff", "h"]),
        ("last", last, &["h", "i", "zz"], &["b", "g"]),
        ("sought again", sought_again, &["a", "b", "g", "gg", "h"], &["bb", "f", "hh"]),
        ("absent", absent, &["c"], &["b", "cc"]),
    ] {
        for theirs in conflicts {
            assert!(!commits(ours, theirs), "{name} beside {theirs}");
        }
        for theirs in stands {
            assert!(commits(ours, theirs), "{name} beside {theirs}");
        }
    }
}

#[test]
fn a_cursor_outlives_what_it_was_made_of_but_not_the_database() {
    let disk = SimDisk::new(1);
    let config = Config::on(Arc::new(disk)).tiny().cache_bytes(1 << 20);
    let db = config.background(Background::Manual).open().unwrap();
    let mut cursor = {
        let tree = db.tree("t").unwrap();
        for at in 0..500 {
            tree.insert(number(at), "x").unwrap();
        }
        let snapshot = db.snapshot();
        tree.remove_range::<&str>(..).unwrap();
        tree.at(&snapshot).cursor()
    };
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    let mut count = 0;
    while cursor.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 500);
    assert_eq!(db.stats().readers.count, 1);
    db.close().unwrap();
    assert!(cursor.seek("k", Seek::AtOrAfter).unwrap_err().is_fatal());
    assert_eq!(cursor.key(), None);
}

/// A database with settled rows of which nothing is in memory yet.
fn cold(disk: &SimDisk, rows: u32) -> (Database, Tree) {
    let open = || {
        let config = Config::on(Arc::new(disk.clone())).tiny().cache_bytes(1 << 20);
        config.background(Background::Manual).open().unwrap()
    };
    let db = open();
    let tree = db.tree("t").unwrap();
    for at in 0..rows {
        tree.insert(number(at), [b'x'; 50]).unwrap();
    }
    db.daemon().drain().unwrap();
    db.close().unwrap();
    let db = open();
    let tree = db.tree("t").unwrap();
    (db, tree)
}

#[test]
fn a_short_seek_reads_no_more_than_a_get() {
    for seek in [Seek::Exact, Seek::AtOrAfter, Seek::AtOrBefore] {
        let pages = |read: &dyn Fn(&Tree)| {
            let (db, tree) = cold(&SimDisk::new(1), 4000);
            let before = db.stats().pages_read;
            read(&tree);
            db.stats().pages_read - before
        };
        let get = pages(&|tree| assert!(tree.get(number(2000)).unwrap().is_some()));
        let sought = pages(&|tree| assert!(tree.cursor().seek(number(2000), seek).unwrap()));
        assert!(sought <= get + 1, "{seek:?} reads {sought} pages, a get {get}");
    }
}

#[test]
fn a_move_that_fails_can_be_made_again() {
    let disk = SimDisk::new(1);
    let (_db, tree) = cold(&disk, 4000);
    let mut cursor = tree.cursor();
    let (mut at, mut failures) = (0, 0);
    while at < 4000 {
        disk.fail_reads_at(disk.reads(), std::io::ErrorKind::Other);
        let before = cursor.key().map(<[u8]>::to_vec);
        match cursor.next() {
            Ok(row) => {
                assert_eq!(row.unwrap().0, number(at));
                at += 1;
            }
            Err(error) => {
                failures += 1;
                assert!(!error.is_corruption() && !error.is_merge(), "{error}");
                assert_eq!(cursor.key(), before.as_deref());
            }
        }
        disk.heal();
        if cursor.key().map(<[u8]>::to_vec) == before && at < 4000 {
            assert_eq!(cursor.next().unwrap().unwrap().0, number(at));
            at += 1;
        }
    }
    assert!(failures > 1, "{failures}");
    assert_eq!(cursor.next().unwrap(), None);
}
