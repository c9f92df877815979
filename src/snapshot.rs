//! Snapshots: the whole database as it was at one moment.

use std::sync::Arc;
use std::time::Duration;

use crate::database::Database;
use crate::moment::{Moment, Read};
use crate::reader::Reader;
use crate::tree::Tree;
use crate::tree_at::TreeAt;
use crate::view::Registration;

/// All trees as they were when the snapshot was taken, whatever is written later.
///
/// Taking, cloning and dropping one costs less than a microsecond and reads nothing. While it
/// lives, versions that it sees are kept, and only those; [`Stats::readers`](crate::Stats::readers)
/// tells how much that is. It lives as long as its last clone; what it kept is forgotten when
/// the rows are moved or rewritten next.
///
/// ```
/// use sapwood::Read;
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let rings = db.tree("rings")?;
/// rings.insert("2025", "wide")?;
/// let before = db.snapshot();
/// rings.insert("2025", "narrow")?;
///
/// assert_eq!(rings.at(&before).get("2025")?.as_deref(), Some(&b"wide"[..]));
/// assert_eq!(before.get(&rings, "2025")?, rings.at(&before).get("2025")?);
/// assert_eq!(rings.get("2025")?.as_deref(), Some(&b"narrow"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Snapshot {
    db: Database,
    registration: Arc<Registration>,
}

impl Snapshot {
    pub(crate) fn new(db: Database) -> Snapshot {
        let registration = db.engine().register();
        Snapshot { db, registration }
    }

    /// The number of the newest change that it sees. Of two snapshots of one opening of a database,
    /// the later one never has the smaller number.
    pub fn sequence(&self) -> u64 {
        self.registration.msn().to_raw()
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::at(self.registration.clone())
    }

    pub(crate) fn db(&self) -> &Database {
        &self.db
    }
}

impl Read for Snapshot {
    fn at<'r>(&'r self, tree: &'r Tree) -> TreeAt<'r> {
        TreeAt::new(tree, Moment::Snapshot(self))
    }
}

impl Database {
    /// The state of all trees as it is now, to be read for as long as the snapshot is held.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.clone())
    }

    /// How many snapshots, transactions and iterators are held, and for how long the oldest has
    /// been.
    pub(crate) fn oldest_reader(&self) -> (usize, Option<Duration>) {
        let engine = self.engine();
        let (count, since) = engine.views.readers();
        (count, since.map(|since| engine.table.now().saturating_sub(since)))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}
