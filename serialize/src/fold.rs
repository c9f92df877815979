//! Which versions of one key must be kept.
//!
//! A reader at MSN `r` sees the newest version at or below `r`. Readers are either registered at a
//! fixed MSN, or read at whatever is visible now or later. So a version may go if and only if
//!
//! 1. a newer version at or below the visible MSN exists, and
//! 2. no registered MSN lies between: at or above the old one and below the newer one.
//!
//! In a leaf nothing lies below, so a `Delete` that became the oldest version says what absence
//! says, and goes too.

use crate::{Msn, Op, Version};

/// What a job may forget: taken after the job has fixed its inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    visible: u64,
    registered: Vec<u64>,
}

impl Horizon {
    /// The visible MSN and the MSNs at which readers are registered, in any order.
    pub fn new(visible: Msn, registered: impl IntoIterator<Item = Msn>) -> Horizon {
        let mut registered: Vec<u64> = registered.into_iter().map(Msn::to_raw).collect();
        registered.sort_unstable();
        registered.dedup();
        Horizon { visible: visible.to_raw(), registered }
    }

    /// Whether the version at `older` can be forgotten because of the one at `newer`.
    pub fn hides(&self, newer: u64, older: u64) -> bool {
        debug_assert!(older < newer);
        newer <= self.visible && !self.has_reader(older, newer)
    }

    fn has_reader(&self, from: u64, before: u64) -> bool {
        let next = self.registered.partition_point(|msn| *msn < from);
        self.registered.get(next).is_some_and(|msn| *msn < before)
    }
}

/// Where the folded versions will live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// In a buffer: older versions may lie below.
    Buffer,
    /// In a leaf: nothing lies below.
    Leaf,
}

/// The versions of one key that are left, newest first.
#[derive(Debug, Default)]
pub struct Folded<'a> {
    newest: Option<Version<'a>>,
    more: Vec<Version<'a>>,
}

impl<'a> Folded<'a> {
    /// The versions, newest first; empty when the key can be forgotten.
    pub fn versions(&self) -> &[Version<'a>] {
        match &self.newest {
            Some(newest) if self.more.is_empty() => std::slice::from_ref(newest),
            _ => &self.more,
        }
    }

    fn push(&mut self, version: Version<'a>) {
        match self.newest {
            None => self.newest = Some(version),
            Some(newest) => {
                if self.more.is_empty() {
                    self.more.push(newest);
                }
                self.more.push(version);
            }
        }
    }

    fn oldest(&self) -> Option<Version<'a>> {
        self.versions().last().copied()
    }

    fn drop_oldest(&mut self) {
        if self.more.pop().is_none() || self.more.is_empty() {
            self.newest = None;
        }
        if let [only] = self.more.as_slice() {
            self.newest = Some(*only);
            self.more.clear();
        }
    }
}

/// Keeps what a reader may still need of one key's `versions`, which come newest first.
pub fn fold<'a>(
    versions: impl Iterator<Item = Version<'a>>,
    horizon: &Horizon,
    floor: Floor,
) -> Folded<'a> {
    let mut folded = Folded::default();
    let mut newer: Option<u64> = None;
    for version in versions {
        if newer.is_some_and(|newer| horizon.hides(newer, version.msn)) {
            continue;
        }
        newer = Some(version.msn);
        folded.push(version);
    }
    if floor == Floor::Leaf {
        while folded.oldest().is_some_and(|oldest| oldest.op == Op::Delete) {
            folded.drop_oldest();
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(msn: u64) -> Version<'static> {
        Version { msn, op: Op::Put(b"v") }
    }

    fn delete(msn: u64) -> Version<'static> {
        Version { msn, op: Op::Delete }
    }

    fn left(
        versions: &[Version<'static>],
        visible: u64,
        readers: &[u64],
        floor: Floor,
    ) -> Vec<u64> {
        let horizon =
            Horizon::new(Msn::from_raw(visible), readers.iter().map(|msn| Msn::from_raw(*msn)));
        let folded = fold(versions.iter().copied(), &horizon, floor);
        folded.versions().iter().map(|version| version.msn).collect()
    }

    #[test]
    fn only_the_newest_visible_version_stays_without_readers() {
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[], Floor::Buffer), [9]);
    }

    #[test]
    fn a_version_stays_for_each_reader_between() {
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[6], Floor::Buffer), [9, 5]);
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[5, 2], Floor::Buffer), [9, 5, 2]);
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[1], Floor::Buffer), [9]);
        assert_eq!(left(&[put(9), put(5), put(2)], 10, &[9], Floor::Buffer), [9]);
    }

    #[test]
    fn what_is_not_visible_yet_hides_nothing() {
        assert_eq!(left(&[put(9), put(5), put(2)], 6, &[], Floor::Buffer), [9, 5]);
    }

    #[test]
    fn a_delete_stays_in_a_buffer_and_goes_in_a_leaf() {
        assert_eq!(left(&[delete(9), put(5)], 10, &[], Floor::Buffer), [9]);
        assert!(left(&[delete(9), put(5)], 10, &[], Floor::Leaf).is_empty());
        assert_eq!(left(&[delete(9), put(5)], 10, &[7], Floor::Leaf), [9, 5]);
        assert_eq!(left(&[put(9), delete(5)], 10, &[7], Floor::Leaf), [9]);
        assert!(left(&[delete(9), delete(5)], 10, &[7], Floor::Leaf).is_empty());
    }

    /// Every reader sees the same before and after, whatever the versions and readers are.
    #[test]
    fn no_reader_can_tell_that_versions_were_folded() {
        let seen = |versions: &[Version<'static>], at: u64| {
            let found = versions.iter().find(|version| version.msn <= at);
            found.filter(|version| version.op != Op::Delete).map(|version| version.msn)
        };
        for shape in 0u32..1 << 10 {
            let versions: Vec<_> = (1..=5u64)
                .rev()
                .filter(|msn| shape >> msn & 1 == 1)
                .map(|msn| if shape >> (msn + 4) & 1 == 1 { delete(msn) } else { put(msn) })
                .collect();
            for readers in 0u64..1 << 6 {
                let registered: Vec<u64> = (0..6).filter(|msn| readers >> msn & 1 == 1).collect();
                let horizon =
                    Horizon::new(Msn::from_raw(5), registered.iter().map(|m| Msn::from_raw(*m)));
                let folded = fold(versions.iter().copied(), &horizon, Floor::Leaf);
                for at in registered.into_iter().chain([5, 6]) {
                    assert_eq!(seen(&versions, at), seen(folded.versions(), at));
                }
            }
        }
    }
}
