//! Space on disk: promised before it is needed, given back when it is not.
//!
//! ```text
//! | used | free | hollow | used | free | backed tail |  not in the file
//!          '------------------------'---'--> headroom: at least what was promised
//!                   '--- fill <-- provide --> grow ---'
//! ```

use sapwood_serialize::{Charge, Extent};

use crate::cachetable::{BLOCK_FILE, Cachetable};
use crate::fault::Fault;
use crate::ledger::{Lack, Ledger};
use crate::sync::atomic::Ordering;

/// So many holes of a MiB or less are punched before others get a chance to grow the file.
const PUNCHED_AT_ONCE: usize = 16;

impl Cachetable {
    /// Promises `bytes` of the block file to something that will be written later, growing the
    /// file where needed. `DiskFull` before anything happened when there is not so much.
    pub fn promise(&self, bytes: u64) -> Result<Charge, Fault> {
        loop {
            let lack = {
                let ledger = self.ledger.lock();
                let owed = self.meters().promised.bytes() + bytes + Cachetable::floor(&ledger);
                let short = owed.saturating_sub(ledger.headroom());
                if short == 0 {
                    self.lately_promised.fetch_add(bytes, Ordering::Relaxed);
                    return Ok(self.promise_anyway(bytes));
                }
                ledger.lack_of(short)
            };
            self.provide(lack)?;
        }
    }

    /// The same where the space is known to be covered by another promise.
    pub fn promise_anyway(&self, bytes: u64) -> Charge {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.meters().promised.charge(bytes)
    }

    /// Has the space there that will be promised next, by what was promised since the last call:
    /// who writes then waits neither for the system nor for another thread that does. Where the
    /// disk has less, nothing happens; it is told of when the space is needed.
    pub fn grow_ahead(&self) -> Result<(), Fault> {
        /// Somebody may wait for this call to come back: what is left is for the next one.
        const STEPS_MAX: usize = 64;
        let lately = self.lately_promised.swap(0, Ordering::Relaxed);
        if lately == 0 {
            return Ok(());
        }
        for _ in 0..STEPS_MAX {
            let lack = {
                let ledger = self.ledger.lock();
                let spare = ledger.headroom().saturating_sub(self.space_to_keep(&ledger));
                let ahead = Cachetable::ahead(&ledger, lately);
                if spare >= ahead {
                    return Ok(());
                }
                ledger.lack_of(ahead - spare)
            };
            match self.provide(lack) {
                Ok(()) => {}
                Err(fault) if fault.is_retryable() => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// What may be promised and used before somebody sees to more, which is ten times a second:
    /// eight times what was promised `lately`, since the system may take a second to grow the file.
    /// No more than an eighth of what the file takes, nor than 128 MiB.
    fn ahead(ledger: &Ledger, lately: u64) -> u64 {
        const MOST: u64 = 128 << 20;
        let file = ledger.file_bytes().saturating_sub(ledger.hollow_bytes());
        (8 * lately).min(file / 8).min(MOST)
    }

    /// What the tables of a checkpoint and the images of nodes need, generously.
    pub(crate) fn floor(ledger: &Ledger) -> u64 {
        const SMALL: u64 = 16 << 10;
        SMALL + (ledger.file_bytes().saturating_sub(ledger.hollow_bytes())) / 64
    }

    /// Takes an extent for `bytes`, growing the file where needed.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Extent, Fault> {
        let hollow = self.ledger.lock().hollow_for(bytes);
        if let Some(front) = hollow {
            self.try_to_fill(front, Extent::round_up(bytes))?;
        }
        loop {
            let lack = match self.ledger.lock().reserve(bytes) {
                Ok(extent) => return Ok(extent),
                Err(lack) => lack,
            };
            self.provide(lack)?;
        }
    }

    fn provide(&self, lack: Lack) -> Result<(), Fault> {
        match lack {
            Lack::Hollow { front, least } => self.fill_hollow(front, least),
            Lack::Length(bytes) => self.grow_file(bytes),
        }
    }

    /// Asks the system for the space of `front` again, or for `least` bytes of it.
    fn fill_hollow(&self, front: Extent, least: u64) -> Result<(), Fault> {
        let _one_at_a_time = self.growing.lock();
        if !self.ledger.lock().is_hollow(front) {
            return Ok(());
        }
        let filled = self.allocate(front.offset, front.bytes, least)?;
        self.ledger.lock().fill(Extent { bytes: filled, ..front });
        Ok(())
    }

    /// The same where it can be done without.
    fn try_to_fill(&self, front: Extent, least: u64) -> Result<(), Fault> {
        match self.fill_hollow(front, least) {
            Err(fault) if fault.is_retryable() => Ok(()),
            filled => filled,
        }
    }

    /// Has the system put space behind `ample` bytes from `offset` on, or behind `least` of them;
    /// says how many it were.
    fn allocate(&self, offset: u64, ample: u64, least: u64) -> Result<u64, Fault> {
        let mut given = self.file.allocate(offset, ample).map(|()| ample);
        // Only a lack of space is worth another try: any other failure is told.
        if given.as_ref().is_err_and(is_full) {
            given = self.file.allocate(offset, least).map(|()| least);
        }
        given.map_err(|error| match is_full(&error) {
            true => Fault::DiskFull { bytes: least },
            false => self.poison().record(Fault::io("growing", BLOCK_FILE, error)),
        })
    }

    /// Makes the file at least `wanted` long, by an eighth at once where the disk has it.
    fn grow_file(&self, wanted: u64) -> Result<(), Fault> {
        const STEP_MAX: u64 = 64 << 20;
        let _one_at_a_time = self.growing.lock();
        let before = self.ledger.lock().backed_bytes();
        if before >= wanted {
            return Ok(());
        }
        let least = Extent::round_up(wanted) - before;
        let ample = Extent::round_up(before + (before / 8).min(STEP_MAX)) - before;
        let grown = self.allocate(before, ample.max(least), least)?;
        self.ledger.lock().set_backed_bytes(before + grown);
        Ok(())
    }

    /// Gives free space at the end of the file back to the system where there is much, save for
    /// what was promised.
    pub fn shorten_file(&self) -> Result<(), Fault> {
        let to_keep = {
            let mut ledger = self.ledger();
            let keep = self.space_to_keep(&ledger);
            ledger.hollow_to_keep(keep)
        };
        if let Some(front) = to_keep {
            self.try_to_fill(front, front.bytes)?;
        }
        let _one_at_a_time = self.growing.lock();
        let shorter = {
            let mut ledger = self.ledger();
            let keep = self.space_to_keep(&ledger);
            // First here, so that nothing behind the new end is handed out any more.
            ledger.shorten(keep)
        };
        let Some(bytes) = shorter else { return Ok(()) };
        let cut = self.file.set_len(bytes);
        cut.map_err(|error| self.poison().record(Fault::io("cutting", BLOCK_FILE, error)))
    }

    /// Gives free space at the end of the file back to the system. For a database that is about to
    /// be closed: the next write grows the file again.
    pub fn cut_file(&self) -> Result<(), Fault> {
        let _one_at_a_time = self.growing.lock();
        let end = self.ledger().cut_tail();
        let cut = self.file.set_len(end);
        cut.map_err(|error| self.poison().record(Fault::io("cutting", BLOCK_FILE, error)))
    }

    fn space_to_keep(&self, ledger: &Ledger) -> u64 {
        self.meters().promised.bytes() + Cachetable::floor(ledger)
    }

    /// The bytes that [`Cachetable::punch_holes`] could give back.
    pub fn punchable_bytes(&self) -> u64 {
        let ledger = self.ledger();
        match self.holes_are_real.load(Ordering::Relaxed) {
            true => ledger.free_bytes(),
            false => ledger.free_bytes() + ledger.hollow_bytes(),
        }
    }

    /// Gives the space of long free extents back to the system, save for what was promised, and as
    /// much again as tables may need. Each is a call; `stop` is asked between some of them. Where
    /// the system cannot do it (that may take space, too), the rest is left: nobody relies on it.
    pub fn punch_holes(&self, stop: &dyn Fn() -> bool) {
        let mut is_able = self.make_holes_real(stop);
        while is_able && !stop() {
            let _one_at_a_time = self.growing.lock();
            let holes = {
                let mut ledger = self.ledger();
                let keep = self.space_to_keep(&ledger) + Cachetable::floor(&ledger);
                // First here, so that nobody writes into them any more.
                ledger.hollow_out(keep, PUNCHED_AT_ONCE)
            };
            if holes.is_empty() {
                break;
            }
            is_able = self.punch(&holes);
        }
    }

    /// After an opening nobody knows which of the hollow extents are holes; this makes those that
    /// are long enough. Whether the system can do it.
    fn make_holes_real(&self, stop: &dyn Fn() -> bool) -> bool {
        let mut from = 0;
        while !self.holes_are_real.load(Ordering::Relaxed) && !stop() {
            let _one_at_a_time = self.growing.lock();
            let holes = self.ledger().hollow_from(from, PUNCHED_AT_ONCE);
            if !self.punch(&holes) {
                return false;
            }
            match holes.last() {
                Some(last) => from = last.end(),
                None => self.holes_are_real.store(true, Ordering::Relaxed),
            }
        }
        true
    }

    fn punch(&self, holes: &[Extent]) -> bool {
        holes.iter().all(|hole| self.file.punch(hole.offset, hole.bytes).is_ok())
    }
}

/// Whether the system said that there is no space left.
pub fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::block_file::BlockFile;
    use crate::budget::Budget;
    use crate::storage::MemoryStorage;

    const MIB: u64 = 1 << 20;

    /// Asking the system for it while a writer waited once took 42 ms.
    #[test]
    fn what_is_promised_next_is_there_already() {
        let storage = Arc::new(MemoryStorage::new());
        let block_file = BlockFile::create(&*storage).unwrap();
        let opened = block_file.tables(Vec::new()).unwrap();
        let budget = Budget { total: 64 * MIB };
        let database = block_file.superblock.database;
        let table = Cachetable::new(storage, block_file.file, database, budget, None, opened);
        let length = || table.file().len().unwrap();
        let mut promised = vec![table.promise(32 * MIB).unwrap()];
        for _ in 0..20 {
            table.grow_ahead().unwrap();
            let before = length();
            promised.extend((0..3).map(|_| table.promise(MIB).unwrap()));
            assert_eq!(length(), before, "a promise had to wait for the file to grow");
        }
        table.grow_ahead().unwrap();
        let before = length();
        table.grow_ahead().unwrap();
        assert_eq!(length(), before, "nobody has asked for space since");
        assert!(before < 32 * MIB + 60 * MIB + 40 * MIB, "{before}");
    }
}
