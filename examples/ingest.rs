//! A bulk load of sorted rows: written once, and there in one step.
//!
//! `cargo run --release --example ingest -- 1000000` says how many rows.

use std::time::Instant;

use sapwood::{Config, Result};

/// Loads rows, and shows what it cost.
pub fn main() -> Result<()> {
    let rows = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(100_000u64);
    let folder = std::env::temp_dir().join(format!("sapwood-ingest-{}", std::process::id()));
    let db = Config::new(&folder).cache_mib(64).open()?;
    let tree = db.tree("numbers")?;
    let begun = Instant::now();
    let row = |number: u64| (number.to_be_bytes(), number.to_string().repeat(12));
    let commit = tree.ingest((0..rows).map(row))?;
    db.sync()?;
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(commit.changes, rows);
    println!("{rows} rows in {seconds:.2} s, {:.0} a second", rows as f64 / seconds);

    db.checkpoint()?;
    let stats = db.stats();
    let written = stats.bytes_written as f64 / stats.user_bytes as f64;
    println!("{written:.2} bytes written for each byte loaded");

    // Rows that do not ascend are refused, and nothing of them is there.
    let error = tree.ingest([("b", ""), ("a", "")]).expect_err("they do not ascend");
    println!("refused: {error}");
    assert_eq!(tree.get("b")?, None);
    assert_eq!(tree.iter().count() as u64, rows);
    assert_eq!(tree.get(7u64.to_be_bytes())?.as_deref(), Some("7".repeat(12).as_bytes()));
    drop(tree);
    db.close()?;
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}
