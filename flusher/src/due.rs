//! What is waiting to be done somewhere in the trees, most urgent first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_serialize::BlockId;

use crate::edit::EdgeName;

/// What may be waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Move this edge's buffer down.
    Flush(EdgeName),
    /// Move this edge's buffer down, because range deletes in it let something go.
    LetGo(EdgeName),
    /// Make one run of the small ones on this edge.
    Gather(EdgeName),
    /// Look at the node below this edge, and see to what it needs.
    Tend(EdgeName),
    /// Find a sibling for the underfull leaf below this edge.
    MergeLeaf(EdgeName),
}

/// A flush of this weight or more holds writers up, and goes before everything else.
pub const URGENT: u64 = 1 << 62;

#[derive(Default)]
struct Queues {
    /// By node; the weight decides who goes first.
    flushes: BTreeMap<BlockId, (u64, EdgeName)>,
    deletes: BTreeMap<BlockId, EdgeName>,
    /// How many of those were taken and are not done.
    letting_go: usize,
    gathers: BTreeMap<BlockId, EdgeName>,
    leaf_merges: BTreeMap<BlockId, EdgeName>,
    tends: VecDeque<EdgeName>,
    /// The nodes in `tends`.
    tended: BTreeSet<BlockId>,
}

impl Queues {
    /// The heaviest flush, if it weighs at least so much.
    fn take_flush(&mut self, least: u64) -> Option<Task> {
        let heaviest = self.flushes.iter().max_by_key(|(_, (weight, _))| *weight);
        let block =
            heaviest.filter(|(_, (weight, _))| *weight >= least).map(|(block, _)| *block)?;
        self.flushes.remove(&block).map(|(_, name)| Task::Flush(name))
    }

    fn take_look(&mut self) -> Option<Task> {
        let name = self.tends.pop_front()?;
        self.tended.remove(&name.block);
        Some(Task::Tend(name))
    }

    fn take_delete(&mut self) -> Option<Task> {
        let (_, name) = self.deletes.pop_first()?;
        self.letting_go += 1;
        Some(Task::LetGo(name))
    }
}

/// The tasks that wait; one of a kind a node at most.
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

    /// Enters a flush that lets something go.
    pub fn let_go(&self, name: EdgeName) {
        self.0.lock().deletes.insert(name.block, name);
    }

    /// Enters a gathering.
    pub fn gather(&self, name: EdgeName) {
        self.0.lock().gathers.insert(name.block, name);
    }

    /// Enters a leaf merge.
    pub fn merge_leaf(&self, name: EdgeName) {
        self.0.lock().leaf_merges.insert(name.block, name);
    }

    /// Enters a look at a node.
    pub fn tend(&self, name: EdgeName) {
        let mut queues = self.0.lock();
        if queues.tended.insert(name.block) {
            queues.tends.push_back(name);
        }
    }

    /// Puts back what could not be done yet, behind everything else of its kind.
    pub fn again(&self, task: Task) {
        match task {
            Task::Flush(name) => {
                // It may have become due again meanwhile, and more urgent.
                self.0.lock().flushes.entry(name.block).or_insert((0, name));
            }
            Task::LetGo(name) => self.let_go(name),
            Task::Gather(name) => self.gather(name),
            Task::Tend(name) => self.tend(name),
            Task::MergeLeaf(name) => self.merge_leaf(name),
        }
    }

    /// Takes what should be done first: what holds writers up; looks, which are cheap and find the
    /// rest; what lets space go; the heaviest flush; gatherings; leaf merges, which can wait
    /// longest. To be told when it is [`done`](Due::done).
    pub fn next(&self) -> Option<Task> {
        let mut queues = self.0.lock();
        let queues = &mut *queues;
        let urgent = queues.take_flush(URGENT);
        let space = || queues.take_look().or_else(|| queues.take_delete());
        if let Some(task) = urgent.or_else(space) {
            return Some(task);
        }
        if let Some(flush) = queues.take_flush(0) {
            return Some(flush);
        }
        if let Some((_, name)) = queues.gathers.pop_first() {
            return Some(Task::Gather(name));
        }
        queues.leaf_merges.pop_first().map(|(_, name)| Task::MergeLeaf(name))
    }

    /// Takes something that lets space go.
    pub fn next_to_let_go(&self) -> Option<Task> {
        self.0.lock().take_delete()
    }

    /// How many looks wait.
    pub fn looks(&self) -> usize {
        self.0.lock().tends.len()
    }

    /// Takes a look.
    pub fn next_look(&self) -> Option<Task> {
        self.0.lock().take_look()
    }

    /// A task was done, and what it led to is entered.
    pub fn done(&self, task: &Task) {
        if matches!(task, Task::LetGo(_)) {
            self.0.lock().letting_go -= 1;
        }
    }

    /// Whether somebody is at work letting space go.
    pub fn is_letting_go(&self) -> bool {
        self.0.lock().letting_go > 0
    }

    /// How many tasks wait.
    pub fn waiting(&self) -> usize {
        let queues = self.0.lock();
        let flushes = queues.flushes.len() + queues.gathers.len() + queues.deletes.len();
        flushes + queues.tends.len() + queues.leaf_merges.len()
    }
}

#[cfg(test)]
mod tests {
    use sapwood_serialize::TreeId;
    use sapwood_serialize::run::Bounds;

    use super::*;

    fn name(block: u64) -> EdgeName {
        let (tree, key) = (TreeId::from_raw(1), Bounds::all().lower);
        EdgeName { tree, key, block: BlockId::from_raw(block) }
    }

    #[test]
    fn what_holds_writers_up_goes_first_and_leaf_merges_last() {
        let due = Due::default();
        due.merge_leaf(name(1));
        due.gather(name(2));
        due.flush(name(3), 100);
        due.flush(name(4), 200);
        due.tend(name(5));
        due.tend(name(5));
        due.flush(name(6), URGENT);
        due.let_go(name(7));
        assert_eq!(due.waiting(), 7);
        let order: Vec<Task> = std::iter::from_fn(|| due.next()).collect();
        assert_eq!(
            order,
            [
                Task::Flush(name(6)),
                Task::Tend(name(5)),
                Task::LetGo(name(7)),
                Task::Flush(name(4)),
                Task::Flush(name(3)),
                Task::Gather(name(2)),
                Task::MergeLeaf(name(1)),
            ]
        );
    }
}
