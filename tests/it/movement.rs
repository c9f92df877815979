//! What goes on in the background, and the handle to it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sapwood::{Background, Config, Database, StepPoint, Tree, merge};

fn manual() -> Config {
    Config::in_memory().tiny().cache_bytes(256 << 10).background(Background::Manual)
}

fn key(number: u64) -> String {
    format!("key-{:08}", number.wrapping_mul(2_654_435_761) % 100_000_000)
}

fn load(db: &Database, rows: u64) {
    let tree = db.tree("t").unwrap();
    for number in 0..rows {
        tree.insert(key(number), format!("value {number}")).unwrap();
    }
}

/// Rows as long as those of real loads, since space is handed out in units.
fn load_long(db: &Database, rows: u64) {
    let tree = db.tree("t").unwrap();
    for number in 0..rows {
        tree.insert(key(number), [number.to_le_bytes(); 12].as_flattened()).unwrap();
    }
}

#[test]
fn a_drain_leaves_nothing_waiting() {
    let db = manual().open().unwrap();
    load(&db, 20_000);
    assert!(db.stats().debt_bytes > 0);
    db.daemon().drain().unwrap();
    let stats = db.stats();
    assert_eq!((stats.debt_bytes, stats.trees["t"].runs), (0, 0));
    assert_eq!(db.tree("t").unwrap().iter().count(), 20_000);
    db.verify().unwrap();
}

#[test]
fn an_idle_database_drains_by_itself() {
    let db = Config::in_memory().cache_mib(8).idle_share(100).open().unwrap();
    load_long(&db, 100_000);
    db.daemon().wait_idle().unwrap();
    let stats = db.stats();
    assert_eq!(stats.debt_bytes, 0, "{stats:?}");
    assert!(db.daemon().status().is_idle);
    db.verify().unwrap();
}

/// A trickle must neither rewrite a large tree nor take a small one through checkpoint after
/// checkpoint.
#[test]
fn a_trickle_writes_twenty_bytes_a_byte_at_most() {
    for rows in [0, 100, 100_000] {
        trickle_into(rows);
    }
}

fn trickle_into(rows: u64) {
    let db = Config::in_memory().cache_mib(8).background(Background::Manual).open().unwrap();
    load_long(&db, rows);
    db.daemon().wait_idle().unwrap();
    assert_eq!(db.stats().debt_bytes, 0, "{rows} rows");
    let before = db.stats();
    let tree = db.tree("t").unwrap();
    for number in 0..2_000u64 {
        tree.insert(key(number * 10), [7; 100]).unwrap();
        db.daemon().wait_idle().unwrap();
    }
    db.checkpoint().unwrap();
    let after = db.stats();
    let user = after.user_bytes - before.user_bytes;
    let written = after.bytes_written - before.bytes_written;
    assert!(written <= 20 * user, "{written} bytes for {user} into {rows} rows: {after:?}");
}

#[test]
fn a_paused_daemon_moves_only_what_writers_need() {
    let db = manual().idle_share(50).open().unwrap();
    let daemon = db.daemon();
    daemon.pause();
    assert!(daemon.status().is_paused);
    let tree = db.tree("t").unwrap();
    tree.insert("a", "b").unwrap();
    assert_eq!(db.maintain(100).unwrap(), 0);
    let error = daemon.drain().unwrap_err();
    assert_eq!(error.to_string(), "background work is paused; resume the daemon first");
    assert!(daemon.wait_idle().is_err());
    load(&db, 20_000);
    daemon.resume();
    daemon.drain().unwrap();
    assert_eq!(db.stats().debt_bytes, 0);
    assert!(daemon.last_error().is_none());
}

#[test]
fn a_compaction_drops_what_an_old_reader_had_kept() {
    let db = manual().open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
    for number in 0..2_000 {
        tree.insert(key(number), "first").unwrap();
    }
    let reader = tree.iter();
    for number in 0..2_000 {
        tree.merge(key(number), " second").unwrap();
    }
    db.daemon().drain().unwrap();
    let (kept, before) = (db.dump().unwrap().len(), db.stats());
    assert_eq!(reader.count(), 2_000);
    tree.compact::<&str>(..).unwrap();
    let built = db.stats().movement.bytes_built - before.movement.bytes_built;
    assert!(built > 2_000 * 12, "{built} {kept}");
    let again = db.stats();
    tree.compact::<&str>(..).unwrap();
    assert_eq!(db.stats().movement.bytes_built, again.movement.bytes_built);
    assert!(tree.iter().all(|row| row.unwrap().1 == "first second"));
    db.verify().unwrap();
}

#[test]
fn a_tree_emptied_by_deletes_is_one_leaf_again_and_the_file_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(folder.path()).tiny().cache_bytes(256 << 10);
    let db = config.background(Background::Manual).open().unwrap();
    load(&db, 20_000);
    db.checkpoint().unwrap();
    let full = db.stats();
    assert!(full.trees["t"].height > 1 && full.file_bytes > 1 << 20);
    let tree = db.tree("t").unwrap();
    for number in (0..20_000).rev() {
        tree.remove(key(number * 7_919 % 20_000)).unwrap();
    }
    db.daemon().drain().unwrap();
    let stats = db.stats();
    assert_eq!((stats.trees["t"].height, stats.trees["t"].leaves), (0, 1), "{stats:?}");
    db.checkpoint().unwrap();
    let stats = db.stats();
    assert!(stats.file_bytes < 1 << 20, "{} bytes", stats.file_bytes);
    assert_eq!(
        std::fs::metadata(folder.path().join("sapwood.db")).unwrap().len(),
        stats.file_bytes
    );
    db.verify().unwrap();
}

#[test]
fn leaves_filled_in_order_are_full() {
    for descending in [false, true] {
        let db = manual().open().unwrap();
        let tree = db.tree("t").unwrap();
        for number in 0..30_000u64 {
            let number = if descending { 30_000 - number } else { number };
            tree.insert(format!("key-{number:08}"), "some value of some length").unwrap();
        }
        db.daemon().drain().unwrap();
        let shape = db.shape().unwrap();
        let mut fills = Vec::new();
        leaf_fills(&shape.trees[0].top, &mut fills);
        let (ends, middle) = (2, fills.len() - 4);
        let full: u64 = fills[ends..ends + middle].iter().sum::<u64>() / middle as u64;
        // A tiny leaf has two segments only, so one that does not fit leaves much empty.
        assert!(full >= 70, "{full} percent, descending {descending}: {fills:?}");
        db.verify().unwrap();
    }
}

fn leaf_fills(node: &sapwood::NodeShape, fills: &mut Vec<u64>) {
    if node.height == 0 {
        fills.push(node.fill_percent);
    }
    node.children.iter().for_each(|child| leaf_fills(child, fills));
}

#[test]
fn work_broken_off_at_any_point_leaves_the_tree_as_it_was() {
    for broken in StepPoint::ALL {
        let hits = Arc::new(AtomicUsize::new(0));
        let seen = hits.clone();
        let hook = move |point: StepPoint| {
            let is_it = point == broken && seen.fetch_add(1, Ordering::SeqCst) % 3 != 2;
            if is_it { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let open = || manual().on_step(hook.clone()).open();
        // An opening is broken off twice at most.
        let db = open().or_else(|_| open()).or_else(|_| open()).unwrap();
        let tree = db.tree("t").unwrap();
        let mut refused = 0;
        for number in 0..6_000u64 {
            while tree.insert(key(number), format!("value {number}")).is_err() {
                refused += 1;
            }
            if number % 3 == 2 {
                while tree.remove(key(number - 1)).is_err() {}
            }
        }
        while db.checkpoint().is_err() {}
        while db.daemon().drain().is_err() {}
        for number in 0..6_000u64 {
            let is_there = tree.get(key(number)).unwrap().is_some();
            assert_eq!(
                is_there,
                number % 3 != 1,
                "{number} after {refused} refusals at {broken:?}"
            );
        }
        db.verify().unwrap();
    }
}

#[test]
fn a_range_delete_gives_space_back_with_the_next_checkpoint() {
    for background in [Background::Manual, Background::Threads(2)] {
        let db = Config::in_memory().cache_mib(8).idle_share(0).background(background);
        let db = db.open().unwrap();
        load_long(&db, 100_000);
        db.daemon().drain().unwrap();
        db.checkpoint().unwrap();
        let full = db.stats();
        db.tree("t").unwrap().remove_range("key-2".."key-8").unwrap();
        db.checkpoint().unwrap();
        if background != Background::Manual {
            // A job that another thread is at keeps what it reads until it ends.
            db.daemon().wait_idle().unwrap();
            db.checkpoint().unwrap();
        }
        let left = db.stats();
        assert!(
            left.live_bytes < full.live_bytes * 6 / 10,
            "{} {}",
            full.live_bytes,
            left.live_bytes
        );
        assert!(left.movement.bytes_dropped > full.live_bytes / 3, "{left:?}");
        db.verify().unwrap();
    }
}

/// After a row that could not be paid for, the next one used to leave `wait_idle` waiting for ever.
#[test]
fn waiting_for_idleness_ends_also_when_little_was_written() {
    let db = Config::in_memory().cache_mib(8).idle_share(100).open().unwrap();
    load_long(&db, 50_000);
    db.daemon().drain().unwrap();
    for number in 0..3 {
        db.tree("t").unwrap().insert(key(number), "a trickle").unwrap();
        db.daemon().wait_idle().unwrap();
    }
    assert!(db.daemon().status().is_idle);
}

#[test]
fn a_database_is_verified_beside_idle_work() {
    let db = Config::in_memory().cache_mib(8).idle_share(100).open().unwrap();
    load_long(&db, 50_000);
    let report = db.verify().unwrap();
    assert!(report.rows > 0);
    db.daemon().wait_idle().unwrap();
    assert_eq!(db.verify().unwrap().rows, 50_000);
}

#[test]
fn a_small_leaf_between_full_ones_takes_a_part_of_a_neighbour() {
    let db = Config::in_memory().cache_mib(16).background(Background::Manual).open().unwrap();
    let tree = db.tree("t").unwrap();
    let name = |number: u64| format!("key-{number:08}");
    for number in 0..200_000u64 {
        tree.insert(name(number), [7; 100]).unwrap();
    }
    db.daemon().drain().unwrap();
    let leaf = db.shape().unwrap().trees[0].top.children[2].clone();
    let first: u64 = String::from_utf8(leaf.lower[4..].to_vec()).unwrap().parse().unwrap();
    // Nine of ten rows of one leaf go.
    let gone =
        |number: u64| (first..first + leaf.rows).contains(&number) && !number.is_multiple_of(10);
    for number in (0..200_000u64).filter(|number| gone(*number)) {
        tree.remove(name(number)).unwrap();
    }
    db.daemon().drain().unwrap();
    let moved = db.stats().movement;
    assert!(moved.leaf_balances > 0, "{moved:?}");
    let left = (0..200_000u64).filter(|number| !gone(*number)).count();
    assert_eq!(tree.iter().count(), left);
    db.verify().unwrap();
}

/// How much presses for a flush, over all buffers.
fn pressure(node: &sapwood::NodeShape) -> u64 {
    node.buffer.fill_percent + node.children.iter().map(pressure).sum::<u64>()
}

/// How much more presses after `read` than before.
fn pressure_of(read: impl Fn(&Tree)) -> u64 {
    let db = Config::in_memory().cache_mib(8).background(Background::Manual).open().unwrap();
    load_long(&db, 50_000);
    db.checkpoint().unwrap();
    let presses = || pressure(&db.shape().unwrap().trees[0].top);
    let unread = presses();
    read(&db.tree("t").unwrap());
    presses() - unread
}

#[test]
fn readers_charge_the_buffers_that_they_had_to_merge() {
    let get = |tree: &Tree| {
        assert!((0..20_000).all(|number| tree.get(key(number)).unwrap().is_some()));
    };
    let scan = |tree: &Tree| assert_eq!(tree.iter().count(), 50_000);
    assert_eq!(pressure_of(|_| {}), 0);
    assert!(pressure_of(get) > 0);
    assert!(pressure_of(scan) > 0);
}

#[test]
fn a_writer_breaks_idle_work_off() {
    // The point right before a leaf is gone through; there the writer comes.
    let writer: Arc<Mutex<Option<Tree>>> = Arc::default();
    let comes = writer.clone();
    let hook = move |point: StepPoint| {
        let tree = comes.lock().unwrap().clone();
        if let Some(tree) = tree.filter(|_| point == StepPoint::ReconcileBegun) {
            tree.insert("meanwhile", "something").unwrap();
        }
        ControlFlow::Continue(())
    };
    let config = Config::in_memory().cache_mib(8).background(Background::Manual).on_step(hook);
    let db = config.open().unwrap();
    load_long(&db, 50_000);
    db.checkpoint().unwrap();
    assert_eq!(db.stats().movement.stopped, 0);
    *writer.lock().unwrap() = Some(db.tree("t").unwrap());
    db.maintain(1).unwrap();
    while db.stats().movement.stopped == 0 {
        assert!(db.maintain(1).unwrap() > 0 || db.stats().movement.stopped > 0);
    }
    assert!(db.stats().debt_bytes > 0);
    assert_eq!(db.tree("t").unwrap().iter().count(), 50_001);
    // The database has the hook, which must not keep the database.
    *writer.lock().unwrap() = None;
}

/// What is unwritten cannot be evicted: a drained database that kept its cache full of it read a
/// directory and a page for each key that somebody asked for.
#[test]
fn an_idle_database_writes_what_fills_its_cache() {
    let db = Config::in_memory().cache_mib(8).checkpoint_bytes(1 << 40).open().unwrap();
    load_long(&db, 30_000);
    db.daemon().wait_idle().unwrap();
    assert!(db.stats().checkpoints > 0, "what was built is only in memory");
    let before = db.stats().bytes_read;
    let tree = db.tree("t").unwrap();
    let ask = |number| assert!(tree.get(key(number)).unwrap().is_some());
    (0..30_000).for_each(ask);
    let once = db.stats().bytes_read;
    (0..30_000).for_each(ask);
    let twice = db.stats().bytes_read;
    assert!(twice - once <= once - before, "{} bytes, then {}", once - before, twice - once);
}
