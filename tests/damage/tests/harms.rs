//! Harmed files of every kind of database: each read is right, or an error that says where.

use std::collections::{BTreeMap, BTreeSet};

use sapwood_damage::files::{BLOCK, SECTOR};
use sapwood_damage::harm::{self, Harm};
use sapwood_damage::judge::{Use, bytes_that_are_read, judge};
use sapwood_damage::specimen::{Kind, Specimen};
use sapwood_damage::sweep::Sweep;

/// Every so manieth database is written to, too.
const WRITTEN: u64 = 7;

fn each_kind(sweep: &mut Sweep, harms: impl Fn(&Specimen) -> Vec<Harm>) {
    for kind in Kind::ALL {
        let specimen = Specimen::of(kind);
        let harms = harms(&specimen);
        sweep.go(&format!("{kind:?}"), harms, |number, harm| judge_some(&specimen, number, harm));
    }
}

fn judge_some(specimen: &Specimen, number: u64, harm: &Harm) -> BTreeSet<String> {
    let some = if number.is_multiple_of(WRITTEN) { Use::Everything } else { Use::Reading };
    judge(specimen, harm, some).errors
}

/// Keeps harms of bytes that somebody reads, and of the others one in 97.
fn that_are_read(
    marks: &BTreeMap<String, Vec<bool>>,
    harms: impl Iterator<Item = Harm>,
) -> Vec<Harm> {
    let place = |harm: &Harm| match harm {
        Harm::Flip { file, offset, .. } | Harm::Set { file, offset, .. } => {
            Some((file.clone(), *offset))
        }
        _ => None,
    };
    let kept = harms.enumerate().filter(|(number, harm)| {
        place(harm).is_none_or(|(file, offset)| marks[&file][offset]) || number % 97 == 0
    });
    kept.map(|(_, harm)| harm).collect()
}

#[test]
fn a_flipped_bit_is_an_error_or_changes_nothing() {
    let mut sweep = Sweep::new("a_flipped_bit_is_an_error_or_changes_nothing", 307);
    each_kind(&mut sweep, |specimen| {
        that_are_read(&bytes_that_are_read(specimen), harm::flips(specimen))
    });
    sweep.expect(3000);
    assert!(sweep.errors.len() > 9, "{:?}", sweep.errors);
}

#[test]
fn a_changed_byte_is_an_error_or_changes_nothing() {
    let mut sweep = Sweep::new("a_changed_byte_is_an_error_or_changes_nothing", 211);
    each_kind(&mut sweep, |specimen| {
        that_are_read(&bytes_that_are_read(specimen), harm::bytes(specimen))
    });
    sweep.expect(1500);
}

#[test]
fn a_file_of_another_length_is_an_error_or_an_earlier_end_of_the_log() {
    let test = "a_file_of_another_length_is_an_error_or_an_earlier_end_of_the_log";
    let mut sweep = Sweep::new(test, 401);
    each_kind(&mut sweep, |specimen| harm::lengths(specimen).collect());
    sweep.expect(1000);
}

#[test]
fn a_lost_or_misplaced_block_is_an_error_or_changes_nothing() {
    let test = "a_lost_or_misplaced_block_is_an_error_or_changes_nothing";
    let mut sweep = Sweep::new(test, 7);
    each_kind(&mut sweep, |specimen| harm::units(specimen, BLOCK));
    sweep.expect(1000);
}

#[test]
fn a_lost_or_misplaced_sector_is_an_error_or_changes_nothing() {
    let test = "a_lost_or_misplaced_sector_is_an_error_or_changes_nothing";
    let mut sweep = Sweep::new(test, 601);
    each_kind(&mut sweep, |specimen| harm::units(specimen, SECTOR));
    sweep.expect(1000);
}

#[test]
fn a_missing_or_misnamed_file_is_an_error() {
    let mut sweep = Sweep::new("a_missing_or_misnamed_file_is_an_error", 1);
    each_kind(&mut sweep, harm::names);
    sweep.expect(50);
}

#[test]
fn an_old_copy_is_an_error_or_a_state_that_was() {
    let mut sweep = Sweep::new("an_old_copy_is_an_error_or_a_state_that_was", 1);
    each_kind(&mut sweep, harm::copies);
    sweep.expect(100);
}

#[test]
fn files_of_two_databases_are_refused() {
    for kind in [Kind::Killed, Kind::Young] {
        let (one, two) = (Specimen::from_seed(kind, 1), Specimen::from_seed(kind, 2));
        let mut files = one.files.clone();
        for name in two.files.logs() {
            files.0.insert(name.to_owned(), two.files.bytes(name).to_vec());
        }
        let verdict = sapwood_damage::judge::judge_files(
            &one,
            &files,
            sapwood_damage::harm::Legal::Newest,
            false,
            Use::Everything,
        );
        let [error] = &verdict.errors.iter().collect::<Vec<_>>()[..] else {
            panic!("it is refused once: {:?}", verdict.errors);
        };
        assert!(error.contains("it belongs to another database"), "{error}");
    }
}

#[test]
fn the_specimens_hold_what_they_should() {
    let kinds = Kind::ALL.map(Specimen::of);
    let [closed, killed, young, mere] = &kinds;
    assert_eq!([closed, mere].map(|one| one.files.logs().count()), [0, 0]);
    let full = |one: &Specimen| one.files.0.values().filter(|bytes| !bytes.is_empty()).count() - 1;
    assert!(full(killed) >= 2 && full(young) >= 2, "{} {}", full(killed), full(young));
    assert!(closed.moments.len() > 4 && killed.moments.len() > 4);
    assert!(closed.last()["tall"].len() > 40 && !closed.last().contains_key("gone"));
    for specimen in &kinds {
        assert!(judge(specimen, &Harm::Nothing, Use::Everything).errors.is_empty());
    }
}
