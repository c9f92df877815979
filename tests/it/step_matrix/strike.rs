//! What is done at a step point, and to which points it was done already.
//!
//! The hook runs on the thread that has come to the point. What another user does there is done by
//! a thread of its own, as it would be: the hook waits for it, for as long as nobody can have to
//! wait for the work that stands still.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sapwood::{Config, Database, Snapshot, StepPoint, Tree};

use crate::sim::disk::{Repeat, SimDisk};
use crate::sim::model::Rows;
use crate::sim::operators::existing;
use crate::sim::workload::TREES;

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intervention {
    /// The machine crashes, in every way.
    Crash,
    /// The next operation on the disk fails like this.
    Fail(ErrorKind),
    /// The work is broken off.
    PutOff,
    Panic,
    /// Somebody else takes a checkpoint, writes, or takes or releases a snapshot.
    Checkpoint,
    Write,
    TakeSnapshot,
    ReleaseSnapshot,
}

/// A snapshot with what all trees had in it.
pub struct Seen {
    snapshot: Snapshot,
    trees: Vec<(Tree, Rows)>,
}

impl Seen {
    /// A snapshot of what is there now.
    fn of(db: &Database) -> Seen {
        let trees = db.tree_names().into_iter().map(|name| existing(db, &name).unwrap());
        let trees: Vec<Tree> = trees.collect();
        let snapshot = db.snapshot();
        let with_rows = |tree: Tree| {
            let rows = rows_at(&tree, &snapshot);
            (tree, rows)
        };
        let trees = trees.into_iter().map(with_rows).collect();
        Seen { snapshot, trees }
    }

    /// It is as it was, whatever has happened since: its trees may even have been dropped.
    pub fn check(&self) {
        for (tree, rows) in &self.trees {
            assert!(rows_at(tree, &self.snapshot) == *rows, "a snapshot of {tree:?} has changed");
        }
    }
}

fn rows_at(tree: &Tree, snapshot: &Snapshot) -> Rows {
    let rows = tree.at(snapshot).iter().map(|row| row.unwrap());
    rows.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

/// What is shared by the hooks of a run's openings.
#[derive(Default)]
struct Board {
    is_armed: bool,
    /// How often each point is to be struck.
    wanted: usize,
    struck: BTreeMap<StepPoint, usize>,
    /// Since the last look.
    now: Vec<StepPoint>,
    wrecks: Vec<(StepPoint, SimDisk)>,
    others: Vec<JoinHandle<()>>,
    seen: VecDeque<Seen>,
    to_release: Option<Snapshot>,
    written: u64,
    db: Option<Database>,
}

/// Strikes each point of a run some times; clones are the same.
#[derive(Clone)]
pub struct Striker {
    pub intervention: Intervention,
    board: Arc<Mutex<Board>>,
}

/// What has been done since the striker was armed.
pub struct Blows {
    pub points: Vec<StepPoint>,
    pub wrecks: Vec<(StepPoint, SimDisk)>,
    pub seen: Vec<Seen>,
    /// How many rows others have written so far.
    pub written: u64,
}

/// Where nobody ever waits for the work that stands still. Elsewhere a commit waits for the leader,
/// a checkpoint for the one before, and whoever needs room for the spill.
fn holds_nobody_up(point: StepPoint) -> bool {
    use StepPoint::*;
    matches!(
        point,
        FlushClaimed
            | FlushFetched
            | FlushBuilt
            | FlushPublished
            | GatherBegun
            | GatherBuilt
            | GatherPublished
            | ReconcileBegun
            | ReconcileBuilt
            | ReconcilePublished
            | SplitBegun
            | SplitPublished
            | LeafMergeBegun
            | MergeBegun
            | MergeFetched
            | MergePublished
            | ShrinkBegun
            | ShrinkPublished
            | EmptyBegun
            | EmptyFetched
            | EmptyPublished
            | CleanPicked
    )
}

impl Striker {
    pub fn new(intervention: Intervention, wanted: usize) -> Striker {
        let board = Board { wanted, ..Board::default() };
        Striker { intervention, board: Arc::new(Mutex::new(board)) }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The points that were not struck as often as wanted.
    pub fn missing(&self) -> Vec<StepPoint> {
        let board = self.board();
        let times = |point| board.struck.get(point).copied().unwrap_or_default();
        StepPoint::ALL.iter().filter(|point| times(point) < board.wanted).copied().collect()
    }

    /// How many times any point was struck.
    pub fn times(&self) -> usize {
        self.board().struck.values().sum()
    }

    /// Strikes from now on; `db` is what others use, if it is open.
    pub fn arm(&self, db: Option<&Database>) {
        let releases = self.intervention == Intervention::ReleaseSnapshot;
        let mut board = self.board();
        board.to_release = db.filter(|_| releases).map(Database::snapshot);
        board.db = db.cloned();
        board.is_armed = true;
    }

    /// Strikes no more; waits for what others have begun.
    pub fn disarm(&self) -> Blows {
        let mut board = self.board();
        board.is_armed = false;
        let released = board.to_release.take();
        let others = std::mem::take(&mut board.others);
        let _db = board.db.take();
        drop(board);
        drop(released);
        others.into_iter().for_each(|other| other.join().unwrap());
        let mut board = self.board();
        Blows {
            points: std::mem::take(&mut board.now),
            wrecks: std::mem::take(&mut board.wrecks),
            seen: board.seen.drain(..).collect(),
            written: board.written,
        }
    }

    /// The hook of an opening on `disk`.
    pub fn hook(
        &self,
        disk: &SimDisk,
    ) -> impl Fn(StepPoint) -> ControlFlow<()> + Send + Sync + 'static {
        let (striker, disk) = (self.clone(), disk.clone());
        move |point| {
            if striker.begins(point) {
                striker.strike(point, &disk)
            } else {
                ControlFlow::Continue(())
            }
        }
    }

    fn begins(&self, point: StepPoint) -> bool {
        let mut board = self.board();
        if !board.is_armed || board.struck.get(&point).is_some_and(|times| *times >= board.wanted) {
            return false;
        }
        // All but crashes change what comes after them: one at a time.
        board.is_armed = self.intervention == Intervention::Crash;
        *board.struck.entry(point).or_default() += 1;
        board.now.push(point);
        true
    }

    fn strike(&self, point: StepPoint, disk: &SimDisk) -> ControlFlow<()> {
        match self.intervention {
            // A killed process leaves the disk with everything that is pending.
            Intervention::Crash => self.board().wrecks.push((point, disk.kill())),
            Intervention::Fail(kind) => disk.fail_at(disk.operations(), kind, Repeat::Once),
            Intervention::PutOff => return ControlFlow::Break(()),
            Intervention::Panic => panic!("at {point:?}"),
            Intervention::Checkpoint
            | Intervention::Write
            | Intervention::TakeSnapshot
            | Intervention::ReleaseSnapshot => self.let_another(point, disk),
        }
        ControlFlow::Continue(())
    }

    /// Lets another thread do what it does, and waits for it if it need not wait itself.
    fn let_another(&self, point: StepPoint, disk: &SimDisk) {
        const LONG: Duration = Duration::from_secs(60);
        const SHORT: Duration = Duration::from_millis(20);
        let (done, wait) = channel();
        let (striker, disk) = (self.clone(), disk.clone());
        let db = self.board().db.clone();
        let must_not_wait = holds_nobody_up(point) || db.is_none();
        let other = thread::spawn(move || {
            match db {
                Some(db) => striker.act(&db),
                None => keeps_out(&disk),
            }
            // Nobody may be waiting any more.
            let _ = done.send(());
        });
        self.board().others.push(other);
        let waited = wait.recv_timeout(if must_not_wait { LONG } else { SHORT });
        assert!(waited.is_ok() || !must_not_wait, "somebody waits for what stands at {point:?}");
    }

    fn act(&self, db: &Database) {
        match self.intervention {
            // One that is being closed refuses.
            Intervention::Checkpoint => drop(db.checkpoint()),
            Intervention::Write => self.write(db),
            Intervention::TakeSnapshot => {
                let seen = Seen::of(db);
                self.board().seen.push_back(seen);
            }
            Intervention::ReleaseSnapshot => {
                let snapshot = self.board().to_release.take();
                drop(snapshot);
            }
            _ => unreachable!("it is done by the thread itself"),
        }
    }

    fn write(&self, db: &Database) {
        let number = self.board().written;
        let tree = existing(db, TREES[1]).unwrap();
        tree.insert(another(number), another(number)).unwrap();
        self.board().written += 1;
    }
}

/// The row that another writer writes at its turn.
pub fn another(number: u64) -> String {
    format!("another {number:04}")
}

/// A database that is being recovered is somebody's already.
fn keeps_out(disk: &SimDisk) {
    let refused = Config::on(Arc::new(disk.clone())).open().unwrap_err();
    assert!(refused.is_locked() && refused.is_retryable(), "{refused}");
}
