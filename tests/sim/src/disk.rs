//! A simulated disk that keeps only what was synced.
//!
//! ```text
//!              write, set_len, allocate, punch               create, remove
//!  the process sees   cache image                            names
//!                         |  pending changes                     |  pending name changes
//!                         v  StorageFile::sync                   v  Storage::sync_names
//!  a power cut leaves durable image                          durable names
//!                         + what `Cut` lets survive of everything pending
//! ```
//!
//! Rules:
//! 1. syncing a file makes its bytes and length durable, not its name; a file without a durable
//!    name is lost in a power cut, and a removed file whose removal is not durable comes back with
//!    its durable bytes;
//! 2. a sync that fails makes nothing durable and forgets what was pending, as a kernel that marks
//!    pages clean does: the process still sees the bytes, and no later sync saves them;
//! 3. a process kill loses nothing and syncs nothing;
//! 4. everything is decided by seeds and by the order of calls, so the same run gives the same
//!    disk and the same [`SimDisk::digest`].
//!
//! *Operations* are the calls that change something, numbered from 0: `write_at` (unless it has no
//! bytes), `sync`, `set_len`, `allocate`, `punch`, `create`, `remove`, `sync_names`. A failed one
//! counts, and does nothing. After a crash no call does anything, reads included.

mod handle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use crate::image::Image;
use crate::power_cut::{Change, NameChange, Pending, Survival};
pub use crate::power_cut::{Cut, NEWEST, Others};
use crate::random::Random;

/// What every call costs on the virtual clock.
const CALL_TIME: Duration = Duration::from_micros(1);

/// A disk; clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// How often a scheduled error happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// At the one operation.
    Once,
    /// At this operation and at all later ones.
    Forever,
}

/// What a disk does that reports success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A write or sync is not done at all.
    Lose,
    /// A write goes to a place that lies this many bytes further on, or as many before.
    Misdirect(i64),
}

impl SimDisk {
    /// An empty disk of unlimited size.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::from_state(State::new(Random::new(seed)))
    }

    /// Limits the disk to `bytes`; what would take more fails with `StorageFull`.
    ///
    /// Space is counted in pages of 4 KiB of the files that have a name. Writes and `allocate` take
    /// it; growing with `set_len` takes none, but fails when there would be too little.
    #[must_use]
    pub fn with_capacity(self, bytes: u64) -> SimDisk {
        self.state().capacity = Some(index(bytes));
        self
    }

    /// How many operations there have been.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many reads of bytes there have been.
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How many calls on mapped files have failed.
    pub fn mapped_faults(&self) -> u64 {
        self.state().mapped_faults
    }

    /// How many changes are pending: what [`Cut::KeepOne`] and [`Cut::LoseOne`] choose from.
    pub fn pending(&self) -> usize {
        self.state().pending().len()
    }

    /// A number for everything that was done so far, equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.state().digest.finish()
    }

    /// Crashes the machine just before this operation.
    pub fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    /// Whether [`SimDisk::crash_at`] has happened.
    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Lets this operation fail, and perhaps all later ones. Schedules add up.
    pub fn fail_at(&self, operation: u64, kind: io::ErrorKind, repeat: Repeat) {
        self.state().faults.push(Fault { operation, kind, repeat, extent: Extent::None });
    }

    /// Lets this operation fail when it has done a half, if it is a write.
    pub fn fail_halfway_at(&self, operation: u64, kind: io::ErrorKind) {
        let (repeat, extent) = (Repeat::Once, Extent::Half);
        self.state().faults.push(Fault { operation, kind, repeat, extent });
    }

    /// Lets this read fail, counted from 0.
    pub fn fail_reads_at(&self, read: u64, kind: io::ErrorKind) {
        self.state().read_faults.push((read, kind));
    }

    /// Takes back all scheduled errors and limits, as if the disk had been repaired.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.read_faults.clear();
        state.lies.clear();
        state.capacity = None;
    }

    /// Limits the disk to this many bytes more than it has now, see [`SimDisk::with_capacity`].
    pub fn limit(&self, bytes_more: u64) {
        let mut state = self.state();
        state.capacity = Some(state.space() + index(bytes_more));
    }

    /// Takes the limit away.
    pub fn unlimit(&self) {
        self.state().capacity = None;
    }

    /// Lets this operation do something else than it says; nothing happens where it is none that
    /// could be lied about so.
    pub fn lie_at(&self, operation: u64, lie: Lie) {
        self.state().lies.push((operation, lie));
    }

    /// From now on nothing becomes durable by a sync, on this disk and on what crashes leave of it.
    pub fn ignore_syncs(&self) {
        self.state().is_deaf = true;
    }

    /// What the clock shows.
    pub fn time(&self) -> Duration {
        self.state().clock
    }

    /// Lets time pass at once.
    pub fn advance(&self, time: Duration) {
        self.state().clock += time;
    }

    /// Photographs the disk before about one in `gap` operations from now on.
    pub fn photograph(&self, gap: u64) {
        self.state().camera.start(gap);
    }

    /// The photographs so far, each a disk that goes on from there; no more are taken of what was
    /// photographed already.
    pub fn photographs(&self) -> Vec<SimDisk> {
        let taken = std::mem::take(&mut self.state().camera.taken);
        taken.into_iter().map(SimDisk::from_state).collect()
    }

    /// A number for all files and what of them is durable, equal for equal disks.
    pub fn content_digest(&self) -> u64 {
        let state = self.state();
        let mut digest = Xxh3::new();
        for (name, id) in state.names.iter().chain(&state.durable_names) {
            digest.update(name.as_bytes());
            let file = &state.files[id];
            file.cache.digest(&mut digest);
            if !Arc::ptr_eq(&file.cache, &file.durable) {
                file.durable.digest(&mut digest);
            }
        }
        digest.digest()
    }

    /// The bytes that all files take.
    pub fn space(&self) -> u64 {
        self.state().space() as u64
    }

    /// The names of all files with their lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state();
        let length = |id: &u64| state.files[id].cache.length() as u64;
        state.names.iter().map(|(name, id)| (name.clone(), length(id))).collect()
    }

    /// What the machine finds when the power fails now and comes back: a new disk without
    /// schedules, on which everything is durable.
    pub fn power_cut(&self, cut: Cut) -> SimDisk {
        let state = self.state();
        let mut survival = Survival::new(cut, state.pending());
        let mut found = state.successor();
        found.durable_names = state.durable_names.clone();
        for pending in &state.pending_names {
            if survival.is_kept(pending.sequence) {
                pending.change.apply(&mut found.durable_names);
            }
        }
        found.names = found.durable_names.clone();
        for (id, file) in &state.files {
            if found.names.values().any(|named| named == id) {
                found.files.insert(*id, SimFile::of(file.after(&mut survival)));
            }
        }
        SimDisk::from_state(found)
    }

    /// What the next process finds when this one is killed: a new disk without schedules, with
    /// the same bytes visible and the same changes pending.
    pub fn kill(&self) -> SimDisk {
        let state = self.state();
        let mut found = state.successor();
        found.names = state.names.clone();
        found.durable_names = state.durable_names.clone();
        found.pending_names = state.pending_names.clone();
        for (id, file) in &state.files {
            if found.is_named(*id) {
                found.files.insert(*id, SimFile { handles: 0, ..file.clone() });
            }
        }
        SimDisk::from_state(found)
    }

    /// Flips the bits of `mask` in one byte of a file, on the device and in every cache.
    ///
    /// # Panics
    /// When the file or the byte is not there.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) {
        let mut state = self.state();
        let id = *state.names.get(name).expect("a file to flip a byte of");
        let file = state.files.get_mut(&id).expect("a name stands for a file");
        Arc::make_mut(&mut file.cache).flip(index(offset), mask);
        if index(offset) < file.durable.length() {
            Arc::make_mut(&mut file.durable).flip(index(offset), mask);
        }
    }

    /// The bytes of a file as a process would read them.
    pub fn read_file(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(name).map(|id| state.files[id].cache.to_vec())
    }

    /// Puts a file there, durable with its name, in place of any of that name. No operation.
    pub fn write_file(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let id = state.add_file(SimFile::of(Arc::new(Image::of(bytes))));
        state.pending_names.retain(|pending| pending.change.name != name);
        let replaced = [
            state.names.insert(name.to_owned(), id),
            state.durable_names.insert(name.to_owned(), id),
        ];
        replaced.into_iter().flatten().for_each(|file| state.collect(file));
    }

    fn from_state(state: State) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked on purpose in here has changed nothing by halves.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self.file {
            Some(id) => names.insert(self.name.clone(), id),
            None => names.remove(&self.name),
        };
    }
}

struct Fault {
    operation: u64,
    kind: io::ErrorKind,
    repeat: Repeat,
    extent: Extent,
}

impl Fault {
    fn hits(&self, operation: u64) -> bool {
        match self.repeat {
            Repeat::Once => operation == self.operation,
            Repeat::Forever => operation >= self.operation,
        }
    }
}

/// Takes photographs of a disk at random operations.
#[derive(Default)]
struct Camera {
    /// The mean number of operations between two; 0 when it is off.
    gap: u64,
    /// So many operations until the next one.
    wait: u64,
    random: u64,
    taken: Vec<State>,
}

impl Camera {
    fn start(&mut self, gap: u64) {
        self.gap = gap;
        self.wait = self.next_wait();
    }

    fn next_wait(&mut self) -> u64 {
        // A stream of its own, so that photographs change nothing of what is photographed.
        self.random += 1;
        Random::new(self.random).below((2 * self.gap).max(1))
    }

    fn is_due(&mut self) -> bool {
        if self.gap == 0 {
            return false;
        }
        if self.wait > 0 {
            self.wait -= 1;
            return false;
        }
        self.wait = self.next_wait();
        true
    }
}

/// Why a call did nothing.
enum Refusal {
    Crashed,
    Fault(io::ErrorKind, Extent),
}

/// How much of a call is done before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    None,
    /// Of a write its first half.
    Half,
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        match refusal {
            Refusal::Crashed => io::Error::other("the simulated machine has crashed"),
            Refusal::Fault(kind, _) => {
                io::Error::new(kind, "an error by the simulation's schedule")
            }
        }
    }
}

struct State {
    // Files by number, because one name can stand for one file now and for another durably.
    files: BTreeMap<u64, SimFile>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<Pending<NameChange>>,
    next_file: u64,
    // Orders pending changes; unlike the operations it goes on after a kill.
    sequence: u64,
    capacity: Option<usize>,

    operations: u64,
    reads: u64,
    mapped_faults: u64,
    crash_at: Option<u64>,
    crashed: bool,
    faults: Vec<Fault>,
    read_faults: Vec<(u64, io::ErrorKind)>,
    lies: Vec<(u64, Lie)>,
    camera: Camera,
    is_deaf: bool,

    locked: bool,
    readers: usize,
    clock: Duration,
    random: Random,
    digest: Xxh3,
}

impl State {
    fn new(random: Random) -> State {
        State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            next_file: 0,
            sequence: 0,
            capacity: None,
            operations: 0,
            reads: 0,
            mapped_faults: 0,
            crash_at: None,
            crashed: false,
            faults: Vec::new(),
            read_faults: Vec::new(),
            lies: Vec::new(),
            camera: Camera::default(),
            is_deaf: false,
            locked: false,
            readers: 0,
            clock: Duration::ZERO,
            random,
            digest: Xxh3::new(),
        }
    }

    /// A disk without files that goes on where this one ends.
    fn successor(&self) -> State {
        let seed = self.random.clone().draw();
        State {
            next_file: self.next_file,
            sequence: self.sequence,
            capacity: self.capacity,
            is_deaf: self.is_deaf,
            clock: self.clock,
            digest: self.digest.clone(),
            ..State::new(Random::new(seed))
        }
    }

    /// Every call begins here.
    fn begin_call(&mut self) -> Result<(), Refusal> {
        self.clock += CALL_TIME;
        if self.crashed { Err(Refusal::Crashed) } else { Ok(()) }
    }

    /// Every operation begins here; `what` tells it from others in the digest.
    fn begin_operation(&mut self, what: impl Hash) -> Result<(), Refusal> {
        self.begin_call()?;
        if self.crash_at.is_some_and(|at| self.operations >= at) {
            self.crashed = true;
            self.locked = false;
            return Err(Refusal::Crashed);
        }
        if self.camera.is_due() {
            let photograph = self.photograph();
            self.camera.taken.push(photograph);
        }
        let operation = self.operations;
        self.operations += 1;
        what.hash(&mut self.digest);
        match self.faults.iter().find(|fault| fault.hits(operation)) {
            Some(fault) => Err(Refusal::Fault(fault.kind, fault.extent)),
            None => Ok(()),
        }
    }

    /// The disk as it is now, for a machine of its own.
    fn photograph(&self) -> State {
        let files =
            self.files.iter().map(|(id, file)| (*id, SimFile { handles: 0, ..file.clone() }));
        State {
            files: files.collect(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            pending_names: self.pending_names.clone(),
            ..self.successor()
        }
    }

    /// What the operation that has just begun does instead, if it lies.
    fn lie(&self) -> Option<Lie> {
        let lie = self.lies.iter().find(|(at, _)| *at + 1 == self.operations);
        lie.map(|(_, lie)| *lie)
    }

    fn space(&self) -> usize {
        self.names.values().map(|id| self.files[id].cache.space()).sum()
    }

    /// Every read begins here.
    fn begin_read(&mut self) -> Result<(), Refusal> {
        self.begin_call()?;
        let read = self.reads;
        self.reads += 1;
        match self.read_faults.iter().find(|(at, _)| *at == read) {
            Some((_, kind)) => Err(Refusal::Fault(*kind, Extent::None)),
            None => Ok(()),
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn add_file(&mut self, file: SimFile) -> u64 {
        let id = self.next_file;
        self.next_file += 1;
        self.files.insert(id, file);
        id
    }

    fn file(&mut self, id: u64) -> &mut SimFile {
        self.files.get_mut(&id).expect("an open file is kept")
    }

    /// Changes what the process sees of a file, and notes it as pending.
    fn change_file(&mut self, id: u64, change: Change) {
        let sequence = self.next_sequence();
        let file = self.file(id);
        change.apply(Arc::make_mut(&mut file.cache));
        file.pending.push(Pending { sequence, change });
    }

    /// Changes what the process sees of the names, and notes it as pending.
    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        let sequence = self.next_sequence();
        self.pending_names.push(Pending { sequence, change });
    }

    /// The sequence numbers of all pending changes.
    fn pending(&self) -> Vec<u64> {
        let names = self.pending_names.iter().map(|pending| pending.sequence);
        let files = self.files.values().flat_map(|file| &file.pending);
        names.chain(files.map(|pending| pending.sequence)).collect()
    }

    /// Whether a name stands for the file, now or after a power cut.
    fn is_named(&self, id: u64) -> bool {
        let named = self.names.values().chain(self.durable_names.values()).copied();
        let pending = self.pending_names.iter().filter_map(|pending| pending.change.file);
        named.chain(pending).any(|file| file == id)
    }

    /// Drops a file that nobody has open and that no power cut brings back.
    fn collect(&mut self, id: u64) {
        if self.files.get(&id).is_some_and(|file| file.handles == 0) && !self.is_named(id) {
            self.files.remove(&id);
        }
    }

    /// Refuses what would take more than the disk has left.
    fn check_space(&self, bytes: usize) -> io::Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let is_full = bytes > 0 && self.space() + bytes > capacity;
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Refuses to back a stretch of a file when that would take more than is left.
    fn check_backing(&self, id: u64, range: Range<usize>) -> io::Result<()> {
        // The walk over the pages is only worth its time on a limited disk.
        if self.capacity.is_none() {
            return Ok(());
        }
        self.check_space(self.files[&id].cache.missing_space(range))
    }
}

#[derive(Clone)]
struct SimFile {
    cache: Arc<Image>,
    durable: Arc<Image>,
    pending: Vec<Pending<Change>>,
    // Whether the cache shows bytes that are neither durable nor pending, after a failed sync.
    forgotten: bool,
    handles: usize,
}

impl SimFile {
    /// A file of which everything is durable.
    fn of(image: Arc<Image>) -> SimFile {
        let cache = Arc::clone(&image);
        SimFile { cache, durable: image, pending: Vec::new(), forgotten: false, handles: 0 }
    }

    fn sync(&mut self) {
        if self.forgotten {
            let image = Arc::make_mut(&mut self.durable);
            self.pending.iter().for_each(|pending| pending.change.apply(image));
        } else {
            self.durable = Arc::clone(&self.cache);
        }
        self.pending.clear();
    }

    /// A sync failed: nothing is durable by it, and nothing knows any more that it is not.
    fn forget(&mut self) {
        self.forgotten |= !self.pending.is_empty();
        self.pending.clear();
    }

    /// What a power cut leaves.
    fn after(&self, survival: &mut Survival) -> Arc<Image> {
        let mut image = Arc::clone(&self.durable);
        for pending in &self.pending {
            survival.apply(pending, Arc::make_mut(&mut image));
        }
        image
    }
}

/// A position as an index. No simulated file comes near the size where it would not fit.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("simulated files fit into memory")
}
