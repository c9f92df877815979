//! Transactions larger than memory, and bulk loads: what they see, and that they are there as a
//! whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood::{
    Background, Config, Database, Durability, Isolation, Slice, Transaction, Tree, merge,
};

use crate::sim::disk::{Cut, SimDisk};
use crate::sim::random::Random;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn config(disk: &SimDisk) -> Config {
    Config::on(Arc::new(disk.clone()))
        .tiny()
        .cache_bytes(128 << 10)
        .checkpoint_bytes(1 << 40)
        .background(Background::Manual)
}

fn open(disk: &SimDisk) -> Database {
    config(disk).open().unwrap()
}

fn tree(db: &Database) -> Tree {
    db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap()
}

fn rows(rows: impl Iterator<Item = sapwood::Result<(Slice, Slice)>>) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap()).collect()
}

fn of(model: &Model) -> Vec<(Vec<u8>, Vec<u8>)> {
    model.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number:05}").into_bytes()
}

/// The update went on forever: whether its key had changed could not be told from the memtables,
/// and reading it again did not help.
#[test]
fn rows_can_be_updated_right_after_a_bulk_load() {
    let db = open(&SimDisk::new(1));
    let tree = tree(&db);
    tree.ingest((0..200).map(|number| (key(number), "loaded"))).unwrap();
    assert_eq!(tree.replace(key(7), "replaced").unwrap().as_deref(), Some(&b"loaded"[..]));
    assert_eq!(tree.take(key(7)).unwrap().as_deref(), Some(&b"replaced"[..]));
    assert!(tree.insert_if_absent(key(7), "back").unwrap());
    assert_eq!(tree.get(key(7)).unwrap().as_deref(), Some(&b"back"[..]));
}

/// One random change, in the transaction and in the model.
fn change(tx: &mut Transaction, tree: &Tree, model: &mut Model, random: &mut Random) {
    let key = key(random.below(3000));
    match random.below(20) {
        0..=11 => {
            let value = random.below(1 << 40).to_string().repeat(3).into_bytes();
            tx.insert(tree, &key, &value).unwrap();
            model.insert(key, value);
        }
        12..=15 => {
            tx.remove(tree, &key).unwrap();
            model.remove(&key);
        }
        16..=18 => {
            tx.merge(tree, &key, b"+").unwrap();
            model.entry(key).or_default().extend(b"+");
        }
        _ => {
            let end = [key.as_slice(), b"9"].concat();
            tx.remove_range(tree, &key[..]..&end[..]).unwrap();
            model.retain(|other, _| *other < key || *other >= end);
        }
    }
}

#[test]
fn a_transaction_larger_than_memory_sees_and_commits_all_it_did() {
    for seed in 0..4 {
        let disk = SimDisk::new(seed);
        let (db, mut random) = (open(&disk), Random::new(seed));
        let tree = tree(&db);
        let mut model = Model::new();
        for number in (0..3000).step_by(3) {
            tree.insert(key(number), "before").unwrap();
            model.insert(key(number), b"before".to_vec());
        }
        let before = of(&model);
        let mut tx = db.begin().unwrap();
        let mut back = None;
        for step in 0..6000 {
            change(&mut tx, &tree, &mut model, &mut random);
            if step == 2500 {
                back = Some((tx.savepoint(), model.clone()));
            }
            if step == 4500 && seed % 2 == 0 {
                let (savepoint, then) = back.as_ref().unwrap();
                tx.rollback_to(savepoint).unwrap();
                model = then.clone();
                assert_eq!(rows(tx.iter(&tree)), of(&model));
            }
            if step % 500 == 0 {
                db.maintain(3).unwrap();
                let key = key(random.below(3000));
                let found = tx.get(&tree, &key).unwrap().map(|value| value.to_vec());
                assert_eq!(found, model.get(&key).cloned());
                let from = &key[..];
                let some = rows(tx.range(&tree, from..).take(40));
                let expected = model.range(key.clone()..).take(40);
                let expected: Vec<_> =
                    expected.map(|(key, value)| (key.clone(), value.clone())).collect();
                assert_eq!(some, expected);
            }
        }
        let mut reversed = rows(tx.iter(&tree).rev());
        reversed.reverse();
        assert_eq!(reversed, of(&model));
        assert_eq!(rows(tree.iter()), before);
        db.verify().unwrap();
        let snapshot = db.snapshot();
        let outlives = tx.iter(&tree);
        tx.commit().unwrap();
        assert_eq!(rows(tree.iter()), of(&model));
        assert_eq!(rows(tree.at(&snapshot).iter()), before);
        db.verify().unwrap();
        db.daemon().drain().unwrap();
        db.checkpoint().unwrap();
        db.verify().unwrap();
        assert_eq!(rows(outlives), of(&model));
        assert_eq!(rows(tree.at(&snapshot).iter()), before);
        drop(snapshot);
        drop((tree, db));
        let db = open(&disk);
        assert_eq!(rows(self::tree(&db).iter()), of(&model));
        db.verify().unwrap();
    }
}

#[test]
fn a_large_transaction_that_is_given_up_leaves_nothing() {
    let disk = SimDisk::new(1);
    let db = open(&disk);
    let tree = tree(&db);
    tree.insert("a", "1").unwrap();
    db.checkpoint().unwrap();
    let live = db.stats().live_bytes;
    let mut tx = db.begin().unwrap();
    for number in 0..5000 {
        tx.insert(&tree, key(number), [7; 50]).unwrap();
    }
    db.verify().unwrap();
    drop(tx);
    db.verify().unwrap();
    db.checkpoint().unwrap();
    assert_eq!(db.stats().live_bytes, live);
    assert_eq!(rows(tree.iter()).len(), 1);
}

#[test]
fn a_large_transaction_loses_against_one_that_was_faster() {
    for (touched, conflicts) in [("key-01234", true), ("key-09999", false), ("kez", true)] {
        let disk = SimDisk::new(2);
        let db = open(&disk);
        let tree = tree(&db);
        let mut tx = db.begin_with(Isolation::Serializable).unwrap();
        for number in 0..5000 {
            tx.insert(&tree, key(number), [7; 20]).unwrap();
        }
        tx.get(&tree, "kez").unwrap();
        let mut batch = db.batch();
        batch.insert(&tree, touched, "first");
        batch.commit(Durability::Buffered).unwrap();
        if conflicts {
            db.daemon().drain().unwrap();
        }
        let committed = tx.commit();
        assert_eq!(committed.is_err_and(|error| error.is_conflict()), conflicts);
        assert_eq!(tree.get(touched).unwrap().unwrap(), "first");
        assert_eq!(rows(tree.iter()).len(), if conflicts { 1 } else { 5001 });
        db.verify().unwrap();
    }
}

/// Plays a workload with a large transaction and a bulk load, and counts in `synced` how many of
/// its commits were acknowledged as synced.
fn play(disk: &SimDisk, synced: &mut usize) -> sapwood::Result<()> {
    let db = config(disk).open()?;
    let tree = db.tree("t")?;
    tree.insert("a", "1")?;
    db.sync()?;
    *synced += 1;
    let mut tx = db.begin()?;
    for number in 0..260 {
        tx.insert(&tree, key(number * 7 % 260), [7; 30])?;
    }
    tx.commit_with(Durability::Synced)?;
    *synced += 1;
    tree.insert("b", "2")?;
    db.sync()?;
    *synced += 1;
    db.maintain(4)?;
    tree.ingest((0..200).map(|number| (format!("load-{number:04}"), [8; 30])))?;
    db.sync()?;
    *synced += 1;
    db.daemon().drain()?;
    // What was drained may not take the place of what the log names.
    for number in 0..40 {
        tree.insert(format!("z-{number}"), [9; 40])?;
    }
    db.daemon().drain()?;
    db.checkpoint()?;
    tree.insert("c", "3")?;
    db.sync()?;
    *synced += 1;
    drop(tree);
    db.close()
}

/// How many of the workload's commits a database holds, in their order.
fn held(db: &Database) -> usize {
    let Ok(tree) = db.existing_tree("t") else { return 0 };
    let has = |key: &str| tree.contains_key(key).unwrap();
    let of_prefix = |prefix: &str| tree.prefix(prefix).count();
    let (keys, loads) = (of_prefix("key-"), of_prefix("load-"));
    assert!(keys == 0 || keys == 260, "a part of a transaction: {keys} rows");
    assert!(loads == 0 || loads == 200, "a part of a bulk load: {loads} rows");
    let order = [has("a"), keys > 0, has("b"), loads > 0, has("c")];
    let held = order.iter().take_while(|there| **there).count();
    assert!(order.iter().skip(held).all(|there| !there), "a later commit without the one before");
    held
}

fn check(disk: &SimDisk, synced: usize) {
    let db = open(disk);
    let found = held(&db);
    assert!(found >= synced, "{found} commits are left of {synced} synced ones");
    db.verify().unwrap();
    db.tree("t").unwrap().insert("after", "1").unwrap();
    db.daemon().drain().unwrap();
    db.verify().unwrap();
    assert_eq!(held(&db), found);
    db.close().unwrap();
    assert_eq!(held(&open(disk)), found);
}

/// Rows that follow a bulk load in its generation are newer than all of it, and stay so on disk.
#[test]
fn rows_written_right_after_a_bulk_load_are_read_again_after_reopening() {
    let disk = SimDisk::new(1);
    let db = open(&disk);
    let tree = tree(&db);
    let mut model = Model::new();
    for round in 0..3u64 {
        let value = |number: u64| format!("loaded {number} in {round}").into_bytes();
        let loaded: Vec<_> = (0..300).map(|number| (key(number), value(number))).collect();
        tree.ingest(loaded.iter().map(|(key, value)| (key, value))).unwrap();
        model.extend(loaded);
        for number in (0..300).step_by(7) {
            tree.merge(key(number), "+").unwrap();
            model.get_mut(&key(number)).unwrap().extend(b"+");
        }
    }
    db.checkpoint().unwrap();
    drop((tree, db));
    let db = open(&disk);
    assert_eq!(rows(self::tree(&db).iter()), of(&model));
    db.verify().unwrap();
}

/// A new tree is filled by a bulk load, more is written to the same keys, and the first checkpoint
/// of all is on its way.
fn load_a_new_tree(disk: &SimDisk) -> sapwood::Result<()> {
    let db = config(disk).open()?;
    let tree = db.tree("t")?;
    tree.ingest((0..200).map(|number| (format!("load-{number:04}"), [8; 30])))?;
    db.checkpoint()?;
    tree.ingest((0..200).map(|number| (format!("load-{number:04}"), [9; 30])))?;
    for number in 0..200 {
        tree.insert(format!("load-{number:04}"), [7; 30])?;
    }
    db.checkpoint()
}

#[test]
fn a_crash_while_a_new_tree_is_loaded_and_checkpointed_leaves_what_opens() {
    let disk = SimDisk::new(5);
    load_a_new_tree(&disk).unwrap();
    for operation in 0..disk.operations() {
        let disk = SimDisk::new(5);
        disk.crash_at(operation);
        drop(load_a_new_tree(&disk));
        let cuts = [Cut::LoseAll, Cut::KeepAll, Cut::KeepLastLoseFirst, Cut::Random(operation)];
        for found in cuts.map(|cut| disk.power_cut(cut)).iter().chain([&disk.kill()]) {
            let db = open(found);
            let count = db.existing_tree("t").map_or(0, |tree| tree.iter().count());
            assert!(count == 0 || count == 200, "a part of a bulk load: {count} rows");
            db.verify().unwrap();
            db.checkpoint().unwrap();
            db.close().unwrap();
            open(found).verify().unwrap();
        }
    }
}

/// The creation of the tree and the load have one generation, which a checkpoint leaves outside the
/// trees: replay begins at the creation.
#[test]
fn a_checkpoint_between_a_load_into_a_new_tree_and_its_spill_leaves_what_opens() {
    let disk = SimDisk::new(1);
    let db = config(&disk).checkpoint_bytes(1).open().unwrap();
    let tree = db.tree("t").unwrap();
    tree.ingest((0..200).map(|number| (key(number), [8; 30]))).unwrap();
    db.maintain(4).unwrap();
    assert_eq!((db.stats().checkpoints, db.stats().movement.spills), (1, 0));
    let found = open(&disk.kill());
    assert_eq!(self::tree(&found).iter().count(), 200);
}

#[test]
fn a_crash_leaves_a_large_commit_whole_or_not_at_all() {
    let disk = SimDisk::new(3);
    let mut synced = 0;
    play(&disk, &mut synced).unwrap();
    assert_eq!(synced, 5);
    let total = disk.operations();
    for operation in 0..total {
        let disk = SimDisk::new(3);
        disk.crash_at(operation);
        let mut synced = 0;
        drop(play(&disk, &mut synced));
        check(&disk.kill(), synced);
        for cut in [Cut::LoseAll, Cut::KeepAll, Cut::KeepLastLoseFirst, Cut::Random(operation)] {
            let after = disk.power_cut(cut);
            // A crash in the recovery as well.
            let again = disk.power_cut(cut);
            again.crash_at(operation % 23);
            drop(config(&again).open());
            check(&again.power_cut(Cut::Random(operation + 1)), synced);
            check(&after, synced);
        }
    }
}

#[test]
fn a_damaged_bulk_load_that_only_the_log_names_is_salvaged_but_for_its_damage() {
    let disk = SimDisk::new(4);
    let db = open(&disk);
    let rows = |number: u32| (format!("load-{number:04}"), [8; 30]);
    tree(&db).ingest((0..400).map(rows)).unwrap();
    db.abandon();
    let disk = disk.kill();
    let length = disk.read_file("sapwood.db").unwrap().len() as u64;
    let (mut whole, mut harmed) = (0, 0);
    for offset in (8192..length).step_by(509) {
        let broken = disk.kill();
        broken.flip("sapwood.db", offset, 1);
        let saved = SimDisk::new(5);
        let report = sapwood::salvage_on(Arc::new(broken), config(&saved)).unwrap();
        let db = open(&saved);
        let kept: Vec<_> = self::rows(db.tree("t").unwrap().iter());
        for (key, value) in &kept {
            let number = std::str::from_utf8(&key[5..]).unwrap().parse().unwrap();
            assert_eq!(
                (key.as_slice(), value.as_slice()),
                (rows(number).0.as_bytes(), &[8; 30][..])
            );
        }
        assert_eq!(kept.len() == 400, report.is_whole(), "{report:?}");
        match kept.len() {
            400 => whole += 1,
            some => {
                assert!(some > 100, "{some} rows are left");
                harmed += 1;
            }
        }
    }
    assert!(whole > 0 && harmed > 0, "{whole} whole, {harmed} harmed");
}
