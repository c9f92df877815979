//! Databases that were written once and are kept: what this version finds in them is what was put
//! in.
//!
//! `SAPWOOD_GOLDEN=write cargo test --test it golden` writes them anew, after a change of the
//! format.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sapwood::{Background, Config, Database, merge};
use sapwood_serialize::{Storage, superblock};

use crate::sim::disk::SimDisk;

type Files = BTreeMap<String, Vec<u8>>;
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// How each of them was left. The last two are as unclean, with logs of the versions 1 and 3.
const SPECIMENS: [&str; 4] = ["closed", "unclean", "old-log", "log-3"];

/// No version of today writes these: they go with the format of the block file.
const OLD_LOGS: [&str; 2] = ["old-log", "log-3"];

fn tiny(disk: &SimDisk) -> Config {
    Config::on(Arc::new(disk.clone()))
        .tiny()
        .cache_bytes(256 << 10)
        .background(Background::Manual)
        .checkpoint_bytes(1 << 40)
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number:04}").into_bytes()
}

/// Bytes that cannot be compressed.
fn noise(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..40).map(next).collect()
}

/// Every kind of message: some of it sinks to the leaves, some waits in buffers, and what is last
/// stays in memory and the log.
fn play(db: &Database) {
    let plain = db.tree("plain").unwrap();
    let sums = db.tree_with("sums", |tree| tree.merge_operator(merge::AddI64)).unwrap();
    let texts = db.tree_with("texts \u{1f333}", |tree| tree.merge_operator(merge::Append)).unwrap();
    db.tree("empty").unwrap();
    for number in 0..60 {
        plain.insert(key(number), noise(number)).unwrap();
        sums.merge(key(number % 20), 1i64.to_le_bytes()).unwrap();
    }
    plain.insert("", "the empty key").unwrap();
    plain.insert([0xff; 40], "").unwrap();
    plain.insert("long", "r".repeat(900)).unwrap();
    db.daemon().drain().unwrap();
    for number in 0..20 {
        plain.remove(key(number * 2)).unwrap();
        texts.merge(key(number % 7), format!("{number},")).unwrap();
    }
    plain.remove_range("key-0043".."key-0047").unwrap();
    db.checkpoint().unwrap();
}

/// What is in the log alone: frames of both kinds.
fn play_last(db: &Database) {
    let sums = db.tree_with("sums", |tree| tree.merge_operator(merge::AddI64)).unwrap();
    let mut batch = db.batch();
    batch.insert(&db.tree("plain").unwrap(), key(2), "back again");
    batch.merge(&sums, key(3), (-5i64).to_le_bytes());
    batch.remove_prefix(&db.tree("plain").unwrap(), "key-005");
    batch.commit(sapwood::Durability::Synced).unwrap();
    db.tree("young").unwrap().insert("in", "the log").unwrap();
    db.sync().unwrap();
}

/// What must be found, told apart from how it was put there.
fn expected(specimen: &str) -> BTreeMap<String, Rows> {
    let mut plain: Rows = (0..60)
        .filter(|number| (number % 2 == 1 || *number >= 40) && !(43..47).contains(number))
        .map(|number| (key(number), noise(number)))
        .collect();
    plain.insert(Vec::new(), b"the empty key".to_vec());
    plain.insert(vec![0xff; 40], Vec::new());
    plain.insert(b"long".to_vec(), vec![b'r'; 900]);
    let mut sums: Rows = (0..20).map(|number| (key(number), 3i64.to_le_bytes().to_vec())).collect();
    let text = |first: u64| {
        let parts = (first..20).step_by(7).map(|number| format!("{number},"));
        (key(first), parts.collect::<String>().into_bytes())
    };
    let texts: Rows = (0..7).map(text).collect();
    let mut trees = BTreeMap::from([("empty".to_owned(), Rows::new())]);
    if specimen != "closed" {
        plain.insert(key(2), b"back again".to_vec());
        plain.retain(|key, _| !key.starts_with(b"key-005"));
        sums.insert(key(3), (-2i64).to_le_bytes().to_vec());
        let young = Rows::from([(b"in".to_vec(), b"the log".to_vec())]);
        trees.insert("young".to_owned(), young);
    }
    trees.extend([
        ("plain".to_owned(), plain),
        ("sums".to_owned(), sums),
        ("texts \u{1f333}".to_owned(), texts),
    ]);
    trees
}

fn check(db: &Database, specimen: &str) {
    db.verify().unwrap();
    let expected = expected(specimen);
    let names: Vec<String> = expected.keys().cloned().collect();
    assert_eq!(db.tree_names(), names, "{specimen}");
    for (name, rows) in expected {
        let found = db.tree(&name).unwrap().iter().map(Result::unwrap);
        let found: Rows = found.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(found, rows, "{specimen}: {name}");
    }
}

/// The files of a specimen as this version writes them.
fn written_now(specimen: &str) -> Files {
    let disk = SimDisk::new(1);
    let db = tiny(&disk).open().unwrap();
    play(&db);
    if specimen == "closed" {
        db.close().unwrap();
    } else {
        play_last(&db);
        db.abandon();
    }
    let names = disk.list().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.read_file(&name).unwrap())).collect()
}

fn folder(specimen: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(specimen)
}

/// The files of a specimen as they are kept.
fn kept(specimen: &str) -> Files {
    let is_wish = std::env::var("SAPWOOD_GOLDEN").is_ok_and(|wish| wish == "write");
    if is_wish && !OLD_LOGS.contains(&specimen) {
        keep(specimen, &written_now(specimen));
    }
    let entries = fs::read_dir(folder(specimen)).unwrap().map(|entry| entry.unwrap());
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    let files: Files = entries.map(file).collect();
    let version = u32::from_le_bytes(newest_slot(&files)[8..12].try_into().unwrap());
    let advice = "the format has changed: run SAPWOOD_GOLDEN=write cargo test --test it golden";
    assert_eq!(version, superblock::FORMAT_VERSION, "{advice}");
    files
}

fn keep(specimen: &str, files: &Files) {
    // One test at a time writes, and nobody finds half of it.
    static WRITING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _alone = WRITING.lock().unwrap();
    let folder = folder(specimen);
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        if !files.contains_key(entry.file_name().to_str().unwrap()) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for (name, bytes) in files {
        if fs::read(folder.join(name)).ok().as_ref() != Some(bytes) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

fn newest_slot(files: &Files) -> &[u8] {
    let slots = &files["sapwood.db"][..2 * superblock::SLOT_BYTES];
    let (even, odd) = slots.split_at(superblock::SLOT_BYTES);
    if even.starts_with(&superblock::MAGIC) { even } else { odd }
}

fn disk_of(files: &Files) -> SimDisk {
    let disk = SimDisk::new(2);
    files.iter().for_each(|(name, bytes)| disk.write_file(name, bytes));
    disk
}

#[test]
fn what_was_written_once_is_read_now() {
    for specimen in SPECIMENS {
        let files = kept(specimen);
        let bytes: usize = files.values().map(Vec::len).sum();
        assert!(bytes < 128 << 10, "{specimen} has {bytes} bytes");
        assert_eq!(files.len() > 1, specimen != "closed", "unclean ones have a log");
        let disk = disk_of(&files);
        check(&tiny(&disk).read_only().open().unwrap(), specimen);
        let db = tiny(&disk).open().unwrap();
        check(&db, specimen);
        db.close().unwrap();
        check(&tiny(&disk).open().unwrap(), specimen);
    }
}

#[test]
fn what_was_written_once_is_read_from_a_folder() {
    for specimen in SPECIMENS {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in kept(specimen) {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        check(&Config::new(folder.path()).open().unwrap(), specimen);
    }
}

/// The kept ones are not at fault when this fails.
#[test]
fn what_is_written_now_holds_the_same() {
    for specimen in ["closed", "unclean"] {
        let disk = disk_of(&written_now(specimen));
        let db = tiny(&disk).open().unwrap();
        check(&db, specimen);
        assert!(db.stats().trees["plain"].height >= 1, "{:?}", db.stats().trees);
    }
}

#[test]
fn another_version_is_refused_by_name() {
    for version in [superblock::FORMAT_VERSION - 1, superblock::FORMAT_VERSION + 1] {
        let mut files = kept("closed");
        for slot in files.get_mut("sapwood.db").unwrap()[..8192].chunks_mut(4096) {
            slot[8..12].copy_from_slice(&version.to_le_bytes());
            let seed = u64::from_le_bytes(superblock::MAGIC);
            let sum = sapwood_serialize::checksum(seed, &slot[..4088]);
            slot[4088..].copy_from_slice(&sum.to_le_bytes());
        }
        let disk = disk_of(&files);
        for config in [tiny(&disk), tiny(&disk).read_only()] {
            let error = config.open().unwrap_err();
            assert!(error.to_string().contains(&format!("version {version}")), "{error}");
            assert!(!error.is_corruption(), "{error}");
        }
    }
}
