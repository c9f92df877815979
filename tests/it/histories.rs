//! Recorded histories of threads that run transactions side by side, judged by the cycles in them.
//!
//! ```text
//! sim::histories   records and judges
//! handmade         each anomaly by hand, so that the checker is known to see it
//! ```
//!
//! Seeds decide what the threads do and not when: a failure may not come again at once.

mod handmade;

use sapwood::Isolation;

use crate::sim::histories::checker::{Anomaly, forbidden};
use crate::sim::histories::history::{self, History, Outcome, Values};
use crate::sim::histories::workload::{Plan, Writing, record};
use crate::sim::replay::{Trail, seeds};

const LEVELS: [Isolation; 2] = [Isolation::Snapshot, Isolation::Serializable];

/// Records a history a seed and finds nothing in it that its level forbids; returns how many
/// transactions have lost.
fn nothing_is_found(test: &'static str, count: u64, plan: Plan) -> usize {
    let mut lost = 0;
    for seed in seeds(count) {
        let _trail = Trail::new(test, seed);
        let history = record(plan, seed);
        let found = forbidden(&history, plan.isolation);
        assert!(found.is_empty(), "{plan:?}: {found:#?}\n{}", told(&history));
        let has_lost = |one: &&history::Recorded| one.outcome == Outcome::Aborted;
        lost += history.all.iter().filter(has_lost).count();
    }
    lost
}

fn told(history: &History) -> String {
    let lines = history.all.iter().enumerate().map(|(who, one)| format!("{who}: {one:?}\n"));
    lines.collect()
}

#[test]
fn lists_that_are_read_and_written_back_stand_the_check() {
    const TEST: &str = "histories::lists_that_are_read_and_written_back_stand_the_check";
    for isolation in LEVELS {
        let writing = Writing::ReadAppend;
        let plan = Plan { isolation, writing, keys: 6, threads: 4, transactions: 25, ballast: 0 };
        assert!(nothing_is_found(TEST, 100, plan) > 0, "nobody met anybody");
    }
}

#[test]
fn lists_that_are_merged_stand_the_check() {
    const TEST: &str = "histories::lists_that_are_merged_stand_the_check";
    for isolation in LEVELS {
        let writing = Writing::Merge;
        let plan = Plan { isolation, writing, keys: 6, threads: 4, transactions: 25, ballast: 0 };
        assert!(nothing_is_found(TEST, 100, plan) > 0, "nobody met anybody");
    }
}

#[test]
fn registers_and_removed_ranges_stand_the_check() {
    const TEST: &str = "histories::registers_and_removed_ranges_stand_the_check";
    for isolation in LEVELS {
        let writing = Writing::Set;
        let plan = Plan { isolation, writing, keys: 8, threads: 4, transactions: 25, ballast: 0 };
        assert!(nothing_is_found(TEST, 160, plan) > 0, "nobody met anybody");
    }
}

/// Longer ones by more threads, in which what is checked has long left the memtables. On a busy
/// machine a few histories of one kind may pass without a meeting; all of them do not.
#[test]
fn long_histories_stand_the_check() {
    const TEST: &str = "histories::long_histories_stand_the_check";
    let mut lost = 0;
    for isolation in LEVELS {
        for writing in [Writing::ReadAppend, Writing::Merge, Writing::Set] {
            let plan =
                Plan { isolation, writing, keys: 12, threads: 6, transactions: 80, ballast: 0 };
            lost += nothing_is_found(TEST, 3, plan);
        }
    }
    assert!(lost > 0, "nobody met anybody");
}

/// With footprints so large that every commit is searched for, and watched meanwhile.
#[test]
fn histories_of_large_transactions_stand_the_check() {
    const TEST: &str = "histories::histories_of_large_transactions_stand_the_check";
    let mut lost = 0;
    for isolation in LEVELS {
        for writing in [Writing::ReadAppend, Writing::Set] {
            let plan =
                Plan { isolation, writing, keys: 4, threads: 4, transactions: 25, ballast: 520 };
            lost += nothing_is_found(TEST, 3, plan);
        }
    }
    assert!(lost > 0, "nobody met anybody");
}

fn skews(isolation: Isolation, seed: u64) -> History {
    let writing = Writing::Skew;
    record(Plan { isolation, writing, keys: 3, threads: 4, transactions: 25, ballast: 0 }, seed)
}

/// The check is not blind: what snapshot isolation lets happen does happen, and is seen.
#[test]
fn write_skew_is_found_under_snapshot_isolation() {
    let mut found = 0;
    for seed in 0..400 {
        let history = skews(Isolation::Snapshot, seed);
        assert_eq!(history.values, Values::Registers);
        let of_snapshots = forbidden(&history, Isolation::Snapshot);
        assert!(of_snapshots.is_empty(), "{of_snapshots:#?}\n{}", told(&history));
        let of_serials = forbidden(&history, Isolation::Serializable);
        assert!(of_serials.keys().all(|anomaly| *anomaly == Anomaly::G2), "{of_serials:#?}");
        found += of_serials.len();
        if found >= 5 {
            return;
        }
    }
    panic!("{found} of 400 histories had write skew");
}

#[test]
fn no_write_skew_is_found_when_serializable() {
    const TEST: &str = "histories::no_write_skew_is_found_when_serializable";
    for seed in seeds(60) {
        let _trail = Trail::new(TEST, seed);
        let history = skews(Isolation::Serializable, seed);
        let found = forbidden(&history, Isolation::Serializable);
        assert!(found.is_empty(), "{found:#?}\n{}", told(&history));
    }
}
