//! The calls of [`Storage`] on a simulated disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sapwood_serialize::{LockError, MappedFile, Storage, StorageFile, StorageLock};

use super::{Extent, Lie, Refusal, SimDisk, SimFile, State, index};
use crate::image::Image;
use crate::power_cut::{Change, NameChange};

/// No file of a simulated disk is longer; a longer one is the mistake of some decoder.
const FILE_BYTES_MAX: u64 = 1 << 32;
/// A mapped file with more changes pending is written by the simulated system.
const MAPPED_PENDING_MAX: usize = 32;

impl Storage for SimDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        check_name(name)?;
        let mut state = self.state();
        state.begin_call()?;
        let id = named(&state, name)?;
        Ok(Arc::new(self.handle(&mut state, id)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(self.create_file(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let mut state = self.state();
        state.begin_operation(("remove", name))?;
        named(&state, name)?;
        state.change_name(NameChange { name: name.to_owned(), file: None });
        Ok(())
    }

    fn map(&self, name: &str, bytes: u64) -> io::Result<Option<Box<dyn MappedFile>>> {
        let made = self.create_file(name).and_then(|handle| {
            handle.allocate(0, bytes)?;
            Ok(handle)
        });
        let handle = made.inspect_err(|_| self.state().mapped_faults += 1)?;
        Ok(Some(Box::new(SimMap { handle })))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.begin_call()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        let begun = state.begin_operation("sync_names");
        if let Err(Refusal::Crashed) = begun {
            return Err(Refusal::Crashed.into());
        }
        let changes = std::mem::take(&mut state.pending_names);
        if begun.is_ok() {
            changes.iter().for_each(|pending| pending.change.apply(&mut state.durable_names));
        }
        let files: Vec<u64> = state.files.keys().copied().collect();
        files.into_iter().for_each(|id| state.collect(id));
        Ok(begun?)
    }

    fn lock(&self) -> Result<Box<dyn StorageLock>, LockError> {
        let mut state = self.state();
        state.begin_call().map_err(|refusal| LockError::Io(refusal.into()))?;
        if state.locked {
            return Err(LockError::Held("process 1 (simulated)".to_owned()));
        }
        if state.readers > 0 {
            return Err(LockError::Held("a simulated reader".to_owned()));
        }
        state.locked = true;
        Ok(Box::new(SimLock { disk: self.clone() }))
    }

    fn lock_shared(&self) -> Result<Box<dyn StorageLock>, LockError> {
        let mut state = self.state();
        state.begin_call().map_err(|refusal| LockError::Io(refusal.into()))?;
        if state.locked {
            return Err(LockError::Held("process 1 (simulated)".to_owned()));
        }
        state.readers += 1;
        Ok(Box::new(SimSharedLock { disk: self.clone() }))
    }

    fn now(&self) -> Duration {
        self.state().clock
    }

    fn sleep(&self, time: Duration) {
        self.state().clock += time;
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.state().random.fill(&mut bytes);
        bytes
    }

    fn describe(&self) -> String {
        "a simulated disk".to_owned()
    }
}

impl SimDisk {
    fn handle(&self, state: &mut State, id: u64) -> SimHandle {
        state.file(id).handles += 1;
        SimHandle { disk: self.clone(), id }
    }

    fn create_file(&self, name: &str) -> io::Result<SimHandle> {
        check_name(name)?;
        let mut state = self.state();
        state.begin_operation(("create", name))?;
        let id = match state.names.get(name).copied() {
            Some(id) => {
                state.change_file(id, Change::SetLength(0));
                id
            }
            None => {
                let id = state.add_file(SimFile::of(Arc::new(Image::default())));
                state.change_name(NameChange { name: name.to_owned(), file: Some(id) });
                id
            }
        };
        Ok(self.handle(&mut state, id))
    }
}

fn named(state: &State, name: &str) -> io::Result<u64> {
    let id = state.names.get(name).copied();
    id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name:?}")))
}

/// Refuses what the real storages refuse.
fn check_name(name: &str) -> io::Result<()> {
    let is_plain = !matches!(name, "" | "." | ".." | "lock") && !name.contains(['/', '\\', '\0']);
    if is_plain { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn check_length(bytes: u64) -> io::Result<usize> {
    if bytes > FILE_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(index(bytes)) }
}

struct SimLock {
    disk: SimDisk,
}

impl StorageLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locked = false;
    }
}

struct SimSharedLock {
    disk: SimDisk,
}

impl StorageLock for SimSharedLock {}

impl Drop for SimSharedLock {
    fn drop(&mut self) {
        self.disk.state().readers -= 1;
    }
}

/// An open file.
struct SimHandle {
    disk: SimDisk,
    id: u64,
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.file(self.id).handles -= 1;
        state.collect(self.id);
    }
}

/// A mapped file: each copy is a write.
struct SimMap {
    handle: SimHandle,
}

impl MappedFile for SimMap {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset + bytes.len() as u64 <= self.handle.len()?, "memory behind the file");
        let written = self.handle.write_at(bytes, offset);
        written.inspect_err(|_| self.handle.disk.state().mapped_faults += 1)?;
        // Nobody syncs it, so the system does, sooner or later; or no power cut could be simulated
        // in bounded memory.
        let mut state = self.handle.disk.state();
        let file = state.file(self.handle.id);
        if file.pending.len() > MAPPED_PENDING_MAX {
            file.sync();
        }
        Ok(())
    }
}

impl StorageFile for SimHandle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin_read()?;
        let image = &state.file(self.id).cache;
        let end = offset.checked_add(buffer.len() as u64);
        if !buffer.is_empty() && end.is_none_or(|end| end > image.length() as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !buffer.is_empty() {
            image.read(buffer, index(offset));
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut state = self.disk.state();
        let begun = state.begin_operation(("write", self.id, offset, bytes));
        let bytes = match &begun {
            Ok(()) => bytes,
            Err(Refusal::Fault(_, Extent::Half)) => &bytes[..bytes.len() / 2],
            Err(Refusal::Fault(_, Extent::None) | Refusal::Crashed) => return Ok(begun?),
        };
        let offset = match state.lie() {
            Some(Lie::Lose) => return Ok(begun?),
            Some(Lie::Misdirect(by)) => offset.saturating_add_signed(by),
            None => offset,
        };
        let end = check_length(offset.saturating_add(bytes.len() as u64))?;
        state.check_backing(self.id, index(offset)..end)?;
        state.change_file(self.id, Change::Write { bytes: bytes.into(), offset: index(offset) });
        Ok(begun?)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let begun = state.begin_operation(("sync", self.id));
        match begun {
            Ok(()) if state.is_deaf || state.lie() == Some(Lie::Lose) => {}
            Ok(()) => state.file(self.id).sync(),
            Err(Refusal::Fault(..)) => state.file(self.id).forget(),
            Err(Refusal::Crashed) => {}
        }
        Ok(begun?)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.begin_call()?;
        Ok(state.file(self.id).cache.length() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin_operation(("set_len", self.id, bytes))?;
        let length = check_length(bytes)?;
        let growth = length.saturating_sub(state.file(self.id).cache.length());
        state.check_space(growth)?;
        state.change_file(self.id, Change::SetLength(length));
        Ok(())
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin_operation(("allocate", self.id, offset, bytes))?;
        let end = check_length(offset.saturating_add(bytes))?;
        let range = end.min(index(offset))..end;
        state.check_backing(self.id, range.clone())?;
        state.change_file(self.id, Change::Reserve(range));
        Ok(())
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin_operation(("punch", self.id, offset, bytes))?;
        let length = state.file(self.id).cache.length() as u64;
        let end = offset.saturating_add(bytes).min(length);
        let range = index(offset.min(end))..index(end);
        state.change_file(self.id, Change::Clear(range));
        Ok(())
    }

    /// The simulated cache writes back whenever the power cut says it did.
    fn start_writeback(&self, _offset: u64, _bytes: u64) {}
}
