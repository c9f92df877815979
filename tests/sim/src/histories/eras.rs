//! Histories in which the machine crashes: transactions side by side on a simulated disk, a crash,
//! a recovery, and more transactions over the same keys.
//!
//! ```text
//! era: clients commit ... crash -> recovered up to S -> next era ...  -> last look at all keys
//!                                        |
//!      a commit with a sequence up to S is there, any other is as if it had not been
//! ```
//!
//! Which of those whose fate nobody was told are there, S tells; that it tells the truth, the
//! checker finds out. A commit that was told durable must not lie behind S. Readers that began
//! behind S have seen what is gone with the crash, as they have.

use sapwood::{Background, Config, Database, Durability, Isolation, Transaction, Tree, merge};
use std::sync::Arc;

use super::history::{History, Key, Outcome, Recorded, Sort, Step, Values, decode, encode};
use super::workload::{Writing, fill, found, name};
use crate::disk::{Cut, SimDisk};
use crate::model::Crash;
use crate::random::Random;

/// Who runs the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A thread each, and background threads.
    Threads,
    /// One thread, which lets them take turns; the engine is in manual mode. A seed decides
    /// everything.
    Turns,
}

#[derive(Clone, Copy, Debug)]
pub struct Eras {
    pub isolation: Isolation,
    pub writing: Writing,
    pub pace: Pace,
    pub crash: Crash,
    pub keys: Key,
    pub clients: u64,
    pub eras: u64,
    /// For each client in each era, if nothing crashes.
    pub transactions: u64,
}

/// What was recorded, and what became of it.
#[derive(Debug)]
pub struct Chronicle {
    pub history: History,
    /// How many crashes came while somebody was at work.
    pub crashes: u64,
    /// Commits that nobody was told of and that were found, and such that were not.
    pub doubts_found: u64,
    pub doubts_gone: u64,
}

/// A transaction that ended, or was ended by the crash.
struct Ended {
    recorded: Recorded,
    told: Told,
}

/// What a client was told of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// That it would survive.
    Promised,
    Nothing,
}

/// A client between two of its steps.
struct Client<'d> {
    plan: Eras,
    db: &'d Database,
    tree: &'d Tree,
    random: Random,
    next_number: u32,
    left: u64,
    open: Option<Open>,
    ended: Vec<Ended>,
}

struct Open {
    tx: Transaction,
    begin: u64,
    steps: Vec<Step>,
    left: u64,
}

/// The machine has crashed.
struct Crashed;

impl From<sapwood::Error> for Crashed {
    fn from(_: sapwood::Error) -> Crashed {
        Crashed
    }
}

/// Runs a plan; panics when something that was promised is gone.
pub fn record(plan: Eras, seed: u64) -> Chronicle {
    let mut random = Random::new(seed);
    let mut disk = SimDisk::new(random.draw());
    let values = match plan.writing {
        Writing::ReadAppend | Writing::Merge => Values::Lists,
        Writing::Set | Writing::Skew => Values::Registers,
    };
    let history = History { values, all: Vec::new() };
    let mut chronicle = Chronicle { history, crashes: 0, doubts_found: 0, doubts_gone: 0 };
    let mut db = open(plan, &disk);
    fill(&db, &tree(&db), plan.keys);
    for era in 0..plan.eras {
        disk.crash_at(disk.operations() + 3 + random.below(60));
        let ended = play(plan, &db, era, &mut random);
        chronicle.crashes += u64::from(disk.is_crashed());
        db.abandon();
        disk = match plan.crash {
            Crash::Kill => disk.kill(),
            Crash::PowerCut => disk.power_cut(Cut::Random(random.draw())),
        };
        db = open(plan, &disk);
        chronicle.settle(ended, db.snapshot().sequence());
    }
    chronicle.look(plan, &db);
    db.verify().unwrap();
    chronicle
}

fn open(plan: Eras, disk: &SimDisk) -> Database {
    let background = match plan.pace {
        Pace::Threads => Background::Threads(1),
        Pace::Turns => Background::Manual,
    };
    let config = Config::on(Arc::new(disk.clone())).tiny();
    config.cache_bytes(128 << 10).checkpoint_bytes(24 << 10).background(background).open().unwrap()
}

fn tree(db: &Database) -> Tree {
    db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap()
}

/// Lets all clients work until they are done or the machine has crashed.
fn play(plan: Eras, db: &Database, era: u64, random: &mut Random) -> Vec<Ended> {
    let tree = &tree(db);
    let mut clients: Vec<Client<'_>> = (0..plan.clients)
        .map(|client| Client::new(plan, db, tree, era * plan.clients + client, random.draw()))
        .collect();
    match plan.pace {
        Pace::Threads => std::thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| while client.step().is_ok_and(|more| more) {});
            }
        }),
        Pace::Turns => loop {
            let at = random.index(clients.len());
            let is_over = match clients[at].step() {
                Err(Crashed) => true,
                Ok(_) if random.chance(5) => db.maintain(3).is_err(),
                Ok(_) => clients.iter().all(|client| client.left == 0),
            };
            if is_over {
                break;
            }
        },
    }
    clients.into_iter().flat_map(Client::end).collect()
}

impl<'d> Client<'d> {
    fn new(plan: Eras, db: &'d Database, tree: &'d Tree, number: u64, seed: u64) -> Client<'d> {
        let next_number = u32::try_from(number).unwrap() << 16;
        let (random, left) = (Random::new(seed), plan.transactions);
        Client { plan, db, tree, random, next_number, left, open: None, ended: Vec::new() }
    }

    /// Begins a transaction, goes on with it or ends it; returns whether there is more to do.
    fn step(&mut self) -> Result<bool, Crashed> {
        if self.left == 0 {
            return Ok(false);
        }
        match self.open.take() {
            None => self.begin()?,
            Some(open) if open.left == 0 => {
                self.left -= 1;
                self.commit(open)?;
            }
            Some(mut open) => {
                open.left -= 1;
                let done = self.go_on(&mut open);
                self.open = Some(open);
                done?;
            }
        }
        Ok(self.left > 0)
    }

    fn begin(&mut self) -> Result<(), Crashed> {
        loop {
            let begin = self.db.snapshot().sequence();
            let tx = self.db.begin_with(self.plan.isolation)?;
            if self.db.snapshot().sequence() == begin {
                let left = 1 + self.random.below(4);
                self.open = Some(Open { tx, begin, steps: Vec::new(), left });
                return Ok(());
            }
        }
    }

    fn go_on(&mut self, open: &mut Open) -> Result<(), Crashed> {
        if self.plan.writing == Writing::Skew {
            return self.skew(open);
        }
        let key = self.key();
        let seen = open.tx.get(self.tree, name(key))?;
        let seen = seen.as_deref().map_or_else(Vec::new, decode);
        open.steps.push(Step::Read(key, seen.clone()));
        if self.random.chance(50) {
            return Ok(());
        }
        let number = self.number();
        match self.plan.writing {
            Writing::ReadAppend => {
                let value = [&seen[..], &[number]].concat();
                open.tx.insert(self.tree, name(key), encode(&value))?;
                open.steps.push(Step::Append(key, number));
            }
            Writing::Merge => {
                open.tx.merge(self.tree, name(key), number.to_le_bytes())?;
                open.steps.push(Step::Append(key, number));
            }
            Writing::Set | Writing::Skew => self.set(open, key, number)?,
        }
        Ok(())
    }

    fn set(&mut self, open: &mut Open, key: Key, number: u32) -> Result<(), Crashed> {
        if self.random.chance(15) {
            open.tx.remove(self.tree, name(key))?;
            open.steps.push(Step::Set(key, None));
        } else {
            open.tx.insert(self.tree, name(key), number.to_le_bytes())?;
            open.steps.push(Step::Set(key, Some(number)));
        }
        Ok(())
    }

    /// Reads all keys and sets one.
    fn skew(&mut self, open: &mut Open) -> Result<(), Crashed> {
        for key in 0..self.plan.keys {
            let seen = open.tx.get(self.tree, name(key))?;
            open.steps.push(Step::Read(key, seen.as_deref().map_or_else(Vec::new, decode)));
        }
        let (key, number) = (self.key(), self.number());
        open.tx.insert(self.tree, name(key), number.to_le_bytes())?;
        open.steps.push(Step::Set(key, Some(number)));
        open.left = 0;
        Ok(())
    }

    fn commit(&mut self, open: Open) -> Result<(), Crashed> {
        let Open { tx, begin, steps, .. } = open;
        // After a kill whatever was logged is there.
        let durability = match self.plan.crash {
            Crash::Kill if self.random.chance(70) => Durability::Buffered,
            Crash::Kill | Crash::PowerCut => Durability::Synced,
        };
        match tx.commit_async(durability) {
            Ok(ticket) => {
                let outcome = Outcome::Committed(ticket.commit().sequence);
                let durable = ticket.wait();
                let told = if durable.is_ok() { Told::Promised } else { Told::Nothing };
                self.note(begin, steps, outcome, told);
                Ok(durable?)
            }
            Err(error) => {
                self.note(begin, steps, Outcome::Aborted, Told::Nothing);
                if error.is_conflict() { Ok(()) } else { Err(Crashed) }
            }
        }
    }

    fn note(&mut self, begin: u64, steps: Vec<Step>, outcome: Outcome, told: Told) {
        let (sort, undone) = (Sort::Transaction, Vec::new());
        let recorded = Recorded { sort, begin, steps, undone, outcome };
        self.ended.push(Ended { recorded, told });
    }

    /// What it has done, and what it was at when it was broken off.
    fn end(mut self) -> Vec<Ended> {
        if let Some(Open { begin, steps, .. }) = self.open.take() {
            self.note(begin, steps, Outcome::Aborted, Told::Nothing);
        }
        self.ended
    }

    fn key(&mut self) -> Key {
        Key::try_from(self.random.below(self.plan.keys.into())).unwrap()
    }

    fn number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }
}

impl Chronicle {
    /// After a recovery that has found everything up to `found`, and nothing behind it.
    fn settle(&mut self, ended: Vec<Ended>, found: u64) {
        for Ended { mut recorded, told } in ended {
            let commit = recorded.commit();
            let is_gone = commit.is_some_and(|sequence| sequence > found);
            assert!(
                !is_gone || told == Told::Nothing,
                "promised, and gone with everything behind {found}: {recorded:?}"
            );
            if commit.is_some() && told == Told::Nothing {
                *(if is_gone { &mut self.doubts_gone } else { &mut self.doubts_found }) += 1;
            }
            if is_gone {
                recorded.outcome = Outcome::Aborted;
            }
            let is_there = commit.is_some() && !is_gone;
            if is_there || recorded.begin <= found {
                self.history.all.push(recorded);
            }
        }
    }

    /// Reads all keys, when everybody has ended.
    fn look(&mut self, plan: Eras, db: &Database) {
        let (last, tree) = (db.snapshot(), tree(db));
        let seen = |key| Step::Read(key, found(&last, &tree, key));
        let (begin, steps) = (last.sequence(), (0..plan.keys).map(seen).collect());
        let (sort, undone) = (Sort::Transaction, Vec::new());
        let outcome = Outcome::Committed(begin);
        self.history.all.push(Recorded { sort, begin, steps, undone, outcome });
    }
}
