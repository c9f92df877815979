//! Looking into a database without changing it, several at a time.
//!
//! `cargo run --release --example read_only`

use sapwood::{Config, Result};

/// Writes a database, and lets two readers look into it.
pub fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("sapwood-readers-{}", std::process::id()));
    let db = Config::new(&folder).open()?;
    let rings = db.tree("rings")?;
    for year in 1990u16..2020 {
        rings.insert(year.to_be_bytes(), "a ring")?;
    }
    drop(rings);
    db.close()?;

    let (one, other) =
        (Config::new(&folder).read_only().open()?, Config::new(&folder).read_only().open()?);
    let rings = one.tree("rings")?;
    println!("{} rings, about {}", rings.len()?, rings.approximate_len()?);
    assert_eq!((rings.len()?, other.tree("rings")?.len()?), (30, 30));
    assert_eq!(one.verify()?.rows, 30);

    let refused = rings.insert("2020", "a ring").expect_err("it was opened read-only");
    println!("refused: {refused}");
    assert!(refused.is_read_only());
    let locked = Config::new(&folder).open().expect_err("there are readers");
    println!("refused: {locked}");
    assert!(locked.is_locked());
    drop((rings, one, other));
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}
