//! Numbered points inside background work at which a test can pause it, look, copy the disk, or
//! break it off.
//!
//! None lies inside the publish mutex. Without a hook a point costs one load.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use crate::fault::Fault;

/// A place in background work; its number is its place in [`StepPoint::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepPoint {
    /// A spill has taken its generation.
    SpillBegun,
    /// Its pieces are built.
    SpillBuilt,
    /// They are in the view.
    SpillPublished,
    /// A flush has its claim; the child is not fetched yet.
    FlushClaimed,
    /// The child is in memory.
    FlushFetched,
    /// The new runs are built, nothing is applied.
    FlushBuilt,
    /// They are in the view.
    FlushPublished,
    /// Runs of one buffer are about to be gathered into one.
    GatherBegun,
    /// The run is built.
    GatherBuilt,
    /// It is in the view.
    GatherPublished,
    /// A leaf and its buffer are about to be merged.
    ReconcileBegun,
    /// The new segments are built.
    ReconcileBuilt,
    /// The new leaves are in the view.
    ReconcilePublished,
    /// A node is about to be split.
    SplitBegun,
    /// Both halves are in the view.
    SplitPublished,
    /// A leaf is about to be merged: what waits on its path is being flushed toward it.
    LeafMergeBegun,
    /// Two siblings are claimed, and about to be merged or rebalanced.
    MergeBegun,
    /// They are in memory.
    MergeFetched,
    /// What became of them is in the view.
    MergePublished,
    /// A tree is about to lose its highest node.
    ShrinkBegun,
    /// It has lost it.
    ShrinkPublished,
    /// A checkpoint begins.
    CheckpointBegun,
    /// It has its view.
    CheckpointCaptured,
    /// The segments of the view are written.
    CheckpointSegments,
    /// And the nodes.
    CheckpointNodes,
    /// And the tables.
    CheckpointTables,
    /// Everything is synced; the superblock is next.
    CheckpointSynced,
    /// The superblock is durable.
    CheckpointFlipped,
    /// What the previous checkpoint alone held is free.
    CheckpointReleased,
    /// Nodes of a dropped tree are about to be let go.
    EmptyBegun,
    /// They are in memory.
    EmptyFetched,
    /// They are no longer in the view.
    EmptyPublished,
    /// The active log file is about to be ended; the leader of commits is here.
    LogSealBegun,
    /// The next log file and its generation take the commits.
    LogSealed,
    /// The file that will follow them exists, and its name is durable.
    LogNextCreated,
    /// The block table is written, the catalog is next.
    CheckpointBlockTable,
    /// A superblock is written, and not synced yet.
    SuperblockWritten,
    /// The log files that a checkpoint has made needless are gone.
    CheckpointTrimmed,
    /// A page was let go of, by a reader or a job.
    PageEvicted,
    /// A node was let go of.
    NodeEvicted,
    /// The cleaner has picked an edge that it can pay for.
    CleanPicked,
    /// A reader (a snapshot, an iterator, a transaction) is no longer registered.
    ReaderReleased,
    /// An opening has read superblock and log, and made the superblock durable.
    RecoverySecured,
    /// It knows the trees of the checkpoint, and all space that the log names.
    RecoveryTables,
    /// It has moved everything that the log says into the trees.
    RecoveryReplayed,
    /// Its own log exists; no superblock names it yet.
    RecoveryLogCreated,
    /// A superblock names the new log; the old files are still there.
    RecoveryFlipped,
    /// They are gone; nothing is left but to accept writes.
    RecoveryTrimmed,
}

impl StepPoint {
    /// All of them, by number.
    pub const ALL: [StepPoint; 48] = [
        StepPoint::SpillBegun,
        StepPoint::SpillBuilt,
        StepPoint::SpillPublished,
        StepPoint::FlushClaimed,
        StepPoint::FlushFetched,
        StepPoint::FlushBuilt,
        StepPoint::FlushPublished,
        StepPoint::GatherBegun,
        StepPoint::GatherBuilt,
        StepPoint::GatherPublished,
        StepPoint::ReconcileBegun,
        StepPoint::ReconcileBuilt,
        StepPoint::ReconcilePublished,
        StepPoint::SplitBegun,
        StepPoint::SplitPublished,
        StepPoint::LeafMergeBegun,
        StepPoint::MergeBegun,
        StepPoint::MergeFetched,
        StepPoint::MergePublished,
        StepPoint::ShrinkBegun,
        StepPoint::ShrinkPublished,
        StepPoint::CheckpointBegun,
        StepPoint::CheckpointCaptured,
        StepPoint::CheckpointSegments,
        StepPoint::CheckpointNodes,
        StepPoint::CheckpointTables,
        StepPoint::CheckpointSynced,
        StepPoint::CheckpointFlipped,
        StepPoint::CheckpointReleased,
        StepPoint::EmptyBegun,
        StepPoint::EmptyFetched,
        StepPoint::EmptyPublished,
        StepPoint::LogSealBegun,
        StepPoint::LogSealed,
        StepPoint::LogNextCreated,
        StepPoint::CheckpointBlockTable,
        StepPoint::SuperblockWritten,
        StepPoint::CheckpointTrimmed,
        StepPoint::PageEvicted,
        StepPoint::NodeEvicted,
        StepPoint::CleanPicked,
        StepPoint::ReaderReleased,
        StepPoint::RecoverySecured,
        StepPoint::RecoveryTables,
        StepPoint::RecoveryReplayed,
        StepPoint::RecoveryLogCreated,
        StepPoint::RecoveryFlipped,
        StepPoint::RecoveryTrimmed,
    ];
}

/// What a test does at a point: break the work off, or let it go on.
pub type StepHook = Arc<dyn Fn(StepPoint) -> ControlFlow<()> + Send + Sync>;

/// The hook of one database, if it has one; clones share it.
#[derive(Clone, Default)]
pub struct Steps(Arc<OnceLock<StepHook>>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Steps").field(&self.0.get().is_some()).finish()
    }
}

impl Steps {
    /// Sets the hook; the first one stays.
    pub fn hook(&self, hook: StepHook) {
        let _ = self.0.set(hook);
    }

    /// Work has come to `point`; [`Fault::Stopped`] when it is to be broken off.
    pub fn reach(&self, point: StepPoint) -> Result<(), Fault> {
        match self.0.get().map(|hook| hook(point)) {
            Some(ControlFlow::Break(())) => Err(Fault::Stopped),
            Some(ControlFlow::Continue(())) | None => Ok(()),
        }
    }

    /// Work has passed `point` and cannot be broken off any more.
    pub fn pass(&self, point: StepPoint) {
        // Whatever the hook says: what was published stays.
        let _ = self.reach(point);
    }
}
