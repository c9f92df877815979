//! Runs of several trees as bytes: what a log record names that commits more than fits into memory.
//!
//! ```text
//! runs     tree count, then by ascending id: tree id, run count, runs oldest to newest
//! ```
//!
//! Runs are written as in a node, see [`crate::node_image`]. Their messages are numbered from
//! [`Sight::OWN_FIRST`] on, because their MSNs are not known when they are written.

use std::sync::Arc;

use crate::codec::{Decoder, Encode};
use crate::node_image::{SegmentPool, decode_run, encode_run};
use crate::run::Run;
use crate::{Corruption, Msn, Sight, TreeId};

/// The runs of each tree, oldest first; trees ascend.
pub type TreeRuns = Vec<(TreeId, Vec<Arc<Run>>)>;

/// Writes the runs of some trees.
///
/// # Panics
/// When a segment of them is not written yet.
pub fn encode_runs(trees: &TreeRuns) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_varint(trees.len() as u64);
    for (tree, runs) in trees {
        out.put_varint(tree.to_raw());
        out.put_varint(runs.len() as u64);
        runs.iter().for_each(|run| encode_run(&mut out, run));
    }
    out
}

/// Reads runs whose messages have `numbers` numbers together.
///
/// # Errors
/// When the bytes are not what [`encode_runs`] writes.
pub fn decode_runs(numbers: u64, payload: &[u8]) -> Result<TreeRuns, Corruption> {
    let mut decoder = Decoder::new("runs of a commit", payload);
    let mut segments = SegmentPool::default();
    let mut trees: TreeRuns = Vec::new();
    if numbers >= Sight::OWN_FIRST.to_raw() {
        return Err(decoder.broken("it takes more message numbers than there are"));
    }
    for _ in 0..decoder.count(decoder.remaining())? {
        let tree = TreeId::from_raw(decoder.counter()?);
        if trees.last().is_some_and(|(last, _)| *last >= tree) {
            return Err(decoder.broken("the trees do not ascend"));
        }
        let count = decoder.count(decoder.remaining())?;
        let runs = (0..count).map(|_| decode_run(&mut decoder, &mut segments).map(Arc::new));
        let runs: Vec<Arc<Run>> = runs.collect::<Result<_, _>>()?;
        if !are_numbered(numbers, &runs) {
            return Err(decoder.broken("the runs are not numbered as the record says"));
        }
        trees.push((tree, runs));
    }
    decoder.finish()?;
    Ok(trees)
}

/// Whether the runs have numbers of their own that ascend.
fn are_numbered(numbers: u64, runs: &[Arc<Run>]) -> bool {
    let first = Sight::OWN_FIRST;
    let Some(end) = first.to_raw().checked_add(numbers).map(Msn::from_raw) else { return false };
    let within = |run: &Arc<Run>| {
        let bases = run.segments().iter().all(|part| part.base >= run.oldest());
        first <= run.oldest() && run.newest() < end && bases
    };
    let ascends = |pair: &[Arc<Run>]| matches!(pair, [a, b] if a.newest() < b.oldest());
    runs.iter().all(within) && runs.windows(2).all(ascends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_numbers_that_nobody_has_is_refused() {
        let none = encode_runs(&Vec::new());
        assert!(decode_runs(1, &none).is_ok());
        assert!(decode_runs(1 << 60, &none).is_err());
        assert!(decode_runs(u64::MAX, &none).is_err());
    }
}
