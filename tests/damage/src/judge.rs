//! Uses a harmed database in every way: each read is right, or an error that says what is wrong
//! and where.
//!
//! ```text
//! read-only: open -> read
//! writable:  open -> read -> verify -> write -> maintain -> checkpoint -> read -> close
//!            open -> read
//! ```
//!
//! What may be read is a list of *candidates*, states that the database may be in. A read that
//! succeeds drops those in which it would have been another one; when none is left, it was wrong.
//! So reads beside errors are judged as sharply as whole databases.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;

use sapwood::{Database, Error, Result, Tree};
use sapwood_serialize::Corruption;

use crate::files::Files;
use crate::harm::{Harm, Legal};
use crate::memory::peak_of;
use crate::specimen::{Contents, Rows, Specimen, config};
use crate::storage::{Disk, Marks};

/// No sound specimen needs a tenth of these calls.
const CALLS_MAX: u64 = 100_000;
/// What the sizes of a specimen's cache and its tables take, whatever is in its files.
const MEMORY_FLOOR: u64 = 4 << 20;
/// A page is believed to unpack to this many times its bytes.
const MEMORY_PER_BYTE: u64 = 256;

/// What is done with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is opened for reading alone.
    Reading,
    /// It is also opened for writing, written to, and closed.
    Everything,
}

/// What came of it.
#[derive(Default)]
pub struct Verdict {
    /// Each error, without its numbers.
    pub errors: BTreeSet<String>,
    /// The most memory that opening or reading took.
    pub peak: u64,
}

/// Judges what can be read after a harm.
///
/// # Panics
/// When a read is wrong, an error says too little, or it takes calls or memory out of proportion.
pub fn judge(specimen: &Specimen, harm: &Harm, use_of: Use) -> Verdict {
    let lacking = harm.takes_the_block_file(specimen);
    judge_files(specimen, &harm.apply(specimen), harm.legal(), lacking, use_of)
}

/// Marks the bytes of a sound specimen that using it reads: what stands elsewhere concerns nobody,
/// because without it every step is the same.
pub fn bytes_that_are_read(specimen: &Specimen) -> BTreeMap<String, Vec<bool>> {
    let mut trial = Trial::new(specimen, Legal::Newest, Lacking::Nothing, &specimen.files);
    trial.marks = Marks::of(&specimen.files);
    trial.read_only(&specimen.files);
    trial.write(&specimen.files);
    assert!(trial.verdict.errors.is_empty(), "unharmed it is sound: {:?}", trial.verdict.errors);
    trial.marks.take()
}

/// The same for any files; `lacks_block_file` says that refusing to see a database is right.
pub fn judge_files(
    specimen: &Specimen,
    files: &Files,
    legal: Legal,
    lacks_block_file: impl Into<Lacking>,
    use_of: Use,
) -> Verdict {
    let mut trial = Trial::new(specimen, legal, lacks_block_file.into(), files);
    trial.read_only(files);
    if use_of == Use::Everything {
        trial.write(files);
    }
    trial.verdict
}

/// Whether there is a block file at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    Nothing,
    BlockFile,
}

impl From<bool> for Lacking {
    fn from(lacks: bool) -> Lacking {
        if lacks { Lacking::BlockFile } else { Lacking::Nothing }
    }
}

/// Uses a forged database in every way. What it says may be anything; but nothing panics, goes
/// round in a circle or takes memory out of proportion, and errors are those of a database.
pub fn survive(files: &Files, keys: &[&[u8]]) {
    let memory_max = MEMORY_FLOOR + MEMORY_PER_BYTE * files.total() as u64;
    for some in [Use::Reading, Use::Everything] {
        let disk = Disk::with(files, CALLS_MAX, &Marks::default());
        let (_, peak) = peak_of(|| use_without_trust(&disk, some, keys));
        assert!(peak <= memory_max, "it takes {peak} bytes, {memory_max} are much");
        assert!(!disk.is_exhausted(), "it goes round in a circle");
    }
}

fn use_without_trust(disk: &Disk, some: Use, keys: &[&[u8]]) {
    let config = if some == Use::Reading { config(disk).read_only() } else { config(disk) };
    let Some(db) = allowed(config.open()) else { return };
    read_without_trust(&db, keys);
    allowed(db.verify());
    if some == Use::Everything {
        for name in db.tree_names() {
            let Some(tree) = allowed(db.tree(&name)) else { continue };
            allowed(tree.insert("key-0003", "after the forgery"));
            allowed(tree.remove_range("key-0010".."key-0012"));
        }
        allowed(db.maintain(30));
        allowed(db.checkpoint());
        allowed(db.daemon().drain());
        read_without_trust(&db, keys);
    }
    allowed(db.close());
}

fn read_without_trust(db: &Database, keys: &[&[u8]]) {
    for name in db.tree_names() {
        let Some(tree) = allowed(db.tree(&name)) else { continue };
        let (_, broken) = rows(tree.iter());
        broken.map(|error| allowed::<()>(Err(error)));
        let (_, broken) = rows(tree.iter().rev());
        broken.map(|error| allowed::<()>(Err(error)));
        keys.iter().for_each(|key| drop(allowed(tree.get(key))));
    }
}

/// The value; an error must be one that forged bytes can cause.
fn allowed<T>(result: Result<T>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let sentence = error.to_string();
    let other = ["this library reads", "no merge operator", "not allowed", "no tree named"];
    assert!(
        is_caused_by_corruption(&error)
            || error.is_merge()
            || error.is_retryable()
            || error.is_needs_recovery()
            || other.iter().any(|other| sentence.contains(other)),
        "an error that no bytes should cause: {sentence}"
    );
    None
}

struct Trial<'s> {
    specimen: &'s Specimen,
    legal: Legal,
    lacking: Lacking,
    memory_max: u64,
    verdict: Verdict,
    /// Which bytes were read, if somebody wants to know.
    marks: Marks,
}

impl<'s> Trial<'s> {
    fn new(specimen: &'s Specimen, legal: Legal, lacking: Lacking, files: &Files) -> Trial<'s> {
        let memory_max = MEMORY_FLOOR + MEMORY_PER_BYTE * files.total() as u64;
        let (verdict, marks) = (Verdict::default(), Marks::default());
        Trial { specimen, legal, lacking, memory_max, verdict, marks }
    }

    fn read_only(&mut self, files: &Files) {
        let disk = Disk::with(files, CALLS_MAX, &self.marks);
        let (opened, peak) = peak_of(|| config(&disk).read_only().open());
        self.note_peak(peak);
        if let Some(db) = self.told(opened) {
            let mut candidates = self.candidates();
            let (_, peak) = peak_of(|| self.read(&db, &mut candidates));
            self.note_peak(peak);
            db.abandon();
        }
        assert!(!disk.is_exhausted(), "reading goes round in a circle");
    }

    fn write(&mut self, files: &Files) {
        let disk = Disk::with(files, CALLS_MAX, &self.marks);
        let mut candidates = self.candidates();
        let (opened, peak) = peak_of(|| config(&disk).open());
        self.note_peak(peak);
        if let Some(db) = self.told(opened) {
            self.use_up(db, &mut candidates);
            let again = config(&disk).open();
            if let Some(db) = self.told(again) {
                self.read(&db, &mut candidates);
                db.abandon();
            }
        }
        assert!(!disk.is_exhausted(), "it goes round in a circle");
    }

    /// Everything that a user does with a database, to its closing.
    fn use_up(&mut self, db: Database, candidates: &mut Candidates<'s>) {
        let is_whole = self.read(&db, candidates);
        let is_sound = self.told(db.verify()).is_some();
        assert!(is_whole || !is_sound, "verify finds nothing where reading fails");
        for name in db.tree_names() {
            let Some(tree) = self.told(db.tree(&name)) else { continue };
            let inserted = tree.insert("key-0003", "after the harm");
            if self.told(inserted).is_some() {
                candidates.put(&name, b"key-0003", b"after the harm");
            }
        }
        let maintained = db.maintain(30).map(|_| ());
        self.told(maintained);
        self.told(db.checkpoint());
        self.read(&db, candidates);
        self.told(db.close());
    }

    /// The states that the database may be in.
    fn candidates(&self) -> Candidates<'s> {
        let states = &self.specimen.states;
        let from = match self.legal {
            Legal::Newest => states.len() - 1,
            Legal::SinceCheckpoint => self.specimen.checkpointed,
            Legal::Any => 0,
        };
        Candidates { left: states[from..].iter().map(Cow::Borrowed).collect() }
    }

    /// Reads every tree forward, backward and by its keys; tells whether all of it could be read.
    fn read(&mut self, db: &Database, candidates: &mut Candidates<'s>) -> bool {
        let names: BTreeSet<String> = db.tree_names().into_iter().collect();
        candidates.keep(&format!("the trees {names:?}"), |state| state.keys().eq(names.iter()));
        let mut is_whole = true;
        for name in names {
            match db.tree(&name) {
                Ok(tree) => is_whole &= self.read_tree(&name, &tree, candidates),
                Err(error) => {
                    self.note(&error);
                    is_whole = false;
                }
            }
        }
        is_whole
    }

    fn read_tree(&mut self, name: &str, tree: &Tree, candidates: &mut Candidates<'s>) -> bool {
        let (forward, broken) = rows(tree.iter());
        candidates.keep(&format!("{name} forward"), |state| {
            let expected = state[name].iter();
            fits(expected, &forward, broken.as_ref())
        });
        let (backward, broken_backward) = rows(tree.iter().rev());
        candidates.keep(&format!("{name} backward"), |state| {
            let expected = state[name].iter().rev();
            fits(expected, &backward, broken_backward.as_ref())
        });
        let mut is_whole = broken.is_none() && broken_backward.is_none();
        for error in broken.iter().chain(&broken_backward) {
            self.note(error);
        }
        let absent = [b"".to_vec(), b"key-0000x".to_vec(), b"zzz".to_vec()];
        for key in self.specimen.keys(name).chain(&absent) {
            match tree.get(key) {
                Ok(found) => candidates.keep(&format!("{name} {}", key.escape_ascii()), |state| {
                    state[name].get(key).map(Vec::as_slice) == found.as_deref()
                }),
                Err(error) => {
                    self.note(&error);
                    is_whole = false;
                }
            }
        }
        is_whole
    }

    /// The value, or nothing and an error that was looked at.
    fn told<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.note(&error)).ok()
    }

    /// Looks at an error: it must say what is wrong, in which file, and where.
    fn note(&mut self, error: &Error) {
        let sentence = error.to_string();
        let is_refusal = self.lacking == Lacking::BlockFile
            && (sentence.contains("no sapwood database") || sentence.contains("no database in"));
        let names_place = sentence.contains(" at byte ")
            && ["of sapwood.db", "sapwood.db: ", "of wal-"].iter().any(|it| sentence.contains(it))
            || sentence == "sapwood.db: this is not a sapwood database";
        let is_found_by_check = sentence.starts_with("the database is damaged: ");
        assert!(
            is_refusal || is_caused_by_corruption(error) && (names_place || is_found_by_check),
            "the error says too little: {sentence}"
        );
        let kind = sentence.chars().filter(|sign| !sign.is_ascii_digit()).collect();
        self.verdict.errors.insert(kind);
    }

    fn note_peak(&mut self, peak: u64) {
        self.verdict.peak = self.verdict.peak.max(peak);
        assert!(peak <= self.memory_max, "it takes {peak} bytes, {} are much", self.memory_max);
    }
}

fn is_caused_by_corruption(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(source) = cause {
        if source.is::<Corruption>() {
            return true;
        }
        cause = source.source();
    }
    error.is_corruption()
}

/// A key and its value.
type Row = (Vec<u8>, Vec<u8>);

/// The rows up to the first error.
fn rows(
    iter: impl Iterator<Item = Result<(sapwood::Slice, sapwood::Slice)>>,
) -> (Vec<Row>, Option<Error>) {
    let mut rows = Vec::new();
    for row in iter {
        match row {
            Ok((key, value)) => rows.push((key.to_vec(), value.to_vec())),
            Err(error) => return (rows, Some(error)),
        }
    }
    (rows, None)
}

/// Whether rows are all that are expected, or the first of them where an error ended them.
fn fits<'r>(
    mut expected: impl Iterator<Item = (&'r Vec<u8>, &'r Vec<u8>)>,
    found: &[Row],
    broken: Option<&Error>,
) -> bool {
    let begins = found.iter().all(|(key, value)| expected.next() == Some((key, value)));
    begins && (broken.is_some() || expected.next().is_none())
}

/// The states that are still possible.
struct Candidates<'s> {
    left: Vec<Cow<'s, Contents>>,
}

impl Candidates<'_> {
    /// Drops those in which a read would have been another one.
    fn keep(&mut self, read: &str, fits: impl Fn(&Contents) -> bool) {
        self.left.retain(|state| fits(state));
        assert!(!self.left.is_empty(), "silently wrong: {read}");
    }

    fn put(&mut self, tree: &str, key: &[u8], value: &[u8]) {
        for state in &mut self.left {
            let rows: &mut Rows = state.to_mut().get_mut(tree).unwrap();
            rows.insert(key.to_vec(), value.to_vec());
        }
    }
}
