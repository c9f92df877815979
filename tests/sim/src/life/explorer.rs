//! From one moment of a life to all that may be found after a crash there.
//!
//! ```text
//! photograph -> kill or power cut -> open -> judge, verify -> write, check, empty
//!                                      `-> photographs of the recovery -> the same, to depth 3
//! ```
//!
//! A disk like one that was opened before is judged by what was found then: what was promised since
//! may be more.

use std::collections::HashMap;
use std::sync::Arc;

use sapwood::{Database, Error};

use super::history::History;
use super::reading::{self, Way, all_trees};
use super::setting::{Nature, Setting};
use super::tally::Tally;
use super::world::World;
use crate::disk::{Cut, SimDisk};
use crate::model::Crash;
use crate::random::Random;

/// Recoveries are cut off up to this many times in a row, less one.
const DEPTH: usize = 3;

/// A disk as it is while a process runs, and what may be found on it when that ends.
#[derive(Clone)]
pub struct Scene {
    pub disk: SimDisk,
    pub history: History,
    /// The worst that has happened on the way.
    pub crash: Crash,
    pub depth: usize,
}

/// Opens what crashes leave.
pub struct Explorer {
    pub setting: Setting,
    pub tally: Tally,
    random: Random,
    /// Whether each step is told.
    is_told: bool,
    /// What was found on each disk; `None` for damage.
    seen: HashMap<u64, Option<u64>>,
}

/// Whether there is no database yet, which a reader does not make.
fn is_missing(error: &Error) -> bool {
    error.kind_name() == "NoDatabase"
}

/// Told when a panic passes by: where it was.
struct Place(String);

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("    {}", self.0);
        }
    }
}

impl Explorer {
    pub fn new(setting: Setting, random: Random) -> Explorer {
        let is_told = std::env::var_os("SAPWOOD_TELL").is_some();
        Explorer { setting, tally: Tally::default(), random, is_told, seen: HashMap::new() }
    }

    /// Tells what happens, when that is wanted.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{}", what());
        }
    }

    fn is_lied_to(&self) -> bool {
        self.setting.nature == Nature::Lying
    }

    /// Lets a scene end in some ways, and looks at each.
    pub fn explore(&mut self, scene: &Scene) {
        let ways = if scene.depth == 1 { 3 } else { 2 };
        for _ in 0..ways {
            let cut = self.cut(&scene.disk);
            self.crash(scene, cut);
        }
    }

    /// How the next process ends; `None` for a kill.
    pub fn cut(&mut self, disk: &SimDisk) -> Option<Cut> {
        let pending = disk.pending();
        match self.random.below(12) {
            0 | 1 => None,
            2 | 3 => Some(Cut::LoseAll),
            4 => Some(Cut::KeepAll),
            5 => Some(Cut::KeepLastLoseFirst),
            6 if pending > 0 => Some(Cut::KeepOne(self.random.index(pending))),
            7 if pending > 0 => Some(Cut::LoseOne(self.random.index(pending))),
            _ => Some(Cut::Random(self.random.draw())),
        }
    }

    fn crash(&mut self, scene: &Scene, cut: Option<Cut>) {
        let depth = scene.depth;
        let at = scene.disk.operations();
        let _place = Place(format!("depth {depth}: crash at operation {at}, power cut {cut:?}"));
        let (disk, crash) = match cut {
            None => (scene.disk.kill(), scene.crash),
            Some(cut) => (scene.disk.power_cut(cut), Crash::PowerCut),
        };
        disk.heal();
        let key = disk.content_digest();
        if let Some(found) = self.seen.get(&key) {
            self.tally.repeats += 1;
            let is_legal =
                found.is_none_or(|found| self.judge(&scene.history, found, crash).is_some());
            assert!(is_legal, "what was promised meanwhile is not found, on a disk like before");
            return;
        }
        self.tally.states += 1;
        self.tally.depths[depth - 1] += 1;
        *(if cut.is_some() { &mut self.tally.power_cuts } else { &mut self.tally.kills }) += 1;
        let next = Scene { disk, history: scene.history.clone(), crash, depth: depth + 1 };
        let found = self.open(&next);
        self.seen.insert(key, found);
    }

    /// The world that was found, if it may be.
    fn judge(&self, history: &History, found: u64, crash: Crash) -> Option<Arc<World>> {
        let judged = history.judge(found, crash);
        if judged.is_none() && self.is_lied_to() && history.was_ever(found) {
            return Some(Arc::new(World::default()));
        }
        judged
    }

    /// Opens what a crash has left, looks at everything, and lets some recoveries crash.
    fn open(&mut self, scene: &Scene) -> Option<u64> {
        let is_deeper = scene.depth <= DEPTH && self.random.chance(30);
        if is_deeper {
            scene.disk.photograph(16);
        }
        let seen = if self.random.chance(6) { self.peek(&scene.disk) } else { None };
        let opened = self.setting.open(&scene.disk);
        let photographs = scene.disk.photographs();
        let db = self.pass(opened)?;
        let found = self.look(&db, scene)?;
        assert!(seen.is_none_or(|seen| seen == found), "opened for reading alone it was different");
        let settled = self.judge(&scene.history, found, scene.crash);
        // A power cut has decided what is there; a kill has left everything open.
        let history = match (settled, scene.crash) {
            (Some(world), Crash::PowerCut) if !self.is_lied_to() => {
                History::settled(World::clone(&world))
            }
            _ => scene.history.clone(),
        };
        for disk in photographs.into_iter().take(2) {
            self.explore(&Scene { disk, history: history.clone(), ..*scene });
        }
        if !self.is_lied_to() {
            self.go_on(db, &scene.disk);
        } else {
            db.abandon();
        }
        Some(found)
    }

    /// What is there when it is opened for reading alone, unless the log is too large for that.
    fn peek(&mut self, disk: &SimDisk) -> Option<u64> {
        let operations = disk.operations();
        let opened = self.setting.config(disk).read_only().open();
        if opened.as_ref().is_err_and(|error| error.is_needs_recovery() || is_missing(error)) {
            return None;
        }
        let db = self.pass(opened)?;
        let trees = self.pass(all_trees(&db))?;
        let way = Way::draw(&mut self.random);
        let seen = self.pass(reading::digest(&db, &trees, way))?;
        drop((trees, db));
        assert_eq!(disk.operations(), operations, "a reader has written");
        self.tally.peeks += 1;
        Some(seen)
    }

    /// The value, unless it is damage that may be.
    fn pass<T>(&mut self, outcome: Result<T, Error>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) if self.is_lied_to() && error.is_corruption() => {
                self.tally.corruptions += 1;
                None
            }
            Err(error) => panic!("after a crash: {error}"),
        }
    }

    /// Reads everything, which must be as promised, and verifies it.
    fn look(&mut self, db: &Database, scene: &Scene) -> Option<u64> {
        let trees = self.pass(all_trees(db))?;
        let way = Way::draw(&mut self.random);
        let found = self.pass(reading::digest(db, &trees, way))?;
        self.tally.reads += 1;
        if self.judge(&scene.history, found, scene.crash).is_none() {
            let world = reading::world(db, &trees).expect("it was read before");
            self.tell(|| format!("found: {}", world.told()));
            panic!(
                "after {:?}, read {way:?}: {}",
                scene.crash,
                scene.history.explain(&world, scene.crash)
            );
        }
        let verified = db.verify();
        self.tally.verifications += 1;
        self.pass(verified)?;
        Some(found)
    }

    /// Nothing is wrong any more: it must be possible to write, and now and then to empty it all
    /// and get the space back.
    fn go_on(&mut self, db: Database, disk: &SimDisk) {
        let tree = self.setting.tree(&db, "oak").unwrap();
        tree.insert("after the crash", "it goes on").unwrap();
        if self.random.chance(15) {
            self.empty(db, disk);
            return;
        }
        db.checkpoint().unwrap();
        assert_eq!(tree.get("after the crash").unwrap().as_deref(), Some(&b"it goes on"[..]));
        drop(tree);
        db.abandon();
    }

    fn empty(&mut self, db: Database, disk: &SimDisk) {
        for name in db.tree_names() {
            db.drop_tree(&name).unwrap();
        }
        db.checkpoint().unwrap();
        db.checkpoint().unwrap();
        let report = db.verify().unwrap();
        assert_eq!((report.trees, report.nodes, report.live_bytes), (0, 0, 0), "{report:?}");
        db.close().unwrap();
        let space = disk.space();
        assert!(space <= 64 << 10, "an emptied database takes {space} bytes: {:?}", disk.files());
        let db = self.setting.open(disk).unwrap();
        assert!(db.tree_names().is_empty());
        db.close().unwrap();
        self.tally.emptied += 1;
    }
}
