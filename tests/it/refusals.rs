//! Folders that cannot be used: each refusal is one sentence that says what and where.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use sapwood::{Config, LockError, MemoryStorage, Storage, StorageFile, StorageLock};

/// A folder of which nothing can be changed, for the reason given.
struct Unwritable(MemoryStorage, ErrorKind);

impl Storage for Unwritable {
    fn open(&self, name: &str) -> Result<Arc<dyn StorageFile>> {
        self.0.open(name)
    }

    fn create(&self, _name: &str) -> Result<Arc<dyn StorageFile>> {
        Err(Error::from(self.1))
    }

    fn remove(&self, _name: &str) -> Result<()> {
        Err(Error::from(self.1))
    }

    fn list(&self) -> Result<Vec<String>> {
        self.0.list()
    }

    fn sync_names(&self) -> Result<()> {
        Err(Error::from(self.1))
    }

    fn lock(&self) -> std::result::Result<Box<dyn StorageLock>, LockError> {
        Err(LockError::Io(Error::from(self.1)))
    }

    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, time: Duration) {
        self.0.sleep(time);
    }

    fn random(&self) -> [u8; 16] {
        self.0.random()
    }

    fn describe(&self) -> String {
        "folder".to_owned()
    }
}

fn refusal(kind: ErrorKind) -> sapwood::Error {
    Config::on(Arc::new(Unwritable(MemoryStorage::new(), kind))).open().unwrap_err()
}

#[test]
fn a_read_only_folder_is_named_with_its_reason() {
    let error = refusal(ErrorKind::ReadOnlyFilesystem);
    let sentence = "the database folder cannot be opened: read-only filesystem or storage medium";
    assert_eq!(error.to_string(), sentence);
    assert!(!error.is_corruption() && !error.is_retryable() && !error.is_locked());
}

#[test]
fn a_folder_without_permission_is_named_with_its_reason() {
    let error = refusal(ErrorKind::PermissionDenied);
    assert_eq!(error.to_string(), "the database folder cannot be opened: permission denied");
}

/// Here not even the superuser can make a file.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_in_which_no_file_can_be_made_is_refused() {
    let sentence = Config::new("/proc/sys").open().unwrap_err().to_string();
    assert!(sentence.starts_with("the database /proc/sys cannot be opened: "), "{sentence}");
}
