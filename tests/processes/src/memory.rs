//! How much memory a process takes that does little but what takes most of it.
//!
//! ```text
//! promised   1.1 times the cache + 16 MiB + what the caller holds + three of the largest values
//! ```

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use sapwood::{Config, Database, Durability};

use crate::{Outcome, Skipped};

/// What takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Load {
    /// Batches as large as are allowed, a quarter of the cache.
    Batches,
    /// The same by four threads at once.
    Together,
    /// Values of all sizes up to the largest that is allowed, an eighth of the cache, written over
    /// each other and read.
    Values,
    /// Eight threads in the middle of scans, beside one that writes.
    Scans,
}

impl Load {
    /// What the caller itself holds, in bytes.
    fn held(self, cache: u64) -> u64 {
        match self {
            Load::Batches => cache / 4,
            Load::Together => cache,
            Load::Values => cache / 8,
            Load::Scans => 0,
        }
    }

    /// What a process may take, whatever it took before it had a database.
    pub fn promised(self, cache: u64) -> u64 {
        let on_their_way = if self == Load::Values { cache / 8 * 3 } else { 0 };
        cache / 10 * 11 + (16 << 20) + self.held(cache) + on_their_way
    }
}

/// What the process is to do.
#[derive(clap::Args, Clone, Debug)]
pub struct Orders {
    pub folder: PathBuf,
    pub load: Load,
    /// The cache, in MiB.
    pub cache_mib: u64,
}

/// The most bytes that a process took for `load`, beyond what it took before.
pub fn measure(program: &Path, load: Load, cache_mib: u64) -> Outcome<u64> {
    if most_resident().is_none() {
        return Err(Skipped("the system does not tell what a process takes".to_owned()));
    }
    let folder = tempfile::tempdir().unwrap();
    let name = format!("{load:?}").to_lowercase();
    let ended = Command::new(program)
        .arg("memory-of")
        .arg(folder.path())
        .args([&name, &cache_mib.to_string()])
        // What an allocator keeps for each of many threads is not the database's.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{}: {said}{}", name, String::from_utf8_lossy(&ended.stderr));
    Ok(said.trim().parse().expect("it says a number"))
}

/// Does what takes memory, and says how much it took.
pub fn work(orders: &Orders) -> sapwood::Result<()> {
    let before = most_resident().unwrap_or_default();
    let db = Config::new(&orders.folder).cache_mib(orders.cache_mib).open()?;
    let cache = orders.cache_mib << 20;
    match orders.load {
        Load::Batches => batches(&db, cache, 0..30)?,
        Load::Together => together(&db, cache)?,
        Load::Values => values(&db, cache)?,
        Load::Scans => scans(&db)?,
    }
    println!("{}", most_resident().unwrap_or_default() - before);
    db.close()
}

fn batches(db: &Database, cache: u64, numbers: Range<u64>) -> sapwood::Result<()> {
    let tree = db.tree("rows")?;
    let rows_per_batch = (cache / 4 - (64 << 10)) / 140;
    for number in numbers {
        let mut batch = db.batch();
        for number in number * rows_per_batch..(number + 1) * rows_per_batch {
            batch.insert(&tree, scattered(number).to_be_bytes(), [7; 100]);
        }
        batch.commit(Durability::Buffered)?;
    }
    Ok(())
}

fn together(db: &Database, cache: u64) -> sapwood::Result<()> {
    std::thread::scope(|scope| {
        let commit = |thread: u64| batches(db, cache, thread * 8..thread * 8 + 8);
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || commit(thread))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

fn values(db: &Database, cache: u64) -> sapwood::Result<()> {
    const KEYS: u64 = 40;
    let tree = db.tree("values")?;
    let most = (cache / 8) as usize;
    let mut value = vec![0; most];
    for (at, byte) in value.iter_mut().enumerate() {
        *byte = scattered(at as u64) as u8;
    }
    let mut lengths = [None; KEYS as usize];
    for number in 0..150 {
        let (key, length) = (scattered(number) % KEYS, scattered(number + 1000) as usize);
        // As many small and middle ones as large ones.
        let bytes = [most, most - length % 1000, length % most, length % 70_000];
        let bytes = bytes[number as usize % bytes.len()].min(most);
        tree.insert(key.to_be_bytes(), &value[..bytes])?;
        lengths[key as usize] = Some(bytes);
        let other = scattered(number + 2000) % KEYS;
        let found = tree.get(other.to_be_bytes())?.map(|found| found.len());
        assert_eq!(found, lengths[other as usize]);
    }
    Ok(())
}

fn scans(db: &Database) -> sapwood::Result<()> {
    const ROWS: u64 = 300_000;
    let tree = db.tree("rows")?;
    let fill =
        || (0..ROWS).try_for_each(|number| tree.insert(scattered(number).to_be_bytes(), [7; 100]));
    fill()?;
    std::thread::scope(|scope| {
        let scans: Vec<_> = (0..8).map(|_| scope.spawn(|| tree.iter().count() as u64)).collect();
        fill()?;
        let counts = scans.into_iter().map(|scan| scan.join().unwrap());
        counts.for_each(|count| assert_eq!(count, ROWS));
        Ok(())
    })
}

/// Another number for each, so that neighbours lie far apart.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
}

/// The most bytes of memory that this process ever had.
fn most_resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
