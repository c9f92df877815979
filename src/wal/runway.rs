//! The pages of the active file that the writer comes to next.
//!
//! ```text
//! active file   [ written .......... | ready, in the system's memory ... |  only space ... ]
//!                                    ^ written                           ^ ready
//! ```
//!
//! The first write to a page needs memory of the system. Where that is short (for a group of
//! processes, that may be soon), whoever needs it looks for what can go, and may sleep for a tenth
//! of a second when all that is old is on its way to the disk. So a thread that may sleep has the
//! pages made before the writer gets there.

/// So far ahead of the writer: more than a log at full speed takes in the tenth of a second after
/// which the thread looks again.
const AHEAD: u64 = 24 << 20;
/// So much is worth asking for.
const WORTH: u64 = 1 << 20;
/// The system takes no more than this at once, where it has not been told otherwise.
const AT_ONCE: usize = 128 << 10;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Runway {
    ready: u64,
}

impl Runway {
    /// What is to be made ready now, when the file has been written up to `written` and has space
    /// up to `allocated`: pieces of offset and length. The caller asks the system for them.
    pub(super) fn take(&mut self, written: u64, allocated: u64) -> Vec<(u64, u64)> {
        let (start, end) = (self.ready.max(written), allocated.min(written + AHEAD));
        if end < start + WORTH {
            return Vec::new();
        }
        self.ready = end;
        let pieces = (start..end).step_by(AT_ONCE);
        pieces.map(|offset| (offset, (end - offset).min(AT_ONCE as u64))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Where a writer is, what is asked for begins and ends, and that it is in pieces.
    fn taken(runway: &mut Runway, written: u64, allocated: u64) -> Option<Range<u64>> {
        let pieces = runway.take(written, allocated);
        let ends: Vec<u64> = pieces.iter().map(|(offset, bytes)| offset + bytes).collect();
        let starts = pieces.iter().skip(1).map(|(offset, _)| *offset);
        assert!(starts.eq(ends.iter().copied().take(pieces.len().saturating_sub(1))));
        assert!(pieces.iter().all(|(_, bytes)| (1..=AT_ONCE as u64).contains(bytes)));
        Some(pieces.first()?.0..*ends.last()?)
    }

    #[test]
    fn it_keeps_ahead_of_the_writer_and_asks_for_nothing_twice() {
        let (mut runway, long) = (Runway::default(), 1 << 40);
        assert_eq!(taken(&mut runway, 100, long), Some(100..100 + AHEAD));
        assert_eq!(taken(&mut runway, 100, long), None);
        assert_eq!(taken(&mut runway, 99 + WORTH, long), None, "it is not worth it");
        let written = 7 * WORTH;
        assert_eq!(taken(&mut runway, written, long), Some(100 + AHEAD..written + AHEAD));
        let overtaken = 9 * AHEAD;
        assert_eq!(taken(&mut runway, overtaken, long), Some(overtaken..10 * AHEAD));
    }

    #[test]
    fn it_ends_where_the_file_has_no_space() {
        let mut runway = Runway::default();
        assert_eq!(taken(&mut runway, 0, 3 * WORTH + 5), Some(0..3 * WORTH + 5));
        assert_eq!(taken(&mut runway, WORTH, 3 * WORTH + 5), None);
        assert_eq!(taken(&mut runway, 4 * WORTH, 3 * WORTH + 5), None);
    }
}
