//! Databases that are opened for reading alone: what they find, what they refuse, and that nothing
//! is written.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use sapwood::{Background, Config, Database, Durability, Error, MemoryStorage, merge};

use crate::sim::disk::SimDisk;

fn tiny(disk: &SimDisk) -> Config {
    Config::on(Arc::new(disk.clone()))
        .tiny()
        .cache_bytes(256 << 10)
        .background(Background::Manual)
        .checkpoint_bytes(1 << 40)
}

fn key(number: u64) -> String {
    format!("key-{number:06}")
}

/// Rows `from..to` in the tree `t`, every third of them removed again.
fn fill(db: &Database, from: u64, to: u64) {
    let tree = db.tree("t").unwrap();
    for number in from..to {
        tree.insert(key(number), number.to_le_bytes()).unwrap();
    }
    for number in (from..to).filter(|number| number % 3 == 0) {
        tree.remove(key(number)).unwrap();
    }
}

fn check(db: &Database, rows: u64) {
    let tree = db.tree("t").unwrap();
    let found: Vec<_> = tree.iter().map(|row| row.unwrap().0.to_vec()).collect();
    let expected: Vec<_> =
        (0..rows).filter(|number| number % 3 != 0).map(|number| key(number).into_bytes()).collect();
    assert_eq!(found, expected);
    for number in [0, 1, rows / 2, rows - 1] {
        let value = tree.get(key(number)).unwrap();
        assert_eq!(value.as_deref(), (number % 3 != 0).then_some(&number.to_le_bytes()[..]));
    }
}

/// A database of some height that was not closed: most of it is in the trees, the rest in the log.
fn unclean(disk: &SimDisk) {
    let db = tiny(disk).open().unwrap();
    fill(&db, 0, 6000);
    db.checkpoint().unwrap();
    fill(&db, 6000, 6500);
    db.tree("young").unwrap().insert("a", "b").unwrap();
    db.abandon();
}

/// Opens for reading, does `work`, lets go, and checks that the disk was left alone.
fn reading(disk: &SimDisk, work: impl FnOnce(&Database)) {
    let (operations, digest) = (disk.operations(), disk.digest());
    let db = tiny(disk).read_only().open().unwrap();
    work(&db);
    db.close().unwrap();
    assert_eq!((disk.operations(), disk.digest()), (operations, digest), "something was written");
}

#[test]
fn a_closed_database_is_read_without_a_write() {
    let disk = SimDisk::new(1);
    let db = tiny(&disk).open().unwrap();
    fill(&db, 0, 6000);
    db.close().unwrap();
    reading(&disk, |db| {
        check(db, 6000);
        assert!(db.stats().trees["t"].height >= 1);
        let report = db.verify().unwrap();
        assert_eq!(report.rows, 4000);
        assert_eq!(db.shape().unwrap().trees.len(), 1);
    });
    // Dropping is closing, also while an iterator is alive.
    let operations = disk.operations();
    let db = tiny(&disk).read_only().open().unwrap();
    let mut rows = db.tree("t").unwrap().iter();
    drop(db);
    assert!(rows.next().unwrap().is_ok());
    drop(rows);
    assert_eq!(disk.operations(), operations);
    check(&tiny(&disk).open().unwrap(), 6000);
}

#[test]
fn an_unclean_database_is_read_with_its_log() {
    let disk = SimDisk::new(2);
    unclean(&disk);
    reading(&disk, |db| {
        check(db, 6500);
        assert_eq!(db.tree_names(), ["t", "young"]);
        assert_eq!(db.tree("young").unwrap().get("a").unwrap().as_deref(), Some(&b"b"[..]));
        db.verify().unwrap();
        assert!(db.stats().debt_bytes > 0, "the log was replayed into memory");
    });
    // Once more, and the writer finds it as if nobody had looked.
    reading(&disk, |db| check(db, 6500));
    let db = tiny(&disk).open().unwrap();
    check(&db, 6500);
    db.verify().unwrap();
}

#[test]
fn a_log_that_memory_cannot_hold_needs_a_recovery() {
    let disk = SimDisk::new(3);
    let db = tiny(&disk).open().unwrap();
    fill(&db, 0, 20_000);
    db.abandon();
    let operations = disk.operations();
    let error = tiny(&disk).read_only().open().unwrap_err();
    assert!(error.is_needs_recovery() && !error.is_corruption(), "{error}");
    assert!(error.to_string().contains("open it once for writing"), "{error}");
    assert_eq!(disk.operations(), operations);
    // With more memory it can be read; and after a recovery with as little as before.
    let db = tiny(&disk).cache_bytes(64 << 20).read_only().open().unwrap();
    check(&db, 20_000);
    drop(db);
    tiny(&disk).open().unwrap().close().unwrap();
    reading(&disk, |db| check(db, 20_000));
}

#[test]
fn every_change_is_refused() {
    let disk = SimDisk::new(4);
    let db = tiny(&disk).open().unwrap();
    fill(&db, 0, 100);
    db.tree_with("sums", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    db.close().unwrap();
    reading(&disk, |db| {
        let (tree, sums) = (db.tree("t").unwrap(), db.tree("sums").unwrap());
        let mut batch = db.batch();
        batch.insert(&tree, "k", "v");
        let refused: Vec<Result<(), Error>> = vec![
            tree.insert("k", "v"),
            tree.remove("k"),
            tree.remove_range("a".."b"),
            tree.remove_prefix("key"),
            sums.merge("k", 1u64.to_le_bytes()),
            tree.insert_if_absent("k", "v").map(drop),
            tree.take(key(1)).map(drop),
            tree.compact::<&str>(..),
            batch.commit(Durability::NoWal),
            db.checkpoint(),
            db.daemon().drain(),
            db.tree_with("t", |tree| tree.merge_operator(merge::Append)).map(drop),
        ];
        for (index, result) in refused.into_iter().enumerate() {
            let error = result.unwrap_err();
            assert!(error.is_read_only() && !error.is_fatal(), "{index}: {error}");
        }
        let error = db.tree("absent").unwrap_err();
        assert_eq!(error.to_string(), "there is no tree named \"absent\"");
        assert_eq!(db.maintain(10).unwrap(), 0);
        db.daemon().wait_idle().unwrap();
        db.sync().unwrap();
        check(db, 100);
    });
}

#[test]
fn nothing_is_made_where_no_database_is() {
    let disk = SimDisk::new(5);
    let error = tiny(&disk).read_only().open().unwrap_err();
    assert_eq!(error.to_string(), "there is no database in a simulated disk");
    assert_eq!(disk.operations(), 0);
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("absent");
    assert!(Config::new(&folder).read_only().open().is_err());
    assert!(!folder.exists());
}

fn excluded(error: &Error, holder: &str) {
    assert!(error.is_locked() && error.is_retryable(), "{error}");
    assert!(error.to_string().contains(holder), "{error}");
}

/// Two readers at once, and a writer that neither waits for nor disturbs them.
fn share(config: &dyn Fn() -> Config) {
    let writer = config().open().unwrap();
    fill(&writer, 0, 100);
    let error = config().read_only().open().unwrap_err();
    excluded(&error, &format!("process {}", std::process::id()));
    writer.close().unwrap();
    let readers = [(); 2].map(|()| config().read_only().open().unwrap());
    for reader in readers {
        excluded(&config().open().unwrap_err(), "somebody who only reads it");
        check(&reader, 100);
    }
    let writer = config().open().unwrap();
    fill(&writer, 100, 200);
    check(&writer, 200);
}

#[test]
fn readers_share_a_database_and_keep_writers_out() {
    let storage = MemoryStorage::new();
    share(&|| Config::on(Arc::new(storage.clone())));
    let folder = tempfile::tempdir().unwrap();
    share(&|| Config::new(folder.path()));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The superuser may write anywhere; then only the rest of it is tested.
#[test]
fn no_permission_to_write_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let db = Config::new(folder.path()).open().unwrap();
    fill(&db, 0, 1000);
    db.abandon();
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = entries.collect();
        names.sort_unstable();
        names
    };
    let contents = || names().iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let (files, before) = (names(), contents());
    files.iter().for_each(|path| set_mode(path, 0o444));
    set_mode(folder.path(), 0o555);
    let open = || Config::new(folder.path()).read_only().open();
    let readers = [open().unwrap(), open().unwrap()];
    readers.iter().for_each(|db| check(db, 1000));
    drop(readers);
    assert_eq!((names(), contents()), (files, before));
    // Without a lock file, too: nobody who could write could lock either.
    set_mode(folder.path(), 0o755);
    fs::remove_file(folder.path().join("lock")).unwrap();
    set_mode(folder.path(), 0o555);
    let db = open().unwrap();
    check(&db, 1000);
    drop(db);
    set_mode(folder.path(), 0o755);
}
