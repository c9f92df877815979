//! Reading ahead: what is needed next is asked for before it is.

use crate::gate::{Gate, config, open};
use crate::sim::disk::SimDisk;

/// Enough for batches of a long scan.
const ROWS: u32 = 20_000;

/// A closed database with so many rows, all in leaves.
fn stored(rows: u32) -> (SimDisk, Gate) {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let (db, tree) = open(&disk, &gate);
    for row in 0..rows {
        tree.insert(row.to_be_bytes(), [b'.'; 20]).unwrap();
    }
    db.daemon().drain().unwrap();
    drop(tree);
    db.close().unwrap();
    (disk, gate)
}

/// A scan that was told of each segment only when it came to it waited for the disk half the time.
#[test]
fn a_long_scan_has_the_next_segment_read_meanwhile() {
    let (disk, gate) = stored(ROWS);
    let (db, tree) = open(&disk, &gate);
    let before = gate.hints();
    let a_few = tree.iter().take(100).count();
    assert_eq!((a_few, gate.hints() - before), (100, 0), "nobody knows that it goes on");
    assert_eq!(tree.iter().count(), ROWS as usize);
    let forward = gate.hints() - before;
    assert_eq!(tree.iter().rev().count(), ROWS as usize);
    let backward = gate.hints() - before - forward;
    drop(tree);
    db.close().unwrap();
    let db = config(&disk, &gate).read_only().open().unwrap();
    let before = gate.hints();
    assert_eq!(db.tree("t").unwrap().iter().count(), ROWS as usize);
    let read_only = gate.hints() - before;
    assert!(forward > 50 && backward > 50 && read_only > 50, "{forward} {backward} {read_only}");
    db.close().unwrap();
}

/// The first segment of each leaf was waited for, which was a tenth of a scan's time: the disk was
/// told of the segments of one leaf only.
#[test]
fn a_long_scan_has_the_next_leaf_read_meanwhile() {
    let (disk, gate) = stored(ROWS / 2);
    for direction in ["forward", "backward"] {
        let (db, tree) = open(&disk, &gate);
        let before = gate.reads();
        let rows = match direction {
            "forward" => tree.iter().count(),
            _ => tree.iter().rev().count(),
        };
        assert_eq!(rows, ROWS as usize / 2);
        let (told, others) = gate.reads();
        let (told, others) = (told - before.0, others - before.1);
        assert!(told > 300, "{direction}: {told} reads were told of");
        // The node of each leaf is among the others.
        assert!(others < told * 3 / 4, "{direction}: {others} were not, {told} were");
        drop(tree);
        db.close().unwrap();
    }
}

/// The next file of the log comes from the disk while this one is gone through.
#[test]
fn a_recovery_has_the_next_log_file_read_meanwhile() {
    let (disk, gate) = (SimDisk::new(1), Gate::default());
    let (db, tree) = open(&disk, &gate);
    for row in 0..ROWS / 4 {
        tree.insert(row.to_be_bytes(), [b'.'; 20]).unwrap();
    }
    let files = db.stats().wal_bytes;
    db.abandon();
    drop(tree);
    let before = gate.hints();
    let (db, tree) = open(&disk, &gate);
    assert!(gate.hints() - before > 4, "{} hints, {files} bytes", gate.hints() - before);
    assert_eq!(tree.iter().count(), ROWS as usize / 4);
    db.close().unwrap();
}
