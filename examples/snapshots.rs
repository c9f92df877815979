//! A report that is right while the ledger goes on: everything is read at one moment.
//!
//! `cargo run --release --example snapshots`

use sapwood::{Config, Database, Read, Result, Tree};

/// The sum of all accounts, whatever moment `state` is.
fn total(state: &impl Read, accounts: &Tree) -> Result<u64> {
    let amount = |value: &[u8]| u64::from(value.first().copied().unwrap_or_default());
    state.iter(accounts).map(|row| Ok(amount(&row?.1))).sum()
}

/// Moves `amount` from one account to another.
fn transfer(db: &Database, accounts: &Tree, from: &str, to: &str, amount: u8) -> Result<()> {
    db.transaction(|tx| {
        let held = |value: Option<sapwood::Slice>| {
            value.and_then(|value| value.first().copied()).unwrap_or_default()
        };
        let (poorer, richer) = (held(tx.get(accounts, from)?), held(tx.get(accounts, to)?));
        tx.insert(accounts, from, [poorer - amount])?;
        tx.insert(accounts, to, [richer + amount])
    })
}

/// Takes a snapshot, changes what it saw, and reads both.
pub fn main() -> Result<()> {
    let db = Config::in_memory().open()?;
    let accounts = db.tree("accounts")?;
    for name in ["ann", "bob", "cleo"] {
        accounts.insert(name, [100])?;
    }

    let yesterday = db.snapshot();
    transfer(&db, &accounts, "ann", "bob", 30)?;
    accounts.insert("dan", [50])?;

    let (then, now) = (total(&yesterday, &accounts)?, total(&db, &accounts)?);
    println!("yesterday {then}, now {now}");
    assert_eq!((then, now), (300, 350));

    let ann = accounts.at(&yesterday).get("ann")?;
    assert_eq!(ann.as_deref(), Some(&[100][..]));
    let readers = db.stats().readers;
    println!("{} snapshot is held, {} us old", readers.count, readers.oldest_micros);
    assert_eq!(readers.count, 1);
    drop(yesterday);
    assert_eq!(db.stats().readers.count, 0);
    db.close()
}
