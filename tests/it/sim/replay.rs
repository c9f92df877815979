//! Seeds: which ones a test runs, and how a failing one is run again.

use super::disk::Cut;

/// The seeds of a test: `SAPWOOD_SEED` alone where it is set.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SAPWOOD_SEED") {
        Ok(seed) => vec![seed.parse().expect("SAPWOOD_SEED is a number")],
        Err(_) => (0..count).collect(),
    }
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
