//! Pages that were read with one call, decoded by the reader and by threads of the pool that have
//! nothing else to do.
//!
//! ```text
//! stored   [ p0 | p1 | p2 | p3 | p4 | p5 | ... ]
//!            ^ reader  ^ pool    each takes the next page that nobody has taken
//! ```
//!
//! The reader never waits for a thread to begin: what the pool does not take it decodes itself, and
//! waits only for pages that a thread of the pool is at.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use sapwood_serialize::segment_image::{SegmentIdentity, decode_page};
use sapwood_serialize::{Corruption, Memory, Page, PagePlace, PageSummary};

use crate::cachetable::EncoderPool;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// For fewer pages than this no other thread is asked: it would come too late. A page takes some
/// 6 us to decode, a thread some 30 us to wake.
const SHARED_FROM: usize = 16;

/// One of the pages.
#[derive(Clone, Copy)]
pub(crate) struct StoredPage {
    pub(crate) index: usize,
    pub(crate) place: PagePlace,
    pub(crate) summary: PageSummary,
}

/// See the module's head.
pub(crate) struct Batch {
    identity: SegmentIdentity,
    pages: Vec<StoredPage>,
    /// The bytes from the start of the first page to the end of the last.
    stored: Memory,
    /// The first page that nobody has taken.
    next: AtomicUsize,
}

/// A page, or what is wrong with it.
pub(crate) type Decoded = Result<Page, Corruption>;

/// What another thread has made of the page at a place of the batch.
type Helped = (usize, Result<Decoded, Box<dyn Any + Send>>);

impl Batch {
    pub(crate) fn new(identity: SegmentIdentity, pages: Vec<StoredPage>, stored: Memory) -> Batch {
        Batch { identity, pages, stored, next: AtomicUsize::new(0) }
    }

    /// Decodes all pages, in their order. Gives back the memory that they were read into, unless
    /// another thread still has it, or it is large.
    ///
    /// # Panics
    /// When decoding does, here or on another thread.
    pub(crate) fn decode(self, pool: Option<&EncoderPool>) -> (Vec<Decoded>, Option<Vec<u8>>) {
        match pool.filter(|_| self.pages.len() >= SHARED_FROM) {
            Some(pool) => Arc::new(self).decode_with(pool),
            None => {
                let decoded = (0..self.pages.len()).map(|at| self.decode_one(at)).collect();
                (decoded, self.stored.into_small())
            }
        }
    }

    fn decode_with(self: Arc<Batch>, pool: &EncoderPool) -> (Vec<Decoded>, Option<Vec<u8>>) {
        let (sender, receiver) = channel();
        for _ in 1..pool.current_num_threads().max(2) {
            // What waits in the pool's queue holds nothing: the pool may not come for long.
            let (batch, sender) = (Arc::downgrade(&self), sender.clone());
            pool.spawn(move || {
                if let Some(batch) = batch.upgrade() {
                    batch.help(&sender);
                }
            });
        }
        let mut decoded: Vec<Option<Decoded>> = self.pages.iter().map(|_| None).collect();
        let mut missing = decoded.len();
        while let Some(at) = self.take() {
            decoded[at] = Some(self.decode_one(at));
            missing -= 1;
        }
        for (at, page) in receiver.iter().take(missing) {
            decoded[at] = Some(page.unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let memory = Arc::into_inner(self).and_then(|batch| batch.stored.into_small());
        (decoded.into_iter().flatten().collect(), memory)
    }

    /// Decodes pages as long as there are some that nobody has taken.
    fn help(&self, done: &Sender<Helped>) {
        while let Some(at) = self.take() {
            let page = catch_unwind(AssertUnwindSafe(|| self.decode_one(at)));
            // Nobody listens any more only when the reader itself has panicked.
            done.send((at, page)).ok();
        }
    }

    fn take(&self) -> Option<usize> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        (at < self.pages.len()).then_some(at)
    }

    fn decode_one(&self, at: usize) -> Decoded {
        let start = self.pages.first().map_or(0, |first| first.place.offset);
        let StoredPage { index, place, summary } = self.pages[at];
        let from = (place.offset - start) as usize;
        let stored = self.stored.get(from..from + place.stored_bytes as usize);
        let stored = stored.expect("pages lie in order within what was read");
        decode_page(self.identity, index, place, summary, stored)
    }
}

#[cfg(test)]
mod tests {
    use sapwood_serialize::filter::KeyBits;
    use sapwood_serialize::segment_image::{SegmentMeta, encode_segment};
    use sapwood_serialize::{
        Compression, DatabaseId, Directory, Filter, Op, PageBuilder, SegmentId, Version,
    };

    use super::*;
    use crate::cachetable::encoder_pool;

    const IDENTITY: SegmentIdentity = SegmentIdentity {
        database: DatabaseId::from_bytes(*b"0123456789abcdef"),
        segment: SegmentId::from_raw(7),
    };

    fn key(index: usize) -> Vec<u8> {
        format!("key {index:04}").into_bytes()
    }

    /// So many pages of one row.
    fn batch(count: usize) -> Batch {
        let mut directory = Directory::builder();
        let mut builder = PageBuilder::new();
        let mut pages = Vec::new();
        for index in 0..count {
            builder.push(&key(index), &[Version { msn: 0, op: Op::Put(&[b'v'; 200]) }]);
            let page = builder.finish();
            let summary = PageSummary { rows: 1, raw_bytes: page.bytes() as u32 };
            directory.push(page.first_key(), page.last_key(), &summary);
            pages.push(Arc::new(page));
        }
        let hashes: Vec<u64> = (0..count).map(|index| Filter::hash(&key(index))).collect();
        let meta = SegmentMeta {
            directory: directory.finish(),
            filter: Filter::build(&hashes, KeyBits::LEAF),
        };
        let encoded = encode_segment(IDENTITY, &meta, &pages, Compression::Lz4);
        let stored_page = |index| StoredPage {
            index,
            place: encoded.directory.place(index).unwrap(),
            summary: encoded.directory.summary(index),
        };
        Batch::new(IDENTITY, (0..count).map(stored_page).collect(), encoded.bytes)
    }

    fn keys_of(decoded: &[Decoded]) -> Vec<Option<Vec<u8>>> {
        decoded
            .iter()
            .map(|page| page.as_ref().ok().map(|page| page.first_key().to_vec()))
            .collect()
    }

    #[test]
    fn pages_come_back_in_their_order_whoever_decodes_them() {
        let pool = encoder_pool(3).unwrap();
        for count in [1, SHARED_FROM - 1, SHARED_FROM, 200] {
            let expected: Vec<_> = (0..count).map(|index| Some(key(index))).collect();
            for pool in [None, pool.as_ref()] {
                let (decoded, _) = batch(count).decode(pool);
                assert_eq!(keys_of(&decoded), expected);
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_page_is_told_in_its_place() {
        let pool = encoder_pool(2).unwrap();
        let mut batch = batch(100);
        for index in [0, 41, 99] {
            let at = batch.pages[index].place.offset as usize;
            batch.stored[at + 9] ^= 1;
        }
        let (decoded, _) = batch.decode(pool.as_ref());
        let broken: Vec<usize> = (0..100).filter(|at| decoded[*at].is_err()).collect();
        assert_eq!(broken, [0, 41, 99]);
    }

    /// Every thread of the pool is at something else, and stays so: the reader does it all, and
    /// nothing of it is left behind.
    #[test]
    fn memory_comes_back_though_the_pool_does_not_come() {
        let pool = encoder_pool(2).unwrap().unwrap();
        let (release, released) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..2 {
            let released = released.clone();
            pool.spawn(move || assert!(released.recv().is_err()));
        }
        let (decoded, memory) = batch(100).decode(Some(&pool));
        assert_eq!(keys_of(&decoded).iter().flatten().count(), 100);
        assert!(memory.unwrap().capacity() > 10_000, "what waits in the queue holds the pages");
        drop(release);
    }

    #[test]
    fn memory_comes_back_for_the_next_read() {
        let (_, memory) = batch(3).decode(None);
        assert!(memory.unwrap().capacity() > 600);
    }
}
