//! Bulk loads: sorted rows go straight into packed segments, and become part of the tree in one
//! step.
//!
//! ```text
//! rows, ascending -> segments, written as they fill -> one commit that names them (see `adopt`)
//! ```
//!
//! Nothing passes through the memtable or the log; where the tree has nothing in between, the
//! segments become part of its leaves as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_cachetable::{Caching, Fault};
use sapwood_flusher::SegmentWriter;
use sapwood_serialize::run::Run;
use sapwood_serialize::{KEY_BYTES_MAX, Op, Sight, Version};

use crate::adopt::Adoption;
use crate::commit::Settled;
use crate::error::{Error, Kind, Result};
use crate::generation::Written;
use crate::transaction::Commit;
use crate::tree::Tree;

/// Why the rows could not all be taken.
enum Broken {
    /// What the caller gave is refused, or was an error itself.
    Refused(Error),
    /// It could not be written.
    Fault(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Broken {
        Broken::Fault(fault)
    }
}

/// The rows of the caller, checked one by one.
struct Rows<'t, I> {
    tree: &'t Tree,
    rows: I,
    taken: u64,
    last: Option<Vec<u8>>,
}

impl Tree {
    /// Puts sorted rows into the tree, all of them in one step: nobody sees a part, and neither
    /// does a recovery. It replaces what the keys had before. Keys must strictly ascend.
    ///
    /// It is the fastest way to load much: rows are packed into pages and written once, without a
    /// log, and as the tree will keep them wherever nothing else lies in their range. Takes little
    /// memory, however many rows there are. Like any write it checks nothing of what is there.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let tree = db.tree("numbers")?;
    /// let rows = (0..10_000u32).map(|number| (number.to_be_bytes(), "value"));
    /// let commit = tree.ingest(rows)?;
    /// assert_eq!(commit.changes, 10_000);
    /// assert_eq!(tree.iter().count(), 10_000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a key does not ascend, or a key or value is too large: nothing is changed then.
    /// Otherwise as for [`Batch::commit`](crate::Batch::commit). Once it has returned, the commit
    /// survives what a buffered one does; [`Database::sync`](crate::Database::sync) makes it
    /// survive a power cut.
    pub fn ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        rows: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Commit> {
        self.try_ingest(rows.into_iter().map(Ok))
    }

    /// The same for rows that may fail to come; the first error ends it, and nothing is changed.
    ///
    /// # Errors
    /// That error, and those of [`Tree::ingest`].
    pub fn try_ingest<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        rows: impl IntoIterator<Item = Result<(K, V)>>,
    ) -> Result<Commit> {
        let engine = self.db().engine();
        engine.check_open()?;
        engine.table.poison().check()?;
        let mut rows = Rows { tree: self, rows: rows.into_iter(), taken: 0, last: None };
        let first = Sight::OWN_FIRST;
        let (mut refused, mut user) = (None, None);
        let written =
            engine.mover.write_ahead(self.pages()?, first, Caching::Pass, &mut |writer| match rows
                .fill(writer)
            {
                Ok(()) => {
                    // What is left is written without the caller's rows.
                    user = Some(engine.enter_open()?);
                    Ok(())
                }
                Err(Broken::Fault(fault)) => Err(fault),
                Err(Broken::Refused(error)) => {
                    refused = Some(error);
                    Err(Fault::Stopped)
                }
            });
        drop(user);
        if let Some(error) = refused {
            return Err(error);
        }
        let (parts, reserved) = written?;
        let changes = rows.taken;
        if changes == 0 {
            return Ok(Commit { changes, sequence: engine.views.visible().to_raw() });
        }
        // One number for all: no key is there twice.
        let run = Arc::new(Run::new(parts, first, first));
        let runs = BTreeMap::from([(self.id(), vec![run])]);
        let written = Written { runs, reserved: vec![Arc::new(reserved)] };
        match engine.adopt(&Adoption { written, numbers: 1 }, None)? {
            Settled::Committed(committed) => {
                Ok(Commit { changes, sequence: committed.newest.to_raw() })
            }
            Settled::Changed(_) | Settled::Unknown => unreachable!("nothing was guarded"),
        }
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>, I: Iterator<Item = Result<(K, V)>>> Rows<'_, I> {
    fn fill(&mut self, writer: &mut SegmentWriter<'_, '_>) -> std::result::Result<(), Broken> {
        let msn = Sight::OWN_FIRST.to_raw();
        let most = self.tree.db().engine().value_bytes_max();
        while let Some(row) = self.rows.next() {
            let (key, value) = row.map_err(Broken::Refused)?;
            let (key, value) = (key.as_ref(), value.as_ref());
            self.check(key, value, most).map_err(Broken::Refused)?;
            writer.push(key, &[Version { msn, op: Op::Put(value) }])?;
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
            self.taken += 1;
        }
        Ok(())
    }

    fn check(&self, key: &[u8], value: &[u8], most: usize) -> Result<()> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::new(Kind::KeyTooLarge(key.len())));
        }
        if value.len() > most {
            return Err(Error::new(Kind::ValueTooLarge { bytes: value.len(), most }));
        }
        match &self.last {
            Some(last) if **last >= *key => {
                let (row, key) = (self.taken + 1, key.into());
                Err(Error::new(Kind::NotAscending { row, key }))
            }
            _ => Ok(()),
        }
    }
}
