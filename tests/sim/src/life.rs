//! A life: one seed, from the first opening of a database to its last.
//!
//! ```text
//! seed -> setting -> era: open, step, step, ... -> crash -> era ... -> close
//!                      `------ photographs of the disk ------> explorer: crash states
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `setting` | sizes, settings and mishaps of a life |
//! | `player` | the simulated user |
//! | `changing`, `looking`, `transacting` | its steps |
//! | `held`, `open_transaction` | readers and transactions that are held across steps |
//! | `history`, `world` | what should be there, and what a crash may leave |
//! | `explorer` | what is found after a crash, and after a crash in the recovery |
//! | `reading` | whole databases as numbers |
//! | `mishaps` | faults, lies and full disks by schedule |
//! | `tally` | counts |

mod changing;
mod explorer;
mod held;
pub mod history;
mod looking;
mod mishaps;
mod open_transaction;
mod player;
mod reading;
mod setting;
pub mod tally;
mod transacting;
pub mod world;

use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3;

use self::explorer::Explorer;
use self::held::Held;
use self::history::History;
use self::player::Player;
pub use self::setting::{Nature, Sabotage, Setting};
use self::tally::Tally;
use self::world::World;
use crate::disk::SimDisk;
use crate::model::Crash;
use crate::random::Random;

/// What is left of a life.
#[derive(Debug, PartialEq, Eq)]
pub struct Lived {
    pub tally: Tally,
    /// Equal for equal lives: of all operations on the disks of all eras.
    pub digest: u64,
}

/// Lives the life of a seed; panics where something is not as it should be.
pub fn live(seed: u64) -> Lived {
    let mut random = Random::new(seed);
    let setting = Setting::draw(&mut random);
    live_with(&setting, random)
}

/// Lives a life with these settings, and what `random` makes of them.
pub fn live_with(setting: &Setting, mut random: Random) -> Lived {
    let mut explorer = Explorer::new(setting.clone(), Random::new(random.draw()));
    let (mut disk, mut crash) = (SimDisk::new(random.draw()), Crash::Kill);
    if setting.sabotage == Sabotage::DeafDisk {
        disk.ignore_syncs();
    }
    let mut history = History::settled(World::default());
    if setting.nature == Nature::Lying {
        history = history.on_a_lying_disk();
    }
    let mut digest = Xxh3::new();
    for era in 0..setting.eras {
        let end = if era + 1 == setting.eras { End::Close } else { End::Crash };
        let luck = Random::new(random.draw());
        let left = match Player::open(&mut explorer, luck, disk.clone(), &history, crash) {
            Ok(player) => player.live(end),
            Err(error) => {
                let is_told = setting.nature == Nature::Lying && error.is_corruption();
                assert!(is_told, "the database does not open: {error}");
                break;
            }
        };
        digest.write_u64(disk.digest());
        explorer.tally.operations += disk.operations();
        let Some(left) = left else { break };
        history = left;
        explorer.tally.crashes_lived_through += 1;
        (disk, crash) = match explorer.cut(&disk) {
            None => (disk.kill(), Crash::Kill),
            Some(cut) => (disk.power_cut(cut), Crash::PowerCut),
        };
        disk.heal();
    }
    explorer.tally.lives = 1;
    Lived { tally: explorer.tally, digest: digest.finish() }
}

/// How an era ends, if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Crash,
    Close,
}

impl Player<'_> {
    /// Lives an era; returns what is to be found after the crash that ends it, if one does.
    fn live(mut self, end: End) -> Option<History> {
        let steps = self.explorer.setting.steps;
        for _ in 0..steps {
            self.mishap();
            let Err(error) = self.step() else { continue };
            assert!(self.is_expected(&error), "a step fails on a sound disk: {error}");
            self.held = Held::default();
            if self.db.is_none() || !error.is_retryable() {
                return Some(self.end_after_error());
            }
        }
        self.disk.heal();
        if end == End::Close && self.explorer.setting.nature != Nature::Lying {
            self.close();
            return None;
        }
        Some(self.end())
    }

    /// Reads go on after an error; then the process ends.
    fn end_after_error(mut self) -> History {
        self.disk.heal();
        if self.db.is_some()
            && let Err(error) = self.look_at_all()
        {
            let is_told = error.is_corruption() && self.explorer.setting.nature == Nature::Lying;
            let is_open = error.is_fatal() && self.explorer.setting.nature == Nature::Failing;
            assert!(is_told || is_open, "reads do not go on: {error}");
        }
        self.end()
    }

    fn end(mut self) -> History {
        self.held = Held::default();
        self.trees.clear();
        if let Some(db) = self.db.take() {
            db.abandon();
        }
        self.show();
        self.history
    }

    /// The last thing of a life.
    fn close(mut self) {
        if let Err(error) = self.look_at_all() {
            panic!("the last look: {error}");
        }
        self.held = Held::default();
        self.trees.clear();
        let closed = self.db.take().expect("the database is open").close();
        if let Err(error) = closed {
            panic!("the last closing: {error}");
        }
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether what is wrong is found within a few lives.
    fn is_found(sabotage: Sabotage) -> bool {
        (0..40).any(|seed| {
            let mut random = Random::new(seed);
            let setting = Setting { nature: Nature::Calm, sabotage, ..Setting::draw(&mut random) };
            std::panic::catch_unwind(|| live_with(&setting, random)).is_err()
        })
    }

    #[test]
    fn a_disk_that_ignores_syncs_is_found() {
        assert!(is_found(Sabotage::DeafDisk));
    }

    #[test]
    fn a_disk_that_loses_writes_is_found() {
        assert!(is_found(Sabotage::LosingDisk));
    }

    #[test]
    fn an_engine_that_does_not_sync_is_found() {
        assert!(is_found(Sabotage::HastyEngine));
    }

    #[test]
    fn an_engine_that_leaves_out_changes_is_found() {
        assert!(is_found(Sabotage::SkippingEngine));
    }

    #[test]
    fn a_model_that_expects_too_much_is_found() {
        assert!(is_found(Sabotage::GreedyModel));
    }

    #[test]
    fn the_same_seed_lives_the_same_life() {
        for seed in 0..12 {
            assert_eq!(live(seed), live(seed), "seed {seed}");
        }
    }
}
