//! Too few descriptors, too small files, too little memory: a worker gets on or says why not, and
//! what it has acknowledged is there.

use std::path::Path;
use std::process::Command;

use crate::child::Worker;
use crate::load::{Look, check_left};

/// What was counted.
#[derive(Debug, Default)]
pub struct Limited {
    pub runs: u64,
    pub acknowledged: u64,
    /// Runs that ended by an error with its sentence.
    pub told: u64,
    /// Runs that the system ended.
    pub ended: u64,
}

/// Runs a worker under each of these limits, on one database after the other.
pub fn limit(program: &Path, option: &str, limits: impl Iterator<Item = u64>) -> Limited {
    let mut limited = Limited::default();
    for most in limits {
        let folder = tempfile::tempdir().unwrap();
        // Room for a start, so that the limit also meets a database that is there.
        let mut first = Worker::start(program, folder.path(), &["--batches", "20"]);
        assert!(first.end().success(), "{:?}", first.said);
        let mut worker = Worker::run(
            // A process may end by the signal that says that a file is too long; not this one.
            Command::new("sh")
                .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
                .arg(program)
                .arg("worker")
                .arg(folder.path())
                .args(["--batches", "150", option, &most.to_string()]),
        );
        worker.acknowledged = first.acknowledged;
        let ended = worker.end();
        let is_told = worker.has_said("refused") || worker.has_said("unopened");
        let unreadable = worker.has_said("unreadable");
        assert!(!unreadable || option != "--file-bytes", "{most}: {:?}", worker.said);
        limited.runs += 1;
        limited.acknowledged += worker.acknowledged;
        limited.told += u64::from(is_told);
        limited.ended += u64::from(ended.code().is_none());
        let got_on = ended.success() || is_told || worker.has_said("unclosed");
        assert!(got_on || ended.code().is_none(), "{option} {most}: {ended}, {:?}", worker.said);
        check_left(folder.path(), worker.acknowledged, Look::Recover);
    }
    limited
}
