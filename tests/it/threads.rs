//! Many threads at once: writers, readers, scans, checkpoints and checks beside one another.
//!
//! The invariant that everybody checks: a batch sets the two keys of a pair to the same number, and
//! the numbers of a pair only grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sapwood::merge;
use sapwood::{Background, Config, Database, Durability, MemoryStorage, Tree};

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

/// An update read in a view that was older than the number it read at: what had been committed to a
/// new generation in between was neither seen nor noticed.
#[test]
fn no_update_is_lost_while_generations_change() {
    let db = open();
    let tree = db.tree("t").unwrap();
    let filler = vec![b'.'; 30 << 10];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    tree.fetch_update("counter", |old| {
                        let next = old.map_or(0, number) + 1;
                        Some([&next.to_le_bytes(), &filler[..]].concat())
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(number(&tree.get("counter").unwrap().unwrap()), 8_000);
}

#[test]
fn sums_only_grow_beside_range_deletes_flushes_and_checkpoints() {
    const COUNTERS: u64 = 40;
    const ROUNDS: u64 = 3_000;
    let db = open();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    let stop = AtomicBool::new(false);
    // Every batch adds one to a counter and to the total, and replaces rows beside them.
    let add = |worker: u64| {
        for round in 0..ROUNDS {
            let (counter, junk) = ((round * 7 + worker) % COUNTERS, round % 100);
            let mut batch = db.batch();
            batch.merge(&tree, key('c', counter), 1u64.to_le_bytes());
            batch.remove_range(&tree, key('d', junk)..key('d', junk + 20));
            batch.insert(&tree, key('d', junk + 10), value(round));
            batch.merge(&tree, "total", 1u64.to_le_bytes());
            batch.commit(Durability::Buffered).unwrap();
        }
    };
    let watch = |is_forward: bool| {
        let mut before = vec![0; COUNTERS as usize + 1];
        while !stop.load(Ordering::Relaxed) {
            let mut held = tree.iter();
            let rows = |iter: sapwood::Iter| -> Vec<_> {
                let mut rows: Vec<_> = match is_forward {
                    true => iter.map(Result::unwrap).collect(),
                    false => iter.rev().map(Result::unwrap).collect(),
                };
                rows.retain(|(key, _)| key[0] != b'd');
                rows.sort_by(|one, other| one.0.cmp(&other.0));
                rows.into_iter().map(|(_, value)| number(&value)).collect()
            };
            let first = held.next().unwrap().unwrap();
            let now: Vec<u64> = rows(tree.iter());
            let (total, counters) = now.split_last().unwrap();
            assert_eq!(counters.iter().sum::<u64>(), *total, "a batch was seen in part");
            assert!(now.iter().zip(&before).all(|(now, before)| now >= before), "time went back");
            // What was begun before the scan is older than it.
            let older = rows(held);
            assert!(older.last() <= now.last() && number(&first.1) <= now[0]);
            before = now;
        }
    };
    let read = || {
        let (mut before, mut total_before) = (vec![0; COUNTERS as usize], 0);
        let mut at = 0;
        while !stop.load(Ordering::Relaxed) {
            at = (at + 3) % COUNTERS as usize;
            let now = number(&tree.get(key('c', at as u64)).unwrap().unwrap());
            let total = number(&tree.get("total").unwrap().unwrap());
            assert!(now >= before[at] && total >= total_before, "time went back");
            (before[at], total_before) = (now, total);
        }
    };
    (0..COUNTERS).for_each(|counter| tree.insert(key('c', counter), 0u64.to_le_bytes()).unwrap());
    tree.insert("total", 0u64.to_le_bytes()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| watch(true));
        scope.spawn(|| watch(false));
        scope.spawn(read);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                db.checkpoint().unwrap();
                db.verify().unwrap();
            }
        });
        let writers: Vec<_> = (0..2).map(|worker| scope.spawn(move || add(worker))).collect();
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    db.verify().unwrap();
    assert_eq!(number(&tree.get("total").unwrap().unwrap()), 2 * ROUNDS);
}

#[test]
fn a_key_that_is_inserted_if_absent_is_a_lock_that_range_deletes_open() {
    let db = open();
    let tree = db.tree("t").unwrap();
    let (inside, entered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let filler = vec![b'.'; 8 << 10];
    std::thread::scope(|scope| {
        for worker in 0..4usize {
            let (tree, inside, entered, filler) = (&tree, &inside, &entered, &filler);
            scope.spawn(move || {
                // Not for a number of rounds: while one that is inside sleeps, the others have used
                // up theirs in vain.
                for round in 0usize.. {
                    if entered.load(Ordering::Relaxed) > 1_500 {
                        return;
                    }
                    let is_in = match round % 2 {
                        0 => tree.insert_if_absent("lock", filler).unwrap(),
                        _ => tree.compare_and_swap("lock", None, Some(filler)).unwrap().is_ok(),
                    };
                    if !is_in {
                        continue;
                    }
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                    entered.fetch_add(1, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    match (round + worker) % 4 {
                        0 => tree.remove_range("lo".."lp").unwrap(),
                        1 => tree.remove_prefix("lock").unwrap(),
                        2 => assert!(tree.take("lock").unwrap().is_some(), "it was not locked"),
                        _ => tree.remove("lock").unwrap(),
                    }
                }
            });
        }
    });
    assert!(entered.into_inner() > 1_500);
    db.verify().unwrap();
}

/// What is taken away is what was put in.
#[test]
fn nothing_is_taken_twice() {
    let db = open();
    let tree = db.tree("t").unwrap();
    let taken: u64 = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let more = |old: Option<&[u8]>| Some(value(old.map_or(0, number) + 1));
                    tree.update("purse", more).unwrap();
                }
            });
        }
        let take = || (0..2_000).filter_map(|_| tree.take("purse").unwrap()).map(|it| number(&it));
        let takers: Vec<_> = (0..2).map(|_| scope.spawn(move || take().sum::<u64>())).collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).sum()
    });
    let left = tree.get("purse").unwrap().map_or(0, |value| number(&value));
    assert_eq!(taken + left, 4_000);
}

/// Two threads declared different operators, and both were told that theirs was the tree's.
#[test]
fn one_of_two_operators_declared_at_once_is_refused() {
    let db = open();
    for round in 0..200 {
        let name = format!("tree {round}");
        db.tree(&name).unwrap();
        let (one, other) = std::thread::scope(|scope| {
            let one =
                scope.spawn(|| db.tree_with(&name, |tree| tree.merge_operator(merge::AddU64)));
            let other = db.tree_with(&name, |tree| tree.merge_operator(merge::Append));
            (one.join().unwrap(), other)
        });
        assert!(one.is_ok() != other.is_ok(), "both or none");
        let is_sum = one.is_ok();
        let tree = one.or(other).unwrap();
        tree.merge("k", 1u64.to_le_bytes()).unwrap();
        tree.merge("k", 2u64.to_le_bytes()).unwrap();
        assert_eq!(tree.get("k").unwrap().unwrap().len(), if is_sum { 8 } else { 16 });
    }
}

/// A log of many memtables, replayed while helpers flush what it has spilled so far.
#[test]
fn what_helpers_flush_beside_a_replay_is_all_there() {
    const ROWS: u64 = 6000;
    let storage = MemoryStorage::new();
    let config = || Config::on(Arc::new(storage.clone())).tiny().cache_bytes(256 << 10);
    let mut newest = vec![0; ROWS as usize];
    for round in 1..=4 {
        // Only a close or a recovery takes a checkpoint here, so the next opening replays it all.
        let writing = config().background(Background::Manual).checkpoint_bytes(u64::MAX);
        let db = writing.open().unwrap();
        let tree = db.tree("t").unwrap();
        for row in 0..ROWS {
            let row = row * 7919 % ROWS;
            if !(row + round).is_multiple_of(5) {
                tree.insert(key('a', row), value(round)).unwrap();
                newest[row as usize] = round;
            } else if row.is_multiple_of(2) {
                tree.remove(key('a', row)).unwrap();
                newest[row as usize] = 0;
            }
        }
        drop(tree);
        db.abandon();
        let db = config().background(Background::Threads(3)).open().unwrap();
        let spills = db.stats().movement.spills;
        assert!(spills > 3, "{spills} spills are no work for helpers");
        let tree = db.tree("t").unwrap();
        for row in 0..ROWS {
            let found = tree.get(key('a', row)).unwrap();
            let wanted = newest[row as usize];
            assert_eq!(found.map(|value| number(&value)), (wanted > 0).then_some(wanted), "{row}");
        }
        let rows = newest.iter().filter(|round| **round > 0).count();
        assert_eq!(tree.iter().count(), rows);
        db.verify().unwrap();
        drop(tree);
        db.abandon();
    }
}
