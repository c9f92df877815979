//! The command line of sapwood: one file per subcommand, listed below in the order of the help.
//!
//! ```text
//! arguments -> args -> subcommand -> Exit (0, or 1 for "not there")      -> exit code
//!                               `-> Failure (1 to 4, with one sentence)  -> standard error
//! ```
//!
//! Results go to standard output, everything else to standard error. A subcommand returns its exit
//! code or failure to `main`, so that databases are closed and temporary folders removed first.

mod args;
mod bench;
mod checkpoint;
mod copy;
mod delete;
mod demo;
mod draw;
mod dump;
mod escape;
mod failure;
mod get;
mod lines;
mod load;
mod output;
mod put;
mod salvage;
mod scan;
mod scratch;
mod shape_text;
mod stats;
mod trees;
mod verify;
mod words;

use std::process::ExitCode;

use args::Command;
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let exit = match args::parse() {
        Ok(command) => run(command),
        Err(help_or_usage) => help_or_usage.show(),
    };
    exit.unwrap_or_else(Failure::tell).into()
}

fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Load(load) => load.run(),
        Command::Get(get) => get.run(),
        Command::Put(put) => put.run(),
        Command::Delete(delete) => delete.run(),
        Command::Scan(scan) => scan.run(),
        Command::Trees(trees) => trees.run(),
        Command::Stats(stats) => stats.run(),
        Command::Verify(verify) => verify.run(),
        Command::Checkpoint(checkpoint) => checkpoint.run(),
        Command::Copy(copy) => copy.run(),
        Command::Salvage(salvage) => salvage.run(),
        Command::Dump(dump) => dump.run(),
        Command::Draw(draw) => draw.run(),
        Command::Bench(bench) => bench.run(),
        Command::Demo(demo) => demo.run(),
    }
}
