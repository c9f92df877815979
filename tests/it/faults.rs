//! Errors of the disk: a failed call at every place, a disk that is full, reads that fail.
//!
//! Whatever fails: nothing panics, nothing acknowledged is lost, reads go on, and a full disk is
//! no more than a pause.

use std::io::ErrorKind;

use sapwood::{Durability, Error, Result};

use crate::sim::disk::{Cut, Repeat, SimDisk};
use crate::sim::machine::{Machine, Wreck, open, read_all};
use crate::sim::model::{Change, Crash};
use crate::sim::replay::{Trail, seeds};
use crate::sim::workload::{Action, Shape, TREES, actions};

/// The actions of a seed, without closing in between: a close that fails ends the process.
fn session(seed: u64, shape: &Shape) -> Vec<Action> {
    let is_plain = |action: &Action| !matches!(action, Action::Reopen);
    actions(seed, shape).into_iter().filter(is_plain).collect()
}

/// Plays everything, whatever fails; `judge` sees each error.
fn play_through(machine: &mut Machine, actions: &[Action], judge: &mut dyn FnMut(&Error)) {
    for action in actions {
        if let Err(error) = machine.play(action) {
            judge(&error);
            let looked = machine.look();
            looked.unwrap_or_else(|error| panic!("reading ends with a failed write: {error}"));
        }
    }
}

/// How many operations and reads a session has, closing included.
fn extent(seed: u64, shape: Shape, actions: &[Action]) -> (u64, u64) {
    let disk = SimDisk::new(seed);
    let mut machine = Machine::boot(&disk, shape).unwrap();
    machine.play_all(actions).unwrap();
    let (closed, wreck) = machine.close();
    closed.unwrap();
    (wreck.disk.operations(), wreck.disk.reads())
}

/// Runs a session on a disk with a fault, to its end; returns what it leaves and its errors.
fn run(disk: &SimDisk, shape: Shape, actions: &[Action]) -> (Wreck, Vec<Error>) {
    let mut errors = Vec::new();
    let mut machine = match Machine::boot(disk, shape) {
        Ok(machine) => machine,
        Err(error) => return (Wreck::unborn(disk, shape), vec![error]),
    };
    play_through(&mut machine, actions, &mut |error| errors.push(error.clone()));
    let (closed, wreck) = machine.close();
    errors.extend(closed.err());
    (wreck, errors)
}

#[test]
fn an_error_at_any_operation_loses_nothing() {
    const TEST: &str = "faults::an_error_at_any_operation_loses_nothing";
    for seed in seeds(3) {
        let shape = Shape::small();
        let actions = session(seed, &shape);
        let (operations, _) = extent(seed, shape, &actions);
        let mut trail = Trail::new(TEST, seed);
        for operation in 0..operations {
            for repeat in [Repeat::Once, Repeat::Forever] {
                trail.operations = vec![operation];
                let disk = SimDisk::new(seed);
                disk.fail_at(operation, ErrorKind::Other, repeat);
                let (wreck, errors) = run(&disk, shape, &actions);
                let is_born = wreck.model.has_commits();
                // Whoever cannot copy into the log's tail writes to its file.
                let is_done_without = repeat == Repeat::Once && disk.mapped_faults() > 0;
                assert!(!errors.is_empty() || is_done_without, "nobody was told of a failure");
                for error in errors {
                    assert!(!error.is_retryable() && !error.is_corruption(), "{error}");
                }
                // What no process has ever opened, and could neither sync nor remove, may be lost.
                if is_born {
                    wreck.kill().check_and_cut();
                } else {
                    wreck.kill().check();
                }
                for cut in [Cut::LoseAll, Cut::KeepAll, Cut::Random(operation)] {
                    trail.cut = Some(cut);
                    wreck.power_cut(cut).check();
                }
                trail.cut = None;
            }
        }
    }
}

#[test]
fn a_full_disk_at_any_operation_is_only_a_pause() {
    const TEST: &str = "faults::a_full_disk_at_any_operation_is_only_a_pause";
    for seed in seeds(3) {
        let shape = Shape::small();
        let actions = session(seed, &shape);
        let (operations, _) = extent(seed, shape, &actions);
        let mut trail = Trail::new(TEST, seed);
        for operation in 0..operations {
            trail.operations = vec![operation];
            let disk = SimDisk::new(seed);
            disk.fail_at(operation, ErrorKind::StorageFull, Repeat::Once);
            let (wreck, errors) = run(&disk, shape, &actions);
            for error in errors {
                assert!(is_pause(&error), "{error}");
            }
            wreck.kill().check_and_cut();
            wreck.power_cut(Cut::LoseAll).check();
        }
    }
}

/// Nothing was half done, so nobody has to reopen anything, whenever the disk was full and for how
/// long.
#[test]
fn a_disk_that_is_full_for_a_while_is_only_a_pause() {
    const TEST: &str = "faults::a_disk_that_is_full_for_a_while_is_only_a_pause";
    let mut refusals = 0;
    for seed in seeds(3) {
        let shape = Shape { actions: 60, ..Shape::small() };
        let actions = session(seed, &shape);
        let mut trail = Trail::new(TEST, seed);
        for full_from in 0..actions.len() {
            trail.operations = vec![full_from as u64];
            let disk = SimDisk::new(seed);
            let mut machine = Machine::boot(&disk, shape).unwrap();
            machine.play_all(&actions[..full_from]).unwrap();
            let _full = disk.clone().with_capacity(1);
            let until = actions.len().min(full_from + 6);
            play_through(&mut machine, &actions[full_from..until], &mut |error| {
                assert!(error.is_retryable() && !error.is_fatal(), "{error}");
                assert!(error.to_string().starts_with("the disk is full: "), "{error}");
                refusals += 1;
            });
            let wreck = Wreck::of(&machine).kill();
            enlarge(&wreck.disk);
            wreck.check();
            go_on(machine, &actions[until..]);
        }
    }
    assert!(refusals > 0);
}

/// A sync cannot meet a full disk with space reserved; a simulated one does, and is then any error.
fn is_pause(error: &Error) -> bool {
    error.is_retryable() || error.is_fatal()
}

#[test]
fn a_disk_of_any_size_keeps_what_it_took() {
    const TEST: &str = "faults::a_disk_of_any_size_keeps_what_it_took";
    for seed in seeds(4) {
        let shape = Shape { actions: 120, ..Shape::small() };
        let actions = session(seed, &shape);
        let mut trail = Trail::new(TEST, seed);
        for pages in 2..60 {
            trail.operations = vec![pages];
            fill(seed, shape, &actions, pages * 4096);
        }
    }
}

/// Plays on a disk of so many bytes; then there is more space, and everything works again.
fn fill(seed: u64, shape: Shape, actions: &[Action], bytes: u64) {
    let disk = SimDisk::new(seed).with_capacity(bytes);
    let mut machine = match Machine::boot(&disk, shape) {
        Ok(machine) => machine,
        Err(error) => {
            assert!(error.is_retryable(), "{error}");
            enlarge(&disk);
            return Wreck::unborn(&disk, shape).kill().check();
        }
    };
    // Without space for its log a database opens to be read, and no more until it is reopened.
    let writable = machine.play(&actions[0]).is_ok();
    play_through(&mut machine, &actions[1..], &mut |error| {
        assert!(error.is_retryable() || !writable && error.is_fatal(), "{error}");
    });
    reopen_full(&Wreck::of(&machine).kill());
    for wreck in [Wreck::of(&machine).kill(), Wreck::of(&machine).power_cut(Cut::LoseAll)] {
        enlarge(&wreck.disk);
        wreck.check();
    }
    if writable {
        go_on(machine, &actions[actions.len() / 2..]);
    }
}

/// There is space again, and nobody has to reopen anything.
fn go_on(mut machine: Machine, actions: &[Action]) {
    enlarge(&machine.disk);
    play_through(&mut machine, actions, &mut |error| panic!("there is space again, but: {error}"));
    let (closed, wreck) = machine.close();
    closed.unwrap();
    wreck.kill().check();
}

/// There is space again.
fn enlarge(disk: &SimDisk) {
    let _the_same = disk.clone().with_capacity(1 << 30);
}

/// Opening on the full disk shows what was acknowledged, or says that the disk is full.
fn reopen_full(wreck: &Wreck) {
    match open(&wreck.disk, &wreck.shape) {
        Ok(db) => {
            let found = read_all(&db).unwrap();
            wreck.model.explain(&found, Crash::Kill).unwrap();
            db.abandon();
        }
        Err(error) => assert!(error.is_retryable(), "{error}"),
    }
}

#[test]
fn a_failed_read_is_an_error_and_nothing_else() {
    const TEST: &str = "faults::a_failed_read_is_an_error_and_nothing_else";
    for seed in seeds(3) {
        let shape = Shape::small();
        let mut actions = session(seed, &shape);
        let scans = (0..6).map(|_| Action::Scan);
        actions.extend([Action::Checkpoint].into_iter().chain(scans));
        let (_, reads) = extent(seed, shape, &actions);
        let mut trail = Trail::new(TEST, seed);
        for read in 0..reads {
            trail.operations = vec![read];
            let disk = SimDisk::new(seed);
            disk.fail_reads_at(read, ErrorKind::Other);
            let (wreck, errors) = run(&disk, shape, &actions);
            assert!(errors.iter().all(|error| !error.is_retryable() && !error.is_corruption()));
            wreck.kill().check();
        }
    }
}

/// One row into the first tree.
fn put(machine: &mut Machine, key: &str, durability: Durability) -> Result<()> {
    machine.play(&Action::Batch(vec![Change::put(TREES[0], key, key)], durability))
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on() {
    let shape = Shape::small();
    let disk = SimDisk::new(1);
    let mut machine = Machine::boot(&disk, shape).unwrap();
    machine.play(&Action::Create(TREES[0])).unwrap();
    put(&mut machine, "durable", Durability::Synced).unwrap();
    put(&mut machine, "handed over", Durability::Buffered).unwrap();
    // The write out of the log's tail goes well, the sync behind it does not.
    disk.fail_at(disk.operations() + 1, ErrorKind::Other, Repeat::Once);
    let error = machine.play(&Action::Sync).unwrap_err();
    assert!(error.is_fatal(), "{error}");
    // A second sync would succeed, and lie.
    for action in [Action::Sync, Action::Checkpoint] {
        let error = machine.play(&action).unwrap_err();
        let says = "the database takes no more writes since an earlier failure (syncing ";
        assert!(error.is_fatal() && error.to_string().starts_with(says), "{error}");
        assert!(error.to_string().ends_with("; reopen it"), "{error}");
    }
    for durability in [Durability::Buffered, Durability::Synced, Durability::NoWal] {
        assert!(put(&mut machine, "too late", durability).unwrap_err().is_fatal());
    }
    machine.look().unwrap();
    let wreck = machine.end();
    wreck.power_cut(Cut::LoseAll).check();
    wreck.power_cut(Cut::KeepAll).check();
    wreck.kill().check_and_cut();
}

#[test]
fn a_commit_whose_sync_failed_is_indeterminate() {
    let shape = Shape::small();
    let disk = SimDisk::new(1);
    let mut machine = Machine::boot(&disk, shape).unwrap();
    machine.play(&Action::Create(TREES[0])).unwrap();
    put(&mut machine, "first", Durability::Synced).unwrap();
    // The write goes well, the sync behind it does not.
    disk.fail_at(disk.operations() + 1, ErrorKind::Other, Repeat::Forever);
    let error = put(&mut machine, "second", Durability::Synced).unwrap_err();
    assert!(error.is_indeterminate() && error.is_fatal(), "{error}");
    machine.look().unwrap();
    let wreck = machine.end();
    wreck.power_cut(Cut::LoseAll).check();
    wreck.kill().check_and_cut();
}
