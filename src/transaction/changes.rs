//! A transaction's own changes, before anybody else sees them.
//!
//! ```text
//! records   insert a | merge b | delete c..f | insert b     as the log will have them
//! index     a@0  b@3 b@1  [c..f]@2                          a private memtable, made when read
//! spilled   runs on disk, once there are too many
//! ```
//!
//! Changes are numbered from [`Sight::OWN_FIRST`] on. A transaction that never reads never pays for
//! the index.

use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Fault};
use sapwood_serialize::fold::Horizon;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;
use sapwood_serialize::{
    Charge, Corruption, GenerationId, Msn, Record, Records, Sight, encode_record,
};

use super::spilled::Spilled;
use crate::engine::Engine;
use crate::footprint::Footprint;
use crate::generation::{Generation, Written};
use crate::memtable::Gathered;

/// See the module's head.
#[derive(Default)]
pub(crate) struct Changes {
    records: Vec<u8>,
    /// How many changes lie before those in `records`: they were spilled.
    first: u64,
    count: u64,
    index: Option<Index>,
    spilled: Spilled,
    /// What is spilled, as readers take it; made anew when that has changed.
    on_disk: Option<Arc<Generation>>,
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
    /// What [`Changes::first`] was.
    first: u64,
    bytes: usize,
    count: u64,
}

/// The number behind the first `count` changes.
fn number(count: u64) -> Msn {
    Sight::OWN_FIRST.plus(count)
}

impl Changes {
    /// Adds a change; spills when there are more than may be in memory. When that fails, the change
    /// is not made.
    pub(crate) fn push(&mut self, engine: &Engine, record: &Record<'_>) -> Result<(), Fault> {
        let bytes = self.records.len();
        encode_record(&mut self.records, record);
        self.count += 1;
        let capacity = self.records.capacity();
        if self.charge.as_ref().is_none_or(|charge| charge.bytes() != capacity as u64) {
            self.charge = Some(engine.table.meters().memtables.charge(capacity));
        }
        let spills = self.records.len() as u64 >= records_bytes_max(&engine.table);
        let spilled = if spills { self.spill(engine) } else { Ok(()) };
        if spilled.is_err() {
            self.records.truncate(bytes);
            self.count -= 1;
        }
        spilled
    }

    /// Writes all changes that are in memory to disk, or none.
    pub(crate) fn spill(&mut self, engine: &Engine) -> Result<(), Fault> {
        if self.records.is_empty() {
            return Ok(());
        }
        let _user = engine.enter_open()?;
        let (first, marks) = (number(self.first), self.horizon());
        let mut index = self.index.take().unwrap_or_else(|| Index::new(&engine.table, first));
        index.catch_up(&self.records)?;
        self.on_disk = None;
        let last = Msn::from_raw(index.next.to_raw() - 1);
        self.spilled.add(engine, &index.generation, (first, last), &marks)?;
        self.records.clear();
        self.first = self.count;
        Ok(())
    }

    /// The places that the transaction may go back to keep what was seen there.
    fn horizon(&self) -> Horizon {
        let seen = self.marks.iter().filter(|mark| mark.count > 0);
        let seen = seen.map(|mark| Msn::from_raw(number(mark.count).to_raw() - 1));
        Horizon::new(Msn::from_raw(u64::MAX), seen)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Those that are in memory, as the log will have them.
    pub(crate) fn records(&self) -> &[u8] {
        &self.records
    }

    /// Whether some are on disk.
    pub(crate) fn is_spilled(&self) -> bool {
        !self.spilled.is_empty()
    }

    /// Those that are on disk.
    pub(crate) fn written(&self) -> Written {
        self.spilled.written()
    }

    /// The place behind the last one.
    pub(crate) fn mark(&mut self) -> Mark {
        let (number, serial, bytes) = (self.marks.len(), self.serial, self.records.len());
        let mark = Mark { number, serial, first: self.first, bytes, count: self.count };
        self.serial += 1;
        self.marks.push(mark);
        mark
    }

    /// Whether `mark` has not been cut off since it was made.
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.marks.get(mark.number) == Some(&mark)
    }

    /// Forgets what came behind `mark`, later marks included; when that fails, nothing.
    pub(crate) fn cut(&mut self, engine: &Engine, mark: Mark) -> Result<(), Fault> {
        if mark.first == self.first {
            self.records.truncate(mark.bytes);
            if self.index.as_ref().is_some_and(|index| index.bytes > mark.bytes) {
                self.index = None;
            }
        } else {
            let _user = engine.enter_open()?;
            self.on_disk = None;
            self.spilled.cut(engine, Msn::from_raw(number(mark.count).to_raw() - 1))?;
            self.records.clear();
            self.index = None;
            self.first = mark.count;
        }
        self.count = mark.count;
        self.marks.truncate(mark.number + 1);
        Ok(())
    }

    /// What a reader needs of them: the generations, newest first, and the number of the newest
    /// change.
    pub(crate) fn layers(
        &mut self,
        table: &Cachetable,
    ) -> Result<(Vec<Arc<Generation>>, Msn), Corruption> {
        let mut layers = Vec::new();
        if !self.records.is_empty() {
            let first = number(self.first);
            let index = self.index.get_or_insert_with(|| Index::new(table, first));
            index.catch_up(&self.records)?;
            layers.push(index.generation.clone());
        }
        layers.extend(self.on_disk(table));
        Ok((layers, Msn::from_raw(number(self.count).to_raw() - 1)))
    }

    /// The changes that are on disk, as a generation.
    pub(crate) fn on_disk(&mut self, table: &Cachetable) -> Option<Arc<Generation>> {
        if self.on_disk.is_none() && self.is_spilled() {
            let (id, written) = (GenerationId::ZERO, self.written());
            let generation = Generation::holding(id, Sight::OWN_FIRST, table, written);
            self.on_disk = Some(Arc::new(generation));
        }
        self.on_disk.clone()
    }

    /// The keys and stretches that those in memory change.
    pub(crate) fn footprint(&self) -> Result<Footprint, Corruption> {
        let mut footprint = Footprint::default();
        for record in Records::new(&self.records) {
            match record? {
                Record::Write { tree, key, .. } => footprint.push_key(tree, key),
                Record::DeleteRange { tree, lower, upper } => {
                    footprint.push_range(tree, bounds(lower, upper));
                }
                Record::CreateTree { .. }
                | Record::RenameTree { .. }
                | Record::DropTree { .. }
                | Record::Operator { .. }
                | Record::Runs { .. } => {}
            }
        }
        Ok(footprint)
    }
}

impl Index {
    fn new(table: &Cachetable, next: Msn) -> Index {
        let generation = Generation::new(GenerationId::ZERO, next, table);
        Index { generation: Arc::new(generation), bytes: 0, next }
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
                Record::CreateTree { .. }
                | Record::RenameTree { .. }
                | Record::DropTree { .. }
                | Record::Operator { .. }
                | Record::Runs { .. } => {}
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

/// So many bytes of records may be in memory; sorted they take about three times as much.
fn records_bytes_max(table: &Cachetable) -> u64 {
    (table.budget().total / 32).clamp(4 << 10, 16 << 20)
}
