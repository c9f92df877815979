//! Keeps a journal under record numbers, filled by several threads: `cargo run --example append`.

use sapwood::{Config, Durability, RecordNumber, Result};

/// Shows what it says, and checks itself.
pub fn main() -> Result<()> {
    let db = Config::in_memory().open()?;
    let journal = db.tree("journal")?;

    // Each append gets a number of its own, and nobody waits for anybody.
    std::thread::scope(|scope| {
        let writers: Vec<_> = ["ann", "bob", "cid"]
            .into_iter()
            .map(|name| {
                let journal = journal.clone();
                scope.spawn(move || -> Result<()> {
                    (0..100).try_for_each(|at| journal.append(format!("{name} {at}")).map(drop))
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer has panicked"))
    })?;
    assert_eq!(journal.iter().count(), 300);

    // In one step with other changes, here an index of where the chapters begin.
    let chapters = db.tree("chapters")?;
    let mut batch = db.batch();
    let number = batch.append(&journal, "the second chapter begins")?;
    batch.insert(&chapters, "second", RecordNumber::new(number));
    batch.commit(Durability::Synced)?;
    assert_eq!(number, 301);

    // Numbers are keys: 8 bytes, ordered like the numbers.
    let begin = chapters.get("second")?.expect("it was just inserted");
    let (key, line) = journal.range(begin..).next().expect("so was this")?;
    assert_eq!(RecordNumber::from_key(&key), Some(RecordNumber::new(301)));
    assert_eq!(line, "the second chapter begins");
    let numbers = journal.keys().map(|key| Ok(RecordNumber::from_key(&key?)));
    let numbers: Vec<_> = numbers.collect::<Result<_>>()?;
    assert!(numbers.into_iter().eq((1..=301).map(|number| Some(RecordNumber::new(number)))));
    println!("301 lines, numbered without gaps");
    db.close()
}
