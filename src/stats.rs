//! What the database counts.

use std::collections::BTreeMap;

use sapwood_cachetable::Cachetable;
use sapwood_cachetable::stats::{Counter, Counters, FilterCounters};
use sapwood_flusher::{MoverCounters, Spread};
use sapwood_serialize::node::{Edge, Node};
use serde::Serialize;

use crate::database::Database;

/// Figures of a database. Counters count since it was opened; bytes are bytes.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Keys and values that users wrote.
    pub user_bytes: u64,
    /// Bytes written to all files, the log included.
    pub bytes_written: u64,
    /// Bytes read from the block file.
    pub bytes_read: u64,
    /// Pages read from the block file.
    pub pages_read: u64,
    /// What is in memory and counts against the budget.
    pub resident_bytes: u64,
    /// The budget.
    pub budget_bytes: u64,
    /// What still has to move down: memtables and buffers, uncompressed.
    pub debt_bytes: u64,
    /// The length of the block file.
    pub file_bytes: u64,
    /// What of it the current view uses.
    pub live_bytes: u64,
    /// What of it may take no space on disk: holes, and after an opening all that could be one.
    pub hollow_bytes: u64,
    /// Bytes written to the log, the zeros among them that are written ahead of synced commits.
    pub wal_bytes: u64,
    /// Syncs of log files.
    pub wal_syncs: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// What was moved down the trees, and how they were reshaped.
    pub movement: Movement,
    /// Questions to filters by height: entry 0 is the leaves' own rows, 1 the buffers right above
    /// leaves, and so on.
    pub filters: Vec<FilterFigures>,
    /// Snapshots, transactions and iterators that are held now.
    pub readers: ReaderFigures,
    /// Delays of writers: entry `n` counts those below 2^n microseconds and not below 2^(n-1).
    pub write_delay: Vec<u64>,
    /// Each tree by name.
    pub trees: BTreeMap<String, TreeStats>,
}

/// What was moved since the database was opened. Bytes are uncompressed.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Movement {
    /// Generations spilled into the trees.
    pub spills: u64,
    /// Buffers moved one level down, into leaves included: the sum of the next two.
    pub flushes: u64,
    /// Flushes for which nothing had to be read.
    pub flushes_in_memory: u64,
    /// Flushes for which something had to be read.
    pub flushes_with_io: u64,
    /// Flushes by how many flushes right before them in one go had led to them; the last entry
    /// counts all deeper ones.
    pub cascades: Vec<u64>,
    /// Times that a leaf was rewritten: by flushes into it, by compactions, and to move it.
    pub reconciles: u64,
    /// Times that small runs of one buffer were made one, where they were.
    pub gathers: u64,
    /// Segments that moved down by reference.
    pub segments_adopted: u64,
    /// Segments that a rewritten leaf kept.
    pub segments_kept: u64,
    /// Segments that were built.
    pub segments_built: u64,
    /// Bytes that were built.
    pub bytes_built: u64,
    /// Bytes that range deletes let drop unread.
    pub bytes_dropped: u64,
    /// Leaves that came into being by splits.
    pub leaf_splits: u64,
    /// Internal nodes split.
    pub internal_splits: u64,
    /// Leaves merged with a sibling.
    pub leaf_merges: u64,
    /// Internal nodes merged with a sibling.
    pub internal_merges: u64,
    /// Leaves that took a part of their sibling.
    pub leaf_balances: u64,
    /// Internal nodes that took a part of their sibling.
    pub internal_balances: u64,
    /// Levels that trees have lost at the top.
    pub shrinks: u64,
    /// Nodes that dropped trees gave back.
    pub nodes_emptied: u64,
    /// Leaf merges, with the flushes toward them, that were begun.
    pub leaf_merges_started: u64,
    /// Leaf merges under way now.
    pub leaf_merges_running: u64,
    /// Leaf merges that ended, with a merge or without.
    pub leaf_merges_ended: u64,
    /// Nodes that got a new image, to be written.
    pub nodes_dirtied: u64,
    /// Jobs that were broken off because something was more urgent.
    pub stopped: u64,
    /// Flushes that the cleaner did.
    pub cleaner_runs: u64,
    /// What waited in the buffers that the cleaner flushed.
    pub cleaner_buffer_bytes: SpreadFigures,
    /// What readers had done because of the buffers that the cleaner flushed, in bytes.
    pub cleaner_work_bytes: SpreadFigures,
}

impl Movement {
    fn of(mover: &MoverCounters, nodes_dirtied: u64) -> Movement {
        let (started, ended) = (mover.leaf_merges_started.get(), mover.leaf_merges_ended.get());
        Movement {
            spills: mover.spills.get(),
            flushes: mover.flushes(),
            flushes_in_memory: mover.flushes_in_memory.get(),
            flushes_with_io: mover.flushes_with_io.get(),
            cascades: mover.cascades.iter().map(Counter::get).collect(),
            reconciles: mover.reconciles.get(),
            gathers: mover.gathers.get(),
            segments_adopted: mover.segments_adopted.get(),
            segments_kept: mover.segments_kept.get(),
            segments_built: mover.segments_built.get(),
            bytes_built: mover.bytes_built.get(),
            bytes_dropped: mover.bytes_dropped.get(),
            leaf_splits: mover.leaf_splits.get(),
            internal_splits: mover.internal_splits.get(),
            leaf_merges: mover.leaf_merges.get(),
            internal_merges: mover.internal_merges.get(),
            leaf_balances: mover.leaf_balances.get(),
            internal_balances: mover.internal_balances.get(),
            shrinks: mover.shrinks.get(),
            nodes_emptied: mover.nodes_emptied.get(),
            leaf_merges_started: started,
            leaf_merges_running: started.saturating_sub(ended),
            leaf_merges_ended: ended,
            nodes_dirtied,
            stopped: mover.stopped.get(),
            cleaner_runs: mover.cleaner_runs.get(),
            cleaner_buffer_bytes: SpreadFigures::of(&mover.cleaner_buffer),
            cleaner_work_bytes: SpreadFigures::of(&mover.cleaner_work),
        }
    }
}

/// The smallest, the largest and the sum of some amounts.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct SpreadFigures {
    /// The smallest.
    pub least: u64,
    /// The largest.
    pub most: u64,
    /// The sum.
    pub total: u64,
}

impl SpreadFigures {
    fn of(spread: &Spread) -> SpreadFigures {
        SpreadFigures { least: spread.least(), most: spread.most(), total: spread.total() }
    }
}

/// What became of questions to filters. A page that is in memory is looked into instead.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct FilterFigures {
    /// The filter denied the key, and nothing was read.
    pub denied: u64,
    /// The filter let the key pass, and it was there.
    pub found: u64,
    /// The filter let the key pass, and it was not there.
    pub misled: u64,
}

impl FilterFigures {
    fn of(counters: &Counters) -> Vec<FilterFigures> {
        let figures = |met: FilterCounters| {
            let FilterCounters { denied, found, misled } = met;
            FilterFigures { denied, found, misled }
        };
        counters.filters.by_height().into_iter().map(figures).collect()
    }
}

/// Who is held to a moment, and what that keeps.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ReaderFigures {
    /// How many there are.
    pub count: u64,
    /// For how long the one that sees the oldest state has been held, in microseconds; 0 without
    /// any.
    pub oldest_micros: u64,
    /// Bytes of old versions in the trees, uncompressed: those that readers may see, and those
    /// whose readers have gone since they were last moved. What was written before the database was
    /// opened is not counted, nor what is still in memtables.
    pub held_bytes: u64,
}

impl ReaderFigures {
    fn of(db: &Database) -> ReaderFigures {
        let (count, age) = db.oldest_reader();
        ReaderFigures {
            count: count as u64,
            oldest_micros: age.map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX)),
            held_bytes: db.engine().table.meters().superseded.bytes(),
        }
    }
}

/// Figures of one tree.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct TreeStats {
    /// 0 for a tree of one leaf.
    pub height: u64,
    /// Nodes of all kinds.
    pub nodes: u64,
    /// Leaves.
    pub leaves: u64,
    /// Runs that wait in buffers.
    pub runs: u64,
    /// The most runs on one edge.
    pub runs_most: u64,
    /// How many edges have how many runs: entry `n` counts those with `n`, the last entry those
    /// with more, too.
    pub edges_by_runs: Vec<u64>,
    /// Uncompressed bytes that wait in buffers.
    pub buffered_bytes: u64,
}

impl Database {
    /// The figures now. Walks all internal nodes and reads those that are not in memory, which are
    /// few and small; what lies below one that cannot be read is not counted.
    pub fn stats(&self) -> Stats {
        let engine = self.engine();
        let (table, mover) = (&engine.table, engine.mover.counters());
        let trees = self.tree_stats();
        let counters = table.counters();
        let memtables: u64 = {
            let view = engine.views.load();
            view.generations().map(|generation| generation.user_bytes()).sum()
        };
        let buffered: u64 = trees.values().map(|tree| tree.buffered_bytes).sum();
        let (file_bytes, live_bytes, hollow_bytes) = {
            let ledger = table.ledger();
            (ledger.file_bytes(), ledger.live_bytes(), ledger.hollow_bytes())
        };
        let wal_bytes = engine.log.bytes_written.get() + engine.log.zeros_written.get();
        Stats {
            user_bytes: engine.counters.user_bytes.get(),
            bytes_written: counters.bytes_written.get() + wal_bytes,
            bytes_read: counters.bytes_read.get(),
            pages_read: counters.pages_read.get(),
            resident_bytes: table.meters().resident(),
            budget_bytes: table.budget().total,
            debt_bytes: memtables + buffered,
            file_bytes,
            live_bytes,
            hollow_bytes,
            wal_bytes,
            wal_syncs: engine.log.syncs.get(),
            checkpoints: counters.checkpoints.get(),
            movement: Movement::of(mover, counters.nodes_dirtied.get()),
            filters: FilterFigures::of(counters),
            readers: ReaderFigures::of(self),
            write_delay: engine.throttle.histogram(),
            trees,
        }
    }

    fn tree_stats(&self) -> BTreeMap<String, TreeStats> {
        let forest = self.engine().views.load().forest.clone();
        let table = &self.engine().table;
        let tree = |top: &Edge| {
            let mut stats =
                TreeStats { height: u64::from(top.child.height()), ..TreeStats::default() };
            count(table, top, &mut stats);
            stats
        };
        let trees = forest.trees.values();
        trees.map(|known| (known.options.name.clone(), tree(&known.top))).collect()
    }
}

/// Edges with this many runs and more are counted as one.
const RUNS_COUNTED: usize = 16;

fn count(table: &Cachetable, edge: &Edge, stats: &mut TreeStats) {
    stats.nodes += 1;
    stats.runs += edge.buffer().len() as u64;
    stats.runs_most = stats.runs_most.max(edge.buffer().len() as u64);
    let runs = edge.buffer().len().min(RUNS_COUNTED);
    stats.edges_by_runs.resize(RUNS_COUNTED + 1, 0);
    if let Some(edges) = stats.edges_by_runs.get_mut(runs) {
        *edges += 1;
    }
    stats.buffered_bytes += edge.bytes();
    if edge.child.height() == 0 {
        stats.leaves += 1;
        return;
    }
    let resident = table.node(&edge.child);
    if let Ok(Node::Internal(node)) = resident.as_ref().map(|resident| &resident.node) {
        node.edges().iter().for_each(|edge| count(table, edge, stats));
    }
}
