//! Which worlds may be found after a crash.
//!
//! ```text
//! commits since the last checkpoint, oldest first; `.` logged, `u` not logged (NoWal)
//!
//!   . . u . . u . . .      found = all before P + the logged ones of P..L
//!         |   |     |
//!         P   |     L      P: what some checkpoint holds: the last known one, or behind a `u`
//!          durable         L: where the log ends, L >= what the crash must leave
//! ```
//!
//! 1. A commit is there wholly or not at all, and with it everything logged before it.
//! 2. A kill leaves every acknowledged logged commit, a power cut those that are durable.
//! 3. A commit of unknown fate may be there or not; nothing is committed after it.
//!
//! There is a line for each P, with the world for each L: so a judgement is a comparison of
//! numbers. A clone shares everything and is one moment of the history.

use std::collections::HashSet;
use std::sync::Arc;

use imbl::Vector;

use super::world::{Deed, World};
use crate::model::{Crash, Logging};

/// What was promised so far, as numbers of commits.
#[derive(Clone, Copy, Debug, Default)]
struct Promises {
    acknowledged: usize,
    durable: usize,
}

/// The worlds of one P.
#[derive(Clone)]
struct Line {
    from: usize,
    /// One for each L from `from` on.
    worlds: Vector<(u64, Arc<World>)>,
}

impl Line {
    fn beginning(from: usize, world: Arc<World>) -> Line {
        Line { from, worlds: Vector::unit((world.digest(), world)) }
    }

    fn last(&self) -> &(u64, Arc<World>) {
        self.worlds.last().expect("a line begins with a world")
    }
}

/// All commits since the last checkpoint, and all worlds ever.
#[derive(Clone)]
pub struct History {
    commits: usize,
    promises: Promises,
    /// Oldest P first. The newest one has everything.
    lines: Vec<Line>,
    ever: Arc<HashSet<u64>>,
    is_in_doubt: bool,
    /// Where the disk may lose the newest superblock: how many lines begin before the checkpoint
    /// that recovery then finds.
    older: Option<usize>,
}

impl History {
    /// Of a database that holds this, all of it durable.
    pub fn settled(world: World) -> History {
        let ever = Arc::new(HashSet::from([world.digest()]));
        let lines = vec![Line::beginning(0, Arc::new(world))];
        let (promises, is_in_doubt) = (Promises::default(), false);
        History { commits: 0, promises, lines, ever, is_in_doubt, older: None }
    }

    /// The same on a disk that may lose the newest superblock, and with it the last checkpoint.
    #[must_use]
    pub fn on_a_lying_disk(self) -> History {
        History { older: Some(0), ..self }
    }

    /// The same from here on, with what there ever was before.
    #[must_use]
    pub fn resettled(&self, world: World) -> History {
        let (ever, older) = (self.ever.clone(), self.older.map(|_| 0));
        let mut history = History { ever, older, ..History::settled(world) };
        history.note_world(history.now().digest());
        history
    }

    /// What a reader of the running database sees, commits of unknown fate left out.
    pub fn now(&self) -> &World {
        let acknowledged = self.promises.acknowledged;
        let line = self.lines.iter().rfind(|line| line.from <= acknowledged);
        let line = line.expect("what was checkpointed was acknowledged");
        &line.worlds.get(acknowledged - line.from).unwrap_or_else(|| line.last()).1
    }

    /// Whether a reader may see this now.
    pub fn is_now(&self, digest: u64) -> bool {
        let last = self.lines.last().map(|line| line.last().0);
        self.now().digest() == digest || self.is_in_doubt && last == Some(digest)
    }

    /// Whether there is a commit of unknown fate.
    pub fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Notes a commit that is under way: it may be found, and need not.
    pub fn commit(&mut self, deed: &Deed, logging: Logging) {
        assert!(!self.is_in_doubt, "a commit was taken after one of unknown fate");
        self.is_in_doubt = true;
        let mut whole = World::clone(&self.lines.last().expect("there is always a line").last().1);
        whole.apply(deed);
        self.commits += 1;
        let whole = Arc::new(whole);
        let (digest, count) = (whole.digest(), self.lines.len());
        self.note_world(digest);
        let mut fresh = Vec::new();
        for (at, line) in self.lines.iter_mut().enumerate() {
            let next = match logging {
                Logging::Logged if at + 1 == count => (digest, whole.clone()),
                Logging::Logged => {
                    let mut world = World::clone(&line.last().1);
                    world.apply(deed);
                    let next = (world.digest(), Arc::new(world));
                    fresh.push(next.0);
                    next
                }
                Logging::Unlogged => line.last().clone(),
            };
            line.worlds.push_back(next);
        }
        fresh.into_iter().for_each(|digest| self.note_world(digest));
        if logging == Logging::Unlogged {
            self.lines.push(Line::beginning(self.commits, whole));
        }
    }

    fn note_world(&mut self, digest: u64) {
        if !self.ever.contains(&digest) {
            Arc::make_mut(&mut self.ever).insert(digest);
        }
    }

    /// The commit under way has returned.
    pub fn acknowledge(&mut self) {
        self.is_in_doubt = false;
        self.promises.acknowledged = self.commits;
    }

    /// Everything logged that was acknowledged survives a power cut.
    pub fn synced(&mut self) {
        self.promises.durable = self.promises.acknowledged;
    }

    /// How many commits were acknowledged, for [`History::synced_up_to`].
    pub fn acknowledged(&self) -> usize {
        self.promises.acknowledged
    }

    /// Everything logged up to there survives a power cut.
    pub fn synced_up_to(&mut self, acknowledged: usize) {
        self.promises.durable = self.promises.durable.max(acknowledged.min(self.commits));
    }

    /// Everything that was acknowledged survives a power cut, logged or not.
    pub fn checkpointed(&mut self) {
        assert!(!self.is_in_doubt, "a checkpoint was taken after a commit of unknown fate");
        let next = Line::beginning(self.commits, Arc::new(self.now().clone()));
        match &mut self.older {
            None => self.lines.clear(),
            Some(older) => {
                self.lines.drain(..*older);
                *older = self.lines.len();
            }
        }
        self.lines.push(next);
        self.synced();
    }

    /// The least L that `crash` may have left.
    fn least(&self, crash: Crash) -> usize {
        match crash {
            Crash::Kill => self.promises.acknowledged,
            Crash::PowerCut => self.promises.durable,
        }
    }

    /// The world with this number, if `crash` may have left it.
    pub fn judge(&self, found: u64, crash: Crash) -> Option<Arc<World>> {
        let least = self.least(crash);
        self.lines.iter().find_map(|line| {
            let mut legal = line.worlds.iter().skip(least.saturating_sub(line.from));
            legal.find(|(digest, _)| *digest == found).map(|(_, world)| world.clone())
        })
    }

    /// Whether this was ever what a database of this life should hold.
    pub fn was_ever(&self, found: u64) -> bool {
        self.ever.contains(&found)
    }

    /// How what was found differs from the most similar world that `crash` may have left.
    pub fn explain(&self, found: &World, crash: Crash) -> String {
        let least = self.least(crash);
        let mut nearest: Option<(usize, usize, Vec<String>)> = None;
        for line in &self.lines {
            let legal = line.worlds.iter().enumerate().skip(least.saturating_sub(line.from));
            for (at, (_, world)) in legal {
                let told = world.differences(found);
                if nearest.as_ref().is_none_or(|(_, _, best)| told.len() < best.len()) {
                    nearest = Some((line.from, line.from + at, told));
                }
            }
        }
        let (place, end, told) = nearest.unwrap_or_default();
        let past = if self.was_ever(found.digest()) { "; it once held that" } else { "" };
        format!(
            "nearest: P {place}, L {end} of {} commits with {:?}: {}{past}",
            self.commits,
            self.promises,
            told.join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Change;

    fn put(key: &str) -> Deed {
        Deed::Write(vec![Change::put("oak", key, key)])
    }

    fn world(keys: &[&str]) -> World {
        let mut world = World::default();
        world.apply(&Deed::Create("oak"));
        keys.iter().for_each(|key| world.apply(&put(key)));
        world
    }

    /// oak created, a logged and synced, b not logged, c logged, d of unknown fate.
    fn history() -> History {
        let mut history = History::settled(world(&[]));
        history.commit(&put("a"), Logging::Logged);
        history.acknowledge();
        history.synced();
        history.commit(&put("b"), Logging::Unlogged);
        history.acknowledge();
        history.commit(&put("c"), Logging::Logged);
        history.acknowledge();
        history.commit(&put("d"), Logging::Logged);
        history
    }

    #[test]
    fn a_power_cut_leaves_a_prefix_and_what_a_checkpoint_held() {
        let may = |keys: &[&str]| history().judge(world(keys).digest(), Crash::PowerCut).is_some();
        for keys in [&["a"][..], &["a", "b"], &["a", "b", "c"], &["a", "c"], &["a", "c", "d"]] {
            assert!(may(keys), "{keys:?}");
        }
        for keys in [&[][..], &["b"], &["c"], &["a", "d"], &["a", "b", "d"], &["a", "x"]] {
            assert!(!may(keys), "{keys:?}");
        }
    }

    #[test]
    fn a_kill_leaves_everything_logged() {
        let may = |keys: &[&str]| history().judge(world(keys).digest(), Crash::Kill).is_some();
        for keys in [&["a", "c"][..], &["a", "c", "d"], &["a", "b", "c"], &["a", "b", "c", "d"]] {
            assert!(may(keys), "{keys:?}");
        }
        for keys in [&["a"][..], &["a", "b"], &["a", "d"]] {
            assert!(!may(keys), "{keys:?}");
        }
    }

    #[test]
    fn a_lost_superblock_leaves_the_checkpoint_before_and_what_was_logged_since() {
        let mut history = History::settled(world(&[])).on_a_lying_disk();
        for key in ["a", "b"] {
            history.commit(&put(key), Logging::Unlogged);
            history.acknowledge();
            history.checkpointed();
        }
        history.commit(&put("c"), Logging::Logged);
        history.acknowledge();
        let may = |keys: &[&str]| history.judge(world(keys).digest(), Crash::PowerCut).is_some();
        assert!(may(&["a", "b", "c"]) && may(&["a", "c"]));
        assert!(!may(&["c"]) && !may(&["b", "c"]));
        assert!(history.is_now(world(&["a", "b", "c"]).digest()));
    }

    #[test]
    fn after_a_checkpoint_everything_before_it_is_there() {
        let mut history = History::settled(world(&[]));
        history.commit(&put("a"), Logging::Unlogged);
        history.acknowledge();
        history.checkpointed();
        history.commit(&put("b"), Logging::Logged);
        history.acknowledge();
        let may = |keys: &[&str]| history.judge(world(keys).digest(), Crash::PowerCut).is_some();
        assert!(may(&["a"]) && may(&["a", "b"]));
        assert!(!may(&[]) && !may(&["b"]));
        assert!(history.was_ever(world(&[]).digest()) && !history.was_ever(world(&["b"]).digest()));
    }

    #[test]
    fn readers_see_what_was_acknowledged_and_perhaps_what_is_in_doubt() {
        let history = history();
        assert!(history.is_now(world(&["a", "b", "c"]).digest()));
        assert!(history.is_now(world(&["a", "b", "c", "d"]).digest()));
        assert!(!history.is_now(world(&["a", "c"]).digest()));
    }
}
