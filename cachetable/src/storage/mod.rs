//! The storages that a database can live in: a folder, or memory.
//!
//! Both keep the contract of [`Storage`](sapwood_serialize::Storage), and these rules beyond it:
//! 1. a name is a plain file name: no separator, no NUL, neither `.` nor `..`, not empty;
//! 2. the name `lock` belongs to the lock: it is refused, and never listed;
//! 3. creating over an existing file empties it for those who have it open, too.

mod file;
#[cfg(target_os = "linux")]
mod mapped;
mod memory;
mod read_only;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::SystemTime;

pub use file::FileStorage;
pub use memory::MemoryStorage;
pub use read_only::ReadOnlyStorage;

/// The file that carries the lock, and the name of its holder.
pub const LOCK_NAME: &str = "lock";

/// Who holds the lock when readers do.
const READERS: &str = "somebody who only reads it";

/// Refuses what is not a plain file name, so that no database reaches out of its folder.
fn check_name(name: &str) -> io::Result<()> {
    let plain = !matches!(name, "" | "." | ".." | LOCK_NAME) && !name.contains(['/', '\\', '\0']);
    if plain {
        return Ok(());
    }
    let sentence = format!("{name:?} is not the name of a database file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, sentence))
}

/// 16 bytes that no other call returns.
///
/// The standard library seeds its hashers from the system's randomness. That is enough for an
/// identity and spares a dependency; it is not meant for secrets.
fn random_bytes() -> [u8; 16] {
    let input = (SystemTime::now(), std::process::id());
    let (low, high) = (RandomState::new().hash_one(input), RandomState::new().hash_one(input));
    ((u128::from(high) << 64) | u128::from(low)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::ErrorKind;
    use std::time::Duration;

    use sapwood_serialize::{LockError, Storage, StorageFile};

    use super::*;

    /// Checks the whole contract on an empty storage.
    fn check_storage(storage: &dyn Storage) {
        check_names(storage);
        check_bytes(storage);
        check_lengths(storage);
        check_open_files(storage);
        check_mapped(storage);
        check_lock(storage);
        check_clock(storage);
        assert_ne!(storage.random(), storage.random());
        assert!(!storage.describe().is_empty());
    }

    fn check_names(storage: &dyn Storage) {
        assert_eq!(storage.open("b").err().map(|error| error.kind()), Some(ErrorKind::NotFound));
        for name in ["b", "a", "c"] {
            storage.create(name).unwrap();
        }
        storage.sync_names().unwrap();
        assert_eq!(storage.list().unwrap(), ["a", "b", "c"]);
        storage.remove("b").unwrap();
        assert_eq!(storage.remove("b").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(storage.list().unwrap(), ["a", "c"]);
        for name in ["", ".", "..", "../x", "a/b", "a\\b", "/x", "lock", "a\0"] {
            let refused = [storage.open(name).err(), storage.create(name).err()];
            for error in refused.into_iter().chain([storage.remove(name).err()]) {
                assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::InvalidInput));
            }
        }
    }

    fn check_bytes(storage: &dyn Storage) {
        let file = storage.create("bytes").unwrap();
        assert!(file.is_empty().unwrap());
        let long: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        file.write_at(&long, 10).unwrap();
        file.write_at(b"abc", 70_000).unwrap();
        file.write_at(b"", 1 << 40).unwrap();
        file.start_writeback(0, 100_010);
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 100_010);
        let mut expected = [vec![0; 10], long].concat();
        expected[70_000..70_003].copy_from_slice(b"abc");
        assert_eq!(contents(&*file), expected);
        assert_eq!(contents(&*storage.open("bytes").unwrap()), expected);
        let past = [(0, 100_011), (1, 100_010), (11, 100_000), (1, u64::MAX)];
        for (bytes, offset) in past {
            let result = file.read_at(&mut vec![0; bytes], offset);
            if bytes == 0 {
                result.unwrap();
            } else {
                assert!(matches!(
                    result.unwrap_err().kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::InvalidInput
                ));
            }
        }
    }

    fn check_lengths(storage: &dyn Storage) {
        let file = storage.create("lengths").unwrap();
        file.write_at(&[7; 50_000], 0).unwrap();
        file.set_len(20_000).unwrap();
        file.set_len(40_000).unwrap();
        assert_eq!(contents(&*file), [vec![7; 20_000], vec![0; 20_000]].concat());
        file.allocate(0, 90_000).unwrap();
        file.allocate(0, 10).unwrap();
        assert_eq!(file.len().unwrap(), 90_000);
        file.write_at(&[8; 90_000], 0).unwrap();
        file.punch(4096, 65_536).unwrap();
        file.punch(89_999, 1 << 30).unwrap();
        assert_eq!(file.len().unwrap(), 90_000);
        let kept = contents(&*file);
        assert!(kept[..4096].iter().chain(&kept[69_632..89_999]).all(|byte| *byte == 8));
        // A storage that cannot punch keeps the bytes; none may do anything else.
        assert!(kept[4096..69_632].iter().all(|byte| *byte == kept[4096]));
        file.sync().unwrap();
    }

    fn check_mapped(storage: &dyn Storage) {
        assert!(storage.map("../x", 10).is_err() || storage.map("x", 10).unwrap().is_none());
        storage.create("mapped").unwrap().write_at(b"what was there", 0).unwrap();
        let Some(mut mapped) = storage.map("mapped", 10_000).unwrap() else { return };
        mapped.put(9_990, b"the end...").unwrap();
        mapped.put(3, b"start").unwrap();
        assert!(mapped.put(9_995, b"behind").is_err());
        let mut expected = vec![0; 10_000];
        expected[3..8].copy_from_slice(b"start");
        expected[9_990..].copy_from_slice(b"the end...");
        assert_eq!(contents(&*storage.open("mapped").unwrap()), expected);
        drop(mapped);
        assert_eq!(contents(&*storage.open("mapped").unwrap()), expected);
    }

    fn check_open_files(storage: &dyn Storage) {
        let file = storage.create("open").unwrap();
        file.write_at(b"kept", 0).unwrap();
        let emptied = storage.open("open").unwrap();
        storage.create("open").unwrap();
        assert!(emptied.is_empty().unwrap());
        file.write_at(b"kept", 0).unwrap();
        storage.remove("open").unwrap();
        assert_eq!(contents(&*file), b"kept");
        let fresh = storage.create("open").unwrap();
        assert!(fresh.is_empty().unwrap());
        assert_eq!(contents(&*file), b"kept");
    }

    fn check_lock(storage: &dyn Storage) {
        let held = storage.lock().unwrap();
        let Err(LockError::Held(holder)) = storage.lock() else { panic!("locked twice") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        assert!(!storage.list().unwrap().contains(&"lock".to_owned()));
        assert!(matches!(storage.lock_shared(), Err(LockError::Held(_))), "read beside a writer");
        drop(held);
        drop(storage.lock().unwrap());
        let readers = [storage.lock_shared().unwrap(), storage.lock_shared().unwrap()];
        for reader in readers {
            let Err(LockError::Held(holder)) = storage.lock() else { panic!("a writer came in") };
            assert_eq!(holder, READERS);
            drop(reader);
        }
        drop(storage.lock().unwrap());
    }

    fn check_clock(storage: &dyn Storage) {
        let before = storage.now();
        storage.sleep(Duration::from_millis(2));
        assert!(storage.now() >= before + Duration::from_millis(2));
    }

    fn contents(file: &dyn StorageFile) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn memory_keeps_the_contract() {
        check_storage(&MemoryStorage::new());
    }

    #[test]
    fn a_folder_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        check_storage(&FileStorage::open(folder.path()).unwrap());
    }

    #[test]
    fn random_bytes_do_not_repeat() {
        let seen: HashSet<[u8; 16]> = (0..1000).map(|_| random_bytes()).collect();
        assert_eq!(seen.len(), 1000);
    }
}
