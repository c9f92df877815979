//! How much of a leaf a job goes through, beyond what it must.

use sapwood_serialize::run::Run;

/// How much of a leaf is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What the buffer overlaps.
    Needed,
    /// Besides that, whatever may hold old versions or operands.
    Thorough,
    /// Besides that, what lies far out in the file.
    Beyond(FarOut),
}

/// What lies at or behind this offset is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FarOut(pub u64);

impl FarOut {
    pub(crate) fn has_rows_of(self, leaf: &Run) -> bool {
        leaf.segments().iter().any(|part| self.has(part.segment.place().map(|at| at.extent.offset)))
    }

    /// Whether something at `offset` is to move; what has no place yet gets a good one anyway.
    pub fn has(self, offset: Option<u64>) -> bool {
        offset.is_some_and(|offset| offset >= self.0)
    }
}
