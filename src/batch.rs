//! Several changes in one step.

use std::sync::Arc;

use sapwood_serialize::{KEY_BYTES_MAX, Op, Record, encode_record};

use crate::commit::Durability;
use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::tree::Tree;

/// Changes over any trees of one database, committed in one step: readers see all of them or none,
/// and so does recovery.
///
/// Changes take effect in the order in which they were added; nothing is read.
///
/// ```
/// # use sapwood::{Config, Durability};
/// # fn main() -> sapwood::Result<()> {
/// # let db = Config::in_memory().open()?;
/// let (names, ids) = (db.tree("names")?, db.tree("ids")?);
/// let mut batch = db.batch();
/// batch.insert(&names, "oak", "1");
/// batch.insert(&ids, "1", "oak");
/// batch.commit(Durability::Buffered)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a batch that is not committed changes nothing"]
pub struct Batch {
    db: Database,
    records: Vec<u8>,
    rows: usize,
    /// The first change that was refused; the commit returns it.
    refused: Option<Error>,
}

impl Batch {
    pub(crate) fn new(db: Database) -> Batch {
        Batch { db, records: Vec::new(), rows: 0, refused: None }
    }

    /// Sets `key` to `value`.
    pub fn insert(&mut self, tree: &Tree, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.add(tree, key.as_ref(), Op::Put(value.as_ref()));
    }

    /// Removes `key`.
    pub fn remove(&mut self, tree: &Tree, key: impl AsRef<[u8]>) {
        self.add(tree, key.as_ref(), Op::Delete);
    }

    fn add(&mut self, tree: &Tree, key: &[u8], op: Op<'_>) {
        let checked = check(self.db.engine(), key, op);
        let ours = Arc::ptr_eq(&self.db.0, &tree.db().0);
        let checked = if ours { checked } else { Err(Error::new(Kind::OtherDatabase)) };
        match checked {
            Ok(()) => {
                encode_record(&mut self.records, &Record::Write { tree: tree.id(), key, op });
                self.rows += 1;
            }
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it holds no change.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Commits all changes in one step; returns when they are visible and as durable as asked.
    ///
    /// # Errors
    /// When a change was refused (nothing is committed then), the disk is full (nothing either), or
    /// the write or sync fails ([`Error::is_indeterminate`]).
    pub fn commit(self, durability: Durability) -> Result<()> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.is_empty() {
            return self.db.engine().check_open();
        }
        self.db.engine().commit(self.records.len(), durability, &|out| {
            out.extend_from_slice(&self.records);
        })
    }
}

/// Refuses keys and values that are too large.
pub(crate) fn check(engine: &Engine, key: &[u8], op: Op<'_>) -> Result<()> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::new(Kind::KeyTooLarge(key.len())));
    }
    let (bytes, most) = (op.payload().len(), engine.value_bytes_max());
    if bytes > most {
        return Err(Error::new(Kind::ValueTooLarge { bytes, most }));
    }
    Ok(())
}
