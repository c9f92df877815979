//! Record numbers: keys that the database hands out, one after the other.
//!
//! ```text
//! first append    look for the last key, once        \ one counter a tree, in memory,
//! every append    take the next number, then insert  / shared by all handles
//! ```
//!
//! A number is taken before its row is committed. So no two appends ever get one number, and nobody
//! waits for anybody; a row that is not committed in the end leaves a gap.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sapwood_cachetable::sync::atomic::{AtomicU64, Ordering};
use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_serialize::{Op, TreeId};

use crate::batch::{Batch, check};
use crate::error::{Error, Kind, Result};
use crate::refusal::Refusal;
use crate::transaction::Transaction;
use crate::tree::Tree;

/// A key of 8 bytes that is ordered like its number: what [`Tree::append`] makes keys of.
///
/// ```
/// use sapwood::RecordNumber;
///
/// # fn main() -> sapwood::Result<()> {
/// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
/// let number = tree.append("first")?;
/// assert_eq!(tree.get(RecordNumber::new(number))?.as_deref(), Some(&b"first"[..]));
/// assert_eq!(tree.get(number.to_be_bytes())?.as_deref(), Some(&b"first"[..]));
/// let (key, _) = tree.last()?.unwrap();
/// assert_eq!(RecordNumber::from_key(&key).map(RecordNumber::get), Some(number));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordNumber([u8; 8]);

impl RecordNumber {
    /// The key of this number.
    pub const fn new(number: u64) -> RecordNumber {
        RecordNumber(number.to_be_bytes())
    }

    /// The number of this key; `None` when it is not of 8 bytes.
    pub fn from_key(key: &[u8]) -> Option<RecordNumber> {
        key.try_into().ok().map(RecordNumber)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

impl AsRef<[u8]> for RecordNumber {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<u64> for RecordNumber {
    fn from(number: u64) -> RecordNumber {
        RecordNumber::new(number)
    }
}

impl fmt::Debug for RecordNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordNumber({})", self.get())
    }
}

impl fmt::Display for RecordNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// The numbers that were handed out last, of all trees that were appended to since the opening.
pub(crate) struct Numbers {
    last: Mutex<BTreeMap<TreeId, Arc<AtomicU64>>>,
    /// Held by whoever looks for the last key of a tree, so that nobody else does meanwhile.
    looking: Mutex<()>,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers {
            last: Mutex::new(Rank::JobQueue, BTreeMap::new()),
            looking: Mutex::new(Rank::Catalog, ()),
        }
    }
}

impl Numbers {
    fn known(&self, tree: TreeId) -> Option<Arc<AtomicU64>> {
        self.last.lock().get(&tree).cloned()
    }

    fn of(&self, tree: &Tree) -> Result<Arc<AtomicU64>> {
        if let Some(known) = self.known(tree.id()) {
            return Ok(known);
        }
        let _looking = self.looking.lock();
        if let Some(known) = self.known(tree.id()) {
            return Ok(known);
        }
        let last = Arc::new(AtomicU64::new(last_number(tree)?));
        self.last.lock().insert(tree.id(), last.clone());
        Ok(last)
    }

    /// The next number of `tree`; nobody else gets it.
    fn take(&self, tree: &Tree) -> Result<u64> {
        let next = |last: u64| last.checked_add(1);
        let taken = self.of(tree)?.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(|last| last + 1).map_err(|_| {
            Error::new(Kind::Refused(Refusal::NumbersUsedUp { tree: tree.name().to_owned() }))
        })
    }
}

/// The number of the last key, 0 in an empty tree.
fn last_number(tree: &Tree) -> Result<u64> {
    let Some(key) = tree.keys().next_back().transpose()?.map(|key| Box::<[u8]>::from(&*key)) else {
        return Ok(0);
    };
    let number = RecordNumber::from_key(&key).map(RecordNumber::get);
    let tree = tree.name().to_owned();
    number.ok_or_else(|| Error::new(Kind::Refused(Refusal::NoRecordNumber { tree, key })))
}

/// Takes a number for a row that can be inserted.
fn number_for(tree: &Tree, value: &[u8]) -> Result<u64> {
    let engine = tree.db().engine();
    engine.check_open()?;
    check(tree, RecordNumber::new(0).as_ref(), Op::Put(value))?;
    engine.numbers.take(tree)
}

impl Tree {
    /// Inserts `value` behind the last key, under the next record number, and returns that: 1 in an
    /// empty tree, then always the next. The key is the number as 8 bytes, big-endian, see
    /// [`RecordNumber`]. One message; the first append after an opening looks for the last key.
    ///
    /// While only appends write to the tree, numbers have no gaps, save for rows whose commit
    /// failed. Of appends on several threads one may be visible before another with a smaller
    /// number is. A number is not handed out twice while the database is open, whatever is removed;
    /// after the next opening numbers go on behind the largest key that is there then. Whoever also
    /// inserts keys into the tree must not go beyond the numbers that were handed out: an append
    /// would overwrite them.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let events = sapwood::Config::in_memory().open()?.tree("events")?;
    /// assert_eq!(events.append("sown")?, 1);
    /// assert_eq!(events.append("felled")?, 2);
    /// assert_eq!(events.get(1u64.to_be_bytes())?.as_deref(), Some(&b"sown"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the last key of the tree is not of 8 bytes, or the largest there is; otherwise as for
    /// [`Tree::insert`] and [`Tree::last`].
    pub fn append(&self, value: impl AsRef<[u8]>) -> Result<u64> {
        let number = number_for(self, value.as_ref())?;
        self.insert(RecordNumber::new(number), value)?;
        Ok(number)
    }
}

impl Batch {
    /// Inserts `value` under the next record number of `tree`, and returns that, see
    /// [`Tree::append`]. A batch that is not committed leaves a gap.
    ///
    /// # Errors
    /// As for [`Tree::append`]; the batch is then as it was. When the tree belongs to another
    /// database.
    pub fn append(&mut self, tree: &Tree, value: impl AsRef<[u8]>) -> Result<u64> {
        self.check_ours(tree)?;
        let number = number_for(tree, value.as_ref())?;
        self.insert(tree, RecordNumber::new(number), value);
        Ok(number)
    }
}

impl Transaction {
    /// Inserts `value` under the next record number of `tree`, and returns that, see
    /// [`Tree::append`]. Appends of several transactions do not make each other fail. One that is
    /// not committed leaves a gap.
    ///
    /// # Errors
    /// As for [`Tree::append`]; when the tree belongs to another database.
    pub fn append(&mut self, tree: &Tree, value: impl AsRef<[u8]>) -> Result<u64> {
        if !Arc::ptr_eq(&self.db().0, &tree.db().0) {
            return Err(Error::new(Kind::OtherDatabase));
        }
        let number = number_for(tree, value.as_ref())?;
        self.insert(tree, RecordNumber::new(number), value)?;
        Ok(number)
    }
}
