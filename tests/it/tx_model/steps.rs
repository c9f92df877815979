//! What the model of transactions does: histories that proptest makes up and shortens.

use std::ops::Bound;

use proptest::collection::vec;
use proptest::prelude::*;

/// Where keys begin and end.
pub(super) type Keys = (Bound<Vec<u8>>, Bound<Vec<u8>>);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Write(Change),
    Batch(Vec<Change>),
    /// Many rows side by side, in both trees, so that they get some height.
    Fill(u32, u32),
    /// Begins a transaction, serializable or not.
    Begin(bool),
    /// Does something in one of those that are open.
    In(usize, Inside),
    /// Takes a snapshot; of one that is held, if there are many.
    Snapshot,
    DropSnapshot(usize),
    ReadSnapshot(usize, Look),
    /// Pulls at an iterator that was left standing.
    Pull(usize, Vec<End>),
    DropIter(usize),
    Maintain(usize),
    Checkpoint,
    Drain,
    Compact(usize),
    Verify,
    Reopen(Leaving),
}

/// How a database is left before it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Close,
    /// Like a process that is killed.
    Crash,
}

/// A step of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Inside {
    Change(Change),
    /// Many rows side by side, more than a transaction keeps in memory.
    Fill(u32, u32),
    Look(Look),
    GetForUpdate(usize, Vec<u8>),
    Savepoint,
    RollBackTo(usize),
    Commit,
    Drop,
}

/// A change of one of two trees.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) tree: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Insert(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Merge(Vec<u8>, Vec<u8>),
    RemoveRange(Keys),
    RemovePrefix(Vec<u8>),
}

/// A read of one of two trees.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) tree: usize,
    pub(super) at: At,
}

#[derive(Clone, Debug)]
pub(super) enum At {
    Key(Vec<u8>),
    Keys(Vec<Vec<u8>>),
    /// Some rows of a range are taken at these ends, and the iterator is left standing or not.
    Range(Keys, Vec<End>, Then),
    /// All rows, in one direction.
    Whole(Keys, End),
    Prefix(Vec<u8>, Vec<End>, Then),
    First,
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Drop,
    Hold,
}

/// From which end the next row is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Front,
    Back,
}

pub(super) fn number(number: u32) -> Vec<u8> {
    format!("key-{number:04}").into_bytes()
}

/// Few keys, so that transactions meet; they lie far apart among the others.
fn key() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        12 => (0u32..8).prop_map(|few| number(few * 29)),
        3 => (0u32..240).prop_map(number),
        1 => vec(prop_oneof![Just(0u8), Just(b'k'), Just(0xff)], 0..4),
    ]
    .boxed()
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        1 => Just(Bound::Unbounded),
        3 => key().prop_map(Bound::Included),
        3 => key().prop_map(Bound::Excluded),
    ]
}

/// Any two bounds, also inverted ones; more often some keys side by side.
fn keys() -> impl Strategy<Value = Keys> {
    let few = (0u32..240, 0u32..25, any::<bool>()).prop_map(|(from, count, is_up_to)| {
        let upper = number(from + count);
        let upper = if is_up_to { Bound::Included(upper) } else { Bound::Excluded(upper) };
        (Bound::Included(number(from)), upper)
    });
    prop_oneof![6 => few, 1 => (bound(), bound())]
}

fn prefix() -> impl Strategy<Value = Vec<u8>> {
    (key(), 0usize..9).prop_map(|(mut key, length)| {
        key.truncate(length);
        key
    })
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => Just(Vec::new()), 6 => vec(any::<u8>(), 1..30), 1 => vec(any::<u8>(), 200..400)]
}

fn ends() -> impl Strategy<Value = Vec<End>> {
    vec(prop_oneof![Just(End::Front), Just(End::Back)], 0..8)
}

fn change() -> impl Strategy<Value = Change> {
    let what = prop_oneof![
        8 => (key(), value()).prop_map(|(key, value)| What::Insert(key, value)),
        4 => key().prop_map(What::Remove),
        4 => (key(), value()).prop_map(|(key, operand)| What::Merge(key, operand)),
        3 => keys().prop_map(What::RemoveRange),
        1 => prefix().prop_map(What::RemovePrefix),
    ];
    (0usize..2, what).prop_map(|(tree, what)| Change { tree, what })
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![Just(Then::Drop), Just(Then::Hold)]
}

fn look() -> impl Strategy<Value = Look> {
    let at = prop_oneof![
        5 => key().prop_map(At::Key),
        1 => vec(key(), 0..4).prop_map(At::Keys),
        4 => (keys(), ends(), then()).prop_map(|(keys, ends, then)| At::Range(keys, ends, then)),
        2 => (keys(), prop_oneof![Just(End::Front), Just(End::Back)])
            .prop_map(|(keys, end)| At::Whole(keys, end)),
        1 => (prefix(), ends(), then())
            .prop_map(|(prefix, ends, then)| At::Prefix(prefix, ends, then)),
        1 => Just(At::First),
        1 => Just(At::Last),
    ];
    (0usize..2, at).prop_map(|(tree, at)| Look { tree, at })
}

fn inside() -> impl Strategy<Value = Inside> {
    prop_oneof![
        12 => change().prop_map(Inside::Change),
        1 => (0u32..240, 1u32..160).prop_map(|(from, count)| Inside::Fill(from, count)),
        9 => look().prop_map(Inside::Look),
        1 => (0usize..2, key()).prop_map(|(tree, key)| Inside::GetForUpdate(tree, key)),
        3 => Just(Inside::Savepoint),
        3 => (0usize..4).prop_map(Inside::RollBackTo),
        8 => Just(Inside::Commit),
        1 => Just(Inside::Drop),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => change().prop_map(Step::Write),
        3 => vec(change(), 1..8).prop_map(Step::Batch),
        2 => (0u32..240, 1u32..60).prop_map(|(from, count)| Step::Fill(from, count)),
        12 => any::<bool>().prop_map(Step::Begin),
        40 => (0usize..4, inside()).prop_map(|(which, inside)| Step::In(which, inside)),
        2 => Just(Step::Snapshot),
        1 => (0usize..4).prop_map(Step::DropSnapshot),
        3 => (0usize..4, look()).prop_map(|(which, look)| Step::ReadSnapshot(which, look)),
        3 => (0usize..4, ends()).prop_map(|(which, ends)| Step::Pull(which, ends)),
        1 => (0usize..4).prop_map(Step::DropIter),
        3 => (1usize..6).prop_map(Step::Maintain),
        1 => Just(Step::Maintain(60)),
        3 => Just(Step::Checkpoint),
        2 => Just(Step::Drain),
        2 => (0usize..2).prop_map(Step::Compact),
        1 => Just(Step::Verify),
        1 => prop_oneof![Just(Leaving::Close), Just(Leaving::Crash)].prop_map(Step::Reopen),
    ]
}
