//! Every kind of error, produced through the public API, with the sentence that it says.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use sapwood::typed::Bincode;
use sapwood::{
    Background, Compression, Config, Database, Durability, Error, MemoryStorage, Overwrite, Result,
    StepPoint, Tree, merge,
};
use sapwood_serialize::Storage;

use crate::sim::disk::{Repeat, SimDisk};

const SOURCE: &str = include_str!("../../src/error.rs");

fn memory() -> Database {
    Config::in_memory().background(Background::Manual).tiny().cache_bytes(256 << 10).open().unwrap()
}

fn on(disk: &SimDisk) -> Config {
    Config::on(Arc::new(disk.clone())).tiny().cache_bytes(256 << 10).background(Background::Manual)
}

fn tree(db: &Database) -> Tree {
    db.tree("t").unwrap()
}

fn failed<T>(result: Result<T>) -> Error {
    result.err().unwrap()
}

/// A disk with a closed database of a few rows.
fn closed() -> SimDisk {
    let disk = SimDisk::new(1);
    let db = on(&disk).open().unwrap();
    (0..50).for_each(|number| tree(&db).insert(format!("{number:03}"), [7; 40]).unwrap());
    db.close().unwrap();
    disk
}

fn fault() -> Error {
    let disk = closed();
    let db = on(&disk).open().unwrap();
    disk.fail_at(disk.operations(), std::io::ErrorKind::Other, Repeat::Forever);
    failed(db.checkpoint())
}

fn indeterminate() -> Error {
    let disk = closed();
    let db = on(&disk).open().unwrap();
    disk.fail_at(disk.operations() + 1, std::io::ErrorKind::Other, Repeat::Forever);
    let mut batch = db.batch();
    batch.insert(&tree(&db), "a", "1");
    failed(batch.commit(Durability::Synced))
}

fn superblock() -> Error {
    let disk = closed();
    for slot in [0, 4096] {
        (0..200).for_each(|byte| disk.flip("sapwood.db", slot + byte, 0xff));
    }
    failed(on(&disk).open())
}

fn locked() -> Error {
    let storage = Arc::new(MemoryStorage::new());
    let _holder = Config::on(storage.clone()).open().unwrap();
    failed(Config::on(storage).open())
}

fn folder(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("sapwood-errors-{name}-{}", std::process::id()))
}

fn unopenable() -> Error {
    let path = folder("file");
    std::fs::write(&path, "a file where a folder should be").unwrap();
    let error = failed(Config::new(&path).open());
    std::fs::remove_file(&path).unwrap();
    error
}

fn not_a_database() -> Error {
    let storage = MemoryStorage::new();
    storage.create("something else").unwrap();
    failed(Config::on(Arc::new(storage)).open())
}

fn conflict() -> Error {
    let db = memory();
    let mut tx = db.begin().unwrap();
    tx.insert(&tree(&db), "k", "1").unwrap();
    tree(&db).insert("k", "2").unwrap();
    failed(tx.commit())
}

fn savepoint() -> Error {
    let db = memory();
    let other = db.begin().unwrap().savepoint();
    failed(db.begin().unwrap().rollback_to(&other))
}

fn operator() -> Error {
    let db = memory();
    db.tree_with("t", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    failed(db.tree_with("t", |tree| tree.merge_operator(merge::Append)))
}

fn unmerged() -> Error {
    let db = memory();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    tree.merge("k", "not eight bytes").unwrap();
    failed(tree.get("k"))
}

fn tree_option() -> Error {
    let db = memory();
    db.tree_with("t", |tree| tree.compression(Compression::None)).unwrap();
    failed(db.tree_with("t", |tree| tree.compression(Compression::Lz4)))
}

fn dropped() -> Error {
    let db = memory();
    let tree = tree(&db);
    db.drop_tree("t").unwrap();
    failed(tree.insert("k", "v"))
}

fn exists() -> Error {
    let db = memory();
    db.tree("t").unwrap();
    db.tree("u").unwrap();
    failed(db.rename_tree("t", "u"))
}

fn refused() -> Error {
    let db = memory();
    let tree = tree(&db);
    tree.insert("k", "v").unwrap();
    let mut tx = db.begin().unwrap();
    failed(tx.cursor_mut(&tree).insert("k", "v", Overwrite::Refused))
}

fn closed_error() -> Error {
    let db = memory();
    let tree = tree(&db);
    db.close().unwrap();
    failed(tree.get("k"))
}

fn paused() -> Error {
    let db = memory();
    db.daemon().pause();
    failed(db.daemon().drain())
}

fn panicked() -> Error {
    let config = Config::in_memory().tiny().cache_bytes(256 << 10);
    let spill_begun = |point| match point {
        StepPoint::SpillBegun => panic!("on purpose"),
        _ => ControlFlow::Continue(()),
    };
    let db = config.on_step(spill_begun).open().unwrap();
    let tree = tree(&db);
    for number in 0..1_000_000u32 {
        if let Err(error) = tree.insert(number.to_be_bytes(), [7; 100]) {
            return error;
        }
    }
    panic!("the background has not panicked");
}

fn decode() -> Error {
    let db = memory();
    tree(&db).insert("three", "v").unwrap();
    failed(tree(&db).typed::<u64, String>().iter().next().unwrap())
}

fn encode() -> Error {
    struct Unwilling;
    impl serde::Serialize for Unwilling {
        fn serialize<S: serde::Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it does not want to"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Unwilling {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
            Ok(Unwilling)
        }
    }
    let db = memory();
    failed(tree(&db).typed::<u64, Bincode<Unwilling>>().insert(&1, &Unwilling))
}

fn read_only() -> Error {
    let disk = closed();
    let db = on(&disk).read_only().open().unwrap();
    failed(tree(&db).insert("k", "v"))
}

fn needs_recovery() -> Error {
    let disk = SimDisk::new(2);
    let db = on(&disk).checkpoint_bytes(1 << 40).open().unwrap();
    (0..5000u32).for_each(|number| tree(&db).insert(number.to_be_bytes(), [7; 100]).unwrap());
    db.abandon();
    failed(on(&disk).read_only().open())
}

fn not_empty() -> Error {
    let path = folder("full");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("something"), "").unwrap();
    let error = failed(memory().checkpoint_to(&path));
    std::fs::remove_dir_all(&path).unwrap();
    error
}

fn copy() -> Error {
    let (db, target) = (memory(), SimDisk::new(3));
    target.fail_at(0, std::io::ErrorKind::Other, Repeat::Forever);
    failed(db.checkpoint_onto(&target))
}

fn lost() -> Error {
    let disk = closed();
    for slot in [0, 4096] {
        (0..4096).for_each(|byte| disk.flip("sapwood.db", slot + byte, 0xff));
    }
    failed(sapwood::salvage_on(Arc::new(disk), Config::in_memory()))
}

fn append_beside_other_keys() -> Error {
    let db = memory();
    tree(&db).insert("not a number", "v").unwrap();
    failed(tree(&db).append("v"))
}

/// What `Database::verify` finds where every checksum is right: only a bug of the engine leads
/// there.
/// `src/verify/tests.rs` breaks each rule on purpose, and asks `verify`.
const BROKEN_RULE: &str = "Verify";

/// A kind, how to get it, and a part of its sentence.
type Case = (&'static str, fn() -> Error, &'static str);

const CASES: &[Case] = &[
    ("Fault", fault, "sapwood.db"),
    ("Indeterminate", indeterminate, "nobody knows"),
    ("Superblock", superblock, "sapwood.db"),
    ("Locked", locked, "in use by"),
    ("Open", unopenable, "cannot be opened"),
    ("NotADatabase", not_a_database, "no sapwood database"),
    ("NoDatabase", || failed(Config::in_memory().existing().open()), "there is no database"),
    ("KeyTooLarge", || failed(tree(&memory()).insert([0; 65_536], "")), "at most 65535"),
    ("ValueTooLarge", || failed(tree(&memory()).insert("k", [0; 40_000])), "the value has"),
    ("BatchTooLarge", batch_too_large, "the batch has"),
    ("TreeName", || failed(memory().tree("")), "it is empty"),
    ("NoSuchTree", || failed(memory().existing_tree("t")), "no tree named \"t\""),
    ("OtherDatabase", || failed(memory().begin().unwrap().get(&tree(&memory()), "")), "another"),
    ("Conflict", conflict, "run it again"),
    ("NotAscending", || failed(tree(&memory()).ingest([("b", ""), ("a", "")])), "row 2"),
    ("Refused", refused, "k"),
    ("Refused", append_beside_other_keys, "t"),
    ("Savepoint", savepoint, "savepoint"),
    ("Operator", operator, "open it with the operator that it has"),
    ("NoOperator", || failed(tree(&memory()).merge("k", "1")), "has no merge operator"),
    ("Merge", unmerged, "cannot be merged"),
    ("TreeExists", exists, "\"u\""),
    ("TreeDropped", dropped, "was dropped"),
    ("TreeOption", tree_option, "compression"),
    ("Decode", decode, "key"),
    ("Encode", encode, "does not want"),
    ("Option", || failed(Config::in_memory().cache_bytes(1).open()), "cache_bytes"),
    ("Closed", closed_error, "closed"),
    ("Paused", paused, "paused"),
    ("Fault", panicked, "since an earlier failure (work on the database panicked: on purpose)"),
    ("ReadOnly", read_only, "read-only"),
    ("NeedsRecovery", needs_recovery, "open it once for writing"),
    ("NotEmpty", not_empty, "empty"),
    ("Copy", copy, "copy"),
    ("Lost", lost, "superblock"),
];

fn batch_too_large() -> Error {
    let db = memory();
    let (mut batch, tree) = (db.batch(), tree(&db));
    (0..4000u32).for_each(|number| batch.insert(&tree, number.to_be_bytes(), [7; 100]));
    failed(batch.commit(Durability::Buffered))
}

/// The kinds that the source names.
fn kinds() -> BTreeSet<&'static str> {
    let (_, rest) = SOURCE.split_once("enum Kind {").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = variants.filter(|line| line.starts_with(|first: char| first.is_uppercase()));
    variants.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap()).collect()
}

#[test]
fn every_kind_of_error_can_be_met_and_says_what_is_wrong() {
    for (kind, produce, part) in CASES {
        let error = produce();
        assert_eq!(error.kind_name(), *kind, "{error}");
        assert!(error.to_string().contains(part), "{kind}: {error}");
    }
}

#[test]
fn no_kind_of_error_is_left_out() {
    let covered = CASES.iter().map(|(kind, ..)| *kind).chain([BROKEN_RULE]);
    let covered: BTreeSet<&str> = covered.collect();
    assert_eq!(covered, kinds());
}
