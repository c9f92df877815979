//! What is played while points are struck: a life of a database in which everything happens that
//! background work can do, in one of four shapes.

use sapwood::Durability;

use crate::sim::model::{Change, What};
use crate::sim::random::Random;
use crate::sim::workload::{self, Action, TREES, key};

/// How the trees of a run look.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub rows: u64,
    pub value_bytes: usize,
    pub order: Order,
    pub cache_bytes: u64,
}

/// In which order the rows come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Scattered,
    Ascending,
}

/// The shapes of all runs.
pub const SHAPES: [Shape; 4] = [
    Shape {
        name: "many small rows",
        rows: 500,
        value_bytes: 40,
        order: Order::Scattered,
        cache_bytes: 64 << 10,
    },
    Shape {
        name: "rows that come in order",
        rows: 500,
        value_bytes: 24,
        order: Order::Ascending,
        cache_bytes: 64 << 10,
    },
    Shape {
        name: "few large rows",
        rows: 240,
        value_bytes: 300,
        order: Order::Scattered,
        cache_bytes: 128 << 10,
    },
    Shape {
        name: "less memory than a path takes",
        rows: 400,
        value_bytes: 60,
        order: Order::Scattered,
        cache_bytes: 24 << 10,
    },
];

impl Shape {
    /// The same as the simulated machine wants it.
    pub fn sizes(&self) -> workload::Shape {
        let Shape { cache_bytes, .. } = *self;
        workload::Shape { cache_bytes, checkpoint_bytes: 16 << 10, ..workload::Shape::large() }
    }

    /// The whole life.
    pub fn actions(self) -> Vec<Action> {
        let mut keys: Vec<_> = (0..self.rows).map(key).collect();
        if self.order == Order::Ascending {
            keys.sort();
        }
        let mut script =
            Script { shape: self, keys, random: Random::new(7), serial: 0, actions: Vec::new() };
        script.actions.extend(TREES.map(Action::Create));
        script.grow();
        script.trickle();
        script.change();
        script.shrink();
        script.replace();
        script.actions
    }
}

struct Script {
    shape: Shape,
    keys: Vec<Vec<u8>>,
    random: Random,
    serial: u64,
    actions: Vec<Action>,
}

impl Script {
    fn value(&mut self) -> Vec<u8> {
        self.serial += 1;
        let mut value = format!("value {:06} ", self.serial).into_bytes();
        let head = value.len();
        value.resize(head + self.shape.value_bytes, b'.');
        // Half of it is noise, so that what is large in memory is large on disk.
        let half = head + self.shape.value_bytes / 2;
        self.random.fill(&mut value[half..]);
        value
    }

    fn put(&mut self, number: u64) -> Change {
        let key = self.keys[usize::try_from(number).unwrap()].clone();
        Change::put(TREES[0], key, self.value())
    }

    fn any(&mut self) -> u64 {
        self.random.below(self.shape.rows)
    }

    /// The row that comes at this place.
    fn at(&self, place: u64) -> u64 {
        match self.shape.order {
            Order::Ascending => place,
            Order::Scattered => place % 10 * (self.shape.rows / 10) + place / 10,
        }
    }

    /// Spills, flushes, reconciliations, splits, and a tree that grows.
    fn grow(&mut self) {
        for batch in 0..self.shape.rows / 10 {
            let rows = (0..10).map(|row| self.put(self.at(batch * 10 + row))).collect();
            let durability = match batch % 8 {
                3 => Durability::Synced,
                6 => Durability::NoWal,
                _ => Durability::Buffered,
            };
            self.actions.push(match batch % 5 {
                2 => Action::Transaction(rows, durability),
                _ => Action::Batch(rows, durability),
            });
            self.actions.push(Action::Maintain(3));
            if batch % 12 == 11 {
                self.actions.push(Action::Reopen);
            }
        }
        self.actions.push(Action::Checkpoint);
    }

    /// Many spills of next to nothing: they are gathered.
    fn trickle(&mut self) {
        self.actions.push(Action::Drain);
        for _ in 0..12 {
            let row = self.any();
            let row = Change { what: What::Put(Vec::new()), ..self.put(row) };
            self.actions.push(Action::Single(row));
            self.actions.extend([Action::Checkpoint, Action::Maintain(4)]);
        }
    }

    /// Deletes, operands and range deletes over rows that are there.
    fn change(&mut self) {
        for round in 0..60 {
            let number = self.any();
            let (tree, key) = (TREES[usize::from(round % 3 == 0) * 2], key(number));
            let what = match round % 6 {
                0 | 1 => What::Merge(self.value()),
                2 => What::Remove,
                3 => What::Merge(b"!".to_vec()),
                4 => What::Put(self.value()),
                _ => What::RemoveRange(Some([&*key, b"5"].concat())),
            };
            self.actions.push(Action::Single(Change { tree, key, what }));
            self.actions.push(match round % 12 {
                4 => Action::Sync,
                7 => Action::Scan,
                11 => Action::Checkpoint,
                _ => Action::Maintain(2),
            });
        }
        self.actions.extend([Action::Drain, Action::Compact(TREES[0]), Action::Checkpoint]);
    }

    /// Leaves that get small, nodes that are merged and share, a tree that shrinks.
    fn shrink(&mut self) {
        for batch in 0..self.shape.rows / 10 {
            let remove = |number: u64| {
                let key = self.keys[usize::try_from(number).unwrap()].clone();
                Change { tree: TREES[0], key, what: What::Remove }
            };
            let rows = (0..10).map(|row| remove(batch * 10 + row)).collect();
            self.actions.push(Action::Batch(rows, Durability::Buffered));
            self.actions.push(Action::Maintain(4));
        }
        let all = Change { tree: TREES[2], key: Vec::new(), what: What::RemoveRange(None) };
        self.actions.push(Action::Single(all));
        self.actions.extend([Action::Drain, Action::Maintain(1000), Action::Checkpoint]);
    }

    /// Trees that are dropped with some rows, and made anew.
    fn replace(&mut self) {
        for _ in 0..3 {
            for place in 0..self.shape.rows / 4 {
                let row = self.put(place);
                self.actions.push(Action::Single(row));
            }
            let again = [Action::Checkpoint, Action::Drop(TREES[0]), Action::Create(TREES[0])];
            self.actions.extend(again);
            let row = self.put(0);
            self.actions.extend([Action::Single(row), Action::Drain, Action::Maintain(1000)]);
            self.actions.extend([Action::Checkpoint, Action::Sync, Action::Maintain(1000)]);
        }
    }
}
