//! Crashes: at every operation of small workloads, at random ones of larger, inside recovery, and
//! inside the recovery of that.
//!
//! Each state is opened, read whole in both directions, judged by the model, verified, written to,
//! closed and read once more.

use std::sync::Arc;

use sapwood::{Background, Config};
use sapwood_serialize::{Epoch, Storage, WalHeader};

use crate::sim::disk::{Cut, SimDisk};
use crate::sim::machine::{Machine, Wreck};
use crate::sim::random::Random;
use crate::sim::replay::{Trail, seeds};
use crate::sim::workload::{Action, Shape, actions};

/// Plays a workload on a disk that crashes at `operation`.
fn wreck(seed: u64, shape: Shape, actions: &[Action], operation: u64) -> Wreck {
    let disk = SimDisk::new(seed);
    disk.crash_at(operation);
    let Ok(mut machine) = Machine::boot(&disk, shape) else {
        return Wreck::unborn(&disk, shape);
    };
    if let Err(error) = machine.play_all(actions) {
        assert!(disk.is_crashed(), "an action fails on a sound disk: {error}");
    }
    machine.end()
}

/// How many operations a workload has.
fn operations(seed: u64, shape: Shape, actions: &[Action]) -> u64 {
    wreck(seed, shape, actions, u64::MAX).disk.operations()
}

fn cuts(seed: u64) -> [Option<Cut>; 7] {
    [
        None,
        Some(Cut::LoseAll),
        Some(Cut::KeepAll),
        Some(Cut::KeepLastLoseFirst),
        Some(Cut::Random(seed.wrapping_mul(3))),
        Some(Cut::Random(seed.wrapping_mul(3).wrapping_add(1))),
        Some(Cut::Random(seed.wrapping_mul(3).wrapping_add(2))),
    ]
}

fn after(wreck: &Wreck, cut: Option<Cut>) -> Wreck {
    cut.map_or_else(|| wreck.kill(), |cut| wreck.power_cut(cut))
}

/// Crashes a seed's workload at every operation, in each way; returns how many states there were.
fn crash_everywhere(test: &'static str, seed: u64, shape: Shape) -> u64 {
    let actions = actions(seed, &shape);
    let total = operations(seed, shape, &actions);
    let mut trail = Trail::new(test, seed);
    let mut states = 0;
    for operation in 0..=total {
        trail.operations = vec![operation];
        let wreck = wreck(seed, shape, &actions, operation);
        for cut in cuts(seed.wrapping_add(operation << 16)) {
            trail.cut = cut;
            after(&wreck, cut).check();
            states += 1;
        }
    }
    states
}

#[test]
fn every_operation_of_small_workloads_can_be_the_last() {
    const TEST: &str = "crash::every_operation_of_small_workloads_can_be_the_last";
    let seeds = seeds(16);
    let states: u64 = seeds.iter().map(|seed| crash_everywhere(TEST, *seed, Shape::small())).sum();
    println!("{states} crash states");
}

#[test]
fn random_operations_of_large_workloads_can_be_the_last() {
    const TEST: &str = "crash::random_operations_of_large_workloads_can_be_the_last";
    for seed in seeds(8) {
        let shape = Shape::large();
        let actions = actions(seed, &shape);
        let total = operations(seed, shape, &actions);
        let mut random = Random::new(seed);
        let mut trail = Trail::new(TEST, seed);
        for _ in 0..6 {
            let operation = random.below(total);
            trail.operations = vec![operation];
            let wreck = wreck(seed, shape, &actions, operation);
            for cut in cuts(seed.wrapping_add(operation << 16)) {
                trail.cut = cut;
                after(&wreck, cut).check();
            }
        }
    }
}

/// The wreck of a workload that was cut off, and again in the recovery, and perhaps again.
#[test]
fn recovery_can_be_cut_off_at_every_operation() {
    const TEST: &str = "crash::recovery_can_be_cut_off_at_every_operation";
    let mut states = 0;
    for seed in seeds(8) {
        let shape = Shape::small();
        let actions = actions(seed, &shape);
        let total = operations(seed, shape, &actions);
        let mut random = Random::new(seed);
        for _ in 0..2 {
            let operation = random.below(total);
            let wreck = wreck(seed, shape, &actions, operation);
            for first in &cuts(random.draw())[..5] {
                let mut trail = Trail::new(TEST, seed);
                trail.operations = vec![operation];
                states += cut_off_recoveries(&wreck, *first, &mut random, &mut trail);
            }
        }
    }
    println!("{states} crash states");
}

/// Crashes the recovery of a wreck at every operation, and some of those recoveries once more.
fn cut_off_recoveries(
    wreck: &Wreck,
    first: Option<Cut>,
    random: &mut Random,
    trail: &mut Trail,
) -> u64 {
    let mut states = 0;
    let begun = trail.operations.len();
    for operation in 0.. {
        let Some(second) = after(wreck, first).crash_in_recovery(operation) else { break };
        trail.operations.truncate(begun);
        trail.operations.push(operation);
        let cuts = cuts(random.draw());
        let cut = cuts[usize::try_from(random.below(7)).unwrap()];
        trail.cut = cut;
        after(&second, cut).check();
        states += 1;
        let third = after(&second, cut).crash_in_recovery(random.below(operation + 4));
        if let Some(third) = third {
            trail.operations.push(third.disk.operations());
            after(&third, first).check();
            states += 1;
        }
    }
    states
}

#[test]
fn each_pending_change_alone_can_be_kept_or_lost() {
    const TEST: &str = "crash::each_pending_change_alone_can_be_kept_or_lost";
    let mut states = 0;
    for seed in seeds(24) {
        let shape = Shape::small();
        let actions = actions(seed, &shape);
        let total = operations(seed, shape, &actions);
        let mut random = Random::new(seed);
        let mut trail = Trail::new(TEST, seed);
        for _ in 0..4 {
            let operation = random.below(total);
            trail.operations = vec![operation];
            let wreck = wreck(seed, shape, &actions, operation);
            for change in 0..wreck.disk.pending().min(60) {
                for cut in [Cut::KeepOne(change), Cut::LoseOne(change)] {
                    trail.cut = Some(cut);
                    wreck.power_cut(cut).check();
                    states += 1;
                }
            }
        }
    }
    println!("{states} crash states");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    for seed in seeds(6) {
        let shape = Shape::large();
        let actions = actions(seed, &shape);
        let digest = || wreck(seed, shape, &actions, u64::MAX).disk.digest();
        assert_eq!(digest(), digest(), "seed {seed}");
        let recovered = || {
            let wreck = wreck(seed, shape, &actions, 200).power_cut(Cut::Random(seed));
            wreck.recover().end().disk.digest()
        };
        assert_eq!(recovered(), recovered(), "seed {seed}");
    }
}

/// The newest epoch that a log file of the disk names.
fn newest_epoch(disk: &SimDisk) -> Epoch {
    let logs = disk.list().unwrap().into_iter().filter(|name| name != "sapwood.db");
    let headers = logs.map(|name| WalHeader::decode(&disk.read_file(&name).unwrap()));
    headers.filter_map(|header| Some(header.ok()?.epoch)).max().expect("a log with a header")
}

/// By their epoch alone, frames of an opening whose superblock was lost are told from those that
/// the superblock before it knows.
#[test]
fn frames_of_two_openings_do_not_look_alike() {
    let mut disk = SimDisk::new(1);
    let mut before = Epoch::from_raw(0);
    for opening in 0..4 {
        let config = Config::on(Arc::new(disk.clone())).tiny().background(Background::Manual);
        let db = config.open().unwrap();
        db.tree("t").unwrap().insert("key", opening.to_string()).unwrap();
        db.sync().unwrap();
        let epoch = newest_epoch(&disk);
        assert!(epoch > before, "opening {opening} writes frames of {epoch:?} after {before:?}");
        before = epoch;
        if opening % 2 == 0 {
            db.close().unwrap();
        } else {
            disk = disk.power_cut(Cut::LoseAll);
        }
    }
}
