//! Who may work where.
//!
//! A claim is by [`BlockId`]: the right to take from the buffer above that node, and to change that
//! node's own pivots or leaf run. It is tried, never waited for. Appending needs none. Whoever
//! divides or joins nodes claims each of them, so that no buffer is divided while a job takes from
//! it.

use std::collections::BTreeSet;

use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_serialize::BlockId;

/// The nodes that jobs are working on.
pub struct Claims(Mutex<BTreeSet<BlockId>>);

impl Default for Claims {
    fn default() -> Claims {
        Claims(Mutex::new(Rank::JobQueue, BTreeSet::new()))
    }
}

impl Claims {
    /// How many nodes are claimed.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Claims `block` until the returned value is dropped; `None` when somebody else has it.
    pub fn take(&self, block: BlockId) -> Option<Claim<'_>> {
        let is_free = self.0.lock().insert(block);
        // Lazily: a claim that was never granted must not be let go.
        is_free.then(|| Claim { claims: self, block })
    }
}

/// A job's exclusive right to one node and the buffer above it.
pub struct Claim<'a> {
    claims: &'a Claims,
    block: BlockId,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.0.lock().remove(&self.block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_was_refused_does_not_let_go_of_the_one_that_stands() {
        let claims = Claims::default();
        let block = BlockId::from_raw(1);
        let first = claims.take(block);
        assert!(first.is_some());
        assert!(claims.take(block).is_none());
        assert!(claims.take(block).is_none(), "the refusal has freed another job's claim");
        drop(first);
        assert!(claims.take(block).is_some());
    }
}
