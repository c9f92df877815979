//! A storage in a folder of the file system.
//!
//! Invariants:
//! 1. every call goes through the C library, so that tools between it and the program can inject
//!    faults; interrupted and short calls are continued here, so callers never see them;
//! 2. a sync covers the bytes and the length of one file, [`Storage::sync_names`] the folder's
//!    entries; a folder that this storage created is entered durably in its parent;
//! 3. an error of a sync is returned once and never retried: after it the kernel may call bytes
//!    clean that never reached the device.
//!
//! The lock is the system's lock on the file `lock`, bound to one opening of it: a second one in
//! the same process fails as well, and the kernel lets go when the process ends in any way. What
//! the file says about the holder only serves the error sentence. Readers share it and sign
//! nothing; where there is no such file and none can be made, nobody can write either, and they do
//! without.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use sapwood_serialize::MappedFile;
use sapwood_serialize::{LockError, Storage, StorageFile, StorageLock};

#[cfg(target_os = "linux")]
use super::mapped::{Mapping, keeps_pages_in_place};
use super::{LOCK_NAME, READERS, check_name, random_bytes};

/// One folder of the file system.
pub struct FileStorage {
    path: PathBuf,
    // The folder itself, for syncing its entries.
    folder: File,
    started: Instant,
}

impl FileStorage {
    /// Opens a folder, and creates it (and its parents) when there is none.
    ///
    /// # Errors
    /// When the folder can be neither opened nor created.
    pub fn open(path: impl AsRef<Path>) -> io::Result<FileStorage> {
        create_folder(path.as_ref())?;
        FileStorage::open_existing(path)
    }

    /// Opens a folder that must be there.
    ///
    /// # Errors
    /// `NotFound` when there is none, `NotADirectory` when it is a file.
    pub fn open_existing(path: impl AsRef<Path>) -> io::Result<FileStorage> {
        // Absolute, so that the program may change its working directory.
        let path = std::path::absolute(path)?;
        let folder = File::open(&path)?;
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(FileStorage { path, folder, started: Instant::now() })
    }

    fn path_of(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }

    fn create_file(&self, name: &str) -> io::Result<DiskFile> {
        let path = self.path_of(name)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(DiskFile { file })
    }
}

/// Creates a folder with its missing parents, and makes each new entry durable.
fn create_folder(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(&path).map_err(|error| match error.kind() {
        // Only a file in the way gets here; a folder that exists is none.
        io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
        _ => error,
    })?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

impl Storage for FileStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.path_of(name)?;
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            // A database on a read-only medium can still be read. Writers fail before they come
            // here, because the lock needs a writable folder.
            Err(error) if is_read_only(&error) => File::open(&path)?,
            result => result?,
        };
        Ok(Arc::new(DiskFile { file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(self.create_file(name)?))
    }

    #[cfg(target_os = "linux")]
    fn map(&self, name: &str, bytes: u64) -> io::Result<Option<Box<dyn MappedFile>>> {
        if !keeps_pages_in_place(&self.folder)? {
            return Ok(None);
        }
        let file = self.create_file(name)?;
        // With space behind each page, a copy meets no full disk.
        file.fill_with_zeros(0, bytes)?;
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        match Mapping::of(&file.file, length) {
            Ok(mapping) => Ok(Some(Box::new(mapping))),
            // Some file systems have no memory to share, old systems cannot be asked.
            Err(_) => self.remove(name).map(|()| None),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path_of(name)?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            // No file of a database has a name that is not UTF-8.
            names.extend(entry.file_name().into_string().ok().filter(|name| name != LOCK_NAME));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        let lock = lock_file(&self.path.join(LOCK_NAME))?;
        Ok(Box::new(lock))
    }

    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        let lock = share_lock_file(&self.path.join(LOCK_NAME))?;
        Ok(Box::new(lock))
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self) -> [u8; 16] {
        random_bytes()
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

struct DiskFile {
    file: File,
}

impl StorageFile for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // The data variant writes the length too, because reading the data back needs it.
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// When the disk is full, a part of it may have been reserved and the length may have grown.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        match reserve(&self.file, FallocateFlags::empty(), offset, bytes) {
            Err(errno) if is_unsupported(errno) => self.fill_with_zeros(offset, bytes),
            result => Ok(result?),
        }
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match reserve(&self.file, flags, offset, bytes) {
            Err(errno) if is_unsupported(errno) => Ok(()),
            result => Ok(result?),
        }
    }

    fn expect_random_reads(&self) {
        // Measured: a cold read of 8 KiB takes 66 us so, 149 us with the kernel's read-ahead.
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Random);
    }

    fn will_read(&self, offset: u64, bytes: u64) {
        let Some(bytes) = std::num::NonZero::new(bytes) else { return };
        let _ = rustix::fs::fadvise(&self.file, offset, Some(bytes), rustix::fs::Advice::WillNeed);
    }

    fn start_writeback(&self, offset: u64, bytes: u64) {
        // The system writes out what is dirty there, without waiting, and lets go of the rest.
        // Advice that is not taken costs nothing but time.
        let Some(bytes) = std::num::NonZero::new(bytes) else { return };
        let _ = rustix::fs::fadvise(&self.file, offset, Some(bytes), rustix::fs::Advice::DontNeed);
    }
}

impl DiskFile {
    /// Writes zeros over a stretch; nobody else may write there meanwhile.
    fn fill_with_zeros(&self, offset: u64, bytes: u64) -> io::Result<()> {
        const ZEROS: &[u8] = &[0; 64 * 1024];
        let (mut position, end) = (offset, offset.saturating_add(bytes));
        while position < end {
            let piece = (end - position).min(ZEROS.len() as u64);
            let length = usize::try_from(piece).expect("a piece is at most 64 KiB");
            self.write_at(&ZEROS[..length], position)?;
            position += piece;
        }
        Ok(())
    }
}

fn reserve(file: &File, flags: FallocateFlags, offset: u64, bytes: u64) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, flags, offset, bytes))
}

fn is_unsupported(errno: Errno) -> bool {
    errno == Errno::OPNOTSUPP || errno == Errno::NOSYS
}

/// Keeps the system's lock for as long as the file is open.
struct FileLock {
    file: File,
}

impl StorageLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Nothing can be done about an error: closing the file lets go as well. Unlocking first
        // also lets go where a forked child still has the file open.
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}

/// Keeps a reader's share of the system's lock; `None` where nobody can lock.
struct SharedFileLock {
    file: Option<File>,
}

impl StorageLock for SharedFileLock {}

impl Drop for SharedFileLock {
    fn drop(&mut self) {
        // See `FileLock`.
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }
}

fn share_lock_file(path: &Path) -> Result<SharedFileLock, LockError> {
    let Some(file) = lock_file_to_share(path).map_err(LockError::Io)? else {
        return Ok(SharedFileLock { file: None });
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(SharedFileLock { file: Some(file) }),
        Err(TryLockError::WouldBlock) => Err(LockError::Held(holder(&file))),
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
    }
}

/// The lock file, made where it is missing and can be made.
fn lock_file_to_share(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result.map(Some),
    }
    let mut options = OpenOptions::new();
    match options.read(true).write(true).create(true).truncate(false).open(path) {
        Err(error) if is_read_only(&error) => Ok(None),
        result => result.map(Some),
    }
}

fn lock_file(path: &Path) -> Result<FileLock, LockError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path).map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder_or_readers(&file))),
        Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
    }
    let lock = FileLock { file };
    sign(&lock.file).map_err(LockError::Io)?;
    Ok(lock)
}

/// Writes this process into the lock file.
fn sign(file: &File) -> io::Result<()> {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(Path::file_name).map(OsStr::to_string_lossy);
    let line = format!("{} {}\n", std::process::id(), name.as_deref().unwrap_or("unknown"));
    file.set_len(0)?;
    file.write_all_at(line.as_bytes(), 0)
}

/// Who keeps a writer out: readers sign nothing, but share the lock with anybody.
fn holder_or_readers(file: &File) -> String {
    if file.try_lock_shared().is_err() {
        return holder(file);
    }
    let _ = file.unlock();
    READERS.to_owned()
}

/// Who holds the lock, as far as the lock file says. It may have been emptied, or not written yet.
fn holder(file: &File) -> String {
    read_signature(file).unwrap_or_else(|| "another process".to_owned())
}

fn read_signature(file: &File) -> Option<String> {
    // Anybody can write to the file: what is read of it is bounded.
    let mut buffer = [0; 300];
    let bytes = file.read_at(&mut buffer, 0).ok()?;
    let text = String::from_utf8_lossy(&buffer[..bytes]);
    let (process, name) = text.lines().next()?.split_once(' ')?;
    let process: u32 = process.parse().ok()?;
    Some(format!("process {process} ({name})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let missing = FileStorage::open_existing(&path).err().unwrap();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        FileStorage::open(&path).unwrap();
        FileStorage::open(&path).unwrap();
        assert!(path.is_dir());
        FileStorage::open_existing(&path).unwrap();
    }

    #[test]
    fn a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        File::create(&path).unwrap();
        let kind = FileStorage::open_existing(&path).err().unwrap().kind();
        assert_eq!(kind, io::ErrorKind::NotADirectory);
        assert!(FileStorage::open(&path).is_err());
    }

    #[test]
    fn only_files_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        assert_eq!(FileStorage::open(folder.path()).unwrap().list().unwrap(), ["file"]);
    }

    #[test]
    fn the_lock_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        let other = FileStorage::open(folder.path()).unwrap();
        let held = storage.lock().unwrap();
        let Err(LockError::Held(holder)) = other.lock() else { panic!("locked twice") };
        let start = format!("process {} (", std::process::id());
        assert!(holder.starts_with(&start) && holder.ends_with(')'), "{holder}");
        fs::write(folder.path().join(LOCK_NAME), "nonsense").unwrap();
        let Err(LockError::Held(holder)) = other.lock() else { panic!("locked twice") };
        assert_eq!(holder, "another process");
        drop(held);
        other.lock().unwrap();
    }

    #[test]
    fn zeros_stand_in_for_reserved_space() {
        let folder = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(folder.path()).unwrap();
        storage.create("a").unwrap().write_at(b"kept", 0).unwrap();
        let file = DiskFile {
            file: OpenOptions::new().write(true).open(storage.path_of("a").unwrap()).unwrap(),
        };
        file.fill_with_zeros(4, 199_996).unwrap();
        file.fill_with_zeros(199_990, 10).unwrap();
        let bytes = fs::read(folder.path().join("a")).unwrap();
        assert_eq!((bytes.len(), &bytes[..4]), (200_000, &b"kept"[..]));
        assert!(bytes[4..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn reserved_space_takes_blocks_and_punched_space_does_not() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let file = FileStorage::open(folder.path()).unwrap().create("a").unwrap();
        file.allocate(0, 1 << 20).unwrap();
        let blocks = || fs::metadata(folder.path().join("a")).unwrap().blocks();
        assert!(blocks() * 512 >= 1 << 20);
        let before = blocks();
        file.punch(0, 1 << 19).unwrap();
        assert!(blocks() <= before);
        assert_eq!(file.len().unwrap(), 1 << 20);
    }
}
