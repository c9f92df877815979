//! Appending to the log, and making it durable.
//!
//! One thread at a time appends: the leader of a commit group. Any number wait for durability; one
//! of them syncs for all. A sync covers every unsynced file, oldest first, so that what is durable
//! is always a prefix of the log.
//!
//! The next files are made ahead, each with a durable name and a durable header before the one
//! behind it: of two files of a log, the older one can always be read, or was lost by the disk. So
//! a seal needs no sync: it begins the next file with a mark, which says where in the log that is.
//!
//! What a commit hands to the system goes through the log's tail, see there; what a sync covers has
//! been written to a file.
//!
//! Files are filled with real space ahead of what is written, small at first and doubling: a write
//! does not meet a full disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sapwood_cachetable::stats::Counter;
use sapwood_cachetable::sync::atomic::{AtomicU64, Ordering};
use sapwood_cachetable::sync::{Condvar, Mutex, MutexGuard, Rank, Wakeup};
use sapwood_cachetable::{Cachetable, Fault, StepPoint, is_full};
use sapwood_serialize::{
    Epoch, FRAME_HEADER_BYTES, FrameHead, FrameKind, GenerationId, Lsn, Memory, Msn, StorageFile,
    WAL_HEADER_BYTES, WalHeader, begin_frame, finish_brief_frame, finish_frame,
};

use super::append::{Append, LogFile, Ready};
use super::blank::{Blank, PAGE, zeros};
use super::company::Company;
use super::file_name;
use super::outgoing::Outgoing;
use super::runway::Runway;
use super::tail::{TAIL_BYTES_MAX, Tail, is_tail, tail_name};

struct Syncing {
    /// Files that may hold unsynced frames, oldest first; the last one is the active one.
    unsynced: VecDeque<Arc<LogFile>>,
    is_running: bool,
    /// Commits that wait to be durable.
    company: Company,
}

/// The log of an open database.
pub(crate) struct Log {
    table: Arc<Cachetable>,
    epoch: Epoch,
    append: Mutex<Append>,
    /// Frames on their way into the active file.
    tail: Mutex<Tail>,
    /// Held while a file is being made ahead; by a background step or by the leader.
    preparing: Mutex<()>,
    syncing: Mutex<Syncing>,
    synced: Condvar,
    end: AtomicU64,
    durable: AtomicU64,
    /// Headers and frames.
    pub(crate) bytes_written: Counter,
    pub(crate) zeros_written: Counter,
    pub(crate) syncs: Counter,
}

/// Where a log begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogStart {
    pub(crate) generation: GenerationId,
    pub(crate) epoch: Epoch,
    pub(crate) base: Lsn,
    /// Of its first message.
    pub(crate) next_msn: Msn,
    /// How large its tail is at most, in bytes.
    pub(crate) tail_bytes: u64,
}

impl Log {
    /// Starts a log: its first file with a durable header, and one made ahead where the disk has
    /// the space.
    pub(crate) fn create(table: Arc<Cachetable>, start: LogStart) -> Result<Log, Fault> {
        let active = create(&table, start.generation)?;
        sync_names(&table)?;
        let log = Log::on(table, start, active.clone(), VecDeque::new());
        let header = log.append.lock().header;
        let allocated = log.write_header(&active, &header)?;
        log.begin(Ready { file: active.clone(), allocated }, header)?;
        // The superblock that follows says that the log goes on here, so it must.
        log.sync_file(&active)?;
        match log.prepare_next() {
            // Whoever needs it is told: until then there may be space again.
            Err(fault) if !fault.is_retryable() => Err(fault),
            Ok(()) | Err(_) => Ok(log),
        }
    }

    /// A log without files, for a database that is poisoned from the start and takes no writes.
    pub(crate) fn refusing(table: Arc<Cachetable>, start: LogStart) -> Log {
        let generation = start.generation;
        let file = LogFile { generation, name: file_name(generation), file: Arc::new(NoFile) };
        let file = Arc::new(file);
        let ready = VecDeque::from([Ready { file: file.clone(), allocated: 0 }]);
        Log::on(table, start, file, ready)
    }

    fn on(
        table: Arc<Cachetable>,
        start: LogStart,
        active: Arc<LogFile>,
        ready: VecDeque<Ready>,
    ) -> Log {
        let unsynced = VecDeque::from([active.clone()]);
        let syncing = Syncing { unsynced, is_running: false, company: Company::default() };
        let LogStart { generation, epoch, base, next_msn, tail_bytes } = start;
        let database = table.database();
        let (durable, first_msn, is_begun) = (base, next_msn, true);
        let header = WalHeader { database, generation, epoch, base, durable, first_msn, is_begun };
        let (written, allocated, seals, whole_bytes) = (0, 0, 0, 0);
        let (told, told_at) = (base, 0);
        let (outgoing, blank) = (Outgoing::default(), Blank::default());
        let runway = Runway::default();
        let append = Append {
            active,
            header,
            written,
            allocated,
            ready,
            seals,
            whole_bytes,
            told,
            told_at,
            outgoing,
            blank,
            runway,
        };
        Log {
            table,
            epoch,
            tail: Mutex::new(Rank::Claims, Tail::of(tail_bytes)),
            append: Mutex::new(Rank::WalBuffer, append),
            preparing: Mutex::new(Rank::Claims, ()),
            syncing: Mutex::new(Rank::JobQueue, syncing),
            synced: Condvar::new(),
            end: AtomicU64::new(base.to_raw()),
            durable: AtomicU64::new(base.to_raw()),
            bytes_written: Counter::default(),
            zeros_written: Counter::default(),
            syncs: Counter::default(),
        }
    }

    /// From now on frames go into this file, whose header it has already, behind a mark. At once: a
    /// sync beside it takes the end of the log from here.
    fn begin(&self, next: Ready, header: WalHeader) -> Result<(), Fault> {
        let WalHeader { base, epoch, durable, first_msn, .. } = header;
        let lsn = base.plus(WAL_HEADER_BYTES as u64);
        let mark = FrameHead { kind: FrameKind::Mark, lsn, epoch, durable, first_msn };
        let mut frame = Vec::new();
        begin_frame(&mut frame);
        finish_frame(self.table.database(), &mark, &mut frame, 0);
        self.write(&next.file, &frame, WAL_HEADER_BYTES as u64)?;
        self.bytes_written.add(frame.len() as u64);
        let mut append = self.append.lock();
        let (ended, written) = (append.active.clone(), append.written);
        append.outgoing.seal(ended, written);
        append.written = (WAL_HEADER_BYTES + frame.len()) as u64;
        (append.active, append.header, append.allocated) = (next.file, header, next.allocated);
        (append.told, append.told_at) = (durable, WAL_HEADER_BYTES as u64);
        (append.blank, append.runway) = (Blank::default(), Runway::default());
        self.end.store(append.end().to_raw(), Ordering::Release);
        Ok(())
    }

    /// The position behind the last frame.
    pub(crate) fn end(&self) -> Lsn {
        Lsn::from_raw(self.end.load(Ordering::Acquire))
    }

    /// Everything before this position is durable.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn::from_raw(self.durable.load(Ordering::Acquire))
    }

    /// The epoch of its frames.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Writes the header of a file, with room for a mark; returns how long the file now is.
    fn write_header(&self, file: &LogFile, header: &WalHeader) -> Result<u64, Fault> {
        let least = WAL_HEADER_BYTES + FRAME_HEADER_BYTES;
        let allocated = self.grow(file, 0, least as u64)?;
        self.write(file, &header.encode(), 0)?;
        self.bytes_written.add(WAL_HEADER_BYTES as u64);
        Ok(allocated)
    }

    /// Makes room for a frame of `bytes` in the active file. `DiskFull` before anything was
    /// written.
    pub(crate) fn make_room(&self, bytes: u64) -> Result<(), Fault> {
        let (active, needed, allocated) = {
            let append = self.append.lock();
            (append.active.clone(), append.written + bytes, append.allocated)
        };
        if needed > allocated {
            let allocated = self.grow(&active, allocated, needed)?;
            self.append.lock().allocated = allocated;
        }
        Ok(())
    }

    /// Grows a file from `allocated` to at least `needed`; returns how long it now is.
    fn grow(&self, file: &LogFile, allocated: u64, needed: u64) -> Result<u64, Fault> {
        const FIRST: u64 = 4 << 10;
        const STEP_MAX: u64 = 4 << 20;
        let ample = (allocated + allocated.clamp(FIRST, STEP_MAX)).max(needed);
        let mut grown = file.file.allocate(allocated, ample - allocated).map(|()| ample);
        // Only a lack of space is worth another try: any other failure is told.
        if grown.as_ref().is_err_and(is_full) {
            grown = file.file.allocate(allocated, needed - allocated).map(|()| needed);
        }
        match grown {
            Ok(allocated) => Ok(allocated),
            Err(error) if is_full(&error) => Err(Fault::DiskFull { bytes: needed - allocated }),
            Err(error) => Err(self.failed("growing", &file.name, error)),
        }
    }

    fn failed(&self, doing: &'static str, name: &str, error: std::io::Error) -> Fault {
        self.table.poison().record(Fault::io(doing, name, error))
    }

    fn write(&self, file: &LogFile, bytes: &[u8], offset: u64) -> Result<(), Fault> {
        let written = file.file.write_at(bytes, offset);
        written.map_err(|error| self.failed("writing", &file.name, error))
    }

    /// Seals a frame and puts it behind all others: into the tail, or into the active file. Returns
    /// its length.
    ///
    /// It is brief where it comes behind others in the tail and nothing has to be told.
    fn place(&self, tail: &mut Tail, head: &FrameHead, frame: &mut Memory) -> Result<usize, Fault> {
        let (active, header, written, has_to_tell) = {
            let append = self.append.lock();
            let has_to_tell = head.kind != FrameKind::Group || append.has_to_tell(head.durable);
            (append.active.clone(), append.header, append.written, has_to_tell)
        };
        tail.prepare(&**self.table.storage(), self.epoch, written);
        if !tail.has_room(frame.len()) {
            self.empty(tail, &active, written)?;
        }
        let may_be_brief = !has_to_tell && !tail.waiting().is_empty();
        let brief = if may_be_brief { finish_brief_frame(&header, head, frame, 0) } else { None };
        if brief.is_none() {
            finish_frame(self.table.database(), head, frame, 0);
        }
        let frame = &frame[brief.unwrap_or(0)..];
        if !tail.take(frame) {
            self.empty(tail, &active, written)?;
            self.write(&active, frame, written)?;
        }
        let told = brief.is_none().then_some(head.durable);
        self.append.lock().advance(frame.len() as u64, told);
        Ok(frame.len())
    }

    /// Writes the frames of the tail to the active file, in which they end at `written`.
    fn empty(&self, tail: &mut Tail, active: &LogFile, written: u64) -> Result<(), Fault> {
        let waiting = tail.waiting();
        if waiting.is_empty() {
            return Ok(());
        }
        // What one thread could not write, the next one shall not try again.
        self.table.poison().check()?;
        self.write(active, waiting, written - waiting.len() as u64)?;
        tail.forget();
        Ok(())
    }

    /// Writes what is in the tail to the active file. All frames before the position that is
    /// returned are in files then.
    fn write_out(&self) -> Result<Lsn, Fault> {
        self.empty_tail(&mut self.tail.lock())
    }

    /// The same before a sync, for which it readies the blocks that the next ones will need.
    fn write_out_to_sync(&self) -> Result<Lsn, Fault> {
        let mut tail = self.tail.lock();
        let end = self.empty_tail(&mut tail)?;
        let (active, stretch) = {
            let mut append = self.append.lock();
            let unsynced = end.to_raw() - self.durable().min(end).to_raw();
            let (written, allocated) = (append.written, append.allocated);
            (append.active.clone(), append.blank.take(unsynced, written, allocated))
        };
        for (offset, zeros) in zeros(stretch) {
            match active.file.write_at(zeros, offset) {
                // The sync can do without them.
                Err(error) if is_full(&error) => break,
                written => written.map_err(|error| self.failed("writing", &active.name, error))?,
            }
            self.zeros_written.add(zeros.len() as u64);
        }
        Ok(end)
    }

    fn empty_tail(&self, tail: &mut Tail) -> Result<Lsn, Fault> {
        let (active, base, written) = {
            let append = self.append.lock();
            debug_assert_eq!(append.end(), self.end());
            (append.active.clone(), append.header.base, append.written)
        };
        self.empty(tail, &active, written)?;
        Ok(base.plus(written))
    }

    /// Appends a group's frame, which `frame` holds from its beginning on; its head is filled in
    /// here. The leader alone calls it, after [`Log::make_room`]. Returns the position behind it.
    pub(crate) fn append(
        &self,
        kind: FrameKind,
        first_msn: Msn,
        frame: &mut Memory,
    ) -> Result<Lsn, Fault> {
        let mut tail = self.tail.lock();
        let lsn = self.end();
        let durable = self.durable().min(lsn);
        let head = FrameHead { kind, lsn, epoch: self.epoch, durable, first_msn };
        let bytes = self.place(&mut tail, &head, frame)?;
        self.bytes_written.add(bytes as u64);
        let end = self.append.lock().end();
        self.end.store(end.to_raw(), Ordering::Release);
        Ok(end)
    }

    /// Whether a mark would tell recovery something that no frame has told.
    pub(crate) fn wants_mark(&self) -> bool {
        let told = self.append.lock().told;
        self.durable() == self.end() && told < self.durable()
    }

    /// Continues in the next file, with messages from `next_msn` on. The leader alone calls it. On
    /// a full disk nothing has changed.
    pub(crate) fn seal(&self, next_msn: Msn) -> Result<(), Fault> {
        if !self.has_next() {
            self.prepare_next()?;
        }
        let base = self.write_out()?;
        let durable = self.durable().min(base);
        let (next, before) = {
            let mut append = self.append.lock();
            append.note_length(self.table.budget().memtable());
            (append.ready.front().cloned().expect("it was prepared"), append.header)
        };
        let generation = next.file.generation;
        let header = WalHeader { generation, base, durable, first_msn: next_msn, ..before };
        self.syncing.lock().unsynced.push_back(next.file.clone());
        self.tail.lock().restart();
        self.begin(next, header)?;
        let mut append = self.append.lock();
        append.ready.pop_front();
        append.seals += 1;
        Ok(())
    }

    /// Makes one more file ahead, if there are not enough, with as much space as the last ones took
    /// where the disk has it: so the leader need not wait for that. Nobody else writes to the file
    /// yet, which some systems need while they make space.
    pub(crate) fn prepare_next(&self) -> Result<(), Fault> {
        let one_at_a_time = self.preparing.lock();
        let (newest, before, space) = {
            let append = self.append.lock();
            (append.newest().generation, append.header, append.ample_bytes())
        };
        if !self.lacks_files() {
            return Ok(());
        }
        let file = create(&self.table, newest.next())?;
        let header = WalHeader { generation: file.generation, ..before };
        let mut allocated = self.write_header(&file, &header)?;
        self.sync_file(&file)?;
        sync_names(&self.table)?;
        if space > allocated {
            match self.grow(&file, allocated, space) {
                Ok(grown) => allocated = grown,
                Err(fault) if fault.is_retryable() => {}
                Err(fault) => return Err(fault),
            }
        }
        self.append.lock().ready.push_back(Ready { file, allocated });
        drop(one_at_a_time);
        self.table.steps().pass(StepPoint::LogNextCreated);
        Ok(())
    }

    /// Has the system make the pages that the writer comes to next. May wait for memory.
    pub(crate) fn make_pages_ahead(&self) {
        let (active, pieces) = {
            let mut append = self.append.lock();
            let (written, allocated) = (append.written, append.allocated);
            (append.active.clone(), append.runway.take(written, allocated))
        };
        for (offset, bytes) in pieces {
            active.file.will_read(offset, bytes);
        }
    }

    /// Asks the system to write out what the files have taken, and to let go of what it has written
    /// out of that before. Does not wait for the disk, save where too much is on its way to that
    /// already.
    pub(crate) fn start_writeback(&self) {
        let stretches = {
            let mut append = self.append.lock();
            // The last frames may still be in the tail.
            let written = append.written.saturating_sub(TAIL_BYTES_MAX);
            let active = append.active.clone();
            append.outgoing.take(&active, written - written % PAGE)
        };
        for stretch in stretches {
            stretch.file.file.start_writeback(stretch.from, stretch.bytes());
        }
    }

    /// Whether a seal would find a file.
    pub(crate) fn has_next(&self) -> bool {
        !self.append.lock().ready.is_empty()
    }

    /// Whether more files should be made ahead.
    pub(crate) fn lacks_files(&self) -> bool {
        let append = self.append.lock();
        append.ready.len() < append.ready_wanted()
    }

    /// Returns when nobody else syncs: the system tells one sync of a failure and the next one of a
    /// success, so no two may run beside each other. `None` when everything before `position` is
    /// durable already.
    fn begin_sync(&self, position: Lsn) -> Result<Option<Running<'_>>, Fault> {
        let mut syncing = self.syncing.lock();
        self.begin_when(&mut syncing, position, |_| None)
    }

    /// The same in line with others, for as many of them as possible.
    fn begin_together(&self, position: Lsn) -> Result<Option<Running<'_>>, Fault> {
        let mut syncing = self.syncing.lock();
        if self.durable() >= position {
            return Ok(None);
        }
        self.table.poison().check()?;
        syncing.company.join(position, self.durable());
        let patience = |company: &Company| company.patience(self.table.now());
        let running = self.begin_when(&mut syncing, position, patience)?;
        if running.is_some() {
            syncing.company.begin();
        }
        Ok(running)
    }

    /// Waits while somebody else syncs, and for as long as `patience` says, but once at most: a
    /// storage's clock may stand still.
    fn begin_when(
        &self,
        syncing: &mut MutexGuard<'_, Syncing>,
        position: Lsn,
        patience: impl Fn(&Company) -> Option<Duration>,
    ) -> Result<Option<Running<'_>>, Fault> {
        let mut wakeup = Wakeup::Notified;
        loop {
            if self.durable() >= position {
                return Ok(None);
            }
            self.table.poison().check()?;
            let patience = patience(&syncing.company).filter(|_| wakeup == Wakeup::Notified);
            if syncing.is_running {
                self.synced.wait(syncing);
            } else if let Some(time) = patience {
                wakeup = self.synced.wait_for(syncing, time);
            } else {
                syncing.is_running = true;
                return Ok(Some(Running(self)));
            }
        }
    }

    /// Returns when everything before `position` is durable.
    pub(crate) fn sync_to(&self, position: Lsn) -> Result<(), Fault> {
        let Some(_running) = self.begin_together(position)? else { return Ok(()) };
        self.sync_files(GenerationId::ZERO).map(|_| ())
    }

    /// Makes durable what files of generations from `first` on say, for a checkpoint that has what
    /// the older ones say; returns up to where. The older ones need not be written to the disk any
    /// more: only [`Log::trim`], after the checkpoint, lets others rely on it.
    pub(crate) fn sync_from(&self, first: GenerationId) -> Result<Lsn, Fault> {
        let Some(_running) = self.begin_sync(self.end())? else { return Ok(self.durable()) };
        self.sync_files(first)
    }

    /// Syncs the files of generations from `first` on; returns up to where they are durable.
    fn sync_files(&self, first: GenerationId) -> Result<Lsn, Fault> {
        let begun = self.table.now();
        let end = self.write_out_to_sync()?;
        let unsynced = self.syncing.lock().unsynced.clone();
        let (files, older): (Vec<_>, Vec<_>) =
            unsynced.into_iter().partition(|file| file.generation >= first);
        files.iter().try_for_each(|file| self.sync_file(file))?;
        let mut syncing = self.syncing.lock();
        // The last one that was synced may be the active one, which stays.
        let sealed = files.split_last().map_or(&[][..], |(_, sealed)| sealed);
        let is_sealed = |file: &Arc<LogFile>| sealed.iter().any(|one| Arc::ptr_eq(one, file));
        syncing.unsynced.retain(|file| !is_sealed(file));
        if older.is_empty() {
            self.durable.fetch_max(end.to_raw(), Ordering::AcqRel);
        }
        // Before anybody whom it lets go can line up again.
        let now = self.table.now();
        syncing.company.end(now, now.saturating_sub(begun), self.durable());
        Ok(end)
    }

    fn sync_file(&self, file: &LogFile) -> Result<(), Fault> {
        self.syncs.add(1);
        file.file.sync().map_err(|error| self.failed("syncing", &file.name, error))
    }

    /// Removes the files of generations before `first`: they are wholly in a checkpoint, which
    /// knows that the others are durable up to `durable`.
    pub(crate) fn trim(&self, first: GenerationId, durable: Lsn) -> Result<(), Fault> {
        self.syncing.lock().unsynced.retain(|file| file.generation >= first);
        self.append.lock().outgoing.retain(|file| file.generation >= first);
        self.durable.fetch_max(durable.to_raw(), Ordering::AcqRel);
        // Some of those in line may have what they wait for.
        self.synced.notify_all();
        remove_before(&self.table, first)
    }

    /// Removes all files: a checkpoint has everything.
    pub(crate) fn remove(&self) -> Result<(), Fault> {
        let newest = self.append.lock().newest().generation;
        // One may be half made, on a full disk.
        self.trim(newest.next().next(), self.end())
    }
}

/// A sync that others may wait for; it has ended when this is dropped.
struct Running<'a>(&'a Log);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.syncing.lock().is_running = false;
        self.0.synced.notify_all();
    }
}

/// Stands for the files of a log that was never begun.
struct NoFile;

fn refused<T>() -> std::io::Result<T> {
    Err(std::io::Error::other("the log was never begun"))
}

impl StorageFile for NoFile {
    fn read_at(&self, _buffer: &mut [u8], _offset: u64) -> std::io::Result<()> {
        refused()
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> std::io::Result<()> {
        refused()
    }

    fn sync(&self) -> std::io::Result<()> {
        refused()
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(0)
    }

    fn set_len(&self, _bytes: u64) -> std::io::Result<()> {
        refused()
    }

    fn allocate(&self, _offset: u64, _bytes: u64) -> std::io::Result<()> {
        refused()
    }

    fn punch(&self, _offset: u64, _bytes: u64) -> std::io::Result<()> {
        refused()
    }

    fn start_writeback(&self, _offset: u64, _bytes: u64) {}
}

/// Removes all tails but that of the log of `epoch`.
pub(crate) fn remove_tails(table: &Cachetable, epoch: Option<Epoch>) -> Result<(), Fault> {
    let failed = |error| Fault::io("removing old files of", "the log", error);
    let kept = epoch.map(tail_name);
    for name in table.storage().list().map_err(failed)? {
        if is_tail(&name) && kept.as_ref() != Some(&name) {
            table.storage().remove(&name).map_err(failed)?;
        }
    }
    Ok(())
}

/// Removes the log files of generations before `first`.
pub(crate) fn remove_before(table: &Cachetable, first: GenerationId) -> Result<(), Fault> {
    let failed = |error| Fault::io("removing old files of", "the log", error);
    for name in table.storage().list().map_err(failed)? {
        if super::generation_of(&name).is_some_and(|generation| generation < first) {
            table.storage().remove(&name).map_err(failed)?;
        }
    }
    Ok(())
}

/// Removes the log files of generations after `last`, of which nothing is believed, not even that
/// their names are durable. The newest goes first, and for good, so that at no moment there is one
/// without the one before; the removal of the oldest becomes durable with the next creation.
pub(crate) fn remove_after(table: &Cachetable, last: GenerationId) -> Result<(), Fault> {
    let failed = |error| Fault::io("removing unused files of", "the log", error);
    let mut names = table.storage().list().map_err(failed)?;
    names.retain(|name| super::generation_of(name).is_some_and(|generation| generation > last));
    for (removed, name) in names.iter().rev().enumerate() {
        if removed > 0 {
            sync_names(table)?;
        }
        table.storage().remove(name).map_err(failed)?;
    }
    Ok(())
}

fn create(table: &Cachetable, generation: GenerationId) -> Result<Arc<LogFile>, Fault> {
    let name = file_name(generation);
    match table.storage().create(&name) {
        Ok(file) => Ok(Arc::new(LogFile { generation, name, file })),
        Err(error) if is_full(&error) => Err(Fault::DiskFull { bytes: 4096 }),
        Err(error) => Err(Fault::io("creating", &name, error)),
    }
}

fn sync_names(table: &Cachetable) -> Result<(), Fault> {
    let synced = table.storage().sync_names();
    synced.map_err(|error| table.poison().record(Fault::io("syncing", "the folder", error)))
}
