//! Iterators whose rows are taken from both ends, where whole pages are kept for them.

use std::collections::{BTreeMap, VecDeque};

use sapwood::{Background, Config, Database, Slice, Tree, merge};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(number: u32) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

/// All rows lie in leaves afterwards.
fn settle(db: &Database) {
    db.checkpoint().unwrap();
    db.daemon().drain().unwrap();
}

/// Takes all rows from either end, by the bits of `ends`, and compares them.
fn check(
    mut iter: impl DoubleEndedIterator<Item = sapwood::Result<(Slice, Slice)>>,
    rows: &Rows,
    ends: u64,
) {
    let mut expected: VecDeque<_> = rows.iter().collect();
    for turn in 0.. {
        let is_front = ends.rotate_right(turn) & 1 == 1;
        let (found, wanted) = match is_front {
            true => (iter.next(), expected.pop_front()),
            false => (iter.next_back(), expected.pop_back()),
        };
        let found = found.map(|row| row.unwrap());
        assert_eq!(
            found.as_ref().map(|(key, value)| (&key[..], &value[..])),
            wanted.map(|(key, value)| (&key[..], &value[..]))
        );
        if wanted.is_none() {
            break;
        }
    }
    assert!(iter.next().is_none() && iter.next_back().is_none());
}

fn check_all(tree: &Tree, rows: &Rows) {
    for ends in [u64::MAX, 0, 0x5555_5555_5555_5555, 0xFFFF_0000_F0F0_1234, 0x8000_0000_0000_0001] {
        check(tree.iter(), rows, ends);
        let none = |row: sapwood::Result<Slice>| row.map(|key| (key, Slice::default()));
        let keys = rows.keys().map(|key| (key.clone(), Vec::new())).collect();
        check(tree.keys().map(none), &keys, ends);
    }
    for start in (0..2_000).step_by(97) {
        let part: Vec<_> = rows.range(key(start)..).take(100).collect();
        let found: Vec<_> = tree.range(key(start)..).take(100).map(|row| row.unwrap()).collect();
        assert!(
            found
                .iter()
                .map(|(key, value)| (&key[..], &value[..]))
                .eq(part.iter().map(|(key, value)| (&key[..], &value[..])))
        );
    }
}

/// A page that is kept has rows which nobody sees, or not yet, or not any more.
#[test]
fn rows_of_kept_pages_come_once_each_whichever_end_takes_them() {
    let config = Config::in_memory().cache_bytes(8 << 20).background(Background::Manual);
    let db = config.open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    let mut rows = Rows::new();
    for number in 0..2_000 {
        tree.insert(key(number), key(number)).unwrap();
        rows.insert(key(number), key(number));
    }
    settle(&db);
    check_all(&tree, &rows);
    let (early, before) = (tree.iter(), rows.clone());
    for number in (0..2_000).filter(|number| number % 3 == 0 || (700..900).contains(number)) {
        tree.remove(key(number)).unwrap();
        rows.remove(&key(number));
    }
    for number in (2_000..2_100).chain([1, 4, 1_999]) {
        tree.insert(key(number), b"new").unwrap();
        rows.insert(key(number), b"new".to_vec());
    }
    // As operands and deletes wait above the leaf, and as some of them have come down.
    for round in 0..3 {
        check_all(&tree, &rows);
        tree.merge(key(10), b"!").unwrap();
        tree.merge(key(1_501), b"!").unwrap();
        rows.entry(key(10)).or_default().push(b'!');
        rows.entry(key(1_501)).or_default().push(b'!');
        if round == 1 {
            settle(&db);
        }
    }
    check(early, &before, 0x00FF_00FF_F00F_0FF0);
    settle(&db);
    check_all(&tree, &rows);
}
