//! The drivers with small counts; where the machine does not allow something, they say so.

use std::path::Path;

use sapwood_processes::inject::{Expect, INJECTIONS, inject_each};
use sapwood_processes::memory::Load;
use sapwood_processes::{Outcome, Skipped, full, kill, limits, memory, power_cut, together};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sapwood-processes"))
}

/// What was counted, printed; or why nothing could be.
fn counted<T: std::fmt::Debug>(outcome: Outcome<T>) -> Option<T> {
    match outcome {
        Ok(counted) => {
            println!("{counted:?}");
            Some(counted)
        }
        Err(Skipped(why)) => {
            println!("not possible here: {why}");
            None
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let seed = std::env::var("SAPWOOD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("replay with SAPWOOD_SEED={seed} cargo test -p sapwood-processes kill");
    let killed = kill::kill(program(), 40, seed);
    println!("{killed:?}");
    assert!(killed.rounds == 40 && killed.acknowledged > 0 && killed.tailed > 0);
}

#[test]
fn of_several_processes_one_gets_the_database() {
    let folder = tempfile::tempdir().unwrap();
    // The first time it is made.
    for _ in 0..4 {
        assert_eq!(together::open_at_once(program(), folder.path(), 4), 3);
    }
}

#[test]
fn a_stopped_process_keeps_its_database_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    together::stop_in_the_middle(program(), folder.path(), 4);
}

#[test]
fn whoever_is_short_of_something_says_so_and_loses_nothing() {
    let run = |option, limits: &[u64]| {
        let limited = limits::limit(program(), option, limits.iter().copied());
        println!("{option}: {limited:?}");
        limited
    };
    assert!(run("--descriptors", &[4, 6, 7, 8, 9, 10, 12, 16]).told > 0);
    assert!(run("--file-bytes", &[100_000, 300_000, 500_000, 1_000_000]).told > 0);
    run("--address-bytes", &[32 << 20, 64 << 20, 96 << 20, 128 << 20]);
}

/// Batches of a quarter of the cache took a process to three times its cache, and values of an
/// eighth to as much: each was there once more for every hand that it went through.
#[test]
fn memory_stays_within_what_is_promised() {
    for (load, cache_mib) in
        [(Load::Batches, 64), (Load::Together, 16), (Load::Values, 16), (Load::Scans, 8)]
    {
        if let Some(taken) = counted(memory::measure(program(), load, cache_mib)) {
            let promised = load.promised(cache_mib << 20);
            assert!(taken <= promised, "{load:?}: {taken} bytes of {promised}");
        }
    }
}

#[test]
fn a_full_file_system_is_only_a_pause() {
    let sizes = [1 << 20, 2 << 20, 3_500_000];
    if let Some(filled) = counted(full::fill(program(), sizes.into_iter())) {
        assert!(filled.sizes == 3 && filled.refusals > 0);
    }
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    for fs in ["ext4", "xfs"] {
        if let Some(cuts) = counted(power_cut::cut(program(), fs, 4, 1)) {
            assert_eq!(cuts.rounds, 4);
        }
    }
}

#[test]
fn failing_system_calls_are_told_to_somebody() {
    for injection in INJECTIONS {
        let Some(injected) = counted(inject_each(program(), injection, [2, 9].into_iter())) else {
            return;
        };
        let is_told = injection.expect != Expect::Told || injected.untold.is_empty();
        assert!(is_told, "{injection:?}: {injected:?}");
    }
}
