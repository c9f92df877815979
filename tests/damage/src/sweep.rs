//! Goes through harms, a sample of them or all, and tells how to repeat the one that failed.
//!
//! | variable | what it does |
//! |---|---|
//! | `SAPWOOD_DAMAGE=all` | every harm instead of a sample |
//! | `SAPWOOD_SEED=n` | another sample |
//! | `SAPWOOD_HARM="flip sapwood.db 8123.3"` | this one alone |

use std::collections::BTreeSet;
use std::fmt::Display;

/// A walk through harms of one kind.
pub struct Sweep {
    /// The test's full name.
    test: &'static str,
    seed: u64,
    only: Option<String>,
    /// Of how many harms one is taken.
    stride: u64,
    /// What is being judged.
    at: String,
    /// How many were judged.
    pub judged: u64,
    /// Each error that there was, without its numbers.
    pub errors: BTreeSet<String>,
}

impl Sweep {
    /// One of `stride` harms, unless all are asked for.
    pub fn new(test: &'static str, stride: u64) -> Sweep {
        let stride = if is_all() { 1 } else { stride };
        let seed = std::env::var("SAPWOOD_SEED").ok().and_then(|seed| seed.parse().ok());
        let (seed, only) = (seed.unwrap_or(0), std::env::var("SAPWOOD_HARM").ok());
        let (at, errors) = (String::new(), BTreeSet::new());
        Sweep { test, seed, only, stride, at, judged: 0, errors }
    }

    /// Judges those that are to be judged; `judge` gets the number of each, too.
    pub fn go<H: Display>(
        &mut self,
        specimen: &str,
        harms: impl IntoIterator<Item = H>,
        mut judge: impl FnMut(u64, &H) -> BTreeSet<String>,
    ) {
        let first = self.seed % self.stride;
        for (number, harm) in (0..).zip(harms) {
            let is_taken = match &self.only {
                Some(only) => *only == harm.to_string(),
                None => number % self.stride == first,
            };
            if is_taken {
                self.at = format!("{specimen}: SAPWOOD_HARM=\"{harm}\"");
                let errors = judge(number / self.stride, &harm);
                self.errors.extend(errors);
                self.judged += 1;
            }
        }
    }

    /// The count is only promised where nobody has asked for one harm alone.
    pub fn expect(&self, least: u64) {
        println!("{} judged {} harms, {} errors", self.test, self.judged, self.errors.len());
        assert!(self.only.is_some() || self.judged >= least, "only {} harms", self.judged);
    }
}

fn is_all() -> bool {
    std::env::var("SAPWOOD_DAMAGE").is_ok_and(|which| which == "all")
}

impl Drop for Sweep {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Sweep { test, at, .. } = self;
            eprintln!("failed at {at}; run it again with");
            eprintln!("    SAPWOOD_HARM=... cargo test -p sapwood-damage {test}");
        }
    }
}
