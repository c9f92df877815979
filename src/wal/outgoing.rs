//! What the log's files have taken, and the system has not written out yet.
//!
//! A system keeps what it was given in memory for as long as it can. A log is the most that it is
//! given and the last that anybody reads; when memory runs short (for a group of processes, that
//! may be soon), whoever needs the next page waits until some of it has been written: the writer,
//! for a tenth of a second and more. So it is asked for the log at the log's own pace.
//!
//! Invariants:
//! 1. of what was written, everything is asked for twice: once to begin with it, and once more,
//!    when [`LAG`] more have been begun, to let go of it;
//! 2. but the end of the active file, for as long as that is not worth a call;
//! 3. a file that is removed is asked for no more, and not held.

use std::collections::VecDeque;

/// So much is worth a call of the system.
const WORTH: u64 = 1 << 20;

/// So much later what was begun has probably been written out: a log at full speed takes a third of
/// a second for that.
const LAG: u64 = 16 << 20;

/// What lies in a file between two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch<F> {
    pub(super) file: F,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Stretches of files that the system is to be asked for.
pub(super) struct Outgoing<F> {
    /// Of files that are sealed, oldest first.
    sealed: Vec<Stretch<F>>,
    /// Where the one of the active file begins.
    from: u64,
    /// What was asked for once, oldest first.
    begun: VecDeque<Stretch<F>>,
    begun_bytes: u64,
}

impl<F> Default for Outgoing<F> {
    fn default() -> Outgoing<F> {
        Outgoing { sealed: Vec::new(), from: 0, begun: VecDeque::new(), begun_bytes: 0 }
    }
}

impl<F> Stretch<F> {
    pub(super) fn bytes(&self) -> u64 {
        self.to - self.from
    }
}

impl<F: Clone> Outgoing<F> {
    /// The active file ends at `to`, and another one becomes it.
    pub(super) fn seal(&mut self, file: F, to: u64) {
        debug_assert!(self.from <= to, "what was asked for has been written");
        if to > self.from {
            self.sealed.push(Stretch { file, from: self.from, to });
        }
        self.from = 0;
    }

    /// Only files that are `kept` are asked for from now on.
    pub(super) fn retain(&mut self, kept: impl Fn(&F) -> bool) {
        self.sealed.retain(|stretch| kept(&stretch.file));
        self.begun.retain(|stretch| kept(&stretch.file));
        self.begun_bytes = self.begun.iter().map(Stretch::bytes).sum();
    }

    /// What is to be asked for now, when the active file has been written up to `to`. The caller
    /// asks.
    pub(super) fn take(&mut self, active: &F, to: u64) -> Vec<Stretch<F>> {
        let mut asked = std::mem::take(&mut self.sealed);
        if to >= self.from + WORTH {
            asked.push(Stretch { file: active.clone(), from: self.from, to });
            self.from = to;
        }
        self.begun_bytes += asked.iter().map(Stretch::bytes).sum::<u64>();
        self.begun.extend(asked.iter().cloned());
        while let Some(oldest) = self.begun.front()
            && self.begun_bytes >= oldest.bytes() + LAG
        {
            self.begun_bytes -= oldest.bytes();
            asked.extend(self.begun.pop_front());
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_asked_for_twice_and_the_end_when_it_is_worth_a_call() {
        let mut outgoing = Outgoing::default();
        let of = |file, from, to| Stretch { file, from, to };
        assert_eq!(outgoing.take(&'a', WORTH - 1), []);
        assert_eq!(outgoing.take(&'a', 3 * WORTH), [of('a', 0, 3 * WORTH)]);
        assert_eq!(outgoing.take(&'a', 3 * WORTH + 1), []);
        outgoing.seal('a', 3 * WORTH + 3);
        outgoing.seal('b', 5);
        let sealed = [of('a', 3 * WORTH, 3 * WORTH + 3), of('b', 0, 5)];
        assert_eq!(outgoing.take(&'c', 7), sealed);
        assert_eq!(outgoing.take(&'c', LAG - 9), [of('c', 0, LAG - 9)]);
        let again = [of('c', LAG - 9, 2 * LAG), of('a', 0, 3 * WORTH)];
        assert_eq!(
            outgoing.take(&'c', 2 * LAG),
            [&again[..], &sealed, &[of('c', 0, LAG - 9)]].concat()
        );
        assert_eq!(outgoing.take(&'c', 2 * LAG), []);
    }

    #[test]
    fn a_file_that_is_gone_is_asked_for_no_more() {
        let mut outgoing = Outgoing::default();
        outgoing.seal('a', 5);
        outgoing.take(&'b', LAG);
        outgoing.seal('b', LAG);
        outgoing.retain(|file| *file == 'c');
        assert_eq!(outgoing.begun_bytes, 0);
        let fresh = [Stretch { file: 'c', from: 0, to: 2 * LAG }];
        assert_eq!(outgoing.take(&'c', 2 * LAG), fresh);
    }
}
