//! A file of the file system that is written by copying into memory.
//!
//! Invariants:
//! 1. the mapping is as long as the file was made, and nobody reads through it: others see what was
//!    put there in the file;
//! 2. a copy only touches pages that the system has just said can be written. So a disk that is
//!    full or gone is an error here, and no signal that ends the process.
//!
//! What the system says holds until it writes the page out, and is believed for [`BELIEVED`]. To be
//! hit by the signal, a page has to be written out between the answer and the copy, and the disk to
//! fail at that very time. Where a page moves whenever it is written out, a full disk is enough for
//! that, and is likely then; so nothing is mapped there, see [`keeps_pages_in_place`].

#![expect(unsafe_code, reason = "measured: a call of the system takes 1.1 us, a copy 0.06 us")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use rustix::time::{ClockId, clock_gettime};
use sapwood_serialize::MappedFile;

/// How long the system's word is taken for it that a page can be written.
const BELIEVED: Duration = Duration::from_millis(10);
/// The system is asked for this much ahead at once: 0.3 us for each page.
const ASKED_BYTES: usize = 64 << 10;

/// File systems that write a page to a new place each time, by the numbers in the system's headers:
/// btrfs, bcachefs, f2fs, zfs.
const MOVING: [i64; 4] = [0x9123_683e, 0xca45_1a4e, 0xf2f5_2010, 0x2fc1_2fc1];

/// Whether a page that has its space can be written again without more of it.
pub(super) fn keeps_pages_in_place(folder: &File) -> io::Result<bool> {
    // Narrower on some machines, where the number may come out negative.
    let kind = rustix::fs::fstatfs(folder)?.f_type as i64 & 0xffff_ffff;
    Ok(!MOVING.contains(&kind))
}

/// A mapping of a whole file.
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    page_bytes: usize,
    /// What can be written, and when that was said.
    writable: Range<usize>,
    asked: Option<Duration>,
}

/// Time since some moment, to a tick of the system's timer, a few milliseconds: exact time costs a
/// row of the log 25 ns, which was a fortieth of a loader's time.
fn coarse_now() -> Option<Duration> {
    Duration::try_from(clock_gettime(ClockId::MonotonicCoarse)).ok()
}

// SAFETY: memory of a file belongs to no thread; only who has the one `Mapping` writes to it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of a file that has them, with space of its own behind each.
    pub(super) fn of(file: &File, bytes: usize) -> io::Result<Mapping> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the system chooses where, so no memory of this process is replaced.
        let start = unsafe { mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let page_bytes = rustix::param::page_size();
        let mut mapping = Mapping { start, bytes, page_bytes, writable: 0..0, asked: None };
        // An old system cannot say whether a page can be written.
        mapping.ask(0..bytes)?;
        Ok(mapping)
    }

    /// Makes sure that a stretch can be written.
    fn ask(&mut self, stretch: Range<usize>) -> io::Result<()> {
        let now = coarse_now();
        let age = now.zip(self.asked).map(|(now, asked)| now.saturating_sub(asked));
        let is_believed = age.is_some_and(|age| age < BELIEVED);
        if is_believed && self.writable.start <= stretch.start && stretch.end <= self.writable.end {
            return Ok(());
        }
        let start = stretch.start - stretch.start % self.page_bytes;
        let end = stretch.end.max(start + ASKED_BYTES).min(self.bytes);
        (self.writable, self.asked) = (0..0, None);
        // SAFETY: the pages belong to this mapping, and being made writable changes none of them.
        unsafe {
            let pages = self.start.as_ptr().add(start).cast();
            madvise(pages, end - start, Advice::LinuxPopulateWrite)?;
        }
        (self.writable, self.asked) = (start..end, now);
        Ok(())
    }
}

impl MappedFile for Mapping {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        if end > self.bytes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.ask(start..end)?;
        // SAFETY: the stretch lies within the mapping, which is alive, and `bytes` is no part of
        // it, because nobody is given a reference into it.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(start), bytes.len());
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing points into it any more. An error would leave it mapped until the process
        // ends, which harms nobody.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn mapped(bytes: usize) -> (File, Mapping) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0; bytes], 0).unwrap();
        let mapping = Mapping::of(&file, bytes).unwrap();
        (file, mapping)
    }

    fn contents(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn what_was_put_is_in_the_file() {
        let (file, mut mapping) = mapped(200_000);
        let mut expected = vec![0; 200_000];
        for (offset, length) in [(0, 1), (4_000, 200), (150_000, 50_000), (4_095, 2), (0, 0)] {
            let bytes = vec![u8::try_from(length % 251).unwrap(); length];
            mapping.put(offset as u64, &bytes).unwrap();
            expected[offset..offset + length].copy_from_slice(&bytes);
            assert_eq!(contents(&file), expected);
        }
        drop(mapping);
        assert_eq!(contents(&file), expected);
    }

    #[test]
    fn nothing_is_put_behind_the_end() {
        let (file, mut mapping) = mapped(5_000);
        for (offset, length) in [(5_000, 1), (0, 5_001), (u64::MAX, 1), (u64::MAX - 1, 5_000)] {
            let refused = mapping.put(offset, &vec![1; length]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(contents(&file), [0; 5_000]);
    }

    /// A lone write to such a page would be a signal that ends the process.
    #[test]
    fn a_page_that_is_gone_is_an_error() {
        let (file, mut mapping) = mapped(100_000);
        file.set_len(50_000).unwrap();
        mapping.asked = None;
        assert!(mapping.put(90_000, b"x").is_err());
        assert!(mapping.put(40_000, &[1; 20_000]).is_err());
        file.set_len(100_000).unwrap();
        mapping.put(90_000, b"x").unwrap();
        assert_eq!(contents(&file)[90_000], b'x');
    }
}
