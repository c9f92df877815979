//! Whole lives of random databases, crashed wherever it can be.
//!
//! `SAPWOOD_SEED=n` lives that one alone, `SAPWOOD_SIM=full` lives four times as much.

use sapwood_sim::life::live;
use sapwood_sim::life::tally::Tally;

/// So many crash states at least, of so many lives as that takes.
fn states() -> u64 {
    if std::env::var("SAPWOOD_SIM").is_ok_and(|sim| sim == "full") { 20_000 } else { 5_000 }
}

/// Told when a life fails: how to live it again.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with");
            eprintln!("    cargo run --release --bin sapwood-sim -- --seeds 1 --from {}", self.0);
        }
    }
}

fn live_one(seed: u64) -> Tally {
    let _replay = Replay(seed);
    live(seed).tally
}

#[test]
fn whatever_happens_in_a_life_what_was_promised_is_there() {
    let only = std::env::var("SAPWOOD_SEED").ok();
    if let Some(seed) = only.map(|seed| seed.parse().expect("SAPWOOD_SEED is a number")) {
        println!("{:#?}", live_one(seed));
        return;
    }
    let mut tally = Tally::default();
    for seed in 0.. {
        tally += live_one(seed);
        if tally.states >= states() {
            break;
        }
    }
    println!("{tally:#?}");
    // What is not met is not proved.
    assert!(tally.depths.iter().all(|states| *states > 50));
    assert!(tally.kills > 100 && tally.power_cuts > 1000 && tally.crashes_lived_through > 10);
    assert!(tally.faults > 10 && tally.lies > 10 && tally.corruptions > 10);
    assert!(tally.emptied > 100 && tally.conflicts > 0 && tally.full_disks > 0);
}
