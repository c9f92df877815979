//! Merges, range deletes and changes that read: what they mean at every place of the tree.

use std::collections::BTreeMap;

use sapwood::merge::{self, MergeError, MergeOperator};
use sapwood::{Background, Config, Database, Durability};

fn tiny() -> Database {
    Config::in_memory().tiny().cache_bytes(256 << 10).background(Background::Manual).open().unwrap()
}

fn key(number: u64) -> String {
    format!("key-{number:06}")
}

fn settle(db: &Database) {
    db.checkpoint().unwrap();
    while db.maintain(1000).unwrap() > 0 {}
}

/// Joins operands with a bar, has no way to combine them, fails at `no` and panics at `panic`.
struct Bars;

impl MergeOperator for Bars {
    fn name(&self) -> &str {
        "bars"
    }

    fn apply(&self, _: &[u8], base: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>, MergeError> {
        assert_ne!(operand, b"panic");
        if operand == b"no" {
            return Err("no is no operand".into());
        }
        Ok([base.unwrap_or(b""), b"|", operand].concat())
    }
}

#[test]
fn counters_add_up_through_every_level() {
    let db = tiny();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::AddI64)).unwrap();
    let mut sums = BTreeMap::new();
    for number in 0..30_000u64 {
        let name = key(number.wrapping_mul(7_919) % 1_000);
        tree.merge(&name, 3i64.to_le_bytes()).unwrap();
        *sums.entry(name).or_insert(0i64) += 3;
        if number == 15_000 {
            settle(&db);
        }
    }
    let check = || {
        for (name, sum) in &sums {
            let value = tree.get(name).unwrap().unwrap();
            assert_eq!(i64::from_le_bytes((*value).try_into().unwrap()), *sum, "{name}");
        }
        let scanned: Vec<_> = tree.iter().map(|row| row.unwrap()).collect();
        assert_eq!(scanned.len(), sums.len());
        assert!(scanned.iter().zip(&sums).all(|((key, value), (name, sum))| {
            **key == *name.as_bytes() && **value == sum.to_le_bytes()
        }));
    };
    check();
    settle(&db);
    check();
    db.verify().unwrap();
}

#[test]
fn an_iterator_sees_operands_as_they_were_when_it_was_made() {
    let db = tiny();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    tree.insert("a", "1").unwrap();
    tree.merge("a", "2").unwrap();
    let early = tree.iter();
    tree.merge("a", "3").unwrap();
    let late = tree.iter();
    tree.remove_range("a".."b").unwrap();
    tree.merge("a", "4").unwrap();
    settle(&db);
    let values = |rows: sapwood::Iter| rows.map(|row| row.unwrap().1.to_vec()).collect::<Vec<_>>();
    assert_eq!(values(early), [b"12"]);
    assert_eq!(values(late), [b"123"]);
    assert_eq!(values(tree.iter()), [b"4"]);
    db.verify().unwrap();
}

#[test]
fn a_failing_operator_spoils_its_key_alone() {
    let db = tiny();
    let tree = db.tree_with("t", |tree| tree.merge_operator(Bars)).unwrap();
    for number in 0..2_000u64 {
        let operand = match number {
            700 => "no",
            900 => "panic",
            _ => "yes",
        };
        tree.insert(key(number), "base").unwrap();
        tree.merge(key(number), operand).unwrap();
    }
    for _ in 0..2 {
        let error = tree.get(key(700)).unwrap_err();
        assert!(error.is_merge() && !error.is_fatal() && !error.is_corruption());
        assert_eq!(error.to_string(), "the key \"key-000700\" cannot be merged: no is no operand");
        assert!(tree.get(key(900)).unwrap_err().to_string().contains("it panicked"));
        assert_eq!(tree.get(key(701)).unwrap().as_deref(), Some(&b"base|yes"[..]));
        let (good, bad): (Vec<_>, Vec<_>) = tree.iter().partition(Result::is_ok);
        assert_eq!((good.len(), bad.len()), (1_998, 2));
        settle(&db);
    }
    db.verify().unwrap();
    tree.insert(key(700), "mended").unwrap();
    assert_eq!(tree.get(key(700)).unwrap().as_deref(), Some(&b"mended"[..]));
}

#[test]
fn operands_wait_for_an_operator_that_is_not_declared_yet() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Config::new(folder.path()).tiny().cache_bytes(256 << 10).open().unwrap();
    let db = open();
    let tree = db.tree_with("t", |tree| tree.merge_operator(Bars)).unwrap();
    for number in 0..3_000u64 {
        tree.merge(key(number), "x").unwrap();
    }
    db.abandon();
    let db = open();
    let tree = db.tree("t").unwrap();
    let error = tree.get(key(5)).unwrap_err();
    assert!(error.to_string().contains("not declared"), "{error}");
    assert!(tree.merge("a", "b").unwrap_err().to_string().contains("no merge operator"));
    let other = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap_err();
    assert_eq!(
        other.to_string(),
        "the tree \"t\" has the merge operator \"bars\" version 1, and was opened with \
         \"sapwood.append\" version 1; open it with the operator that it has"
    );
    db.checkpoint().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(Bars)).unwrap();
    assert_eq!(tree.get(key(5)).unwrap().as_deref(), Some(&b"|x"[..]));
    assert_eq!(tree.iter().filter(|row| row.as_ref().unwrap().1 == "|x").count(), 3_000);
    db.verify().unwrap();
}

#[test]
fn a_built_in_operator_need_not_be_declared_again() {
    let folder = tempfile::tempdir().unwrap();
    let db = Config::new(folder.path()).open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    tree.merge("a", 2u64.to_le_bytes()).unwrap();
    db.abandon();
    let db = Config::new(folder.path()).open().unwrap();
    let tree = db.tree("t").unwrap();
    tree.merge("a", 3u64.to_le_bytes()).unwrap();
    assert_eq!(tree.get("a").unwrap().as_deref(), Some(&5u64.to_le_bytes()[..]));
}

#[test]
fn a_range_delete_reaches_what_lies_at_every_level() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    for number in 0..20_000u64 {
        tree.insert(key(number), "some value of some length").unwrap();
    }
    settle(&db);
    let before = tree.iter();
    tree.remove_range(key(3_000)..key(17_000)).unwrap();
    tree.insert(key(5_000), "again").unwrap();
    for round in 0..2 {
        assert!(tree.get(key(2_999)).unwrap().is_some(), "round {round}");
        assert_eq!(tree.get(key(3_000)).unwrap(), None);
        assert_eq!(tree.get(key(16_999)).unwrap(), None);
        assert_eq!(tree.get(key(5_000)).unwrap().as_deref(), Some(&b"again"[..]));
        let keys: Vec<_> = tree.iter().map(|row| row.unwrap().0.to_vec()).collect();
        assert_eq!(keys.len(), 6_001);
        assert_eq!(tree.iter().rev().count(), 6_001);
        let first = tree.range(key(3_000)..).next().unwrap().unwrap().0;
        assert_eq!(first, key(5_000).as_bytes());
        let last = tree.range(..key(17_000)).next_back().unwrap().unwrap().0;
        assert_eq!(last, key(5_000).as_bytes());
        settle(&db);
        db.verify().unwrap();
    }
    assert_eq!(before.count(), 20_000, "the iterator is older than the range delete");
    settle(&db);
    db.verify().unwrap();
}

#[test]
fn a_deleted_range_is_passed_over_without_reading_it() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    for number in 0..30_000u64 {
        tree.insert(key(number), "some value of some length").unwrap();
    }
    settle(&db);
    tree.remove_range(key(100)..key(29_900)).unwrap();
    let before = db.stats();
    assert_eq!(tree.range(key(90)..).count(), 110);
    assert_eq!(tree.range(key(90)..).rev().count(), 110);
    let pages = db.stats().pages_read - before.pages_read;
    assert!(pages < 200, "{pages} pages were read to pass over a deleted range");
}

#[test]
fn prefixes_and_ranges_are_removed_in_batches_too() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    let mut batch = db.batch();
    for name in ["a", "ab", "abc", "b", "c"] {
        batch.insert(&tree, name, name);
    }
    batch.remove_prefix(&tree, "ab");
    batch.remove_range(&tree, "c"..);
    batch.insert(&tree, "abd", "after");
    batch.remove_range(&tree, "z".."y");
    assert_eq!(batch.len(), 8);
    batch.commit(Durability::Synced).unwrap();
    let keys: Vec<_> = tree.iter().map(|row| row.unwrap().0.to_vec()).collect();
    assert_eq!(keys, [&b"a"[..], b"abd", b"b"]);
    tree.remove_prefix("").unwrap();
    assert_eq!(tree.iter().count(), 0);
    let other = tiny().tree("t").unwrap();
    let mut batch = db.batch();
    batch.remove_range(&other, "a"..="b");
    assert!(batch.commit(Durability::Buffered).is_err());
}

/// Each range delete of a batch copied all those before it, and a key kept each one that covered
/// it: such a batch took hours, and so did every recovery.
#[test]
fn a_batch_of_very_many_range_deletes_is_no_burden() {
    const COUNT: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let open = || Config::new(folder.path()).background(Background::Manual).open().unwrap();
    let db = open();
    let (apart, nested) = (db.tree("apart").unwrap(), db.tree("nested").unwrap());
    for number in 0..2_000 {
        apart.insert(key(20 * number), "").unwrap();
        nested.insert(key(20 * number), "").unwrap();
    }
    let before = nested.iter();
    let mut batch = db.batch();
    for number in 0..COUNT {
        let at = number * 7_919 % COUNT;
        batch.remove_range(&apart, key(40 * at)..=key(40 * at));
        batch.remove_range(&nested, key(1 + number)..key(2 * COUNT - 20 - number));
    }
    batch.insert(&nested, key(30), "again");
    batch.commit(Durability::Buffered).unwrap();
    let check = |db: &Database| {
        let count = |name| db.tree(name).unwrap().iter().map(Result::unwrap).count();
        assert_eq!((count("apart"), count("nested")), (1_000, 3));
    };
    check(&db);
    assert_eq!(before.count(), 2_000);
    db.abandon();
    let db = open();
    check(&db);
    settle(&db);
    check(&db);
    db.verify().unwrap();
}

#[test]
fn a_replayed_log_has_operands_and_range_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let db = Config::new(folder.path()).open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    tree.insert("a", "1").unwrap();
    tree.insert("b", "1").unwrap();
    tree.merge("a", "2").unwrap();
    tree.remove_range("b"..).unwrap();
    tree.merge("b", "3").unwrap();
    db.abandon();
    let db = Config::new(folder.path()).open().unwrap();
    let tree = db.tree("t").unwrap();
    assert_eq!(tree.get("a").unwrap().as_deref(), Some(&b"12"[..]));
    assert_eq!(tree.get("b").unwrap().as_deref(), Some(&b"3"[..]));
    db.verify().unwrap();
}

#[test]
fn changes_that_read_tell_what_was_there() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    assert_eq!(tree.replace("k", "1").unwrap(), None);
    assert_eq!(tree.replace("k", "2").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(!tree.insert_if_absent("k", "3").unwrap());
    assert_eq!(
        tree.update("k", |old| old.map(|old| [old, b"+"].concat())).unwrap().as_deref(),
        Some(&b"2+"[..])
    );
    assert_eq!(tree.take("k").unwrap().as_deref(), Some(&b"2+"[..]));
    assert_eq!(tree.take("k").unwrap(), None);
    assert!(tree.insert_if_absent("k", "3").unwrap());
    assert!(tree.compare_and_swap("k", Some(b"3"), None).unwrap().is_ok());
    assert_eq!(
        tree.compare_and_swap("k", Some(b"3"), Some(b"4")).unwrap().unwrap_err().current,
        None
    );
    assert_eq!(tree.get("k").unwrap(), None);
}

#[test]
fn no_update_is_lost_between_threads() {
    let db = Config::in_memory().tiny().cache_bytes(1 << 20).open().unwrap();
    let tree = db.tree("t").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let next = |old: Option<&[u8]>| {
                        let old = old.map_or(0, |old| u64::from_le_bytes(old.try_into().unwrap()));
                        Some((old + 1).to_le_bytes().to_vec())
                    };
                    tree.update("counter", next).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for number in 0..20_000u64 {
                tree.insert(key(number), "something to flush meanwhile").unwrap();
            }
        });
    });
    assert_eq!(tree.get("counter").unwrap().as_deref(), Some(&2_000u64.to_le_bytes()[..]));
}

/// Each operand used to copy the value so far: 30 000 took seconds to read.
#[test]
fn a_long_chain_of_operands_is_read_without_copying_the_value_for_each() {
    let db = Config::in_memory().cache_mib(32).background(Background::Manual).open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    for _ in 0..50_000 {
        tree.merge("k", [7; 64]).unwrap();
    }
    assert_eq!(tree.get("k").unwrap().unwrap().len(), 50_000 * 64);
    db.daemon().drain().unwrap();
    assert_eq!(tree.get("k").unwrap().unwrap().len(), 50_000 * 64);
}

#[test]
fn a_merged_value_is_no_longer_than_one_that_is_put() {
    let db = Config::in_memory().cache_mib(8).background(Background::Manual).open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    assert!(tree.insert("k", vec![0; 2 << 20]).is_err());
    for _ in 0..40 {
        tree.merge("k", vec![7; 32 << 10]).unwrap();
    }
    let error = tree.get("k").unwrap_err();
    assert!(
        error.is_merge() && error.to_string().contains("at most 1048576 are allowed"),
        "{error}"
    );
    db.daemon().drain().unwrap();
    assert!(tree.get("k").unwrap_err().is_merge());
    db.verify().unwrap();
}
