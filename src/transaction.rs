//! Transactions: read at one moment, change in private, commit if nobody was there before.
//!
//! ```text
//! begin    register an MSN: what is committed later is not seen
//! read     own changes on top of the view, both as generations (see `layers`)
//! write    one record, appended to the transaction's own; nothing is read, locked or logged
//! commit   the leader checks that nobody has changed the footprint since, then logs and inserts
//! ```
//!
//! What grows too large for memory is written to disk as runs, and committed by one record that
//! names them (see `adopt`).
//!
//! The footprint are the keys and stretches written and, for a serializable transaction, those that
//! it has read: the first committer wins, the others get a conflict and can run again. There are no
//! locks, so there is no deadlock, and readers neither wait nor make anybody wait.
//!
//! Why a serializable transaction is that: what it has read is, when it commits, still what anybody
//! would read, so that it could as well have happened at that moment as a whole. One that has
//! changed nothing is always right: it happened when it began.

mod changes;
mod read_set;
mod spilled;

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_serialize::codec::Encode;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::{Op, Record, TreeId};

use crate::adopt::Adoption;
use crate::batch::{check, check_range};
use crate::commit::{Committed, Durability, Proposal, Settled};
use crate::config::Background;
use crate::conflict::{Guard, Searched, Touch};
use crate::database::Database;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::footprint::Footprint;
use crate::iter::Iter;
use crate::keys::{bounds_of, bounds_of_prefix, within_key_length};
use crate::moment::{Moment, Read};
use crate::reader::Reader;
use crate::slice::Slice;
use crate::ticket::Ticket;
use crate::tree::Tree;
use crate::tree_at::TreeAt;
use crate::view::Registration;
use changes::{Changes, Mark};

pub(crate) use read_set::{RangeRead, ReadSet};

/// What a transaction is kept apart from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// It reads what was committed when it began, and its own changes. It fails when somebody else
    /// has changed a key that it changes. Two transactions that each read what the other changes
    /// can both succeed (write skew); [`Transaction::get_for_update`] guards single keys against
    /// that.
    #[default]
    Snapshot,
    /// As if all such transactions had run one after the other: it also fails when somebody else
    /// has changed what it has read, or put a row where it has looked and found none.
    Serializable,
}

/// Changes of any trees of one database that are made together or not at all, based on the state of
/// one moment.
///
/// It sees its own changes. Nobody else does before [`Transaction::commit`]; dropping it rolls it
/// back. A change is one message and reads nothing. While it is alive, what it sees is kept, like
/// for a [`Snapshot`](crate::Snapshot).
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let accounts = db.tree("accounts")?;
/// let mut tx = db.begin()?;
/// tx.insert(&accounts, "ann", "7")?;
/// assert_eq!(tx.get(&accounts, "ann")?.as_deref(), Some(&b"7"[..]));
/// assert_eq!(accounts.get("ann")?, None);
/// tx.commit()?;
/// assert_eq!(accounts.get("ann")?.as_deref(), Some(&b"7"[..]));
/// # Ok(())
/// # }
/// ```
#[must_use = "a transaction that is not committed changes nothing"]
pub struct Transaction {
    db: Database,
    isolation: Isolation,
    registration: Arc<Registration>,
    changes: Mutex<Changes>,
    /// The trees that it changes.
    trees: BTreeMap<TreeId, Tree>,
    /// What was read, where that matters at the commit.
    noted: Option<Arc<ReadSet>>,
    /// Keys that were read to be changed, in a transaction that does not note what it reads.
    guarded: Footprint,
}

/// A place in a transaction that it can go back to.
#[derive(Clone, Debug)]
pub struct Savepoint {
    /// Tells the transaction from others, and keeps nothing for it.
    registration: Weak<Registration>,
    mark: Mark,
}

/// What a transaction has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// How many changes it was.
    pub changes: u64,
    /// A snapshot with this or a larger [`Snapshot::sequence`](crate::Snapshot::sequence) sees
    /// them.
    pub sequence: u64,
}

impl Database {
    /// Begins a transaction with [`Isolation::Snapshot`]. Reads nothing, costs less than a
    /// microsecond.
    ///
    /// # Errors
    /// When the database is closed.
    pub fn begin(&self) -> Result<Transaction> {
        self.begin_with(Isolation::Snapshot)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// When the database is closed.
    pub fn begin_with(&self, isolation: Isolation) -> Result<Transaction> {
        self.engine().check_open()?;
        Ok(Transaction {
            db: self.clone(),
            isolation,
            registration: self.engine().register(),
            changes: Mutex::new(Rank::JobQueue, Changes::default()),
            trees: BTreeMap::new(),
            noted: (isolation == Isolation::Serializable).then(Arc::default),
            guarded: Footprint::default(),
        })
    }

    /// Runs `work` in a serializable transaction and commits it, again from the start when it loses
    /// against another one, up to 64 times with growing pauses between. `work` may so run several
    /// times.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let rings = db.tree("rings")?;
    /// let count = db.transaction(|tx| {
    ///     let count = tx.get(&rings, "oak")?.map_or(0, |count| count[0]) + 1;
    ///     tx.insert(&rings, "oak", [count])?;
    ///     Ok::<u8, sapwood::Error>(count)
    /// })?;
    /// assert_eq!(count, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `work` returns, after which nothing is changed; a conflict when the last attempt has
    /// lost, too; and what [`Transaction::commit`] returns.
    pub fn transaction<T, E: From<Error>>(
        &self,
        mut work: impl FnMut(&mut Transaction) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        const ATTEMPTS_MOST: u32 = 64;
        for attempt in 1.. {
            let mut transaction = self.begin_with(Isolation::Serializable)?;
            let value = work(&mut transaction)?;
            match transaction.commit() {
                Ok(_) => return Ok(value),
                Err(error) if error.is_conflict() && attempt < ATTEMPTS_MOST => {
                    self.pause_before(attempt);
                }
                Err(error) => return Err(error.into()),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Lets others finish before a transaction is tried once more.
    fn pause_before(&self, attempt: u32) {
        let engine = self.engine();
        if engine.background != Background::Manual {
            engine.table.storage().sleep(Duration::from_micros(20) * attempt);
        }
    }
}

impl Read for Transaction {
    fn at<'r>(&'r self, tree: &'r Tree) -> TreeAt<'r> {
        TreeAt::new(tree, Moment::Transaction(self))
    }
}

/// Reads: they see what was committed when the transaction began, and its own changes so far. An
/// iterator sees those that were made before it was. All of [`Read`] is there, too.
impl Transaction {
    /// The value of `key`.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn get(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.at(tree).get(key)
    }

    /// The value of `key`, which is about to be changed, or on which something else depends: the
    /// commit fails if somebody else changes it first, whatever the isolation.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn get_for_update(&mut self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let value = self.at(tree).get(key.as_ref())?;
        if self.noted.is_none() {
            self.guarded.push_key(tree.id(), key.as_ref());
        }
        Ok(value)
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn contains_key(&self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<bool> {
        self.at(tree).contains_key(key)
    }

    /// The values of several keys.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        tree: &Tree,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Slice>>> {
        self.at(tree).multi_get(keys)
    }

    /// The smallest key with its value.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn first(&self, tree: &Tree) -> Result<Option<(Slice, Slice)>> {
        self.at(tree).first()
    }

    /// The largest key with its value.
    ///
    /// # Errors
    /// See [`Read`].
    pub fn last(&self, tree: &Tree) -> Result<Option<(Slice, Slice)>> {
        self.at(tree).last()
    }

    /// All rows in key order; also backwards.
    pub fn iter(&self, tree: &Tree) -> Iter {
        self.at(tree).iter()
    }

    /// The rows whose keys lie in `range`, in key order; also backwards.
    pub fn range<K: AsRef<[u8]>>(&self, tree: &Tree, range: impl RangeBounds<K>) -> Iter {
        self.at(tree).range(range)
    }

    /// The rows whose keys begin with `prefix`, in key order; also backwards.
    pub fn prefix(&self, tree: &Tree, prefix: impl AsRef<[u8]>) -> Iter {
        self.at(tree).prefix(prefix)
    }

    pub(crate) fn db(&self) -> &Database {
        &self.db
    }

    /// Who reads in it.
    pub(crate) fn reader(&self) -> Result<Reader> {
        let reader = Reader::at(self.registration.clone()).noting(self.noted.clone());
        let mut changes = self.changes.lock();
        if changes.len() == 0 {
            return Ok(reader);
        }
        let engine = self.db.engine();
        let (own, newest) = changes.layers(&engine.table)?;
        let sight = reader.sight().with_own(newest);
        // Once committed, runs belong to the view: what is read of them stays in place as long as
        // a view is held that is not younger.
        let token = changes.is_spilled().then(|| engine.views.load().forest.token.clone());
        Ok(reader.with_own(own, sight, token))
    }
}

/// Changes: each is one message and reads nothing; it is checked at once, and made at the commit.
impl Transaction {
    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// When the key or value is too large, or the tree belongs to another database.
    pub fn insert(
        &mut self,
        tree: &Tree,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        self.write(tree, key.as_ref(), Op::Put(value.as_ref()))
    }

    /// Removes `key`, which need not be there.
    ///
    /// # Errors
    /// When the key is too large, or the tree belongs to another database.
    pub fn remove(&mut self, tree: &Tree, key: impl AsRef<[u8]>) -> Result<()> {
        self.write(tree, key.as_ref(), Op::Delete)
    }

    /// Merges `operand` into the value of `key`. It counts as a change of the key: of two
    /// transactions that merge into one key at the same time, the second one fails.
    ///
    /// # Errors
    /// When the tree has no operator or belongs to another database, or the key or operand is too
    /// large.
    pub fn merge(
        &mut self,
        tree: &Tree,
        key: impl AsRef<[u8]>,
        operand: impl AsRef<[u8]>,
    ) -> Result<()> {
        self.write(tree, key.as_ref(), Op::Merge(operand.as_ref()))
    }

    /// Removes all keys in `range`; one change, however many there are. It fails at the commit when
    /// somebody else has changed or added a row there.
    ///
    /// # Errors
    /// When an end of the range is longer than any key, or the tree belongs to another database.
    pub fn remove_range<K: AsRef<[u8]>>(
        &mut self,
        tree: &Tree,
        range: impl RangeBounds<K>,
    ) -> Result<()> {
        self.write_range(tree, bounds_of(&range))
    }

    /// Removes all keys that begin with `prefix`, like [`Transaction::remove_range`].
    ///
    /// # Errors
    /// As for [`Transaction::remove_range`].
    pub fn remove_prefix(&mut self, tree: &Tree, prefix: impl AsRef<[u8]>) -> Result<()> {
        self.write_range(tree, bounds_of_prefix(prefix.as_ref()))
    }

    fn write(&mut self, tree: &Tree, key: &[u8], op: Op<'_>) -> Result<()> {
        self.check_ours(tree)?;
        check(tree, key, op)?;
        self.push(tree, &Record::Write { tree: tree.id(), key, op })
    }

    fn write_range(&mut self, tree: &Tree, bounds: Bounds) -> Result<()> {
        self.check_ours(tree)?;
        check_range(&bounds)?;
        let Bounds { lower, upper } = within_key_length(bounds);
        if upper.as_ref().is_some_and(|upper| *upper <= lower) {
            return Ok(());
        }
        let (id, upper) = (tree.id(), upper.as_deref());
        self.push(tree, &Record::DeleteRange { tree: id, lower: &lower, upper })
    }

    fn push(&mut self, tree: &Tree, record: &Record<'_>) -> Result<()> {
        tree.check_live()?;
        self.trees.entry(tree.id()).or_insert_with(|| tree.clone());
        let engine = self.db.engine();
        Ok(self.changes.get_mut().push(engine, record)?)
    }

    fn check_ours(&self, tree: &Tree) -> Result<()> {
        let ours = Arc::ptr_eq(&self.db.0, &tree.db().0);
        if ours { Ok(()) } else { Err(Error::new(Kind::OtherDatabase)) }
    }

    /// How many changes it holds.
    pub fn len(&self) -> u64 {
        self.changes.lock().len()
    }

    /// Whether it has changed nothing yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place to go back to with [`Transaction::rollback_to`].
    pub fn savepoint(&mut self) -> Savepoint {
        let mark = self.changes.get_mut().mark();
        Savepoint { registration: Arc::downgrade(&self.registration), mark }
    }

    /// Takes back all changes that were made since `savepoint`, which can be used again. What was
    /// read stays read.
    ///
    /// # Errors
    /// When the savepoint is of another transaction, or lies behind one that was gone back to.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        let changes = self.changes.get_mut();
        let is_ours = Weak::as_ptr(&savepoint.registration) == Arc::as_ptr(&self.registration);
        if !is_ours || !changes.has(savepoint.mark) {
            return Err(Error::new(Kind::Savepoint));
        }
        Ok(changes.cut(self.db.engine(), savepoint.mark)?)
    }
}

/// The end of a transaction.
impl Transaction {
    /// Gives up all changes; what dropping it does, too.
    pub fn rollback(self) {}

    /// Commits all changes in one step, with [`Durability::Buffered`]; returns when they are
    /// visible. One that has changed nothing has nothing to check and always succeeds.
    ///
    /// # Errors
    /// A conflict ([`Error::is_conflict`]) when somebody else was first: nothing is changed, and
    /// the transaction can be run again from its beginning. Otherwise as for
    /// [`Batch::commit`](crate::Batch::commit).
    pub fn commit(self) -> Result<Commit> {
        self.commit_with(Durability::Buffered)
    }

    /// The same; returns when the changes are as durable as asked.
    ///
    /// # Errors
    /// As for [`Transaction::commit`].
    pub fn commit_with(self, durability: Durability) -> Result<Commit> {
        let ticket = self.commit_async(durability)?;
        ticket.wait()?;
        Ok(ticket.commit())
    }

    /// The same, without waiting for durability: the changes are visible when it returns, and the
    /// ticket tells when they are as durable as asked.
    ///
    /// # Errors
    /// As for [`Transaction::commit`].
    pub fn commit_async(mut self, durability: Durability) -> Result<Ticket> {
        let mut changes = std::mem::take(self.changes.get_mut());
        let footprint = self.footprint(&changes)?;
        let engine = self.db.engine();
        if changes.len() == 0 {
            engine.check_open()?;
            let seen = Committed { newest: self.registration.msn(), ..engine.so_far() };
            return Ok(Ticket::new(self.db.clone(), 0, seen, durability));
        }
        self.trees.values().try_for_each(Tree::check_live)?;
        let since = self.registration.msn();
        let settled = if changes.is_spilled() {
            commit_spilled(engine, &mut changes, Guard::new(footprint, since))?
        } else {
            commit_records(engine, changes.records(), &Guard::new(footprint, since), durability)?
        };
        match settled {
            Settled::Committed(committed) => {
                Ok(Ticket::new(self.db.clone(), changes.len(), committed, durability))
            }
            Settled::Changed(touch) => Err(self.conflict(touch)),
            Settled::Unknown => unreachable!("who watches can tell"),
        }
    }

    /// What must be unchanged for the commit.
    fn footprint(&mut self, changes: &Changes) -> Result<Footprint> {
        let mut footprint = changes.footprint()?;
        if let Some(noted) = &self.noted {
            footprint.extend(noted.footprint());
        }
        footprint.extend(std::mem::take(&mut self.guarded));
        footprint.sort();
        Ok(footprint)
    }

    fn conflict(&self, touch: Touch) -> Error {
        let Touch { tree, key } = touch;
        Error::new(Kind::Conflict { tree: self.name_of(tree), key: key.as_ref().into() })
    }

    fn name_of(&self, tree: TreeId) -> String {
        let view = self.db.engine().views.load();
        let known = view.forest.trees.get(&tree);
        known.map_or_else(|| tree.to_string(), |known| known.options.name.clone())
    }
}

/// Commits changes that fit into memory.
fn commit_records(
    engine: &Engine,
    records: &[u8],
    guard: &Guard,
    durability: Durability,
) -> Result<Settled> {
    let proposal = Proposal {
        bytes: records.len(),
        logging: durability.logging(),
        guard: Some(guard),
        encode: &|out| out.put(records),
    };
    match engine.propose(&proposal)? {
        Settled::Unknown => engine.propose_slowly(guard, &proposal),
        settled => Ok(settled),
    }
}

/// Commits changes that do not: they are on disk, and logged whatever durability was asked for.
fn commit_spilled(engine: &Engine, changes: &mut Changes, guard: Guard) -> Result<Settled> {
    changes.spill(engine)?;
    let guard = Guard { own: changes.on_disk(&engine.table), ..guard };
    match engine.search_watching(&guard)? {
        Searched::Changed(touch) => Ok(Settled::Changed(touch)),
        Searched::Stands(guard) => {
            let adoption = Adoption { written: changes.written(), numbers: changes.len() };
            engine.adopt(&adoption, Some(&guard))
        }
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("isolation", &self.isolation)
            .field("changes", &self.len())
            .finish_non_exhaustive()
    }
}
