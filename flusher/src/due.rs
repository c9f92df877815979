//! Which edges are waiting for a flusher, and which nodes for a look.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_serialize::BlockId;

use crate::edit::EdgeName;

/// What may be waiting to be done somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Move this edge's buffer down.
    Flush(EdgeName),
    /// Look at the node below this edge, and see to what it needs.
    Tend(EdgeName),
}

#[derive(Default)]
struct Queues {
    /// By node; the weight decides who goes first.
    flushes: BTreeMap<BlockId, (u64, EdgeName)>,
    tends: VecDeque<EdgeName>,
    /// The nodes in `tends`.
    tended: BTreeSet<BlockId>,
}

/// The tasks that wait; one flush a node at most.
pub struct Due(Mutex<Queues>);

impl Default for Due {
    fn default() -> Due {
        Due(Mutex::new(Rank::JobQueue, Queues::default()))
    }
}

impl Due {
    /// Enters a flush of `weight`, or makes the one that waits as heavy.
    pub fn flush(&self, name: EdgeName, weight: u64) {
        self.0.lock().flushes.insert(name.block, (weight, name));
    }

    /// Enters a look at a node.
    pub fn tend(&self, name: EdgeName) {
        let mut queues = self.0.lock();
        if queues.tended.insert(name.block) {
            queues.tends.push_back(name);
        }
    }

    /// Puts back what could not be done yet, behind everything else.
    pub fn again(&self, task: Task) {
        match task {
            Task::Flush(name) => self.flush(name, 0),
            Task::Tend(name) => self.tend(name),
        }
    }

    /// Takes what should be done first: looks, which are cheap and find the rest, then the heaviest
    /// flush.
    pub fn next(&self) -> Option<Task> {
        let mut queues = self.0.lock();
        if let Some(name) = queues.tends.pop_front() {
            queues.tended.remove(&name.block);
            return Some(Task::Tend(name));
        }
        let heaviest = queues.flushes.iter().max_by_key(|(_, (weight, _))| *weight);
        let block = *heaviest?.0;
        queues.flushes.remove(&block).map(|(_, name)| Task::Flush(name))
    }

    /// How many tasks wait.
    pub fn waiting(&self) -> usize {
        let queues = self.0.lock();
        queues.flushes.len() + queues.tends.len()
    }
}
