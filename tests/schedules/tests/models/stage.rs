//! What the plays have in common: databases, keys and numbers.

use sapwood::{Background, Config, Database, Tree};
use sapwood_schedules::disk::Disk;
use sapwood_sim::random::Random;
pub use shuttle::thread::{JoinHandle, spawn};

/// A database without threads of its own, in which nothing moves by itself.
pub fn still(disk: &Disk) -> Database {
    config(disk).cache_bytes(1 << 20).background(Background::Manual).open().unwrap()
}

/// The same with a cache of a few pages: what moves is written at once.
pub fn still_and_tight(disk: &Disk) -> Database {
    config(disk).cache_bytes(16 << 10).background(Background::Manual).open().unwrap()
}

/// A database with a cache of a few pages: what is written moves at once, what is read is fetched.
pub fn tight(disk: &Disk) -> Database {
    let config = config(disk).cache_bytes(48 << 10).checkpoint_bytes(6 << 10);
    config.background(Background::Threads(1)).open().unwrap()
}

/// A database with tiny generations, in which nothing is done that nobody waits for.
pub fn quiet(disk: &Disk) -> Database {
    let config = config(disk).cache_bytes(16 << 10).checkpoint_bytes(u64::MAX);
    config.background(Background::Threads(1)).open().unwrap()
}

/// A database with a cache that holds a few dozen rows before they are written.
pub fn snug(disk: &Disk) -> Database {
    let config = config(disk).cache_bytes(64 << 10).checkpoint_bytes(u64::MAX);
    config.background(Background::Threads(1)).open().unwrap()
}

/// A database with room for two flushers, in which things move when somebody asks for it.
pub fn roomy(disk: &Disk) -> Database {
    let config = config(disk).cache_bytes(32 << 20).checkpoint_bytes(4 << 10);
    config.background(Background::Threads(2)).open().unwrap()
}

fn config(disk: &Disk) -> Config {
    Config::on(disk.storage()).tiny()
}

/// Another stream of numbers.
pub fn fork(random: &mut Random) -> Random {
    Random::new(random.draw())
}

pub fn key(number: u64) -> String {
    format!("key-{number:03}")
}

/// A value that says `number`, of some length.
pub fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(bytes.max(8), b'.');
    value
}

pub fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

/// Rows `0..count` with the number 0, in the trees' leaves.
pub fn fill(db: &Database, tree: &Tree, count: u64, bytes: usize) {
    for row in 0..count {
        tree.insert(key(row), value(0, bytes)).unwrap();
    }
    db.daemon().drain().unwrap();
}

/// Waits for all; each must have ended well.
pub fn join<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let threads: Vec<_> = threads.into_iter().collect();
    threads.into_iter().map(|thread| thread.join().expect("it ends well")).collect()
}
