//! Crashes: at every operation of small workloads, at random ones of larger, inside recovery, and
//! inside the recovery of that.
//!
//! Each state is opened, read whole in both directions, judged by the model, verified, written to,
//! closed and read once more.

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
        Some(Cut::Random(3 * seed)),
        Some(Cut::Random(3 * seed + 1)),
        Some(Cut::Random(3 * seed + 2)),
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
    let seeds = seeds(6);
    let states: u64 = seeds.iter().map(|seed| crash_everywhere(TEST, *seed, Shape::small())).sum();
    println!("{states} crash states");
}

#[test]
fn random_operations_of_large_workloads_can_be_the_last() {
    const TEST: &str = "crash::random_operations_of_large_workloads_can_be_the_last";
    for seed in seeds(6) {
        let shape = Shape::large();
        let actions = actions(seed, &shape);
        let total = operations(seed, shape, &actions);
        let mut random = Random::new(seed);
        let mut trail = Trail::new(TEST, seed);
        for _ in 0..8 {
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
