//! What the log's files have taken, and the system has not written out yet.
//!
//! A system keeps what it was given in memory for as long as it can. A log is the most that it is
//! given and the last that anybody reads; when memory runs short (for a group of processes, that
//! may be soon), whoever needs the next page waits until some of it has been written: the writer,
//! for a tenth of a second and more. So it is asked for the log at the log's own pace.
//!
//! Invariants:
//! 1. of what was written, everything is asked for twice: once to begin with it, and once more, a
//!    while later, to let go of it;
//! 2. but the end of the active file, for as long as that is not worth a call.

/// So much is worth a call of the system.
const WORTH: u64 = 1 << 20;

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
    /// What was asked for the last time.
    begun: Vec<Stretch<F>>,
}

impl<F> Default for Outgoing<F> {
    fn default() -> Outgoing<F> {
        Outgoing { sealed: Vec::new(), from: 0, begun: Vec::new() }
    }
}

impl<F: Clone> Outgoing<F> {
    /// The active file ends at `to`, and another one becomes it.
    pub(super) fn seal(&mut self, file: F, to: u64) {
        self.sealed.push(Stretch { file, from: self.from, to });
        self.from = 0;
    }

    /// What is to be asked for now, when the active file has been written up to `to`. The caller
    /// asks.
    pub(super) fn take(&mut self, active: &F, to: u64) -> Vec<Stretch<F>> {
        let mut fresh = std::mem::take(&mut self.sealed);
        if to >= self.from + WORTH {
            fresh.push(Stretch { file: active.clone(), from: self.from, to });
            self.from = to;
        }
        let mut asked = std::mem::replace(&mut self.begun, fresh.clone());
        asked.extend(fresh);
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn everything_is_asked_for_twice_and_the_end_when_it_is_worth_a_call() {
        let mut outgoing = Outgoing::default();
        let of = |file, from, to| Stretch { file, from, to };
        assert_eq!(outgoing.take(&'a', MIB - 1), []);
        assert_eq!(outgoing.take(&'a', 3 * MIB), [of('a', 0, 3 * MIB)]);
        assert_eq!(outgoing.take(&'a', 3 * MIB + 1), [of('a', 0, 3 * MIB)]);
        assert_eq!(outgoing.take(&'a', 3 * MIB + 2), []);
        outgoing.seal('a', 3 * MIB + 3);
        outgoing.seal('b', 5);
        let sealed = [of('a', 3 * MIB, 3 * MIB + 3), of('b', 0, 5)];
        assert_eq!(outgoing.take(&'c', 7), sealed);
        assert_eq!(outgoing.take(&'c', MIB), [&sealed[..], &[of('c', 0, MIB)]].concat());
        assert_eq!(outgoing.take(&'c', MIB), [of('c', 0, MIB)]);
        assert_eq!(outgoing.take(&'c', MIB), []);
    }
}
