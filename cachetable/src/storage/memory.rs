//! A storage in memory, for databases that end with their process.
//!
//! Everything is durable at once, as far as memory can be. A file is a list of chunks, so that it
//! grows without being copied and a punched stretch really gives its memory back:
//!
//! ```text
//! chunks   | 16 KiB | absent: zeros | 16 KiB |      length: may end within the last chunk
//! ```
//!
//! Invariants:
//! 1. there are exactly as many chunks as `length` needs;
//! 2. bytes of the last chunk from `length` on are zero, so that growing shows zeros.
//!
//! All locks have the rank `Storage`, so no file is touched while the names are locked.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sapwood_serialize::{LockError, Storage, StorageFile, StorageLock};

use super::{READERS, check_name, random_bytes};
use crate::sync::{Mutex, Rank};

const CHUNK_BYTES: usize = 16 * 1024;

/// Files that live as long as a clone of this does; clones share them.
#[derive(Clone)]
pub struct MemoryStorage {
    shared: Arc<Shared>,
}

impl MemoryStorage {
    /// A storage without files.
    pub fn new() -> MemoryStorage {
        let shared = Shared {
            files: Mutex::new(Rank::Storage, BTreeMap::new()),
            holders: Arc::default(),
            started: Instant::now(),
        };
        MemoryStorage { shared: Arc::new(shared) }
    }
}

impl Default for MemoryStorage {
    fn default() -> MemoryStorage {
        MemoryStorage::new()
    }
}

struct Shared {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    holders: Arc<Holders>,
    started: Instant,
}

/// Who has the storage: nobody, [`WRITER`], or so many readers. An atomic, because locks are let go
/// of under other locks.
type Holders = AtomicUsize;

const WRITER: usize = usize::MAX;

impl Storage for MemoryStorage {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        match self.shared.files.lock().get(name) {
            Some(file) => Ok(Arc::<MemoryFile>::clone(file)),
            None => Err(not_found(name)),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let file = match self.shared.files.lock().entry(name.to_owned()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => Arc::clone(entry.insert(Arc::new(MemoryFile::new()))),
        };
        file.set_len(0)?;
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let removed = self.shared.files.lock().remove(name);
        removed.map(drop).ok_or_else(|| not_found(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.shared.files.lock().keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        let taken =
            self.shared.holders.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed);
        match taken {
            Ok(_) => Ok(Box::new(MemoryLock { holders: self.shared.holders.clone() })),
            Err(WRITER) => Err(LockError::Held(this_process())),
            Err(_) => Err(LockError::Held(READERS.to_owned())),
        }
    }

    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        let one_more = |holders| (holders != WRITER).then(|| holders + 1);
        let holders = &self.shared.holders;
        match holders.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(Box::new(SharedMemoryLock { holders: holders.clone() })),
            Err(_) => Err(LockError::Held(this_process())),
        }
    }

    fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn random(&self) -> [u8; 16] {
        random_bytes()
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name:?} in memory"))
}

fn this_process() -> String {
    format!("process {} (this one)", std::process::id())
}

struct MemoryLock {
    holders: Arc<Holders>,
}

impl StorageLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.holders.store(0, Ordering::Release);
    }
}

struct SharedMemoryLock {
    holders: Arc<Holders>,
}

impl StorageLock for SharedMemoryLock {}

impl Drop for SharedMemoryLock {
    fn drop(&mut self) {
        self.holders.fetch_sub(1, Ordering::Release);
    }
}

struct MemoryFile {
    contents: Mutex<Contents>,
}

impl MemoryFile {
    fn new() -> MemoryFile {
        MemoryFile { contents: Mutex::new(Rank::Storage, Contents::default()) }
    }
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.contents.lock().read(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.contents.lock().write(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.contents.lock().length as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let length = in_memory(bytes)?;
        self.contents.lock().set_length(length);
        Ok(())
    }

    /// Memory cannot be promised, only taken, so this sets the length and no more.
    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let length = in_memory(offset.saturating_add(bytes))?;
        let mut contents = self.contents.lock();
        let grown = contents.length.max(length);
        contents.set_length(grown);
        Ok(())
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let (start, end) = (in_memory(offset)?, in_memory(offset.saturating_add(bytes))?);
        self.contents.lock().clear(start..end);
        Ok(())
    }

    fn start_writeback(&self, _offset: u64, _bytes: u64) {}
}

/// A position as an index; what does not fit into one does not fit into memory either.
fn in_memory(bytes: u64) -> io::Result<usize> {
    // No allocation can be larger than `isize::MAX`.
    isize::try_from(bytes).map(isize::unsigned_abs).map_err(|_| io::ErrorKind::StorageFull.into())
}

/// The bytes of one file.
#[derive(Default)]
struct Contents {
    chunks: Vec<Option<Box<[u8]>>>,
    length: usize,
}

impl Contents {
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let start = in_memory(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.saturating_add(buffer.len());
        if end > self.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for piece in pieces(start..end) {
            let target = &mut buffer[piece.position - start..][..piece.range.len()];
            match &self.chunks[piece.chunk] {
                Some(chunk) => target.copy_from_slice(&chunk[piece.range]),
                None => target.fill(0),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = in_memory(offset)?;
        let end = in_memory(offset.saturating_add(bytes.len() as u64))?;
        self.set_length(self.length.max(end));
        for piece in pieces(start..end) {
            let source = &bytes[piece.position - start..][..piece.range.len()];
            let chunk = self.chunks[piece.chunk]
                .get_or_insert_with(|| vec![0; CHUNK_BYTES].into_boxed_slice());
            chunk[piece.range].copy_from_slice(source);
        }
        Ok(())
    }

    fn set_length(&mut self, length: usize) {
        if length < self.length {
            let end = self.length.min(length.next_multiple_of(CHUNK_BYTES));
            self.clear(length..end);
        }
        self.chunks.resize_with(length.div_ceil(CHUNK_BYTES), || None);
        self.length = length;
    }

    /// Makes a stretch read as zeros and drops the chunks that lie wholly in it.
    fn clear(&mut self, range: Range<usize>) {
        for piece in pieces(range.start..range.end.min(self.length)) {
            let slot = &mut self.chunks[piece.chunk];
            if piece.range.len() == CHUNK_BYTES {
                *slot = None;
            } else if let Some(chunk) = slot {
                chunk[piece.range].fill(0);
            }
        }
    }
}

/// The part of a stretch that lies in one chunk.
struct Piece {
    /// Where it starts in the file.
    position: usize,
    chunk: usize,
    /// Where it lies within the chunk.
    range: Range<usize>,
}

fn pieces(range: Range<usize>) -> impl Iterator<Item = Piece> {
    let mut position = range.start;
    std::iter::from_fn(move || {
        if position >= range.end {
            return None;
        }
        let (chunk, start) = (position / CHUNK_BYTES, position % CHUNK_BYTES);
        let end = CHUNK_BYTES.min(start + (range.end - position));
        let piece = Piece { position, chunk, range: start..end };
        position += end - start;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_their_files() {
        let storage = MemoryStorage::new();
        let file = storage.create("a").unwrap();
        let clone = storage.clone();
        drop(storage);
        file.write_at(b"shared", 0).unwrap();
        assert_eq!(clone.open("a").unwrap().len().unwrap(), 6);
    }

    #[test]
    fn holes_take_no_memory() {
        let mut contents = Contents::default();
        contents.set_length(1 << 20);
        assert!(contents.chunks.iter().all(Option::is_none));
        contents.write(&[1; 3 * CHUNK_BYTES], 0).unwrap();
        contents.clear(1..3 * CHUNK_BYTES);
        let present: Vec<bool> = contents.chunks.iter().take(4).map(Option::is_some).collect();
        assert_eq!(present, [true, false, false, false]);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let file = MemoryFile::new();
        assert_eq!(file.set_len(u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.write_at(b"x", u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(file.is_empty().unwrap());
    }
}
