//! A transaction's own changes, before anybody else sees them.
//!
//! ```text
//! records   insert a | merge b | delete c..f | insert b     as the log will have them
//! index     a@0  b@3 b@1  [c..f]@2                          a private memtable, made when read
//! ```
//!
//! Changes are numbered from [`Sight::OWN_FIRST`] on. A transaction that never reads never pays for
//! the index.

use std::sync::Arc;

use sapwood_cachetable::Cachetable;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;
use sapwood_serialize::{
    Charge, Corruption, GenerationId, Msn, Record, Records, Sight, encode_record,
};

use crate::footprint::Footprint;
use crate::generation::Generation;
use crate::memtable::Gathered;

/// See the module's head.
#[derive(Default)]
pub(crate) struct Changes {
    records: Vec<u8>,
    count: u64,
    index: Option<Index>,
    charge: Option<Charge>,
    /// Those that were not cut off, in the order in which they were made.
    marks: Vec<Mark>,
    serial: u64,
}

/// The records up to some position, sorted.
struct Index {
    generation: Arc<Generation>,
    /// So many bytes of the records are in it.
    bytes: usize,
    next: Msn,
}

/// A place among the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its place among the marks, and what tells it from others that were at that place before.
    number: usize,
    serial: u64,
    bytes: usize,
    count: u64,
}

impl Changes {
    pub(crate) fn push(&mut self, table: &Cachetable, record: &Record<'_>) {
        encode_record(&mut self.records, record);
        self.count += 1;
        let capacity = self.records.capacity();
        if self.charge.as_ref().is_none_or(|charge| charge.bytes() != capacity as u64) {
            self.charge = Some(table.meters().memtables.charge(capacity));
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// All of them, as the log will have them.
    pub(crate) fn records(&self) -> &[u8] {
        &self.records
    }

    /// The place behind the last one.
    pub(crate) fn mark(&mut self) -> Mark {
        let number = self.marks.len();
        let mark =
            Mark { number, serial: self.serial, bytes: self.records.len(), count: self.count };
        self.serial += 1;
        self.marks.push(mark);
        mark
    }

    /// Whether `mark` has not been cut off since it was made.
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.marks.get(mark.number) == Some(&mark)
    }

    /// Forgets what came behind `mark`, later marks included.
    pub(crate) fn cut(&mut self, mark: Mark) {
        self.marks.truncate(mark.number + 1);
        self.records.truncate(mark.bytes);
        self.count = mark.count;
        if self.index.as_ref().is_some_and(|index| index.bytes > mark.bytes) {
            self.index = None;
        }
    }

    /// What a reader needs of them: the generations, newest first, and the number of the newest
    /// change.
    pub(crate) fn layers(
        &mut self,
        table: &Cachetable,
    ) -> Result<(Vec<Arc<Generation>>, Msn), Corruption> {
        if self.count == 0 {
            return Ok((Vec::new(), Msn::ZERO));
        }
        let index = self.index.get_or_insert_with(|| Index::new(table));
        index.catch_up(&self.records)?;
        let newest = Msn::from_raw(index.next.to_raw() - 1);
        Ok((vec![index.generation.clone()], newest))
    }

    /// The keys and stretches that they change.
    pub(crate) fn footprint(&self) -> Result<Footprint, Corruption> {
        let mut footprint = Footprint::default();
        for record in Records::new(&self.records) {
            match record? {
                Record::Write { tree, key, .. } => footprint.push_key(tree, key),
                Record::DeleteRange { tree, lower, upper } => {
                    footprint.push_range(tree, bounds(lower, upper));
                }
                Record::CreateTree { .. } | Record::DropTree { .. } | Record::Operator { .. } => {}
            }
        }
        Ok(footprint)
    }
}

impl Index {
    fn new(table: &Cachetable) -> Index {
        let generation = Generation::new(GenerationId::ZERO, Sight::OWN_FIRST, table);
        Index { generation: Arc::new(generation), bytes: 0, next: Sight::OWN_FIRST }
    }

    fn catch_up(&mut self, records: &[u8]) -> Result<(), Corruption> {
        let memtable = &self.generation.memtable;
        for record in Records::new(records.get(self.bytes..).unwrap_or_default()) {
            match record? {
                Record::Write { tree, key, op } => memtable.insert(tree, key, self.next, op),
                Record::DeleteRange { tree, lower, upper } => {
                    let mut alone = Gathered::default();
                    alone.push(tree, bounds(lower, upper), self.next);
                    memtable.delete_ranges(&alone);
                }
                Record::CreateTree { .. } | Record::DropTree { .. } | Record::Operator { .. } => {}
            }
            self.next = self.next.next();
        }
        self.bytes = records.len();
        Ok(())
    }
}

fn bounds(lower: &[u8], upper: Option<&[u8]>) -> Bounds {
    Bounds { lower: lower.into(), upper: upper.map(Key::from) }
}
