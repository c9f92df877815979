//! Merges sorted streams of messages into one, key by key.
//!
//! ```text
//! newest   b(9)      d(8)
//!     a(5) b(4)                =>   a(5)   b(9 4 1)   c(2)   d(8)
//! oldest   b(1) c(2)
//! ```
//!
//! The streams are given newest first: for one key, everything in an earlier stream is newer than
//! everything in a later one (order rules 1 and 2), so the versions of a key follow by going
//! through the streams in order.

use std::cmp::Ordering;

use crate::fold::{Folded, Rules, fold};
use crate::key_head::key_head;
use crate::{Op, Version};

/// Sorted messages: at most one entry a key, each with its versions newest first.
pub trait Stream {
    /// What can go wrong in moving on.
    type Error;

    /// The current key; `None` behind the last.
    fn key(&self) -> Option<&[u8]>;

    /// The versions of the current key, newest first, with whole MSNs.
    ///
    /// # Panics
    /// Behind the last key.
    fn versions(&self) -> impl Iterator<Item = Version<'_>>;

    /// The version of the current key, if it has only one.
    ///
    /// # Panics
    /// Behind the last key.
    fn only_version(&self) -> Option<Version<'_>> {
        let mut versions = self.versions();
        let only = versions.next();
        only.filter(|_| versions.next().is_none())
    }

    /// Goes to the next key in the stream's direction.
    fn advance(&mut self) -> Result<(), Self::Error>;
}

/// Which way the streams run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

impl Direction {
    /// Which of two keys comes first.
    pub fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Direction::Forward => left.cmp(right),
            Direction::Backward => right.cmp(left),
        }
    }
}

/// The streams merged: a stream of all keys with all versions.
#[derive(Debug)]
pub struct Merge<S> {
    streams: Vec<S>,
    /// The rank of each stream's key, by which most comparisons are decided.
    ranks: Vec<u64>,
    /// The streams that stand at the smallest key (the largest, backwards), newest first.
    current: Vec<usize>,
    /// Of the others, one that comes next: until its key a single stream needs no comparison with
    /// the rest.
    rival: Option<usize>,
    direction: Direction,
    /// So many bytes at the start of all keys are the same.
    prefix_bytes: usize,
}

impl<S: Stream> Merge<S> {
    /// Merges `streams`, newest first; each stands at its first entry.
    pub fn new(streams: Vec<S>, direction: Direction) -> Merge<S> {
        Merge::of_prefix(0, streams, direction)
    }

    /// The same, of streams whose keys all begin with the same `prefix_bytes` bytes: comparisons
    /// begin behind them.
    pub fn of_prefix(prefix_bytes: usize, streams: Vec<S>, direction: Direction) -> Merge<S> {
        let current = Vec::with_capacity(streams.len());
        let rank = |stream: &S| rank_of(stream.key(), prefix_bytes, direction);
        let ranks = streams.iter().map(rank).collect();
        let mut merge = Merge { streams, ranks, current, rival: None, direction, prefix_bytes };
        merge.gather();
        merge
    }

    /// The current key; `None` behind the last.
    pub fn key(&self) -> Option<&[u8]> {
        let first = *self.current.first()?;
        self.streams.get(first)?.key()
    }

    /// The versions of the current key from all streams, newest first.
    pub fn versions(&self) -> impl Iterator<Item = Version<'_>> {
        self.current().flat_map(Stream::versions)
    }

    /// What [`fold`] leaves of the current key, which is `key`.
    pub fn fold(&self, key: &[u8], covers: &[u64], rules: Rules<'_>) -> Folded<'_> {
        // Nearly always it was put once, and there is nothing to be decided.
        let put = self.only_version().filter(|only| matches!(only.op, Op::Put(_)));
        if put.is_some() && covers.is_empty() {
            return Folded::One(put);
        }
        fold(key, self.versions(), covers, rules)
    }

    /// The version of the current key, if there is only one in all streams.
    fn only_version(&self) -> Option<Version<'_>> {
        let [single] = self.current[..] else { return None };
        self.streams.get(single)?.only_version()
    }

    /// The streams that stand at the current key, newest first.
    pub fn current(&self) -> impl Iterator<Item = &S> {
        self.current.iter().filter_map(|index| self.streams.get(*index))
    }

    /// The stream that stands at the current key, if it is the only one, and the next key that any
    /// other has: what it has before that, nobody else has a say in.
    pub fn alone(&self) -> Option<(&S, Option<&[u8]>)> {
        let [single] = self.current[..] else { return None };
        let rival = self.rival.and_then(|rival| self.streams.get(rival)?.key());
        Some((self.streams.get(single)?, rival))
    }

    /// Moves the stream that is [`alone`](Merge::alone) over some of its keys before the rival's.
    pub fn pass(
        &mut self,
        step: impl FnOnce(&mut S) -> Result<(), S::Error>,
    ) -> Result<(), S::Error> {
        if let [single] = self.current[..] {
            self.step(single, step)?;
            self.settle();
        }
        Ok(())
    }

    /// Goes to the next key.
    pub fn advance(&mut self) -> Result<(), S::Error> {
        for position in 0..self.current.len() {
            let Some(index) = self.current.get(position).copied() else { break };
            self.step(index, S::advance)?;
        }
        self.settle();
        Ok(())
    }

    fn step(
        &mut self,
        index: usize,
        step: impl FnOnce(&mut S) -> Result<(), S::Error>,
    ) -> Result<(), S::Error> {
        let slots = (self.streams.get_mut(index), self.ranks.get_mut(index));
        if let (Some(stream), Some(rank)) = slots {
            step(stream)?;
            *rank = rank_of(stream.key(), self.prefix_bytes, self.direction);
        }
        Ok(())
    }

    fn settle(&mut self) {
        if !self.is_ahead() {
            self.gather();
        }
    }

    /// Whether a single stream was at the last key, and is at the next one, too.
    fn is_ahead(&self) -> bool {
        let [single] = self.current[..] else { return false };
        match self.rival {
            None => self.is_at_key(single),
            Some(rival) => match self.rank(single).cmp(&self.rank(rival)) {
                Ordering::Less => true,
                Ordering::Equal => self.is_at_key(single) && self.compare(single, rival).is_lt(),
                Ordering::Greater => false,
            },
        }
    }

    fn rank(&self, index: usize) -> u64 {
        self.ranks.get(index).copied().unwrap_or(LAST_RANK)
    }

    /// Whether a stream is not behind its last key.
    fn is_at_key(&self, index: usize) -> bool {
        self.rank(index) < LAST_RANK || self.key_of(index).is_some()
    }

    fn key_of(&self, index: usize) -> Option<&[u8]> {
        self.streams.get(index).and_then(S::key)
    }

    /// Which of two streams' keys comes first; both stand at one.
    fn compare(&self, left: usize, right: usize) -> Ordering {
        self.rank(left).cmp(&self.rank(right)).then_with(|| {
            let key = |index: usize| self.key_of(index).unwrap_or_default();
            self.direction.compare(key(left), key(right))
        })
    }

    /// Finds the streams that stand at the next key, and their rival. Linear in the number of
    /// streams, which the limits on runs keep small; a heap would pay only beyond about sixteen.
    fn gather(&mut self) {
        match first_two(&self.ranks) {
            Some((first, second)) => {
                self.current.clear();
                self.current.push(first);
                self.rival = Some(second);
            }
            None => self.gather_by_keys(),
        }
    }

    /// The same where ranks do not tell.
    fn gather_by_keys(&mut self) {
        self.current.clear();
        self.rival = None;
        for index in 0..self.streams.len() {
            if !self.is_at_key(index) {
                continue;
            }
            let best = self.current.first().copied();
            match best.map_or(Ordering::Less, |best| self.compare(index, best)) {
                Ordering::Less => {
                    self.rival = best;
                    self.current.clear();
                    self.current.push(index);
                }
                Ordering::Equal => self.current.push(index),
                Ordering::Greater => {
                    if self.rival.is_none_or(|rival| self.compare(index, rival).is_lt()) {
                        self.rival = Some(index);
                    }
                }
            }
        }
    }
}

/// The rank of a stream behind its last key; that of a key may be as great.
const LAST_RANK: u64 = u64::MAX;

/// A number by which keys are compared before they are looked at: of two that differ, the smaller
/// one belongs to the key that comes first.
#[inline]
fn rank_of(key: Option<&[u8]>, prefix_bytes: usize, direction: Direction) -> u64 {
    key.map_or(LAST_RANK, |key| {
        let head = key_head(key.get(prefix_bytes..).unwrap_or_default());
        match direction {
            Direction::Forward => head,
            Direction::Backward => !head,
        }
    })
}

/// Which ranks are the smallest and the second smallest, if there is no doubt: each is met once,
/// and both are those of keys.
///
/// Which stream comes next is anybody's guess where keys are random, so nothing here is a jump that
/// depends on it: what a wrong guess costs is more than all the comparisons.
fn first_two(ranks: &[u64]) -> Option<(usize, usize)> {
    let (mut first, mut second) = ((LAST_RANK, 0), (LAST_RANK, 0));
    for this in ranks.iter().copied().zip(0..) {
        let is_first = this.0 < first.0;
        let later = if is_first { first } else { this };
        first = if is_first { this } else { first };
        second = if later.0 < second.0 { later } else { second };
    }
    let as_small = ranks.iter().map(|rank| usize::from(*rank <= second.0)).sum::<usize>();
    let no_doubt = as_small == 2 && first.0 < second.0 && second.0 < LAST_RANK;
    no_doubt.then_some((first.1, second.1))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::Msn;
    use crate::fold::{Floor, Horizon};

    /// Keys in order, each with one version that has this number.
    struct Keys {
        keys: Vec<Vec<u8>>,
        at: usize,
        msn: u64,
    }

    impl Stream for Keys {
        type Error = Infallible;

        fn key(&self) -> Option<&[u8]> {
            self.keys.get(self.at).map(Vec::as_slice)
        }

        fn versions(&self) -> impl Iterator<Item = Version<'_>> {
            std::iter::once(Version { msn: self.msn, op: Op::Put(b"") })
        }

        fn advance(&mut self) -> Result<(), Infallible> {
            self.at += 1;
            Ok(())
        }
    }

    /// Keys whose first eight bytes are often the same, short ones that zeros pad, and those whose
    /// rank is that of no key.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let heads = vec![&b""[..], b"abcdefg", b"abcdefgh", b"b", &[0xff; 8]];
        let tail = prop::collection::vec(0u8..3, 0..4);
        (prop::sample::select(heads), tail).prop_map(|(head, tail)| [head, &tail].concat())
    }

    /// What was said of a key, newest first.
    type Said = Vec<(u64, Op<'static>)>;

    struct Told {
        keys: Vec<(Vec<u8>, Said)>,
        at: usize,
    }

    impl Told {
        /// Numbers from `base` on.
        fn new(base: u64, keys: BTreeMap<Vec<u8>, Vec<Op<'static>>>) -> Told {
            let numbered = |ops: Vec<Op<'static>>| {
                let numbers = (base..base + ops.len() as u64).rev();
                numbers.zip(ops).collect()
            };
            let keys = keys.into_iter().map(|(key, ops)| (key, numbered(ops))).collect();
            Told { keys, at: 0 }
        }
    }

    impl Stream for Told {
        type Error = Infallible;

        fn key(&self) -> Option<&[u8]> {
            self.keys.get(self.at).map(|(key, _)| key.as_slice())
        }

        fn versions(&self) -> impl Iterator<Item = Version<'_>> {
            let said = self.keys.get(self.at).into_iter().flat_map(|(_, said)| said);
            said.map(|(msn, op)| Version { msn: *msn, op: *op })
        }

        fn advance(&mut self) -> Result<(), Infallible> {
            self.at += 1;
            Ok(())
        }
    }

    fn said() -> impl Strategy<Value = Vec<Op<'static>>> {
        let ops = vec![Op::Put(b"a"), Op::Put(b"b"), Op::Delete, Op::Merge(b"+")];
        prop::collection::vec(prop::sample::select(ops), 1..4)
    }

    proptest! {
        /// The short way of a key that was put once decides as the long one.
        #[test]
        fn a_merge_folds_as_fold_does(
            streams in prop::collection::vec(prop::collection::btree_map(key(), said(), 0..8), 0..4),
            covers in prop::collection::btree_set(0u64..40, 0..2),
            visible in 0u64..40,
            registered in prop::collection::vec(0u64..40, 0..2),
            in_leaf: bool,
        ) {
            let streams = streams.into_iter().rev().enumerate();
            let streams: Vec<Told> = streams.map(|(age, keys)| Told::new(10 * age as u64, keys)).collect();
            let newest_first = streams.into_iter().rev().collect();
            let horizon = Horizon::new(Msn::from_raw(visible), registered.into_iter().map(Msn::from_raw));
            let floor = if in_leaf { Floor::Leaf } else { Floor::Buffer };
            let rules = Rules { horizon: &horizon, floor, operator: None };
            let covers: Vec<u64> = covers.into_iter().rev().collect();
            let mut merge = Merge::new(newest_first, Direction::Forward);
            while let Some(key) = merge.key() {
                let long = fold(key, merge.versions(), &covers, rules);
                let short = merge.fold(key, &covers, rules);
                prop_assert_eq!(&*short.versions(), &*long.versions());
                let Ok(()) = merge.advance();
            }
        }

        #[test]
        fn all_keys_come_in_order_with_all_their_versions(
            streams in prop::collection::vec(prop::collection::btree_set(key(), 0..20), 0..6),
            prefix in "[ab]{0,12}",
            backward: bool,
            passes: Vec<bool>,
        ) {
            let direction = if backward { Direction::Backward } else { Direction::Forward };
            let stream = |(index, keys): (usize, &BTreeSet<Vec<u8>>)| {
                let long = |key: &Vec<u8>| [prefix.as_bytes(), key].concat();
                let mut keys: Vec<_> = keys.iter().map(long).collect();
                keys.sort_by(|left, right| direction.compare(left, right));
                Keys { keys, at: 0, msn: 100 - index as u64 }
            };
            let streams: Vec<Keys> = streams.iter().enumerate().map(stream).collect();
            let mut expected: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
            for stream in &streams {
                let mut add = |key: &Vec<u8>| expected.entry(key.clone()).or_default().push(stream.msn);
                stream.keys.iter().for_each(&mut add);
            }
            let mut expected: Vec<_> = expected.into_iter().collect();
            expected.sort_by(|left, right| direction.compare(&left.0, &right.0));
            let mut merge = Merge::of_prefix(prefix.len(), streams, direction);
            let mut passes = passes.into_iter();
            for (index, (key, msns)) in expected.iter().enumerate() {
                prop_assert_eq!(merge.key(), Some(&key[..]));
                prop_assert_eq!(&merge.versions().map(|one| one.msn).collect::<Vec<_>>(), msns);
                let others = |one: &&(Vec<u8>, Vec<u64>)| one.1 != *msns;
                let rival = expected.iter().skip(index + 1).find(others).map(|other| &other.0[..]);
                match merge.alone() {
                    Some((_, next)) => prop_assert_eq!(next, rival),
                    None => prop_assert!(msns.len() > 1),
                }
                let Ok(()) = match passes.next() {
                    Some(true) if msns.len() == 1 => merge.pass(Keys::advance),
                    _ => merge.advance(),
                };
            }
            prop_assert_eq!(merge.key(), None);
        }
    }
}
