//! The records of a log frame's payload: what was done, one after the other.
//!
//! ```text
//! write         1 u8 | tree varint | op kind u8 | key length varint | key |
//!               payload length varint | payload
//! create tree   2 u8 | tree varint | name length varint | name, UTF-8 |
//!               compression u8 | page bytes varint
//! drop tree     3 u8 | tree varint
//! delete range  4 u8 | tree varint | lower length varint | lower |
//!               flag u8: 1 if there is an upper end | [upper length varint | upper]
//! operator      5 u8 | tree varint | name length varint | name, UTF-8 | version u32
//! rename tree   6 u8 | tree varint | name length varint | name, UTF-8
//! runs          7 u8 | numbers varint | length varint | runs, see `runs_image`
//! ```
//!
//! The first record of a frame has the MSN that the frame's head names, each further one the next;
//! runs take as many as they say. Writes, range deletes and runs are messages; the others change
//! the catalog, which remembers the MSN of its newest change.
//!
//! Invariants:
//! 1. records lie back to back and fill the payload;
//! 2. keys and values are no longer than the format allows, names are UTF-8.

use crate::catalog_image::PageOptions;
use crate::codec::{Decoder, Encode};
use crate::compression::Compression;
use crate::error::Corruption;
use crate::ids::TreeId;
use crate::message::{KEY_BYTES_MAX, Op, VALUE_BYTES_MAX};

/// The number of [`Record::Write`].
const WRITE: u8 = 1;
/// The number of [`Record::CreateTree`].
const CREATE_TREE: u8 = 2;
/// The number of [`Record::DropTree`].
const DROP_TREE: u8 = 3;
/// The number of [`Record::DeleteRange`].
const DELETE_RANGE: u8 = 4;
/// The number of [`Record::Operator`].
const OPERATOR: u8 = 5;
/// The number of [`Record::RenameTree`].
const RENAME_TREE: u8 = 6;
/// The number of [`Record::Runs`].
const RUNS: u8 = 7;

/// One thing that was done; each takes an MSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message about one key.
    Write {
        /// The tree that it is for.
        tree: TreeId,
        /// The key.
        key: &'a [u8],
        /// The change.
        op: Op<'a>,
    },
    /// A tree came into being.
    CreateTree {
        /// The new tree.
        tree: TreeId,
        /// Its name.
        name: &'a str,
        /// How its pages are made.
        pages: PageOptions,
    },
    /// A tree ceased to be.
    DropTree {
        /// The tree.
        tree: TreeId,
    },
    /// A message about all keys from `lower` up to but without `upper`.
    DeleteRange {
        /// The tree that it is for.
        tree: TreeId,
        /// The first key deleted.
        lower: &'a [u8],
        /// The first key behind; `None` for no end.
        upper: Option<&'a [u8]>,
    },
    /// A tree's merge operator was declared.
    Operator {
        /// The tree.
        tree: TreeId,
        /// The operator's name.
        name: &'a str,
        /// The operator's version.
        version: u32,
    },
    /// Messages of several trees that were written to the block file before.
    Runs {
        /// How many MSNs they take.
        numbers: u64,
        /// The runs, as [`encode_runs`](crate::encode_runs) writes them.
        runs: &'a [u8],
    },
    /// A tree got another name.
    RenameTree {
        /// The tree.
        tree: TreeId,
        /// Its new name.
        name: &'a str,
    },
}

impl Record<'_> {
    /// No less than it takes in a frame: its byte strings, and 32 for numbers and kinds.
    fn bytes_at_most(&self) -> usize {
        32 + match self {
            Record::Write { key, op, .. } => key.len() + op.payload().len(),
            Record::DeleteRange { lower, upper, .. } => lower.len() + upper.map_or(0, <[u8]>::len),
            Record::Runs { runs, .. } => runs.len(),
            Record::CreateTree { name, .. }
            | Record::RenameTree { name, .. }
            | Record::Operator { name, .. } => name.len(),
            Record::DropTree { .. } => 0,
        }
    }
}

/// Appends a record to the payload of a frame.
pub fn encode_record(out: &mut impl Encode, record: &Record<'_>) {
    // Room for everything at once, so that large memory comes from where it should.
    out.reserve(record.bytes_at_most());
    match out.as_vector() {
        Some(vector) => put_record(vector, record),
        None => put_record(out, record),
    }
}

fn put_record(out: &mut impl Encode, record: &Record<'_>) {
    match record {
        Record::Write { tree, key, op } => {
            out.put_u8(WRITE);
            out.put_varint(tree.to_raw());
            out.put_u8(op.kind());
            out.put_bytes(key);
            out.put_bytes(op.payload());
        }
        Record::CreateTree { tree, name, pages } => {
            out.put_u8(CREATE_TREE);
            out.put_varint(tree.to_raw());
            out.put_bytes(name.as_bytes());
            out.put_u8(pages.compression.to_raw());
            out.put_varint(u64::from(pages.page_bytes));
        }
        Record::DropTree { tree } => {
            out.put_u8(DROP_TREE);
            out.put_varint(tree.to_raw());
        }
        Record::DeleteRange { tree, lower, upper } => {
            out.put_u8(DELETE_RANGE);
            out.put_varint(tree.to_raw());
            out.put_bytes(lower);
            out.put_u8(u8::from(upper.is_some()));
            upper.iter().for_each(|upper| out.put_bytes(upper));
        }
        Record::Operator { tree, name, version } => {
            out.put_u8(OPERATOR);
            out.put_varint(tree.to_raw());
            out.put_bytes(name.as_bytes());
            out.put_u32(*version);
        }
        Record::Runs { numbers, runs } => {
            out.put_u8(RUNS);
            out.put_varint(*numbers);
            out.put_bytes(runs);
        }
        Record::RenameTree { tree, name } => {
            out.put_u8(RENAME_TREE);
            out.put_varint(tree.to_raw());
            out.put_bytes(name.as_bytes());
        }
    }
}

/// The records of a payload in the order in which they were appended. Ends behind the first broken
/// one.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    /// What is left; `None` behind a broken record, where nothing can be trusted.
    payload: Option<Decoder<'a>>,
}

impl<'a> Records<'a> {
    /// Reads the payload of a group.
    pub fn new(payload: &'a [u8]) -> Records<'a> {
        Records { payload: Some(Decoder::new("log record", payload)) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Corruption>;

    fn next(&mut self) -> Option<Result<Record<'a>, Corruption>> {
        let payload = self.payload.as_mut().filter(|payload| payload.remaining() > 0)?;
        let record = read_record(payload);
        if record.is_err() {
            self.payload = None;
        }
        Some(record)
    }
}

fn read_record<'a>(payload: &mut Decoder<'a>) -> Result<Record<'a>, Corruption> {
    let start = *payload;
    let number = payload.u8()?;
    if number == RUNS {
        let (numbers, runs) = (payload.varint()?, payload.bytes()?);
        return Ok(Record::Runs { numbers, runs });
    }
    let tree = TreeId::from_raw(payload.counter()?);
    match number {
        WRITE => read_write(payload, tree),
        CREATE_TREE => {
            let (name, pages) = (read_name(payload)?, read_pages(payload)?);
            Ok(Record::CreateTree { tree, name, pages })
        }
        DROP_TREE => Ok(Record::DropTree { tree }),
        DELETE_RANGE => {
            let lower = read_key(payload)?;
            let upper = match payload.u8()? {
                0 => None,
                1 => Some(read_key(payload)?),
                _ => return Err(start.broken("a range delete has unknown flags")),
            };
            Ok(Record::DeleteRange { tree, lower, upper })
        }
        OPERATOR => {
            let (name, version) = (read_name(payload)?, payload.u32()?);
            Ok(Record::Operator { tree, name, version })
        }
        RENAME_TREE => {
            let name = read_name(payload)?;
            Ok(Record::RenameTree { tree, name })
        }
        _ => Err(start.broken("the kind of a record is unknown")),
    }
}

fn read_name<'a>(payload: &mut Decoder<'a>) -> Result<&'a str, Corruption> {
    let start = *payload;
    std::str::from_utf8(payload.bytes()?).map_err(|_| start.broken("a name is not UTF-8"))
}

fn read_pages(payload: &mut Decoder<'_>) -> Result<PageOptions, Corruption> {
    let start = *payload;
    let compression = Compression::from_raw(payload.u8()?);
    let compression = compression.ok_or_else(|| start.broken("a compression is unknown"))?;
    let pages = u32::try_from(payload.varint()?)
        .map(|page_bytes| PageOptions { compression, page_bytes })
        .ok()
        .filter(PageOptions::is_sound);
    pages.ok_or_else(|| start.broken("the pages of a tree are of no size that they can have"))
}

fn read_key<'a>(payload: &mut Decoder<'a>) -> Result<&'a [u8], Corruption> {
    let key_bytes = payload.count(KEY_BYTES_MAX.min(payload.remaining()))?;
    payload.take(key_bytes)
}

fn read_write<'a>(payload: &mut Decoder<'a>, tree: TreeId) -> Result<Record<'a>, Corruption> {
    let start = *payload;
    let kind = payload.u8()?;
    let key = read_key(payload)?;
    let value_bytes = payload.count(VALUE_BYTES_MAX.min(payload.remaining()))?;
    let op = Op::from_parts(kind, payload.take(value_bytes)?);
    let op = op.ok_or_else(|| start.broken("the kind of an op is unknown"))?;
    Ok(Record::Write { tree, key, op })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::COUNTER_END;

    fn encode(records: &[Record<'_>]) -> Vec<u8> {
        let mut payload = Vec::new();
        for record in records {
            encode_record(&mut payload, record);
        }
        payload
    }

    #[test]
    fn records_come_back_in_order() {
        let tree = TreeId::from_raw(300);
        let records = [
            Record::CreateTree { tree, name: "bäume", pages: PageOptions::default() },
            Record::Write { tree, key: b"k", op: Op::Put(b"v") },
            Record::Write { tree, key: b"", op: Op::Put(b"") },
            Record::Write { tree, key: b"k", op: Op::Delete },
            Record::Write { tree, key: b"k", op: Op::Merge(b"+1") },
            Record::DeleteRange { tree, lower: b"a", upper: Some(b"b") },
            Record::DeleteRange { tree, lower: b"", upper: None },
            Record::Operator { tree, name: "add", version: 3 },
            Record::Runs { numbers: 700, runs: b"runs" },
            Record::RenameTree { tree, name: "trees" },
            Record::DropTree { tree },
        ];
        let payload = encode(&records);
        let read: Result<Vec<_>, _> = Records::new(&payload).collect();
        assert_eq!(read.as_deref(), Ok(&records[..]));
    }

    #[test]
    fn nothing_follows_a_broken_record() {
        let mut payload = vec![9, 0];
        encode_record(&mut payload, &Record::DropTree { tree: TreeId::ZERO });
        let read: Vec<_> = Records::new(&payload).collect();
        assert_eq!(
            read,
            [Err(Corruption::new("log record", 0, "the kind of a record is unknown"))]
        );
    }

    #[test]
    fn a_name_is_utf_8() {
        let read: Vec<_> = Records::new(&[CREATE_TREE, 1, 1, 0xff]).collect();
        assert_eq!(read, [Err(Corruption::new("log record", 2, "a name is not UTF-8"))]);
    }

    #[test]
    fn a_tree_has_pages_of_some_size() {
        let rule = |compression: u8, page_bytes: u64| {
            let mut payload = vec![CREATE_TREE, 1, 1, b't', compression];
            payload.put_varint(page_bytes);
            Records::new(&payload).next().unwrap().map_err(|broken| broken.rule).err()
        };
        let size = Some("the pages of a tree are of no size that they can have");
        assert_eq!(rule(2, 4096), Some("a compression is unknown"));
        assert_eq!([rule(1, 0), rule(1, 65_537), rule(1, 1 << 40)], [size; 3]);
        assert_eq!([rule(0, 1), rule(1, 65_536)], [None; 2]);
    }

    #[test]
    fn a_delete_carries_nothing() {
        let read: Vec<_> = Records::new(&[WRITE, 1, 2, 1, b'k', 1, b'v']).collect();
        assert!(matches!(read[..], [Err(_)]));
    }

    #[test]
    fn keys_beyond_the_limit_are_refused() {
        let key = vec![0; KEY_BYTES_MAX + 1];
        let payload = encode(&[Record::Write { tree: TreeId::ZERO, key: &key, op: Op::Delete }]);
        assert!(matches!(Records::new(&payload).next(), Some(Err(_))));
    }

    #[test]
    fn a_tree_that_would_leave_no_number_for_the_next_is_refused() {
        for (number, is_one) in [(COUNTER_END - 1, true), (COUNTER_END, false), (u64::MAX, false)] {
            let payload = encode(&[Record::DropTree { tree: TreeId::from_raw(number) }]);
            assert_eq!(Records::new(&payload).next().is_some_and(|it| it.is_ok()), is_one);
        }
    }

    proptest! {
        #[test]
        fn writes_round_trip(
            tree in 0..COUNTER_END,
            key in prop::collection::vec(any::<u8>(), 0..40),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        ) {
            let op = value.as_deref().map_or(Op::Delete, Op::Put);
            let record = Record::Write { tree: TreeId::from_raw(tree), key: &key, op };
            let payload = encode(&[record]);
            prop_assert_eq!(Records::new(&payload).collect::<Vec<_>>(), vec![Ok(record)]);
        }

        #[test]
        fn range_deletes_and_operators_round_trip(
            tree in 0..COUNTER_END,
            lower in prop::collection::vec(any::<u8>(), 0..40),
            upper in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            name in "\\PC{0,20}",
            version in any::<u32>(),
        ) {
            let tree = TreeId::from_raw(tree);
            let records = [
                Record::DeleteRange { tree, lower: &lower, upper: upper.as_deref() },
                Record::Operator { tree, name: &name, version },
                Record::Write { tree, key: &lower, op: Op::Merge(name.as_bytes()) },
            ];
            let payload = encode(&records);
            let read: Result<Vec<_>, _> = Records::new(&payload).collect();
            prop_assert_eq!(read.as_deref(), Ok(&records[..]));
            for length in 0..payload.len() {
                let cut: Vec<_> = Records::new(payload.get(..length).unwrap_or_default()).collect();
                prop_assert!(cut.iter().flatten().count() < 3);
            }
        }

        #[test]
        fn any_bytes_read_or_fail(payload in prop::collection::vec(any::<u8>(), 0..100)) {
            // Each record takes at least two bytes, so this also ends soon.
            prop_assert!(Records::new(&payload).count() <= 50);
        }

        #[test]
        fn small_numbers_read_or_fail(payload in prop::collection::vec(0u8..8, 0..100)) {
            let mut messages = 0;
            for record in Records::new(&payload).flatten() {
                messages += usize::from(matches!(record, Record::Write { .. }));
            }
            prop_assert!(messages <= 50);
        }
    }
}
