//! The checker itself: each anomaly, made by hand, is found, and what is allowed is not.

use sapwood::Isolation;

use crate::sim::histories::checker::{Anomaly, forbidden};
use crate::sim::histories::history::{History, Outcome, Recorded, Sort, Step, Values};

fn recorded(begin: u64, outcome: Outcome, steps: Vec<Step>) -> Recorded {
    Recorded { sort: Sort::Transaction, begin, steps, undone: Vec::new(), outcome }
}

fn done(begin: u64, commit: u64, steps: Vec<Step>) -> Recorded {
    recorded(begin, Outcome::Committed(commit), steps)
}

fn aborted(begin: u64, steps: Vec<Step>) -> Recorded {
    recorded(begin, Outcome::Aborted, steps)
}

fn read(key: u8, seen: &[u32]) -> Step {
    Step::Read(key, seen.to_vec())
}

fn append(key: u8, number: u32) -> Step {
    Step::Append(key, number)
}

fn set(key: u8, number: u32) -> Step {
    Step::Set(key, Some(number))
}

fn remove(key: u8) -> Step {
    Step::Set(key, None)
}

fn found(values: Values, all: Vec<Recorded>, level: Isolation) -> Vec<Anomaly> {
    forbidden(&History { values, all }, level).into_keys().collect()
}

/// What both levels forbid of a history of lists.
fn of_lists(all: Vec<Recorded>) -> Vec<Anomaly> {
    let snapshot = found(Values::Lists, all.clone(), Isolation::Snapshot);
    assert_eq!(snapshot, found(Values::Lists, all, Isolation::Serializable));
    snapshot
}

fn of_registers(all: Vec<Recorded>) -> Vec<Anomaly> {
    let snapshot = found(Values::Registers, all.clone(), Isolation::Snapshot);
    assert_eq!(snapshot, found(Values::Registers, all, Isolation::Serializable));
    snapshot
}

#[test]
fn nothing_is_found_where_one_runs_after_the_other() {
    let lists = vec![
        done(0, 2, vec![append(0, 1), append(0, 2), read(0, &[1, 2]), append(1, 3)]),
        aborted(2, vec![read(0, &[1, 2]), append(0, 4), read(0, &[1, 2, 4])]),
        done(2, 3, vec![read(1, &[3]), append(1, 5)]),
        done(3, 3, vec![read(0, &[1, 2]), read(1, &[3, 5])]),
    ];
    assert_eq!(of_lists(lists), []);
    let registers = vec![
        done(0, 1, vec![read(0, &[]), set(0, 1), set(0, 2), read(0, &[2])]),
        done(1, 2, vec![read(0, &[2]), remove(0), read(0, &[])]),
        done(2, 3, vec![read(0, &[]), set(0, 3)]),
        done(1, 1, vec![read(0, &[2])]),
        done(2, 2, vec![read(0, &[])]),
    ];
    assert_eq!(of_registers(registers), []);
}

#[test]
fn a_read_that_changes_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1)]),
        done(0, 0, vec![read(0, &[]), read(0, &[1])]),
        done(1, 1, vec![read(0, &[1])]),
    ];
    assert!(of_lists(lists).contains(&Anomaly::Unrepeatable));
}

#[test]
fn own_changes_that_are_not_seen_are_found() {
    let lists = vec![done(0, 1, vec![append(0, 1), read(0, &[])]), done(1, 1, vec![read(0, &[1])])];
    assert_eq!(of_lists(lists), [Anomaly::Unrepeatable]);
    let registers = vec![done(0, 1, vec![set(0, 1), set(0, 2), read(0, &[1])])];
    assert_eq!(of_registers(registers), [Anomaly::Unrepeatable]);
}

#[test]
fn g1a_is_found() {
    let lists = vec![
        aborted(0, vec![append(0, 1)]),
        done(0, 0, vec![read(0, &[1])]),
        done(0, 0, vec![read(0, &[])]),
    ];
    assert_eq!(of_lists(lists), [Anomaly::G1a]);
    let last = vec![aborted(0, vec![append(0, 1)]), done(0, 0, vec![read(0, &[1])])];
    assert_eq!(of_lists(last), [Anomaly::G1a]);
    let registers = vec![aborted(0, vec![set(0, 1)]), done(0, 0, vec![read(0, &[1])])];
    assert_eq!(of_registers(registers), [Anomaly::G1a]);
    let mut undone = done(0, 1, vec![set(1, 1)]);
    undone.undone.push(7);
    assert_eq!(of_registers(vec![undone, done(1, 1, vec![read(0, &[7])])]), [Anomaly::G1a]);
}

#[test]
fn g1b_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1), append(0, 2)]),
        done(1, 1, vec![read(0, &[1])]),
        done(1, 1, vec![read(0, &[1, 2])]),
    ];
    assert_eq!(of_lists(lists), [Anomaly::G1b]);
    let registers = vec![done(0, 1, vec![set(0, 1), set(0, 2)]), done(1, 1, vec![read(0, &[1])])];
    assert_eq!(of_registers(registers), [Anomaly::G1b]);
}

#[test]
fn a_lost_write_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1)]),
        done(1, 2, vec![append(0, 2)]),
        done(2, 2, vec![read(0, &[2])]),
    ];
    assert!(of_lists(lists).contains(&Anomaly::LostWrite));
}

#[test]
fn a_lost_update_is_found() {
    let registers = vec![
        done(0, 1, vec![set(0, 1)]),
        done(1, 2, vec![read(0, &[1]), set(0, 2)]),
        done(1, 3, vec![read(0, &[1]), set(0, 3)]),
    ];
    let anomalies = [Anomaly::LostUpdate, Anomaly::Interference, Anomaly::GSingle];
    assert_eq!(of_registers(registers), anomalies);
}

#[test]
fn two_that_change_one_key_side_by_side_are_found() {
    let registers = vec![done(0, 1, vec![set(0, 1)]), done(0, 2, vec![set(0, 2)])];
    assert_eq!(of_registers(registers), [Anomaly::Interference]);
    let mut batch = done(0, 2, vec![append(0, 2)]);
    batch.sort = Sort::Batch;
    let lists = vec![done(0, 1, vec![append(0, 1)]), batch, done(2, 2, vec![read(0, &[1, 2])])];
    assert_eq!(of_lists(lists), []);
}

#[test]
fn what_was_read_too_early_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1)]),
        done(0, 0, vec![read(0, &[1])]),
        done(1, 1, vec![read(0, &[1])]),
    ];
    assert_eq!(of_lists(lists), [Anomaly::Interference]);
}

#[test]
fn a_disorder_is_found() {
    let torn = vec![
        done(0, 2, vec![append(0, 1), append(0, 2)]),
        done(2, 3, vec![append(0, 3)]),
        done(3, 3, vec![read(0, &[1, 3, 2])]),
    ];
    assert!(of_lists(torn).contains(&Anomaly::Disorder));
    let other = vec![
        done(0, 1, vec![append(0, 1)]),
        done(1, 2, vec![append(0, 2)]),
        done(2, 2, vec![read(0, &[2, 1])]),
        done(2, 2, vec![read(0, &[1, 2])]),
    ];
    assert!(of_lists(other).contains(&Anomaly::Disorder));
    let twice = vec![done(0, 1, vec![append(0, 1)]), done(1, 1, vec![read(0, &[1, 1])])];
    assert!(of_lists(twice).contains(&Anomaly::Disorder));
    assert_eq!(of_registers(vec![done(0, 0, vec![read(0, &[9])])]), [Anomaly::Disorder]);
}

#[test]
fn g0_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1), append(1, 2)]),
        done(0, 1, vec![append(0, 3), append(1, 4)]),
        done(1, 1, vec![read(0, &[1, 3]), read(1, &[4, 2])]),
    ];
    assert!(of_lists(lists).contains(&Anomaly::G0));
}

#[test]
fn g1c_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1), read(1, &[2])]),
        done(0, 2, vec![append(1, 2), read(0, &[1])]),
        done(2, 2, vec![read(0, &[1]), read(1, &[2])]),
    ];
    assert!(of_lists(lists).contains(&Anomaly::G1c));
}

/// It missed what was committed before it began, and nothing else is wrong with it.
#[test]
fn a_stale_read_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1)]),
        done(1, 1, vec![read(0, &[])]),
        done(1, 1, vec![read(0, &[1])]),
    ];
    assert_eq!(of_lists(lists), [Anomaly::GSingle]);
    // Its absence is read anew by nobody: the register is there from 1 on.
    let registers = vec![done(0, 1, vec![set(0, 1)]), done(1, 1, vec![read(0, &[])])];
    assert_eq!(of_registers(registers), [Anomaly::GSingle]);
}

#[test]
fn g_single_is_found() {
    let lists = vec![
        done(0, 1, vec![append(0, 1), append(1, 2)]),
        done(1, 1, vec![read(0, &[1]), read(1, &[])]),
        done(1, 1, vec![read(0, &[1]), read(1, &[2])]),
    ];
    assert_eq!(of_lists(lists), [Anomaly::GSingle]);
}

fn write_skew() -> Vec<Recorded> {
    vec![
        done(0, 1, vec![set(0, 1), set(1, 2)]),
        done(1, 2, vec![read(0, &[1]), read(1, &[2]), set(0, 3)]),
        done(1, 3, vec![read(0, &[1]), read(1, &[2]), set(1, 4)]),
    ]
}

#[test]
fn write_skew_is_found_when_serializable_alone() {
    assert_eq!(found(Values::Registers, write_skew(), Isolation::Snapshot), []);
    assert_eq!(found(Values::Registers, write_skew(), Isolation::Serializable), [Anomaly::G2]);
}

/// Both have looked for a row that the other one has put there.
#[test]
fn skew_of_absent_rows_is_found_when_serializable_alone() {
    let history = vec![
        done(0, 1, vec![read(0, &[]), read(1, &[]), set(0, 3)]),
        done(0, 2, vec![read(0, &[]), read(1, &[]), set(1, 4)]),
    ];
    assert_eq!(found(Values::Registers, history.clone(), Isolation::Snapshot), []);
    assert_eq!(found(Values::Registers, history, Isolation::Serializable), [Anomaly::G2]);
}

#[test]
fn a_skew_through_a_reader_is_found_when_serializable_alone() {
    let history = vec![
        done(0, 2, vec![read(1, &[]), read(0, &[]), append(0, 2)]),
        done(0, 1, vec![append(1, 1)]),
        done(1, 1, vec![read(0, &[]), read(1, &[1])]),
        done(2, 2, vec![read(0, &[2]), read(1, &[1])]),
    ];
    assert_eq!(found(Values::Lists, history.clone(), Isolation::Snapshot), []);
    assert_eq!(found(Values::Lists, history, Isolation::Serializable), [Anomaly::G2]);
}

/// A key that came and went meanwhile: who has seen it absent is right before and after.
#[test]
fn a_key_that_is_absent_again_is_no_contradiction() {
    let history = vec![
        done(0, 1, vec![set(0, 1)]),
        done(1, 2, vec![read(0, &[1]), remove(0)]),
        done(0, 3, vec![read(0, &[]), set(0, 3)]),
        done(0, 4, vec![read(1, &[]), set(1, 4)]),
        done(2, 2, vec![read(0, &[])]),
        done(3, 3, vec![read(0, &[3])]),
    ];
    assert_eq!(of_registers(history), []);
    // It was there when the second one began.
    let history =
        vec![done(0, 1, vec![set(0, 1)]), done(1, 2, vec![remove(0)]), done(1, 3, vec![set(0, 3)])];
    assert_eq!(of_registers(history), [Anomaly::Interference]);
}
