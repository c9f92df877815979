//! Copies of databases in use: what is in them, and what is left when one fails.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sapwood::{Background, Config, Database, Durability, MemoryStorage, Storage};

use crate::sim::disk::{Cut, Repeat, SimDisk};

fn key(number: u64) -> String {
    format!("key-{:06}", number.wrapping_mul(7919) % 1_000_000)
}

fn on(storage: &(impl Storage + Clone)) -> Config {
    Config::on(Arc::new(storage.clone())).tiny().cache_bytes(512 << 10)
}

fn quiet(storage: &(impl Storage + Clone)) -> Config {
    on(storage).background(Background::Manual)
}

/// Batch `number`: a row in each of two trees, and an older one removed from both.
fn write(db: &Database, number: u64, durability: Durability) {
    let (left, right) = (db.tree("left").unwrap(), db.tree("right").unwrap());
    let mut batch = db.batch();
    batch.insert(&left, key(number), number.to_le_bytes());
    batch.insert(&right, key(number), number.to_le_bytes());
    if number >= 100 && number.is_multiple_of(10) {
        batch.remove(&left, key(number - 95));
        batch.remove(&right, key(number - 95));
    }
    batch.commit(durability).unwrap();
}

/// Checks that the database holds exactly what some number of batches leaves; returns the number.
fn batches_in(db: &Database) -> u64 {
    let newest = |name: &str| {
        let rows = db.tree(name).unwrap().iter();
        rows.map(|row| u64::from_le_bytes((*row.unwrap().1).try_into().unwrap())).max()
    };
    let batches = newest("left").map_or(0, |newest| newest + 1);
    let removed = |number: u64| {
        let by = number + 95;
        by >= 100 && by.is_multiple_of(10) && by < batches
    };
    let expected = (0..batches).filter(|number| !removed(*number));
    let mut expected: Vec<_> =
        expected.map(|number| (key(number).into_bytes(), number.to_le_bytes().to_vec())).collect();
    expected.sort_unstable();
    for name in ["left", "right"] {
        let rows = db.tree(name).unwrap().iter().map(Result::unwrap);
        let found: Vec<_> = rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(found, expected, "{name}");
    }
    batches
}

#[test]
fn a_copy_made_while_writers_run_is_a_moment_of_the_original() {
    let db = on(&MemoryStorage::new()).checkpoint_bytes(64 << 10).open().unwrap();
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let copies = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let number = written.load(Ordering::Acquire);
                let unlogged = number.is_multiple_of(3);
                let durability = if unlogged { Durability::NoWal } else { Durability::Buffered };
                write(&db, number, durability);
                written.store(number + 1, Ordering::Release);
            }
        });
        let mut copies = Vec::new();
        for least in [100, 3000, 6000] {
            while written.load(Ordering::Acquire) < least {
                std::thread::yield_now();
            }
            let before = written.load(Ordering::Acquire);
            let target = MemoryStorage::new();
            db.checkpoint_onto(&target).unwrap();
            // One more may have been committed than the writer has told.
            copies.push((target, before, written.load(Ordering::Acquire) + 1));
        }
        stop.store(true, Ordering::Relaxed);
        copies
    });
    for (storage, before, after) in copies {
        assert_eq!(storage.list().unwrap(), ["sapwood.db"], "no log is needed");
        let copy = quiet(&storage).open().unwrap();
        copy.verify().unwrap();
        let batches = batches_in(&copy);
        assert!((before..=after).contains(&batches), "{before} {batches} {after}");
        // It goes on by itself.
        (batches..batches + 500).for_each(|number| write(&copy, number, Durability::Buffered));
        assert_eq!(batches_in(&copy), batches + 500);
        copy.close().unwrap();
        let copy = quiet(&storage).open().unwrap();
        assert_eq!(batches_in(&copy), batches + 500);
        copy.verify().unwrap();
    }
    assert_eq!(batches_in(&db), written.load(Ordering::Acquire));
    db.verify().unwrap();
}

/// A database in manual mode with `count` batches, most of them in the trees.
fn original(count: u64) -> Database {
    let db = quiet(&SimDisk::new(1)).open().unwrap();
    (0..count).for_each(|number| write(&db, number, Durability::Buffered));
    db
}

#[test]
fn a_copy_that_fails_leaves_nothing_and_harms_nobody() {
    let db = original(1500);
    let probe = SimDisk::new(2);
    db.checkpoint_onto(&probe).unwrap();
    let operations = probe.operations();
    assert!(operations > 5, "{operations}");
    for operation in 0..operations {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let target = SimDisk::new(3);
            target.fail_at(operation, kind, Repeat::Once);
            let error = db.checkpoint_onto(&target).unwrap_err();
            assert!(!error.is_fatal() && !error.is_corruption(), "{error}");
            assert_eq!(error.is_retryable(), kind == ErrorKind::StorageFull, "{error}");
            assert!(error.to_string().starts_with("the copy in a simulated disk could not"));
            assert!(target.list().unwrap().is_empty(), "operation {operation}");
            db.checkpoint_onto(&target).unwrap();
            assert_eq!(batches_in(&quiet(&target).open().unwrap()), 1500);
        }
    }
    let small = SimDisk::new(4).with_capacity(64 << 10);
    let error = db.checkpoint_onto(&small).unwrap_err();
    assert!(error.is_retryable() && small.list().unwrap().is_empty(), "{error}");
    write(&db, 1500, Durability::Synced);
    assert_eq!(batches_in(&db), 1501);
    db.verify().unwrap();
}

#[test]
fn a_copy_that_a_power_cut_broke_off_is_no_database() {
    let db = original(300);
    let probe = SimDisk::new(5);
    db.checkpoint_onto(&probe).unwrap();
    let mut whole = 0;
    for operation in 0..=probe.operations() {
        let target = SimDisk::new(6);
        target.crash_at(operation);
        let returned = db.checkpoint_onto(&target);
        for cut in [Cut::LoseAll, Cut::KeepAll] {
            match quiet(&target.power_cut(cut)).existing().open() {
                Ok(copy) => {
                    assert_eq!(batches_in(&copy), 300);
                    copy.verify().unwrap();
                    whole += 1;
                }
                Err(error) => assert!(returned.is_err(), "{error}"),
            }
        }
    }
    assert!(whole >= 2, "the last one is whole");
}

#[test]
fn only_an_empty_folder_becomes_a_copy() {
    let db = original(300);
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new/copy");
    db.checkpoint_to(&folder).unwrap();
    let copy = Config::new(&folder).read_only().open().unwrap();
    assert_eq!(batches_in(&copy), 300);
    drop(copy);
    let error = db.checkpoint_to(&folder).unwrap_err();
    let sentence = format!("{} is not empty; ", folder.display());
    assert!(error.to_string().starts_with(&sentence), "{error}");
    assert_eq!(batches_in(&Config::new(&folder).open().unwrap()), 300);
    let other = parent.path().join("other");
    fs::create_dir_all(other.join("empty")).unwrap();
    assert!(db.checkpoint_to(&other).is_err());
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "no lock file is left");
    fs::write(parent.path().join("file"), "x").unwrap();
    let error = db.checkpoint_to(parent.path().join("file")).unwrap_err();
    assert!(!error.is_fatal(), "{error}");
    let reader = Config::new(&folder).read_only().open().unwrap();
    assert!(reader.checkpoint_to(parent.path().join("third")).unwrap_err().is_read_only());
}

#[cfg(target_os = "linux")]
#[test]
fn holes_stay_holes() {
    use std::os::unix::fs::MetadataExt;
    let db = original(3000);
    db.checkpoint().unwrap();
    // What the rewritten leaves have left lies between what stays.
    db.tree("left").unwrap().remove_range("key-1".."key-8").unwrap();
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    let parent = tempfile::tempdir().unwrap();
    db.checkpoint_to(parent.path().join("copy")).unwrap();
    let file = fs::metadata(parent.path().join("copy/sapwood.db")).unwrap();
    let (taken, live) = (file.blocks() * 512, db.stats().live_bytes);
    assert!(taken < file.len(), "{taken} {}", file.len());
    // Besides the live bytes there are the slots and the tables.
    assert!((live..live + (64 << 10)).contains(&taken), "{taken} {live}");
}
