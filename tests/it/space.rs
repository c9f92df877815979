//! Space that goes back to the system, and comes back from it before it is needed.

use std::sync::Arc;

use sapwood::{Background, Config, Database, Storage, Tree};
use sapwood_serialize::WalHeader;

use crate::sim::disk::SimDisk;

const ROWS: u32 = 12_000;

fn key(row: u32) -> String {
    format!("{row:06}")
}

fn fill(tree: &Tree, rows: std::ops::Range<u32>) {
    rows.for_each(|row| tree.insert(key(row), [row as u8; 90]).unwrap());
}

/// Most of the rows in the middle are gone, and those at both ends are there.
fn hollow(config: Config) -> (Database, Tree) {
    let db = config.tiny().cache_bytes(1 << 20).background(Background::Manual).open().unwrap();
    let tree = db.tree("t").unwrap();
    fill(&tree, 0..ROWS);
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    tree.remove_range(key(ROWS / 6)..key(ROWS / 6 * 5)).unwrap();
    db.checkpoint().unwrap();
    // Empty leaves are merged, so that their nodes go as well.
    while db.maintain(1000).unwrap() > 0 {}
    db.checkpoint().unwrap();
    (db, tree)
}

fn check(db: &Database, tree: &Tree, rows: usize) {
    assert_eq!(tree.iter().filter(Result::is_ok).count(), rows);
    db.verify().unwrap();
}

#[test]
fn what_a_range_delete_frees_in_the_middle_of_the_file_goes_back_to_the_disk() {
    let disk = SimDisk::new(1);
    let (db, tree) = hollow(Config::on(Arc::new(disk.clone())));
    let stats = db.stats();
    assert!(stats.hollow_bytes > stats.live_bytes, "{stats:?}");
    // Four fifths of what is free in the block file; what tables and nodes may need stays.
    let logs = disk.files().into_iter().filter(|(name, _)| name.starts_with("wal-"));
    let block_file = disk.space() - logs.map(|(_, bytes)| bytes).sum::<u64>();
    let free = block_file - stats.live_bytes;
    assert!(free < stats.hollow_bytes / 4, "{free} bytes, {stats:?}");
    check(&db, &tree, ROWS as usize / 3);
    // It is used again.
    fill(&tree, ROWS / 6..ROWS / 6 * 5);
    db.daemon().drain().unwrap();
    assert!(db.stats().hollow_bytes < stats.hollow_bytes);
    check(&db, &tree, ROWS as usize);
    db.close().unwrap();
}

/// A hole is no space: it has to be asked for before a row is taken that may need it.
#[test]
fn a_disk_without_space_for_the_holes_is_full_before_a_row_is_taken() {
    let disk = SimDisk::new(1);
    let (db, tree) = hollow(Config::on(Arc::new(disk.clone())));
    assert!(db.stats().hollow_bytes > 200 << 10);
    disk.limit(100 << 10);
    let refused = (ROWS..).find_map(|row| Some((row, tree.insert(key(row), [7; 90]).err()?)));
    let (row, error) = refused.unwrap();
    assert!(error.is_retryable(), "{error}");
    let rows = (ROWS / 3 + row - ROWS) as usize;
    assert!(rows > ROWS as usize / 3, "there was some space");
    check(&db, &tree, rows);
    disk.unlimit();
    fill(&tree, row..row + 1000);
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    check(&db, &tree, rows + 1000);
    db.close().unwrap();
}

/// An opening cannot tell which long gaps are holes.
#[test]
fn holes_are_asked_for_again_after_an_opening() {
    let disk = SimDisk::new(1);
    let (db, tree) = hollow(Config::on(Arc::new(disk.clone())));
    db.abandon();
    drop(tree);
    let config = Config::on(Arc::new(disk.clone())).tiny().cache_bytes(1 << 20);
    let db = config.background(Background::Manual).open().unwrap();
    let tree = db.tree("t").unwrap();
    assert!(db.stats().hollow_bytes > db.stats().live_bytes);
    disk.limit(100 << 10);
    let refused = (ROWS..3 * ROWS).find_map(|row| tree.insert(key(row), [7; 90]).err());
    assert!(refused.unwrap().is_retryable());
    disk.unlimit();
    fill(&tree, ROWS..2 * ROWS);
    db.daemon().drain().unwrap();
    db.verify().unwrap();
    db.close().unwrap();
}

/// Where the system tells it: what an overwritten database takes once nobody writes.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_database_gives_the_space_of_what_was_overwritten_back() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let db = Config::new(folder.path()).cache_mib(8).idle_share(100).open().unwrap();
    let tree = db.tree("t").unwrap();
    let value = |row: u32| std::array::from_fn(|at| (row * 31 + at as u32 * row / 7) as u8);
    for round in 0..3 {
        for row in 0..150_000 {
            let value: [u8; 100] = value(row * 3 + round);
            tree.insert(key(row * 7_919 % 150_000), value).unwrap();
        }
        db.daemon().wait_idle().unwrap();
    }
    let stats = db.stats();
    let disk = std::fs::metadata(folder.path().join("sapwood.db")).unwrap().blocks() * 512;
    assert!(disk <= stats.file_bytes - stats.hollow_bytes + (1 << 20), "{disk} {stats:?}");
    // What the last checkpoint alone holds, and what is free, are let go above 4 MiB each.
    assert!(disk < stats.live_bytes * 5 / 4 + (8 << 20), "{disk} {stats:?}");
    assert_eq!(tree.iter().count(), 150_000);
    db.verify().unwrap();
    db.close().unwrap();
}

/// Helpers of a recovery flush what is due, and rewriting leaves takes space that later parts of
/// the log need.
#[test]
fn a_recovery_with_helpers_on_a_full_disk_shows_everything() {
    let disk = SimDisk::new(1);
    let config = || Config::on(Arc::new(disk.clone())).tiny().cache_bytes(256 << 10);
    let db = config().background(Background::Manual).checkpoint_bytes(u64::MAX).open().unwrap();
    let tree = db.tree("t").unwrap();
    fill(&tree, 0..ROWS);
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    for round in 1..4 {
        for row in (0..ROWS / 2).map(|row| row * 7919 % ROWS) {
            tree.insert(key(row), [round; 90]).unwrap();
        }
    }
    let rows: Vec<_> = tree.iter().map(Result::unwrap).collect();
    db.abandon();
    drop(tree);
    // Log files that were made ahead would be space for a new log.
    for name in disk.list().unwrap().iter().filter(|name| name.starts_with("wal-")) {
        let header = WalHeader::decode(&disk.read_file(name).unwrap()).unwrap();
        if !header.is_begun {
            disk.remove(name).unwrap();
        }
    }
    disk.limit(0);
    for _ in 0..3 {
        let db = config().background(Background::Threads(2)).open().unwrap();
        let tree = db.tree("t").unwrap();
        assert!(tree.iter().map(Result::unwrap).eq(rows.iter().cloned()), "a row is lost");
        db.verify().unwrap();
        db.abandon();
    }
    disk.unlimit();
    let db = config().background(Background::Threads(2)).open().unwrap();
    let tree = db.tree("t").unwrap();
    assert!(db.stats().movement.spills > 3, "that is no work for helpers");
    tree.insert(key(ROWS), "one more").unwrap();
    assert_eq!(tree.iter().count(), rows.len() + 1);
    db.verify().unwrap();
    db.close().unwrap();
}
