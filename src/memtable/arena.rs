//! Memory for the entries, or the guides, of one memtable: taken piece by piece, given back all at
//! once.
//!
//! ```text
//! chunks   [ 16 KiB ][ 32 KiB ] ... [ 512 KiB ][ 512 KiB ]    [ one large piece ]
//!                                      ^ the next piece comes from here
//! ```
//!
//! Chunks double from 16 KiB, so that an empty memtable costs little, up to 512 KiB. A piece larger
//! than a quarter of the next chunk gets a chunk of its own, so at most a quarter of a chunk is
//! left unused at its end.
//!
//! Invariants:
//! 1. a piece stays where it is, and is handed out once, until the arena is dropped;
//! 2. pieces are aligned to a word and do not overlap;
//! 3. every byte of every chunk is charged to the meter.
//!
//! Threads: whoever has the arena mutably takes pieces; the arena itself never looks into them.
#![expect(unsafe_code, reason = "measured: a random insert takes 0.35 us, an ascending one 0.1 us")]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use sapwood_serialize::{Charge, Memory, Meter};

/// The unit of the arena: eight bytes, aligned to eight.
pub(super) type Word = u64;

pub(super) const WORD_BYTES: usize = size_of::<Word>();

const FIRST_CHUNK_WORDS: usize = (16 << 10) / WORD_BYTES;
const CHUNK_WORDS_MAX: usize = Memory::SMALL_BYTES_MOST / WORD_BYTES;

/// Chunks of memory, and where the next piece comes from.
pub(super) struct Arena {
    meter: Meter,
    chunks: Vec<Chunk>,
    /// The part of the newest shared chunk that is not taken yet.
    free: Piece,
    next_chunk_words: usize,
}

/// Some words that are not initialised.
struct Piece {
    start: NonNull<Word>,
    words: usize,
}

impl Arena {
    pub(super) fn new(meter: &Meter) -> Arena {
        Arena {
            meter: meter.clone(),
            chunks: Vec::new(),
            free: Piece { start: NonNull::dangling(), words: 0 },
            next_chunk_words: FIRST_CHUNK_WORDS,
        }
    }

    /// A piece of `words` words that are not initialised, valid until the arena is dropped.
    pub(super) fn take(&mut self, words: usize) -> NonNull<Word> {
        if words > self.free.words {
            if words > self.next_chunk_words / 4 {
                return self.add_chunk(words);
            }
            let start = self.add_chunk(self.next_chunk_words);
            self.free = Piece { start, words: self.next_chunk_words };
            self.next_chunk_words = (self.next_chunk_words * 2).min(CHUNK_WORDS_MAX);
        }
        let start = self.free.start;
        // SAFETY: `words` is at most `free.words`, the words from here to the end of the chunk.
        self.free.start = unsafe { start.add(words) };
        self.free.words -= words;
        start
    }

    fn add_chunk(&mut self, words: usize) -> NonNull<Word> {
        let chunk = Chunk::new(words, &self.meter);
        let start = chunk.start;
        self.chunks.push(chunk);
        start
    }
}

// SAFETY: the pointers lead to chunks that the arena owns, so that they move with it; nothing in
// it is bound to a thread.
unsafe impl Send for Arena {}

/// One allocation.
struct Chunk {
    start: NonNull<Word>,
    held: Held,
    _charge: Charge,
}

/// What keeps a chunk.
enum Held {
    /// A box by its pointer, because a box that moves promises that no pointer into it is in use.
    Boxed(NonNull<[MaybeUninit<Word>]>),
    /// A large one: among what is small it would leave a hole behind.
    Apart { _memory: Memory },
}

impl Chunk {
    fn new(words: usize, meter: &Meter) -> Chunk {
        let charge = meter.charge(words * WORD_BYTES);
        if let Some(mut memory) = Memory::large(words * WORD_BYTES) {
            let start = NonNull::from(&mut *memory).cast();
            return Chunk { start, held: Held::Apart { _memory: memory }, _charge: charge };
        }
        let boxed = Box::into_raw(Box::new_uninit_slice(words));
        let boxed = NonNull::new(boxed).expect("a box is never null");
        Chunk { start: boxed.cast(), held: Held::Boxed(boxed), _charge: charge }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Held::Boxed(boxed) = self.held {
            // SAFETY: the pointer came from `Box::into_raw` and is given back once, here.
            drop(unsafe { Box::from_raw(boxed.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_start_small_and_are_charged() {
        let meter = Meter::new();
        let mut arena = Arena::new(&meter);
        assert_eq!(meter.bytes(), 0);
        arena.take(1);
        assert_eq!(meter.bytes(), 16 << 10);
        drop(arena);
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    fn pieces_follow_each_other() {
        let mut arena = Arena::new(&Meter::new());
        let first = arena.take(3);
        let second = arena.take(5);
        assert_eq!(second.addr().get(), first.addr().get() + 3 * WORD_BYTES);
    }

    #[test]
    fn a_large_piece_gets_its_own_chunk() {
        let meter = Meter::new();
        let mut arena = Arena::new(&meter);
        let first = arena.take(1);
        let large = 5 << 20;
        arena.take(large / WORD_BYTES);
        assert_eq!(meter.bytes(), (16 << 10) + large as u64);
        let second = arena.take(1);
        assert_eq!(second.addr().get(), first.addr().get() + WORD_BYTES);
    }

    #[test]
    fn little_is_left_unused() {
        let meter = Meter::new();
        let mut arena = Arena::new(&meter);
        let mut taken = 0;
        for words in (1..2000).cycle().take(20_000) {
            arena.take(words);
            taken += words * WORD_BYTES;
        }
        assert!(meter.bytes() < taken as u64 * 101 / 100 + (1 << 20));
    }

    /// Sizes that fill chunks to their last word, get chunks of their own, and all in between.
    #[test]
    fn pieces_keep_every_word_that_is_written_to_them() {
        let mut arena = Arena::new(&Meter::new());
        let sizes = [FIRST_CHUNK_WORDS / 4; 4].into_iter().chain((1..600).cycle().take(4000));
        let taken: Vec<_> = sizes.map(|words| (arena.take(words), words)).collect();
        let mark = |piece: usize, word: usize| (piece << 32 | word) as Word;
        for (number, (start, words)) in taken.iter().enumerate() {
            // SAFETY: the piece has so many words, and only this test knows it.
            (0..*words).for_each(|at| unsafe { start.add(at).write(mark(number, at)) });
        }
        let moved = Box::new(arena);
        for (number, (start, words)) in taken.iter().enumerate() {
            // SAFETY: all words were written, and the arena is there.
            let found = |at| unsafe { start.add(at).read() };
            assert!((0..*words).all(|at| found(at) == mark(number, at)), "piece {number}");
        }
        drop(moved);
    }
}
