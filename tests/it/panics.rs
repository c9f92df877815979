//! Panics: in the database's own work they end all writing, in the user's code they change nothing.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sapwood::{Background, Config, Database, Durability, Error, MemoryStorage, StepPoint, Tree};

/// Whether `work` panics.
fn panics<T>(work: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

fn key(number: u32) -> [u8; 4] {
    number.wrapping_mul(2_654_435_761).to_be_bytes()
}

/// A database in manual mode, and what makes the next arrival at `point` panic.
fn fragile(storage: &Arc<MemoryStorage>, point: StepPoint) -> (Database, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let hook = {
        let armed = armed.clone();
        move |at| {
            assert!(at != point || !armed.swap(false, Ordering::SeqCst), "at {point:?}");
            ControlFlow::Continue(())
        }
    };
    let config = Config::on(storage.clone()).tiny().cache_bytes(256 << 10).on_step(hook);
    (config.background(Background::Manual).open().unwrap(), armed)
}

fn refused(error: &Error, point: StepPoint) {
    let sentence = format!(
        "the database takes no more writes since an earlier failure (work on the database \
         panicked: at {point:?}); reopen it"
    );
    assert_eq!(error.to_string(), sentence);
    assert!(error.is_fatal() && !error.is_retryable() && !error.is_corruption());
}

/// Writes until the armed point is reached, by whatever call leads there.
fn write_until_it_panics(db: &Database, tree: &Tree, rows: &mut u32) {
    for _ in 0..100_000 {
        if panics(|| tree.insert(key(*rows), "v").unwrap()) {
            return;
        }
        *rows += 1;
        if panics(|| db.maintain(1).unwrap())
            || (rows.is_multiple_of(500) && panics(|| db.checkpoint()))
        {
            return;
        }
    }
    panic!("the point is never reached");
}

/// It went on as if nothing had happened, with whatever the work had left half done.
#[test]
fn a_panic_in_work_on_the_callers_thread_ends_all_writing_and_no_reading() {
    use StepPoint::*;
    for point in [SpillBuilt, FlushBuilt, SplitBegun, LogSealBegun, CheckpointNodes] {
        let storage = Arc::new(MemoryStorage::new());
        let (db, armed) = fragile(&storage, point);
        let tree = db.tree("t").unwrap();
        let mut rows = 0;
        while rows < 2_000 {
            tree.insert(key(rows), "v").unwrap();
            rows += 1;
        }
        armed.store(true, Ordering::SeqCst);
        write_until_it_panics(&db, &tree, &mut rows);
        refused(&tree.insert("k", "v").unwrap_err(), point);
        refused(&db.maintain(1).unwrap_err(), point);
        refused(&db.checkpoint().unwrap_err(), point);
        refused(&db.daemon().drain().unwrap_err(), point);
        refused(&tree.ingest([("k", "v")]).unwrap_err(), point);
        for number in 0..rows {
            assert!(tree.get(key(number)).unwrap().is_some(), "{number} after {point:?}");
        }
        assert!(tree.iter().rev().count() as u32 >= rows);
        refused(&db.close().unwrap_err(), point);
        drop(tree);
        let (db, _) = fragile(&storage, point);
        let tree = db.tree("t").unwrap();
        assert!((0..rows).all(|number| tree.get(key(number)).unwrap().is_some()), "{point:?}");
        db.verify().unwrap();
    }
}

/// Everything that a user's code may panic in leaves a database that takes writes.
#[test]
fn a_panic_in_the_users_own_code_changes_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let (db, _) = fragile(&storage, StepPoint::SpillBegun);
    let tree = db.tree("t").unwrap();
    tree.insert("a", "1").unwrap();
    assert!(panics(|| tree.fetch_update("a", |_| -> Option<Vec<u8>> { panic!("in the closure") })));
    let rows = (0..5_000u32).map(|number| {
        assert_ne!(number, 4_000, "in the iterator");
        (number.to_be_bytes(), [7; 100])
    });
    assert!(panics(|| tree.ingest(rows)));
    assert!(panics(|| {
        let mut tx = db.begin().unwrap();
        for number in 0..5_000u32 {
            tx.insert(&tree, number.to_be_bytes(), [7; 100]).unwrap();
        }
        panic!("with a transaction larger than memory")
    }));
    assert!(panics(|| tree.iter().for_each(|row| assert_eq!(row.unwrap().0.len(), 99))));
    assert_eq!(tree.iter().map(|row| row.unwrap().1.to_vec()).collect::<Vec<_>>(), [b"1"]);
    let mut batch = db.batch();
    batch.insert(&tree, "b", "2");
    batch.commit(Durability::Synced).unwrap();
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    // What they had written ahead is nobody's, and no leak.
    let report = db.verify().unwrap();
    assert_eq!(tree.iter().count(), 2, "{report:?}");
    db.close().unwrap();
}
