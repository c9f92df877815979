//! The one who moves messages: holds what every job needs, and publishes what they prepared.

use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Fault};
use sapwood_serialize::GenerationId;
use sapwood_serialize::node::{Edge, Node};
use sapwood_serialize::run::Bounds;

use crate::claims::Claims;
use crate::counters::MoverCounters;
use crate::due::{Due, Task};
use crate::edit::{EdgeName, Edit, Refused};
use crate::forest::{Forest, JobResult, Outcome, Views};
use crate::limits::Limits;
use crate::policy::Pick;
use crate::stop::Stop;

/// Spills, flushes and restructures; every method may be called from any thread.
pub struct Mover {
    // Constant after construction.
    pub(crate) table: Arc<Cachetable>,
    pub(crate) views: Arc<dyn Views>,
    pub(crate) limits: Limits,
    // Synchronised by themselves.
    pub(crate) claims: Claims,
    pub(crate) due: Due,
    pub(crate) counters: MoverCounters,
}

impl Mover {
    /// A mover over `table` for the trees that `views` shows.
    pub fn new(table: Arc<Cachetable>, views: Arc<dyn Views>, limits: Limits) -> Mover {
        let (claims, due) = (Claims::default(), Due::default());
        Mover { table, views, limits, claims, due, counters: MoverCounters::default() }
    }

    /// What was moved.
    pub fn counters(&self) -> &MoverCounters {
        &self.counters
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many tasks wait, and how many dropped trees are to be emptied.
    pub fn waiting(&self) -> usize {
        self.due.waiting() + self.unread().len()
    }

    /// How many nodes jobs are at work on.
    pub fn running(&self) -> usize {
        self.claims.len()
    }

    /// Looks at every tree again; after opening, nobody knows what is due.
    pub fn tend_all(&self) {
        for tree in self.views.forest().trees.values() {
            self.due.tend(top_of(tree.id, &tree.top));
        }
    }

    /// Does the next thing that is due. `Busy` when another job is where it would have to be done;
    /// it is put back for later.
    pub fn step(&self) -> JobResult {
        while let Some(task) = self.due.next() {
            match self.run(task)? {
                Outcome::Nothing => {}
                outcome => return Ok(outcome),
            }
        }
        self.empty_step()
    }

    /// Does what a task says; what cannot be done now is put back.
    pub(crate) fn run(&self, task: Task) -> JobResult {
        let outcome = match &task {
            Task::Flush(name) | Task::LetGo(name) => self.flush(name, Pick::Due, Stop::NEVER),
            Task::Gather(name) => self.gather(name),
            Task::Tend(name) => self.tend(name),
            Task::MergeLeaf(name) => self.merge_leaf(name),
        };
        self.due.done(&task);
        let is_put_off = match &outcome {
            Ok(outcome) => *outcome == Outcome::Busy,
            Err(fault) => fault.is_retryable(),
        };
        if is_put_off {
            self.due.again(task);
        }
        outcome
    }

    /// Runs `make` on the current view under the publish mutex until it is made or stale.
    pub(crate) fn publish(
        &self,
        spilled: Option<GenerationId>,
        make: &mut dyn FnMut(&mut Edit<'_>) -> Result<(), Refused>,
    ) -> JobResult {
        // What was fetched stays until the change is made: else a small cache lets one node of the
        // path go for the other, for ever.
        let mut pins = Vec::new();
        loop {
            let (absent, _held) = {
                let mut ledger = self.table.ledger();
                let forest = self.views.forest();
                let mut edit = Edit::new(&self.table, &mut ledger, &forest);
                match make(&mut edit) {
                    Ok(()) => {
                        let next = edit.finish();
                        let old = self.views.install(next, spilled);
                        // Old views go outside the mutex: the last holder drops whole subtrees.
                        drop(ledger);
                        drop((old, forest));
                        self.table.ledger().reclaim();
                        return Ok(Outcome::Done);
                    }
                    Err(Refused::Stale) => return Ok(Outcome::Nothing),
                    // The view is held until the node is in memory, so that its image stays.
                    Err(Refused::Absent(handle)) => (handle, forest),
                }
            };
            pins.push(self.table.node(&absent)?);
        }
    }

    /// Finds an edge in `forest`; `None` when it is gone.
    pub(crate) fn find(
        &self,
        forest: &Forest,
        name: &EdgeName,
    ) -> Result<Option<(Arc<Edge>, Bounds)>, Fault> {
        let Some(tree) = forest.trees.get(&name.tree) else { return Ok(None) };
        let (mut edge, mut bounds) = (tree.top.clone(), Bounds::all());
        while edge.child.block() != name.block {
            if edge.child.height() == 0 {
                return Ok(None);
            }
            let resident = self.table.node(&edge.child)?;
            let Node::Internal(internal) = &resident.node else { return Ok(None) };
            let index = internal.index_of(&name.key);
            bounds = internal.bounds_of(index, &bounds);
            edge = internal.edge(index).clone();
        }
        Ok(Some((edge, bounds)))
    }
}

/// The name of a tree's top edge.
pub(crate) fn top_of(tree: sapwood_serialize::TreeId, top: &Edge) -> EdgeName {
    EdgeName { tree, key: Bounds::all().lower, block: top.child.block() }
}
