//! When a sync begins, so that as many commits as possible share it.
//!
//! ```text
//! four threads, each of which commits, waits for its sync, and commits again:
//!   the first one syncs at once       a | bcd | a | bcd | ...       two commits a sync
//!   the last one of the company does      abcd  |  abcd | ...       four
//! ```
//!
//! Those whom a sync lets go are often back before another one would have ended. Had the first of
//! them begun one at once, all others would wait for two. So the first ones wait for as many as the
//! last sync had in line at its end, but no longer, counted from that end, than it took. Where they
//! waited in vain, the next syncs begin at once: one, then three, then seven. A single thread never
//! waits.

use std::time::Duration;

use sapwood_serialize::Lsn;

/// Nobody waits longer for others, however slow the disk is.
const PATIENCE_MOST: Duration = Duration::from_millis(1);

/// No more syncs in a row begin at once after waiting in vain.
const AT_ONCE_MOST: u32 = 63;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Up to where those in line want the log to be durable, one position each.
    line: Vec<Lsn>,
    /// How many were in line at the end of the last sync, whom it let go among them.
    expected: usize,
    /// Until when it is worth waiting for them.
    until: Duration,
    /// So many syncs still begin at once.
    at_once: u32,
    /// How many began at once after the last time that somebody waited in vain.
    in_vain: u32,
}

impl Company {
    /// Somebody lines up for `position`, in a log that is durable up to `durable`.
    pub(super) fn join(&mut self, position: Lsn, durable: Lsn) {
        self.let_go(durable);
        self.line.push(position);
    }

    /// How long the others are still worth waiting for at the time `now`; `None` when a sync is to
    /// begin.
    pub(super) fn patience(&self, now: Duration) -> Option<Duration> {
        let is_complete = self.at_once > 0 || self.line.len() >= self.expected;
        let left = self.until.saturating_sub(now);
        (!is_complete && left > Duration::ZERO).then_some(left)
    }

    /// A sync begins for those in line. Who comes too late to wait counts as one who did in vain.
    pub(super) fn begin(&mut self) {
        if self.at_once > 0 {
            self.at_once -= 1;
        } else if self.line.len() < self.expected {
            self.in_vain = (2 * self.in_vain + 1).min(AT_ONCE_MOST);
            self.at_once = self.in_vain;
        } else if self.expected > 1 {
            self.in_vain = 0;
        }
    }

    /// The sync has ended, after `took`: the log is durable up to `durable`.
    pub(super) fn end(&mut self, now: Duration, took: Duration, durable: Lsn) {
        self.expected = self.line.len();
        self.until = now + took.min(PATIENCE_MOST);
        self.let_go(durable);
    }

    fn let_go(&mut self, durable: Lsn) {
        self.line.retain(|position| *position > durable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(100);

    fn lsn(position: u64) -> Lsn {
        Lsn::from_raw(position)
    }

    /// A company that has lined up for the positions, and whose sync has just ended at `SYNC`.
    fn synced(positions: &[u64]) -> Company {
        let mut company = Company::default();
        for position in positions {
            company.join(lsn(*position), lsn(0));
        }
        company.begin();
        let durable = positions.iter().max().unwrap();
        company.end(SYNC, SYNC, lsn(*durable));
        company
    }

    #[test]
    fn a_single_thread_never_waits() {
        let mut company = Company::default();
        for position in 1..10 {
            company.join(lsn(position), lsn(position - 1));
            assert_eq!(company.patience(Duration::ZERO), None);
            company.begin();
            company.end(Duration::ZERO, SYNC, lsn(position));
        }
    }

    #[test]
    fn the_last_one_of_the_company_syncs() {
        let mut company = synced(&[1, 2, 3]);
        for position in [4, 5] {
            company.join(lsn(position), lsn(3));
            assert_eq!(company.patience(SYNC + SYNC / 4), Some(SYNC * 3 / 4));
        }
        company.join(lsn(6), lsn(3));
        assert_eq!(company.patience(SYNC + SYNC / 4), None);
    }

    #[test]
    fn who_came_during_a_sync_belongs_to_the_company() {
        let mut company = Company::default();
        company.join(lsn(1), lsn(0));
        company.begin();
        company.join(lsn(2), lsn(0));
        company.join(lsn(3), lsn(0));
        company.end(SYNC, SYNC, lsn(1));
        assert!(company.patience(SYNC).is_some(), "two are in line, the third will be back");
        company.join(lsn(4), lsn(1));
        assert_eq!(company.patience(SYNC), None);
    }

    #[test]
    fn nobody_waits_longer_than_a_sync_takes() {
        let mut company = synced(&[1, 2, 3]);
        company.join(lsn(4), lsn(3));
        assert_eq!(company.patience(SYNC * 2), None);
        company.end(SYNC, Duration::from_secs(1), lsn(0));
        company.expected = 9;
        assert_eq!(company.patience(SYNC), Some(PATIENCE_MOST));
    }

    /// Three of four threads have gone for good, again and again.
    #[test]
    fn what_was_in_vain_is_not_tried_again_soon() {
        let mut company = synced(&[1, 2, 3, 4]);
        let (mut waits, mut position) = (Vec::new(), 4);
        for sync in 0..200 {
            position += 1;
            company.join(lsn(position), lsn(position - 1));
            if company.patience(SYNC).is_some() {
                waits.push(sync);
            }
            company.begin();
            company.end(SYNC, SYNC, lsn(position));
            company.expected = 4;
        }
        assert_eq!(waits, [0, 2, 6, 14, 30, 62, 126, 190]);
    }

    #[test]
    fn waiting_that_was_worth_it_is_trusted_again() {
        let mut company = synced(&[1, 2]);
        company.join(lsn(3), lsn(2));
        company.begin();
        assert_eq!((company.in_vain, company.at_once), (1, 1));
        company.join(lsn(4), lsn(2));
        company.end(SYNC, SYNC, lsn(4));
        company.begin();
        company.join(lsn(5), lsn(4));
        company.join(lsn(6), lsn(4));
        company.begin();
        assert_eq!((company.in_vain, company.at_once), (0, 0));
    }

    /// Those whom a checkpoint's sync has let go do not stay in line.
    #[test]
    fn who_is_durable_already_is_not_in_line() {
        let mut company = synced(&[1, 2]);
        company.join(lsn(3), lsn(2));
        company.join(lsn(4), lsn(3));
        assert!(company.patience(SYNC).is_some(), "one of two is in line");
    }
}
