//! Saving what can be read of a damaged database.
//!
//! `cargo run --release --example salvage`

use std::fs;

use sapwood::{Config, Result};

/// Damages a database on purpose, and saves the rest of it.
pub fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("sapwood-salvage-{}", std::process::id()));
    let (broken, saved) = (folder.join("broken"), folder.join("saved"));
    let db = Config::new(&broken).open()?;
    let rings = db.tree("rings")?;
    for number in 0..50_000u32 {
        rings.insert(number.to_be_bytes(), number.to_string().repeat(9))?;
    }
    drop(rings);
    db.close()?;

    // A bad block in the middle of the file.
    let file = broken.join("sapwood.db");
    let mut bytes = fs::read(&file).expect("it was closed");
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).take(64).for_each(|byte| *byte ^= 0xff);
    fs::write(&file, bytes).expect("there is space");

    let report = sapwood::salvage(&broken, &saved)?;
    for damage in &report.damages {
        println!("{} at byte {}: {}", damage.file, damage.offset, damage.what);
    }
    assert!(!report.is_whole() && !report.damages.is_empty());

    let db = Config::new(&saved).open()?;
    let kept = db.tree("rings")?.len()?;
    println!("{kept} of 50000 rows are saved");
    assert!((40_000..50_000).contains(&kept));
    assert_eq!(db.tree("rings")?.get(7u32.to_be_bytes())?.as_deref(), Some(&b"777777777"[..]));
    db.close()?;
    fs::remove_dir_all(&folder).ok();
    Ok(())
}
