//! What can be said of a key, and in which order it was said.

/// One change of one key, without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// The key has this value from here on.
    Put(&'a [u8]),
    /// The key is absent from here on.
    Delete,
    /// The key's value is changed by this operand, as the tree's merge operator says.
    Merge(&'a [u8]),
}

impl<'a> Op<'a> {
    /// The bytes that the op carries.
    pub fn payload(self) -> &'a [u8] {
        match self {
            Op::Put(bytes) | Op::Merge(bytes) => bytes,
            Op::Delete => &[],
        }
    }

    /// The number that stands for the op in pages and in the log.
    pub const fn kind(self) -> u8 {
        match self {
            Op::Put(_) => OpKind::PUT,
            Op::Delete => OpKind::DELETE,
            Op::Merge(_) => OpKind::MERGE,
        }
    }

    /// Puts an op together again; `None` for a kind that this version does not know, and for a
    /// delete that carries bytes.
    pub fn from_parts(kind: u8, payload: &'a [u8]) -> Option<Op<'a>> {
        match kind {
            OpKind::PUT => Some(Op::Put(payload)),
            OpKind::DELETE if payload.is_empty() => Some(Op::Delete),
            OpKind::MERGE => Some(Op::Merge(payload)),
            _ => None,
        }
    }
}

/// The numbers of the ops on disk. 3 (`PutRef`) is reserved; range deletes are no ops of a key and
/// have a place of their own, see [`Tombstones`](crate::tombstone::Tombstones).
pub struct OpKind;

impl OpKind {
    /// [`Op::Put`].
    pub const PUT: u8 = 1;
    /// [`Op::Delete`].
    pub const DELETE: u8 = 2;
    /// [`Op::Merge`].
    pub const MERGE: u8 = 4;
}

/// One version of a key: when it was said, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// The message's place in the order. In a page it counts from the base that the reference to
    /// the segment carries; everywhere else it is the [`Msn`](crate::Msn) itself.
    pub msn: u64,
    /// The change.
    pub op: Op<'a>,
}

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;

/// The longest value, in bytes (the budget may lower it, see the database's limits).
pub const VALUE_BYTES_MAX: usize = 64 << 20;
