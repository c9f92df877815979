//! Copies of a database that is in use.
//!
//! ```text
//! checkpoint -> hold checkpoints -> copy what the checkpoint owns -> sync -> superblock -> sync
//!               writers go on; nothing that is copied is overwritten
//! ```
//!
//! What a checkpoint owns stays as it is until the next one is taken, and none is taken while the
//! copy is made. The copy lies at the same offsets, gaps as holes, so that every reference in it
//! holds. Its superblock comes last and says that there is no log: until then the copy is no
//! database, and nobody takes half of it for one.

use std::fs;
use std::path::Path;

use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::ledger::UsedSet;
use sapwood_cachetable::storage::{FileStorage, LOCK_NAME};
use sapwood_cachetable::{BLOCK_FILE, Fault, is_full};
use sapwood_serialize::superblock::{SLOT_BYTES, SLOTS_BYTES, Session, Superblock, slot};
use sapwood_serialize::{Extent, Storage, StorageFile};

use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// So much is read and written at once.
const CHUNK_BYTES: u64 = 1 << 20;

impl Database {
    /// Copies the database as it is now into `folder`, which must be empty or not there yet. The
    /// copy is a database of its own that was closed: it opens without a replay.
    ///
    /// Every commit that has returned before this call is in it (those without a log, too), and
    /// each batch wholly or not at all. Readers and writers go on meanwhile. Checkpoints wait, so
    /// that the log grows by what is written while the copy is made, and space that is let go is
    /// used again only afterwards.
    ///
    /// Costs a checkpoint, and reading and writing what the database uses. Blocks are copied as
    /// they are: whether they are sound, [`Database::verify`] on the copy tells. The copy keeps the
    /// identity of the original, which every block in it carries; so do not mix the files of both.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # use sapwood::Config;
    /// # let folder = std::env::temp_dir().join(format!("sapwood-copy-{}", std::process::id()));
    /// let db = Config::in_memory().open()?;
    /// db.tree("rings")?.insert("2026", "narrow")?;
    /// db.checkpoint_to(&folder)?;
    ///
    /// let copy = Config::new(&folder).read_only().open()?;
    /// assert!(copy.tree("rings")?.contains_key("2026")?);
    /// # drop(copy);
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When `folder` is not empty or cannot be used, either disk is full, something cannot be read
    /// or written, or the database was opened read-only. What was made of the copy is removed.
    pub fn checkpoint_to(&self, folder: impl AsRef<Path>) -> Result<()> {
        self.engine().check_writable()?;
        let folder = folder.as_ref();
        let was_there = folder.exists();
        let target = open_empty(folder)?;
        let copied = self.checkpoint_onto(&target);
        if copied.is_err() {
            // Nothing else is in there, and nobody else was.
            let _ = fs::remove_file(folder.join(LOCK_NAME));
            if !was_there {
                let _ = fs::remove_dir(folder);
            }
        }
        copied
    }

    /// The same onto any storage that has no file yet.
    #[doc(hidden)]
    pub fn checkpoint_onto(&self, target: &dyn Storage) -> Result<()> {
        let engine = self.engine();
        engine.check_writable()?;
        let failed = |source| Error::new(Kind::Open { folder: target.describe(), source });
        if !target.list().map_err(failed)?.is_empty() {
            return Err(Error::new(Kind::NotEmpty(target.describe())));
        }
        let lock = target.lock();
        let _lock = lock.map_err(|error| Error::from_lock(target.describe(), error))?;
        // Whoever closes the database waits for this copy.
        let _user = engine.idle.enter();
        engine.check_open()?;
        engine.spill_all()?;
        engine.checkpoint_step(Session::Open)?;
        let copied = copy_checkpoint(engine, target);
        if copied.is_err() {
            let _ = target.remove(BLOCK_FILE);
            let _ = target.sync_names();
        }
        copied
    }
}

/// The storage in `folder`, made where it is missing.
pub(crate) fn open_empty(folder: &Path) -> Result<FileStorage> {
    let describe = || folder.display().to_string();
    let failed = |source| Error::new(Kind::Open { folder: describe(), source });
    let target = FileStorage::open(folder).map_err(failed)?;
    // Whatever is there, folders included, is somebody's.
    if fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(Error::new(Kind::NotEmpty(describe())));
    }
    Ok(target)
}

/// Copies the newest checkpoint, and lets none be taken meanwhile.
fn copy_checkpoint(engine: &Engine, target: &dyn Storage) -> Result<()> {
    let _held = engine.hold_checkpoints();
    let superblock = *engine.superblock.lock();
    let source = BlockFile { file: engine.table.file().clone(), superblock };
    let used = source.tables(Vec::new())?.checkpointed;
    let refused = |error| refuse(target, "creating", error, SLOTS_BYTES);
    let file = target.create(BLOCK_FILE).map_err(refused)?;
    // Zeros where the superblock will be: the file is no database before the end.
    file.set_len(SLOTS_BYTES).map_err(refused)?;
    for stretch in stretches(&used) {
        let read = |buffer: &mut [u8], offset| {
            let read = source.file.read_at(buffer, offset);
            read.map_err(|error| Error::from(Fault::io("reading", BLOCK_FILE, error)))
        };
        let write = |bytes: &[u8], offset| {
            let written = file.write_at(bytes, offset);
            written.map_err(|error| refuse(target, "writing", error, bytes.len() as u64))
        };
        copy_stretch(stretch, &read, &write)?;
    }
    let end = used.get_max().map_or(SLOTS_BYTES, |(offset, bytes)| offset + bytes);
    let superblock = Superblock { session: Session::Closed, file_bytes: end, ..superblock };
    seal(target, &*file, &superblock)
}

/// Makes the copy a database: everything durable first, then the superblock.
fn seal(target: &dyn Storage, file: &dyn StorageFile, superblock: &Superblock) -> Result<()> {
    let refused = |error| refuse(target, "syncing", error, 0);
    file.sync().map_err(refused)?;
    let offset = (slot(superblock.sequence) * SLOT_BYTES) as u64;
    let written = file.write_at(&superblock.encode(), offset);
    written.map_err(|error| refuse(target, "writing", error, SLOT_BYTES as u64))?;
    file.sync().map_err(refused)?;
    target.sync_names().map_err(refused)
}

fn copy_stretch(
    stretch: Extent,
    read: &dyn Fn(&mut [u8], u64) -> Result<()>,
    write: &dyn Fn(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let mut offset = stretch.offset;
    while offset < stretch.end() {
        let bytes = CHUNK_BYTES.min(stretch.end() - offset);
        let mut buffer = vec![0; usize::try_from(bytes).expect("a chunk fits into memory")];
        read(&mut buffer, offset)?;
        write(&buffer, offset)?;
        offset += bytes;
    }
    Ok(())
}

/// Extents that follow one another without a gap, as one.
fn stretches(used: &UsedSet) -> Vec<Extent> {
    let mut all: Vec<Extent> = Vec::new();
    for (offset, bytes) in used {
        match all.last_mut() {
            Some(last) if last.end() == *offset => last.bytes += bytes,
            _ => all.push(Extent { offset: *offset, bytes: *bytes }),
        }
    }
    all
}

/// What a failed call on the target means: it says nothing of the database that is copied.
fn refuse(target: &dyn Storage, doing: &'static str, error: std::io::Error, bytes: u64) -> Error {
    let cause = if is_full(&error) {
        Fault::DiskFull { bytes }
    } else {
        Fault::io(doing, BLOCK_FILE, error)
    };
    Error::new(Kind::Copy { folder: target.describe(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_copied_in_one_piece() {
        let used: UsedSet =
            [(8192u64, 4096u64), (12_288, 8192), (40_960, 4096)].into_iter().collect();
        let extent = |offset, bytes| Extent { offset, bytes };
        assert_eq!(stretches(&used), [extent(8192, 12_288), extent(40_960, 4096)]);
        assert_eq!(stretches(&UsedSet::new()), []);
    }

    #[test]
    fn a_stretch_is_copied_in_chunks_to_its_last_byte() {
        let stretch = Extent { offset: 8192, bytes: 2 * CHUNK_BYTES + 4096 };
        let seen = std::cell::RefCell::new(Vec::new());
        let read = |buffer: &mut [u8], offset: u64| {
            buffer.fill(u8::try_from(offset % 251).unwrap());
            Ok(())
        };
        let write = |bytes: &[u8], offset: u64| {
            assert!(bytes.iter().all(|byte| u64::from(*byte) == offset % 251));
            seen.borrow_mut().push((offset, bytes.len() as u64));
            Ok(())
        };
        copy_stretch(stretch, &read, &write).unwrap();
        let (one, two) = (8192 + CHUNK_BYTES, 8192 + 2 * CHUNK_BYTES);
        assert_eq!(*seen.borrow(), [(8192, CHUNK_BYTES), (one, CHUNK_BYTES), (two, 4096)]);
    }
}
