//! What an opening after a kill takes, and what it leaves behind.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sapwood::{Background, Config, Database, MemoryStorage, StepPoint, Storage};

use crate::gate::{Gate, config};
use crate::sim::disk::SimDisk;

/// More than fits into what a recovery has in memory at once.
const ROWS: u32 = 60_000;

/// Rows in no order of a hundred bytes and more.
fn load(db: &Database, rows: u32) {
    let tree = db.tree("t").unwrap();
    for row in 0..rows {
        let key = row.wrapping_mul(0x9E37_79B9).to_be_bytes();
        tree.insert(key, [b'.'; 96]).unwrap();
    }
}

fn count(db: &Database) -> usize {
    db.tree("t").unwrap().iter().map(Result::unwrap).count()
}

/// The lengths of the log files, oldest first.
fn log_files(disk: &SimDisk) -> Vec<u64> {
    let mut names: Vec<String> = disk.list().unwrap();
    names.retain(|name| name.starts_with("wal-"));
    names.sort();
    names.iter().map(|name| disk.open(name).unwrap().len().unwrap()).collect()
}

/// The memory of the largest log file came on top of the budget. (The last one is read at once
/// where it may be torn.)
#[test]
fn a_recovery_needs_no_memory_for_a_whole_log_file() {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let large = config(&disk, &gate).cache_bytes(64 << 20).open().unwrap();
    load(&large, ROWS);
    large.abandon();
    let files = log_files(&disk);
    let (first, last) = (files[0], files[files.len() - 1]);
    assert!(first > 4 << 20 && first > 2 * last, "{files:?} bytes in the files");
    let db = config(&disk, &gate).cache_bytes(8 << 20).open().unwrap();
    let longest = gate.longest_log_read() as u64;
    assert!(longest <= last.max(1 << 20), "{longest} bytes of the log at once, of {files:?}");
    assert_eq!(count(&db), ROWS as usize);
    db.close().unwrap();
}

/// All that was replayed waited above one leaf. The first flush was one job of seconds, in which
/// no writer found room.
#[test]
fn a_recovery_leaves_no_heap_above_a_single_leaf() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let config = || {
        let config = Config::on(storage.clone()).background(Background::Manual);
        config.cache_bytes(8 << 20).checkpoint_bytes(1 << 30)
    };
    let db = config().open().unwrap();
    db.daemon().pause();
    load(&db, 2 * ROWS);
    db.abandon();
    let db = config().open().unwrap();
    let top = &db.shape().unwrap().trees[0].top;
    let waiting = top.buffer.bytes;
    assert!(top.height > 0 || waiting < 40 << 20, "{waiting} bytes wait above a leaf");
    assert_eq!(count(&db), 2 * ROWS as usize);
    db.close().unwrap();
}

/// Who opens a database does not wait until the system has taken back each file of its old log.
#[test]
fn the_old_log_is_removed_when_the_database_is_open() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let config = || Config::on(storage.clone()).cache_bytes(8 << 20);
    let logs = || {
        let names = storage.list().unwrap().into_iter();
        names.filter(|name| name.starts_with("wal-")).collect::<Vec<_>>()
    };
    let db = config().background(Background::Threads(1)).open().unwrap();
    load(&db, ROWS);
    db.abandon();
    // The names of files that were made ahead, and never used, are used again.
    let oldest = logs().swap_remove(0);
    let db = config().background(Background::Threads(1)).open().unwrap();
    let begun = Instant::now();
    while logs().contains(&oldest) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", logs());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(count(&db), ROWS as usize);
    db.abandon();
    // In manual mode the opening does it.
    let oldest = logs().swap_remove(0);
    let db = config().background(Background::Manual).open().unwrap();
    assert!(!logs().contains(&oldest), "{:?}", logs());
    assert_eq!(count(&db), ROWS as usize);
    db.close().unwrap();
}

/// An opening that was killed before it came to remove the old log left it for ever on a full disk,
/// where nothing was removed for want of a checkpoint.
#[test]
fn what_is_left_of_an_older_log_is_removed_before_a_recovery_needs_space() {
    let disk = SimDisk::new(1);
    let config = || Config::on(Arc::new(disk.clone())).background(Background::Manual);
    let open = || config().cache_bytes(8 << 20).open().unwrap();
    let db = open();
    load(&db, ROWS / 4);
    db.abandon();
    let names = disk.list().unwrap();
    let oldest = names.iter().find(|name| name.starts_with("wal-")).unwrap();
    let bytes = disk.read_file(oldest).unwrap();
    let db = open();
    load(&db, ROWS / 4);
    db.abandon();
    assert!(!disk.list().unwrap().contains(oldest));
    disk.create(oldest).unwrap().write_at(&bytes, 0).unwrap();
    disk.limit(0);
    let db = open();
    assert!(!disk.list().unwrap().contains(oldest), "{:?}", disk.list().unwrap());
    assert_eq!(count(&db), ROWS as usize / 4);
    db.abandon();
    disk.unlimit();
}

/// A helper that could not spill what was replayed last has no caller to tell: the opening has to
/// ask it, or it hands out a database in which those rows are missing.
#[test]
fn what_a_helper_could_not_spill_keeps_the_database_from_being_opened() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let config = || {
        let config = Config::on(storage.clone()).cache_bytes(8 << 20);
        config.background(Background::Threads(1))
    };
    let db = config().open().unwrap();
    db.daemon().pause();
    load(&db, ROWS / 10);
    db.abandon();
    let stop = |point| match point {
        StepPoint::SpillBuilt => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let refused = config().on_step(stop).open();
    assert!(refused.is_err(), "{} rows were read", count(&refused.unwrap()));
    let db = config().open().unwrap();
    assert_eq!(count(&db), ROWS as usize / 10);
    db.close().unwrap();
}
