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

use crate::Version;
use crate::key_head::key_head;

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
    /// The head of each stream's key, by which most comparisons are decided; `None` behind the
    /// last.
    heads: Vec<Option<u64>>,
    /// The streams that stand at the smallest key (the largest, backwards), newest first.
    current: Vec<usize>,
    /// Of the others, one that comes next: until its key a single stream needs no comparison with
    /// the rest.
    rival: Option<usize>,
    direction: Direction,
}

impl<S: Stream> Merge<S> {
    /// Merges `streams`, newest first; each stands at its first entry.
    pub fn new(streams: Vec<S>, direction: Direction) -> Merge<S> {
        let current = Vec::with_capacity(streams.len());
        let heads = streams.iter().map(head_of).collect();
        let mut merge = Merge { streams, heads, current, rival: None, direction };
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
        let slots = (self.streams.get_mut(index), self.heads.get_mut(index));
        if let (Some(stream), Some(head)) = slots {
            step(stream)?;
            *head = head_of(stream);
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
        let is_at_key = self.heads.get(single).is_some_and(Option::is_some);
        is_at_key && self.rival.is_none_or(|rival| self.compare(single, rival).is_lt())
    }

    /// Which of two streams' keys comes first; both stand at one.
    fn compare(&self, left: usize, right: usize) -> Ordering {
        let head = |index: usize| self.heads.get(index).copied().flatten();
        let by_heads = match self.direction {
            Direction::Forward => head(left).cmp(&head(right)),
            Direction::Backward => head(right).cmp(&head(left)),
        };
        by_heads.then_with(|| {
            let key = |index: usize| self.streams.get(index).and_then(S::key).unwrap_or_default();
            self.direction.compare(key(left), key(right))
        })
    }

    /// Finds the streams that stand at the next key, and their rival. Linear in the number of
    /// streams, which the limits on runs keep small; a heap would pay only beyond about sixteen.
    fn gather(&mut self) {
        self.current.clear();
        self.rival = None;
        for (index, _) in self.heads.iter().enumerate().filter(|(_, head)| head.is_some()) {
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

fn head_of<S: Stream>(stream: &S) -> Option<u64> {
    stream.key().map(key_head)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::Op;

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

    /// Keys whose first eight bytes are often the same, and short ones that zeros pad.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let tail = prop::collection::vec(0u8..3, 0..4);
        (prop::sample::select(vec!["", "abcdefg", "abcdefgh", "b"]), tail)
            .prop_map(|(head, tail)| [head.as_bytes(), &tail].concat())
    }

    proptest! {
        #[test]
        fn all_keys_come_in_order_with_all_their_versions(
            streams in prop::collection::vec(prop::collection::btree_set(key(), 0..20), 0..6),
            backward: bool,
            passes: Vec<bool>,
        ) {
            let direction = if backward { Direction::Backward } else { Direction::Forward };
            let stream = |(index, keys): (usize, &BTreeSet<Vec<u8>>)| {
                let mut keys: Vec<_> = keys.iter().cloned().collect();
                keys.sort_by(|left, right| direction.compare(left, right));
                Keys { keys, at: 0, msn: 100 - index as u64 }
            };
            let mut expected: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
            for (keys, msn) in streams.iter().zip((0..=100).rev()) {
                keys.iter().for_each(|key| expected.entry(key).or_default().push(msn));
            }
            let mut expected: Vec<_> = expected.into_iter().collect();
            expected.sort_by(|left, right| direction.compare(left.0, right.0));
            let mut merge = Merge::new(streams.iter().enumerate().map(stream).collect(), direction);
            let mut passes = passes.into_iter();
            for (index, (key, msns)) in expected.iter().enumerate() {
                prop_assert_eq!(merge.key(), Some(*key));
                prop_assert_eq!(&merge.versions().map(|one| one.msn).collect::<Vec<_>>(), msns);
                let others = |one: &&(&[u8], Vec<u64>)| one.1 != *msns;
                let rival = expected.iter().skip(index + 1).find(others).map(|other| other.0);
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
