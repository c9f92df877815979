//! Bytes that one thread fills and another lets go of.
//!
//! ```text
//! up to 512 KiB   a vector; dropped --> [ 4 KiB | .. | 64 KiB ], up to 32 MiB of each --> the next
//! beyond          from the system, and back to it, see `mapping`
//! ```
//!
//! An allocator keeps what is freed for the thread that had asked for it. Pages are built by one
//! thread and let go of by another, so each thread's share would grow to what all need together.
//! (Measured with a budget of 64 MiB: the process peaked at 123 MiB without this; with 32 MiB and a
//! store that is opened ten times, at 135 MiB where only 2 MiB are kept, at 54 where 32 are.)
//!
//! What is large would leave holes among what is small, once it is freed: glibc asks the system for
//! pages of their own only until the first such piece was freed. (Values of 8 MiB and a budget of
//! 64: the process peaked at 158 MiB, at 116 where it was told to go on doing so.) And what the
//! system gives takes no memory before it is written to, so that there may be ample room.
//!
//! Invariants:
//! 1. no more than [`KEPT_BYTES_MOST`] of a size is kept, and nothing of another size;
//! 2. bytes that are still to be written hold anything: who asks for them writes all of them.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::codec::Encode;
use crate::mapping::Mapping;

/// What is kept has one of these capacities.
const SIZES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// Of each size, no more is kept. What finds no place goes back to the allocator, which cannot hand
/// it to another thread.
const KEPT_BYTES_MOST: usize = 32 << 20;

/// Why no length goes beyond what there is.
const ROOM: &str = "room was made for it";

/// A channel never blocks when it is only tried.
type Shelf = (Sender<Vec<u8>>, Receiver<Vec<u8>>);

static SHELVES: LazyLock<[Shelf; SIZES.len()]> =
    LazyLock::new(|| SIZES.map(|size| bounded(KEPT_BYTES_MOST / size)));

/// See the module's head.
pub struct Memory(Kind);

enum Kind {
    Small(Vec<u8>),
    /// In a box, so that a page with a vector is no larger than that.
    Large(Box<Large>),
}

struct Large {
    map: Mapping,
    /// So many at its start are in use.
    bytes: usize,
}

impl Large {
    #[cold]
    fn in_use(&self) -> &[u8] {
        self.map.get(..self.bytes).expect(ROOM)
    }

    #[cold]
    fn in_use_mut(&mut self) -> &mut [u8] {
        self.map.get_mut(..self.bytes).expect(ROOM)
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory(Kind::Small(Vec::new()))
    }
}

impl Memory {
    /// More than this is large.
    pub const SMALL_BYTES_MOST: usize = 512 << 10;

    /// No bytes yet, with room for so many.
    pub fn with_room(bytes: usize) -> Memory {
        // Where the system has no such memory, the allocator may have some.
        let small = || Memory(Kind::Small(Vec::with_capacity(bytes)));
        Memory::from_system(bytes).unwrap_or_else(small)
    }

    /// The same; `None` where that is not large, or the system refuses.
    fn from_system(bytes: usize) -> Option<Memory> {
        if bytes <= Memory::SMALL_BYTES_MOST {
            return None;
        }
        Some(Memory(Kind::Large(Box::new(Large { map: Mapping::new(bytes)?, bytes: 0 }))))
    }

    /// `bytes` bytes from the system, aligned to a word, that stay where they are when this is
    /// moved. `None` where that is not large, or the system refuses.
    pub fn large(bytes: usize) -> Option<Memory> {
        let mut memory = Memory::from_system(bytes)?;
        memory.set_len(bytes);
        Some(memory)
    }

    /// Has `bytes` bytes, as they are; there is room for them.
    fn set_len(&mut self, bytes: usize) {
        match &mut self.0 {
            Kind::Small(small) => small.resize(bytes, 0),
            Kind::Large(large) => {
                assert!(bytes <= large.map.len(), "{ROOM}");
                large.bytes = bytes;
            }
        }
    }

    /// `bytes` bytes that are still to be written, whatever they are now: zeroing them took a
    /// twentieth of a scan's time. Pages that nearly fill a size have its capacity.
    pub fn unwritten(bytes: usize) -> Memory {
        let shelf = SIZES.iter().zip(&*SHELVES).find(|(size, _)| **size >= bytes);
        let mut memory = match shelf {
            Some((size, (_, kept))) if bytes > size / 4 * 3 => {
                let kept = kept.try_recv().unwrap_or_else(|_| Vec::with_capacity(*size));
                Memory(Kind::Small(kept))
            }
            _ => Memory::with_room(bytes),
        };
        memory.set_len(bytes);
        memory
    }

    /// Appends what `fill` puts into room for `most` bytes; it returns how many it has put there.
    pub fn append_with<T>(&mut self, most: usize, fill: impl FnOnce(&mut [u8]) -> (usize, T)) -> T {
        self.reserve(most);
        match &mut self.0 {
            Kind::Small(small) => {
                let start = small.len();
                small.resize(start + most, 0);
                let (filled, result) = fill(small.get_mut(start..).expect(ROOM));
                assert!(filled <= most, "{ROOM}");
                small.truncate(start + filled);
                result
            }
            Kind::Large(large) => {
                let room = large.bytes..large.bytes + most;
                let (filled, result) = fill(large.map.get_mut(room).expect(ROOM));
                assert!(filled <= most, "{ROOM}");
                large.bytes += filled;
                result
            }
        }
    }

    /// Forgets the bytes and keeps the room.
    pub fn clear(&mut self) {
        self.set_len(0);
    }

    /// Appends zeros up to a length of `bytes`.
    pub fn pad(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.len());
        self.append_with(more, |room| {
            room.fill(0);
            (more, ())
        });
    }

    /// The vector, unless it is large.
    pub fn into_small(mut self) -> Option<Vec<u8>> {
        match &mut self.0 {
            Kind::Small(small) => Some(std::mem::take(small)),
            Kind::Large(_) => None,
        }
    }

    /// How many bytes it can hold without being moved.
    pub fn room(&self) -> usize {
        match &self.0 {
            Kind::Small(small) => small.capacity(),
            Kind::Large(large) => large.map.len(),
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        /// Large memory that has to grow is asked for so many times over: what is not written to
        /// takes none, and so hardly anything is ever moved, and there twice meanwhile. A process
        /// whose addresses are limited may not get that, but has to get on.
        const AMPLE: [usize; 2] = [8, 2];
        /// What is asked for once is hardly asked for again, but for the padding of a frame.
        const ONCE: usize = 4096;
        let wanted = self.len() + more;
        // A vector would take twice what it has.
        let is_large = wanted.max(2 * self.len()) > Memory::SMALL_BYTES_MOST;
        let ample = |times: usize| Memory::from_system(wanted.saturating_mul(times));
        let larger = match more > self.len() {
            true => Memory::from_system(wanted + ONCE),
            false => is_large.then(|| AMPLE.into_iter().find_map(ample)).flatten(),
        };
        match (&mut self.0, larger) {
            (Kind::Small(small), None) => small.reserve(more),
            (_, larger) => {
                let twice = || Vec::with_capacity(2 * wanted).into();
                let mut larger = larger.unwrap_or_else(twice);
                larger.append_with(self.len(), |room| {
                    room.copy_from_slice(self);
                    (self.len(), ())
                });
                *self = larger;
            }
        }
    }
}

impl Encode for Memory {
    #[inline]
    fn reserve(&mut self, bytes: usize) {
        if self.room() - self.len() < bytes {
            self.grow(bytes);
        }
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        if let Kind::Small(small) = &mut self.0 {
            small.extend_from_slice(bytes);
            return;
        }
        self.append_with(bytes.len(), |room| {
            room.copy_from_slice(bytes);
            (bytes.len(), ())
        });
    }

    #[inline]
    fn as_vector(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.0 {
            Kind::Small(small) => Some(small),
            Kind::Large(_) => None,
        }
    }
}

impl From<Vec<u8>> for Memory {
    fn from(bytes: Vec<u8>) -> Memory {
        Memory(Kind::Small(bytes))
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Small(small) => small,
            Kind::Large(large) => large.in_use(),
        }
    }
}

impl DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Kind::Small(small) => small,
            Kind::Large(large) => large.in_use_mut(),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Kind::Small(small) = &mut self.0 else { return };
        if small.capacity() < SIZES[0] {
            return;
        }
        let shelf = SIZES.iter().zip(&*SHELVES).find(|(size, _)| **size == small.capacity());
        if let Some((_, (shelf, _))) = shelf {
            // Where the shelf is full it is freed.
            shelf.try_send(std::mem::take(small)).ok();
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("bytes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = Memory::SMALL_BYTES_MOST + 1;

    fn capacity(memory: Memory) -> usize {
        memory.into_small().map_or(0, |small| small.capacity())
    }

    #[test]
    fn what_is_taken_has_its_length() {
        for bytes in [0, 1, 3_000, 4_000, 4_096, 4_097, 8_100, 60_000, 65_537, 1 << 20, LARGE] {
            drop(Memory::from(vec![7; bytes]));
            let mut memory = Memory::unwritten(bytes);
            assert_eq!(memory.len(), bytes);
            memory.fill(9);
            assert!(memory.iter().all(|byte| *byte == 9));
        }
    }

    #[test]
    fn memory_is_not_wasted_on_small_pages() {
        assert_eq!(capacity(Memory::unwritten(5_000)), 5_000);
        assert_eq!(capacity(Memory::unwritten(7_000)), 8 << 10);
    }

    #[test]
    fn what_is_appended_is_there_however_little_room_was_asked_for() {
        for room in [0, 10, LARGE, 3 * LARGE] {
            let mut memory = Memory::with_room(room);
            let mut expected = Vec::new();
            for (number, bytes) in [5, 4_000, LARGE, 1, 2 * LARGE].into_iter().enumerate() {
                memory.put(&vec![number as u8; bytes]);
                expected.put(&vec![number as u8; bytes]);
                let told = memory.append_with(100, |room| {
                    room.fill(0xaa);
                    (7, number)
                });
                assert_eq!(told, number);
                expected.put(&[0xaa; 7]);
            }
            memory.pad(expected.len() + 50);
            expected.resize(expected.len() + 50, 0);
            assert_eq!(*memory, *expected, "room for {room}");
            memory.pad(3);
            assert_eq!(memory.len(), expected.len());
        }
    }

    #[test]
    fn large_memory_is_nothing_that_could_be_kept() {
        assert!(Memory::unwritten(LARGE).into_small().is_none());
        assert!(Memory::with_room(LARGE).into_small().is_none());
        assert!(Memory::unwritten(LARGE - 1).into_small().is_some());
    }
}
