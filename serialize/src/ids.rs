//! The names and positions of things, each its own type so that none is taken for another.

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// The first value, before anything was numbered.
            pub const ZERO: $name = $name(0);

            /// Takes the number as it stands on disk.
            pub const fn from_raw(raw: u64) -> $name {
                $name(raw)
            }

            /// The number as it goes to disk.
            pub const fn to_raw(self) -> u64 {
                self.0
            }

            /// The value `count` further on.
            ///
            /// # Panics
            /// After 2^64 values, which takes centuries.
            pub const fn plus(self, count: u64) -> $name {
                match self.0.checked_add(count) {
                    Some(raw) => $name(raw),
                    None => panic!("a 64-bit counter ran out"),
                }
            }

            /// The value after this one.
            pub const fn next(self) -> $name {
                self.plus(1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// The name of a node; the block table maps it to wherever the newest image lies. Never reused.
    BlockId
);
number!(
    /// The name of a segment, part of the identity its pages are checked against. Never reused.
    SegmentId
);
number!(
    /// Message sequence number: the place of one message in the order of the whole database.
    Msn
);
number!(
    /// A byte position in the write-ahead log, counted over all of its files.
    Lsn
);
number!(
    /// The number of a generation (a memtable of all trees, and its WAL file).
    GenerationId
);
number!(
    /// Counts the openings for writing; a WAL frame of another epoch is not of this log.
    Epoch
);
number!(
    /// The name of a tree; never reused, so that a replayed message cannot land in a later tree.
    TreeId
);

/// The random identity that a database gets when it is created.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DatabaseId([u8; 16]);

impl DatabaseId {
    /// Takes the identity as it stands on disk.
    pub const fn from_bytes(bytes: [u8; 16]) -> DatabaseId {
        DatabaseId(bytes)
    }

    /// The identity as it goes to disk.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Seeds a checksum, so that blocks of two databases never pass for each other's.
    pub const fn seed(self) -> u64 {
        let raw = u128::from_le_bytes(self.0);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let (low, high) = (raw as u64, (raw >> 64) as u64);
        low ^ high.rotate_left(32)
    }
}

/// A stretch of the block file. Both numbers are bytes and multiples of [`Extent::UNIT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Extent {
    /// Where it starts.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
}

impl Extent {
    /// Extents start and end at multiples of this, so that no two share a device block.
    pub const UNIT: u64 = 4096;

    /// The first byte behind the extent.
    pub const fn end(self) -> u64 {
        self.offset + self.bytes
    }

    /// The length that an extent needs to hold `bytes`.
    pub const fn round_up(bytes: u64) -> u64 {
        bytes.next_multiple_of(Extent::UNIT)
    }
}
