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
        let mut merge = Merge { streams, current, rival: None, direction };
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
        let [single] = self.current[..] else { return Ok(()) };
        if let Some(stream) = self.streams.get_mut(single) {
            step(stream)?;
        }
        if !self.is_ahead() {
            self.gather();
        }
        Ok(())
    }

    /// Goes to the next key.
    pub fn advance(&mut self) -> Result<(), S::Error> {
        for position in 0..self.current.len() {
            let Some(index) = self.current.get(position).copied() else { break };
            if let Some(stream) = self.streams.get_mut(index) {
                stream.advance()?;
            }
        }
        if !self.is_ahead() {
            self.gather();
        }
        Ok(())
    }

    /// Whether a single stream was at the last key, and is at the next one, too.
    fn is_ahead(&self) -> bool {
        let [single] = self.current[..] else { return false };
        let key = |index: usize| self.streams.get(index).and_then(Stream::key);
        match (key(single), self.rival.and_then(key)) {
            (Some(key), Some(rival)) => self.direction.compare(key, rival).is_lt(),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Finds the streams that stand at the next key, and their rival. Linear in the number of
    /// streams, which the limits on runs keep small; a heap would pay only beyond about sixteen.
    fn gather(&mut self) {
        let Merge { streams, current, rival, direction } = self;
        let (mut best, mut second): (Option<&[u8]>, Option<&[u8]>) = (None, None);
        current.clear();
        *rival = None;
        for (index, stream) in streams.iter().enumerate() {
            let Some(key) = stream.key() else { continue };
            match best.map_or(Ordering::Less, |best| direction.compare(key, best)) {
                Ordering::Less => {
                    (*rival, second) = (current.first().copied(), best);
                    best = Some(key);
                    current.clear();
                    current.push(index);
                }
                Ordering::Equal => current.push(index),
                Ordering::Greater => {
                    if second.is_none_or(|second| direction.compare(key, second).is_lt()) {
                        (*rival, second) = (Some(index), Some(key));
                    }
                }
            }
        }
    }
}
