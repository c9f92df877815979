//! The same harms, salvaged: rows are right, or older and missing ones are told of.

use std::collections::BTreeSet;

use sapwood_damage::files::{BLOCK, SECTOR};
use sapwood_damage::harm::{self, Harm};
use sapwood_damage::salvager::{Saved, Tally, salvage};
use sapwood_damage::specimen::{Kind, Specimen};
use sapwood_damage::sweep::Sweep;

fn each_kind(sweep: &mut Sweep, harms: impl Fn(&Specimen) -> Vec<Harm>) -> Tally {
    let mut tally = Tally::new();
    for kind in Kind::ALL {
        let specimen = Specimen::of(kind);
        sweep.go(&format!("{kind:?}"), harms(&specimen), |_, harm| {
            *tally.entry(salvage(&specimen, harm)).or_default() += 1;
            BTreeSet::new()
        });
    }
    println!("{tally:?}");
    tally
}

#[test]
fn a_sound_database_is_salvaged_whole() {
    for kind in Kind::ALL {
        let specimen = Specimen::of(kind);
        assert_eq!(salvage(&specimen, &Harm::Nothing), Saved::Everything, "{kind:?}");
    }
}

#[test]
fn changed_bytes_cost_only_what_is_told() {
    let mut sweep = Sweep::new("changed_bytes_cost_only_what_is_told", 12_007);
    let tally = each_kind(&mut sweep, |specimen| {
        harm::flips(specimen).chain(harm::bytes(specimen)).collect()
    });
    sweep.expect(500);
    assert!(tally.len() >= 2, "{tally:?}");
}

#[test]
fn lost_ends_cost_only_what_is_told() {
    let mut sweep = Sweep::new("lost_ends_cost_only_what_is_told", 1201);
    each_kind(&mut sweep, |specimen| harm::lengths(specimen).collect());
    sweep.expect(300);
}

#[test]
fn lost_and_misplaced_blocks_and_sectors_cost_only_what_is_told() {
    let test = "lost_and_misplaced_blocks_and_sectors_cost_only_what_is_told";
    let mut sweep = Sweep::new(test, 1009);
    each_kind(&mut sweep, |specimen| {
        [BLOCK, SECTOR].iter().flat_map(|unit| harm::units(specimen, *unit)).collect()
    });
    sweep.expect(300);
}

#[test]
fn missing_misnamed_and_old_files_cost_only_what_is_told() {
    let test = "missing_misnamed_and_old_files_cost_only_what_is_told";
    let mut sweep = Sweep::new(test, 1);
    each_kind(&mut sweep, |specimen| [harm::names(specimen), harm::copies(specimen)].concat());
    sweep.expect(100);
}
