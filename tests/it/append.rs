//! Record numbers: no two rows get one, whoever appends, and whenever.

use std::collections::BTreeSet;
use std::sync::Arc;

use sapwood::{Background, Config, Database, Durability, Isolation, RecordNumber, Tree};

use crate::sim::disk::SimDisk;

fn open(disk: &SimDisk) -> (Database, Tree) {
    let config = Config::on(Arc::new(disk.clone())).tiny().cache_bytes(1 << 20);
    let db = config.background(Background::Manual).open().unwrap();
    let tree = db.tree("t").unwrap();
    (db, tree)
}

fn numbers(tree: &Tree) -> Vec<u64> {
    tree.keys().map(|key| RecordNumber::from_key(&key.unwrap()).unwrap().get()).collect()
}

#[test]
fn threads_append_without_gaps_and_without_collisions() {
    let db = Config::in_memory().open().unwrap();
    let tree = db.tree("t").unwrap();
    let work = |thread: u64| {
        let mut own = Vec::new();
        for at in 0..200u64 {
            let value = (thread << 32 | at).to_le_bytes();
            own.push(match at % 3 {
                0 => tree.append(value).unwrap(),
                1 => {
                    let mut batch = db.batch();
                    let number = batch.append(&tree, value).unwrap();
                    batch.commit(Durability::Buffered).unwrap();
                    number
                }
                _ => {
                    let mut tx = db.begin_with(Isolation::Serializable).unwrap();
                    let number = tx.append(&tree, value).unwrap();
                    tx.commit().unwrap();
                    number
                }
            });
        }
        assert!(own.is_sorted());
        own
    };
    let handed_out: Vec<u64> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let all: Vec<u64> = (1..=800).collect();
    assert_eq!(
        handed_out.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        all
    );
    assert_eq!(numbers(&tree), all);
    let values: BTreeSet<_> = tree.iter().map(|row| row.unwrap().1.to_vec()).collect();
    assert_eq!(values.len(), 800);
}

#[test]
fn numbers_go_on_after_closing_and_after_a_kill() {
    let disk = SimDisk::new(1);
    let (db, tree) = open(&disk);
    assert_eq!([(); 3].map(|()| tree.append("x").unwrap()), [1, 2, 3]);
    db.close().unwrap();
    let (db, tree) = open(&disk);
    assert_eq!(tree.append("x").unwrap(), 4);
    let mut batch = db.batch();
    assert_eq!([(); 2].map(|()| batch.append(&tree, "x").unwrap()), [5, 6]);
    batch.commit(Durability::Buffered).unwrap();
    db.abandon();
    let (db, tree) = open(&disk);
    assert_eq!(numbers(&tree), [1, 2, 3, 4, 5, 6]);
    assert_eq!(db.tree("t").unwrap().append("x").unwrap(), 7);
    assert_eq!(tree.append("x").unwrap(), 8);
    tree.remove_range(RecordNumber::new(3)..).unwrap();
    assert_eq!(tree.append("x").unwrap(), 9);
    tree.remove(RecordNumber::new(9)).unwrap();
    db.close().unwrap();
    let (_db, tree) = open(&disk);
    assert_eq!(tree.append("x").unwrap(), 3, "behind the largest key that is there");
}

#[test]
fn what_is_not_committed_leaves_a_gap() {
    let (db, tree) = open(&SimDisk::new(1));
    let other = db.tree("other").unwrap();
    assert_eq!(db.batch().append(&tree, "x").unwrap(), 1);
    let mut tx = db.begin().unwrap();
    assert_eq!(tx.append(&tree, "x").unwrap(), 2);
    tx.rollback();
    assert!(tree.append(vec![0; 1 << 20]).is_err());
    assert_eq!(tree.append("x").unwrap(), 3, "what is refused takes no number");
    assert_eq!(other.append("x").unwrap(), 1);
    let mut batch = db.batch();
    assert!(batch.append(&tree, vec![0; 1 << 20]).is_err());
    batch.append(&tree, "x").unwrap();
    batch.commit(Durability::Buffered).unwrap();
    assert_eq!(numbers(&tree), [3, 4]);
}

#[test]
fn trees_with_other_keys_are_refused_by_name() {
    let (db, tree) = open(&SimDisk::new(1));
    tree.insert("oak", "x").unwrap();
    let refused = tree.append("x").unwrap_err().to_string();
    assert!(refused.contains("\"oak\"") && refused.contains("\"t\""), "{refused}");
    tree.remove("oak").unwrap();
    tree.insert(RecordNumber::new(u64::MAX - 1), "x").unwrap();
    assert_eq!(tree.append("x").unwrap(), u64::MAX);
    let refused = tree.append("x").unwrap_err().to_string();
    assert!(refused.contains("largest record number"), "{refused}");
    let (other, theirs) = open(&SimDisk::new(2));
    assert!(db.batch().append(&theirs, "x").is_err());
    assert!(db.begin().unwrap().append(&theirs, "x").is_err());
    other.close().unwrap();
    assert!(theirs.append("x").unwrap_err().is_fatal());
}
