//! Work that goes on while commits become durable.
//!
//! `cargo run --release --example tickets`

use std::sync::mpsc::channel;

use sapwood::{Config, Durability, Result};

/// Commits without waiting, and acknowledges each once it is durable.
pub fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("sapwood-tickets-{}", std::process::id()));
    let db = Config::new(&folder).open()?;
    let events = db.tree("events")?;
    let (acknowledge, acknowledged) = channel();
    for number in 0..100u32 {
        let mut batch = db.batch();
        batch.insert(&events, number.to_be_bytes(), "happened");
        let ticket = batch.commit_async(Durability::Synced)?;
        // It is visible already, though not durable yet.
        assert!(events.contains_key(number.to_be_bytes())?);
        let acknowledge = acknowledge.clone();
        ticket.on_synced(move |outcome| {
            let _ = acknowledge.send((number, outcome));
        });
    }
    drop(acknowledge);
    let mut count = 0;
    for (number, outcome) in acknowledged {
        outcome?;
        assert!(number < 100);
        count += 1;
    }
    println!("{count} commits, {} syncs", db.stats().wal_syncs);
    assert_eq!(count, 100);

    // Or: begin the next thing, and wait at the end.
    let mut batch = db.batch();
    batch.insert(&events, "last", "");
    let ticket = batch.commit_async(Durability::Synced)?;
    ticket.wait()?;
    assert!(ticket.is_durable());
    drop((ticket, events));
    db.close()?;
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}
