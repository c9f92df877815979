//! How many schedules a model sees, and how a failing one is run again.
//!
//! `SAPWOOD_SCHEDULES=n` runs n schedules of each model, `SAPWOOD_SEED=n` that one alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sapwood_sim::random::Random;
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::scheduler::{Progress, Seeded};

/// No schedule takes so many decisions unless a thread waits for what does not come.
const STEPS_MAX: usize = 6_000_000;
/// The engine is deep, and its threads are many.
const STACK_BYTES: usize = 1 << 20;

/// Runs `model` under `count` schedules, unless the environment says otherwise. What it draws from
/// the stream is the same for the same seed. Returns a number for all decisions, equal for equal
/// ones.
///
/// # Panics
/// When the model does, or its threads wait for each other, or one waits for ever.
pub fn explore(name: &'static str, count: u64, model: fn(&mut Random)) -> u64 {
    let progress = Arc::new(Progress::default());
    let trail = Trail { name, progress: progress.clone() };
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    // Seeds are shorter.
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    let running = progress.clone();
    let scheduler = Seeded::new(seeds(count), progress.clone());
    let ran = Runner::new(scheduler, config).run(move || {
        let seed = running.seed.load(Ordering::Relaxed);
        // Apart from the scheduler's stream, which depends on what runs.
        model(&mut Random::new(!seed));
    });
    let steps = progress.steps.load(Ordering::Relaxed);
    println!("{}: {ran} schedules, {steps} decisions", trail.name);
    progress.digest.load(Ordering::Relaxed)
}

fn seeds(count: u64) -> Vec<u64> {
    if let Some(seed) = number("SAPWOOD_SEED") {
        return vec![seed];
    }
    (0..number("SAPWOOD_SCHEDULES").unwrap_or(count)).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Tells, when a model panics, the command that shows it again.
struct Trail {
    name: &'static str,
    progress: Arc<Progress>,
}

impl Drop for Trail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, seed) = (self.name, self.progress.seed.load(Ordering::Relaxed));
            eprintln!("in tests/schedules, see that schedule again with");
            eprintln!("    SAPWOOD_SEED={seed} cargo test -- --exact {name} --nocapture");
        }
    }
}
