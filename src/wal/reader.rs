//! Reading the log back: what is replayed, where it ends, and whether it may end there.
//!
//! A power cut can tear the end of the log, and can even keep later unsynced frames while it loses
//! earlier ones. So a bad frame ends the log, and whatever lies behind it is not believed. But when
//! something that is believed (a later frame or header, the superblock) knew the bad place durable,
//! then what stands there was lost by the disk, and that is corruption.

use std::io;
use std::ops::Range;

use sapwood_cachetable::{EncoderPool, Fault};
use sapwood_serialize::superblock::{Session, Superblock};
use sapwood_serialize::{
    Corruption, Extent, Frame, FrameKind, GenerationId, Lsn, Msn, Record, Records, SegmentId,
    Storage, StorageFile, TailFrames, WAL_HEADER_BYTES, WalHeader, decode_frame, decode_runs,
    is_zero, later_knowledge, tail_frames,
};

use super::sound::read_sound_ones;
use super::tail::{TAIL_BYTES_MAX, tail_name};
use super::{file_name, generation_of};

/// Of a file whose creation was cut off.
const EMPTY: &str = "it is empty";

/// Of a file that was made ahead and never used.
pub(super) const AHEAD: &str = "it was made ahead, and is not begun";

/// Files are read again in parts of about so many bytes, whole frames: what is at hand is in the
/// processor's cache still when it is gone through.
pub(super) const PART_BYTES: usize = 256 << 10;

/// One file of the log, as far as it is believed. Its bytes are read again for the replay, so that
/// no file need be in memory for longer than it takes to check it.
pub(crate) struct ReadFile {
    name: String,
    header: WalHeader,
    /// The end of the last good frame.
    end: usize,
    /// Where all parts but the last one end.
    cuts: Vec<usize>,
    has_groups: bool,
    /// Whether a record in it names runs.
    has_runs: bool,
    /// Its last frames, which were still on their way when the process ended, and where they begin.
    tail: Option<(usize, Vec<u8>)>,
}

impl ReadFile {
    pub(super) fn begun(name: String, header: WalHeader) -> ReadFile {
        let end = WAL_HEADER_BYTES;
        let (cuts, tail) = (Vec::new(), None);
        ReadFile { name, header, end, cuts, has_groups: false, has_runs: false, tail }
    }

    /// Takes the frames that go on where it has ended so far, from `bytes`, which are those of the
    /// file from `start` on. What is wrong with what comes behind them; nothing where the log ends
    /// cleanly.
    pub(super) fn take_frames(&mut self, bytes: &[u8], start: usize) -> Option<Corruption> {
        let header = as_if_from(&self.header, start);
        loop {
            let frame = match decode_frame(&header, bytes, self.end - start) {
                Ok(frame) => frame?,
                Err(broken) => return Some(broken),
            };
            let is_group = frame.head.kind == FrameKind::Group;
            self.has_groups |= is_group;
            self.has_runs |= is_group && runs_in(frame.payload).is_some();
            if self.end - self.cuts.last().unwrap_or(&0) >= PART_BYTES {
                self.cuts.push(self.end);
            }
            // What it knows durable lies before it, and is read already.
            self.end = start + frame.next;
        }
    }

    /// Where the last frame ends that was taken.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    fn end_in_log(&self) -> Lsn {
        self.header.base.plus(self.end as u64)
    }

    /// Whether there is anything to replay in it.
    pub(crate) fn has_groups(&self) -> bool {
        self.has_groups
    }

    /// The space that records in it name, and the name behind all segments there.
    pub(crate) fn logged(&self, storage: &dyn Storage) -> Result<Logged, Fault> {
        let mut logged = Logged::default();
        if !self.has_runs {
            return Ok(logged);
        }
        let mut memory = Vec::new();
        for part in self.parts() {
            let loaded = self.load(storage, part, memory)?;
            for group in loaded.groups() {
                self.take_logged(&group?, &mut logged)?;
            }
            memory = loaded.into_memory();
        }
        logged.extents.sort_unstable_by_key(|(extent, _)| extent.offset);
        logged.extents.dedup();
        Ok(logged)
    }

    /// Adds what a group names, if it names runs.
    fn take_logged(&self, group: &Frame<'_>, logged: &mut Logged) -> Result<(), Fault> {
        let Some((numbers, runs)) = runs_in(group.payload) else { return Ok(()) };
        let trees = decode_runs(numbers, runs).map_err(|it| it.within(&self.name, 0))?;
        let runs = trees.iter().flat_map(|(_, runs)| runs);
        for part in runs.flat_map(|run| run.segments()) {
            logged.next_segment = logged.next_segment.max(part.segment.id().next());
            let Some(place) = part.segment.place() else { continue };
            logged.extents.push((place.extent, self.header.generation));
        }
        Ok(())
    }

    /// How much of it there is to be read.
    pub(crate) fn bytes(&self) -> u64 {
        self.end as u64
    }

    /// Its name, for errors.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes its header durable, by writing it again: it may be known to the page cache alone.
    pub(crate) fn secure(&self, storage: &dyn Storage) -> Result<(), Fault> {
        let failed = |error| Fault::io("rewriting the header of", &self.name, error);
        let file = storage.open(&self.name).map_err(failed)?;
        let mut header = [0; WAL_HEADER_BYTES];
        file.read_at(&mut header, 0).map_err(failed)?;
        file.write_at(&header, 0).map_err(failed)?;
        file.sync().map_err(failed)
    }

    /// The same for all that it has of its own: what a sync that failed has forgotten is written by
    /// no later one. What is in the tail stays there, see [`rewrite_tail`].
    pub(crate) fn rewrite(&self, storage: &dyn Storage) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        read_whole(storage, &self.name, &mut bytes)?;
        bytes.truncate(self.tail.as_ref().map_or(self.end, |(offset, _)| *offset));
        rewrite_file(storage, &self.name, &bytes)
    }

    /// Has the system fetch it for [`ReadFile::load`] meanwhile.
    pub(crate) fn load_soon(&self, storage: &dyn Storage) {
        read_soon(storage, &self.name);
    }

    /// What it is to be loaded in, in order: whole frames.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(WAL_HEADER_BYTES).chain(self.cuts.iter().copied());
        let ends = self.cuts.iter().copied().chain([self.end]);
        starts.zip(ends).map(|(start, end)| start..end)
    }

    /// Reads a part once more, into memory that may have been used before.
    pub(crate) fn load(
        &self,
        storage: &dyn Storage,
        part: Range<usize>,
        memory: Vec<u8>,
    ) -> Result<LoadedPart<'_>, Fault> {
        let mut bytes = memory;
        bytes.clear();
        bytes.resize(part.len(), 0);
        read_from(storage, &self.name, &mut bytes, part.start)?;
        if let Some((offset, frames)) = &self.tail {
            let (from, to) = (part.start.max(*offset), part.end.min(offset + frames.len()));
            if from < to {
                let target = &mut bytes[from - part.start..to - part.start];
                target.copy_from_slice(&frames[from - offset..to - offset]);
            }
        }
        Ok(LoadedPart { file: self, start: part.start, bytes })
    }
}

/// Space outside the log that its records name.
#[derive(Default)]
pub(crate) struct Logged {
    pub(crate) extents: Vec<(Extent, GenerationId)>,
    pub(crate) next_segment: SegmentId,
}

/// The runs that a group names, as its one record.
pub(crate) fn runs_in(payload: &[u8]) -> Option<(u64, &[u8])> {
    match Records::new(payload).next() {
        Some(Ok(Record::Runs { numbers, runs })) => Some((numbers, runs)),
        _ => None,
    }
}

/// The bytes of a part of a file.
pub(crate) struct LoadedPart<'f> {
    file: &'f ReadFile,
    start: usize,
    bytes: Vec<u8>,
}

impl LoadedPart<'_> {
    /// The memory, for the next part.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }

    /// The groups in it, in order. What was believed when it was read first has to be there again.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Result<Frame<'_>, Corruption>> {
        let header = as_if_from(&self.file.header, self.start);
        let mut offset = 0;
        let frames = std::iter::from_fn(move || {
            if offset == self.bytes.len() {
                return None;
            }
            let ends = || Corruption::new("log", offset as u64, "it has changed since it was read");
            let frame = decode_frame(&header, &self.bytes, offset);
            let frame = frame.and_then(|frame| frame.ok_or_else(ends));
            // Behind a frame that cannot be read any more, the iterator ends.
            offset = frame.as_ref().map_or(self.bytes.len(), |frame| frame.next);
            Some(frame.map_err(|broken| broken.within(&self.file.name, self.start as u64)))
        });
        frames.filter(|frame| {
            frame.as_ref().map_or(true, |frame| frame.head.kind == FrameKind::Group)
        })
    }
}

/// The log that a superblock leads to.
pub(crate) struct ReadLog {
    /// The files to be replayed, oldest first.
    pub(crate) files: Vec<ReadFile>,
    /// Where the log ends.
    pub(crate) end: Lsn,
    /// The generation before the one that a new log begins with.
    pub(crate) last_generation: GenerationId,
}

/// Reads the log from the superblock's first generation on.
///
/// # Errors
/// Corruption when something that was durable is missing or damaged.
pub(crate) fn read_log(
    storage: &dyn Storage,
    superblock: &Superblock,
    pool: Option<&EncoderPool>,
) -> Result<ReadLog, Fault> {
    let names = storage.list().map_err(|error| Fault::io("listing", "the folder", error))?;
    let generations: Vec<GenerationId> =
        names.iter().filter_map(|name| generation_of(name)).collect();
    let newest = generations.iter().max().copied().unwrap_or_default();
    let mut scan = Scan::new(superblock, read_tail(storage, superblock)?);
    let is_needed = |generation: &GenerationId| *generation >= superblock.first_generation;
    let needed: Vec<GenerationId> = generations.into_iter().filter(is_needed).collect();
    let mut sound = read_sound_ones(storage, &needed, pool);
    for (index, generation) in needed.into_iter().enumerate() {
        scan.file(storage, generation, sound.remove(&index).transpose()?.flatten())?;
    }
    scan.finish(newest)
}

/// Reads what can be read of the log, and tells what keeps the rest from being read. After a power
/// cut that may be no more than a torn end.
pub(crate) fn read_log_so_far(
    storage: &dyn Storage,
    superblock: &Superblock,
) -> Result<(ReadLog, Option<Corruption>), Fault> {
    let names = storage.list().map_err(|error| Fault::io("listing", "the folder", error))?;
    // Whatever keeps it from being read: the files are what there is more of.
    let tail = read_tail(storage, superblock).unwrap_or_default();
    let mut scan = Scan::new(superblock, tail);
    let mut refused = None;
    let generations = names.iter().filter_map(|name| generation_of(name));
    for generation in generations.filter(|one| *one >= superblock.first_generation) {
        let broken = match scan.file(storage, generation, None) {
            Ok(()) => continue,
            Err(Fault::Corrupt(broken)) => broken,
            Err(_) => Corruption::new("log file", 0, "it cannot be read")
                .within(&file_name(generation), 0),
        };
        scan.stop(broken.clone());
        refused.get_or_insert(broken);
    }
    // What may be a torn end may as well be damage; a file that nobody has written to is neither,
    // unless the log went on behind it.
    let is_damage = |stop: &Corruption| scan.has_passed || ![EMPTY, AHEAD].contains(&stop.rule);
    let end = scan.stop.clone().filter(is_damage);
    let loss = scan.loss().or(refused).or(end);
    let last_generation = superblock.first_generation;
    Ok((ReadLog { files: scan.files, end: scan.end, last_generation }, loss))
}

/// The state of reading: believed up to `end`, `known` durable.
struct Scan<'a> {
    superblock: &'a Superblock,
    files: Vec<ReadFile>,
    end: Lsn,
    /// The highest position that anything believed knew durable, and who told it.
    known: Lsn,
    /// What stopped the reading, if something did.
    stop: Option<Corruption>,
    /// Whether a later file was passed over, in which the log went on.
    has_passed: bool,
    /// The generation of the next file that there must be before any later one.
    next: GenerationId,
    /// What is wrong with the header of the file before that, if something is.
    headless: Option<Corruption>,
    /// A file that must have been there because there is a later one.
    lost: Option<Corruption>,
    /// The log's tail; empty when there is none.
    tail: Vec<u8>,
    /// Where the last file was read into.
    memory: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn new(superblock: &'a Superblock, tail: Vec<u8>) -> Scan<'a> {
        let mut scan = Scan {
            superblock,
            files: Vec::new(),
            end: Lsn::ZERO,
            known: superblock.durable,
            stop: None,
            has_passed: false,
            next: superblock.first_generation,
            headless: None,
            lost: None,
            tail,
            memory: Vec::new(),
        };
        let told = scan.frames_in_tail().map_or(Lsn::ZERO, |tail| tail.durable);
        scan.known = scan.known.max(told);
        scan
    }

    /// There is a file of this generation: those before it were durable, with their headers.
    fn meet(&mut self, generation: GenerationId) {
        let missing = (generation != self.next).then(|| {
            let rule = "it is missing, though there is a later one";
            Corruption::new("log file", 0, rule).within(&file_name(self.next), 0)
        });
        self.lost = self.lost.take().or(self.headless.take()).or(missing);
        self.next = generation.next();
    }

    /// Takes the file of a generation; `sound` is what was read of it, if nothing is wrong there.
    fn file(
        &mut self,
        storage: &dyn Storage,
        generation: GenerationId,
        sound: Option<ReadFile>,
    ) -> Result<(), Fault> {
        if self.stop.is_none()
            && let Some(read) = sound
            && self.goes_on_in(&read, generation)
        {
            self.meet(generation);
            self.known = self.known.max(read.header.durable);
            self.end = read.end_in_log();
            self.files.push(read);
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.memory);
        read_whole(storage, &file_name(generation), &mut bytes)?;
        let taken = self.take_file(generation, &mut bytes);
        self.memory = bytes;
        taken
    }

    /// Whether the log goes on in a file, as far as was read of it, and not in the log's tail.
    fn goes_on_in(&self, read: &ReadFile, generation: GenerationId) -> bool {
        let WalHeader { database, epoch, .. } = read.header;
        (database, epoch) == (self.superblock.database, self.superblock.epoch)
            && read.header.generation == generation
            && self.continues(&read.header, generation)
            && self.frames_from(read.end_in_log()).is_none()
    }

    /// Takes what is to be believed of a file that holds `bytes`.
    fn take_file(&mut self, generation: GenerationId, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let name = file_name(generation);
        self.meet(generation);
        if is_zero(bytes) {
            // Its creation was cut off, or it was lost with everything behind it.
            let empty = Corruption::new("log file", 0, EMPTY).within(&name, 0);
            self.headless = Some(empty.clone());
            self.stop(empty);
            return Ok(());
        }
        let header = match WalHeader::decode(bytes) {
            Ok(header) => header,
            Err(broken) => {
                // Its frames may still tell that it was durable, header and all.
                self.learn(&self.supposed(generation), bytes, WAL_HEADER_BYTES);
                let broken = broken.within(&name, 0);
                self.headless = Some(broken.clone());
                self.stop(broken);
                return Ok(());
            }
        };
        self.check_header(&header, generation, &name, bytes)?;
        if !header.is_begun {
            let is_used = !is_zero(bytes.get(WAL_HEADER_BYTES..).unwrap_or_default());
            if is_used {
                // Nobody knows where it goes on. If it is here, its frames may know that it was
                // durable.
                self.learn(&self.supposed(generation), bytes, WAL_HEADER_BYTES);
            }
            let rule = if is_used { "its first frame cannot be read" } else { AHEAD };
            self.stop(Corruption::new("log file", 0, rule).within(&name, 0));
            return Ok(());
        }
        if header.epoch == self.superblock.epoch {
            self.known = self.known.max(header.durable);
        }
        if header.epoch > self.superblock.epoch || self.stop.is_some() {
            self.has_passed |= header.epoch == self.superblock.epoch;
            self.learn(&header, bytes, WAL_HEADER_BYTES);
            self.stop(
                Corruption::new("log file", 0, "what comes before it is missing").within(&name, 0),
            );
            return Ok(());
        }
        if !self.continues(&header, generation) {
            self.learn(&header, bytes, WAL_HEADER_BYTES);
            self.stop(
                Corruption::new("log file", 0, "it does not continue the one before")
                    .within(&name, 0),
            );
            return Ok(());
        }
        self.frames(header, name, bytes);
        Ok(())
    }

    fn stop(&mut self, corruption: Corruption) {
        self.stop.get_or_insert(corruption);
    }

    /// What can never be a torn end: another database's log, or a log that the superblock should
    /// have known of.
    fn check_header(
        &self,
        header: &WalHeader,
        generation: GenerationId,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let broken = |rule| Err(Corruption::new("log file", 0, rule).within(name, 0).into());
        if header.database != self.superblock.database {
            return broken("it belongs to another database");
        }
        if header.generation != generation {
            return broken("its name is not its generation's");
        }
        if header.epoch > self.superblock.epoch && has_groups(header, bytes) {
            return broken("the superblock is older than the log; a checkpoint was lost");
        }
        Ok(())
    }

    /// The header of a file that goes on where the log has ended so far.
    fn supposed(&self, generation: GenerationId) -> WalHeader {
        let Superblock { database, epoch, .. } = *self.superblock;
        let (base, durable, first_msn, is_begun) = (self.end, Lsn::ZERO, Msn::ZERO, true);
        WalHeader { database, generation, epoch, base, durable, first_msn, is_begun }
    }

    /// Whether the file goes on where the log has ended so far.
    fn continues(&self, header: &WalHeader, generation: GenerationId) -> bool {
        match self.files.last() {
            None => generation == self.superblock.first_generation,
            Some(last) => {
                header.generation == last.header.generation.next() && header.base == self.end
            }
        }
    }

    fn frames(&mut self, header: WalHeader, name: String, bytes: &mut Vec<u8>) {
        let mut file = ReadFile::begun(name, header);
        let mut stopped = file.take_frames(bytes, 0);
        if let Some(frames) = self.frames_from(file.end_in_log()) {
            complete(bytes, file.end, &frames);
            file.tail = Some((file.end, frames));
            stopped = file.take_frames(bytes, 0);
        }
        if let Some(broken) = stopped {
            self.learn(&header, bytes, file.end);
            self.stop(broken.within(&file.name, 0));
        }
        self.end = file.end_in_log();
        self.files.push(file);
    }

    /// The frames of the tail from this place in the log on.
    fn frames_from(&self, place: Lsn) -> Option<Vec<u8>> {
        let tail = self.frames_in_tail()?;
        let behind = place.to_raw().checked_sub(tail.lsn.to_raw())?;
        let frames = tail.frames.get(usize::try_from(behind).ok()?..)?;
        (!frames.is_empty()).then(|| frames.to_vec())
    }

    fn frames_in_tail(&self) -> Option<TailFrames<'_>> {
        tail_frames(self.superblock.database, self.superblock.epoch, &self.tail)
    }

    fn learn(&mut self, header: &WalHeader, bytes: &[u8], offset: usize) {
        if header.epoch == self.superblock.epoch
            && let Some(known) = later_knowledge(header, bytes, offset.saturating_sub(1))
        {
            self.known = self.known.max(known);
        }
    }

    fn finish(self, newest: GenerationId) -> Result<ReadLog, Fault> {
        if let Some(loss) = self.loss() {
            return Err(loss.into());
        }
        // The names behind the last file that is believed are used again.
        let last_generation = self.files.last().map_or(newest, |last| last.header.generation);
        Ok(ReadLog { files: self.files, end: self.end.max(self.known), last_generation })
    }

    /// What is missing or damaged of that which was durable.
    fn loss(&self) -> Option<Corruption> {
        let must_exist = self.superblock.session == Session::Open;
        if must_exist && self.files.is_empty() {
            let rule =
                "it is missing, or its header is damaged, though the database was not closed";
            let name = file_name(self.superblock.first_generation);
            return Some(Corruption::new("log file", 0, rule).within(&name, 0));
        }
        if must_exist && self.lost.is_some() {
            return self.lost.clone();
        }
        let last = self.files.last().filter(|_| self.known > self.end)?;
        let ended = Corruption::new("log", last.end as u64, "it ends before what was durable");
        Some(self.stop.clone().unwrap_or(ended.within(&last.name, 0)))
    }
}

/// The header of a file, as if it began at `start`.
fn as_if_from(header: &WalHeader, start: usize) -> WalHeader {
    WalHeader { base: header.base.plus(start as u64), ..*header }
}

/// Whether a group is in the file. A mark stands at its front before anybody has written.
fn has_groups(header: &WalHeader, bytes: &[u8]) -> bool {
    let mut offset = WAL_HEADER_BYTES;
    while let Ok(Some(frame)) = decode_frame(header, bytes, offset) {
        if frame.head.kind == FrameKind::Group {
            return true;
        }
        offset = frame.next;
    }
    false
}

/// Puts frames where they belong in the bytes of a file.
fn complete(file: &mut Vec<u8>, offset: usize, frames: &[u8]) {
    file.resize(file.len().max(offset + frames.len()), 0);
    file[offset..offset + frames.len()].copy_from_slice(frames);
}

/// The tail of the log that a superblock leads to; nothing when there is none.
fn read_tail(storage: &dyn Storage, superblock: &Superblock) -> Result<Vec<u8>, Fault> {
    let name = tail_name(superblock.epoch);
    let file = match storage.open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(|error| Fault::io("reading", &name, error))?,
    };
    let mut bytes = Vec::new();
    let read = read_at_most(&*file, TAIL_BYTES_MAX, &mut bytes);
    read.map_err(|error| Fault::io("reading", &name, error))?;
    Ok(bytes)
}

/// Makes the tail durable where it is, name and all; takes no space.
pub(crate) fn rewrite_tail(storage: &dyn Storage, superblock: &Superblock) -> Result<(), Fault> {
    let bytes = read_tail(storage, superblock)?;
    if bytes.is_empty() {
        return Ok(());
    }
    rewrite_file(storage, &tail_name(superblock.epoch), &bytes)?;
    let synced = storage.sync_names();
    synced.map_err(|error| Fault::io("syncing", "the folder", error))
}

/// Writes bytes that a file begins with once more, and syncs them.
fn rewrite_file(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    let failed = |error| Fault::io("rewriting", name, error);
    let file = storage.open(name).map_err(failed)?;
    file.write_at(bytes, 0).map_err(failed)?;
    file.sync().map_err(failed)
}

/// Has the system fetch a file that is read next, while the one before it is gone through. What is
/// wrong with it is told by who reads it.
fn read_soon(storage: &dyn Storage, name: &str) {
    let Ok(file) = storage.open(name) else { return };
    if let Ok(bytes) = file.len() {
        file.will_read(0, bytes);
    }
}

/// Reads a file into `bytes`, which may have been used before.
fn read_whole(storage: &dyn Storage, name: &str, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    let read = storage.open(name).and_then(|file| read_at_most(&*file, u64::MAX, bytes));
    read.map_err(|error| Fault::io("reading", name, error))
}

/// Reads what a file has from `offset` on into `bytes`, as much as there is.
fn read_from(
    storage: &dyn Storage,
    name: &str,
    bytes: &mut [u8],
    offset: usize,
) -> Result<(), Fault> {
    let mut read = || {
        let file = storage.open(name)?;
        let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        let there = bytes.len().min(length.saturating_sub(offset));
        file.read_at(&mut bytes[..there], offset as u64)
    };
    read().map_err(|error| Fault::io("reading", name, error))
}

fn read_at_most(file: &dyn StorageFile, bytes_max: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(file.len()?.min(bytes_max)).unwrap_or(usize::MAX);
    bytes.resize(length, 0);
    file.read_at(bytes, 0)
}
