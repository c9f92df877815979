//! Lives any number of lives of random databases on simulated machines.
//!
//! ```sh
//! cargo run --release -p sapwood-sim -- --seeds 1000
//! ```

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sapwood_sim::life::{live, tally::Tally};

/// Plays random databases on simulated disks, crashes them wherever it can, and checks all that is
/// found.
#[derive(Parser)]
struct Arguments {
    /// How many lives: seeds from the first one on.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// No further life begins once there were so many crash states.
    #[arg(long, default_value_t = u64::MAX)]
    states: u64,
    /// Lives at once.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Go on behind a failure, and tell all of them in the end.
    #[arg(long)]
    keep_going: bool,
}

/// What all threads have done together.
struct Run {
    arguments: Arguments,
    next: AtomicU64,
    states: AtomicU64,
    tally: Mutex<Tally>,
    failed: Mutex<Vec<u64>>,
    bar: ProgressBar,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bar = bar(&arguments);
    let run = Run {
        next: AtomicU64::new(arguments.from),
        states: AtomicU64::new(0),
        tally: Mutex::default(),
        failed: Mutex::default(),
        bar,
        arguments,
    };
    std::thread::scope(|scope| {
        for _ in 0..run.arguments.jobs {
            scope.spawn(|| run.live());
        }
    });
    run.bar.finish_and_clear();
    println!("{}", run.tally.lock().unwrap_or_else(PoisonError::into_inner).told(cpu_time()));
    let failed = run.failed.lock().unwrap_or_else(PoisonError::into_inner);
    for seed in failed.iter() {
        println!("seed {seed} failed; run it again with\n    {}", replay(*seed));
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64) -> String {
    format!("cargo run --release -p sapwood-sim -- --seeds 1 --from {seed}")
}

/// On a terminal only.
fn bar(arguments: &Arguments) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let by_states = arguments.states < u64::MAX;
    let bar = ProgressBar::new(if by_states { arguments.states } else { arguments.seeds });
    let what = if by_states { "crash states" } else { "lives" };
    let style =
        format!("{{wide_bar}} {{pos}} of {{len}} {what}, {{elapsed}}, still {{eta}} {{msg}}");
    bar.with_style(ProgressStyle::with_template(&style).expect("the template is sound"))
}

impl Run {
    /// Lives one life after the other.
    fn live(&self) {
        let end = self.arguments.from.saturating_add(self.arguments.seeds);
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || self.states.load(Ordering::Relaxed) >= self.arguments.states {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| live(seed))) {
                Ok(lived) => self.count(lived.tally),
                Err(_) => {
                    eprintln!("seed {seed} failed; run it again with\n    {}", replay(seed));
                    self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                    if !self.arguments.keep_going {
                        self.next.store(end, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn count(&self, tally: Tally) {
        let states = self.states.fetch_add(tally.states, Ordering::Relaxed) + tally.states;
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) += tally;
        if self.arguments.states < u64::MAX {
            self.bar.set_position(states);
        } else {
            self.bar.inc(1);
        }
        self.bar.set_message(format!("({states} states)"));
    }
}

/// What this process has computed so far, on all threads.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}
