//! Processes that want the same database.

use std::path::Path;

use rustix::process::Signal;

use crate::child::Worker;
use crate::load::{Look, check_left};

/// Starts several workers on one folder at once; one of them gets it, the others are told who has
/// it. Returns how many were told.
pub fn open_at_once(program: &Path, folder: &Path, count: usize) -> usize {
    let mut workers: Vec<Worker> =
        (0..count).map(|_| Worker::start(program, folder, &[])).collect();
    let mut told = 0;
    let mut has_it = None;
    for (number, worker) in workers.iter_mut().enumerate() {
        match worker.listen() {
            Some(line) if line.starts_with("opened") => {
                assert_eq!(has_it.replace(number), None, "two have it");
            }
            Some(line) => {
                assert!(line.starts_with("unopened locked"), "{line}");
                told += 1;
            }
            None => panic!("it says nothing"),
        }
    }
    let has_it = &mut workers[has_it.expect("nobody has it")];
    (0..5).for_each(|_| drop(has_it.listen_for("acknowledged").expect("it goes on")));
    let acknowledged = has_it.kill();
    check_left(folder, acknowledged, Look::Recover);
    told
}

/// A worker is stopped in the middle of its work: nobody else gets the database, and once it goes
/// on it has lost nothing; when it is killed instead, the next one gets it at once.
pub fn stop_in_the_middle(program: &Path, folder: &Path, rounds: u64) {
    for round in 0..rounds {
        let mut worker = Worker::start(program, folder, &[]);
        worker.listen_for("opened").expect("it opens");
        (0..=round % 7).for_each(|_| drop(worker.listen_for("acknowledged")));
        worker.signal(Signal::STOP);
        let mut other = Worker::start(program, folder, &[]);
        other.end();
        assert!(other.has_said("unopened locked"), "{:?}", other.said);
        let named = other.said.iter().any(|line| line.contains("in use by process"));
        assert!(named, "{:?}", other.said);
        if round % 2 == 0 {
            worker.signal(Signal::CONT);
            (0..60).for_each(|_| drop(worker.listen_for("acknowledged").expect("it goes on")));
        }
        let acknowledged = worker.kill();
        check_left(folder, acknowledged, Look::Recover);
    }
}
