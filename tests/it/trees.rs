//! Named trees: what can be done to a tree as a whole.

use std::sync::Arc;

use sapwood::{
    Background, Compression, Config, Database, Durability, MemoryStorage, Storage, Tree,
    TreeConfig, merge,
};

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

/// What every call of a handle to a dropped tree says.
const DROPPED: &str =
    "the tree \"oak\" was dropped; open the tree of that name again to make a new one";

#[test]
fn a_handle_to_a_dropped_tree_fails_and_is_never_anothers() {
    let db = manual().open().unwrap();
    let old = db.tree_with("oak", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    fill(&old, 100);
    let mut late = db.batch();
    late.insert(&old, "key", "value");
    let other = db.tree("ash").unwrap();
    late.insert(&other, "key", "value");
    db.drop_tree("oak").unwrap();
    let new = db.tree("oak").unwrap();
    new.insert("key", "of the new one").unwrap();
    let mut batch = db.batch();
    batch.remove_range::<&str>(&old, ..);
    let told = [
        old.get("key").map(drop),
        old.insert("key", "value"),
        old.remove("key"),
        old.merge("key", 1u64.to_le_bytes()),
        old.remove_range("a".."b"),
        old.remove_prefix("a"),
        old.truncate(),
        old.first().map(drop),
        old.compact::<&str>(..),
        old.iter().next().unwrap().map(drop),
        old.replace("key", "value").map(drop),
        old.compare_and_swap("key", None, None).map(drop),
        late.commit(Durability::Buffered),
        batch.commit(Durability::Synced),
    ];
    for (call, told) in told.into_iter().enumerate() {
        assert_eq!(told.unwrap_err().to_string(), DROPPED, "call {call}");
    }
    assert_eq!(other.get("key").unwrap(), None, "a batch is refused as a whole");
    assert_eq!(new.iter().count(), 1);
    assert_eq!(new.get("key-000001").unwrap(), None);
    let gone = db.drop_tree("elm").unwrap_err().to_string();
    assert_eq!(gone, "there is no tree named \"elm\"");
    db.verify().unwrap();
}

#[test]
fn the_space_of_a_dropped_tree_is_free_after_a_checkpoint() {
    let db = manual().open().unwrap();
    let tree = db.tree("oak").unwrap();
    fill(&tree, 5_000);
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    assert!(db.stats().trees["oak"].height > 2);
    let full = db.stats();
    db.drop_tree("oak").unwrap();
    assert_eq!(db.verify().unwrap().dropped_trees, 1);
    db.checkpoint().unwrap();
    let stats = db.stats();
    assert_eq!(stats.live_bytes, 0);
    assert!(stats.movement.nodes_emptied > 50, "{:?}", stats.movement);
    assert!(stats.file_bytes * 2 < full.file_bytes, "{stats:?}");
    assert_eq!(db.verify().unwrap().dropped_trees, 0);
}

#[test]
fn background_threads_empty_a_dropped_tree() {
    let db = Config::in_memory().tiny().cache_bytes(1 << 20).open().unwrap();
    let tree = db.tree("oak").unwrap();
    fill(&tree, 20_000);
    db.daemon().drain().unwrap();
    db.drop_tree("oak").unwrap();
    fill(&db.tree("ash").unwrap(), 1_000);
    db.daemon().wait_idle().unwrap();
    assert_eq!(db.verify().unwrap().dropped_trees, 0);
    assert_eq!(db.tree("ash").unwrap().iter().count(), 1_000);
    assert!(db.stats().movement.nodes_emptied > 50);
}

/// An iterator is the oldest reader: the tree stays for it, with what waits in memory, too.
#[test]
fn a_reader_from_before_the_drop_reads_on() {
    let db = manual().open().unwrap();
    let tree = db.tree("oak").unwrap();
    fill(&tree, 3_000);
    db.checkpoint().unwrap();
    tree.insert("key-000500", "still in memory").unwrap();
    let mut before = tree.iter();
    assert!(before.next().unwrap().is_ok());
    db.drop_tree("oak").unwrap();
    let mut after = tree.iter();
    assert_eq!(after.next().unwrap().unwrap_err().to_string(), DROPPED);
    drop(after);
    fill(&db.tree("oak").unwrap(), 2_000);
    db.checkpoint().unwrap();
    idle(&db);
    db.checkpoint().unwrap();
    assert_eq!(db.verify().unwrap().dropped_trees, 1);
    let rows: Vec<_> = before.by_ref().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 2_999);
    assert_eq!(*rows[499].1, *b"still in memory");
    assert_eq!(*rows[2_998].1, *b"oak 2999");
    drop(before);
    idle(&db);
    assert_eq!(db.verify().unwrap().dropped_trees, 0);
    db.checkpoint().unwrap();
    assert_eq!(db.tree("oak").unwrap().iter().count(), 2_000);
    db.verify().unwrap();
}

#[test]
fn a_dropped_tree_that_is_not_empty_yet_survives_a_reopening() {
    let storage = MemoryStorage::new();
    let config = || {
        let storage = Arc::new(storage.clone());
        Config::on(storage).tiny().cache_bytes(256 << 10).background(Background::Manual)
    };
    let db = config().open().unwrap();
    fill(&db.tree("oak").unwrap(), 3_000);
    db.checkpoint().unwrap();
    db.drop_tree("oak").unwrap();
    db.close().unwrap();
    let db = config().open().unwrap();
    assert_eq!(db.verify().unwrap().dropped_trees, 1);
    assert!(db.tree_names().is_empty());
    assert!(db.dump().unwrap().contains("tree 1 \"oak\", dropped at message 3002"));
    let tree = db.tree("oak").unwrap();
    assert_eq!(tree.iter().count(), 0);
    db.checkpoint().unwrap();
    assert_eq!(db.verify().unwrap().dropped_trees, 0);
    db.drop_tree("oak").unwrap();
    db.checkpoint().unwrap();
    assert_eq!(db.stats().live_bytes, 0);
}

/// With buffers on every level, and opened anew in between.
#[test]
fn a_dropped_tree_is_sound_at_each_step_of_being_emptied() {
    let storage = MemoryStorage::new();
    let config = || on(&storage).tiny().cache_bytes(64 << 10);
    let mut db = config().open().unwrap();
    let tree = db.tree("oak").unwrap();
    fill(&tree, 10_000);
    db.daemon().drain().unwrap();
    for number in (0..10_000).step_by(9) {
        tree.insert(format!("key-{number:06}"), "waits in a buffer").unwrap();
    }
    db.checkpoint().unwrap();
    assert!(db.stats().trees["oak"].runs > 0);
    db.drop_tree("oak").unwrap();
    let mut nodes = db.verify().unwrap().nodes;
    let mut steps = 0;
    while nodes > 0 {
        assert!(db.maintain(1).unwrap() > 0, "{nodes} nodes are left");
        let left = db.verify().unwrap().nodes;
        assert!(left <= nodes);
        nodes = left;
        steps += 1;
        if steps % 10 == 3 {
            db.close().unwrap();
            db = config().open().unwrap();
            assert_eq!(db.verify().unwrap().nodes, nodes);
        }
    }
    assert!(steps > 10, "{steps} steps");
    assert_eq!(db.verify().unwrap().dropped_trees, 0);
}

fn on(storage: &MemoryStorage) -> Config {
    Config::on(Arc::new(storage.clone())).cache_mib(8).background(Background::Manual)
}

/// Rows that compress well, long enough for many pages.
fn fill_well(tree: &Tree) {
    for number in 0..3_000 {
        tree.insert(format!("key-{number:06}"), "compressible ".repeat(10)).unwrap();
    }
}

#[test]
fn pages_are_made_as_the_tree_was_created() {
    let storage = MemoryStorage::new();
    let db = on(&storage).open().unwrap();
    let made = |name: &str, compression, bytes| {
        let config = |tree: TreeConfig| tree.compression(compression).page_bytes(bytes);
        let before = db.stats().live_bytes;
        let tree = db.tree_with(name, config).unwrap();
        fill_well(&tree);
        db.daemon().drain().unwrap();
        db.checkpoint().unwrap();
        db.stats().live_bytes - before
    };
    let raw = 3_000 * 140;
    assert!(made("small", Compression::Lz4, 4 << 10) < raw / 2);
    assert!(made("raw", Compression::None, 4 << 10) > raw);
    assert!(made("large", Compression::None, 64 << 10) > raw);
    db.close().unwrap();
    let db = on(&storage).open().unwrap();
    let pages_read = |name: &str| {
        let before = db.stats().pages_read;
        assert_eq!(db.tree(name).unwrap().iter().count(), 3_000);
        db.stats().pages_read - before
    };
    let (small, large) = (pages_read("small"), pages_read("large"));
    assert!((90..130).contains(&small), "{small} pages of 4 KiB");
    assert!((6..10).contains(&large), "{large} pages of 64 KiB");
    db.verify().unwrap();
}

#[test]
fn an_option_that_the_tree_has_not_is_refused_by_name() {
    let storage = MemoryStorage::new();
    let db = on(&storage).open().unwrap();
    let made = |tree: TreeConfig| tree.compression(Compression::None).merge_operator(merge::AddU64);
    db.tree_with("raw", made).unwrap();
    db.tree("plain").unwrap();
    // From the log, and then from a checkpoint.
    db.sync().unwrap();
    db.abandon();
    for _ in 0..2 {
        let db = on(&storage).open().unwrap();
        let told = |name: &str, configure: &dyn Fn(TreeConfig) -> TreeConfig| {
            db.tree_with(name, configure).unwrap_err().to_string()
        };
        assert_eq!(
            told("raw", &|tree| tree.compression(Compression::Lz4)),
            "the tree \"raw\" was created with compression none, and was opened with lz4; leave \
             the option out, or give what the tree has"
        );
        assert_eq!(
            told("plain", &|tree| tree.page_bytes(4096).merge_operator(merge::AddU64)),
            "the tree \"plain\" was created with page_bytes 8192, and was opened with 4096; leave \
             the option out, or give what the tree has"
        );
        let size = |bytes| {
            format!(
                "the option page_bytes is refused: it is {bytes}; 4096 to 65536 bytes are allowed"
            )
        };
        assert_eq!(told("new", &|tree| tree.page_bytes(4095)), size("4095"));
        assert_eq!(told("plain", &|tree| tree.page_bytes(1 << 40)), size("1099511627776"));
        let given = |tree: TreeConfig| tree.page_bytes(8192).compression(Compression::None);
        db.tree_with("raw", given).unwrap();
        db.tree("raw").unwrap().merge("key", 1u64.to_le_bytes()).unwrap();
        assert_eq!(db.tree_names(), ["plain", "raw"]);
        db.close().unwrap();
    }
}

#[test]
fn a_thousand_little_trees_are_little() {
    let (nothing, checkpoint, drain): (After, After, After) =
        (&|_| Ok(()), &|db| db.checkpoint(), &|db| db.daemon().drain());
    a_thousand_trees(&[nothing]);
    a_thousand_trees(&[drain]);
    // Each writes all of them once more, beside what the checkpoint before has written.
    a_thousand_trees(&[checkpoint, drain, checkpoint]);
}

type After<'a> = &'a dyn Fn(&Database) -> sapwood::Result<()>;

fn a_thousand_trees(afterwards: &[After<'_>]) {
    let storage = MemoryStorage::new();
    let db = Config::on(Arc::new(storage.clone())).cache_mib(8).open().unwrap();
    for number in 0..1_000 {
        db.tree(&format!("tree-{number}")).unwrap().insert("key", format!("{number}")).unwrap();
    }
    afterwards.iter().for_each(|after| after(&db).unwrap());
    assert!(db.stats().resident_bytes < 4 << 20, "{:?}", db.stats().resident_bytes);
    db.close().unwrap();
    let files = storage.list().unwrap();
    let bytes = |name: &String| storage.open(name).unwrap().len().unwrap();
    let total: u64 = files.iter().map(bytes).sum();
    assert!(total <= 16 << 20, "{total} bytes in {files:?}");
    let db = on(&storage).open().unwrap();
    assert_eq!(db.tree_names().len(), 1_000);
    let tree = db.existing_tree("tree-999").unwrap();
    assert_eq!(tree.get("key").unwrap().as_deref(), Some(&b"999"[..]));
    for name in db.tree_names() {
        db.drop_tree(&name).unwrap();
    }
    db.checkpoint().unwrap();
    assert_eq!(db.stats().live_bytes, 0);
    db.verify().unwrap();
}
