//! Named trees: what can be done to a tree as a whole.

use sapwood::{Background, Config, Database, Tree};

fn manual() -> Config {
    Config::in_memory().tiny().cache_bytes(256 << 10).background(Background::Manual)
}

fn fill(tree: &Tree, rows: u64) {
    for number in 0..rows {
        tree.insert(format!("key-{number:06}"), format!("{} {number}", tree.name())).unwrap();
    }
}

fn idle(db: &Database) {
    while db.maintain(1000).unwrap() > 0 {}
}

#[test]
fn a_renamed_tree_keeps_its_rows_and_its_handles() {
    let db = manual().open().unwrap();
    let tree = db.tree("sapling").unwrap();
    fill(&tree, 500);
    db.rename_tree("sapling", "oak").unwrap();
    tree.insert("later", "through the old handle").unwrap();
    assert_eq!(tree.name(), "sapling");
    assert_eq!(db.tree_names(), ["oak"]);
    assert_eq!(db.existing_tree("oak").unwrap().iter().count(), 501);
    let fresh = db.tree("sapling").unwrap();
    assert_eq!(fresh.iter().count(), 0, "the old name stands for a new tree");
    assert_eq!(db.tree_names(), ["oak", "sapling"]);
    assert!(db.stats().trees.contains_key("oak"));
    db.verify().unwrap();
}

#[test]
fn names_that_cannot_be_given_are_refused_in_a_sentence() {
    let db = manual().open().unwrap();
    db.tree("oak").unwrap();
    db.tree("ash").unwrap();
    let refusal = |old: &str, new: &str| db.rename_tree(old, new).unwrap_err().to_string();
    assert_eq!(refusal("elm", "fir"), "there is no tree named \"elm\"");
    assert_eq!(
        refusal("oak", "ash"),
        "there is a tree named \"ash\" already; choose another name, or rename that one first"
    );
    assert!(refusal("oak", "oak").starts_with("there is a tree named \"oak\" already"));
    assert_eq!(refusal("oak", ""), "the tree's name is not allowed: it is empty");
    assert_eq!(
        refusal("oak", &"x".repeat(256)),
        "the tree's name is not allowed: it has more than 255 bytes"
    );
    assert_eq!(db.tree_names(), ["ash", "oak"]);
}

#[test]
fn a_truncated_tree_is_empty_and_goes_on() {
    let db = manual().open().unwrap();
    let tree = db.tree("oak").unwrap();
    fill(&tree, 2_000);
    db.checkpoint().unwrap();
    let full = db.stats().live_bytes;
    tree.truncate().unwrap();
    assert_eq!(tree.iter().count(), 0);
    tree.insert("one", "more").unwrap();
    db.checkpoint().unwrap();
    idle(&db);
    db.checkpoint().unwrap();
    assert_eq!(tree.iter().count(), 1);
    let live = db.stats().live_bytes;
    assert!(live * 4 < full, "{live} of {full} bytes are still in use");
    db.verify().unwrap();
}
