//! The main job, on a database in memory, in manual mode and with threads.

use std::sync::Arc;

use sapwood::{Background, Config, Database, Durability, MemoryStorage};

fn tiny() -> Database {
    Config::in_memory().tiny().cache_bytes(256 << 10).background(Background::Manual).open().unwrap()
}

fn key(number: u64) -> String {
    format!("key-{:08}", number.wrapping_mul(2_654_435_761) % 100_000_000)
}

#[test]
fn what_was_inserted_is_found_through_every_level() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    for number in 0..20_000u64 {
        tree.insert(key(number), format!("value {number}")).unwrap();
    }
    while db.maintain(1000).unwrap() > 0 {}
    let stats = db.stats();
    assert!(stats.trees["t"].height >= 2, "{stats:?}");
    for number in 0..20_000u64 {
        let value = tree.get(key(number)).unwrap();
        assert_eq!(value.as_deref(), Some(format!("value {number}").as_bytes()), "{number}");
    }
    assert_eq!(tree.get("absent").unwrap(), None);
    db.verify().unwrap();
    let forward: Vec<_> = tree.iter().map(|row| row.unwrap().0.to_vec()).collect();
    assert_eq!(forward.len(), 20_000);
    assert!(forward.windows(2).all(|pair| pair[0] < pair[1]));
    let mut backward: Vec<_> = tree.iter().rev().map(|row| row.unwrap().0.to_vec()).collect();
    backward.reverse();
    assert_eq!(forward, backward);
}

#[test]
fn what_was_removed_is_gone_and_the_tree_shrinks() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    for number in 0..20_000u64 {
        tree.insert(key(number), "some value of some length").unwrap();
    }
    for number in 0..20_000u64 {
        tree.remove(key(number)).unwrap();
    }
    assert_eq!(tree.iter().count(), 0);
    db.checkpoint().unwrap();
    while db.maintain(1000).unwrap() > 0 {}
    assert_eq!(tree.iter().count(), 0);
    db.verify().unwrap();
}

#[test]
fn threads_do_the_same_and_the_database_reopens() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config::new(folder.path()).tiny().cache_bytes(1 << 20);
    let db = config().open().unwrap();
    let tree = db.tree("t").unwrap();
    for number in 0..20_000u64 {
        let mut batch = db.batch();
        batch.insert(&tree, key(number), number.to_le_bytes());
        batch
            .commit(if number % 1000 == 0 { Durability::Synced } else { Durability::Buffered })
            .unwrap();
    }
    db.verify().unwrap();
    drop(tree);
    db.close().unwrap();
    let db = config().open().unwrap();
    let tree = db.tree("t").unwrap();
    db.verify().unwrap();
    assert_eq!(tree.iter().filter(Result::is_ok).count(), 20_000);
    for number in 0..20_000u64 {
        assert_eq!(tree.get(key(number)).unwrap().as_deref(), Some(&number.to_le_bytes()[..]));
    }
}

/// The number of such a file cannot be counted on from.
#[test]
fn a_stray_log_name_is_not_a_generation() {
    let folder = tempfile::tempdir().unwrap();
    let db = Config::new(folder.path()).open().unwrap();
    db.tree("t").unwrap().insert("key", "value").unwrap();
    db.close().unwrap();
    for number in [u64::MAX, u64::MAX - 1, 1 << 61] {
        std::fs::write(folder.path().join(format!("wal-{number}")), "").unwrap();
    }
    let db = Config::new(folder.path()).open().unwrap();
    assert!(db.tree("t").unwrap().contains_key("key").unwrap());
}

#[test]
fn an_interval_without_end_is_allowed() {
    let db = tiny();
    let tree = db.tree("t").unwrap();
    for time in [std::time::Duration::MAX, std::time::Duration::ZERO] {
        let mut batch = db.batch();
        batch.insert(&tree, "key", "value");
        batch.commit(Durability::Interval(time)).unwrap();
    }
    let before = db.stats().wal_syncs;
    db.maintain(1).unwrap();
    assert_eq!(db.stats().wal_syncs, before + 1, "the interval was over");
}

#[test]
fn rows_that_cannot_be_read_end_an_iterator_instead_of_failing_for_ever() {
    let db = Config::in_memory().open().unwrap();
    let tree = db.tree("t").unwrap();
    tree.insert("a", "1").unwrap();
    let mut iter = tree.iter();
    db.close().unwrap();
    assert!(iter.next().unwrap().is_err());
    assert!(iter.next().is_none() && iter.next_back().is_none());
    assert_eq!(tree.iter().count(), 1);
}

#[test]
fn rows_are_counted_and_estimated() {
    let disk = MemoryStorage::new();
    let config = || {
        let config = Config::on(Arc::new(disk.clone())).tiny().cache_bytes(256 << 10);
        config.background(Background::Manual)
    };
    let db = config().open().unwrap();
    let tree = db.tree("t").unwrap();
    assert_eq!((tree.len().unwrap(), tree.approximate_len().unwrap()), (0, 0));
    assert!(tree.is_empty().unwrap());
    for number in 0..20_000u64 {
        tree.insert(key(number), format!("value {number}")).unwrap();
    }
    assert_eq!(tree.len().unwrap(), 20_000);
    // Every row is new, so that the estimate is exact wherever it waits; but clipped references
    // only know about.
    let about = tree.approximate_len().unwrap();
    assert!((18_000..=22_000).contains(&about), "{about}");
    for number in 0..19_000u64 {
        tree.remove(key(number)).unwrap();
    }
    assert_eq!(tree.len().unwrap(), 1000);
    db.daemon().drain().unwrap();
    assert_eq!((tree.len().unwrap(), tree.approximate_len().unwrap()), (1000, 1000));
    db.tree("u").unwrap().insert("k", "v").unwrap();
    assert_eq!(db.approximate_len().unwrap(), 1001);
    tree.remove_range::<&str>(..).unwrap();
    assert!(tree.is_empty().unwrap() && tree.len().unwrap() == 0);
    db.close().unwrap();
    assert!(tree.approximate_len().unwrap_err().is_fatal() && tree.len().is_err());
}

#[test]
fn an_estimate_reads_no_page() {
    let disk = MemoryStorage::new();
    let config = || Config::on(Arc::new(disk.clone())).tiny().cache_bytes(256 << 10);
    let db = config().open().unwrap();
    let tree = db.tree("t").unwrap();
    (0..20_000u64).for_each(|number| tree.insert(key(number), "some value").unwrap());
    db.daemon().drain().unwrap();
    db.close().unwrap();
    let db = config().read_only().open().unwrap();
    assert_eq!(db.tree("t").unwrap().approximate_len().unwrap(), 20_000);
    assert_eq!(db.stats().pages_read, 0);
    assert_eq!(db.tree("t").unwrap().len().unwrap(), 20_000);
    assert!(db.stats().pages_read > 0);
}
