//! Memory straight from the system, a little of which is kept for the next who asks.
//!
//! ```text
//! dropped --> [ 1 MiB | 2 | 4 | ... | 64 MiB ], some altogether --> asked for     else: the system
//! ```
//!
//! The system makes every page anew when it is first written to, one fault each: 2 us, which is
//! four times what copying its bytes takes. What is large goes through several hands, so that what
//! one lets go of is what the next one needs. (Values of 1 MiB were written at 190 MB a second
//! without this, and at 500 with vectors of the allocator.)
//!
//! Invariant: no more is kept than [`keep`] has allowed, and nothing of another size.

use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use memmap2::{MmapMut, MmapOptions};

/// What is kept has one of these lengths.
const SIZES: [usize; 7] = [1 << 20, 2 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20, 64 << 20];
/// Of each size, no more.
const KEPT_MOST: usize = 64;

/// A channel never blocks when it is only tried.
type Shelf = (Sender<MmapMut>, Receiver<MmapMut>);

static SHELVES: LazyLock<[Shelf; SIZES.len()]> =
    LazyLock::new(|| SIZES.map(|_| bounded(KEPT_MOST)));
static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);
static KEPT_BYTES_MOST: AtomicUsize = AtomicUsize::new(0);

/// Allows that `bytes` bytes are kept, if not more are allowed already.
pub fn keep(bytes: usize) {
    KEPT_BYTES_MOST.fetch_max(bytes, Ordering::Relaxed);
}

/// Some pages of the system's memory, which stay where they are when this is moved.
pub(crate) struct Mapping(Option<MmapMut>);

impl Mapping {
    /// At least so many bytes, whatever they are; `None` when the system refuses. What was never
    /// written to takes no memory.
    pub(crate) fn new(bytes: usize) -> Option<Mapping> {
        let shelf = SIZES.iter().zip(&*SHELVES).find(|(size, _)| **size >= bytes);
        if let Some((size, (_, kept))) = shelf
            && let Ok(map) = kept.try_recv()
        {
            KEPT_BYTES.fetch_sub(*size, Ordering::Relaxed);
            return Some(Mapping(Some(map)));
        }
        let bytes = shelf.map_or(bytes, |(size, _)| *size);
        let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon();
        map.ok().map(|map| Mapping(Some(map)))
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Mapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let bytes = self.len();
        let shelf = SIZES.iter().zip(&*SHELVES).find(|(size, _)| **size == bytes);
        let (Some(map), Some((_, (shelf, _)))) = (self.0.take(), shelf) else { return };
        let kept = KEPT_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // What finds no place goes back to the system.
        if kept > KEPT_BYTES_MOST.load(Ordering::Relaxed) || shelf.try_send(map).is_err() {
            KEPT_BYTES.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_as_much_as_was_asked_for() {
        for (bytes, length) in [(1, 1 << 20), (3 << 20, 4 << 20), (65 << 20, 65 << 20)] {
            let mut mapping = Mapping::new(bytes).unwrap();
            assert_eq!(mapping.len(), length);
            *mapping.last_mut().unwrap() = 7;
            assert_eq!(mapping.last(), Some(&7));
        }
    }

    #[test]
    fn no_more_is_kept_than_was_allowed() {
        keep(3 << 20);
        keep(1 << 20);
        let most = KEPT_BYTES_MOST.load(Ordering::Relaxed);
        let many: Vec<_> = (0..most / SIZES[0] + 5).map(|_| Mapping::new(1).unwrap()).collect();
        drop(many);
        let kept: usize =
            SIZES.iter().zip(&*SHELVES).map(|(size, shelf)| size * shelf.1.len()).sum();
        assert!(most >= 3 << 20 && kept <= most, "{kept} of {most}");
    }
}
