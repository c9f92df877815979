//! Readers that are held across steps, each beside what it should see.

use sapwood::{Cursor, Iter, Read, Result, Seek, Snapshot, Tree};

use super::open_transaction::OpenTransaction;
use super::player::Trees;
use super::reading::{self, Way};
use super::world::{Bytes, Rows, World, shown};
use crate::random::Random;

/// What is held across steps.
#[derive(Default)]
pub struct Held {
    pub snapshots: Vec<HeldSnapshot>,
    pub iters: Vec<HeldIter>,
    pub cursors: Vec<HeldCursor>,
    pub transactions: Vec<OpenTransaction>,
}

/// A snapshot, with the trees that there were.
pub struct HeldSnapshot {
    pub snapshot: Snapshot,
    pub world: World,
    pub trees: Trees,
}

impl HeldSnapshot {
    /// Reads a row, or everything.
    pub fn read(&self, key: &[u8], random: &mut Random) -> Result<()> {
        if random.chance(30) {
            let way = Way::draw(random);
            for (name, tree) in &self.trees {
                let found = reading::digest_of_tree(&self.snapshot, tree, way)?;
                let rows = self.world.tree(name).expect("it was there");
                assert_eq!(found, rows.digest(), "a snapshot of {name}, read {way:?}");
            }
            return Ok(());
        }
        for (name, tree) in &self.trees {
            let found = self.snapshot.get(tree, key)?;
            let expected = self.world.tree(name).and_then(|rows| rows.get(key));
            assert_eq!(
                found.as_deref(),
                expected.map(|value| &value[..]),
                "{name}/{} by snapshot",
                shown(key)
            );
        }
        Ok(())
    }
}

/// An iterator over a stretch of a tree.
pub struct HeldIter {
    iter: Iter,
    rows: Rows,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
}

impl HeldIter {
    pub fn new(tree: &Tree, rows: Rows, lower: Vec<u8>, upper: Option<Vec<u8>>) -> HeldIter {
        let iter = match &upper {
            Some(upper) => tree.range(&lower[..]..&upper[..]),
            None => tree.range(&lower[..]..),
        };
        HeldIter { iter, rows, lower, upper }
    }

    /// Pulls a row at one end, or at the other.
    pub fn pull(&mut self, random: &mut Random) -> Result<()> {
        let is_forward = random.chance(60);
        let row = if is_forward { self.iter.next() } else { self.iter.next_back() };
        let row = row.transpose()?;
        let mut rest = self.rows.range(&self.lower, self.upper.as_deref());
        let expected = if is_forward { rest.next() } else { rest.next_back() };
        let expected = expected.map(|(key, value)| (key.clone(), value.clone()));
        drop(rest);
        check_row(row.as_ref().map(|(key, value)| (&key[..], &value[..])), expected.as_ref());
        if let Some((key, _)) = expected {
            if is_forward {
                self.lower = successor(&key);
            } else {
                self.upper = Some(key.to_vec());
            }
        }
        Ok(())
    }
}

fn check_row(found: Option<(&[u8], &[u8])>, expected: Option<&(Bytes, Bytes)>) {
    let is_same = match (found, expected) {
        (None, None) => true,
        (Some((key, value)), Some((one, two))) => *key == **one && *value == **two,
        _ => false,
    };
    let found = found.map(|(key, value)| (shown(key), shown(value)));
    let expected = expected.map(|(key, value)| (shown(key), shown(value)));
    assert!(is_same, "a reader gives {found:?} instead of {expected:?}");
}

fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Where a cursor should stand.
enum Place {
    Nowhere,
    At(Bytes),
    /// Before the first row that is not smaller; `None` behind all.
    Gap(Option<Vec<u8>>),
}

/// A cursor over a tree.
pub struct HeldCursor {
    cursor: Cursor,
    rows: Rows,
    place: Place,
}

impl HeldCursor {
    pub fn new(tree: &Tree, rows: Rows) -> HeldCursor {
        HeldCursor { cursor: tree.cursor(), rows, place: Place::Nowhere }
    }

    /// Moves by a row, or to a key.
    pub fn go(&mut self, key: &[u8], random: &mut Random) -> Result<()> {
        match random.below(8) {
            0..3 => self.next(),
            3..6 => self.prev(),
            6 => self.seek(key),
            _ => {
                self.cursor.reset();
                self.place = Place::Nowhere;
                Ok(())
            }
        }
    }

    fn next(&mut self) -> Result<()> {
        let from = match &self.place {
            Place::Nowhere => Some(Vec::new()),
            Place::At(key) => Some(successor(key)),
            Place::Gap(gap) => gap.clone(),
        };
        let expected = from.and_then(|from| owned(self.rows.range(&from, None).next()));
        check_row(self.cursor.next()?, expected.as_ref());
        self.place = expected.map_or(Place::Gap(None), |(key, _)| Place::At(key));
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        let upper = match &self.place {
            Place::Nowhere | Place::Gap(None) => None,
            Place::At(key) => Some(key.to_vec()),
            Place::Gap(gap) => gap.clone(),
        };
        let expected = owned(self.rows.range(&[], upper.as_deref()).next_back());
        check_row(self.cursor.prev()?, expected.as_ref());
        self.place = expected.map_or(Place::Gap(Some(Vec::new())), |(key, _)| Place::At(key));
        Ok(())
    }

    fn seek(&mut self, key: &[u8]) -> Result<()> {
        let expected = owned(self.rows.range(key, None).next());
        let is_found = self.cursor.seek(key, Seek::AtOrAfter)?;
        assert_eq!(is_found, expected.is_some(), "a cursor seeks {}", shown(key));
        assert_eq!(self.cursor.key(), expected.as_ref().map(|(key, _)| &key[..]));
        self.place = expected.map_or(Place::Gap(Some(key.to_vec())), |(key, _)| Place::At(key));
        Ok(())
    }
}

fn owned(row: Option<(&Bytes, &Bytes)>) -> Option<(Bytes, Bytes)> {
    row.map(|(key, value)| (key.clone(), value.clone()))
}
