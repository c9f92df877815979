//! `compare`: sapwood beside other embedded stores, on the same rows and the same budget.
//!
//! ```text
//! compare                  for each repeat, for each engine, for each workload:
//!    `-> compare --job J      one child process, which opens one store, measures, and prints JSON
//! ```
//!
//! The parent opens no store and measures nothing, so memory, CPU time and I/O of a child are those
//! of one engine in one workload and of the little that this harness adds to each alike.

mod cgroup;
mod engines;
mod files;
mod job;
mod latencies;
mod meter;
mod options;
mod quiet;
mod report;
mod row;
mod runner;
mod store;
mod workloads;

use std::process::ExitCode;

use crate::options::{Command, USAGE};

/// What can go wrong here is told to a person and ends the run.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    let done = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::Job(job)) => workloads::run(&job),
        Ok(Command::Compare(options)) => runner::run(&options),
        Err(error) => {
            eprintln!("compare: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
