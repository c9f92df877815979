//! All workloads of up to three operations, crashed after every single operation on the disk.
//!
//! ```text
//! small database, all of it durable -> open -> 0 to 3 of the 12 operations
//!   crash before each operation on the disk that the last of them (or the opening) makes
//!     a kill; every subset of the newest 4 pending changes, the others kept, and lost; torn writes
//!       -> reopen, read everything in every way, compare with the model, verify
//! ```
//!
//! A quick run takes all workloads of up to two operations, and every so many of three;
//! `SAPWOOD_SIM=full` takes all 1 884.

use sapwood::{Durability, Result};

use crate::sim::disk::{Cut, NEWEST, Others, SimDisk};
use crate::sim::machine::{Machine, Wreck};
use crate::sim::model::{Change, What};
use crate::sim::replay::is_full;
use crate::sim::workload::{Action, Shape, TREES};

/// What a workload is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letter {
    Put,
    Remove,
    Merge,
    RemoveRange,
    SyncedBatch,
    Transaction,
    Ingest,
    Checkpoint,
    Drain,
    Snapshot,
    Reopen,
    Replant,
}

const ALPHABET: [Letter; 12] = [
    Letter::Put,
    Letter::Remove,
    Letter::Merge,
    Letter::RemoveRange,
    Letter::SyncedBatch,
    Letter::Transaction,
    Letter::Ingest,
    Letter::Checkpoint,
    Letter::Drain,
    Letter::Snapshot,
    Letter::Reopen,
    Letter::Replant,
];

/// Of the workloads of three letters a quick run takes every so many; no divisor of the alphabet.
const EVERY: usize = 61;

/// The torn variants of each crash.
const TORN: u64 = 3;

const OAK: &str = TREES[0];
const ASH: &str = TREES[1];

fn shape() -> Shape {
    Shape { cache_bytes: 64 << 10, checkpoint_bytes: 1 << 20, ..Shape::small() }
}

/// Two trees with some rows in leaves and some in the log, all of it durable.
fn start() -> Wreck {
    let disk = SimDisk::new(1);
    let mut machine = Machine::boot(&disk, shape()).unwrap();
    let rows = |tree| (0..6).map(move |number| Change::put(tree, format!("{number}"), "old"));
    let put = Action::Batch(rows(OAK).chain(rows(ASH)).collect(), Durability::Buffered);
    let late = Action::Batch(vec![Change::put(OAK, "7", "late")], Durability::Synced);
    let actions = [Action::Create(OAK), Action::Create(ASH), put, Action::Checkpoint, late];
    machine.play_all(&actions).unwrap();
    machine.end().power_cut(Cut::KeepAll)
}

/// Plays the letter at `place` of its workload, from which its values have their names.
fn play(machine: &mut Machine, letter: Letter, place: usize) -> Result<()> {
    let put = |tree, key: &str| Change::put(tree, key, format!("value {place}"));
    let single = |key: &str, what| Action::Single(Change { what, ..put(OAK, key) });
    match letter {
        Letter::Put => machine.play(&Action::Single(put(OAK, "3"))),
        Letter::Remove => machine.play(&single("3", What::Remove)),
        Letter::Merge => machine.play(&single("3", What::Merge(format!("+{place}").into_bytes()))),
        Letter::RemoveRange => machine.play(&single("2", What::RemoveRange(Some(b"5".to_vec())))),
        Letter::SyncedBatch => {
            let both = vec![put(OAK, "3"), put(ASH, "3")];
            machine.play(&Action::Batch(both, Durability::Synced))
        }
        Letter::Transaction => {
            let merge = Change { what: What::Merge(b"tx".to_vec()), ..put(OAK, "4") };
            let both = vec![put(OAK, "2"), put(ASH, "2"), merge];
            machine.play(&Action::Transaction(both, Durability::Buffered))
        }
        Letter::Ingest => {
            let value = format!("value {place}");
            machine.ingest(OAK, &[("3", &value), ("33", &value), ("5", &value)])
        }
        Letter::Checkpoint => machine.play(&Action::Checkpoint),
        Letter::Drain => machine.play_all(&[Action::Drain, Action::Maintain(100)]),
        Letter::Snapshot => snapshot(machine, place),
        Letter::Reopen => machine.play(&Action::Reopen),
        Letter::Replant => machine.play_all(&[Action::Drop(ASH), Action::Create(ASH)]),
    }
}

/// A snapshot that is held while its rows are overwritten and moved, and dropped.
fn snapshot(machine: &mut Machine, place: usize) -> Result<()> {
    let tree = machine.db().tree(OAK)?;
    let held = machine.db().snapshot();
    let before = tree.at(&held).get("3")?;
    let over = Change::put(OAK, "3", format!("over the snapshot {place}"));
    machine.play_all(&[Action::Single(over), Action::Drain])?;
    assert_eq!(tree.at(&held).get("3")?, before);
    drop(held);
    machine.play(&Action::Drain)
}

/// What a workload leaves when the disk crashes before `operation`, counted from the opening;
/// `u64::MAX` for never.
fn wreck(start: &Wreck, letters: &[Letter], operation: u64) -> Wreck {
    let start = start.kill();
    start.disk.crash_at(operation);
    let Ok(mut machine) = start.recover_with(|config| config) else {
        assert!(start.disk.is_crashed(), "a sound disk does not open");
        return start;
    };
    for (place, letter) in letters.iter().enumerate() {
        if let Err(error) = play(&mut machine, *letter, place) {
            assert!(start.disk.is_crashed(), "{letter:?} fails on a sound disk: {error}");
            break;
        }
    }
    machine.end()
}

fn operations(start: &Wreck, letters: &[Letter]) -> u64 {
    wreck(start, letters, u64::MAX).disk.operations()
}

/// Every power cut with these pending changes that is told apart here.
fn cuts(pending: usize, operation: u64) -> Vec<Cut> {
    let told_apart = pending.min(NEWEST);
    let others = if pending > NEWEST { &[Others::Kept, Others::Lost][..] } else { &[Others::Kept] };
    let subsets = others
        .iter()
        .flat_map(|others| (0..1 << told_apart).map(|kept| Cut::Newest { kept, others: *others }));
    let torn =
        (0..if pending > 0 { TORN } else { 0 }).map(|seed| Cut::Random(operation * TORN + seed));
    subsets.chain(torn).collect()
}

/// Crashes everywhere in the last letter of a workload; what comes before is another workload's.
fn crash_in_last(start: &Wreck, letters: &[Letter]) -> usize {
    let before = match letters {
        [] => 0,
        [before @ .., _] => operations(start, before),
    };
    let mut states = 0;
    for operation in before..=operations(start, letters) {
        let wreck = wreck(start, letters, operation);
        let trail = Trail { letters, operation };
        trail.judge(&wreck, None);
        let cuts = cuts(wreck.disk.pending(), operation);
        states += 1 + cuts.len();
        for cut in cuts {
            trail.judge(&wreck, Some(cut));
        }
    }
    states
}

/// Where a run is.
struct Trail<'a> {
    letters: &'a [Letter],
    operation: u64,
}

impl Trail<'_> {
    fn judge(&self, wreck: &Wreck, cut: Option<Cut>) {
        let _told = Told(self, cut);
        cut.map_or_else(|| wreck.kill(), |cut| wreck.power_cut(cut)).recover().end();
    }
}

/// Tells where it was when a state is refused; there is no seed: the run is the same each time.
struct Told<'a>(&'a Trail<'a>, Option<Cut>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Told(Trail { letters, operation }, cut) = self;
            eprintln!("{letters:?}, crashed at operation {operation}, {cut:?}");
        }
    }
}

#[test]
fn every_workload_of_three_operations_survives_a_crash_after_every_write() {
    let start = start();
    let (mut states, mut workloads) = (crash_in_last(&start, &[]), 1);
    let mut run = |letters: &[Letter]| {
        states += crash_in_last(&start, letters);
        workloads += 1;
    };
    for (one, first) in ALPHABET.into_iter().enumerate() {
        run(&[first]);
        for (two, second) in ALPHABET.into_iter().enumerate() {
            run(&[first, second]);
            for (three, third) in ALPHABET.into_iter().enumerate() {
                let number = (one * ALPHABET.len() + two) * ALPHABET.len() + three;
                if is_full() || number.is_multiple_of(EVERY) {
                    run(&[first, second, third]);
                }
            }
        }
    }
    println!("{workloads} workloads, {states} crash states");
}
