//! Commits: from a batch to the log, the memtable, and what readers see.
//!
//! ```text
//! queue -> leader: number, encode one frame, append, insert, make visible -> followers wake
//!                                                        `-> whoever asked: wait for the sync
//! ```
//!
//! Leading is a role, not a lock: nobody holds a mutex while the leader writes. Syncs are apart
//! from it, so that the next group is appended while the last one is being synced.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sapwood_cachetable::Fault;
use sapwood_cachetable::sync::atomic::AtomicBool;
use sapwood_cachetable::sync::{Condvar, Mutex, Rank};
use sapwood_serialize::catalog_image::OperatorName;
use sapwood_serialize::codec::Encode;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;
use sapwood_serialize::{
    Corruption, FrameKind, Lsn, Memory, Msn, Op, Record, Records, TreeId, begin_frame,
};

use crate::catalog::Catalog;
use crate::conflict::{Guard, Touch, Verdict, Watch};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::memtable::{Gathered, Memtable};

/// How much a commit survives once it has returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A crash of the process, not a power cut: handed to the system, not synced.
    #[default]
    Buffered,
    /// A power cut: written and synced. Commits of several threads share a sync.
    Synced,
    /// A crash of the process at once, and a power cut after at most this time: handed to the
    /// system, and synced in the background for all commits that came in meanwhile.
    Interval(Duration),
    /// Nothing before the next checkpoint: it is not logged. For bulk work that can be repeated. A
    /// crash loses the whole batch, never a part, and may keep later logged ones.
    NoWal,
}

impl Durability {
    /// Whether such a commit goes into the log.
    pub(crate) fn logging(self) -> Logging {
        match self {
            Durability::NoWal => Logging::Unlogged,
            Durability::Buffered | Durability::Synced | Durability::Interval(_) => Logging::Logged,
        }
    }
}

/// Encoded records that wait for a leader.
struct Pending {
    records: Memory,
    logging: Logging,
    guard: Option<Guard>,
    outcome: Mutex<Option<Outcome>>,
}

/// Records to be committed.
#[derive(Clone, Copy)]
pub(crate) struct Proposal<'a> {
    /// About how many bytes `encode` writes.
    pub(crate) bytes: usize,
    pub(crate) logging: Logging,
    /// What they depend on.
    pub(crate) guard: Option<&'a Guard>,
    pub(crate) encode: &'a dyn Fn(&mut Memory),
}

/// Where a commit stands in the order of the database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    /// Where it ends in the log.
    pub(crate) end: Lsn,
    /// The newest MSN of its group: whoever sees that sees the commit.
    pub(crate) newest: Msn,
}

/// What became of a proposal.
#[derive(Clone, Debug)]
pub(crate) enum Settled {
    Committed(Committed),
    /// It was not made: this key has changed.
    Changed(Touch),
    /// It was not made: whether a guarded key has changed cannot be told quickly.
    Unknown,
}

type Outcome = std::result::Result<Settled, Fault>;

/// Whether records go into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logging {
    Logged,
    Unlogged,
}

#[derive(Default)]
struct Queue {
    is_led: bool,
    /// Whether somebody is let in, or about to be, with more than a group takes.
    is_large_in: bool,
    waiting: Vec<Arc<Pending>>,
}

/// A group takes no more waiting records than this, besides its leader's: it has to fit into memory
/// and into one frame.
const GROUP_BYTES: usize = 1 << 20;

impl Queue {
    /// Those who have waited longest, as many as one group takes.
    fn take_some(&mut self) -> Vec<Arc<Pending>> {
        let mut bytes = 0;
        let fits = self.waiting.iter().take_while(|pending| {
            bytes += pending.records.len();
            bytes <= GROUP_BYTES
        });
        let count = fits.count();
        self.waiting.drain(..count).collect()
    }
}

/// Where commits line up.
pub(crate) struct Line {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// What only the leader touches.
    leader: Mutex<Leader>,
    pub(crate) watches: Mutex<Vec<Weak<Watch>>>,
    pub(crate) is_watched: AtomicBool,
}

struct Leader {
    next_msn: Msn,
    frame: Memory,
}

impl Line {
    pub(crate) fn new(next_msn: Msn) -> Line {
        Line {
            queue: Mutex::new(Rank::JobQueue, Queue::default()),
            changed: Condvar::new(),
            leader: Mutex::new(Rank::WalBuffer, Leader { next_msn, frame: Memory::default() }),
            watches: Mutex::new(Rank::JobQueue, Vec::new()),
            is_watched: AtomicBool::new(false),
        }
    }

    /// Every message so far has a smaller number. Only exact while nobody leads.
    pub(crate) fn next_msn(&self) -> Msn {
        self.leader.lock().next_msn
    }

    /// The leader's: the next message gets this number.
    pub(crate) fn set_next_msn(&self, next: Msn) {
        self.leader.lock().next_msn = next;
    }

    /// Becomes the leader at once, or lines up `pending` and returns when it was committed by
    /// another leader; `None` when the caller is to lead itself.
    fn line_up(&self, make: &dyn Fn() -> Pending) -> Option<Outcome> {
        let mut queue = self.queue.lock();
        if !queue.is_led {
            queue.is_led = true;
            return None;
        }
        let pending = Arc::new(make());
        queue.waiting.push(pending.clone());
        loop {
            self.changed.wait(&mut queue);
            if let Some(outcome) = pending.outcome.lock().take() {
                return Some(outcome);
            }
            if !queue.is_led {
                queue.is_led = true;
                queue.waiting.retain(|other| !Arc::ptr_eq(other, &pending));
                return None;
            }
        }
    }

    /// Waits for the turn of something large.
    fn take_turn(&self) -> Turn<'_> {
        let mut queue = self.queue.lock();
        while queue.is_large_in {
            self.changed.wait(&mut queue);
        }
        queue.is_large_in = true;
        Turn(self)
    }

    /// Becomes the leader once nobody leads.
    fn take_lead(&self) {
        let mut queue = self.queue.lock();
        while queue.is_led {
            self.changed.wait(&mut queue);
        }
        queue.is_led = true;
    }

    /// Waits until nobody leads, and leads; for work that must not run beside a commit.
    pub(crate) fn lead<T>(&self, work: impl FnOnce() -> T) -> T {
        self.take_lead();
        let _resign = Resign(self);
        work()
    }
}

/// One large proposal at a time is let in and committed: several that were let in at once would
/// fill one memtable together, since none knew of the others.
struct Turn<'a>(&'a Line);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().is_large_in = false;
        self.0.changed.notify_all();
    }
}

/// Gives the lead back, also when the work panics.
struct Resign<'a>(&'a Line);

impl Drop for Resign<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().is_led = false;
        self.0.changed.notify_all();
    }
}

impl Engine {
    /// Commits records that `encode` writes, `bytes` of them; returns when they are visible and as
    /// durable as asked.
    pub(crate) fn commit(
        &self,
        bytes: usize,
        durability: Durability,
        encode: &dyn Fn(&mut Memory),
    ) -> Result<()> {
        let logging = durability.logging();
        match self.propose(&Proposal { bytes, logging, guard: None, encode })? {
            Settled::Committed(committed) => self.make_durable(committed, durability),
            Settled::Changed(_) | Settled::Unknown => unreachable!("nothing was guarded"),
        }
    }

    /// Puts a proposal into the log and the memtable, unless its guard keeps it out; returns when
    /// it is visible.
    pub(crate) fn propose(&self, proposal: &Proposal<'_>) -> Result<Settled> {
        let is_large = proposal.bytes > GROUP_BYTES;
        let _turn = is_large.then(|| self.line.take_turn());
        self.admit(proposal.bytes as u64)?;
        let pending = || {
            let mut records = Memory::with_room(proposal.bytes);
            (proposal.encode)(&mut records);
            let (logging, guard) = (proposal.logging, proposal.guard.cloned());
            Pending { records, logging, guard, outcome: Mutex::new(Rank::Storage, None) }
        };
        let settled = if is_large {
            // No group takes it: in line it would be copied in vain.
            self.line.take_lead();
            None
        } else {
            self.line.line_up(&pending)
        };
        let outcome = match settled {
            Some(outcome) => outcome,
            None => {
                let _resign = Resign(&self.line);
                self.guarded(|| self.lead_group(proposal))
            }
        };
        Ok(outcome?)
    }

    /// Everything that was committed so far.
    pub(crate) fn so_far(&self) -> Committed {
        let newest = self.views.visible();
        Committed { newest, end: self.log.end() }
    }

    /// Returns when a commit is as durable as asked.
    pub(crate) fn make_durable(&self, commit: Committed, durability: Durability) -> Result<()> {
        match durability {
            // It is in the log and visible; only whether it is durable is not known.
            Durability::Synced => {
                let synced = self.sync_log_to(commit.end);
                synced.map_err(|fault| Error::new(Kind::Indeterminate(fault)))?;
            }
            Durability::Interval(time) => self.sync_within(time),
            Durability::Buffered | Durability::NoWal => {}
        }
        Ok(())
    }

    /// Commits the caller's records with those of everybody who waits: in one frame what is to be
    /// logged and in one what is not, and guarded ones one by one, because each may depend on the
    /// one before.
    fn lead_group(&self, own: &Proposal<'_>) -> Outcome {
        let waiting = self.line.queue.lock().take_some();
        let mut own_outcome = None;
        for kind in [Logging::Logged, Logging::Unlogged] {
            let has_own = own.guard.is_none() && own.logging == kind;
            let alike =
                |pending: &&Arc<Pending>| pending.guard.is_none() && pending.logging == kind;
            if !has_own && !waiting.iter().any(|pending| alike(&pending)) {
                continue;
            }
            let outcome = self.commit_group(kind, &mut |frame| {
                if has_own {
                    (own.encode)(frame);
                }
                waiting.iter().filter(alike).for_each(|pending| frame.put(&pending.records));
            });
            let outcome = outcome.map(Settled::Committed);
            for pending in waiting.iter().filter(alike) {
                *pending.outcome.lock() = Some(outcome.clone());
            }
            if has_own {
                own_outcome = Some(outcome);
            }
        }
        for pending in &waiting {
            if let Some(guard) = &pending.guard {
                let records = |frame: &mut Memory| frame.put(&pending.records);
                let outcome = self.commit_unless_changed(guard, pending.logging, &records);
                *pending.outcome.lock() = Some(outcome);
            }
        }
        match (own.guard, own_outcome) {
            (Some(guard), _) => self.commit_unless_changed(guard, own.logging, own.encode),
            (None, Some(outcome)) => outcome,
            (None, None) => unreachable!("what has no guard belongs to one of both groups"),
        }
    }

    fn commit_unless_changed(
        &self,
        guard: &Guard,
        logging: Logging,
        encode: &dyn Fn(&mut Memory),
    ) -> Outcome {
        match self.verdict(guard)? {
            Verdict::Stands => {
                let committed = self.commit_group(logging, &mut |frame| encode(frame))?;
                Ok(Settled::Committed(committed))
            }
            Verdict::Changed(touch) => Ok(Settled::Changed(touch)),
            Verdict::Unknown => Ok(Settled::Unknown),
        }
    }

    /// The leader's work for one frame: log it, insert it, make it visible.
    fn commit_group(
        &self,
        logging: Logging,
        encode: &mut dyn FnMut(&mut Memory),
    ) -> std::result::Result<Committed, Fault> {
        self.table.poison().check()?;
        if self.is_closed() {
            return Err(Fault::Closed);
        }
        self.seal_if_full()?;
        let mut leader = self.line.leader.lock();
        let mut frame = std::mem::take(&mut leader.frame);
        let first = leader.next_msn;
        drop(leader);
        frame.clear();
        begin_frame(&mut frame);
        let start = frame.len();
        encode(&mut frame);
        let records = start..frame.len();
        let _on_its_way = self.table.on_its_way(frame.len());
        let view = self.views.load();
        view.active.promise(&self.table, (records.len()) as u64)?;
        let end = match logging {
            Logging::Logged => {
                self.log.make_room(frame.len() as u64 + 8)?;
                let appended = self.log.append(FrameKind::Group, first, &mut frame);
                appended.map_err(|fault| Fault::Indeterminate(Arc::new(fault)))?
            }
            Logging::Unlogged => self.log.end(),
        };
        let next = self.apply(&frame[records.clone()], first, &view.active.memtable)?;
        drop(view);
        self.line.tell(&frame[records]);
        self.keep_small(&mut frame);
        let mut leader = self.line.leader.lock();
        leader.next_msn = next;
        leader.frame = frame;
        drop(leader);
        let newest = Msn::from_raw(next.to_raw() - 1);
        self.views.advance(newest);
        Ok(Committed { end, newest })
    }

    fn apply(
        &self,
        records: &[u8],
        first: Msn,
        memtable: &Memtable,
    ) -> std::result::Result<Msn, Fault> {
        let count = |record: &Record<'_>| self.counters.user_bytes.add(user_bytes(record));
        apply_group(records, first, &mut &*memtable, self.catalog(), &count)
    }

    /// A frame that one huge batch has blown up is not kept.
    fn keep_small(&self, frame: &mut Memory) {
        if frame.room() > Memory::SMALL_BYTES_MOST {
            *frame = Memory::default();
        }
    }
}

/// Takes the messages of commit groups, in the order of their numbers.
pub(crate) trait Messages {
    /// Takes a message about one key.
    fn insert(&mut self, tree: TreeId, key: &[u8], msn: Msn, op: Op<'_>);

    /// Takes the range deletes of a group, together.
    fn delete_ranges(&mut self, gathered: &Gathered);
}

impl Messages for &Memtable {
    fn insert(&mut self, tree: TreeId, key: &[u8], msn: Msn, op: Op<'_>) {
        Memtable::insert(self, tree, key, msn, op);
    }

    fn delete_ranges(&mut self, gathered: &Gathered) {
        Memtable::delete_ranges(self, gathered);
    }
}

/// Does what the records of a group say; the first one gets the number `first`. Returns the
/// next number. `count` is told of each record.
pub(crate) fn apply_group(
    records: &[u8],
    first: Msn,
    messages: &mut impl Messages,
    catalog: Catalog<'_>,
    count: &dyn Fn(&Record<'_>),
) -> std::result::Result<Msn, Fault> {
    let (mut msn, mut ranges) = (first, Gathered::default());
    for record in Records::new(records) {
        let record = record?;
        if matches!(record, Record::Runs { .. }) {
            let rule = "it names runs beside other records";
            return Err(Corruption::new("log record", 0, rule).into());
        }
        count(&record);
        msn = apply_record(&record, msn, messages, &mut ranges, catalog);
    }
    messages.delete_ranges(&ranges);
    Ok(msn)
}

/// Does what one record says, at the number `msn`. Returns the next number.
fn apply_record(
    record: &Record<'_>,
    msn: Msn,
    messages: &mut impl Messages,
    ranges: &mut Gathered,
    catalog: Catalog<'_>,
) -> Msn {
    match *record {
        Record::Write { tree, key, op } => messages.insert(tree, key, msn, op),
        Record::DeleteRange { tree, lower, upper } => {
            let bounds = Bounds { lower: lower.into(), upper: upper.map(Key::from) };
            ranges.push(tree, bounds, msn);
        }
        Record::CreateTree { tree, name, pages } => catalog.plant(msn, tree, name, pages),
        Record::RenameTree { tree, name } => catalog.rename(msn, tree, name),
        Record::Operator { tree, name, version } => {
            catalog.name_operator(msn, tree, &OperatorName { name: name.to_owned(), version });
        }
        Record::DropTree { tree } => catalog.drop_tree(msn, tree),
        Record::Runs { .. } => unreachable!("a group of its own"),
    }
    msn.next()
}

/// The keys and values in a record.
fn user_bytes(record: &Record<'_>) -> u64 {
    let bytes = match record {
        Record::Write { key, op, .. } => key.len() + op.payload().len(),
        Record::DeleteRange { lower, upper, .. } => lower.len() + upper.map_or(0, <[u8]>::len),
        Record::CreateTree { .. }
        | Record::RenameTree { .. }
        | Record::DropTree { .. }
        | Record::Operator { .. }
        | Record::Runs { .. } => 0,
    };
    bytes as u64
}
