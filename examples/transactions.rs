//! Two doctors want to go home; one has to stay. What each isolation makes of it.
//!
//! `cargo run --release --example transactions`

use sapwood::{Config, Database, Durability, Isolation, Result, Tree};

/// How many doctors are on call after both have tried to leave at the same time.
fn both_leave(db: &Database, on_call: &Tree, isolation: Isolation) -> Result<usize> {
    on_call.insert("ann", "")?;
    on_call.insert("bob", "")?;
    let (mut ann, mut bob) = (db.begin_with(isolation)?, db.begin_with(isolation)?);
    for (tx, name) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        // Each sees two doctors, and so believes that one remains.
        if tx.iter(on_call).count() > 1 {
            tx.remove(on_call, name)?;
        }
    }
    ann.commit_with(Durability::Synced)?;
    match bob.commit() {
        Ok(_) => {}
        Err(error) if error.is_conflict() => println!("bob stays: {error}"),
        Err(error) => return Err(error),
    }
    Ok(on_call.iter().count())
}

/// A draft in which a part is taken back.
fn draft(db: &Database, notes: &Tree) -> Result<()> {
    let mut tx = db.begin()?;
    tx.insert(notes, "title", "rings")?;
    let before = tx.savepoint();
    tx.remove_range::<&str>(notes, ..)?;
    assert_eq!(tx.get(notes, "title")?, None);
    tx.rollback_to(&before)?;
    let commit = tx.commit()?;
    assert_eq!(commit.changes, 1);
    Ok(())
}

/// Shows write skew, how a serializable transaction prevents it, savepoints, and retries.
pub fn main() -> Result<()> {
    let db = Config::in_memory().open()?;
    let on_call = db.tree("on call")?;
    assert_eq!(both_leave(&db, &on_call, Isolation::Snapshot)?, 0);
    assert_eq!(both_leave(&db, &on_call, Isolation::Serializable)?, 1);

    let notes = db.tree("notes")?;
    draft(&db, &notes)?;
    assert_eq!(notes.get("title")?.as_deref(), Some(&b"rings"[..]));

    // Counting with retries: no increment is lost, whoever else counts.
    std::thread::scope(|scope| {
        let count = || {
            for _ in 0..100 {
                db.transaction(|tx| {
                    let count = tx.get(&notes, "count")?.map_or(0, |count| count.len());
                    tx.insert(&notes, "count", vec![b'|'; count + 1])
                })
                .expect("64 attempts are enough for two");
            }
        };
        scope.spawn(count);
        count();
    });
    let count = notes.get("count")?.map_or(0, |count| count.len());
    println!("counted to {count}");
    assert_eq!(count, 200);
    db.close()
}
