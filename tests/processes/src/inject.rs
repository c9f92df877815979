//! System calls that fail, by `strace`: each n-th of a kind, for a worker of one thread.

use std::path::Path;
use std::process::Command;

use crate::child::Worker;
use crate::load::{Look, check_left};
use crate::{Outcome, Skipped};

/// What may be made of an injected result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It is made good where it happens.
    Nothing,
    /// Somebody is told, by an error or by the daemon's last one.
    Told,
    /// A disk that lies: what was written or read is not what is there. It is told, or found by
    /// whoever reads it, or nothing is missing.
    Lie,
}

/// One way to let a system call fail.
#[derive(Clone, Copy, Debug)]
pub struct Injection {
    pub call: &'static str,
    pub result: &'static str,
    pub expect: Expect,
}

const fn inject(call: &'static str, result: &'static str, expect: Expect) -> Injection {
    Injection { call, result, expect }
}

/// All of them.
pub const INJECTIONS: [Injection; 15] = [
    inject("pwrite64", "error=EINTR", Expect::Nothing),
    inject("pread64", "error=EINTR", Expect::Nothing),
    inject("fallocate", "error=EINTR", Expect::Nothing),
    inject("fallocate", "error=EOPNOTSUPP", Expect::Nothing),
    inject("pwrite64", "error=EIO", Expect::Told),
    inject("pwrite64", "error=ENOSPC", Expect::Told),
    inject("pread64", "error=EIO", Expect::Told),
    inject("fdatasync", "error=EIO", Expect::Told),
    inject("fdatasync", "error=ENOSPC", Expect::Told),
    inject("fsync", "error=EIO", Expect::Told),
    inject("fallocate", "error=EIO", Expect::Told),
    inject("unlink", "error=EIO", Expect::Told),
    inject("ftruncate", "error=EIO", Expect::Told),
    inject("pwrite64", "retval=300", Expect::Lie),
    inject("pread64", "retval=300", Expect::Lie),
];

/// What was counted.
#[derive(Debug, Default)]
pub struct Injected {
    pub runs: u64,
    /// Runs in which the call came, and got the result.
    pub hit: u64,
    pub told: u64,
    /// Runs after which nobody was told.
    pub untold: Vec<u64>,
    /// Lies that whoever looked found.
    pub found: u64,
}

/// Lets the n-th call fail for each of `numbers`.
pub fn inject_each(
    program: &Path,
    injection: Injection,
    numbers: impl Iterator<Item = u64>,
) -> Outcome<Injected> {
    let mut injected = Injected::default();
    for number in numbers {
        let folder = tempfile::tempdir().unwrap();
        let (database, log) = (folder.path().join("db"), folder.path().join("log"));
        let mut first = Worker::start(program, &database, &["--manual"]);
        (0..70).for_each(|_| drop(first.listen_for("acknowledged").expect("it goes on")));
        let acknowledged = first.kill();
        let mut worker = Worker::run(&mut strace(program, injection, number, &database, &log));
        worker.acknowledged = acknowledged;
        let ended = worker.end();
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        if log.is_empty() && ended.code() != Some(0) && worker.said.is_empty() {
            return Err(Skipped("strace is not installed, or may not trace".to_owned()));
        }
        injected.runs += 1;
        let line = log.lines().find(|line| line.contains("(INJECTED)"));
        // The loader of programs reads files, too, and who lets go of the lock empties its file;
        // whatever becomes of either is of no consequence.
        let is_hit = line.is_some_and(|line| line.contains("/db") && !line.contains("/lock>"));
        if line.is_some() && !is_hit {
            continue;
        }
        let is_told = !worker.said.is_empty();
        injected.hit += u64::from(is_hit);
        injected.told += u64::from(is_told);
        if is_hit && !is_told {
            injected.untold.push(number);
        }
        assert!(is_hit || ended.success(), "{injection:?}: {ended}, {:?}", worker.said);
        let found = judge(injection, number, &worker, &database);
        injected.found += u64::from(found);
    }
    Ok(injected)
}

/// Whether a lie was found by whoever looked; everything else is as promised.
fn judge(injection: Injection, number: u64, worker: &Worker, database: &Path) -> bool {
    let told = format!("{injection:?} at {number}: {:?}", worker.said);
    match injection.expect {
        Expect::Nothing => {
            assert!(worker.said.is_empty(), "{told}");
            check_left(database, worker.acknowledged, Look::Recover);
        }
        Expect::Told => {
            assert!(!worker.has_said("unreadable") || injection.call == "pread64", "{told}");
            check_left(database, worker.acknowledged, Look::Recover);
        }
        // A disk that says that it has written what it has not: whoever reads it is told so.
        Expect::Lie => {
            let looked = std::panic::catch_unwind(|| {
                check_left(database, worker.acknowledged, Look::Recover)
            });
            if let Err(panic) = looked {
                let words = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                assert!(words.contains("corrupt"), "{told}, and then {words}");
                return true;
            }
        }
    }
    false
}

fn strace(
    program: &Path,
    injection: Injection,
    number: u64,
    database: &Path,
    log: &Path,
) -> Command {
    let Injection { call, result, .. } = injection;
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-o"]).arg(log);
    command.args(["-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:{result}:when={number}")]);
    command.arg(program).arg("worker").arg(database).args(["--manual", "--batches", "60"]);
    command
}
