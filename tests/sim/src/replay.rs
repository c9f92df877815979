//! Seeds: which ones a test runs, and how a failing one is run again.
//!
//! `SAPWOOD_SEED=n` runs that seed alone, `SAPWOOD_SEEDS=n` the first n of each test: a soak.

use crate::disk::Cut;

/// The seeds of a test that runs `count` of them unless it is told otherwise.
pub fn seeds(count: u64) -> Vec<u64> {
    if let Some(seed) = number("SAPWOOD_SEED") {
        return vec![seed];
    }
    (0..number("SAPWOOD_SEEDS").unwrap_or(count)).collect()
}

/// Whether everything is to be run (`SAPWOOD_SIM=full`), not only what a quick run has time for.
pub fn is_full() -> bool {
    std::env::var("SAPWOOD_SIM").is_ok_and(|how| how == "full")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Tells, when the test panics, where it was and the command that replays it.
pub struct Trail {
    test: &'static str,
    seed: u64,
    /// The operations at which the machine crashed so far.
    pub operations: Vec<u64>,
    /// What the last power cut kept; `None` for a kill.
    pub cut: Option<Cut>,
}

impl Trail {
    /// For a test, by its full name, and a seed.
    pub fn new(test: &'static str, seed: u64) -> Trail {
        Trail { test, seed, operations: Vec::new(), cut: None }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Trail { test, seed, operations, cut } = self;
            eprintln!("crashed at operations {operations:?}, power cut {cut:?}; run it again with");
            eprintln!("    SAPWOOD_SEED={seed} cargo test --test it {test}");
        }
    }
}
