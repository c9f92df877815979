//! A soak: real threads on a real folder for as long as is wanted, checked all the time.
//!
//! ```text
//! writers    each has rows of its own, and what they should be, behind a mutex: puts, removes,
//!            range deletes, batches over two trees, transactions that read what they change
//! movers     move amounts between accounts in serializable transactions: the sum stays
//! readers    rows, under the mutex of their writer: exactly what should be there
//! scanners   hold snapshots for a while, taken under all mutexes, and then read everything
//! keeper     checkpoints, drains, verifies; closes and opens again; watches memory and files
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use imbl::OrdMap;
use sapwood::{Background, Config, Database, Durability, Isolation, Read, Snapshot, Tree};

use crate::random::Random;

/// Rows of each writer.
const ROWS: u64 = 10_000;
const VALUE_BYTES: u64 = 800;
const WRITERS: u64 = 3;
const ACCOUNTS: u64 = 200;
const AMOUNT: u64 = 1000;
/// What the expected rows and those of the snapshots that are held take at most, about.
const MODEL_BYTES: u64 = 12 << 20;

/// How long, where, and with how much memory.
pub struct Soak {
    pub folder: PathBuf,
    pub time: Duration,
    pub cache_bytes: u64,
    pub seed: u64,
}

/// From which end rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// What should be in a stretch of rows: the version of each that is there.
type Expected = OrdMap<u64, u64>;

/// What all threads share while a database is open.
struct Shared<'s> {
    db: Database,
    rows: Tree,
    index: Tree,
    accounts: Tree,
    expected: &'s [Mutex<Expected>],
    counts: &'s Counts,
    stop: &'s AtomicBool,
}

/// What was done so far.
#[derive(Default)]
pub struct Counts {
    pub writes: AtomicU64,
    pub transactions: AtomicU64,
    pub conflicts: AtomicU64,
    pub reads: AtomicU64,
    pub scans: AtomicU64,
    pub openings: AtomicU64,
    pub verifications: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Soak {
    /// Runs; panics when something is not as it should be. `tell` gets a line now and then.
    pub fn run(&self, tell: &dyn Fn(String)) -> Counts {
        let (start, counts) = (Instant::now(), Counts::default());
        let limits = self.limits();
        let expected: Vec<Mutex<Expected>> = (0..WRITERS).map(|_| Mutex::default()).collect();
        let mut random = Random::new(self.seed);
        while start.elapsed() < self.time {
            let left = self.time.saturating_sub(start.elapsed());
            let era = left.min(Duration::from_secs(60 + random.below(60)));
            let db = Config::new(&self.folder)
                .cache_bytes(self.cache_bytes)
                .checkpoint_bytes(32 << 20)
                .background(Background::Threads(2))
                .open()
                .unwrap();
            add(&counts.openings);
            let stop = AtomicBool::new(false);
            let shared = Shared::new(db, &expected, &counts, &stop);
            shared.live(era, &mut random, &|| tell(limits.check(&self.folder, start, &counts)));
            let Shared { db, rows, index, accounts, .. } = shared;
            drop((rows, index, accounts));
            db.close().unwrap();
        }
        tell(limits.check(&self.folder, start, &counts));
        counts
    }

    fn limits(&self) -> Limits {
        let rows = WRITERS * ROWS * (VALUE_BYTES / 2 + 80);
        Limits {
            resident: self.cache_bytes * 11 / 10 + (16 << 20) + MODEL_BYTES + resident() + arenas(),
            // Old versions for snapshots, what is free, and the log up to two checkpoints.
            files: 4 * rows + (96 << 20),
        }
    }
}

/// What memory and files may be.
struct Limits {
    resident: u64,
    files: u64,
}

impl Limits {
    /// Looks, and tells what was seen.
    fn check(&self, folder: &Path, start: Instant, counts: &Counts) -> String {
        let (resident, files) = (resident(), files(folder));
        let told = format!(
            "{:5} s: {} writes, {} transactions ({} conflicts), {} reads, {} scans, {} openings, {} \
             verified; resident {} of {} MiB, files {} of {} MiB",
            start.elapsed().as_secs(),
            counts.writes.load(Ordering::Relaxed),
            counts.transactions.load(Ordering::Relaxed),
            counts.conflicts.load(Ordering::Relaxed),
            counts.reads.load(Ordering::Relaxed),
            counts.scans.load(Ordering::Relaxed),
            counts.openings.load(Ordering::Relaxed),
            counts.verifications.load(Ordering::Relaxed),
            resident >> 20,
            self.resident >> 20,
            files >> 20,
            self.files >> 20,
        );
        assert!(resident <= self.resident, "too much memory after {told}");
        assert!(files <= self.files, "too much space after {told}");
        told
    }
}

/// What the C library's arenas may keep besides: each thread has one, and what other threads give
/// back to it stays there. `MALLOC_ARENA_MAX=1` makes the bound exact.
fn arenas() -> u64 {
    const THREADS: u64 = 16;
    const KEPT: u64 = 4 << 20;
    let is_one = std::env::var("MALLOC_ARENA_MAX").is_ok_and(|most| most == "1");
    if is_one { 0 } else { THREADS * KEPT }
}

/// What this process has in memory, as the kernel counts it.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
    pages.expect("/proc tells the memory of this process") * 4096
}

fn files(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap();
    // A file may be removed meanwhile.
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

fn row(writer: u64, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&writer.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The value of a version of a row: its bytes tell both.
fn value(writer: u64, number: u64, version: u64) -> Vec<u8> {
    let mut random = Random::new(writer << 40 ^ number << 20 ^ version);
    let length = usize::try_from(random.below(VALUE_BYTES)).unwrap();
    let mut value = version.to_be_bytes().to_vec();
    value.resize(8 + length, b'.');
    random.fill(&mut value[8 + length / 2..]);
    value
}

impl<'s> Shared<'s> {
    fn new(
        db: Database,
        expected: &'s [Mutex<Expected>],
        counts: &'s Counts,
        stop: &'s AtomicBool,
    ) -> Shared<'s> {
        let [rows, index, accounts] =
            ["rows", "index", "accounts"].map(|name| db.tree(name).unwrap());
        if accounts.first().unwrap().is_none() {
            let amounts =
                (0..ACCOUNTS).map(|account| (account.to_be_bytes(), AMOUNT.to_be_bytes()));
            accounts.ingest(amounts).unwrap();
        }
        Shared { db, rows, index, accounts, expected, counts, stop }
    }

    /// Lets all threads work for some time.
    fn live(&self, time: Duration, random: &mut Random, look: &dyn Fn()) {
        std::thread::scope(|scope| {
            // However this ends, the threads are told to.
            let _stop = Stop(self.stop);
            let mut start = |work: fn(&Shared<'s>, u64, Random), number: u64| {
                let random = Random::new(random.draw());
                scope.spawn(move || {
                    let _stop = Stop(self.stop);
                    work(self, number, random);
                });
            };
            (0..WRITERS).for_each(|writer| start(Shared::write, writer));
            start(Shared::transfer, 0);
            start(Shared::transfer, 1);
            start(Shared::read, 0);
            start(Shared::scan, 0);
            start(Shared::scan, 1);
            self.keep(time, look);
        });
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Checkpoints, drains and verifies now and then, and looks at the limits.
    fn keep(&self, time: Duration, look: &dyn Fn()) {
        let start = Instant::now();
        for second in 0u64.. {
            std::thread::park_timeout(Duration::from_secs(1));
            if !self.goes_on() || start.elapsed() >= time {
                return;
            }
            match second % 30 {
                4 | 19 => self.db.checkpoint().unwrap(),
                11 => self.db.daemon().drain().unwrap(),
                23 => {
                    self.db.verify().unwrap();
                    add(&self.counts.verifications);
                }
                _ => {}
            }
            if second % 10 == 9 {
                look();
            }
        }
    }

    /// Changes rows of its own; what they should be changes at the same time for everybody.
    fn write(&self, writer: u64, mut random: Random) {
        while self.goes_on() {
            let mut expected = lock(&self.expected[usize::try_from(writer).unwrap()]);
            let number = random.below(ROWS);
            match random.below(100) {
                0..2 => self.remove_range(writer, number, 1 + random.below(300), &mut expected),
                2..30 => self.transact(writer, number, &mut random, &mut expected),
                _ => self.batch(writer, number, &mut random, &mut expected),
            }
            drop(expected);
            add(&self.counts.writes);
            // Whoever waits for the mutex is to get it.
            std::thread::yield_now();
        }
    }

    fn remove_range(&self, writer: u64, from: u64, count: u64, expected: &mut Expected) {
        let keys = row(writer, from)..row(writer, from + count);
        let mut batch = self.db.batch();
        batch.remove_range(&self.rows, keys.clone());
        batch.remove_range(&self.index, keys);
        batch.commit(Durability::Buffered).unwrap();
        let gone: Vec<u64> =
            expected.range(from..from + count).map(|(number, _)| *number).collect();
        gone.iter().for_each(|number| _ = expected.remove(number));
    }

    /// Some rows side by side, and their versions in the index.
    fn batch(&self, writer: u64, from: u64, random: &mut Random, expected: &mut Expected) {
        let mut batch = self.db.batch();
        for number in from..from + random.below(20) {
            if random.chance(20) {
                batch.remove(&self.rows, row(writer, number));
                batch.remove(&self.index, row(writer, number));
                expected.remove(&number);
            } else {
                let version = random.draw() >> 40;
                batch.insert(&self.rows, row(writer, number), value(writer, number, version));
                batch.insert(&self.index, row(writer, number), version.to_be_bytes());
                expected.insert(number, version);
            }
        }
        let durability = match random.below(200) {
            0 => Durability::Synced,
            1..20 => Durability::NoWal,
            20..60 => Durability::Interval(Duration::from_millis(50)),
            _ => Durability::Buffered,
        };
        batch.commit(durability).unwrap();
    }

    /// Reads a row and replaces it. Nobody else changes it, so that nothing can be in the way.
    fn transact(&self, writer: u64, number: u64, random: &mut Random, expected: &mut Expected) {
        let mut tx = self.db.begin_with(Isolation::Serializable).unwrap();
        let key = row(writer, number);
        let found = tx.get(&self.rows, key).unwrap();
        let known = expected.get(&number).map(|version| value(writer, number, *version));
        assert_eq!(found.as_deref(), known.as_deref(), "row {number} of {writer}");
        let version = random.draw() >> 40;
        tx.insert(&self.rows, key, value(writer, number, version)).unwrap();
        tx.insert(&self.index, key, version.to_be_bytes()).unwrap();
        if random.chance(10) {
            return tx.rollback();
        }
        tx.commit().unwrap();
        expected.insert(number, version);
    }

    /// Moves amounts from account to account.
    fn transfer(&self, _: u64, mut random: Random) {
        while self.goes_on() {
            let [from, to] = [(); 2].map(|()| random.below(ACCOUNTS).to_be_bytes());
            let mut tx = self.db.begin_with(Isolation::Serializable).unwrap();
            let [rich, poor] = [from, to].map(|account| amount(&tx, &self.accounts, &account));
            let moved = random.below(rich + 1);
            if from != to {
                tx.insert(&self.accounts, from, (rich - moved).to_be_bytes()).unwrap();
                tx.insert(&self.accounts, to, (poor + moved).to_be_bytes()).unwrap();
            }
            match tx.commit() {
                Ok(_) => add(&self.counts.transactions),
                Err(error) if error.is_conflict() => add(&self.counts.conflicts),
                Err(error) => panic!("a transfer: {error}"),
            }
        }
    }

    /// Reads rows while nobody changes them.
    fn read(&self, _: u64, mut random: Random) {
        while self.goes_on() {
            let (writer, number) = (random.below(WRITERS), random.below(ROWS));
            let expected = lock(&self.expected[usize::try_from(writer).unwrap()]);
            let found = self.rows.get(row(writer, number)).unwrap();
            let known = expected.get(&number).map(|version| value(writer, number, *version));
            drop(expected);
            assert_eq!(found.as_deref(), known.as_deref(), "row {number} of {writer}");
            add(&self.counts.reads);
        }
    }

    /// Takes snapshots, holds them for a while, and reads all that they see.
    fn scan(&self, _: u64, mut random: Random) {
        while self.goes_on() {
            let (snapshot, expected) = {
                let all: Vec<MutexGuard<'_, Expected>> = self.expected.iter().map(lock).collect();
                let expected: Vec<Expected> = all.iter().map(|one| (**one).clone()).collect();
                (self.db.snapshot(), expected)
            };
            std::thread::park_timeout(Duration::from_millis(random.below(3000)));
            let end = if random.chance(50) { End::Front } else { End::Back };
            self.check(&snapshot, &expected, end);
            add(&self.counts.scans);
        }
    }

    fn check(&self, snapshot: &Snapshot, expected: &[Expected], end: End) {
        let all = expected.iter().zip(0..).flat_map(|(rows, writer)| {
            rows.iter().map(move |(number, version)| (writer, *number, *version))
        });
        let mut all: Vec<(u64, u64, u64)> = all.collect();
        let mut rows = snapshot.iter(&self.rows);
        if end == End::Back {
            all.reverse();
        }
        for (writer, number, version) in all {
            let found = match end {
                End::Front => rows.next(),
                End::Back => rows.next_back(),
            };
            let (key, found) = found.expect("a row is missing").unwrap();
            assert_eq!(*key, row(writer, number), "a snapshot has another row");
            assert_eq!(*found, value(writer, number, version), "row {number} of {writer}");
        }
        assert!(rows.next().is_none(), "a snapshot has a row too many");
        let versions: usize = expected.iter().map(OrdMap::len).sum();
        assert_eq!(snapshot.iter(&self.index).count(), versions, "the index of a snapshot");
        let amounts = snapshot.iter(&self.accounts).map(|row| number_of(&row.unwrap().1));
        assert_eq!(amounts.sum::<u64>(), ACCOUNTS * AMOUNT, "the sum of all accounts");
    }
}

fn amount(state: &impl Read, accounts: &Tree, account: &[u8]) -> u64 {
    number_of(&state.get(accounts, account).unwrap().expect("no account is ever removed"))
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("a number has eight bytes"))
}

/// Tells all threads to end when it is dropped.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
