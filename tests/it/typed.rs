//! Trees with types: order, prefixes, batches, updates, codecs of one's own, and what happens when
//! the bytes do not fit the types.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use sapwood::typed::{Bincode, CodecError, ValueCodec};
use sapwood::{Background, Config, Database, Durability, Result, TypedTree, merge};
use serde::{Deserialize, Serialize};

fn tiny() -> Database {
    Config::in_memory().tiny().cache_bytes(256 << 10).background(Background::Manual).open().unwrap()
}

/// Values that are even; the odd ones are refused on both ways.
struct Even;

impl ValueCodec for Even {
    type Value = u8;

    fn encode(value: &u8, out: &mut Vec<u8>) -> std::result::Result<(), CodecError> {
        out.push(*value);
        Even::decode(&[*value]).map(|_| ())
    }

    fn decode(bytes: &[u8]) -> std::result::Result<u8, CodecError> {
        match bytes {
            [value] if value % 2 == 0 => Ok(*value),
            _ => Err(CodecError::new("it is not even")),
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Ring {
    width: u32,
    note: Option<String>,
}

#[test]
fn typed_rows_go_through_every_level_and_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config::new(folder.path()).tiny().cache_bytes(1 << 20);
    let ring = |number: i32| Ring { width: number.unsigned_abs(), note: Some(number.to_string()) };
    let db = config().open().unwrap();
    let rings: TypedTree<(String, i32), Bincode<Ring>> = db.tree("rings").unwrap().typed();
    for number in -3000..3000i32 {
        let tree = if number % 2 == 0 { "oak" } else { "o\0k" };
        rings.insert(&(tree.to_owned(), number), &ring(number)).unwrap();
    }
    drop(rings);
    db.close().unwrap();
    let db = config().open().unwrap();
    let rings: TypedTree<(String, i32), Bincode<Ring>> = db.tree("rings").unwrap().typed();
    let evens: Vec<_> = (-3000..3000).step_by(2).map(|number| (number, ring(number))).collect();
    let oaks = rings.prefix(&("oak".to_owned(),)).map(|row| row.unwrap());
    assert_eq!(oaks.map(|((_, year), ring)| (year, ring)).collect::<Vec<_>>(), evens);
    let range = ("oak".to_owned(), -10)..("oak".to_owned(), 10);
    let years = rings.range(range).rev().map(|row| row.unwrap().0.1);
    assert!(years.eq((-10..10).step_by(2).rev()));
    assert_eq!(rings.first().unwrap().unwrap().0, ("o\0k".to_owned(), -2999));
    assert_eq!(rings.last().unwrap().unwrap(), (("oak".to_owned(), 2998), ring(2998)));
    rings.remove_prefix(&("oak".to_owned(),)).unwrap();
    assert_eq!(rings.iter().count(), 3000);
}

#[test]
fn a_typed_tree_of_strings_has_the_keys_of_the_untyped_one() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    let typed = tree.typed::<String, String>();
    typed.insert("ring/a", &"narrow".to_owned()).unwrap();
    tree.insert("ring/b", "wide").unwrap();
    tree.insert("root", "deep").unwrap();
    assert_eq!(tree.get("ring/a").unwrap().as_deref(), Some(&b"narrow"[..]));
    assert_eq!(typed.get("ring/b").unwrap().as_deref(), Some("wide"));
    assert_eq!(tree.prefix("ring/").count(), 2);
    assert_eq!(typed.prefix("ring/").count(), 2);
    assert_eq!(typed.range("ring/b"..).count(), 2);
    assert_eq!(typed.range("ring/b".to_owned()..="root".to_owned()).count(), 2);
    typed.remove_range("ring/".."ring0").unwrap();
    assert!(!typed.contains_key("ring/a").unwrap());
    assert_eq!(tree.iter().count(), 1);
}

#[test]
fn updates_see_and_return_values() {
    let db = tiny();
    let tree = db.tree("t").unwrap().typed::<u32, u64>();
    assert!(tree.insert_if_absent(&1, &10).unwrap());
    assert!(!tree.insert_if_absent(&1, &11).unwrap());
    assert_eq!(tree.replace(&1, &20).unwrap(), Some(10));
    assert_eq!(tree.update(&1, |old| old.map(|old| old + 1)).unwrap(), Some(21));
    assert_eq!(tree.fetch_update(&1, |_| Some(30)).unwrap(), Some(21));
    assert_eq!(tree.take(&1).unwrap(), Some(30));
    assert_eq!(tree.take(&1).unwrap(), None);
    assert_eq!(tree.fetch_update(&1, |old| old).unwrap(), None);
    assert_eq!(tree.update(&2, |_| Some(5)).unwrap(), Some(5));
    assert_eq!(tree.update(&2, |_| None).unwrap(), None);
    assert_eq!(tree.get(&2).unwrap(), None);
}

#[test]
fn typed_updates_of_several_threads_are_not_lost() {
    let db = Config::in_memory().open().unwrap();
    let tree = db.tree("t").unwrap().typed::<(u8, String), Bincode<Vec<u16>>>();
    let key = (1, "shared".to_owned());
    std::thread::scope(|scope| {
        for thread in 0..4u16 {
            let (tree, key) = (tree.clone(), &key);
            scope.spawn(move || {
                for number in 0..100 {
                    let add = |old: Option<Vec<u16>>| {
                        let mut all = old.unwrap_or_default();
                        all.push(thread * 100 + number);
                        Some(all)
                    };
                    tree.update(key, add).unwrap();
                }
            });
        }
    });
    let mut numbers = tree.get(&key).unwrap().unwrap();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..400));
}

#[test]
fn a_batch_takes_typed_rows_of_several_trees() {
    let db = tiny();
    let ages = db.tree("ages").unwrap().typed::<String, u32>();
    let names = db.tree("names").unwrap().typed::<(u32, String), ()>();
    ages.insert("yew", &1).unwrap();
    let mut batch = db.batch();
    ages.insert_in(&mut batch, "oak", &800).unwrap();
    names.insert_in(&mut batch, &(800, "oak".to_owned()), &()).unwrap();
    ages.remove_in(&mut batch, "yew");
    batch.remove_range(names.untyped(), names.encode_range((0, String::new())..(9, String::new())));
    batch.commit(Durability::Buffered).unwrap();
    assert_eq!(ages.iter().collect::<Result<Vec<_>>>().unwrap(), [("oak".to_owned(), 800)]);
    let name = names.last().unwrap();
    assert_eq!(name, Some(((800, "oak".to_owned()), ())));
}

#[test]
fn merged_numbers_are_typed_values() {
    let db = tiny();
    let tree = db.tree_with("sums", |tree| tree.merge_operator(merge::AddI64)).unwrap();
    let sums = tree.typed::<i64, i64>();
    sums.insert(&-1, &40).unwrap();
    sums.merge(&-1, 2i64.to_le_bytes()).unwrap();
    sums.merge(&1, (-2i64).to_le_bytes()).unwrap();
    assert_eq!(sums.iter().collect::<Result<Vec<_>>>().unwrap(), [(-1, 42), (1, -2)]);
}

#[test]
fn what_does_not_fit_the_types_is_an_error_in_its_place() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    let typed = tree.typed::<u16, String>();
    typed.insert(&1, &"one".to_owned()).unwrap();
    tree.insert(b"\x00\x02\"", "two").unwrap();
    tree.insert(b"\x00\x03", b"\xff").unwrap();
    typed.insert(&4, &"four".to_owned()).unwrap();

    let rows: Vec<_> = typed.iter().collect();
    let fits: Vec<_> = rows.iter().map(std::result::Result::is_ok).collect();
    assert_eq!(fits, [true, false, false, true]);
    let key = rows[1].as_ref().unwrap_err();
    assert!(key.is_decode() && !key.is_corruption() && !key.is_fatal());
    assert_eq!(
        key.to_string(),
        "the key \"\\x00\\x02\\\"\" in the tree \"t\" cannot be decoded as u16: 1 bytes are left over \
         at its end; open the tree with the types it was written with"
    );
    let value = typed.get(&3).unwrap_err();
    assert_eq!(
        value.to_string(),
        "the value of the key \"\\x00\\x03\" in the tree \"t\" cannot be decoded as \
         alloc::string::String: invalid utf-8 sequence of 1 bytes from index 0; open the tree with \
         the types it was written with"
    );
    assert!(std::error::Error::source(&value).is_some());
    assert_eq!(typed.last().unwrap().unwrap().0, 4);
    assert!(typed.contains_key(&3).unwrap());
    assert_eq!(tree.get(b"\x00\x03").unwrap().as_deref(), Some(&b"\xff"[..]));
}

#[test]
fn another_version_of_a_value_is_named() {
    let db = tiny();
    let tree = db.tree("rings").unwrap();
    let ring = Ring { width: 3, note: None };
    tree.typed::<u8, Bincode<Ring>>().insert(&1, &ring).unwrap();
    let error = tree.typed::<u8, Bincode<Ring, 2>>().get(&1).unwrap_err();
    assert!(error.is_decode());
    assert!(error.to_string().contains(": it has version 1, and 2 is expected;"), "{error}");
}

#[test]
fn a_codec_that_refuses_leaves_everything_as_it_was() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    let evens = tree.typed::<u8, Even>();
    evens.insert(&1, &2).unwrap();
    let error = evens.insert(&1, &3).unwrap_err();
    assert!(!error.is_decode());
    let told = error.to_string();
    assert!(told.starts_with("a value for the tree \"t\" cannot be encoded by "), "{told}");
    assert!(told.ends_with("Even: it is not even; nothing was written"), "{told}");
    assert!(evens.replace(&1, &3).is_err());
    assert!(evens.insert_if_absent(&2, &3).is_err());
    assert_eq!(evens.update(&1, |old| old.map(|old| old + 1)).unwrap_err().to_string(), told);
    let mut batch = db.batch();
    assert!(evens.insert_in(&mut batch, &1, &3).is_err());
    assert!(batch.is_empty());
    assert_eq!(evens.iter().collect::<Result<Vec<_>>>().unwrap(), [(1, 2)]);

    tree.insert([1], [5]).unwrap();
    let mut calls = 0;
    let kept = evens.update(&1, |_| {
        calls += 1;
        Some(4)
    });
    assert!(kept.unwrap_err().is_decode());
    assert_eq!(calls, 0, "a value that cannot be decoded is not taken for an absent one");
    assert_eq!(tree.get([1]).unwrap().as_deref(), Some(&[5][..]));
    assert!(evens.replace(&1, &6).unwrap_err().is_decode());
    assert_eq!(evens.get(&1).unwrap(), Some(6), "a replacement is made all the same");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// The order of a typed tree is that of its keys' type, at whatever level the rows are.
    #[test]
    fn a_typed_tree_is_an_ordered_map(
        rows in vec(((vec(0..2u8, 0..4), -3..3i32, "[\0-b]{0,2}"), any::<u16>()), 1..200),
        ends in ((vec(0..2u8, 0..4), -3..3i32), (vec(0..2u8, 0..4), -3..3i32)),
        first in vec(0..2u8, 0..3),
    ) {
        let db = tiny();
        let tree = db.tree("t").unwrap().typed::<(Vec<u8>, i32, String), u16>();
        let mut model = BTreeMap::new();
        for (number, (key, value)) in rows.into_iter().enumerate() {
            tree.insert(&key, &value).unwrap();
            model.insert(key, value);
            if number % 50 == 49 {
                db.checkpoint().unwrap();
            }
        }
        let all: Vec<_> = tree.iter().map(Result::unwrap).collect();
        prop_assert_eq!(&all, &model.clone().into_iter().collect::<Vec<_>>());
        let end = |(bytes, number): (Vec<u8>, i32)| (bytes, number, "a".to_owned());
        let (low, high) = (end(ends.0), end(ends.1));
        let (low, high) = if low <= high { (low, high) } else { (high, low) };
        let range = low..=high;
        let expected: Vec<_> = model.range(range.clone()).map(|(key, value)| (key.clone(), *value)).collect();
        prop_assert_eq!(tree.range(range).map(Result::unwrap).collect::<Vec<_>>(), expected);
        let begins = |key: &(Vec<u8>, i32, String)| key.0 == first;
        let expected: Vec<_> = model.into_iter().filter(|(key, _)| begins(key)).rev().collect();
        let found = tree.prefix(&(first.clone(),)).rev().map(Result::unwrap).collect::<Vec<_>>();
        prop_assert_eq!(found, expected);
    }
}
