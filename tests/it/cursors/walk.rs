//! A cursor's walk beside that of a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::collection::vec;
use proptest::prelude::*;
use sapwood::{Cursor, Error, Near, Overwrite, Result, Seek, TxCursor};

#[derive(Clone, Debug)]
pub(super) enum Change {
    Fill(u32, u32),
    Insert(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Merge(Vec<u8>, Vec<u8>),
    RemoveRange(u32, u32),
    /// What moves rows changes none.
    Maintain(usize),
    Drain,
}

pub(super) type History = Vec<Change>;

#[derive(Clone, Debug)]
pub(super) enum Move {
    Seek(Vec<u8>, Seek),
    Near(Vec<u8>),
    First,
    Last,
    Next(usize),
    Prev(usize),
    NextKey(usize),
    PrevKey(usize),
    Value,
    Reset,
    Insert(Vec<u8>, Vec<u8>, Overwrite),
    Update(Vec<u8>),
    Remove,
}

pub(super) fn number(number: u32) -> Vec<u8> {
    format!("key-{number:05}").into_bytes()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u32..600).prop_map(number),
        3 => (0u32..600, any::<u8>()).prop_map(|(at, byte)| [number(at), vec![byte]].concat()),
        1 => vec(prop_oneof![Just(0u8), Just(b'k'), Just(0xff)], 0..4),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        5 => vec(any::<u8>(), 0..30),
        1 => (any::<u8>(), 100usize..3000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

pub(super) fn history() -> impl Strategy<Value = History> {
    let change = prop_oneof![
        4 => (0u32..600, 1u32..150).prop_map(|(from, count)| Change::Fill(from, count)),
        6 => (key(), value()).prop_map(|(key, value)| Change::Insert(key, value)),
        3 => key().prop_map(Change::Remove),
        4 => (key(), vec(any::<u8>(), 1..9)).prop_map(|(key, some)| Change::Merge(key, some)),
        2 => (0u32..600, 1u32..250).prop_map(|(from, by)| Change::RemoveRange(from, from + by)),
        3 => (1usize..12).prop_map(Change::Maintain),
        1 => Just(Change::Drain),
    ];
    vec(change, 0..24)
}

pub(super) fn moves() -> impl Strategy<Value = Vec<Move>> {
    let seek = prop_oneof![Just(Seek::Exact), Just(Seek::AtOrAfter), Just(Seek::AtOrBefore)];
    let over = prop_oneof![Just(Overwrite::Allowed), Just(Overwrite::Refused)];
    let count = || prop_oneof![4 => 1usize..4, 1 => 1usize..80];
    let one = prop_oneof![
        4 => (key(), seek).prop_map(|(key, seek)| Move::Seek(key, seek)),
        2 => key().prop_map(Move::Near),
        1 => Just(Move::First),
        1 => Just(Move::Last),
        6 => count().prop_map(Move::Next),
        6 => count().prop_map(Move::Prev),
        3 => count().prop_map(Move::NextKey),
        3 => count().prop_map(Move::PrevKey),
        2 => Just(Move::Value),
        1 => Just(Move::Reset),
        4 => (key(), value(), over).prop_map(|(key, value, over)| Move::Insert(key, value, over)),
        4 => value().prop_map(Move::Update),
        4 => Just(Move::Remove),
    ];
    vec(one, 1..40)
}

/// Rows as they should be.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows(BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows {
    pub(super) fn change(&mut self, change: &Change) {
        let rows = &mut self.0;
        match change {
            Change::Fill(from, count) => {
                let row = |at| (number(at), format!("row {at}").into_bytes());
                rows.extend((*from..from + count).map(row));
            }
            Change::Insert(key, value) => drop(rows.insert(key.clone(), value.clone())),
            Change::Remove(key) => drop(rows.remove(key)),
            Change::Merge(key, operand) => rows.entry(key.clone()).or_default().extend(operand),
            Change::RemoveRange(from, to) => {
                let (from, to) = (number(*from), number(*to));
                rows.retain(|key, _| !(from <= *key && *key < to));
            }
            Change::Maintain(_) | Change::Drain => {}
        }
    }

    pub(super) fn into_vec(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0.into_iter().collect()
    }
}

/// Where the cursor should stand.
#[derive(Clone, Debug)]
enum Place {
    Nowhere,
    At(Vec<u8>),
    /// Before this key, there or not; behind all.
    Gap(Option<Vec<u8>>),
}

type Lent<'a> = Result<Option<(&'a [u8], &'a [u8])>>;

/// What both kinds of cursors do.
pub(super) trait Moves {
    fn seek(&mut self, key: &[u8], seek: Seek) -> Result<bool>;
    fn search_near(&mut self, key: &[u8]) -> Result<Near>;
    fn first(&mut self) -> Lent<'_>;
    fn last(&mut self) -> Lent<'_>;
    fn next(&mut self) -> Lent<'_>;
    fn prev(&mut self) -> Lent<'_>;
    fn next_key(&mut self) -> Result<Option<&[u8]>>;
    fn prev_key(&mut self) -> Result<Option<&[u8]>>;
    fn key(&self) -> Option<&[u8]>;
    fn value(&mut self) -> Result<Option<&[u8]>>;
    fn reset(&mut self);
    fn writing(&mut self) -> Option<&mut dyn Writes>;
}

/// What those of transactions do besides.
pub(super) trait Writes {
    fn insert(&mut self, key: &[u8], value: &[u8], overwrite: Overwrite) -> Result<()>;
    fn update(&mut self, value: &[u8]) -> Result<()>;
    fn remove(&mut self) -> Result<()>;
}

macro_rules! moves {
    ($cursor:ty, $writing:expr) => {
        impl Moves for $cursor {
            fn seek(&mut self, key: &[u8], seek: Seek) -> Result<bool> {
                <$cursor>::seek(self, key, seek)
            }
            fn search_near(&mut self, key: &[u8]) -> Result<Near> {
                <$cursor>::search_near(self, key)
            }
            fn first(&mut self) -> Lent<'_> {
                <$cursor>::first(self)
            }
            fn last(&mut self) -> Lent<'_> {
                <$cursor>::last(self)
            }
            fn next(&mut self) -> Lent<'_> {
                <$cursor>::next(self)
            }
            fn prev(&mut self) -> Lent<'_> {
                <$cursor>::prev(self)
            }
            fn next_key(&mut self) -> Result<Option<&[u8]>> {
                <$cursor>::next_key(self)
            }
            fn prev_key(&mut self) -> Result<Option<&[u8]>> {
                <$cursor>::prev_key(self)
            }
            fn key(&self) -> Option<&[u8]> {
                <$cursor>::key(self)
            }
            fn value(&mut self) -> Result<Option<&[u8]>> {
                <$cursor>::value(self)
            }
            fn reset(&mut self) {
                <$cursor>::reset(self);
            }
            fn writing(&mut self) -> Option<&mut dyn Writes> {
                let writing: for<'w> fn(&'w mut Self) -> Option<&'w mut dyn Writes> = $writing;
                writing(self)
            }
        }
    };
}

moves!(Cursor, |_| None);
moves!(TxCursor<'_>, |cursor| Some(cursor));

impl Writes for TxCursor<'_> {
    fn insert(&mut self, key: &[u8], value: &[u8], overwrite: Overwrite) -> Result<()> {
        TxCursor::insert(self, key, value, overwrite)
    }

    fn update(&mut self, value: &[u8]) -> Result<()> {
        TxCursor::update(self, value)
    }

    fn remove(&mut self) -> Result<()> {
        TxCursor::remove(self)
    }
}

/// A cursor beside its expectations.
pub(super) struct Walker<C> {
    cursor: C,
    rows: Rows,
    place: Place,
}

impl<C: Moves> Walker<C> {
    pub(super) fn new(cursor: C, rows: Rows) -> Walker<C> {
        Walker { cursor, rows, place: Place::Nowhere }
    }

    pub(super) fn finish(self) -> Rows {
        self.rows
    }

    pub(super) fn walk(&mut self, moves: &[Move]) {
        for one in moves {
            self.play(one);
            let at = self.at();
            assert_eq!(self.cursor.key(), at.as_ref().map(|(key, _)| &**key), "after {one:?}");
        }
    }

    /// The row at which it should stand.
    fn at(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        match &self.place {
            Place::At(key) => Some((key.clone(), self.rows.0[key].clone())),
            Place::Nowhere | Place::Gap(_) => None,
        }
    }

    fn forward(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let from = match &self.place {
            Place::Nowhere => Bound::Unbounded,
            Place::At(key) => Bound::Excluded(key.clone()),
            Place::Gap(Some(key)) => Bound::Included(key.clone()),
            Place::Gap(None) => return None,
        };
        let next = self.rows.0.range((from, Bound::Unbounded)).next();
        self.place = next.map_or(Place::Gap(None), |(key, _)| Place::At(key.clone()));
        self.at()
    }

    fn backward(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let to = match &self.place {
            Place::Nowhere | Place::Gap(None) => Bound::Unbounded,
            Place::At(key) | Place::Gap(Some(key)) => Bound::Excluded(key.clone()),
        };
        let before = self.rows.0.range((Bound::Unbounded, to)).next_back();
        self.place = before.map_or(Place::Gap(Some(Vec::new())), |(key, _)| Place::At(key.clone()));
        self.at()
    }

    fn play(&mut self, one: &Move) {
        match one {
            Move::Seek(key, seek) => self.seek(key, *seek),
            Move::Near(key) => self.near(key),
            Move::First => {
                self.place = Place::Gap(Some(Vec::new()));
                let wanted = self.forward();
                check(self.cursor.first(), wanted.as_ref());
            }
            Move::Last => {
                self.place = Place::Gap(None);
                let wanted = self.backward();
                check(self.cursor.last(), wanted.as_ref());
            }
            Move::Next(count) => (0..*count).for_each(|_| {
                let wanted = self.forward();
                check(self.cursor.next(), wanted.as_ref());
            }),
            Move::Prev(count) => (0..*count).for_each(|_| {
                let wanted = self.backward();
                check(self.cursor.prev(), wanted.as_ref());
            }),
            Move::NextKey(count) => (0..*count).for_each(|_| {
                let wanted = self.forward().map(|(key, _)| key);
                assert_eq!(self.cursor.next_key().unwrap(), wanted.as_deref());
            }),
            Move::PrevKey(count) => (0..*count).for_each(|_| {
                let wanted = self.backward().map(|(key, _)| key);
                assert_eq!(self.cursor.prev_key().unwrap(), wanted.as_deref());
            }),
            Move::Value => {
                let wanted = self.at().map(|(_, value)| value);
                assert_eq!(self.cursor.value().unwrap(), wanted.as_deref());
            }
            Move::Reset => {
                self.place = Place::Nowhere;
                self.cursor.reset();
            }
            Move::Insert(..) | Move::Update(_) | Move::Remove => self.write(one),
        }
    }

    fn seek(&mut self, key: &[u8], seek: Seek) {
        let wanted = match seek {
            Seek::Exact => {
                let is_there = self.rows.0.contains_key(key);
                let key = key.to_vec();
                self.place = if is_there { Place::At(key) } else { Place::Gap(Some(key)) };
                is_there
            }
            Seek::AtOrAfter => {
                self.place = Place::Gap(Some(key.to_vec()));
                self.forward().is_some()
            }
            Seek::AtOrBefore => {
                self.place = Place::Gap(Some([key, &[0]].concat()));
                self.backward().is_some()
            }
        };
        assert_eq!(self.cursor.seek(key, seek).unwrap(), wanted);
    }

    fn near(&mut self, key: &[u8]) {
        self.place = Place::Gap(Some(key.to_vec()));
        let wanted = match self.forward() {
            Some((found, _)) if found == key => Near::Exact,
            Some(_) => Near::After,
            None if self.backward().is_some() => Near::Before,
            None => Near::Empty,
        };
        assert_eq!(self.cursor.search_near(key).unwrap(), wanted);
    }

    fn write(&mut self, one: &Move) {
        let Some(writing) = self.cursor.writing() else { return };
        let at = match &self.place {
            Place::At(key) => Some(key.clone()),
            Place::Nowhere | Place::Gap(_) => None,
        };
        match one {
            Move::Insert(key, value, overwrite) => {
                let done = writing.insert(key, value, *overwrite);
                let refused = *overwrite == Overwrite::Refused && self.rows.0.contains_key(key);
                assert_eq!(done.is_err_and(|error| error.is_already_exists()), refused);
                if !refused {
                    self.rows.0.insert(key.clone(), value.clone());
                }
                self.place = Place::At(key.clone());
            }
            Move::Update(value) => {
                let done = writing.update(value);
                assert_eq!(done.as_ref().is_err_and(not_found), at.is_none());
                if let Some(key) = at {
                    self.rows.0.insert(key, value.clone());
                }
            }
            Move::Remove => {
                assert_eq!(writing.remove().as_ref().is_err_and(not_found), at.is_none());
                if let Some(key) = at {
                    self.rows.0.remove(&key);
                    self.place = Place::Gap(Some(key));
                }
            }
            _ => unreachable!("{one:?} writes nothing"),
        }
    }
}

fn not_found(error: &Error) -> bool {
    error.is_not_found()
}

fn check(found: Lent<'_>, wanted: Option<&(Vec<u8>, Vec<u8>)>) {
    assert_eq!(found.unwrap(), wanted.map(|(key, value)| (&**key, &**value)));
}
