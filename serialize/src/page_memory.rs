//! Memory of pages that were dropped, kept for the next ones.
//!
//! ```text
//! Page dropped --> [ 4 KiB | 8 KiB | ... | 64 KiB ], up to 32 MiB of each --> Page built or read
//! ```
//!
//! An allocator keeps what is freed for the thread that had asked for it. Pages are built by one
//! thread and let go of by another, so each thread's share would grow to what all need together.
//! (Measured with a budget of 64 MiB: the process peaked at 123 MiB without this; with 32 MiB and a
//! store that is opened ten times, at 135 MiB where only 2 MiB are kept, at 54 where 32 are.)
//!
//! Invariants:
//! 1. what is taken has the length that was asked for, and any contents: it is written over;
//! 2. no more than [`KEPT_BYTES_MOST`] of a size is kept, and nothing of another size.

use std::sync::LazyLock;

use crossbeam_channel::{Receiver, Sender, bounded};

/// What is kept has one of these capacities.
const SIZES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// Of each size, no more is kept. What finds no place goes back to the allocator, which cannot hand
/// it to another thread.
const KEPT_BYTES_MOST: usize = 32 << 20;

/// A channel never blocks when it is only tried.
type Shelf = (Sender<Vec<u8>>, Receiver<Vec<u8>>);

static SHELVES: LazyLock<[Shelf; SIZES.len()]> =
    LazyLock::new(|| SIZES.map(|size| bounded(KEPT_BYTES_MOST / size)));

/// `bytes` bytes that are still to be written, whatever they are now: zeroing them took a twentieth
/// of a scan's time. Pages that nearly fill a size have its capacity.
pub(crate) fn take(bytes: usize) -> Vec<u8> {
    let mut memory = match SIZES.iter().zip(&*SHELVES).find(|(size, _)| **size >= bytes) {
        Some((size, (_, kept))) if bytes > size / 4 * 3 => {
            kept.try_recv().unwrap_or_else(|_| Vec::with_capacity(*size))
        }
        _ => Vec::with_capacity(bytes),
    };
    memory.resize(bytes, 0);
    memory
}

/// Keeps the memory of a page that is dropped, if there is room for it.
pub(crate) fn give_back(memory: Vec<u8>) {
    let shelf = SIZES.iter().zip(&*SHELVES).find(|(size, _)| **size == memory.capacity());
    if let Some((_, (shelf, _))) = shelf {
        // Where the shelf is full it is freed.
        shelf.try_send(memory).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_has_its_length() {
        for bytes in [0, 1, 3_000, 4_000, 4_096, 4_097, 8_100, 60_000, 65_537, 1 << 20] {
            give_back(vec![7; bytes]);
            let memory = take(bytes);
            assert_eq!(memory.len(), bytes);
            give_back(memory);
        }
    }

    #[test]
    fn memory_is_not_wasted_on_small_pages() {
        assert_eq!(take(5_000).capacity(), 5_000);
        assert_eq!(take(7_000).capacity(), 8 << 10);
    }
}
