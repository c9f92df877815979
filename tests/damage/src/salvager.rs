//! Salvages a harmed database: every row kept is right, or an older one where that was said; what
//! is missing was said.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood::{Background, Config, Loss, Result, SalvageReport};

use crate::harm::{Harm, Legal};
use crate::specimen::{Contents, Rows, Specimen, config, contents};
use crate::storage::{Disk, Marks};

/// No sound specimen needs a tenth of these calls.
const CALLS_MAX: u64 = 200_000;

/// What was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Saved {
    Everything,
    Something,
    Nothing,
}

/// Salvages what is left after a harm, and judges what was kept.
///
/// # Panics
/// When a row never was, is old or missing without a word, or the old files were changed.
pub fn salvage(specimen: &Specimen, harm: &Harm) -> Saved {
    let files = harm.apply(specimen);
    let broken = Disk::with(&files, CALLS_MAX, &Marks::default());
    let saved = Disk::seeded(77);
    let result = salvage_to(&broken, &saved);
    assert!(!broken.is_exhausted(), "salvaging goes round in a circle");
    assert_eq!(broken.files(), files, "the broken files were changed");
    let (report, kept) = match result {
        Ok(saved) => saved,
        Err(error) => {
            let sentence = error.to_string();
            let is_absent =
                harm.takes_the_block_file(specimen) && sentence.contains("no database in");
            let is_lost = error.is_corruption() && sentence.starts_with("nothing can be salvaged");
            assert!(is_absent || is_lost, "{sentence}");
            return Saved::Nothing;
        }
    };
    Judge { specimen, report: &report, legal: harm.legal() }.judge(&kept);
    if report.is_whole() { Saved::Everything } else { Saved::Something }
}

fn salvage_to(broken: &Disk, saved: &Disk) -> Result<(SalvageReport, Contents)> {
    let target = Config::on(Arc::new(saved.clone())).tiny().cache_bytes(256 << 10);
    let target = target.background(Background::Manual);
    let report = sapwood::salvage_on(Arc::new(broken.clone()), target)?;
    let db = config(saved).read_only().open()?;
    let kept = contents(&db)?;
    db.abandon();
    Ok((report, kept))
}

struct Judge<'a> {
    specimen: &'a Specimen,
    report: &'a SalvageReport,
    legal: Legal,
}

impl Judge<'_> {
    fn judge(&self, kept: &Contents) {
        for (name, rows) in kept {
            let was = self.specimen.states.iter().any(|state| state.contains_key(name));
            assert!(was, "the tree {name} never was");
            let known: Vec<_> = self.specimen.keys(name).collect();
            assert!(rows.keys().all(|key| known.contains(&key)), "{name} has a row that never was");
            let told = self.report.trees.iter().find(|tree| tree.name == *name);
            assert_eq!(told.map(|tree| tree.rows), Some(rows.len() as u64), "{name}");
        }
        let none = Rows::new();
        for (name, rows) in self.specimen.last() {
            let found = kept.get(name).unwrap_or(&none);
            for key in self.specimen.keys(name) {
                self.judge_row(name, key, rows.get(key), found.get(key));
            }
        }
        let gone = |name: &&String| !self.specimen.last().contains_key(*name);
        for name in kept.keys().filter(gone) {
            assert!(self.may_be_old(name, b""), "{name} is back, and nobody says so");
        }
    }

    fn judge_row(&self, name: &str, key: &[u8], was: Option<&Vec<u8>>, found: Option<&Vec<u8>>) {
        if found == was {
            return;
        }
        let place = format!("{name} {}", key.escape_ascii());
        if let Some(value) = found {
            let values = self.specimen.states.iter().filter_map(|state| state.get(name)?.get(key));
            assert!(values.clone().any(|old| old == value), "{place} never was {value:?}");
            assert!(self.may_be_old(name, key), "{place} is old, and nobody says so");
        } else {
            let is_told = !self.told(name, key).is_empty() || self.legal != Legal::Newest;
            assert!(is_told, "{place} is missing, and nobody says so");
        }
    }

    /// Whether an older state may be there: it was said, or nothing can tell.
    fn may_be_old(&self, name: &str, key: &[u8]) -> bool {
        self.told(name, key).contains(&Loss::Changes) || self.legal != Legal::Newest
    }

    /// What the report says of a key.
    fn told(&self, name: &str, key: &[u8]) -> Vec<Loss> {
        let concerns = |damage: &&sapwood::Damage| {
            damage.keys.as_ref().is_none_or(|keys| keys.contains(name, key))
        };
        let told = self.report.damages.iter().filter(concerns).map(|damage| damage.loss);
        told.filter(|loss| *loss != Loss::Nothing).collect()
    }
}

/// Counts by outcome.
pub type Tally = BTreeMap<Saved, u64>;
