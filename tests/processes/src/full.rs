//! A small file system that fills up: nothing acknowledged is lost, the worker says why, reads go
//! on, and once there is space again the same process writes on.

use std::path::Path;

use crate::Outcome;
use crate::child::Worker;
use crate::load::{Look, check_left};
use crate::mount::Mount;

/// What was counted.
#[derive(Debug, Default)]
pub struct Filled {
    pub sizes: u64,
    pub refusals: u64,
    pub acknowledged: u64,
}

/// Fills file systems of these sizes.
pub fn fill(program: &Path, sizes: impl Iterator<Item = u64>) -> Outcome<Filled> {
    const AMPLE: u64 = 256 << 20;
    let mut filled = Filled::default();
    for bytes in sizes {
        let folder = tempfile::tempdir().unwrap();
        let disk = Mount::tmpfs(folder.path(), bytes)?;
        let database = disk.folder().join("db");
        let mut worker = Worker::start(program, &database, &[]);
        filled.sizes += 1;
        let Some(line) = worker.listen_for("refused").or_else(|| worker.said.last().cloned())
        else {
            panic!("it ends without a word");
        };
        assert!(line.contains("the disk is full"), "{bytes}: {line}");
        if line.starts_with("unopened") {
            disk.resize(AMPLE);
            check_left(&database, 0, Look::Recover);
            continue;
        }
        let readable = worker.listen_for("readable").expect("reads go on");
        assert_eq!(readable, format!("readable {}", worker.acknowledged));
        let before = worker.acknowledged;
        // Still full: the same again, and it still knows everything.
        worker.tell_again();
        let again = worker.listen_for("refused").expect("it is still full");
        assert!(again.contains("the disk is full"), "{bytes}: {again}");
        disk.resize(AMPLE);
        worker.listen_for("readable").expect("reads go on");
        worker.tell_again();
        (0..100).for_each(|_| drop(worker.listen_for("acknowledged").expect("it writes on")));
        let acknowledged = worker.kill();
        assert!(acknowledged >= before + 100);
        filled.refusals += 2;
        filled.acknowledged += acknowledged;
        check_left(&database, acknowledged, Look::Recover);
    }
    Ok(filled)
}
