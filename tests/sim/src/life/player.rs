//! The simulated user: does anything that the public API has, beside the history of what that
//! means, and shows the explorer what crashes would leave.

use std::collections::BTreeMap;
use std::time::Duration;

use sapwood::{Database, Durability, Error, Result, Tree};

use super::explorer::{Explorer, Scene};
use super::held::Held;
use super::history::History;
use super::reading::{self, Way, all_trees};
use super::setting::{Nature, Sabotage, Setting};
use super::world::{Deed, LOG, World};
use crate::disk::SimDisk;
use crate::model::{Change, Crash, Logging, What};
use crate::random::Random;
use crate::workload::key;

/// The names of the sorts of steps.
const SORTS: [&str; Setting::SORTS] = [
    "single",
    "batch",
    "transact",
    "bulk",
    "append",
    "maintain",
    "look",
    "snapshot",
    "iterate",
    "sync",
    "checkpoint",
    "move on",
    "create",
    "drop",
    "rename",
    "remove much",
    "reopen",
    "copy",
    "verify",
    "update",
];

/// Handles of the trees that there are.
pub type Trees = BTreeMap<&'static str, Tree>;

/// A running database and everything that is known of it.
pub struct Player<'e> {
    pub explorer: &'e mut Explorer,
    pub random: Random,
    pub disk: SimDisk,
    pub history: History,
    pub db: Option<Database>,
    pub trees: Trees,
    pub held: Held,
    /// Which numbers appends have got since the opening.
    pub numbers: Option<u64>,
    /// Commits that a sync must have reached at some time.
    pub intervals: Vec<(Duration, usize)>,
    serial: u64,
}

impl<'e> Player<'e> {
    /// Opens what is on the disk, of which `history` tells what it should be after `crash`.
    pub fn open(
        explorer: &'e mut Explorer,
        mut random: Random,
        disk: SimDisk,
        history: &History,
        crash: Crash,
    ) -> Result<Player<'e>> {
        disk.photograph(explorer.setting.gap);
        let opened = explorer.setting.open(&disk);
        for photograph in disk.photographs() {
            let history = history.clone();
            explorer.explore(&Scene { disk: photograph, history, crash, depth: 1 });
        }
        let db = opened?;
        let found = reading::digest(&db, &all_trees(&db)?, Way::draw(&mut random))?;
        let world = history.judge(found, crash).map(|world| World::clone(&world));
        let world = match world {
            Some(world) => world,
            None => {
                let world = reading::world(&db, &all_trees(&db)?)?;
                let is_told = explorer.setting.nature == Nature::Lying && history.was_ever(found);
                assert!(is_told, "opened after {crash:?}: {}", history.explain(&world, crash));
                world
            }
        };
        let mut player = Player {
            history: history.resettled(world),
            explorer,
            random,
            disk,
            trees: all_trees(&db)?.into_iter().collect(),
            db: Some(db),
            held: Held::default(),
            numbers: None,
            intervals: Vec::new(),
            serial: 0,
        };
        player.serial = player.random.below(1 << 40);
        Ok(player)
    }

    pub fn db(&self) -> &Database {
        self.db.as_ref().expect("the database is open")
    }

    /// Does one step.
    pub fn step(&mut self) -> Result<()> {
        self.explorer.tally.steps += 1;
        let sort = self.random.weighted(&self.explorer.setting.weights);
        let from = self.disk.operations();
        let done = match sort {
            0 => self.single(),
            1 => self.batch(),
            2 => self.transact(),
            3 => self.bulk(),
            4 => self.append(),
            5 => self.maintain(),
            6 => self.look(),
            7 => self.snapshot(),
            8 => self.iterate(),
            9 => self.sync(),
            10 => self.checkpoint(),
            11 => self.move_on(),
            12 => self.create(),
            13 => self.drop_tree(),
            14 => self.rename(),
            15 => self.remove_much(),
            16 => self.reopen(),
            17 => self.copy(),
            18 => self.verify(),
            _ => self.update(),
        };
        self.show();
        self.explorer.tell(|| {
            let name = SORTS[sort];
            let error = done.as_ref().err().map(ToString::to_string);
            format!(
                "{name}: operations {from}..{} {}",
                self.disk.operations(),
                error.unwrap_or_default()
            )
        });
        done
    }

    /// Shows the explorer what a crash would have left at some operations since the last time.
    pub fn show(&mut self) {
        for disk in self.disk.photographs() {
            let history = self.history.clone();
            self.explorer.explore(&Scene { disk, history, crash: Crash::Kill, depth: 1 });
        }
    }

    /// Notes what a call has done that has returned so, unless nothing has happened.
    pub fn note<T>(&mut self, deed: &Deed, durability: Durability, done: &Result<T>) {
        if done.as_ref().is_err_and(|error| !error.is_indeterminate()) {
            return;
        }
        self.explorer.tell(|| {
            let doubt = if done.is_ok() { "" } else { ", in doubt" };
            format!("    {} {durability:?}{doubt}", deed.told())
        });
        let logging = match durability {
            Durability::NoWal => Logging::Unlogged,
            _ => Logging::Logged,
        };
        self.history.commit(deed, logging);
        self.show();
        if done.is_err() {
            return;
        }
        self.explorer.tally.commits += 1;
        self.history.acknowledge();
        match durability {
            Durability::Synced => self.history.synced(),
            Durability::Interval(time) => {
                let until = self.disk.time() + time;
                self.intervals.push((until, self.history.acknowledged()));
            }
            Durability::Buffered | Durability::NoWal => {}
        }
    }

    pub fn commit<T>(
        &mut self,
        deed: &Deed,
        durability: Durability,
        done: Result<T>,
    ) -> Result<()> {
        self.note(deed, durability, &done);
        done.map(|_| ())
    }

    /// A tree that there is, but for the one that is only appended to.
    pub fn some_tree(&mut self) -> Option<&'static str> {
        let names: Vec<&'static str> = self.trees.keys().copied().collect();
        let names: Vec<&'static str> = names.into_iter().filter(|name| *name != LOG).collect();
        if names.is_empty() { None } else { Some(names[self.random.index(names.len())]) }
    }

    pub fn some_key(&mut self) -> Vec<u8> {
        key(self.random.below(self.explorer.setting.keys))
    }

    /// A value unlike any other, half of it compressible; some are empty, and few are large.
    pub fn some_value(&mut self) -> Vec<u8> {
        self.serial += 1;
        if self.random.chance(5) {
            return Vec::new();
        }
        let most = match self.random.chance(1) {
            true => 4000,
            false => self.explorer.setting.value_bytes,
        };
        let mut value = format!("{:x} ", self.serial).into_bytes();
        let filler = self.random.index(usize::try_from(most).expect("it is small"));
        value.resize(value.len() + filler, b'.');
        let half = value.len() / 2;
        let noise = value.get_mut(half.max(11)..).unwrap_or_default();
        self.random.fill(noise);
        value
    }

    pub fn some_change(&mut self, tree: &'static str) -> Change {
        let key = self.some_key();
        let what = match self.random.below(100) {
            0..15 => What::Remove,
            15..32 => self.some_merge(tree, &key),
            32..38 => What::RemoveRange(self.range_end(&key)),
            _ => What::Put(self.some_value()),
        };
        Change { tree, key, what }
    }

    /// A merge, as long as what it makes stays below the largest value of the smallest cache.
    fn some_merge(&mut self, tree: &str, key: &[u8]) -> What {
        let mut operand = self.some_value();
        operand.truncate(100);
        let now = self.history.now();
        let length = now.tree(tree).and_then(|rows| rows.get(key)).map_or(0, |value| value.len());
        if length > 2000 { What::Put(operand) } else { What::Merge(operand) }
    }

    /// The end of a range from `key` on: mostly of a few keys, now and then of many or none.
    fn range_end(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let digits = key.strip_prefix(b"key-").and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| digits.parse::<u64>().ok()) {
            Some(number) if !self.random.chance(10) => {
                let end = number + self.random.below(600);
                Some(format!("key-{end:04}").into_bytes())
            }
            _ => self.random.chance(70).then(|| self.some_key()),
        }
    }

    pub fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.explorer.setting.sabotage == sabotage
    }

    pub fn some_durability(&mut self) -> Durability {
        self.explorer.setting.clone().durability(&mut self.random)
    }

    /// Whether an error is what this life's nature lets happen; otherwise it is a failure.
    pub fn is_expected(&mut self, error: &Error) -> bool {
        let tally = &mut self.explorer.tally;
        match self.explorer.setting.nature {
            Nature::Calm => false,
            Nature::Failing => error.is_fatal() || error.is_indeterminate() || error.is_retryable(),
            Nature::Full => {
                tally.full_disks += 1;
                error.is_retryable()
            }
            Nature::Lying => {
                tally.corruptions += u64::from(error.is_corruption());
                error.is_corruption() || error.is_fatal() || error.is_indeterminate()
            }
        }
    }
}

/// What was written ahead is logged whatever was asked for: it may be kept where other changes
/// without a log are lost.
pub fn logged(durability: Durability) -> Durability {
    if durability == Durability::NoWal { Durability::Buffered } else { durability }
}
