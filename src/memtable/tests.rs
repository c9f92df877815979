//! The memtable against a model, and its writer against its readers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn tree(raw: u64) -> TreeId {
    TreeId::from_raw(raw)
}

fn msn(raw: u64) -> Msn {
    Msn::from_raw(raw)
}

fn empty() -> Memtable {
    Memtable::new(&Meter::new())
}

const LATEST: Msn = Msn::from_raw(u64::MAX);

/// What the memtable must hold, in its order. `None` is a delete.
type Model = BTreeMap<(u64, Vec<u8>, Reverse<u64>), Option<Vec<u8>>>;

/// Short keys of few letters, so that keys repeat, share heads and end in zeros.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(prop_oneof![Just(0), Just(b'a'), Just(0xff)], 0..4),
        vec(prop_oneof![Just(0), Just(b'a')], 7..11),
    ]
}

/// Tree, key and value.
type Message = (u64, Vec<u8>, Option<Vec<u8>>);

fn fill(messages: &[Message]) -> (Memtable, Model) {
    let (memtable, mut model) = (empty(), Model::new());
    for (number, (tree_raw, key, value)) in (1..).zip(messages) {
        let op = value.as_deref().map_or(Op::Delete, Op::Put);
        memtable.insert(tree(*tree_raw), key, msn(number), op);
        model.insert((*tree_raw, key.clone(), Reverse(number)), value.clone());
    }
    (memtable, model)
}

fn op(value: &Option<Vec<u8>>) -> Op<'_> {
    value.as_deref().map_or(Op::Delete, Op::Put)
}

fn check_entries(memtable: &Memtable, model: &Model, of: u64) {
    let mut cursor = memtable.cursor(tree(of));
    cursor.seek_first();
    for ((_, key, Reverse(number)), value) in model.iter().filter(|entry| entry.0.0 == of) {
        assert_eq!(cursor.key(), key);
        assert_eq!(cursor.version(), Version { msn: *number, op: op(value) });
        cursor.next_entry();
    }
    assert!(!cursor.valid());
}

/// Walks the newest versions of all keys in both directions.
fn check_keys(memtable: &Memtable, model: &Model, of: u64) {
    let mut newest: BTreeMap<&[u8], u64> = BTreeMap::new();
    for (_, key, Reverse(number)) in model.keys().filter(|entry| entry.0 == of) {
        newest.entry(key).or_insert(*number);
    }
    let mut cursor = memtable.cursor(tree(of));
    cursor.seek_first();
    for (key, number) in &newest {
        assert_eq!((cursor.key(), cursor.version().msn), (*key, *number));
        cursor.next_key();
    }
    assert!(!cursor.valid());
    cursor.seek_last();
    for (key, number) in newest.iter().rev() {
        assert_eq!((cursor.key(), cursor.version().msn), (*key, *number));
        cursor.previous_key();
    }
    assert!(!cursor.valid());
}

fn check_seeks(memtable: &Memtable, model: &Model, of: u64, probe: &[u8]) {
    let here = (of, probe.to_vec(), Reverse(u64::MAX));
    let below = (of, Vec::new(), Reverse(u64::MAX));
    let mut cursor = memtable.cursor(tree(of));
    cursor.seek(probe);
    let found = cursor.valid().then(|| (cursor.key(), cursor.version().msn));
    let behind = model.range(here.clone()..).next().filter(|entry| entry.0.0 == of);
    assert_eq!(found, behind.map(|((_, key, number), _)| (&key[..], number.0)));

    cursor.seek_before(probe);
    let found = cursor.valid().then(|| cursor.key());
    let before = model.range((Bound::Included(below), Bound::Excluded(here))).next_back();
    assert_eq!(found, before.map(|((_, key, _), _)| &key[..]));
}

fn check_get(memtable: &Memtable, model: &Model, of: u64, probe: &[u8], visible: u64) {
    let expected = model
        .range((of, probe.to_vec(), Reverse(visible))..)
        .next()
        .filter(|((found, key, _), _)| (*found, &key[..]) == (of, probe))
        .map(|((_, _, number), value)| Version { msn: number.0, op: op(value) });
    assert_eq!(memtable.get(tree(of), probe, msn(visible)), expected);
}

proptest! {
    #[test]
    fn answers_are_those_of_a_sorted_map(
        messages in vec((0..4_u64, key(), proptest::option::of(vec(any::<u8>(), 0..20))), 0..300),
        probes in vec((0..5_u64, key(), 0..301_u64), 20),
    ) {
        let (memtable, model) = fill(&messages);
        for of in 0..5 {
            check_entries(&memtable, &model, of);
            check_keys(&memtable, &model, of);
        }
        for (of, probe, visible) in &probes {
            check_seeks(&memtable, &model, *of, probe);
            check_get(&memtable, &model, *of, probe, *visible);
            check_get(&memtable, &model, *of, probe, u64::MAX);
        }
        let trees: BTreeSet<TreeId> = messages.iter().map(|message| tree(message.0)).collect();
        prop_assert_eq!(memtable.trees(), Vec::from_iter(trees));
        prop_assert_eq!(memtable.rows(), messages.len() as u64);
    }

    /// Sorted batches find the place of the newest entry at hand.
    #[test]
    fn sorted_batches_find_their_place(batches in vec(vec((0..3_u64, key()), 1..40), 0..20)) {
        let mut messages = Vec::new();
        for mut batch in batches {
            batch.sort();
            messages.extend(batch.into_iter().map(|(tree, key)| (tree, key, None)));
        }
        let (memtable, model) = fill(&messages);
        for of in 0..3 {
            check_entries(&memtable, &model, of);
        }
    }
}

#[test]
fn an_empty_memtable_costs_one_small_chunk() {
    let meter = Meter::new();
    let memtable = Memtable::new(&meter);
    assert_eq!(meter.bytes(), 16 << 10);
    assert!(memtable.is_empty());
    assert_eq!((memtable.bytes(), memtable.user_bytes(), memtable.rows()), (0, 0, 0));
    assert_eq!(memtable.trees(), []);
    assert_eq!(memtable.get(tree(0), b"", LATEST), None);
    let mut cursor = memtable.cursor(tree(0));
    cursor.seek_first();
    assert!(!cursor.valid());
    cursor.seek_last();
    assert!(!cursor.valid());
    drop(memtable);
    assert_eq!(meter.bytes(), 0);
}

#[test]
fn empty_keys_and_values_are_kept() {
    let memtable = empty();
    memtable.insert(tree(0), b"", Msn::ZERO, Op::Put(b""));
    memtable.insert(tree(0), b"", LATEST, Op::Delete);
    let put = Version { msn: 0, op: Op::Put(b"") };
    assert_eq!(memtable.get(tree(0), b"", msn(5)), Some(put));
    assert_eq!(memtable.get(tree(0), b"", LATEST).map(|version| version.op), Some(Op::Delete));
    assert_eq!(memtable.get(tree(0), b"\0", LATEST), None);
    assert_eq!(memtable.user_bytes(), 0);
    assert_eq!(memtable.rows(), 2);
    assert!(memtable.bytes() > 0);
}

#[test]
fn versions_stand_newest_first() {
    let memtable = empty();
    for number in [4, 9, 1, 7, 3] {
        memtable.insert(tree(1), b"key", msn(number), Op::Delete);
    }
    let mut cursor = memtable.cursor(tree(1));
    cursor.seek(b"key");
    for number in [9, 7, 4, 3, 1] {
        assert_eq!(cursor.version().msn, number);
        cursor.next_entry();
    }
    assert!(!cursor.valid());
    let seen = |visible| memtable.get(tree(1), b"key", msn(visible)).map(|found| found.msn);
    assert_eq!([0, 1, 2, 6, 8, 100].map(seen), [None, Some(1), Some(1), Some(4), Some(7), Some(9)]);
}

#[test]
fn the_longest_keys_fit_and_compare() {
    let memtable = empty();
    let mut key = vec![b'k'; 65_535];
    for last in [3, 1, 2] {
        key[65_534] = last;
        memtable.insert(tree(1), &key, msn(u64::from(last)), Op::Put(&[last]));
    }
    let mut cursor = memtable.cursor(tree(1));
    cursor.seek_first();
    for last in 1..4 {
        assert_eq!(cursor.key().len(), 65_535);
        assert_eq!(cursor.version().op, Op::Put(&[last]));
        cursor.next_key();
    }
}

#[test]
fn large_payloads_are_kept_and_charged() {
    let meter = Meter::new();
    let memtable = Memtable::new(&meter);
    let value: Vec<u8> = (0..64 << 20).map(|at: u32| at.to_le_bytes()[1]).collect();
    memtable.insert(tree(1), b"small", msn(1), Op::Put(b"value"));
    memtable.insert(tree(1), b"large", msn(2), Op::Put(&value));
    let found = memtable.get(tree(1), b"large", LATEST).expect("it was inserted");
    assert!(found.op == Op::Put(&value));
    assert!(memtable.bytes() >= value.len());
    assert!(meter.bytes() >= value.len() as u64);
    assert!(meter.bytes() < value.len() as u64 + (64 << 10));
}

#[test]
fn a_thousand_trees_stay_apart() {
    let memtable = empty();
    for raw in (0..1000_u64).rev() {
        let raw = raw * raw;
        memtable.insert(tree(raw), b"key", msn(raw + 1), Op::Put(&raw.to_le_bytes()));
    }
    let trees: Vec<TreeId> = (0..1000).map(|raw| tree(raw * raw)).collect();
    assert_eq!(memtable.trees(), trees);
    for of in trees {
        let mut cursor = memtable.cursor(of);
        cursor.seek_last();
        assert_eq!(cursor.version().op, Op::Put(&of.to_raw().to_le_bytes()));
        cursor.previous_key();
        assert!(!cursor.valid());
    }
    assert_eq!(memtable.get(tree(2), b"key", LATEST), None);
}

#[test]
fn the_highest_tree_has_an_end() {
    let memtable = empty();
    memtable.insert(tree(u64::MAX), b"key", msn(1), Op::Delete);
    memtable.insert(tree(u64::MAX), b"kez", msn(2), Op::Delete);
    let mut cursor = memtable.cursor(tree(u64::MAX));
    cursor.seek_last();
    assert_eq!(cursor.key(), b"kez");
    cursor.next_key();
    assert!(!cursor.valid());
    assert_eq!(memtable.trees(), [tree(u64::MAX)]);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "an msn came twice")]
fn the_same_message_twice_is_noticed() {
    let memtable = empty();
    memtable.insert(tree(1), b"key", msn(1), Op::Delete);
    memtable.insert(tree(1), b"key", msn(1), Op::Delete);
}

#[test]
fn memtables_and_cursors_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Memtable>();
    crosses::<MemtableCursor<'_>>();
}

/// Nobody may write where a writer has stopped halfway.
#[test]
fn nobody_writes_beside_a_writer_or_after_its_panic() {
    let memtable = empty();
    memtable.insert(tree(1), b"key", msn(1), Op::Put(b"value"));
    let insert = |key: &[u8]| {
        let insert = AssertUnwindSafe(|| memtable.insert(tree(1), key, msn(2), Op::Delete));
        catch_unwind(insert).unwrap_err()
    };
    insert(&[b'k'; 65_536]);
    let panic = insert(b"key");
    assert_eq!(panic.downcast_ref(), Some(&"a memtable has one writer at a time"));
    let kept = Version { msn: 1, op: Op::Put(b"value") };
    assert_eq!(memtable.get(tree(1), b"key", LATEST), Some(kept));
    assert_eq!(memtable.rows(), 1);
}

/// The place of the newest entry and all links lead into memory that goes along.
#[test]
fn a_memtable_moves_between_threads_and_is_dropped_by_another() {
    let meter = Meter::new();
    let mut memtable = Memtable::new(&meter);
    for round in 0..8_u64 {
        memtable = thread::spawn(move || {
            for number in round * 2000 + 1..=(round + 1) * 2000 {
                let op = Op::Put(&number.to_le_bytes());
                memtable.insert(tree(1), &nth_key(number), msn(number), op);
            }
            memtable
        })
        .join()
        .unwrap();
    }
    for number in 1..=16_000 {
        let found = memtable.get(tree(1), &nth_key(number), msn(number)).unwrap();
        assert_eq!(found, Version { msn: number, op: Op::Put(&number.to_le_bytes()) });
    }
    thread::spawn(move || drop(memtable)).join().unwrap();
    assert_eq!(meter.bytes(), 0);
}

const ROWS: u64 = if cfg!(miri) { 300 } else { 100_000 };
const KEYS: u64 = 10_007;

/// The key of message `number`: scattered, and each key comes again after `KEYS` messages.
fn nth_key(number: u64) -> [u8; 12] {
    let scattered = (number % KEYS).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut key = [b'k'; 12];
    key[4..].copy_from_slice(&scattered.to_be_bytes());
    key
}

#[test]
fn readers_find_all_that_is_visible() {
    let memtable = empty();
    let (visible, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 1..4 {
            let (memtable, visible, ended) = (&memtable, &visible, &ended);
            scope.spawn(move || {
                read_until_all_is_there(memtable, visible, seed);
                ended.fetch_add(1, Ordering::Release);
            });
        }
        for number in 1..=ROWS {
            let op = Op::Put(&number.to_le_bytes());
            memtable.insert(tree(number % 2), &nth_key(number), msn(number), op);
            visible.store(number, Ordering::Release);
        }
    });
    // The thread sanitizer does not see the order that the end of the scope makes.
    assert_eq!(ended.load(Ordering::Acquire), 3);
    assert_eq!(memtable.rows(), ROWS);
}

fn read_until_all_is_there(memtable: &Memtable, visible: &AtomicU64, mut random: u64) {
    loop {
        let seen = visible.load(Ordering::Acquire);
        for _ in 0..100.min(seen) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            check_message(memtable, 1 + (random >> 33) % seen, seen);
        }
        check_count(memtable, seen);
        if seen == ROWS {
            return;
        }
        thread::yield_now();
    }
}

/// Message `number` must be found by get and by cursor, complete, and as the newest at its time.
fn check_message(memtable: &Memtable, number: u64, visible: u64) {
    let (of, key) = (tree(number % 2), nth_key(number));
    let expected = Version { msn: number, op: Op::Put(&number.to_le_bytes()) };
    assert_eq!(memtable.get(of, &key, msn(number)), Some(expected));
    let newest = memtable.get(of, &key, msn(visible)).expect("a version is visible");
    assert_eq!(newest.msn, number + (visible - number) / (2 * KEYS) * (2 * KEYS));
    let mut cursor = memtable.cursor(of);
    cursor.seek(&key);
    while cursor.version().msn != number {
        cursor.next_entry();
    }
    assert_eq!((cursor.key(), cursor.version()), (&key[..], expected));
}

/// A scan must meet every visible message, in order. Few messages, or it would take all the time.
fn check_count(memtable: &Memtable, visible: u64) {
    let mut count = 0;
    for of in [0, 1] {
        let mut last: Option<(&[u8], Reverse<u64>)> = None;
        let mut cursor = memtable.cursor(tree(of));
        cursor.seek_first();
        while cursor.valid() {
            let here = (cursor.key(), Reverse(cursor.version().msn));
            assert!(last.is_none_or(|last| last < here));
            count += u64::from(here.1.0 <= visible);
            last = Some(here);
            cursor.next_entry();
        }
    }
    assert_eq!(count, visible);
}

#[test]
fn weights_of_few_rows_are_exact() {
    let memtable = empty();
    for number in 0..600u64 {
        let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        // Older versions count for nothing.
        memtable.insert(tree(number % 3), &key, msn(2 * number + 1), Op::Put(&[7; 900]));
        memtable.insert(tree(number % 3), &key, msn(2 * number + 2), Op::Put(&[7; 20]));
    }
    for of in 0..3 {
        let weights = memtable.weights(tree(of));
        assert!(weights.is_sorted_by(|(one, _), (other, _)| one < other));
        let bytes: u64 = weights.iter().map(|(_, bytes)| bytes).sum();
        // Where a span ends between the versions of a key, the older one is taken for the newest.
        let cut = (bytes - 28 * 200) / 880;
        assert_eq!(bytes, 28 * 200 + 880 * cut);
        assert!(cut < 40, "{cut} keys were cut");
    }
    assert_eq!(memtable.weights(tree(3)), []);
}

/// A small tree beside a large one is not taken for nothing, or for far too much.
#[test]
#[cfg_attr(miri, ignore = "too many rows")]
fn weights_of_a_small_tree_do_not_depend_on_large_ones() {
    let memtable = empty();
    for number in 0..20_000u64 {
        let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        memtable.insert(tree(number % 2 * 2), &key, msn(number + 1), Op::Put(&[7; 20]));
    }
    for number in 0..12u64 {
        let (key, number) = (number.to_be_bytes(), 30_000 + number);
        memtable.insert(tree(1), &key, msn(number), Op::Put(&[7; 60_000]));
    }
    let bytes: u64 = memtable.weights(tree(1)).iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(bytes, 12 * 60_008);
}

#[test]
#[cfg_attr(miri, ignore = "too many rows")]
fn weights_of_many_rows_are_nearly_right() {
    const ROWS: u64 = 60_000;
    let memtable = empty();
    for number in 0..ROWS {
        let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        memtable.insert(tree(number % 2), &key, msn(number + 1), Op::Put(&[7; 20]));
    }
    for of in 0..2 {
        let weights = memtable.weights(tree(of));
        assert!((1000..=4096).contains(&weights.len()), "{} keys", weights.len());
        let fair = 28 * ROWS / 2 / 10;
        let mut tenths = [0; 10];
        for (key, bytes) in weights {
            tenths[usize::from(key[0]) * 10 / 256] += bytes;
        }
        assert!(tenths.iter().all(|bytes| (fair / 2..fair * 2).contains(bytes)), "{tenths:?}");
        let all = tenths.iter().sum::<u64>();
        assert!((fair * 9..fair * 11).contains(&all), "{all}");
    }
}

#[test]
fn what_lies_between_two_keys_is_told() {
    let memtable = empty();
    memtable.insert(tree(1), b"f", msn(1), Op::Delete);
    memtable.insert(tree(2), b"a", msn(2), Op::Delete);
    assert!(memtable.has_between(tree(1), b"", None));
    assert!(memtable.has_between(tree(1), b"f", Some(b"g")));
    assert!(!memtable.has_between(tree(1), b"", Some(b"f")));
    assert!(!memtable.has_between(tree(1), b"fa", None));
}
