//! Logs with a tail: what is found in it after a kill, and what is not believed.

use sapwood_serialize::superblock::{Session, Superblock};
use sapwood_serialize::{
    Epoch, FrameHead, FrameKind, GenerationId, Lsn, Msn, Storage, begin_frame, finish_frame,
};
use sapwood_sim::disk::{Cut, Repeat, SimDisk};

use super::*;

/// A log on a simulated disk, with a tail: two frames are in the file, and `waiting` more are on
/// their way.
struct Tailed {
    disk: SimDisk,
    table: Arc<Cachetable>,
    log: Log,
}

impl Tailed {
    fn new(waiting: usize) -> Tailed {
        Tailed::of(TAIL_BYTES, waiting)
    }

    fn of(tail_bytes: u64, waiting: usize) -> Tailed {
        let disk = SimDisk::new(1);
        let (table, log) = begun_after(Arc::new(disk.clone()), tail_bytes, || {});
        let tailed = Tailed { disk, table, log };
        (0..2 + waiting).for_each(|_| tailed.group());
        tailed
    }

    /// A frame of 96 bytes, or, in the tail behind others, of [`BRIEF`].
    fn group(&self) {
        append_with(&self.log, FrameKind::Group, &[7; 48]);
    }

    /// What the next opening reads after a kill of the process and `harm`.
    fn read_after(&self, harm: impl FnOnce(&SimDisk)) -> Result<ReadLog, Fault> {
        let disk = self.disk.kill();
        harm(&disk);
        let superblock = Superblock {
            database: self.table.database(),
            epoch: EPOCH,
            first_generation: GenerationId::from_raw(1),
            session: Session::Open,
            durable: Lsn::ZERO,
            ..superblock()
        };
        let log = read_log(&disk, &superblock, None)?;
        // Reading it once more finds the same.
        let groups = |file: &ReadFile| {
            let parts = file.parts().map(|part| file.load(&disk, part, Vec::new()).unwrap());
            parts.into_iter().all(|part| part.groups().all(|group| group.is_ok()))
        };
        assert!(log.files.iter().all(groups));
        Ok(log)
    }

    fn end_after(&self, harm: impl FnOnce(&SimDisk)) -> u64 {
        self.read_after(harm).unwrap().end.to_raw()
    }

    /// Where the frames in the files end.
    fn end_without_tail(&self) -> u64 {
        self.end_after(|disk| disk.remove(&tail_name(EPOCH)).unwrap())
    }
}

/// A header and a mark.
const FRONT: u64 = 72 + 48;
/// Behind the front and two frames.
const IN_FILE: u64 = 800 + FRONT + 2 * 96;
/// A frame that leaves out what its reader knows.
const BRIEF: u64 = 64;

#[test]
fn a_killed_process_leaves_its_last_frames_in_the_tail() {
    let tailed = Tailed::new(4);
    let end = tailed.log.end().to_raw();
    assert_eq!((tailed.end_without_tail(), end), (IN_FILE, IN_FILE + 96 + 3 * BRIEF));
    assert_eq!(tailed.end_after(|_| {}), end);
    // More than fits into the tail at once.
    (0..20).for_each(|_| tailed.group());
    assert_eq!(tailed.end_after(|_| {}), tailed.log.end().to_raw());
    assert!(tailed.end_without_tail() > end);
}

/// Earlier versions made tails of 64 KiB.
#[test]
fn frames_of_a_tail_larger_than_those_that_are_made_now_are_not_lost() {
    let tailed = Tailed::new(4);
    let mut frames = Vec::new();
    for index in 0..600 {
        let lsn = Lsn::from_raw(IN_FILE + 96 * index);
        let (kind, epoch, first_msn) = (FrameKind::Group, EPOCH, Msn::from_raw(1));
        let head = FrameHead { kind, lsn, epoch, durable: Lsn::ZERO, first_msn };
        let start = frames.len();
        begin_frame(&mut frames);
        frames.extend([7; 48]);
        finish_frame(tailed.table.database(), &head, &mut frames, start);
    }
    assert_eq!(frames.len(), 57_600);
    let end = tailed.end_after(|disk| disk.write_file(&tail_name(EPOCH), &frames));
    assert_eq!(end, IN_FILE + 57_600);
}

#[test]
fn a_sync_covers_what_is_in_the_tail() {
    let tailed = Tailed::new(4);
    tailed.log.sync_to(tailed.log.end()).unwrap();
    let end = tailed.log.end().to_raw();
    assert_eq!((tailed.end_without_tail(), tailed.log.durable().to_raw()), (end, end));
    let lost = tailed.disk.power_cut(Cut::LoseAll);
    assert_eq!(
        tailed.end_after(|disk| {
            for (name, _) in lost.files() {
                disk.write_file(&name, &lost.read_file(&name).unwrap());
            }
            let _ = disk.remove(&tail_name(EPOCH));
        }),
        end
    );
}

#[test]
fn zeros_ahead_of_synced_commits_meet_no_frame() {
    let tailed = Tailed::new(0);
    let commit = |_| tailed.log.sync_to(append(&tailed.log, FrameKind::Group)).unwrap();
    (0..1_000).for_each(commit);
    tailed.log.seal(Msn::from_raw(1)).unwrap();
    (0..2_000).for_each(commit);
    assert!(tailed.log.zeros_written.get() > 100 << 10, "{:?}", tailed.log.zeros_written);
    assert_eq!(tailed.end_after(|_| {}), tailed.log.end().to_raw());
}

#[test]
fn a_seal_leaves_nothing_in_the_tail() {
    let tailed = Tailed::new(4);
    tailed.log.seal(Msn::from_raw(1)).unwrap();
    assert_eq!(tailed.end_without_tail(), tailed.log.end().to_raw());
    // The frames of the next file do not go on where the sealed one ends.
    (0..5).for_each(|_| tailed.group());
    let log = tailed.read_after(|_| {}).unwrap();
    assert_eq!((log.files.len(), log.end), (2, tailed.log.end()));
    assert_eq!(log.files[0].bytes(), FRONT + 3 * 96 + 3 * BRIEF);
}

#[test]
fn a_large_frame_goes_to_the_file_behind_those_that_wait() {
    let tailed = Tailed::new(2);
    append_with(&tailed.log, FrameKind::Group, &[1; 600]);
    let end = tailed.log.end().to_raw();
    assert_eq!((tailed.end_without_tail(), end), (end, IN_FILE + 96 + BRIEF + 616));
    tailed.group();
    assert_eq!(tailed.end_after(|_| {}), end + 96);
}

#[test]
fn a_tail_that_cannot_be_written_is_done_without() {
    let tailed = Tailed::new(2);
    tailed.disk.fail_at(tailed.disk.operations(), std::io::ErrorKind::Other, Repeat::Once);
    tailed.group();
    assert_eq!(tailed.end_without_tail(), IN_FILE + 96 + 2 * BRIEF);
    (0..3).for_each(|_| tailed.group());
    assert_eq!(tailed.end_without_tail(), tailed.log.end().to_raw());
    // The next file has one again.
    tailed.log.seal(Msn::from_raw(1)).unwrap();
    (0..5).for_each(|_| tailed.group());
    assert!(tailed.end_without_tail() < tailed.log.end().to_raw());
    assert_eq!(tailed.end_after(|_| {}), tailed.log.end().to_raw());
}

#[test]
fn a_tail_that_does_not_go_on_where_the_file_ends_is_not_believed() {
    let tailed = Tailed::new(4);
    let name = file_name(GenerationId::from_raw(1));
    // Nothing was durable, so a bad frame is where the log ends.
    let end = tailed.end_after(|disk| disk.flip(&name, FRONT + 96 + 50, 1));
    assert_eq!(end, 800 + FRONT + 96);
    for offset in [3, 12, 20, 50] {
        let end = tailed.end_after(|disk| disk.flip(&tail_name(EPOCH), 96 + offset, 1));
        assert_eq!(end, IN_FILE + 96);
    }
    let long = vec![0; 2 << 20];
    assert_eq!(tailed.end_after(|disk| disk.write_file(&tail_name(EPOCH), &long)), IN_FILE);
    assert_eq!(tailed.end_after(|disk| disk.write_file(&tail_name(EPOCH), &[])), IN_FILE);
}

#[test]
fn a_frame_in_the_tail_knows_what_was_durable() {
    // One frame, and so many that the tail begins anew.
    for groups in [1, 40] {
        let tailed = Tailed::new(2);
        tailed.log.sync_to(tailed.log.end()).unwrap();
        (0..groups).for_each(|_| tailed.group());
        let name = file_name(GenerationId::from_raw(1));
        let broken = tailed.read_after(|disk| disk.flip(&name, FRONT + 3 * 96 + 50, 1)).err();
        assert!(matches!(broken, Some(Fault::Corrupt(_))), "a synced frame is lost: {broken:?}");
    }
}

/// It was told by the frame behind it alone, which lies in the same block.
#[test]
fn what_a_block_has_lost_that_was_durable_the_next_one_tells() {
    let tailed = Tailed::of(32 << 10, 150);
    tailed.log.sync_to(tailed.log.end()).unwrap();
    let durable = tailed.log.durable().to_raw() - 800;
    (0..100).for_each(|_| tailed.group());
    tailed.log.sync_to(tailed.log.end()).unwrap();
    let name = file_name(GenerationId::from_raw(1));
    let read = tailed.read_after(|disk| {
        disk.remove(&tail_name(EPOCH)).unwrap();
        let mut bytes = disk.read_file(&name).unwrap();
        let block = usize::try_from(durable / 4096 * 4096).unwrap();
        bytes[block..block + 4096].fill(0);
        disk.write_file(&name, &bytes);
    });
    assert!(matches!(read.err(), Some(Fault::Corrupt(_))), "what was synced is missing");
}

#[test]
fn news_of_what_is_durable_is_told_in_the_middle_of_a_tail() {
    let tailed = Tailed::new(2);
    let length_of_next = || {
        let end = tailed.log.end().to_raw();
        tailed.group();
        tailed.log.end().to_raw() - end
    };
    assert_eq!(length_of_next(), BRIEF);
    tailed.log.trim(GenerationId::from_raw(1), Lsn::from_raw(IN_FILE)).unwrap();
    assert_eq!((length_of_next(), length_of_next()), (96, BRIEF));
    assert!(!tailed.log.wants_mark() || tailed.log.durable() < tailed.log.end());
}

#[test]
fn messages_have_their_numbers_wherever_a_part_of_the_file_begins() {
    let tailed = Tailed::of(32 << 10, 0);
    let numbers: Vec<u64> = (3..5_000).map(|number| 7 * number).collect();
    for number in &numbers {
        append_numbered(&tailed.log, FrameKind::Group, Msn::from_raw(*number), &[7; 100]);
    }
    let log = tailed.read_after(|_| {}).unwrap();
    let file = &log.files[0];
    assert!(file.parts().count() > 1);
    let disk = tailed.disk.kill();
    let loaded = |part| file.load(&disk, part, Vec::new()).unwrap();
    let numbers_of = |part| {
        let loaded = loaded(part);
        loaded.groups().map(|group| group.unwrap().head.first_msn.to_raw()).collect::<Vec<_>>()
    };
    let found: Vec<u64> = file.parts().flat_map(numbers_of).collect();
    assert_eq!(found.get(2..), Some(&numbers[..]));
}

#[test]
fn tails_of_other_epochs_are_removed() {
    let tailed = Tailed::new(2);
    tailed.disk.write_file(&tail_name(Epoch::from_raw(4)), b"left over");
    remove_tails(&tailed.table, Some(EPOCH)).unwrap();
    let names = tailed.disk.list().unwrap();
    assert_eq!(names.iter().filter(|name| is_tail(name)).count(), 1);
    remove_tails(&tailed.table, None).unwrap();
    assert!(!tailed.disk.list().unwrap().iter().any(|name| is_tail(name)));
}
