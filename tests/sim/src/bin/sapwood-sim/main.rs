//! Lives any number of lives of random databases on simulated machines.
//!
//! ```sh
//! cargo run --release --bin sapwood-sim -- --seeds 1000
//! cargo run --release --bin sapwood-sim -- soak --minutes 120
//! ```

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sapwood_sim::life::live;
use sapwood_sim::life::tally::Tally;
use sapwood_sim::soak::Soak;

/// Plays random databases on simulated disks, crashes them wherever it can, and checks all that is
/// found.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    lives: Lives,
}

#[derive(Subcommand)]
enum Command {
    /// Real threads on a real folder, checked all the time.
    Soak(SoakArguments),
}

#[derive(Args)]
struct SoakArguments {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The budget of the database.
    #[arg(long, default_value_t = 16)]
    cache_mib: u64,
    /// What the threads draw their choices from; when they do it, nobody decides.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// An empty or missing folder; one in the system's folder for such things, if none is given.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Args)]
struct Lives {
    /// How many lives, of seeds from the first one on; 100 if nothing else ends it.
    #[arg(long)]
    seeds: Option<u64>,
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
    lives: Lives,
    end: u64,
    next: AtomicU64,
    states: AtomicU64,
    tally: Mutex<Tally>,
    failed: Mutex<Vec<u64>>,
    bar: ProgressBar,
}

fn main() -> ExitCode {
    let Arguments { command, lives } = Arguments::parse();
    match command {
        Some(Command::Soak(arguments)) => soak(arguments),
        None => live_all(lives),
    }
}

/// Panics where something is not as it should be.
fn soak(arguments: SoakArguments) -> ExitCode {
    let SoakArguments { minutes, cache_mib, seed, folder } = arguments;
    let name = format!("sapwood-soak-{}", std::process::id());
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join(name));
    println!("{minutes} minutes in {}", folder.display());
    let time = Duration::from_secs(minutes * 60);
    let soak = Soak { folder: folder.clone(), time, cache_bytes: cache_mib << 20, seed };
    soak.run(&|line| println!("{line}"));
    println!("everything was as it should be");
    match std::fs::remove_dir_all(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} cannot be removed: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn live_all(lives: Lives) -> ExitCode {
    let unbounded = if lives.states < u64::MAX { u64::MAX } else { 100 };
    let end = lives.from.saturating_add(lives.seeds.unwrap_or(unbounded));
    let bar = bar(&lives, end);
    let run = Run {
        next: AtomicU64::new(lives.from),
        states: AtomicU64::new(0),
        tally: Mutex::default(),
        failed: Mutex::default(),
        bar,
        end,
        lives,
    };
    std::thread::scope(|scope| {
        for _ in 0..run.lives.jobs {
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
    format!("cargo run --release --bin sapwood-sim -- --seeds 1 --from {seed}")
}

/// On a terminal only.
fn bar(lives: &Lives, end: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let by_states = lives.states < u64::MAX;
    let bar = ProgressBar::new(if by_states { lives.states } else { end - lives.from });
    let what = if by_states { "crash states" } else { "lives" };
    let style =
        format!("{{wide_bar}} {{pos}} of {{len}} {what}, {{elapsed}}, still {{eta}} {{msg}}");
    bar.with_style(ProgressStyle::with_template(&style).expect("the template is sound"))
}

impl Run {
    /// Lives one life after the other.
    fn live(&self) {
        loop {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end || self.states.load(Ordering::Relaxed) >= self.lives.states {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| live(seed))) {
                Ok(lived) => self.count(lived.tally),
                Err(_) => {
                    eprintln!("seed {seed} failed; run it again with\n    {}", replay(seed));
                    self.failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                    if !self.lives.keep_going {
                        self.next.store(self.end, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn count(&self, tally: Tally) {
        let states = self.states.fetch_add(tally.states, Ordering::Relaxed) + tally.states;
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner) += tally;
        if self.lives.states < u64::MAX {
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
