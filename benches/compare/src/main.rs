//! `compare`: sapwood beside other embedded stores, on the same rows and the same budget.
//!
//! ```text
//! compare run              for each repeat, for each engine, for each workload:
//!    `-> compare --job J      one child process, which opens one store, measures, and says JSON
//! compare report           makes one page of what the runs have left
//! ```
//!
//! The parent opens no store and measures nothing, so memory, CPU time and I/O of a child are those
//! of one engine in one workload and of the little that this harness adds to each alike.

mod answer;
mod bench;
mod cgroup;
mod files;
mod job;
mod latencies;
mod machine;
mod meter;
mod options;
mod quiet;
mod report;
mod results;
mod row;
mod runner;
mod sampler;
mod script;
mod store;
mod stores;
mod workloads;
mod zipf;

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
        Ok(Command::Run(options)) => runner::run(&options),
        Ok(Command::Report(paths)) => report::write(&paths),
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
