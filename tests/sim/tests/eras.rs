//! What transactions see and do stays isolated where the machine crashes and recovers meanwhile.

use sapwood::Isolation;
use sapwood_sim::histories::checker::{Anomaly, forbidden};
use sapwood_sim::histories::eras::{Chronicle, Eras, Pace, record};
use sapwood_sim::histories::history::History;
use sapwood_sim::histories::workload::Writing;
use sapwood_sim::model::Crash;
use sapwood_sim::replay::seeds;

fn told(history: &History) -> String {
    let lines = history.all.iter().enumerate().map(|(who, one)| format!("{who}: {one:?}\n"));
    lines.collect()
}

/// Records a chronicle a seed and finds nothing in it that its level forbids.
fn nothing_is_found(plan: Eras, count: u64) -> Vec<Chronicle> {
    let record = |seed| {
        let chronicle = record(plan, seed);
        let found = forbidden(&chronicle.history, plan.isolation);
        assert!(
            found.is_empty(),
            "seed {seed}, {plan:?}: {found:#?}\n{}",
            told(&chronicle.history)
        );
        chronicle
    };
    seeds(count).into_iter().map(record).collect()
}

/// All sorts of plans at one pace.
fn all_stand_the_check(pace: Pace, count: u64) {
    let (mut crashes, mut found, mut gone, mut transactions) = (0, 0, 0, 0);
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        for writing in [Writing::ReadAppend, Writing::Merge, Writing::Set] {
            for crash in [Crash::Kill, Crash::PowerCut] {
                let plan = Eras {
                    isolation,
                    writing,
                    pace,
                    crash,
                    keys: 6,
                    clients: 4,
                    eras: 4,
                    transactions: 20,
                };
                for chronicle in nothing_is_found(plan, count) {
                    crashes += chronicle.crashes;
                    found += chronicle.doubts_found;
                    gone += chronicle.doubts_gone;
                    transactions += chronicle.history.all.len();
                }
            }
        }
    }
    println!(
        "{crashes} crashes, {transactions} transactions, in doubt: {found} found, {gone} gone"
    );
    let many = count * 20;
    assert!(crashes > many && found > 0 && gone > 0);
}

#[test]
fn histories_of_turns_stand_the_check_across_crashes() {
    all_stand_the_check(Pace::Turns, 40);
}

#[test]
fn histories_of_threads_stand_the_check_across_crashes() {
    all_stand_the_check(Pace::Threads, 20);
}

fn skews(isolation: Isolation, seed: u64) -> Chronicle {
    let (writing, pace, crash) = (Writing::Skew, Pace::Turns, Crash::PowerCut);
    let (keys, clients, eras, transactions) = (3, 4, 3, 12);
    record(Eras { isolation, writing, pace, crash, keys, clients, eras, transactions }, seed)
}

/// The check is not blind: what snapshot isolation lets happen does happen, and is seen.
#[test]
fn write_skew_is_found_under_snapshot_isolation_across_crashes() {
    let mut found = 0;
    for seed in 0..40 {
        let Chronicle { history, .. } = skews(Isolation::Snapshot, seed);
        let of_snapshots = forbidden(&history, Isolation::Snapshot);
        assert!(of_snapshots.is_empty(), "{of_snapshots:#?}\n{}", told(&history));
        let of_serials = forbidden(&history, Isolation::Serializable);
        assert!(of_serials.keys().all(|anomaly| *anomaly == Anomaly::G2), "{of_serials:#?}");
        found += of_serials.len();
    }
    assert!(found >= 5, "{found} of 40 histories had write skew");
}

#[test]
fn no_write_skew_is_found_when_serializable_across_crashes() {
    for seed in seeds(40) {
        let Chronicle { history, .. } = skews(Isolation::Serializable, seed);
        let found = forbidden(&history, Isolation::Serializable);
        assert!(found.is_empty(), "seed {seed}: {found:#?}\n{}", told(&history));
    }
}
