//! Which versions a reader sees.
//!
//! ```text
//! committed   1 2 3 4 | 5 6 ...        a reader at 4 sees these four
//! own         FIRST, FIRST + 1 | ...   and of its transaction's own changes those up to a number
//! ```
//!
//! Changes that a transaction has not committed yet are numbered from [`Sight::OWN_FIRST`] on,
//! above everything that is committed, so that they win wherever versions are merged.

use crate::Msn;

/// Which versions a reader sees: what was committed up to an MSN, and its own changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    committed: Msn,
    own: Msn,
}

impl Sight {
    /// The number of a transaction's first change. No database lives to commit so many messages.
    pub const OWN_FIRST: Msn = Msn::from_raw(1 << 60);

    /// What was committed up to `committed`, and nothing else.
    pub const fn at(committed: Msn) -> Sight {
        Sight { committed, own: Msn::ZERO }
    }

    /// The same, and a transaction's own changes up to `own`.
    #[must_use]
    pub const fn with_own(self, own: Msn) -> Sight {
        Sight { own, ..self }
    }

    /// The newest MSN that is seen of what is committed.
    pub const fn committed(self) -> Msn {
        self.committed
    }

    /// The newest number that is seen of the transaction's own changes.
    pub const fn own(self) -> Msn {
        self.own
    }

    /// Whether a version with this MSN is seen.
    pub const fn sees(self, msn: u64) -> bool {
        msn <= self.committed.to_raw()
            || (msn >= Sight::OWN_FIRST.to_raw() && msn <= self.own.to_raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_is_committed_and_its_own() {
        let own = Sight::OWN_FIRST.to_raw();
        let sight = Sight::at(Msn::from_raw(4)).with_own(Msn::from_raw(own + 1));
        let seen = [0, 4, 5, own - 1, own, own + 1, own + 2].map(|msn| sight.sees(msn));
        assert_eq!(seen, [true, true, false, false, true, true, false]);
        assert!(!Sight::at(Msn::from_raw(4)).sees(own));
    }
}
