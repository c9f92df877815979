//! A backup of a database that is being written to: a copy is made, opened and compared.
//!
//! `cargo run --release --example backup`

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sapwood::{Config, Database, Durability};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Copies a database in use.
pub fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("sapwood-backup-{}", std::process::id()));
    let outcome = back_up(&folder);
    std::fs::remove_dir_all(&folder).ok();
    outcome
}

fn back_up(folder: &Path) -> Result<()> {
    let db = Config::new(folder.join("original")).open()?;
    let (committed, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let before = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&db, &committed, &stop));
        while committed.load(Ordering::Acquire) < 20_000 && !writer.is_finished() {
            std::thread::yield_now();
        }
        let before = committed.load(Ordering::Acquire);
        // This is the whole backup; the writer goes on meanwhile.
        let copied = db.checkpoint_to(folder.join("backup"));
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic")?;
        copied.map(|()| before)
    })?;
    let after = committed.load(Ordering::Acquire);
    db.close()?;

    let backup = Config::new(folder.join("backup")).read_only().open()?;
    let report = backup.verify()?;
    let found = check(&backup)?;
    assert!(before <= found && found <= after + 1, "{before} {found} {after}");
    println!("transfers before the copy {before}, in it {found}, in the end {after}");
    println!("{} pages of the copy are sound", report.pages);
    Ok(())
}

/// Moves one unit after the other from one account to another, in batches.
fn write(db: &Database, committed: &AtomicU64, stop: &AtomicBool) -> sapwood::Result<()> {
    let (given, taken) = (db.tree("given")?, db.tree("taken")?);
    while !stop.load(Ordering::Relaxed) {
        let number = committed.load(Ordering::Acquire);
        let mut batch = db.batch();
        batch.insert(&given, number.to_be_bytes(), "1");
        batch.insert(&taken, number.to_be_bytes(), "1");
        batch.commit(Durability::Buffered)?;
        committed.store(number + 1, Ordering::Release);
    }
    Ok(())
}

/// Every transfer must be there from both sides, and none be missing before the last one.
fn check(backup: &Database) -> sapwood::Result<u64> {
    let mut counts = [0; 2];
    for (count, name) in counts.iter_mut().zip(["given", "taken"]) {
        for row in backup.tree(name)?.iter() {
            let (key, _) = row?;
            assert_eq!(*key, u64::to_be_bytes(*count), "a transfer is missing");
            *count += 1;
        }
    }
    assert_eq!(counts[0], counts[1], "a transfer is there by half");
    Ok(counts[0])
}
