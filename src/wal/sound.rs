//! Reading a log file in which nothing is wrong, as nearly all are: a window at a time.
//!
//! ```text
//! file    [ header | frame | frame | fra]me | frame | ... | frame | zeros ]
//! window  [..............................]      the rest goes to the front, and more is read
//! ```
//!
//! The window stays in the processor's cache. (Measured, for 700 MB: into the memory of a whole
//! file the system copies half as fast, and checking the frames there waits for memory again.)
//! Where something is wrong, what lies behind it decides what that means, so the file is read
//! whole, see [`super::reader`]. So are a file that was made ahead and the one that goes on in the
//! log's tail.

use std::collections::BTreeMap;

use sapwood_cachetable::sync::atomic::{AtomicUsize, Ordering};
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_cachetable::{EncoderPool, Fault};
use sapwood_serialize::{
    Corruption, ENDS_EARLY, FRAME_HEADER_BYTES, GenerationId, Storage, StorageFile, WalHeader,
    is_zero,
};

use super::file_name;
use super::reader::{PART_BYTES, ReadFile};

/// Those of the files of these generations that are sound, by where they stand in the list; an
/// error where one could not be read. The threads of `pool` take every other one.
pub(super) fn read_sound_ones(
    storage: &dyn Storage,
    generations: &[GenerationId],
    pool: Option<&EncoderPool>,
) -> BTreeMap<usize, Result<Option<ReadFile>, Fault>> {
    let (next, read) = (AtomicUsize::new(0), Mutex::new(Rank::JobQueue, BTreeMap::new()));
    let read_all = || {
        let take = || {
            let index = next.fetch_add(1, Ordering::Relaxed);
            generations.get(index).map(|generation| (index, generation))
        };
        while let Some((index, generation)) = take() {
            let file = read_sound(storage, &file_name(*generation));
            read.lock().insert(index, file);
        }
    };
    match pool {
        Some(pool) => pool.in_place_scope(|scope| {
            (0..pool.current_num_threads()).for_each(|_| scope.spawn(|_| read_all()));
            read_all();
        }),
        None => read_all(),
    }
    read.into_inner()
}

/// The believed part of the file `name`: all of it. `None` when the log does not go on in it, or
/// when anything but good frames and zeros behind them is in it.
fn read_sound(storage: &dyn Storage, name: &str) -> Result<Option<ReadFile>, Fault> {
    let failed = |error| Fault::io("reading", name, error);
    let file = storage.open(name).map_err(failed)?;
    let mut window = Window::default();
    window.read_more(&*file).map_err(failed)?;
    let Ok(header) = WalHeader::decode(&window.bytes) else { return Ok(None) };
    if !header.is_begun {
        return Ok(None);
    }
    let mut read = ReadFile::begun(name.to_owned(), header);
    loop {
        let stopped = read.take_frames(&window.bytes, window.start);
        window.forget_before(read.end());
        let is_at_end = window.end() >= file.len().map_err(failed)?;
        match stopped {
            None if is_at_end => return Ok(Some(read)),
            // The window has ended with a frame.
            None if window.bytes.is_empty() => {}
            None => {
                let is_zero = window.rest_is_zero(&*file).map_err(failed)?;
                return Ok(is_zero.then_some(read));
            }
            Some(broken) if is_at_end || !window.may_have_cut(&broken) => return Ok(None),
            Some(_) => {}
        }
        window.read_more(&*file).map_err(failed)?;
    }
}

/// A piece of a file.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    /// Where in the file it begins.
    start: usize,
}

impl Window {
    fn end(&self) -> u64 {
        (self.start + self.bytes.len()) as u64
    }

    fn forget_before(&mut self, offset: usize) {
        self.bytes.drain(..offset - self.start);
        self.start = offset;
    }

    /// Whether what is broken may be no more than a frame that the window has cut.
    fn may_have_cut(&self, broken: &Corruption) -> bool {
        broken.rule == ENDS_EARLY || self.bytes.len() < FRAME_HEADER_BYTES
    }

    /// At least as much again as there is, so that a frame of any length is there after a few
    /// times.
    fn read_more(&mut self, file: &dyn StorageFile) -> std::io::Result<()> {
        let left = file.len()?.saturating_sub(self.end());
        let wanted = self.bytes.len().max(PART_BYTES);
        let more = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        let (before, offset) = (self.bytes.len(), self.end());
        self.bytes.resize(before + more, 0);
        file.read_at(self.bytes.get_mut(before..).unwrap_or_default(), offset)
    }

    /// Whether nothing but zeros follows in the file. Ends with the window somewhere there.
    fn rest_is_zero(&mut self, file: &dyn StorageFile) -> std::io::Result<bool> {
        while is_zero(&self.bytes) && self.end() < file.len()? {
            self.start += self.bytes.len();
            self.bytes.clear();
            self.read_more(file)?;
        }
        Ok(is_zero(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use sapwood_cachetable::storage::MemoryStorage;
    use sapwood_serialize::{
        DatabaseId, Epoch, FrameHead, FrameKind, Lsn, Msn, begin_frame, finish_brief_frame,
        finish_frame,
    };

    use super::*;

    const DATABASE: DatabaseId = DatabaseId::from_bytes(*b"0123456789abcdef");
    const NAME: &str = "wal-0000000001";
    const EPOCH: Epoch = Epoch::from_raw(3);

    fn header() -> WalHeader {
        let (base, durable, is_begun) = (Lsn::ZERO, Lsn::ZERO, true);
        let (generation, first_msn) = (GenerationId::from_raw(1), Msn::from_raw(1));
        let (database, epoch) = (DATABASE, EPOCH);
        WalHeader { database, generation, epoch, base, durable, first_msn, is_begun }
    }

    fn append(file: &mut Vec<u8>, kind: FrameKind, payload: &[u8]) {
        let start = file.len();
        let (lsn, first_msn) = (Lsn::from_raw(start as u64), Msn::from_raw(1));
        let head = FrameHead { kind, lsn, epoch: EPOCH, durable: Lsn::ZERO, first_msn };
        begin_frame(file);
        file.extend_from_slice(payload);
        finish_frame(DATABASE, &head, file, start);
    }

    /// Frames shorter and longer than a window; their payloads.
    fn payloads() -> Vec<Vec<u8>> {
        let lengths = [100, 3 * PART_BYTES, 5, PART_BYTES - 48, PART_BYTES / 2, 7, 2 * PART_BYTES];
        let payload = |(number, length): (u8, usize)| vec![number + 1; length];
        (0..).zip(lengths).map(payload).collect()
    }

    fn append_brief(file: &mut Vec<u8>, payload: &[u8]) {
        let start = file.len();
        let (lsn, first_msn) = (Lsn::from_raw(start as u64), Msn::from_raw(1));
        let (kind, durable) = (FrameKind::Group, Lsn::ZERO);
        let head = FrameHead { kind, lsn, epoch: EPOCH, durable, first_msn };
        begin_frame(file);
        file.extend_from_slice(payload);
        let begin = finish_brief_frame(&header(), &head, file, start).unwrap();
        file.drain(start..begin);
    }

    fn whole() -> Vec<u8> {
        let mut file = header().encode();
        append(&mut file, FrameKind::Mark, &[]);
        payloads().iter().for_each(|payload| append(&mut file, FrameKind::Group, payload));
        file
    }

    fn storage_of(file: &[u8]) -> MemoryStorage {
        let storage = MemoryStorage::new();
        storage.create(NAME).unwrap().write_at(file, 0).unwrap();
        storage
    }

    fn end_of(file: &[u8]) -> Option<usize> {
        read_sound(&storage_of(file), NAME).unwrap().map(|read| read.end())
    }

    #[test]
    fn a_sound_file_is_read_to_its_end_whatever_its_frames_and_windows() {
        let whole = whole();
        assert_eq!(end_of(&whole), Some(whole.len()));
        let mut longer = whole.clone();
        longer.resize(whole.len() + 3 * PART_BYTES + 13, 0);
        assert_eq!(end_of(&longer), Some(whole.len()));
        longer.truncate(whole.len() + 5);
        assert_eq!(end_of(&longer), Some(whole.len()));
    }

    /// Windows end in every part of a brief frame's head and payload.
    #[test]
    fn a_file_of_brief_frames_is_sound_wherever_a_window_ends() {
        for shift in (0..64).step_by(8) {
            let mut file = header().encode();
            append(&mut file, FrameKind::Mark, &[]);
            append_brief(&mut file, &vec![1; shift]);
            while file.len() < 2 * PART_BYTES + 100 {
                append_brief(&mut file, &[2; 40]);
            }
            assert_eq!(end_of(&file), Some(file.len()), "{shift}");
        }
    }

    /// It was taken for one with zeros in the middle, and read whole.
    #[test]
    fn a_file_with_a_frame_that_ends_with_a_window_is_sound() {
        let mut file = header().encode();
        append(&mut file, FrameKind::Mark, &[]);
        let rest = PART_BYTES - file.len() - FRAME_HEADER_BYTES;
        append(&mut file, FrameKind::Group, &vec![1; rest]);
        assert_eq!(file.len(), PART_BYTES);
        (0..10).for_each(|_| append(&mut file, FrameKind::Group, &[2; 100]));
        assert_eq!(end_of(&file), Some(file.len()));
    }

    #[test]
    fn a_file_with_anything_wrong_in_it_is_not_sound() {
        let mut file = whole();
        let frames_end = file.len();
        file.resize(frames_end + 3 * PART_BYTES, 0);
        let in_padding = frames_end + PART_BYTES + 9;
        for at in
            (0..frames_end).step_by(99_991).chain([10, frames_end, in_padding, file.len() - 1])
        {
            let mut harmed = file.clone();
            harmed[at] ^= 1;
            assert_eq!(end_of(&harmed), None, "at byte {at}");
        }
        for length in [0, 71, 80, 130, PART_BYTES, frames_end - 1] {
            assert_eq!(end_of(&file[..length]), None, "cut to {length} bytes");
        }
    }

    #[test]
    fn parts_are_whole_frames_and_all_of_them() {
        let storage = storage_of(&whole());
        let read = read_sound(&storage, NAME).unwrap().unwrap();
        let (mut found, mut end) = (Vec::new(), None);
        for part in read.parts() {
            assert!(end.is_none_or(|end| end == part.start) && !part.is_empty());
            end = Some(part.end);
            let loaded = read.load(&storage, part, vec![9; 1000]).unwrap();
            found.extend(loaded.groups().map(|group| group.unwrap().payload.to_vec()));
        }
        assert_eq!(read.parts().count(), 3);
        assert_eq!((end, found), (Some(read.end()), payloads()));
    }

    /// What was believed once must not be left out when it is read again.
    #[test]
    fn a_file_that_has_changed_since_it_was_read_is_told_of() {
        let file = whole();
        let read = read_sound(&storage_of(&file), NAME).unwrap().unwrap();
        for length in [100, file.len() / 2, file.len() - 8] {
            let shorter = storage_of(&file[..length]);
            let broken = read.parts().any(|part| {
                let loaded = read.load(&shorter, part, Vec::new()).unwrap();
                loaded.groups().any(|group| group.is_err())
            });
            assert!(broken, "cut to {length} bytes");
        }
    }
}
