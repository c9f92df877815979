//! Which thread goes on, from one seed.
//!
//! Two kinds by turns: at random, where the running thread goes on with a chance that each seed
//! draws; and by priorities (PCT, Burckhardt, Kothari, Musuvathi, Nagarakatti, ASPLOS 2010), where
//! the thread of the highest priority runs until it waits, yields, or one of a few moments comes at
//! which it falls behind all others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sapwood_sim::random::Random;
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// What is shared with whoever started the exploration.
#[derive(Default)]
pub(crate) struct Progress {
    /// The seed of the running schedule.
    pub(crate) seed: AtomicU64,
    /// Decisions so far, in all schedules.
    pub(crate) steps: AtomicU64,
    /// A number for all of them, equal for equal ones.
    pub(crate) digest: AtomicU64,
}

impl Progress {
    fn note(&self, chosen: Option<TaskId>) {
        let id = chosen.map_or(u64::MAX, |id| usize::from(id) as u64);
        let before = self.digest.load(Ordering::Relaxed);
        self.digest.store(Random::new(before ^ id).draw(), Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct Seeded {
    seeds: std::vec::IntoIter<u64>,
    progress: Arc<Progress>,
    random: Random,
    kind: Kind,
    step: u64,
}

enum Kind {
    /// The running thread goes on so many times out of a hundred.
    Random { sticky: u64 },
    Priorities {
        of: BTreeMap<usize, u64>,
        /// Lower than all others.
        lowest: u64,
        changes: Vec<u64>,
    },
}

impl Kind {
    fn of(seed: u64, random: &mut Random) -> Kind {
        if seed % 2 == 0 {
            return Kind::Random { sticky: [0, 50, 90, 98][random.index(4)] };
        }
        let horizon = 1 << (7 + random.below(8));
        let changes = (0..random.below(6)).map(|_| random.below(horizon)).collect();
        Kind::Priorities { of: BTreeMap::new(), lowest: u64::MAX / 2, changes }
    }
}

impl Seeded {
    pub(crate) fn new(seeds: Vec<u64>, progress: Arc<Progress>) -> Seeded {
        let (seeds, random) = (seeds.into_iter(), Random::new(0));
        Seeded { seeds, progress, random, kind: Kind::Random { sticky: 0 }, step: 0 }
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        let seed = self.seeds.next()?;
        self.progress.seed.store(seed, Ordering::Relaxed);
        self.random = Random::new(seed);
        self.kind = Kind::of(seed, &mut self.random);
        self.step = 0;
        Some(Schedule::new(seed))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let chosen = self.choose(runnable, current.map(usize::from), is_yielding);
        self.progress.note(chosen);
        chosen
    }

    fn next_u64(&mut self) -> u64 {
        self.random.draw()
    }
}

impl Seeded {
    fn choose(
        &mut self,
        runnable: &[&Task],
        current: Option<usize>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let random = &mut self.random;
        let ids = || runnable.iter().map(|task| usize::from(task.id()));
        match &mut self.kind {
            Kind::Random { sticky } => {
                let stays = current.filter(|current| ids().any(|id| id == *current));
                if let Some(current) = stays
                    && !is_yielding
                    && random.chance(*sticky)
                {
                    return Some(TaskId::from(current));
                }
                Some(runnable[random.index(runnable.len())].id())
            }
            Kind::Priorities { of, lowest, changes } => {
                for id in ids() {
                    of.entry(id).or_insert_with(|| u64::MAX / 2 + random.below(1 << 32));
                }
                if runnable.len() > 1 {
                    self.step += 1;
                    if is_yielding || changes.contains(&self.step) {
                        *lowest -= 1;
                        current.map(|current| of.insert(current, *lowest));
                    }
                }
                ids().max_by_key(|id| of[id]).map(TaskId::from)
            }
        }
    }
}
