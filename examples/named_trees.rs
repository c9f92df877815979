//! Named trees from beginning to end: created with options, renamed, truncated, dropped.
//!
//! `cargo run --example named_trees`; it works in memory, and checks what it says.

use sapwood::{Compression, Config, Result, TreeConfig};

/// Takes trees through their lives.
pub fn main() -> Result<()> {
    let db = Config::in_memory().open()?;

    // Options are fixed when a tree is created; opened again, it is as it was created.
    let photos = |tree: TreeConfig| tree.compression(Compression::None).page_bytes(32 << 10);
    let staging = db.tree_with("staging", photos)?;
    staging.insert("oak.jpg", [0xff, 0xd8])?;
    let other = |tree: TreeConfig| tree.compression(Compression::Lz4);
    let refused = db.tree_with("staging", other).expect_err("it has no compression");
    println!("refused: {refused}");
    assert!(refused.to_string().contains("created with compression none"));

    // A rename is one log record; handles that are open stay with the tree.
    db.rename_tree("staging", "photos")?;
    staging.insert("beech.jpg", [0xff, 0xd8])?;
    assert_eq!(db.existing_tree("photos")?.iter().count(), 2);
    assert!(db.existing_tree("staging").is_err());

    // A truncation is one message, however many rows there are; the tree goes on.
    let visits = db.tree("visits")?;
    for number in 0u32..1000 {
        visits.insert(number.to_be_bytes(), "")?;
    }
    visits.truncate()?;
    assert_eq!(visits.first()?, None);
    visits.insert("first", "again")?;

    // A drop is one log record, too. Whoever reads since before it reads on; a handle does not.
    let before = visits.iter();
    db.drop_tree("visits")?;
    println!("dropped: {}", visits.get("first").expect_err("it was dropped"));
    assert_eq!(before.count(), 1);
    assert!(visits.insert("second", "too late").is_err());
    assert_eq!(db.tree("visits")?.iter().count(), 0); // a new tree of that name

    // Once there is no such reader any more, a checkpoint leaves no space to what was dropped.
    for name in db.tree_names() {
        db.drop_tree(&name)?;
    }
    db.checkpoint()?;
    assert_eq!(db.stats().live_bytes, 0);
    println!("nothing is left: {:?}", db.tree_names());
    db.close()
}
