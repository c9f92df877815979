//! The drivers by hand, for large counts: `cargo run --release -p sapwood-processes -- kill`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use sapwood_processes::inject::{Expect, INJECTIONS, inject_each};
use sapwood_processes::{full, kill, limits, memory, power_cut, together, worker};

/// Real processes that are killed, stopped, starved and cut off.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Kill workers at any moment.
    Kill {
        #[arg(long, default_value_t = 1000)]
        rounds: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Shut the file system down under workers; needs root, loop devices and mkfs.
    PowerCut {
        #[arg(long, default_value_t = 500)]
        rounds: u64,
        #[arg(long, default_value = "ext4")]
        fs: String,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Fill small file systems; needs the right to mount.
    Full,
    /// Too few descriptors, too small files, too little memory.
    Limits,
    /// Several processes on one database, one of them stopped perhaps.
    Together {
        #[arg(long, default_value_t = 100)]
        rounds: u64,
    },
    /// Let each n-th system call fail; needs strace.
    Strace {
        #[arg(long, default_value_t = 100)]
        calls: u64,
    },
    /// How much memory a process takes that does what takes most; of as many MiB of cache.
    Memory {
        #[arg(long, default_value_t = 64)]
        cache_mib: u64,
    },
    /// What one driver starts.
    #[command(hide = true)]
    MemoryOf(memory::Orders),
    /// What the drivers start.
    #[command(hide = true)]
    Worker(worker::Orders),
}

fn main() -> ExitCode {
    let program = std::env::current_exe().expect("the system knows what it runs");
    match drive(Arguments::parse().what, &program) {
        Ok(code) => code,
        Err(sapwood_processes::Skipped(why)) => {
            eprintln!("not possible here: {why}");
            ExitCode::from(4)
        }
    }
}

fn drive(what: What, program: &Path) -> sapwood_processes::Outcome<ExitCode> {
    match what {
        What::Worker(orders) => return Ok(worker::work(&orders)),
        What::MemoryOf(orders) => {
            memory::work(&orders).expect("nothing is short");
        }
        What::Memory { cache_mib } => {
            for load in memory::Load::value_variants() {
                let taken = memory::measure(program, *load, cache_mib)? >> 20;
                let promised = load.promised(cache_mib << 20) >> 20;
                println!("{load:?}: {taken} MiB of {promised} that are promised");
            }
        }
        What::Kill { rounds, seed } => println!("{:?}", kill::kill(program, rounds, seed)),
        What::PowerCut { rounds, fs, seed } => {
            println!("{fs}: {:?}", power_cut::cut(program, &fs, rounds, seed)?);
        }
        What::Full => {
            let sizes = (1..=64).map(|number| number * (64 << 10));
            println!("{:?}", full::fill(program, sizes)?);
        }
        What::Limits => {
            for (option, limits) in limits() {
                println!("{option}: {:?}", limits::limit(program, option, limits.into_iter()));
            }
        }
        What::Together { rounds } => {
            let told: usize = (0..rounds).map(|_| together::open_at_once(program, &new(), 6)).sum();
            together::stop_in_the_middle(program, &new(), rounds);
            println!("{rounds} times 6 at once, {told} told; {rounds} stopped");
        }
        What::Strace { calls } => {
            let mut is_untold = false;
            for injection in INJECTIONS {
                let injected = inject_each(program, injection, 1..=calls)?;
                println!("{injection:?}: {injected:?}");
                is_untold |= injection.expect == Expect::Told && !injected.untold.is_empty();
            }
            return Ok(if is_untold { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A folder of its own, which goes with the process's temporary files.
fn new() -> PathBuf {
    tempfile::tempdir().expect("there is a place for temporary files").keep()
}

fn limits() -> [(&'static str, Vec<u64>); 3] {
    [
        ("--descriptors", (3..40).collect()),
        ("--file-bytes", (1..=48).map(|number| number * (32 << 10)).collect()),
        ("--address-bytes", (8..=72).map(|number| number << 22).collect()),
    ]
}
