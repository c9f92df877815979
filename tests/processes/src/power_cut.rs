//! Real power cuts: a file system on an image is shut down under a running worker, which loses
//! everything that was not synced, and is mounted again.

#![expect(unsafe_code, reason = "the call that shuts a file system down is offered by no crate")]

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use sapwood_sim::random::Random;

use crate::Outcome;
use crate::child::Worker;
use crate::load::{Look, check_between};
use crate::mount::{Mount, run, text};

/// What was counted.
#[derive(Debug, Default)]
pub struct Cuts {
    pub rounds: u64,
    pub acknowledged: u64,
    /// Rounds after which a batch was there that nobody had heard of.
    pub unheard: u64,
}

/// `XFS_IOC_GOINGDOWN`, which ext4 knows by another name.
const GOING_DOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// Without writing anything more, the journal included.
const NO_LOG_FLUSH: u32 = 2;

fn shut_down(folder: &Path) {
    let folder = File::open(folder).unwrap();
    // SAFETY: the call reads one u32 and keeps nothing.
    let done = unsafe { ioctl(&folder, Setter::<GOING_DOWN, u32>::new(NO_LOG_FLUSH)) };
    done.unwrap();
}

/// Cuts the power so many times, on a file system of this kind (`ext4`, `xfs`).
pub fn cut(program: &Path, kind: &str, rounds: u64, seed: u64) -> Outcome<Cuts> {
    const IMAGE_BYTES: u64 = 400 << 20;
    let place = tempfile::tempdir().unwrap();
    let (image, folder) = (place.path().join("image"), place.path().join("mounted"));
    std::fs::create_dir(&folder).unwrap();
    File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    let force = if kind == "xfs" { "-f" } else { "-F" };
    run(&format!("mkfs.{kind}"), &["-q", force, text(&image)])?;
    let mut disk = Mount::image(&image, &folder)?;
    let (mut cuts, mut random, mut last) = (Cuts::default(), Random::new(seed), 0);
    for _ in 0..rounds {
        let database = folder.join("db");
        let mut worker = Worker::start(program, &database, &[]);
        worker.acknowledged = last;
        if random.chance(85) {
            worker.listen_for("opened").expect("it opens");
            (0..random.below(40)).for_each(|_| drop(worker.listen_for("acknowledged")));
        }
        worker.work_on(Duration::from_micros(random.below(6_000)));
        // Where it is stopped first, all that it was told is true; where it is not, a sync that is
        // under way may be told to have gone well by a file system that is being shut down.
        let is_stopped = random.chance(50);
        if is_stopped {
            worker.stop();
        }
        worker.hear_now();
        let acknowledged = worker.acknowledged;
        shut_down(&folder);
        let most = worker.kill().max(acknowledged) + 1;
        drop(disk);
        disk = Mount::image(&image, &folder)?;
        let look = if random.chance(25) { Look::Recover } else { Look::ReadOnly };
        let found = check_between(&database, acknowledged..=most, look);
        cuts.rounds += 1;
        cuts.acknowledged += acknowledged - last;
        cuts.unheard += u64::from(found > acknowledged);
        last = found;
    }
    Ok(cuts)
}
