//! The public API against a `BTreeMap`, on histories that proptest makes up and shortens.
//!
//! Keys are empty, tiny, runs of 0xff, or as long as keys can be; every kind of bound is asked for;
//! iterators outlive writes, spills, flushes and checkpoints and see what was there before them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use sapwood::{Background, Config, Database, Durability, Iter, Slice, Tree};

use crate::sim::disk::SimDisk;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Row = (Vec<u8>, Vec<u8>);

/// The least in which the longest key fits into one batch with the largest value: a batch can have
/// a quarter of the cache, a value an eighth.
const CACHE_BYTES: u64 = 640 << 10;
/// The least in which the largest batch of short rows fits.
const CACHE_BYTES_LEAST: u64 = 96 << 10;
const VALUE_BYTES_MAX: usize = 80 << 10;
const KEY_BYTES_MAX: usize = 65_535;

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Get(Vec<u8>),
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>, Vec<End>),
    Prefix(Vec<u8>),
    Ends,
    Hold(Vec<End>),
    Maintain,
    Checkpoint,
    Reopen,
}

/// From which end the next row is taken.
#[derive(Clone, Copy, Debug)]
enum End {
    Front,
    Back,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => short_key(),
        1 => any::<u8>().prop_map(|byte| vec![byte; KEY_BYTES_MAX]),
    ]
}

fn short_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        6 => vec(prop_oneof![Just(0u8), Just(1), Just(b'k'), Just(0xfe), Just(0xff)], 1..4),
        3 => vec(Just(0xff), 1..6),
        8 => (0u32..400).prop_map(|number| format!("key-{number:05}").into_bytes()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => short_value(),
        1 => any::<u8>().prop_map(|byte| vec![byte; VALUE_BYTES_MAX]),
    ]
}

fn short_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        8 => vec(any::<u8>(), 0..40),
        2 => (any::<u8>(), 100usize..2000).prop_map(|(byte, length)| vec![byte; length]),
        1 => vec(any::<u8>(), 300..700),
    ]
}

fn bound(key: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key.clone().prop_map(Bound::Included),
        key.prop_map(Bound::Excluded),
    ]
}

fn ends() -> impl Strategy<Value = Vec<End>> {
    vec(prop_oneof![Just(End::Front), Just(End::Back)], 1..12)
}

/// Steps with keys and values of these sorts; batches have short ones, and few enough to fit.
fn step(
    key: impl Fn() -> BoxedStrategy<Vec<u8>>,
    value: BoxedStrategy<Vec<u8>>,
) -> impl Strategy<Value = Step> {
    let bound = || bound(key());
    let change = (short_key(), proptest::option::weighted(0.7, short_value()));
    prop_oneof![
        10 => (key(), value).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => key().prop_map(Step::Remove),
        10 => vec(change, 1..12).prop_map(Step::Batch),
        3 => key().prop_map(Step::Get),
        4 => (bound(), bound(), ends()).prop_map(|(lower, upper, ends)| Step::Range(lower, upper, ends)),
        2 => key().prop_map(Step::Prefix),
        1 => Just(Step::Ends),
        2 => ends().prop_map(Step::Hold),
        3 => Just(Step::Maintain),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

/// A database beside the map that it should equal.
struct Pair {
    disk: SimDisk,
    db: Option<Database>,
    tree: Option<Tree>,
    rows: Rows,
    cache_bytes: u64,
    /// Iterators that were made earlier, with what they are still to give.
    held: Vec<(Iter, Vec<Row>)>,
}

impl Pair {
    fn new(cache_bytes: u64) -> Pair {
        let (disk, rows, held) = (SimDisk::new(1), Rows::new(), Vec::new());
        let mut pair = Pair { disk, db: None, tree: None, rows, cache_bytes, held };
        pair.open();
        pair
    }

    fn open(&mut self) {
        let config = Config::on(Arc::new(self.disk.clone())).tiny().cache_bytes(self.cache_bytes);
        let db = config.background(Background::Manual).checkpoint_bytes(64 << 10).open().unwrap();
        self.tree = Some(db.tree("t").unwrap());
        self.db = Some(db);
    }

    fn tree(&self) -> &Tree {
        self.tree.as_ref().unwrap()
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Insert(key, value) => {
                self.tree().insert(&key, &value).unwrap();
                self.rows.insert(key, value);
            }
            Step::Remove(key) => {
                self.tree().remove(&key).unwrap();
                self.rows.remove(&key);
            }
            Step::Batch(changes) => self.batch(changes),
            Step::Get(key) => self.get(&key),
            Step::Range(lower, upper, ends) => self.range((lower, upper), &ends),
            Step::Prefix(prefix) => self.prefix(&prefix),
            Step::Ends => self.ends(),
            Step::Hold(ends) => self.hold(&ends),
            Step::Maintain => {
                self.db().maintain(50).unwrap();
            }
            Step::Checkpoint => self.db().checkpoint().unwrap(),
            Step::Reopen => self.reopen(),
        }
    }

    fn batch(&mut self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let mut batch = self.db().batch();
        for (key, value) in &changes {
            match value {
                Some(value) => batch.insert(self.tree(), key, value),
                None => batch.remove(self.tree(), key),
            }
        }
        batch.commit(Durability::Buffered).unwrap();
        for (key, value) in changes {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }

    fn get(&self, key: &[u8]) {
        let expected = self.rows.get(key).map(Vec::as_slice);
        assert_eq!(self.tree().get(key).unwrap().as_deref(), expected);
        assert_eq!(self.tree().contains_key(key).unwrap(), expected.is_some());
    }

    fn range(&self, bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>), ends: &[End]) {
        let expected: Vec<Row> =
            self.rows.iter().map(owned_pair).filter(|(key, _)| within(&bounds, key)).collect();
        let all: Vec<Row> = self.tree().range(bounds.clone()).map(owned).collect();
        assert_eq!(all, expected);
        let mut reversed: Vec<Row> = self.tree().range(bounds.clone()).rev().map(owned).collect();
        reversed.reverse();
        assert_eq!(reversed, expected);
        let (mut iter, mut rest) = (self.tree().range(bounds), expected);
        take(&mut iter, &mut rest, ends);
        assert_eq!(iter.map(owned).collect::<Vec<_>>(), rest);
    }

    fn prefix(&self, prefix: &[u8]) {
        let starts = self.rows.iter().map(owned_pair).filter(|(key, _)| key.starts_with(prefix));
        let expected: Vec<Row> = starts.collect();
        assert_eq!(self.tree().prefix(prefix).map(owned).collect::<Vec<_>>(), expected);
        let mut reversed: Vec<Row> = self.tree().prefix(prefix).rev().map(owned).collect();
        reversed.reverse();
        assert_eq!(reversed, expected);
    }

    fn ends(&self) {
        let first = self.tree().first().unwrap().map(|row| owned(Ok(row)));
        assert_eq!(first, self.rows.iter().next().map(owned_pair));
        let last = self.tree().last().unwrap().map(|row| owned(Ok(row)));
        assert_eq!(last, self.rows.iter().next_back().map(owned_pair));
    }

    /// Begins an iterator and leaves it standing; at most three at a time.
    fn hold(&mut self, ends: &[End]) {
        let mut iter = self.tree().iter();
        let mut rest: Vec<Row> = self.rows.iter().map(owned_pair).collect();
        take(&mut iter, &mut rest, ends);
        self.held.push((iter, rest));
        if self.held.len() > 3 {
            let (iter, rest) = self.held.remove(0);
            assert_eq!(iter.map(owned).collect::<Vec<_>>(), rest, "an iterator sees later writes");
        }
    }

    fn let_go(&mut self) {
        for (iter, mut rest) in self.held.drain(..) {
            rest.reverse();
            let seen: Vec<Row> = iter.rev().map(owned).collect();
            assert_eq!(seen, rest, "an iterator sees later writes");
        }
    }

    fn reopen(&mut self) {
        self.let_go();
        self.tree = None;
        self.db.take().unwrap().close().unwrap();
        self.open();
    }

    fn finish(mut self) {
        self.let_go();
        for _ in 0..2 {
            self.range((Bound::Unbounded, Bound::Unbounded), &[]);
            self.rows.keys().for_each(|key| self.get(key));
            self.db().verify().unwrap();
            self.reopen();
        }
    }
}

fn owned(row: sapwood::Result<(Slice, Slice)>) -> Row {
    let (key, value) = row.unwrap();
    (key.to_vec(), value.to_vec())
}

fn owned_pair((key, value): (&Vec<u8>, &Vec<u8>)) -> Row {
    (key.clone(), value.clone())
}

/// Bounds that exclude everything are legal here, unlike for a `BTreeMap`.
fn within((lower, upper): &(Bound<Vec<u8>>, Bound<Vec<u8>>), key: &Vec<u8>) -> bool {
    let above = match lower {
        Bound::Unbounded => true,
        Bound::Included(lower) => key >= lower,
        Bound::Excluded(lower) => key > lower,
    };
    let below = match upper {
        Bound::Unbounded => true,
        Bound::Included(upper) => key <= upper,
        Bound::Excluded(upper) => key < upper,
    };
    above && below
}

/// Takes rows from both, at these ends.
fn take(iter: &mut Iter, rest: &mut Vec<Row>, ends: &[End]) {
    for end in ends {
        let (found, expected) = match end {
            End::Front => (iter.next(), (!rest.is_empty()).then(|| rest.remove(0))),
            End::Back => (iter.next_back(), rest.pop()),
        };
        assert_eq!(found.map(owned), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_an_ordered_map(
        steps in vec(step(|| key().boxed(), value().boxed()), 1..120),
    ) {
        let mut pair = Pair::new(CACHE_BYTES);
        steps.into_iter().for_each(|step| pair.play(step));
        pair.finish();
    }

    #[test]
    fn a_tree_that_outgrows_its_cache_is_an_ordered_map(
        steps in vec(step(|| short_key().boxed(), short_value().boxed()), 1..300),
    ) {
        let mut pair = Pair::new(CACHE_BYTES_LEAST);
        steps.into_iter().for_each(|step| pair.play(step));
        pair.finish();
    }
}

#[test]
fn what_is_too_large_is_refused_before_any_effect() {
    let pair = Pair::new(CACHE_BYTES);
    let (key, value) = (vec![1; KEY_BYTES_MAX + 1], vec![2; VALUE_BYTES_MAX + 1]);
    let digest = pair.disk.digest();
    for error in [
        pair.tree().insert(&key, "v").unwrap_err(),
        pair.tree().remove(&key).unwrap_err(),
        pair.tree().insert("k", &value).unwrap_err(),
    ] {
        assert!(error.to_string().contains("are allowed"), "{error}");
        assert!(!error.is_retryable() && !error.is_fatal() && !error.is_corruption());
    }
    let mut batch = pair.db().batch();
    batch.insert(pair.tree(), "fits", "v");
    batch.insert(pair.tree(), "k", &value);
    assert!(batch.commit(Durability::Synced).is_err());
    assert_eq!(pair.disk.digest(), digest, "nothing was written");
    assert_eq!(pair.tree().iter().count(), 0);
    pair.tree().insert(&key[1..], &value[1..]).unwrap();
    assert_eq!(pair.tree().get(&key[1..]).unwrap().as_deref(), Some(&value[1..]));
    assert_eq!(pair.tree().get(&key).unwrap(), None, "no such key can be there");
}

#[test]
fn keys_and_values_at_every_limit_come_back() {
    let mut pair = Pair::new(CACHE_BYTES);
    for length in [0, 1, 15, 16, 22, 23, 127, 128, 255, 256, 4095, 4096, 65_534, 65_535] {
        let value = length.min(VALUE_BYTES_MAX);
        pair.play(Step::Insert(vec![0xff; length], vec![7; value]));
        pair.play(Step::Insert(vec![0; length], vec![8; VALUE_BYTES_MAX - value]));
        pair.db().maintain(100).unwrap();
    }
    pair.play(Step::Checkpoint);
    pair.finish();
}
