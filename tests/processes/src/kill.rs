//! `kill -9` at any moment: while the database is made, opened, recovered from the kill before,
//! written, checkpointed.

use std::path::Path;
use std::time::Duration;

use sapwood_sim::random::Random;

use crate::child::Worker;
use crate::load::{Look, check_left};

/// After so many rounds a new database is begun.
const ROUNDS_PER_DATABASE: u64 = 100;

/// What was counted.
#[derive(Debug, Default)]
pub struct Killed {
    pub rounds: u64,
    pub acknowledged: u64,
    /// Rounds whose last batch was durable, but not acknowledged yet.
    pub unheard: u64,
    /// Rounds that were killed before the database was open.
    pub unopened: u64,
    /// Rounds that left a tail of the log.
    pub tailed: u64,
}

fn has_tail(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.into_iter().any(|name| name.to_string_lossy().starts_with("tail-"))
}

/// Kills so many workers, one after the other.
pub fn kill(program: &Path, rounds: u64, seed: u64) -> Killed {
    let mut random = Random::new(seed);
    let mut killed = Killed::default();
    let mut folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..rounds {
        if round % ROUNDS_PER_DATABASE == 0 {
            (folder, last) = (tempfile::tempdir().unwrap(), 0);
        }
        // Half of them sync nothing: their last batches are on the way into the log's file.
        let orders: &[&str] = if random.chance(50) { &["--buffered"] } else { &[] };
        let mut worker = Worker::start(program, folder.path(), orders);
        worker.acknowledged = last;
        let is_early = random.chance(30);
        if !is_early {
            worker.listen_for("opened").expect("it opens");
            (0..random.below(30)).for_each(|_| drop(worker.listen_for("acknowledged")));
        }
        worker.work_on(Duration::from_micros(random.below(if is_early { 12_000 } else { 4_000 })));
        let acknowledged = worker.kill();
        assert!(worker.said.is_empty(), "{:?}", worker.said);
        killed.tailed += u64::from(has_tail(folder.path()));
        let look = if random.chance(25) { Look::Recover } else { Look::ReadOnly };
        let found = check_left(folder.path(), acknowledged, look);
        killed.rounds += 1;
        killed.acknowledged += acknowledged - last;
        killed.unheard += u64::from(found > acknowledged);
        killed.unopened += u64::from(is_early && acknowledged == last);
        last = found;
    }
    killed
}
