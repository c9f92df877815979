//! What the database counts.

use std::collections::BTreeMap;

use sapwood_cachetable::Cachetable;
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
    /// Bytes written to the log.
    pub wal_bytes: u64,
    /// Syncs of log files.
    pub wal_syncs: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Generations spilled into the trees.
    pub spills: u64,
    /// Buffers moved one level down.
    pub flushes: u64,
    /// Buffers reconciled into leaves.
    pub reconciles: u64,
    /// Segments that a leaf kept or took over without rewriting.
    pub adopted: u64,
    /// Nodes split.
    pub splits: u64,
    /// Siblings merged.
    pub merges: u64,
    /// Delays of writers: entry `n` counts those below 2^n microseconds and not below 2^(n-1).
    pub write_delay: Vec<u64>,
    /// Each tree by name.
    pub trees: BTreeMap<String, TreeStats>,
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
            view.generations().map(|generation| generation.memtable.user_bytes()).sum()
        };
        let buffered: u64 = trees.values().map(|tree| tree.buffered_bytes).sum();
        let (file_bytes, live_bytes) = {
            let ledger = table.ledger();
            (ledger.file_bytes(), ledger.live_bytes())
        };
        Stats {
            user_bytes: engine.counters.user_bytes.get(),
            bytes_written: counters.bytes_written.get() + engine.log.bytes_written.get(),
            bytes_read: counters.bytes_read.get(),
            pages_read: counters.pages_read.get(),
            resident_bytes: table.meters().resident(),
            budget_bytes: table.budget().total,
            debt_bytes: memtables + buffered,
            file_bytes,
            live_bytes,
            wal_bytes: engine.log.bytes_written.get(),
            wal_syncs: engine.log.syncs.get(),
            checkpoints: counters.checkpoints.get(),
            spills: mover.spills.get(),
            flushes: mover.flushes.get(),
            reconciles: mover.reconciles.get(),
            adopted: mover.adopted.get(),
            splits: mover.splits.get(),
            merges: mover.merges.get(),
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

fn count(table: &Cachetable, edge: &Edge, stats: &mut TreeStats) {
    stats.nodes += 1;
    stats.runs += edge.buffer().len() as u64;
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
