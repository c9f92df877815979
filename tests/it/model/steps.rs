//! What the model test does: histories that proptest makes up and shortens.

use std::ops::Bound;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// Where keys begin and end.
pub(super) type Keys = (Bound<Vec<u8>>, Bound<Vec<u8>>);
/// A way to make up keys.
type Sort = fn() -> BoxedStrategy<Vec<u8>>;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Change),
    Batch(Vec<Change>),
    /// Many rows side by side, so that trees get some height.
    Fill(u32, u32),
    Read(Vec<u8>, Update),
    Get(Vec<u8>),
    Range(Keys, Vec<End>),
    Prefix(Vec<u8>),
    Ends,
    Hold(Keys, Vec<End>),
    Pull(usize, Vec<End>),
    Maintain(usize),
    Checkpoint,
    Verify,
    Reopen,
    /// Closes, and opens without the operator where that is possible.
    Forget,
    /// Opens the tree with its operator.
    Declare,
}

/// A change that reads nothing.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Insert(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Merge(Vec<u8>, Vec<u8>),
    RemoveRange(Keys),
    RemovePrefix(Vec<u8>),
}

/// A change that reads first.
#[derive(Clone, Debug)]
pub(super) enum Update {
    Replace(Vec<u8>),
    Take,
    /// Puts this before what is there, unless that is too long; removes it for no bytes.
    Prepend(Vec<u8>),
    FetchPrepend(Vec<u8>),
    /// With the value that is there, if the first is true, else with one that is not.
    CompareAndSwap(bool, Option<Vec<u8>>),
    InsertIfAbsent(Vec<u8>),
}

/// How operands are merged.
#[derive(Clone, Copy, Debug)]
pub(super) enum Joining {
    /// By `merge::Append`, which is always at hand.
    BuiltIn,
    /// By [`Bars`], which must be declared.
    Own,
}

/// From which end the next row is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
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
        8 => (0u32..400).prop_map(number),
    ]
}

pub(super) fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => short_value(),
        1 => any::<u8>().prop_map(|byte| vec![byte; VALUE_BYTES_MAX]),
    ]
}

pub(super) fn short_value() -> impl Strategy<Value = Vec<u8>> {
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

/// Any two bounds, also inverted ones.
fn keys(key: Sort) -> impl Strategy<Value = Keys> {
    (bound(key()), bound(key()))
}

/// What is deleted: more often a few keys side by side than half of the tree.
fn doomed(key: Sort) -> impl Strategy<Value = Keys> {
    let few = (0u32..400, 0u32..30, any::<bool>()).prop_map(|(from, count, is_up_to)| {
        let upper = number(from + count);
        let upper = if is_up_to { Bound::Included(upper) } else { Bound::Excluded(upper) };
        (Bound::Included(number(from)), upper)
    });
    prop_oneof![5 => few, 2 => keys(key)]
}

pub(super) fn number(number: u32) -> Vec<u8> {
    format!("key-{number:05}").into_bytes()
}

/// What several keys begin with.
fn prefix(key: Sort) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => (key(), 0usize..9).prop_map(|(mut key, length)| {
        key.truncate(length);
        key
    }), 1 => key()]
}

fn ends() -> impl Strategy<Value = Vec<End>> {
    vec(prop_oneof![Just(End::Front), Just(End::Back)], 1..12)
}

fn change(key: Sort, value: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Change> {
    prop_oneof![
        10 => (key(), value).prop_map(|(key, value)| Change::Insert(key, value)),
        4 => key().prop_map(Change::Remove),
        8 => (key(), short_value()).prop_map(|(key, operand)| Change::Merge(key, operand)),
        4 => doomed(key).prop_map(Change::RemoveRange),
        1 => prefix(key).prop_map(Change::RemovePrefix),
    ]
}

fn update() -> impl Strategy<Value = Update> {
    let new = proptest::option::weighted(0.7, short_value());
    prop_oneof![
        short_value().prop_map(Update::Replace),
        Just(Update::Take),
        short_value().prop_map(Update::Prepend),
        short_value().prop_map(Update::FetchPrepend),
        (any::<bool>(), new).prop_map(|(hits, new)| Update::CompareAndSwap(hits, new)),
        short_value().prop_map(Update::InsertIfAbsent),
    ]
}

/// Steps with keys and values of these sorts; batches have short ones, and few enough to fit.
pub(super) fn step(key: Sort, value: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Step> {
    prop_oneof![
        18 => change(key, value).prop_map(Step::Write),
        10 => vec(change(short_keys, short_value().boxed()), 1..12).prop_map(Step::Batch),
        3 => (0u32..400, 1u32..60).prop_map(|(from, count)| Step::Fill(from, count)),
        5 => (key(), update()).prop_map(|(key, update)| Step::Read(key, update)),
        3 => key().prop_map(Step::Get),
        4 => (keys(key), ends()).prop_map(|(keys, ends)| Step::Range(keys, ends)),
        2 => prefix(key).prop_map(Step::Prefix),
        1 => Just(Step::Ends),
        2 => (keys(key), ends()).prop_map(|(keys, ends)| Step::Hold(keys, ends)),
        1 => ends().prop_map(|ends| Step::Hold((Bound::Unbounded, Bound::Unbounded), ends)),
        2 => (0usize..4, ends()).prop_map(|(which, ends)| Step::Pull(which, ends)),
        3 => Just(Step::Maintain(50)),
        3 => (1usize..4).prop_map(Step::Maintain),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Verify),
        1 => Just(Step::Reopen),
        1 => Just(Step::Forget),
        1 => Just(Step::Declare),
    ]
}

pub(super) fn joining() -> impl Strategy<Value = Joining> {
    prop_oneof![Just(Joining::BuiltIn), Just(Joining::Own)]
}

/// Keys of every length.
pub(super) fn all_keys() -> BoxedStrategy<Vec<u8>> {
    key().boxed()
}

/// Keys that fit into small batches.
pub(super) fn short_keys() -> BoxedStrategy<Vec<u8>> {
    short_key().boxed()
}
