//! The public API against a `BTreeMap`, on histories that proptest makes up and shortens.
//!
//! Keys are empty, tiny, runs of 0xff, or as long as keys can be; every kind of bound is asked for
//! and deleted; operands are merged by an operator that combines and by one that does not, which
//! is not always declared. Iterators outlive writes, spills, flushes, reconciliations and
//! checkpoints, are pulled at both ends meanwhile, and see what was there before them.

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use sapwood::merge::{self, MergeError, MergeOperator};
use sapwood::{Background, Config, Database, Durability, Iter, Slice, Tree};

use self::steps::{
    Change, End, Joining, Keys, Step, Update, all_keys, joining, number, short_keys, short_value,
    step, value,
};
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

/// Joins operands with a bar, and has no way to combine them.
struct Bars;

impl MergeOperator for Bars {
    fn name(&self) -> &str {
        "bars"
    }

    fn apply(&self, _: &[u8], base: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>, MergeError> {
        Ok([base.unwrap_or(b"none"), b"|", operand].concat())
    }
}

impl Joining {
    fn join(self, base: Option<&[u8]>, operand: &[u8]) -> Vec<u8> {
        match self {
            Joining::BuiltIn => merge::Append.apply(b"", base, operand).unwrap(),
            Joining::Own => Bars.apply(b"", base, operand).unwrap(),
        }
    }
}

/// Rows as they should be found.
#[derive(Clone, Default)]
struct Expected {
    rows: Rows,
    /// Keys with operands that nobody can merge before the operator is declared, unless it was
    /// done while it was.
    merged: BTreeSet<Vec<u8>>,
    /// A merged value that is longer is an error.
    value_bytes_max: usize,
}

impl Expected {
    fn change(&mut self, change: Change, joining: Joining) {
        match change {
            Change::Insert(key, value) => self.set(&key, Some(value)),
            Change::Remove(key) => self.set(&key, None),
            Change::Merge(key, operand) => {
                let value = joining.join(self.rows.get(&key).map(Vec::as_slice), &operand);
                self.rows.insert(key.clone(), value);
                self.merged.insert(key);
            }
            Change::RemoveRange(keys) => self.retain(|key| !within(&keys, key)),
            Change::RemovePrefix(prefix) => self.retain(|key| !key.starts_with(&prefix)),
        }
    }

    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.merged.remove(key);
        match value {
            Some(value) => self.rows.insert(key.to_vec(), value),
            None => self.rows.remove(key),
        };
    }

    fn retain(&mut self, stays: impl Fn(&[u8]) -> bool) {
        self.rows.retain(|key, _| stays(key));
        self.merged.retain(|key| stays(key));
    }

    /// The rows of these keys, in order.
    fn within(&self, is_asked_for: impl Fn(&[u8]) -> bool) -> Vec<Wanted> {
        let rows = self.rows.iter().filter(|(key, _)| is_asked_for(key));
        let wanted = rows.map(|(key, value)| Wanted {
            row: (key.clone(), value.clone()),
            may_fail: self.merged.contains(key),
            is_too_long: value.len() > self.value_bytes_max,
        });
        wanted.collect()
    }
}

/// A row as it should be found.
#[derive(Clone, Debug)]
struct Wanted {
    row: Row,
    /// Whether there may be an error instead, because nobody can merge its operands.
    may_fail: bool,
    /// Whether there is an error instead, because operands have made the value too long.
    is_too_long: bool,
}

/// An iterator that was made earlier, with what it is still to give.
struct Held {
    iter: Iter,
    rest: Vec<Wanted>,
}

/// A database beside the map that it should equal.
struct Pair {
    disk: SimDisk,
    db: Option<Database>,
    tree: Option<Tree>,
    expected: Expected,
    cache_bytes: u64,
    joining: Joining,
    /// Whether the tree's operator is at hand.
    is_declared: bool,
    held: Vec<Held>,
}

impl Pair {
    fn new(cache_bytes: u64, joining: Joining) -> Pair {
        let mut pair = Pair {
            disk: SimDisk::new(1),
            db: None,
            tree: None,
            expected: Expected {
                value_bytes_max: usize::try_from(cache_bytes / 8).unwrap(),
                ..Expected::default()
            },
            cache_bytes,
            joining,
            is_declared: false,
            held: Vec::new(),
        };
        pair.open();
        pair.declare();
        pair
    }

    fn open(&mut self) {
        let config = Config::on(Arc::new(self.disk.clone())).tiny().cache_bytes(self.cache_bytes);
        let db = config.background(Background::Manual).checkpoint_bytes(64 << 10).open().unwrap();
        self.tree = Some(db.tree("t").unwrap());
        self.db = Some(db);
        self.is_declared = matches!(self.joining, Joining::BuiltIn);
    }

    fn declare(&mut self) {
        let declared = match self.joining {
            Joining::BuiltIn => self.db().tree_with("t", |tree| tree.merge_operator(merge::Append)),
            Joining::Own => self.db().tree_with("t", |tree| tree.merge_operator(Bars)),
        };
        self.tree = Some(declared.unwrap());
        self.is_declared = true;
    }

    fn tree(&self) -> &Tree {
        self.tree.as_ref().unwrap()
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Write(change) => self.write(change),
            Step::Batch(changes) => self.batch(changes),
            Step::Fill(from, count) => {
                let row = |at| Change::Insert(number(at), format!("a row, the {at}th").into());
                let changes: Vec<Change> = (from..from + count).map(row).collect();
                changes.chunks(40).for_each(|some| self.batch(some.to_vec()));
            }
            Step::Read(key, update) => self.update(&key, update),
            Step::Get(key) => self.get(&key),
            Step::Range(keys, ends) => self.range(&keys, &ends),
            Step::Prefix(prefix) => self.prefix(&prefix),
            Step::Ends => self.ends(),
            Step::Hold(keys, ends) => self.hold(&keys, &ends),
            Step::Pull(which, ends) => {
                if let Some(held) = self.held.get_mut(which) {
                    held.take(&ends);
                }
            }
            Step::Maintain(steps) => {
                self.db().maintain(steps).unwrap();
            }
            Step::Checkpoint => self.db().checkpoint().unwrap(),
            Step::Verify => {
                self.db().verify().unwrap();
            }
            Step::Reopen => {
                self.reopen();
                self.declare();
            }
            Step::Forget => self.reopen(),
            Step::Declare => self.declare(),
        }
    }

    fn write(&mut self, change: Change) {
        let tree = self.tree();
        let done = match &change {
            Change::Insert(key, value) => tree.insert(key, value),
            Change::Remove(key) => tree.remove(key),
            Change::Merge(key, operand) => tree.merge(key, operand),
            Change::RemoveRange(keys) => tree.remove_range(keys.clone()),
            Change::RemovePrefix(prefix) => tree.remove_prefix(prefix),
        };
        if !self.is_declared && matches!(change, Change::Merge(..)) {
            assert!(done.unwrap_err().to_string().contains("no merge operator"));
            return;
        }
        done.unwrap();
        self.expected.change(change, self.joining);
    }

    fn batch(&mut self, changes: Vec<Change>) {
        let (mut batch, tree) = (self.db().batch(), self.tree());
        for change in &changes {
            match change {
                Change::Insert(key, value) => batch.insert(tree, key, value),
                Change::Remove(key) => batch.remove(tree, key),
                Change::Merge(key, operand) => batch.merge(tree, key, operand),
                Change::RemoveRange(keys) => batch.remove_range(tree, keys.clone()),
                Change::RemovePrefix(prefix) => batch.remove_prefix(tree, prefix),
            }
        }
        let done = batch.commit(Durability::Buffered);
        let has_merge = changes.iter().any(|change| matches!(change, Change::Merge(..)));
        if !self.is_declared && has_merge {
            assert!(done.unwrap_err().to_string().contains("no merge operator"));
            return;
        }
        done.unwrap();
        changes.into_iter().for_each(|change| self.expected.change(change, self.joining));
    }

    /// Whether an error for this key only says that its operator is missing, or has made too much.
    fn may_fail(&self, key: &[u8]) -> bool {
        let value = self.expected.rows.get(key);
        let is_too_long = value.is_some_and(|value| value.len() > self.expected.value_bytes_max);
        is_too_long || (!self.is_declared && self.expected.merged.contains(key))
    }

    fn update(&mut self, key: &[u8], update: Update) {
        let old = self.expected.rows.get(key).cloned();
        let grown = |old: Option<&[u8]>, head: &[u8]| {
            let value = [head, old.filter(|old| old.len() < 1000).unwrap_or_default()].concat();
            (!head.is_empty()).then_some(value)
        };
        let tree = self.tree();
        let found = |found: Option<Slice>| found.map(|value| value.to_vec());
        // Each gives what was found and what is there afterwards.
        let done = match update.clone() {
            Update::Replace(value) => {
                tree.replace(key, &value).map(|was| (found(was), Some(value)))
            }
            Update::Take => tree.take(key).map(|was| (found(was), None)),
            Update::Prepend(head) => {
                let updated = tree.update(key, |old| grown(old, &head));
                updated.map(|now| (old.clone(), found(now)))
            }
            Update::FetchPrepend(head) => {
                let was = tree.fetch_update(key, |old| grown(old, &head));
                was.map(|was| (found(was), grown(old.as_deref(), &head)))
            }
            Update::CompareAndSwap(hits, new) => {
                let expected = if hits { old.as_deref() } else { Some(&b"not there"[..]) };
                let swapped = tree.compare_and_swap(key, expected, new.as_deref());
                swapped.map(|swapped| match swapped {
                    Ok(()) => (expected.map(<[u8]>::to_vec), new),
                    Err(refused) => (found(refused.current.clone()), found(refused.current)),
                })
            }
            Update::InsertIfAbsent(value) => {
                let put = tree.insert_if_absent(key, &value);
                put.map(|put| match put {
                    true => (None, Some(value)),
                    false => (old.clone(), old.clone()),
                })
            }
        };
        match done {
            Err(error) if self.may_fail(key) => assert!(error.is_merge(), "{error}"),
            done => {
                let (was, now) = done.unwrap();
                assert_eq!(was, old, "{update:?}");
                match update {
                    Update::Prepend(head) => assert_eq!(now, grown(old.as_deref(), &head)),
                    Update::CompareAndSwap(hits, _) => assert!(hits || now == old),
                    Update::InsertIfAbsent(_) => assert!(old.is_none() || now == old),
                    _ => {}
                }
                // What was not changed may still have operands.
                if now != old {
                    self.expected.set(key, now);
                }
            }
        }
    }

    fn get(&self, key: &[u8]) {
        let expected = self.expected.rows.get(key).map(Vec::as_slice);
        match self.tree().get(key) {
            Err(error) if self.may_fail(key) => assert!(error.is_merge(), "{error}"),
            found => {
                assert_eq!(found.unwrap().as_deref(), expected);
                assert_eq!(self.tree().contains_key(key).unwrap(), expected.is_some());
            }
        }
    }

    /// An iterator with what it should give.
    fn begin(&self, iter: Iter, mut rest: Vec<Wanted>) -> Held {
        rest.iter_mut().for_each(|wanted| wanted.may_fail &= !self.is_declared);
        Held { iter, rest }
    }

    fn range(&self, keys: &Keys, ends: &[End]) {
        let expected = self.expected.within(|key| within(keys, key));
        let make = || self.begin(self.tree().range(keys.clone()), expected.clone());
        make().finish_forward();
        make().finish_backward();
        let mut both = make();
        both.take(ends);
        both.finish_forward();
    }

    fn prefix(&self, prefix: &[u8]) {
        let expected = self.expected.within(|key| key.starts_with(prefix));
        let make = || self.begin(self.tree().prefix(prefix), expected.clone());
        make().finish_forward();
        make().finish_backward();
    }

    fn ends(&self) {
        let mut rest = self.expected.within(|_| true);
        rest.iter_mut().for_each(|wanted| wanted.may_fail &= !self.is_declared);
        let last = rest.pop();
        let first = rest.into_iter().next().or_else(|| last.clone());
        check(self.tree().first().transpose(), first.as_ref());
        check(self.tree().last().transpose(), last.as_ref());
    }

    /// Begins an iterator and leaves it standing; at most four at a time.
    fn hold(&mut self, keys: &Keys, ends: &[End]) {
        let expected = self.expected.within(|key| within(keys, key));
        let mut held = self.begin(self.tree().range(keys.clone()), expected);
        held.take(ends);
        self.held.push(held);
        if self.held.len() > 4 {
            self.held.remove(0).finish_forward();
        }
    }

    fn let_go(&mut self) {
        self.held.drain(..).for_each(Held::finish_backward);
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
            self.range(&(Bound::Unbounded, Bound::Unbounded), &[]);
            self.expected.rows.keys().for_each(|key| self.get(key));
            self.db().verify().unwrap();
            self.reopen();
        }
        self.declare();
        self.range(&(Bound::Unbounded, Bound::Unbounded), &[]);
        self.db().maintain(1000).unwrap();
        self.expected.rows.keys().for_each(|key| self.get(key));
        self.db().verify().unwrap();
    }
}

impl Held {
    /// Takes rows at these ends.
    fn take(&mut self, ends: &[End]) {
        for end in ends {
            let (found, wanted) = match end {
                End::Front => {
                    let wanted = (!self.rest.is_empty()).then(|| self.rest.remove(0));
                    (self.iter.next(), wanted)
                }
                End::Back => (self.iter.next_back(), self.rest.pop()),
            };
            check(found, wanted.as_ref());
        }
    }

    fn finish_forward(self) {
        let mut wanted = self.rest.iter();
        for row in self.iter {
            check(Some(row), wanted.next());
        }
        assert!(wanted.next().is_none(), "a row is missing: {wanted:?}");
    }

    fn finish_backward(self) {
        let mut wanted = self.rest.iter().rev();
        for row in self.iter.rev() {
            check(Some(row), wanted.next());
        }
        assert!(wanted.next().is_none(), "a row is missing: {wanted:?}");
    }
}

/// One row, or the end; its value may be missing with its operator, or too long to be made.
fn check(found: Option<sapwood::Result<(Slice, Slice)>>, wanted: Option<&Wanted>) {
    match (found, wanted) {
        (Some(Err(error)), Some(wanted)) if wanted.may_fail || wanted.is_too_long => {
            assert!(error.is_merge(), "{error}");
        }
        (found, wanted) => assert_eq!(found.map(owned), wanted.map(|wanted| wanted.row.clone())),
    }
}

fn owned(row: sapwood::Result<(Slice, Slice)>) -> Row {
    let (key, value) = row.unwrap();
    (key.to_vec(), value.to_vec())
}

/// Bounds that exclude everything are legal here, unlike for a `BTreeMap`.
fn within((lower, upper): &Keys, key: &[u8]) -> bool {
    let above = match lower {
        Bound::Unbounded => true,
        Bound::Included(lower) => key >= &lower[..],
        Bound::Excluded(lower) => key > &lower[..],
    };
    let below = match upper {
        Bound::Unbounded => true,
        Bound::Included(upper) => key <= &upper[..],
        Bound::Excluded(upper) => key < &upper[..],
    };
    above && below
}

/// `PROPTEST_CASES` makes a soak of it.
fn cases() -> u32 {
    let told = std::env::var("PROPTEST_CASES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(192)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_an_ordered_map(
        joining in joining(),
        steps in vec(step(all_keys, value().boxed()), 1..120),
    ) {
        let mut pair = Pair::new(CACHE_BYTES, joining);
        steps.into_iter().for_each(|step| pair.play(step));
        pair.finish();
    }

    #[test]
    fn a_tree_that_outgrows_its_cache_is_an_ordered_map(
        joining in joining(),
        steps in vec(step(short_keys, short_value().boxed()), 1..300),
    ) {
        let mut pair = Pair::new(CACHE_BYTES_LEAST, joining);
        steps.into_iter().for_each(|step| pair.play(step));
        pair.finish();
    }
}

#[test]
fn what_is_too_large_is_refused_before_any_effect() {
    let pair = Pair::new(CACHE_BYTES, Joining::BuiltIn);
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
    let mut pair = Pair::new(CACHE_BYTES, Joining::BuiltIn);
    let insert = |key, value| Step::Write(Change::Insert(key, value));
    for length in [0, 1, 15, 16, 22, 23, 127, 128, 255, 256, 4095, 4096, 65_534, 65_535] {
        let value = length.min(VALUE_BYTES_MAX);
        pair.play(insert(vec![0xff; length], vec![7; value]));
        pair.play(insert(vec![0; length], vec![8; VALUE_BYTES_MAX - value]));
        pair.db().maintain(100).unwrap();
    }
    pair.play(Step::Checkpoint);
    pair.finish();
}
