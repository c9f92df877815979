//! Everything that can happen x every step point x every shape of tree.
//!
//! ```text
//! for each intervention, for each shape:
//!   play the script; at each point's first arrivals: intervene
//!     the database died (crash, failed disk, panic):  judge what is left, recover, go on
//!     it lives:                                       it must hold what it held, and be sound
//!   again until each point was struck as often as wanted; one that is never reached fails
//! ```
//!
//! Recoveries are struck as well. `SAPWOOD_SIM=full` strikes each point three times instead of
//! once.

mod script;
mod strike;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use sapwood::{Config, Error, Result, StepPoint};

use self::script::{SHAPES, Shape};
use self::strike::{Blows, Intervention, Seen, Striker, another};
use crate::sim::disk::{Cut, SimDisk};
use crate::sim::machine::{Machine, Wreck, read_all};
use crate::sim::model::{Change, Crash};
use crate::sim::replay::is_full;
use crate::sim::workload::{Action, TREES};

/// The power cuts after a crash at a point: everything, what was synced, the later half of what was
/// not, and torn writes.
const CUTS: [Cut; 5] =
    [Cut::KeepAll, Cut::LoseAll, Cut::KeepLastLoseFirst, Cut::Random(1), Cut::Random(2)];

/// A script is played again for points that are not struck yet, but not more often than this.
const PASSES_MOST: usize = 40;

/// A database that lives through the script while its points are struck.
struct Life {
    shape: Shape,
    striker: Striker,
    machine: Option<Machine>,
    /// The operation whose failure is still to come.
    ahead: Option<u64>,
    /// Whether something has struck this opening that may end all its writing.
    is_struck: bool,
    written: u64,
    seen: Vec<Seen>,
    states: usize,
}

impl Life {
    fn begin(shape: Shape, striker: &Striker) -> Life {
        let mut life = Life {
            shape,
            striker: striker.clone(),
            machine: None,
            ahead: None,
            is_struck: false,
            written: striker.disarm().written,
            seen: Vec::new(),
            states: 0,
        };
        life.open(Wreck::unborn(&SimDisk::new(3), shape.sizes()));
        life
    }

    fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("it is open between actions")
    }

    fn intervention(&self) -> Intervention {
        self.striker.intervention
    }

    // ----- dying and rising ----------------------------------------------------------------------

    /// Opens what is left, striking the recovery too, until it is open.
    fn open(&mut self, mut wreck: Wreck) {
        loop {
            wreck = wreck.kill();
            self.is_struck = false;
            self.striker.arm(None);
            let hook = self.striker.hook(&wreck.disk);
            let configure = |config: Config| config.idle_share(50).on_step(hook);
            let opened = catch_unwind(AssertUnwindSafe(|| wreck.recover_with(configure)));
            let blows = self.striker.disarm();
            self.note(&blows, &wreck.disk);
            for (point, disk) in blows.wrecks {
                let left = wreck.on(disk);
                self.judge(&left, &format!("a crash at {point:?} in a recovery"));
            }
            match opened {
                Ok(Ok(machine)) => {
                    self.machine = Some(machine);
                    return;
                }
                Ok(Err(error)) if blows.points.is_empty() && !self.is_struck => {
                    panic!("the database does not open: {error}");
                }
                Err(panic) if self.intervention() != Intervention::Panic => resume_unwind(panic),
                Ok(Err(_)) | Err(_) => {
                    let told =
                        format!("{:?} at {:?} in a recovery", self.intervention(), blows.points);
                    self.judge(&wreck, &told);
                }
            }
        }
    }

    /// Notes what has been done to an opening on `disk`.
    fn note(&mut self, blows: &Blows, disk: &SimDisk) {
        self.is_struck |= !blows.points.is_empty();
        if matches!(self.intervention(), Intervention::Fail(_)) && !blows.points.is_empty() {
            self.ahead = Some(disk.operations());
        }
    }

    /// What is left opens after a kill and after each power cut, as promised.
    fn judge(&mut self, left: &Wreck, told: &str) {
        println!("{}: {told}", self.shape.name);
        left.kill().check();
        CUTS.iter().for_each(|cut| left.power_cut(*cut).check());
        self.states += 1 + CUTS.len();
    }

    /// The process ends here, and another one finds what it has left.
    fn die(&mut self, told: &str) {
        self.seen.clear();
        let wreck = self.machine.take().expect("it was alive").end();
        self.judge(&wreck, told);
        self.open(wreck);
    }

    // ----- living --------------------------------------------------------------------------------

    fn play(&mut self, action: &Action) {
        if let Action::Reopen = action {
            return self.reopen();
        }
        let before = Wreck::of(self.machine());
        let disk = before.disk.clone();
        // Who compares two scans wants nobody to write between them.
        let is_alone = self.intervention() == Intervention::Write && matches!(action, Action::Scan);
        // A failure that has not come yet is waited for.
        if !is_alone && self.ahead.is_none_or(|ahead| disk.operations() > ahead) {
            self.ahead = None;
            let db = self.machine().db().clone();
            self.striker.arm(Some(&db));
        }
        let machine = self.machine.as_mut().expect("it is open");
        let played = catch_unwind(AssertUnwindSafe(|| machine.play(action)));
        let blows = self.striker.disarm();
        self.note(&blows, &disk);
        match played {
            Ok(played) => self.go_on(action, played, blows, &before),
            Err(panic) if self.intervention() != Intervention::Panic => resume_unwind(panic),
            Err(_) => self.after_panic(action, &blows.points, &before),
        }
    }

    fn go_on(&mut self, action: &Action, played: Result<()>, blows: Blows, before: &Wreck) {
        let told = format!("{:?} at {:?} in {action:.60?}", self.intervention(), blows.points);
        match self.intervention() {
            Intervention::Crash => {
                played.unwrap();
                for (point, disk) in blows.wrecks {
                    let left = before.during(action, disk);
                    self.judge(&left, &format!("a crash at {point:?} in {action:.60?}"));
                }
            }
            Intervention::Fail(_) | Intervention::PutOff | Intervention::Panic => {
                if let Err(error) = played {
                    self.after_error(action, &error, &told);
                } else if !blows.points.is_empty() {
                    self.look();
                }
            }
            Intervention::Checkpoint
            | Intervention::Write
            | Intervention::TakeSnapshot
            | Intervention::ReleaseSnapshot => {
                played.unwrap();
                self.after_another(blows, &told);
            }
        }
    }

    fn look(&mut self) {
        self.machine().look().unwrap();
    }

    /// A full disk, or work that was put off, is only a pause; any other failure ends all writing.
    fn after_error(&mut self, action: &Action, error: &Error, told: &str) {
        assert!(self.is_struck, "{action:.60?} fails: {error}");
        self.look();
        if error.is_retryable() {
            assert_ne!(
                self.intervention(),
                Intervention::Fail(ErrorKind::Other),
                "{told}: {error}"
            );
            let again = self.machine().play(action);
            again.unwrap_or_else(|error| panic!("{told}, and not a second time: {error}"));
            self.look();
            self.machine().db().verify().unwrap();
            return;
        }
        assert!(error.is_fatal(), "{told}: {error}");
        assert_ne!(self.intervention(), Intervention::PutOff, "{told}: {error}");
        self.die(told);
        self.create_again(action);
    }

    /// Only what reads can panic without ending all writing.
    fn after_panic(&mut self, action: &Action, points: &[StepPoint], before: &Wreck) {
        let [point] = points else { panic!("{action:.60?} panics by itself, {points:?}") };
        let left = before.during(action, before.disk.clone());
        let found = read_all(self.machine().db()).unwrap();
        left.model.explain(&found, Crash::Kill).unwrap();
        match self.machine().db().checkpoint() {
            Ok(()) => assert!(is_for_readers(*point), "{point:?} is passed over"),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    error.is_fatal() && text.contains(&format!("panicked: at {point:?}")),
                    "{text}"
                );
            }
        }
        self.seen.clear();
        drop(self.machine.take().map(Machine::end));
        self.judge(&left, &format!("a panic at {point:?} in {action:.60?}"));
        self.open(left);
        self.create_again(action);
    }

    /// Somebody else has done something meanwhile.
    fn after_another(&mut self, blows: Blows, told: &str) {
        for number in self.written..blows.written {
            let change = Change::put(TREES[1], another(number), another(number));
            self.machine().note_another(change);
        }
        self.written = blows.written;
        if blows.points.is_empty() {
            return;
        }
        // Which of both commits came first is not known; now both are durable.
        self.machine().play(&Action::Sync).unwrap();
        self.seen.extend(blows.seen);
        self.seen.iter().for_each(Seen::check);
        if self.seen.len() > 4 {
            self.seen.remove(0);
        }
        self.look();
        self.machine().db().verify().unwrap();
        let now = Wreck::of(self.machine());
        println!("{}: {told}", self.shape.name);
        now.kill().check();
        now.power_cut(Cut::LoseAll).check();
        self.states += 2;
    }

    /// Later actions write to a tree whose creation was cut off.
    fn create_again(&mut self, action: &Action) {
        if matches!(action, Action::Create(_)) {
            self.play(action);
        }
    }

    /// Closes it, with the points struck, and opens it.
    fn reopen(&mut self) {
        self.seen.clear();
        let machine = self.machine.take().expect("it is open");
        if self.is_struck && self.intervention() != Intervention::Crash {
            // It may take no more writes.
            return self.open(machine.end());
        }
        let (closed, wreck) = machine.close();
        closed.unwrap_or_else(|error| panic!("it does not close: {error}"));
        self.open(wreck);
    }

    /// A process that is killed, and the recovery of what it leaves.
    fn be_killed(&mut self, round: usize) {
        let row = Change::put(TREES[2], format!("killed {round}"), "");
        self.play(&Action::Single(row));
        self.seen.clear();
        let wreck = self.machine.take().expect("it is open").end();
        self.open(wreck);
    }
}

/// Where users come by while they only read.
fn is_for_readers(point: StepPoint) -> bool {
    use StepPoint::*;
    matches!(point, PageEvicted | NodeEvicted | ReaderReleased)
}

/// Strikes all points in a tree of this shape; returns how often, and how many states were judged.
fn strike_all(intervention: Intervention, shape: Shape) -> (usize, usize) {
    let striker = Striker::new(intervention, if is_full() { 3 } else { 1 });
    let mut states = 0;
    for _ in 0..PASSES_MOST {
        let mut life = Life::begin(shape, &striker);
        shape.actions().iter().for_each(|action| life.play(action));
        (0..8).for_each(|round| life.be_killed(round));
        life.die("the end");
        states += life.states;
        if striker.missing().is_empty() {
            break;
        }
    }
    let missing = striker.missing();
    assert!(missing.is_empty(), "{}: never reached: {missing:?}", shape.name);
    (striker.times(), states)
}

fn strike_every_shape(intervention: Intervention) {
    for shape in SHAPES {
        let (times, states) = strike_all(intervention, shape);
        println!("{intervention:?}, {}: {times} strikes, {states} states", shape.name);
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_promised() {
    strike_every_shape(Intervention::Crash);
}

#[test]
fn a_disk_that_fails_at_any_point_loses_nothing() {
    strike_every_shape(Intervention::Fail(ErrorKind::Other));
}

#[test]
fn a_disk_that_is_full_at_any_point_is_only_a_pause() {
    strike_every_shape(Intervention::Fail(ErrorKind::StorageFull));
}

#[test]
fn work_that_is_broken_off_at_any_point_can_be_done_later() {
    strike_every_shape(Intervention::PutOff);
}

#[test]
fn a_panic_at_any_point_loses_nothing() {
    strike_every_shape(Intervention::Panic);
}

#[test]
fn a_checkpoint_at_any_point_holds_a_whole_state() {
    strike_every_shape(Intervention::Checkpoint);
}

#[test]
fn another_writer_at_any_point_loses_nothing() {
    strike_every_shape(Intervention::Write);
}

#[test]
fn a_snapshot_taken_at_any_point_stays_as_it_is() {
    strike_every_shape(Intervention::TakeSnapshot);
}

#[test]
fn a_snapshot_released_at_any_point_takes_nothing_along() {
    strike_every_shape(Intervention::ReleaseSnapshot);
}
