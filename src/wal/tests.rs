//! Logs made by hand: what is read back, where a log may end, and what was lost by the disk.

use std::sync::Arc;

use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::budget::Budget;
use sapwood_cachetable::storage::MemoryStorage;
use sapwood_cachetable::{Cachetable, Fault};
use sapwood_serialize::codec::Encode;
use sapwood_serialize::superblock::{Session, Superblock};
use sapwood_serialize::{
    DatabaseId, Epoch, FrameHead, FrameKind, GenerationId, Lsn, Memory, Msn, Storage,
    WAL_HEADER_BYTES, WalHeader, begin_frame, finish_frame,
};

use sapwood_sim::disk::SimDisk;

mod tailed;

use super::reader::AHEAD;
use super::tail::{is_tail, tail_name};
use super::{
    Log, LogStart, ReadFile, ReadLog, file_name, generation_of, read_log, read_log_so_far,
    remove_tails,
};

const DATABASE: DatabaseId = DatabaseId::from_bytes(*b"0123456789abcdef");
const STRANGER: DatabaseId = DatabaseId::from_bytes(*b"another database");
const EPOCH: Epoch = Epoch::from_raw(5);
const TAIL_BYTES: u64 = 1024;

/// A log of two frames in each of three files, each of which knows all before it durable.
struct Written {
    storage: MemoryStorage,
    superblock: Superblock,
    files: Vec<Vec<u8>>,
    /// Where the frames of each file start.
    frames: Vec<[usize; 2]>,
}

fn superblock() -> Superblock {
    let block_file = BlockFile::create(&MemoryStorage::new()).unwrap();
    let first_generation = GenerationId::from_raw(1);
    Superblock {
        database: DATABASE,
        epoch: EPOCH,
        first_generation,
        durable: Lsn::ZERO,
        session: Session::Open,
        ..block_file.superblock
    }
}

fn header(generation: GenerationId) -> WalHeader {
    let (database, epoch, base, durable) = (DATABASE, EPOCH, Lsn::ZERO, Lsn::ZERO);
    let (first_msn, is_begun) = (Msn::from_raw(1), true);
    WalHeader { database, generation, epoch, base, durable, first_msn, is_begun }
}

fn frame(file: &mut Vec<u8>, kind: FrameKind, base: Lsn, durable: Lsn) -> usize {
    let start = file.len();
    let (lsn, first_msn) = (base.plus(start as u64), Msn::from_raw(1));
    let head = FrameHead { kind, lsn, epoch: EPOCH, durable, first_msn };
    begin_frame(file);
    let payload: &[u8] = if kind == FrameKind::Group { b"payload" } else { &[] };
    file.extend_from_slice(payload);
    finish_frame(DATABASE, &head, file, start);
    start
}

/// Has a file go on at `base`, as its mark says; that knows nothing durable.
fn begin_at(file: &mut [u8], base: Lsn) {
    let mut begun = vec![0; WAL_HEADER_BYTES];
    frame(&mut begun, FrameKind::Mark, base, Lsn::ZERO);
    file[WAL_HEADER_BYTES..begun.len()].copy_from_slice(&begun[WAL_HEADER_BYTES..]);
}

/// What frames say of what is durable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// All before it was.
    All,
    /// Nothing is told.
    Nothing,
    /// The marks at the front of files tell, other frames do not.
    Marks,
}

impl Written {
    fn new(telling: Telling) -> Written {
        let (mut files, mut frames, mut base) = (Vec::new(), Vec::new(), Lsn::ZERO);
        let told = |by: bool, lsn: Lsn| if by { lsn } else { Lsn::ZERO };
        for generation in 1..=3 {
            let durable = told(telling != Telling::Nothing, base);
            let generation = GenerationId::from_raw(generation);
            let mut file = header(generation).encode();
            frame(&mut file, FrameKind::Mark, base, durable);
            let mut append = || {
                let lsn = base.plus(file.len() as u64);
                frame(&mut file, FrameKind::Group, base, told(telling == Telling::All, lsn))
            };
            frames.push([append(), append()]);
            base = base.plus(file.len() as u64);
            files.push(file);
        }
        let written =
            Written { storage: MemoryStorage::new(), superblock: superblock(), files, frames };
        (1..=3).for_each(|number| written.put(number, |_| {}));
        written
    }

    /// Writes the file of this generation, changed.
    fn put(&self, generation: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.files[usize::try_from(generation).unwrap() - 1].clone();
        change(&mut bytes);
        let name = file_name(GenerationId::from_raw(generation));
        let _ = self.storage.remove(&name);
        self.storage.create(&name).unwrap().write_at(&bytes, 0).unwrap();
    }

    fn remove(&self, generation: u64) {
        self.storage.remove(&file_name(GenerationId::from_raw(generation))).unwrap();
    }

    fn read(&self) -> Result<ReadLog, Fault> {
        read_log(&self.storage, &self.superblock, None)
    }

    /// How many files are believed, or the rule that was broken.
    fn outcome(&self) -> Result<usize, &'static str> {
        match self.read() {
            Ok(log) => Ok(log.files.len()),
            Err(Fault::Corrupt(broken)) => Err(broken.rule),
            Err(fault) => panic!("{fault}"),
        }
    }
}

#[test]
fn a_whole_log_is_read_to_its_end() {
    let written = Written::new(Telling::All);
    let log = written.read().unwrap();
    let bytes: Vec<u64> = log.files.iter().map(super::ReadFile::bytes).collect();
    let expected: Vec<u64> = written.files.iter().map(|file| file.len() as u64).collect();
    assert_eq!(bytes, expected);
    assert_eq!(log.end, Lsn::from_raw(expected.iter().sum()));
    assert!(log.files.iter().all(super::ReadFile::has_groups));
}

#[test]
fn a_log_without_its_newest_file_ends_before_it() {
    let written = Written::new(Telling::Nothing);
    written.remove(3);
    assert_eq!(written.outcome(), Ok(2));
    written.remove(2);
    assert_eq!(written.outcome(), Ok(1));
}

#[test]
fn a_file_that_is_missing_before_a_later_one_was_lost() {
    let written = Written::new(Telling::Nothing);
    written.remove(2);
    assert_eq!(written.outcome(), Err("it is missing, though there is a later one"));
    let written = Written::new(Telling::Nothing);
    [1, 2, 3].into_iter().for_each(|generation| written.remove(generation));
    assert!(written.outcome().is_err(), "a database that was not closed has a log");
}

#[test]
fn a_header_that_is_damaged_is_a_torn_end_in_the_newest_file_alone() {
    for telling in [Telling::Nothing, Telling::All] {
        let written = Written::new(telling);
        written.put(3, |file| file[20] ^= 1);
        // Frames that know what is before them durable need the header durable, too.
        assert_eq!(written.outcome().ok(), (telling == Telling::Nothing).then_some(2));
        let written = Written::new(telling);
        written.put(2, |file| file[20] ^= 1);
        assert_eq!(written.outcome(), Err("its checksum differs"));
    }
}

#[test]
fn a_bad_frame_is_a_torn_end_unless_somebody_knew_it_durable() {
    let harmed = |telling, number: usize, which: usize| {
        let written = Written::new(telling);
        let at = written.frames[number - 1][which] + 50;
        written.put(number as u64, |file| file[at] ^= 1);
        written.outcome()
    };
    assert_eq!(harmed(Telling::Nothing, 3, 0), Ok(3), "torn");
    assert_eq!(harmed(Telling::All, 3, 1), Ok(3), "nobody knew the last one durable");
    assert_eq!(harmed(Telling::All, 3, 0), Err("its checksum differs"), "the next frame knew");
    assert_eq!(harmed(Telling::Marks, 2, 1), Err("its checksum differs"), "the next file knew");
    assert_eq!(harmed(Telling::All, 2, 1), Err("its checksum differs"), "a later file knew");
    assert_eq!(harmed(Telling::Nothing, 1, 0), Ok(1), "what is behind a tear is not believed");
}

/// A mark that knows nothing leaves it to the frames of the file behind the bad place.
#[test]
fn a_later_file_alone_may_know_what_was_durable() {
    let harmed = |telling, harm: fn(&mut [u8])| {
        let written = Written::new(telling);
        let at = written.frames[0][1];
        written.put(1, |file| harm(&mut file[at..]));
        written.put(2, |file| {
            let base = WalHeader::decode(file).unwrap().base;
            begin_at(file, base);
        });
        written.remove(3);
        written.outcome()
    };
    assert_eq!(harmed(Telling::All, |frame| frame[50] ^= 1), Err("its checksum differs"));
    assert_eq!(harmed(Telling::Nothing, |frame| frame[50] ^= 1), Ok(1));
    // A frame that is all zeros looks like an end; the next file begins further on.
    let rule = "it does not continue the one before";
    assert_eq!(harmed(Telling::All, |frame| frame.fill(0)), Err(rule));
    assert_eq!(harmed(Telling::Nothing, |frame| frame.fill(0)), Ok(1));
}

#[test]
fn what_the_superblock_knew_durable_must_be_there() {
    let mut written = Written::new(Telling::Nothing);
    written.remove(3);
    let end = written.read().unwrap().end;
    written.superblock.durable = end;
    assert_eq!(written.outcome(), Ok(2));
    written.superblock.durable = end.plus(1);
    assert_eq!(written.outcome(), Err("it ends before what was durable"));
}

#[test]
fn strange_files_are_refused() {
    let with_header = |change: fn(&mut WalHeader)| {
        let written = Written::new(Telling::Nothing);
        written.put(2, |file| {
            let mut header = WalHeader::decode(file).unwrap();
            change(&mut header);
            file[..WAL_HEADER_BYTES].copy_from_slice(&header.encode());
        });
        written.outcome()
    };
    let stranger = with_header(|header| header.database = STRANGER);
    assert_eq!(stranger, Err("it belongs to another database"));
    let renamed = with_header(|header| header.generation = GenerationId::from_raw(7));
    assert_eq!(renamed, Err("its name is not its generation's"));
    // Its frames are of the epoch of before, so that nothing in it is readable.
    assert_eq!(with_header(|header| header.epoch = EPOCH.next()), Ok(1));
    let elsewhere = Written::new(Telling::Nothing);
    elsewhere.put(2, |file| begin_at(file, Lsn::from_raw(8)));
    assert_eq!(elsewhere.outcome(), Ok(1), "it goes on elsewhere");
}

/// A power cut that loses all that was written to a file leaves it as it was made.
#[test]
fn a_file_without_its_mark_is_where_the_log_ends() {
    for (telling, outcome) in
        [(Telling::Nothing, Ok(1)), (Telling::Marks, Err(AHEAD)), (Telling::All, Err(AHEAD))]
    {
        let written = Written::new(telling);
        written.put(2, |file| file.truncate(WAL_HEADER_BYTES));
        assert_eq!(written.outcome(), outcome);
    }
    let written = Written::new(Telling::Nothing);
    written.put(1, |file| file[WAL_HEADER_BYTES..].fill(0));
    assert!(written.outcome().is_err(), "the superblock says that the log begins there");
    // The mark alone is torn: what comes behind it is not believed either.
    let torn = |telling| {
        let written = Written::new(telling);
        written.put(2, |file| file[WAL_HEADER_BYTES + 20] ^= 1);
        written.outcome()
    };
    assert_eq!(torn(Telling::Nothing), Ok(1));
    assert_eq!(torn(Telling::All), Err("its first frame cannot be read"), "the next frame knew");
}

#[test]
fn a_log_that_is_newer_than_the_superblock_is_refused() {
    let mut written = Written::new(Telling::Nothing);
    written.superblock.epoch = Epoch::from_raw(EPOCH.to_raw() - 1);
    let rule = "the superblock is older than the log; a checkpoint was lost";
    assert_eq!(written.outcome(), Err(rule));
}

#[test]
fn as_much_as_can_be_read_comes_with_what_is_wrong() {
    let written = Written::new(Telling::Nothing);
    let (log, loss) = read_log_so_far(&written.storage, &written.superblock).unwrap();
    assert_eq!((log.files.len(), loss), (3, None));
    written.put(3, |file| file.truncate(WAL_HEADER_BYTES));
    let (log, loss) = read_log_so_far(&written.storage, &written.superblock).unwrap();
    assert_eq!((log.files.len(), loss), (2, None), "nobody has written to the last one");
    let skipping = Written::new(Telling::Nothing);
    skipping.put(2, |file| file.truncate(WAL_HEADER_BYTES));
    let (log, loss) = read_log_so_far(&skipping.storage, &skipping.superblock).unwrap();
    assert_eq!((log.files.len(), loss.unwrap().rule), (1, AHEAD), "the log went on behind it");
    written.put(3, |file| file[20] ^= 1);
    let (log, loss) = read_log_so_far(&written.storage, &written.superblock).unwrap();
    assert_eq!((log.files.len(), loss.unwrap().rule), (2, "its checksum differs"));
    written.put(2, |file| {
        let header = WalHeader { database: STRANGER, ..WalHeader::decode(file).unwrap() };
        file[..WAL_HEADER_BYTES].copy_from_slice(&header.encode());
    });
    let (log, loss) = read_log_so_far(&written.storage, &written.superblock).unwrap();
    assert_eq!(log.files.len(), 1, "what is behind it is not believed");
    assert_eq!(loss.unwrap().rule, "it belongs to another database");
}

/// A log that can be written to, in memory without a tail.
fn begun() -> (Arc<Cachetable>, Log) {
    begun_on(Arc::new(MemoryStorage::new()))
}

fn begun_on(storage: Arc<dyn Storage>) -> (Arc<Cachetable>, Log) {
    begun_after(storage, TAIL_BYTES, || {})
}

/// A log with such a tail that is begun after `harm`.
fn begun_after(
    storage: Arc<dyn Storage>,
    tail_bytes: u64,
    harm: impl FnOnce(),
) -> (Arc<Cachetable>, Log) {
    let block_file = BlockFile::create(&*storage).unwrap();
    let opened = block_file.tables(Vec::new()).unwrap();
    let (file, database) = (block_file.file, block_file.superblock.database);
    let table = Cachetable::new(storage, file, database, Budget { total: 1 << 26 }, None, opened);
    let table = Arc::new(table);
    let (generation, base) = (GenerationId::from_raw(1), Lsn::from_raw(800));
    let start = LogStart { generation, epoch: EPOCH, base, next_msn: Msn::from_raw(1), tail_bytes };
    harm();
    let log = Log::create(table.clone(), start).unwrap();
    (table, log)
}

fn append(log: &Log, kind: FrameKind) -> Lsn {
    append_with(log, kind, &[])
}

fn append_with(log: &Log, kind: FrameKind, payload: &[u8]) -> Lsn {
    append_numbered(log, kind, Msn::from_raw(1), payload)
}

fn append_numbered(log: &Log, kind: FrameKind, first_msn: Msn, payload: &[u8]) -> Lsn {
    let mut bytes = Memory::default();
    begin_frame(&mut bytes);
    bytes.put(payload);
    log.make_room(bytes.len() as u64 + 8).unwrap();
    log.append(kind, first_msn, &mut bytes).unwrap()
}

#[test]
fn a_mark_is_wanted_once_for_what_was_synced() {
    let (_table, log) = begun();
    let end = append(&log, FrameKind::Group);
    assert!(!log.wants_mark(), "it is not durable yet");
    let syncs = log.syncs.get();
    log.sync_to(end).unwrap();
    assert_eq!((log.durable(), log.syncs.get()), (end, syncs + 1));
    assert!(log.wants_mark());
    append(&log, FrameKind::Mark);
    assert!(!log.wants_mark(), "it is told");
}

/// Twenty log files that a checkpoint was about to remove were synced, one after the other: two
/// seconds in which nobody's commit became durable.
#[test]
fn what_a_checkpoint_makes_superfluous_is_not_synced() {
    let (table, log) = begun();
    append(&log, FrameKind::Group);
    (0..3).for_each(|_| log.seal(Msn::from_raw(1)).unwrap());
    let end = append(&log, FrameKind::Group);
    let (syncs, durable) = (log.syncs.get(), log.durable());
    let last = GenerationId::from_raw(4);
    assert_eq!(log.sync_from(last).unwrap(), end);
    assert_eq!(log.syncs.get(), syncs + 1, "the last file alone");
    assert_eq!(log.durable(), durable, "what is before it may still be lost");
    log.trim(last, end).unwrap();
    assert_eq!(log.durable(), end);
    log.sync_to(end).unwrap();
    assert_eq!(log.syncs.get(), syncs + 1);
    let names = table.storage().list().unwrap();
    assert!(names.iter().filter_map(|name| generation_of(name)).all(|one| one >= last));
}

/// As when the disk is full in the middle of it.
#[test]
fn a_checkpoint_that_is_abandoned_leaves_older_files_to_be_synced() {
    let (_, log) = begun();
    append(&log, FrameKind::Group);
    (0..3).for_each(|_| log.seal(Msn::from_raw(1)).unwrap());
    append(&log, FrameKind::Group);
    log.sync_from(GenerationId::from_raw(3)).unwrap();
    let end = append(&log, FrameKind::Group);
    let syncs = log.syncs.get();
    log.sync_to(end).unwrap();
    assert_eq!(log.syncs.get(), syncs + 3, "two older ones, and the active one");
    assert_eq!(log.durable(), end);
}

#[test]
fn files_are_made_ahead_for_as_many_seals_as_there_were() {
    let (table, log) = begun();
    let files = || {
        let names = table.storage().list().unwrap();
        names.iter().filter_map(|name| Some(generation_of(name)?.to_raw())).max().unwrap()
    };
    assert!(log.has_next() && !log.lacks_files(), "one is there from the beginning");
    assert_eq!(files(), 2);
    log.seal(Msn::from_raw(1)).unwrap();
    assert!(!log.has_next() && log.lacks_files());
    while log.lacks_files() {
        log.prepare_next().unwrap();
    }
    assert_eq!(files(), 4, "two");
    for _ in 0..20 {
        log.seal(Msn::from_raw(1)).unwrap();
    }
    while log.lacks_files() {
        log.prepare_next().unwrap();
    }
    assert_eq!(files(), 22 + 8);
    log.remove().unwrap();
    assert!(table.storage().list().unwrap().iter().all(|name| generation_of(name).is_none()));
}

/// An opening refused all writes where there was no space but for the first file.
#[test]
fn a_log_begins_without_a_file_ahead_on_a_full_disk() {
    let disk = SimDisk::new(1);
    let (_, log) = {
        let disk = disk.clone();
        begun_after(Arc::new(disk.clone()), TAIL_BYTES, move || disk.limit(4096))
    };
    assert!(!log.has_next());
    let end = append(&log, FrameKind::Group);
    log.sync_to(end).unwrap();
    assert!(log.seal(Msn::from_raw(1)).is_err_and(|fault| fault.is_retryable()));
    disk.unlimit();
    log.seal(Msn::from_raw(1)).unwrap();
}

/// A leader once waited 85 ms for four MiB.
#[test]
fn a_file_that_is_made_ahead_has_as_much_space_as_the_last_one_took() {
    let (table, log) = begun();
    let length = |generation| {
        let name = file_name(GenerationId::from_raw(generation));
        table.storage().open(&name).unwrap().len().unwrap()
    };
    let fill = |frames: usize| {
        (0..frames).for_each(|_| _ = append_with(&log, FrameKind::Group, &[1; 1000]));
    };
    assert_eq!(length(2), 4096, "nobody knows yet");
    fill(50);
    (0..2).for_each(|_| log.seal(Msn::from_raw(1)).unwrap());
    assert!(length(3) >= 50_000, "made by the second seal");
    fill(50);
    let before = length(3);
    log.seal(Msn::from_raw(1)).unwrap();
    assert_eq!(length(3), before, "the leader had to grow it");
}

/// Beside a checkpoint every half second a leader waited 280 ms for four MiB: each of them sealed a
/// short file, and the next one had as little space.
#[test]
fn a_file_that_a_checkpoint_seals_early_does_not_make_the_next_one_small() {
    let (table, log) = begun();
    (0..50).for_each(|_| _ = append_with(&log, FrameKind::Group, &[1; 1000]));
    log.seal(Msn::from_raw(1)).unwrap();
    append(&log, FrameKind::Group);
    log.seal(Msn::from_raw(1)).unwrap();
    log.prepare_next().unwrap();
    let bytes = bytes_of_newest(&table);
    assert!(bytes >= 40_000, "{bytes} bytes");
}

#[test]
fn a_large_commit_does_not_make_the_next_files_large() {
    let (table, log) = begun();
    let memtable = table.budget().memtable();
    append_with(&log, FrameKind::Group, &vec![1; 4 * memtable as usize]);
    log.seal(Msn::from_raw(1)).unwrap();
    log.prepare_next().unwrap();
    let bytes = bytes_of_newest(&table);
    assert!(bytes < 3 * memtable, "{bytes} bytes, a memtable has {memtable}");
}

/// How long the newest file of the log is.
fn bytes_of_newest(table: &Cachetable) -> u64 {
    let names = table.storage().list().unwrap();
    let newest = names.iter().rfind(|name| super::generation_of(name).is_some()).unwrap();
    table.storage().open(newest).unwrap().len().unwrap()
}

#[test]
fn sealed_files_are_synced_once_and_trimmed() {
    let (table, log) = begun();
    append(&log, FrameKind::Group);
    log.seal(Msn::from_raw(1)).unwrap();
    let end = append(&log, FrameKind::Group);
    let syncs = log.syncs.get();
    log.sync_to(end).unwrap();
    assert_eq!(log.syncs.get(), syncs + 2, "both files");
    let end = append(&log, FrameKind::Group);
    log.sync_to(end).unwrap();
    assert_eq!(log.syncs.get(), syncs + 3, "the sealed one is durable already");
    log.trim(GenerationId::from_raw(2), Lsn::ZERO).unwrap();
    let names = table.storage().list().unwrap();
    let kept: Vec<u64> =
        names.iter().filter_map(|name| Some(generation_of(name)?.to_raw())).collect();
    assert!(!kept.contains(&1) && kept.contains(&2), "{kept:?}");
}
