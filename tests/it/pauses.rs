//! Writers do not wait for the file system where somebody else could have.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use sapwood::{Background, Storage, Tree};
use sapwood_serialize::WalHeader;

use crate::gate::{Gate, config};
use crate::sim::disk::SimDisk;

fn insert(tree: &Tree, row: u32) {
    tree.insert(row.wrapping_mul(0x9E37_79B1).to_be_bytes(), [b'.'; 100]).unwrap();
}

/// The file in which the log goes on.
fn log_file(disk: &SimDisk) -> Option<String> {
    let is_log = |name: &String| name.starts_with("wal-");
    let is_begun = |name: &String| {
        let bytes = disk.read_file(name).unwrap_or_default();
        WalHeader::decode(&bytes).is_ok_and(|header| header.is_begun)
    };
    disk.list().unwrap().into_iter().filter(is_log).filter(is_begun).max()
}

/// A writer stood still for as long as it took until there was a next log file: 180 ms beside the
/// sync of a checkpoint, and 1.8 s on a slow disk.
#[test]
fn a_full_memtable_does_not_wait_for_the_next_log_file() {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let config = config(&disk, &gate).cache_bytes(8 << 20);
    let db = config.background(Background::Threads(1)).open().unwrap();
    let tree = db.tree("t").unwrap();
    gate.hold_log_syncs();
    let (told, is_done) = channel();
    let writer = thread::spawn({
        let (tree, disk) = (tree.clone(), disk.clone());
        move || {
            // The file behind the first one is there already. The third one has to wait.
            let first = log_file(&disk);
            let fill = (0..).take_while(|row| row % 200 > 0 || log_file(&disk) == first);
            let memtable = fill.map(|row| insert(&tree, row)).count() as u32;
            let (second, rows) = (log_file(&disk), memtable * 9 / 4);
            (memtable..rows).for_each(|row| insert(&tree, row));
            told.send((rows, second)).unwrap();
        }
    });
    let done = is_done.recv_timeout(Duration::from_secs(60));
    let last = log_file(&disk);
    gate.release_log_syncs();
    writer.join().unwrap();
    let (rows, second) = done.expect("the writer waited for the sync of a log file");
    assert!(rows > 1000 && last == second, "{rows} {second:?} {last:?}");
    assert_eq!(tree.iter().count(), rows as usize);
    while log_file(&disk) == second {
        insert(&tree, u32::MAX);
        thread::sleep(Duration::from_millis(1));
    }
    db.verify().unwrap();
    db.close().unwrap();
}

/// What jobs write was handed to the disk all at once, by the sync of a checkpoint: until then it
/// filled the system's memory, and writers waited up to 0.25 s for a page.
#[test]
fn the_disk_is_told_of_what_jobs_write_before_a_checkpoint_syncs_it() {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let config = config(&disk, &gate).cache_bytes(8 << 20).checkpoint_bytes(u64::MAX);
    let db = config.background(Background::Threads(1)).open().unwrap();
    let tree = db.tree("t").unwrap();
    (0..40_000).for_each(|row| insert(&tree, row));
    db.daemon().drain().unwrap();
    let written_to_blocks = || {
        let stats = db.stats();
        stats.bytes_written - stats.wal_bytes
    };
    let written = written_to_blocks();
    let is_told = || gate.block_file_written_out() + (1 << 20) >= written;
    let patience = (0..60_000).take_while(|_| !is_told());
    patience.for_each(|_| thread::sleep(Duration::from_millis(1)));
    let told = gate.block_file_written_out();
    assert!(written > 2 << 20 && is_told(), "{told} of {written}");
    assert!(told <= written_to_blocks(), "what was told of twice is let go of");
    drop(tree);
    db.close().unwrap();
}

/// The system kept the log in memory until there was no more, and had writers wait for it to be
/// written: 0.1 to 0.5 s.
#[test]
fn the_system_is_asked_for_the_log_before_memory_is_short() {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let config = config(&disk, &gate).cache_bytes(8 << 20);
    let db = config.background(Background::Threads(1)).open().unwrap();
    let tree = db.tree("t").unwrap();
    (0..40_000).for_each(|row| insert(&tree, row));
    // Everything is asked for, but the end of the active file.
    let logged = db.stats().wal_bytes;
    let is_asked = || gate.written_out() + (2 << 20) >= logged;
    let patience = (0..60_000).take_while(|_| !is_asked());
    patience.for_each(|_| thread::sleep(Duration::from_millis(1)));
    assert!(logged > 4 << 20 && is_asked(), "{} of {logged}", gate.written_out());
    assert_eq!(tree.iter().count(), 40_000);
}
