//! Many threads at once: writers, readers, scans, checkpoints and checks beside one another.
//!
//! The invariant that everybody checks: a batch sets the two keys of a pair to the same number, and
//! the numbers of a pair only grow.

use std::sync::atomic::{AtomicBool, Ordering};

use sapwood::{Background, Config, Database, Durability, Tree};

const PAIRS: u64 = 300;

fn open() -> Database {
    let config = Config::in_memory().tiny().cache_bytes(1 << 20);
    config.background(Background::Threads(2)).checkpoint_bytes(256 << 10).open().unwrap()
}

fn key(side: char, pair: u64) -> String {
    format!("{side}{pair:06}")
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

fn value(round: u64) -> Vec<u8> {
    let mut value = round.to_le_bytes().to_vec();
    value.resize(8 + (round % 50) as usize, b'.');
    value
}

fn write(db: &Database, tree: &Tree, worker: u64, rounds: u64) {
    for round in 1..=rounds {
        let pair = worker * PAIRS + (round * 7919) % PAIRS;
        let mut batch = db.batch();
        batch.insert(tree, key('a', pair), value(round));
        batch.insert(tree, key('z', pair), value(round));
        let durability = match round % 50 {
            0 => Durability::Synced,
            1 => Durability::NoWal,
            _ => Durability::Buffered,
        };
        batch.commit(durability).unwrap();
    }
}

/// Scans see each pair whole and never an older state than the scan before.
fn scan(tree: &Tree, stop: &AtomicBool) {
    let mut before: Vec<u64> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let rows: Vec<_> = tree.iter().map(Result::unwrap).collect();
        let (low, high) = rows.split_at(rows.len() / 2);
        assert_eq!(low.len(), high.len(), "half a batch was seen");
        for (left, right) in low.iter().zip(high) {
            assert_eq!(left.0[1..], right.0[1..]);
            assert_eq!(left.1, right.1, "a batch was seen in part");
        }
        let mut backward: Vec<_> = tree.iter().rev().map(Result::unwrap).collect();
        backward.reverse();
        assert!(backward.len() >= rows.len());
        let sum = low.iter().map(|row| number(&row.1)).sum();
        assert!(before.last().is_none_or(|before| *before <= sum), "time went back");
        before.push(sum);
    }
}

fn read(tree: &Tree, stop: &AtomicBool) {
    let mut seen = vec![0; (3 * PAIRS) as usize];
    let mut pair = 0;
    while !stop.load(Ordering::Relaxed) {
        pair = (pair + 7) % (3 * PAIRS);
        // The right key is read later, so it can only be newer.
        let left = tree.get(key('a', pair)).unwrap().map_or(0, |value| number(&value));
        let right = tree.get(key('z', pair)).unwrap().map_or(0, |value| number(&value));
        assert!(left <= right, "a batch was seen in part");
        let newest = &mut seen[pair as usize];
        assert!(*newest <= left, "time went back");
        *newest = right.min(left);
    }
}

#[test]
fn pairs_stay_whole_beside_everything_else() {
    let db = open();
    let tree = db.tree("pairs").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| scan(&tree, &stop));
        scope.spawn(|| read(&tree, &stop));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                db.checkpoint().unwrap();
                db.verify().unwrap();
            }
        });
        let writers: Vec<_> = (0..3)
            .map(|worker| {
                let (db, tree) = (&db, &tree);
                scope.spawn(move || write(db, tree, worker, 8_000))
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    db.verify().unwrap();
    assert_eq!(tree.iter().count() as u64, 6 * PAIRS);
}

#[test]
fn trees_are_created_once_however_many_ask() {
    let db = open();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let ask = |worker: u64| {
            let db = &db;
            scope.spawn(move || {
                for number in 0..20 {
                    let name = format!("tree {}", (number + worker) % 20);
                    db.tree(&name).unwrap().insert(name.as_bytes(), "").unwrap();
                }
            })
        };
        let asking: Vec<_> = (0..4).map(ask).collect();
        asking.into_iter().map(|asking| asking.join().is_ok()).collect()
    });
    assert!(ids.iter().all(|is_ok| *is_ok));
    assert_eq!(db.tree_names().len(), 20);
    for name in db.tree_names() {
        let rows: Vec<_> = db.tree(&name).unwrap().iter().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1, "two trees got one id");
        assert_eq!(rows[0].0, name.as_bytes().to_vec());
    }
}

#[test]
fn a_close_refuses_what_comes_too_late_and_keeps_what_was_acknowledged() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let db = Config::new(folder.path()).tiny().cache_bytes(1 << 20).open().unwrap();
        let tree = db.tree("t").unwrap();
        let acknowledged = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut count = 0u64;
                while tree.insert(count.to_be_bytes(), "value").is_ok() {
                    count += 1;
                }
                count
            });
            while tree.first().unwrap().is_none() {}
            db.clone().close().unwrap();
            writer.join().unwrap()
        });
        drop((tree, db));
        let db = Config::new(folder.path()).tiny().cache_bytes(1 << 20).open().unwrap();
        assert_eq!(db.tree("t").unwrap().iter().count() as u64, acknowledged);
    }
}

/// A checkpoint that came after the last one of a close said that a log goes on, while there is
/// none.
#[test]
fn a_checkpoint_beside_a_close_does_not_lose_the_database() {
    for _ in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let db = Config::new(folder.path()).tiny().cache_bytes(1 << 20).open().unwrap();
        db.tree("t").unwrap().insert("key", "value").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| while db.checkpoint().is_ok() {});
            }
            std::thread::yield_now();
            db.clone().close().unwrap();
        });
        drop(db);
        let db = Config::new(folder.path()).tiny().cache_bytes(1 << 20).open().unwrap();
        assert_eq!(db.tree("t").unwrap().get("key").unwrap().as_deref(), Some(&b"value"[..]));
        db.verify().unwrap();
    }
}
