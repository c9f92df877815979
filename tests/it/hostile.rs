//! Bytes that nobody wrote: flipped bits, cut files, lost and exchanged blocks and files.
//!
//! Whatever is on disk, opening, reading and verifying give an error that says so, or exactly the
//! rows that were there. Nothing panics, and no row is ever silently different.

use std::collections::{BTreeMap, BTreeSet};

use sapwood::{Durability, Error, Result};
use sapwood_serialize::Storage;

use crate::sim::disk::SimDisk;
use crate::sim::machine::{Machine, open, read_all};
use crate::sim::model::{Contents, Crash, Model};
use crate::sim::workload::{Action, Shape, TREES, actions};

const BLOCK: usize = 4096;

/// The files of a database by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A database at rest, and what may be read from it.
struct Specimen {
    files: Files,
    model: Model,
    shape: Shape,
}

impl Specimen {
    fn of(disk: &SimDisk, model: Model, shape: Shape) -> Specimen {
        let names = disk.list().unwrap();
        let files = names.into_iter().map(|name| (name.clone(), disk.read_file(&name).unwrap()));
        Specimen { files: files.collect(), model, shape }
    }

    fn closed() -> Specimen {
        let (machine, shape) = busy();
        let (closed, wreck) = machine.close();
        closed.unwrap();
        Specimen::of(&wreck.disk, wreck.model, shape)
    }

    /// Killed right after everything was synced, and marked so.
    fn unclosed() -> Specimen {
        let (mut machine, shape) = busy();
        machine.play(&Action::Checkpoint).unwrap();
        // More than a memtable: the newest log file is not the first that is replayed.
        machine.play_all(&late(3)).unwrap();
        machine.play_all(&late(4)).unwrap();
        machine.play(&Action::Sync).unwrap();
        machine.play(&Action::Maintain(100)).unwrap();
        let wreck = machine.end();
        Specimen::of(&wreck.disk, wreck.model, shape)
    }

    /// The same where the log may end anywhere behind the last checkpoint.
    fn without_marks(&self) -> Specimen {
        let (files, model) = (self.files.clone(), self.model.without_syncs());
        Specimen { files, model, shape: self.shape }
    }

    /// Reads the files after `harm`; the rows must be legal, or an error must say why not.
    fn judge(&self, what: &str, seen: &mut BTreeSet<String>, harm: impl FnOnce(&mut Files)) {
        let mut files = self.files.clone();
        harm(&mut files);
        if let Err(error) = self.read(what, &files) {
            assert!(!error.is_retryable() && !error.is_locked(), "{error}");
            seen.insert(kind(&error));
        }
    }

    fn read(&self, what: &str, files: &Files) -> Result<()> {
        let disk = SimDisk::new(7);
        files.iter().for_each(|(name, bytes)| disk.write_file(name, bytes));
        let db = open(&disk, &self.shape)?;
        let found = read_all(&db).and_then(|found| db.verify().map(|_| found));
        db.abandon();
        if let Err(difference) = self.model.explain(&found?, Crash::PowerCut) {
            panic!("silently different after {what}: {difference}");
        }
        Ok(())
    }
}

/// A database with some height, several trees and everything a file can hold.
fn busy() -> (Machine, Shape) {
    let shape = Shape { actions: 60, checkpoint_bytes: 1 << 30, ..Shape::small() };
    let mut machine = Machine::boot(&SimDisk::new(5), shape).unwrap();
    TREES.iter().for_each(|tree| machine.play(&Action::Create(tree)).unwrap());
    machine.play_all(&late(1)).unwrap();
    machine.play(&Action::Checkpoint).unwrap();
    machine.play_all(&late(2)).unwrap();
    machine.play(&Action::Maintain(100)).unwrap();
    (machine, shape)
}

/// Batches alone, over all trees.
fn late(seed: u64) -> Vec<Action> {
    let shape = Shape { actions: 120, ..Shape::small() };
    let all = actions(seed, &shape).into_iter().filter_map(|action| match action {
        Action::Batch(changes, _) => Some(Action::Batch(changes, Durability::Buffered)),
        Action::Single(change) => Some(Action::Single(change)),
        _ => None,
    });
    all.take(14).collect()
}

/// What sort of error it is, for a look at which ones there were.
fn kind(error: &Error) -> String {
    let told = if error.is_corruption() { "corruption: " } else { "other: " };
    let text: String = error.to_string().chars().filter(|sign| !sign.is_ascii_digit()).collect();
    format!("{told}{text}")
}

/// Harms a specimen in every way; an error must be a corruption, or say what else is wrong.
fn harm_everything(specimen: &Specimen) -> u64 {
    let mut seen = BTreeSet::new();
    specimen.judge("nothing", &mut seen, |_| {});
    assert!(seen.is_empty(), "unharmed it is sound: {seen:?}");
    let mut count = flip_bits(specimen, &mut seen);
    // With the end of the log goes the mark that tells how far it was durable.
    let forgetful = specimen.without_marks();
    count += cut_files(&forgetful, &mut seen);
    count += lose_and_exchange_blocks(&forgetful, &mut seen);
    // An empty folder is a new database.
    let many = specimen.files.len() > 1;
    for name in specimen.files.keys().filter(|_| many) {
        // With the newest log file goes all that it knew.
        forgetful.judge(&format!("{name} lost"), &mut seen, |files| drop(files.remove(name)));
        count += 1;
    }
    let other: Vec<_> = seen.iter().filter(|told| told.starts_with("other")).collect();
    println!("{count} mutants, {} kinds of error, not corruption: {other:#?}", seen.len());
    count
}

/// One bit in each byte that matters, and in some of the rest.
fn flip_bits(specimen: &Specimen, seen: &mut BTreeSet<String>) -> u64 {
    let mut count = 0;
    for (name, bytes) in &specimen.files {
        let mut offset = 0;
        while offset < bytes.len() {
            specimen.judge(&format!("a bit of {name} at {offset}"), seen, |files| {
                files.get_mut(name).unwrap()[offset] ^= 1 << (offset % 8);
            });
            count += 1;
            let is_head = offset % BLOCK < 96 && bytes[offset] != 0;
            offset += if is_head { 1 } else { 29 };
        }
    }
    count
}

fn cut_files(specimen: &Specimen, seen: &mut BTreeSet<String>) -> u64 {
    let mut count = 0;
    for (name, bytes) in &specimen.files {
        let lengths = (0..bytes.len())
            .step_by(509)
            .chain((1..100).map(|less| bytes.len() - less.min(bytes.len())));
        // Where nothing is left of a closed database, nothing tells it from one that never was.
        let is_gone = |length: &usize| name.ends_with(".db") && *length <= BLOCK;
        for length in lengths.filter(|length| !is_gone(length)) {
            specimen.judge(&format!("{name} cut at {length}"), seen, |files| {
                files.get_mut(name).unwrap().truncate(length);
            });
            count += 1;
        }
    }
    count
}

fn lose_and_exchange_blocks(specimen: &Specimen, seen: &mut BTreeSet<String>) -> u64 {
    let mut count = 0;
    for (name, bytes) in &specimen.files {
        for block in 0..bytes.len() / BLOCK {
            let here = block * BLOCK;
            specimen.judge(&format!("block {block} of {name} zeroed"), seen, |files| {
                files.get_mut(name).unwrap()[here..here + BLOCK].fill(0);
            });
            count += 1;
            for other in block + 1..bytes.len() / BLOCK {
                let what = format!("blocks {block} and {other} of {name} exchanged");
                specimen.judge(&what, seen, |files| {
                    let (one, two) = files.get_mut(name).unwrap().split_at_mut(other * BLOCK);
                    one[here..here + BLOCK].swap_with_slice(&mut two[..BLOCK]);
                });
                count += 1;
            }
        }
    }
    count
}

#[test]
fn a_harmed_closed_database_is_an_error_or_unchanged() {
    let count = harm_everything(&Specimen::closed());
    assert!(count > 1000, "{count}");
}

#[test]
fn a_harmed_unclosed_database_is_an_error_or_unchanged() {
    let count = harm_everything(&Specimen::unclosed());
    assert!(count > 1000, "{count}");
}

#[test]
fn files_of_two_moments_give_one_of_them_or_an_error() {
    let (mut machine, shape) = busy();
    let mut moments = vec![moment(&machine, shape)];
    for seed in 10..16 {
        machine.play_all(&late(seed)).unwrap();
        machine.play(&Action::Maintain(100)).unwrap();
        if seed % 2 == 0 {
            machine.play(&Action::Checkpoint).unwrap();
        }
        moments.push(moment(&machine, shape));
    }
    machine.end();
    let legal: Vec<Contents> = moments.iter().map(|moment| moment.model.current()).collect();
    for one in &moments {
        for two in &moments {
            mix(one, two, &legal);
        }
    }
}

fn moment(machine: &Machine, shape: Shape) -> Specimen {
    machine.db().sync().unwrap();
    Specimen::of(&machine.disk, machine.model.clone(), shape)
}

/// The block file of one moment beside the log of another.
fn mix(one: &Specimen, two: &Specimen, legal: &[Contents]) {
    let disk = SimDisk::new(7);
    for (name, bytes) in &one.files {
        if name.ends_with(".db") {
            disk.write_file(name, bytes);
        }
    }
    for (name, bytes) in &two.files {
        if !name.ends_with(".db") {
            disk.write_file(name, bytes);
        }
    }
    let Ok(db) = open(&disk, &one.shape) else { return };
    let found = read_all(&db).and_then(|found| db.verify().map(|_| found));
    db.abandon();
    if let Ok(found) = found {
        assert!(legal.contains(&found), "files of two moments give a state that never was");
    }
}

#[test]
fn files_of_two_databases_are_refused() {
    let (one, two) = (Specimen::unclosed(), {
        let shape = Shape::small();
        let mut machine = Machine::boot(&SimDisk::new(99), shape).unwrap();
        machine.play(&Action::Create(TREES[0])).unwrap();
        machine.play_all(&late(1)).unwrap();
        let wreck = machine.end();
        Specimen::of(&wreck.disk, wreck.model, shape)
    });
    for (block_file, log) in [(&one, &two), (&two, &one)] {
        let mut seen = BTreeSet::new();
        block_file.judge("exchange", &mut seen, |files| {
            files.retain(|name, _| name.ends_with(".db"));
            let others = log.files.iter().filter(|(name, _)| !name.ends_with(".db"));
            others.for_each(|(name, bytes)| drop(files.insert(name.clone(), bytes.clone())));
        });
        assert_eq!(seen.len(), 1, "it is refused");
        assert!(seen.iter().all(|told| told.starts_with("corruption")), "{seen:?}");
    }
}
