//! Threads that run random transactions over few keys, and write down what they did.
//!
//! The keys lie among other rows, so that the tree has internal nodes, in a cache so small that
//! memtables are sealed and flushed meanwhile; now and then somebody takes a checkpoint or drains.

use std::collections::BTreeMap;

use sapwood::{
    Background, Config, Database, Durability, Isolation, Iter, Read, Transaction, Tree, merge,
};

use super::history::{History, Key, Outcome, Recorded, Sort, Step, Values, decode, encode};
use crate::random::Random;

/// How numbers get into values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Lists, read and written back with a number more.
    ReadAppend,
    /// Lists, to which a number is merged; batches do it, too.
    Merge,
    /// Registers that are set, removed, and removed in ranges.
    Set,
    /// Registers that are read all, and of which one is set.
    Skew,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub isolation: Isolation,
    pub writing: Writing,
    pub keys: Key,
    pub threads: u64,
    /// For each thread.
    pub transactions: u64,
    /// So many keys that nobody else has are changed besides by each: with more than the leader
    /// looks at itself, everything is searched before each commit while others go on.
    pub ballast: u32,
}

/// One thread, with what it has written down.
struct Client<'d> {
    plan: Plan,
    db: &'d Database,
    tree: &'d Tree,
    random: Random,
    next_number: u32,
    recorded: Vec<Recorded>,
    /// Iterators of transactions that have ended; they are let go of later.
    left: Vec<Iter>,
}

/// A transaction with what it did so far.
struct Open {
    tx: Transaction,
    begin: u64,
    steps: Vec<Step>,
    undone: Vec<u32>,
    changes: u64,
}

/// Runs a plan and returns what happened.
pub fn record(plan: Plan, seed: u64) -> History {
    let config = Config::in_memory().tiny().cache_bytes(128 << 10).checkpoint_bytes(64 << 10);
    let db = config.background(Background::Threads(1)).open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    fill(&db, &tree, plan.keys);
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let start = |thread: u64| {
            let (db, tree) = (&db, &tree);
            scope.spawn(move || Client::new(plan, db, tree, seed, thread).run())
        };
        let running: Vec<_> = (0..plan.threads).map(start).collect();
        running.into_iter().for_each(|thread| all.extend(thread.join().unwrap()));
    });
    let last = db.snapshot();
    let seen = |key| Step::Read(key, found(&last, &tree, key));
    let (begin, steps) = (last.sequence(), (0..plan.keys).map(seen).collect());
    let (sort, undone) = (Sort::Transaction, Vec::new());
    all.push(Recorded { sort, begin, steps, undone, outcome: Outcome::Committed(begin) });
    db.verify().unwrap();
    let lists = matches!(plan.writing, Writing::ReadAppend | Writing::Merge);
    History { values: if lists { Values::Lists } else { Values::Registers }, all }
}

pub(super) fn name(key: Key) -> String {
    format!("k{key:02}")
}

/// The key that a row is of; `None` for one that only lies between.
fn key_of(name: &[u8]) -> Option<Key> {
    let name = std::str::from_utf8(name).unwrap();
    name.strip_prefix('k')?.parse().ok()
}

pub(super) fn fill(db: &Database, tree: &Tree, keys: Key) {
    let mut batch = db.batch();
    for key in 0..keys {
        for row in 0..12 {
            batch.insert(tree, format!("{}-{row:02}", name(key)), [b'.'; 60]);
        }
    }
    batch.commit(Durability::Buffered).unwrap();
    db.checkpoint().unwrap();
}

pub(super) fn found(state: &impl Read, tree: &Tree, key: Key) -> Vec<u32> {
    state.get(tree, name(key)).unwrap().map_or_else(Vec::new, |value| decode(&value))
}

/// Begins, and tells at which sequence.
fn begin(db: &Database, isolation: Isolation) -> (Transaction, u64) {
    loop {
        let before = db.snapshot().sequence();
        let tx = db.begin_with(isolation).unwrap();
        if db.snapshot().sequence() == before {
            return (tx, before);
        }
    }
}

impl<'d> Client<'d> {
    fn new(plan: Plan, db: &'d Database, tree: &'d Tree, seed: u64, thread: u64) -> Client<'d> {
        let random = Random::new(seed.wrapping_mul(1000).wrapping_add(thread));
        let next_number = u32::try_from(thread).unwrap() << 20;
        let (recorded, left) = (Vec::new(), Vec::new());
        Client { plan, db, tree, random, next_number, recorded, left }
    }

    fn run(mut self) -> Vec<Recorded> {
        for _ in 0..self.plan.transactions {
            match self.random.below(60) {
                0 => self.db.checkpoint().unwrap(),
                1 => self.db.daemon().drain().unwrap(),
                2 => self.tree.compact::<&str>(..).unwrap(),
                _ => {}
            }
            if self.plan.writing == Writing::Merge && self.random.chance(15) {
                self.batch();
                continue;
            }
            let open = self.play();
            self.end(open);
            if self.left.len() > 3 {
                self.left.clear();
            }
        }
        self.recorded
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    fn key(&mut self) -> Key {
        Key::try_from(self.random.below(self.plan.keys.into())).unwrap()
    }

    /// Lets others run in between, sometimes.
    fn pause(&mut self) {
        if self.random.chance(50) {
            std::thread::yield_now();
        }
    }

    fn batch(&mut self) {
        let begin = self.db.snapshot().sequence();
        let mut batch = self.db.batch();
        let mut steps = Vec::new();
        for _ in 0..=self.random.below(3) {
            let (key, number) = (self.key(), self.number());
            batch.merge(self.tree, name(key), number.to_le_bytes());
            steps.push(Step::Append(key, number));
        }
        let ticket = batch.commit_async(self.durability()).unwrap();
        let outcome = Outcome::Committed(ticket.commit().sequence);
        self.recorded.push(Recorded {
            sort: Sort::Batch,
            begin,
            steps,
            undone: Vec::new(),
            outcome,
        });
    }

    fn durability(&mut self) -> Durability {
        match self.random.below(10) {
            0 => Durability::Synced,
            1 => Durability::NoWal,
            _ => Durability::Buffered,
        }
    }

    fn play(&mut self) -> Open {
        let (tx, begin) = begin(self.db, self.plan.isolation);
        let (steps, undone) = (Vec::new(), Vec::new());
        let mut open = Open { tx, begin, steps, undone, changes: 0 };
        if self.plan.writing == Writing::Skew {
            self.skew(&mut open);
            return open;
        }
        for _ in 0..1 + self.random.below(5) {
            self.pause();
            match self.random.below(10) {
                0..3 => self.read(&mut open),
                3..5 => self.read_range(&mut open),
                5 => self.change_and_undo(&mut open),
                _ => self.change(&mut open),
            }
        }
        self.pause();
        if open.changes > 0 {
            self.add_ballast(&mut open);
        }
        open
    }

    fn add_ballast(&mut self, open: &mut Open) {
        let thread = self.next_number >> 20;
        for row in 0..self.plan.ballast {
            open.tx.insert(self.tree, format!("z{thread}-{row:03}"), "").unwrap();
            open.changes += 1;
        }
    }

    fn skew(&mut self, open: &mut Open) {
        for key in 0..self.plan.keys {
            open.steps.push(Step::Read(key, found(&open.tx, self.tree, key)));
        }
        std::thread::yield_now();
        let key = self.key();
        self.set(open, key);
        std::thread::yield_now();
    }

    fn read(&mut self, open: &mut Open) {
        let key = self.key();
        let seen = match self.random.below(3) {
            0 => {
                let other = self.key();
                let values = open.tx.multi_get(self.tree, [name(key), name(other)]).unwrap();
                let value = |at: usize| values[at].as_deref().map_or_else(Vec::new, decode);
                open.steps.push(Step::Read(other, value(1)));
                value(0)
            }
            1 => {
                let value = open.tx.get_for_update(self.tree, name(key)).unwrap();
                value.as_deref().map_or_else(Vec::new, decode)
            }
            _ => found(&open.tx, self.tree, key),
        };
        open.steps.push(Step::Read(key, seen));
    }

    /// Reads some rows of a range from one end, or from both.
    fn read_range(&mut self, open: &mut Open) {
        let (one, other) = (self.key(), self.key());
        let (lower, upper) = (one.min(other), one.max(other) + 1);
        let mut iter = open.tx.range(self.tree, name(lower)..name(upper));
        let is_backward = self.random.chance(50);
        let mut rows = if self.random.chance(50) { u64::MAX } else { self.random.below(40) };
        let (mut seen, mut passed) = (BTreeMap::new(), lower..lower);
        if is_backward {
            passed = upper..upper;
        }
        while rows > 0 {
            rows -= 1;
            let row = if is_backward { iter.next_back() } else { iter.next() };
            let Some(row) = row else {
                passed = lower..upper;
                break;
            };
            let (found, value) = row.unwrap();
            // The row behind a key may be reached before the key: then it was not passed yet.
            if let Some(key) = key_of(&found) {
                seen.insert(key, decode(&value));
                passed = if is_backward { key..upper } else { lower..key + 1 };
            }
        }
        for key in passed {
            open.steps.push(Step::Read(key, seen.get(&key).cloned().unwrap_or_default()));
        }
        if self.random.chance(30) {
            self.left.push(iter);
        }
    }

    fn change(&mut self, open: &mut Open) {
        let key = self.key();
        match self.plan.writing {
            Writing::ReadAppend => {
                let mut value = found(&open.tx, self.tree, key);
                open.steps.push(Step::Read(key, value.clone()));
                self.pause();
                let number = self.number();
                value.push(number);
                open.tx.insert(self.tree, name(key), encode(&value)).unwrap();
                open.steps.push(Step::Append(key, number));
                open.changes += 1;
            }
            Writing::Merge => {
                let number = self.number();
                open.tx.merge(self.tree, name(key), number.to_le_bytes()).unwrap();
                open.steps.push(Step::Append(key, number));
                open.changes += 1;
            }
            Writing::Set | Writing::Skew => match self.random.below(10) {
                0..7 => self.set(open, key),
                7 => {
                    open.tx.remove(self.tree, name(key)).unwrap();
                    open.steps.push(Step::Set(key, None));
                    open.changes += 1;
                }
                _ => self.remove_range(open, key),
            },
        }
    }

    fn set(&mut self, open: &mut Open, key: Key) {
        let number = self.number();
        open.tx.insert(self.tree, name(key), number.to_le_bytes()).unwrap();
        open.steps.push(Step::Set(key, Some(number)));
        open.changes += 1;
    }

    /// Removes a few keys with all that lies between them; sometimes some come back at once.
    fn remove_range(&mut self, open: &mut Open, key: Key) {
        let upper = (key + 1 + Key::try_from(self.random.below(3)).unwrap()).min(self.plan.keys);
        open.tx.remove_range(self.tree, name(key)..name(upper)).unwrap();
        open.changes += 1;
        open.steps.extend((key..upper).map(|key| Step::Set(key, None)));
        for key in key..upper {
            if self.random.chance(50) {
                self.set(open, key);
            }
        }
    }

    /// Changes something behind a savepoint and goes back.
    fn change_and_undo(&mut self, open: &mut Open) {
        let before = open.tx.savepoint();
        for _ in 0..=self.random.below(2) {
            let (key, number) = (self.key(), self.number());
            match self.plan.writing {
                Writing::Merge => {
                    open.tx.merge(self.tree, name(key), number.to_le_bytes()).unwrap();
                }
                _ => open.tx.insert(self.tree, name(key), number.to_le_bytes()).unwrap(),
            }
            open.undone.push(number);
        }
        open.tx.rollback_to(&before).unwrap();
    }

    fn end(&mut self, open: Open) {
        let Open { tx, begin, steps, undone, changes } = open;
        let outcome = if self.random.chance(8) {
            tx.rollback();
            Outcome::Aborted
        } else {
            match tx.commit_with(self.durability()) {
                Ok(commit) => {
                    assert_eq!(commit.changes, changes);
                    assert!(commit.sequence >= begin + changes);
                    assert!(changes > 0 || commit.sequence == begin);
                    Outcome::Committed(commit.sequence)
                }
                Err(error) => {
                    assert!(error.is_conflict() && changes > 0, "{error}");
                    Outcome::Aborted
                }
            }
        };
        self.recorded.push(Recorded { sort: Sort::Transaction, begin, steps, undone, outcome });
    }
}
