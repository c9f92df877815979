//! What may be found after a crash.
//!
//! ```text
//! commits since the last settled state, oldest first; `.` logged, `u` not logged (NoWal)
//!
//!   . . u . . u . . .          found = settled + all before P + the logged ones of P..L
//!         |   |     |
//!         P   |     L          P: what some checkpoint holds   P >= `checkpointed`
//!             durable          L: where the log ends           L >= what the crash must leave
//! ```
//!
//! 1. A commit is there wholly or not at all, and with it everything logged before it.
//! 2. A kill leaves every acknowledged logged commit, a power cut those before `durable`.
//! 3. A commit that failed without saying that nothing happened may be there or not.
//! 4. The creation of a tree, and its drop, are commits like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::operators::merged;

/// The rows of one tree.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// The rows of all trees.
pub type Contents = BTreeMap<String, Rows>;

/// One message of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub tree: &'static str,
    pub key: Vec<u8>,
    pub what: What,
}

/// What a message says of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Put(Vec<u8>),
    Remove,
    Merge(Vec<u8>),
    /// Of all keys from its key up to but without this one; of all behind it for `None`.
    RemoveRange(Option<Vec<u8>>),
}

impl Change {
    /// A row.
    pub fn put(tree: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Change {
        Change { tree, key: key.into(), what: What::Put(value.into()) }
    }

    /// Whether it is of no key at all.
    pub fn is_nothing(&self) -> bool {
        matches!(&self.what, What::RemoveRange(Some(upper)) if *upper <= self.key)
    }

    /// Whether it says something of `key`.
    fn concerns(&self, key: &[u8]) -> bool {
        match &self.what {
            What::RemoveRange(upper) => {
                *self.key <= *key && upper.as_ref().is_none_or(|upper| *key < **upper)
            }
            What::Put(_) | What::Remove | What::Merge(_) => self.key == key,
        }
    }

    /// The value of a key that it concerns, after it had this one.
    fn after(&self, value: Option<&[u8]>) -> Option<Vec<u8>> {
        match &self.what {
            What::Put(value) => Some(value.clone()),
            What::Merge(operand) => Some(merged(self.tree, value, operand)),
            What::Remove | What::RemoveRange(_) => None,
        }
    }

    /// The keys of `rows` that it concerns, and the one that it may bring in.
    fn keys(&self, rows: &Rows) -> Vec<Vec<u8>> {
        match &self.what {
            What::RemoveRange(_) => rows.keys().filter(|key| self.concerns(key)).cloned().collect(),
            What::Put(_) | What::Remove | What::Merge(_) => vec![self.key.clone()],
        }
    }
}

/// What a commit does.
#[derive(Clone, Debug)]
pub enum Deed {
    Create(&'static str),
    Drop(&'static str),
    Write(Vec<Change>),
}

/// Whether a commit went into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    Logged,
    Unlogged,
}

/// What the caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Acknowledged,
    Unknown,
}

#[derive(Clone, Debug)]
struct Commit {
    deed: Deed,
    logging: Logging,
    fate: Fate,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    Kill,
    PowerCut,
}

/// The commits so far and what was promised about them.
#[derive(Clone, Debug, Default)]
pub struct Model {
    settled: Contents,
    commits: Vec<Commit>,
    durable: usize,
    checkpointed: usize,
}

impl Model {
    /// A database with these contents, all of them durable.
    pub fn settled(contents: Contents) -> Model {
        Model { settled: contents, ..Model::default() }
    }

    /// Notes a commit.
    pub fn commit(&mut self, deed: Deed, logging: Logging, fate: Fate) {
        self.commits.push(Commit { deed, logging, fate });
    }

    /// Whether anything was ever committed.
    pub fn has_commits(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Everything logged so far survives a power cut.
    pub fn synced(&mut self) {
        self.durable = self.commits.len();
    }

    /// The same where only checkpoints were ever promised to last.
    #[must_use]
    pub fn without_syncs(&self) -> Model {
        Model { durable: self.checkpointed, ..self.clone() }
    }

    /// Everything so far survives a power cut.
    pub fn checkpointed(&mut self) {
        self.durable = self.commits.len();
        self.checkpointed = self.commits.len();
    }

    /// What a reader sees now, failed commits left out.
    pub fn current(&self) -> Contents {
        let mut contents = self.settled.clone();
        let told = self.commits.iter().filter(|commit| commit.fate == Fate::Acknowledged);
        told.for_each(|commit| apply(&commit.deed, &mut contents));
        contents
    }

    /// Every value that a reader of a running database may find now; a commit of unknown fate may
    /// be seen or not.
    pub fn readable(&self, tree: &str, key: &[u8]) -> Vec<Option<Vec<u8>>> {
        let settled = self.settled.get(tree).and_then(|rows| rows.get(key)).cloned();
        let mut readable = vec![settled];
        for commit in &self.commits {
            let ours: Vec<_> = match &commit.deed {
                Deed::Write(changes) => {
                    changes.iter().filter(|it| it.tree == tree && it.concerns(key)).collect()
                }
                Deed::Create(_) | Deed::Drop(_) => Vec::new(),
            };
            let drops = matches!(commit.deed, Deed::Drop(dropped) if dropped == tree);
            if ours.is_empty() && !drops {
                continue;
            }
            let after = |value: &Option<Vec<u8>>| {
                let value = value.clone().filter(|_| !drops);
                ours.iter().fold(value, |value, change| change.after(value.as_deref()))
            };
            let with: Vec<_> = readable.iter().map(after).collect();
            if commit.fate == Fate::Acknowledged {
                readable.clear();
            }
            readable.extend(with);
            readable.sort();
            readable.dedup();
        }
        readable
    }

    /// Whether a running database may hold `found`: every acknowledged commit.
    pub fn explain_running(&self, found: &Contents) -> Result<(), String> {
        self.explain_from(found, self.commits.len(), self.commits.len())
    }

    /// Whether `found` is a legal state after `crash`; if not, how the nearest legal one differs.
    pub fn explain(&self, found: &Contents, crash: Crash) -> Result<(), String> {
        let log = match crash {
            Crash::Kill => self.commits.len(),
            Crash::PowerCut => self.durable,
        };
        self.explain_from(found, self.checkpointed, log)
    }

    /// The same with the least P and the least L.
    fn explain_from(&self, found: &Contents, tables: usize, log: usize) -> Result<(), String> {
        let mut nearest = Nearest::default();
        for absent in self.choices() {
            let unlogged = |at: &usize| {
                *at == tables || at.checked_sub(1).is_some_and(|last| self.is_unlogged(last))
            };
            for place in (tables..=self.commits.len()).filter(unlogged) {
                let mut trial = Trial::new(&self.settled, found);
                self.present(0..place, &absent).for_each(|commit| trial.apply(commit));
                for end in place..=self.commits.len() {
                    if end > place {
                        let logged = self.present(end - 1..end, &absent);
                        let mut logged = logged.filter(|it| it.logging == Logging::Logged);
                        logged.by_ref().for_each(|commit| trial.apply(commit));
                    }
                    if end < log {
                        continue;
                    }
                    if trial.wrong == 0 {
                        return Ok(());
                    }
                    nearest.offer(&trial, place, end);
                }
            }
        }
        Err(format!(
            "{} ({} commits, {} durable, {} checkpointed)",
            nearest.told,
            self.commits.len(),
            self.durable,
            self.checkpointed
        ))
    }

    fn is_unlogged(&self, at: usize) -> bool {
        self.commits.get(at).is_some_and(|commit| commit.logging == Logging::Unlogged)
    }

    fn present<'a>(
        &'a self,
        range: std::ops::Range<usize>,
        absent: &'a BTreeSet<usize>,
    ) -> impl Iterator<Item = &'a Commit> {
        range.filter(|at| !absent.contains(at)).filter_map(|at| self.commits.get(at))
    }

    /// The sets of unknown commits that may be missing.
    fn choices(&self) -> Vec<BTreeSet<usize>> {
        let unknown = self.commits.iter().enumerate();
        let unknown = unknown.filter(|(_, commit)| commit.fate == Fate::Unknown);
        let unknown: Vec<usize> = unknown.map(|(at, _)| at).collect();
        assert!(unknown.len() <= 6, "too many commits of unknown fate: {}", unknown.len());
        let bit = |mask: usize, at: usize| mask >> at & 1 == 1;
        (0..1usize << unknown.len())
            .map(|mask| {
                let absent = unknown.iter().enumerate().filter(|(at, _)| bit(mask, *at));
                absent.map(|(_, place)| *place).collect()
            })
            .collect()
    }
}

fn apply(deed: &Deed, contents: &mut Contents) {
    match deed {
        Deed::Create(tree) => {
            contents.entry((*tree).to_owned()).or_default();
        }
        Deed::Drop(tree) => {
            contents.remove(*tree);
        }
        Deed::Write(changes) => changes.iter().for_each(|change| set(change, contents)),
    }
}

fn set(change: &Change, contents: &mut Contents) {
    let Some(rows) = contents.get_mut(change.tree) else {
        panic!("a commit writes to {:?} before it was created", change.tree);
    };
    for key in change.keys(rows) {
        match change.after(rows.get(&key).map(Vec::as_slice)) {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

/// A supposed state, and in how many rows and trees it differs from what was found.
struct Trial<'a> {
    state: Contents,
    found: &'a Contents,
    wrong: usize,
}

impl<'a> Trial<'a> {
    fn new(settled: &Contents, found: &'a Contents) -> Trial<'a> {
        let wrong = differences(settled, found).len();
        Trial { state: settled.clone(), found, wrong }
    }

    fn apply(&mut self, commit: &Commit) {
        match &commit.deed {
            Deed::Create(tree) => {
                if !self.state.contains_key(*tree) {
                    self.state.insert((*tree).to_owned(), Rows::new());
                    // The tree itself counts as one difference, besides its rows.
                    if self.found.contains_key(*tree) {
                        self.wrong -= 1;
                    } else {
                        self.wrong += 1;
                    }
                }
            }
            Deed::Drop(tree) => {
                self.state.remove(*tree);
                self.wrong = differences(&self.state, self.found).len();
            }
            Deed::Write(changes) => changes.iter().for_each(|change| self.write(change)),
        }
    }

    fn write(&mut self, change: &Change) {
        let keys = self.state.get(change.tree).map(|rows| change.keys(rows)).unwrap_or_default();
        self.wrong -= self.wrong_of(change.tree, &keys);
        set(change, &mut self.state);
        self.wrong += self.wrong_of(change.tree, &keys);
    }

    /// How many of these rows differ.
    fn wrong_of(&self, tree: &str, keys: &[Vec<u8>]) -> usize {
        let (found, supposed) = (self.found.get(tree), self.state.get(tree));
        let is_wrong = |key: &&Vec<u8>| {
            found.and_then(|rows| rows.get(*key)) != supposed.and_then(|rows| rows.get(*key))
        };
        keys.iter().filter(is_wrong).count()
    }
}

/// The trees and rows in which two states differ, as `(tree, key)`; a tree alone has no key.
fn differences<'a>(
    one: &'a Contents,
    other: &'a Contents,
) -> BTreeSet<(&'a str, Option<&'a [u8]>)> {
    let mut differ = BTreeSet::new();
    for (here, there) in [(one, other), (other, one)] {
        for (tree, rows) in here {
            let others = there.get(tree);
            if others.is_none() {
                differ.insert((tree.as_str(), None));
            }
            for (key, value) in rows {
                if others.and_then(|rows| rows.get(key)) != Some(value) {
                    differ.insert((tree.as_str(), Some(key.as_slice())));
                }
            }
        }
    }
    differ
}

/// The legal state that is most like what was found, for the failure message.
#[derive(Default)]
struct Nearest {
    wrong: Option<usize>,
    told: String,
}

impl Nearest {
    fn offer(&mut self, trial: &Trial<'_>, place: usize, end: usize) {
        if self.wrong.is_some_and(|wrong| wrong <= trial.wrong) {
            return;
        }
        self.wrong = Some(trial.wrong);
        self.told = format!("nearest: P {place}, L {end}, {} differences:", trial.wrong);
        for (tree, key) in differences(&trial.state, trial.found).into_iter().take(6) {
            let value = |contents: &Contents| {
                let value = contents.get(tree).and_then(|rows| rows.get(key.unwrap_or_default()));
                value.map(|value| String::from_utf8_lossy(&value[..value.len().min(12)]).into())
            };
            let (expected, found): (Option<String>, _) = (value(&trial.state), value(trial.found));
            let key = key.map(String::from_utf8_lossy);
            let _ = write!(self.told, " {tree}/{key:?} expected {expected:?} found {found:?};");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str) -> Deed {
        Deed::Write(vec![Change::put("oak", key, key)])
    }

    fn contents(keys: &[&str]) -> Contents {
        let rows = keys.iter().map(|key| (key.as_bytes().to_vec(), key.as_bytes().to_vec()));
        Contents::from([("oak".to_owned(), rows.collect())])
    }

    /// oak created, a logged and synced, b not logged, c logged, d of unknown fate.
    fn model() -> Model {
        let mut model = Model::settled(contents(&[]));
        model.commit(put("a"), Logging::Logged, Fate::Acknowledged);
        model.synced();
        model.commit(put("b"), Logging::Unlogged, Fate::Acknowledged);
        model.commit(put("c"), Logging::Logged, Fate::Acknowledged);
        model.commit(put("d"), Logging::Logged, Fate::Unknown);
        model
    }

    #[test]
    fn a_power_cut_leaves_a_prefix_and_what_a_checkpoint_held() {
        let may = |keys: &[&str]| model().explain(&contents(keys), Crash::PowerCut).is_ok();
        for keys in [&["a"][..], &["a", "b"], &["a", "b", "c"], &["a", "c"], &["a", "c", "d"]] {
            assert!(may(keys), "{keys:?}");
        }
        for keys in [&[][..], &["b"], &["c"], &["a", "d"], &["a", "b", "d"], &["a", "e"]] {
            assert!(!may(keys), "{keys:?}");
        }
        assert!(model().explain(&Contents::new(), Crash::PowerCut).is_err());
    }

    #[test]
    fn a_kill_leaves_all_that_was_logged() {
        let may = |keys: &[&str]| model().explain(&contents(keys), Crash::Kill).is_ok();
        for keys in [&["a", "c"][..], &["a", "b", "c"], &["a", "c", "d"], &["a", "b", "c", "d"]] {
            assert!(may(keys), "{keys:?}");
        }
        for keys in [&["a"][..], &["a", "b"], &["c"], &["a", "d"]] {
            assert!(!may(keys), "{keys:?}");
        }
    }

    #[test]
    fn a_checkpoint_leaves_all_before_it() {
        let mut model = model();
        model.checkpointed();
        for crash in [Crash::Kill, Crash::PowerCut] {
            assert!(model.explain(&contents(&["a", "b", "c"]), crash).is_ok());
            assert!(model.explain(&contents(&["a", "b", "c", "d"]), crash).is_ok());
            assert!(model.explain(&contents(&["a", "c"]), crash).is_err());
        }
    }

    #[test]
    fn operands_and_range_deletes_count_in_their_order() {
        let change = |key: &str, what| Change { tree: "oak", key: key.into(), what };
        let mut model = Model::settled(contents(&["a", "b", "c"]));
        let deleted = change("b", What::RemoveRange(Some(b"d".to_vec())));
        let merged = [change("a", What::Merge(b"+".to_vec())), deleted];
        model.commit(Deed::Write(merged.to_vec()), Logging::Logged, Fate::Unknown);
        let mut found = contents(&["a"]);
        found.get_mut("oak").unwrap().insert(b"a".to_vec(), b"a+".to_vec());
        assert!(model.explain(&found, Crash::PowerCut).is_ok());
        assert!(model.explain(&contents(&["a", "b", "c"]), Crash::PowerCut).is_ok());
        for keys in [&["a"][..], &["a", "b"], &["b", "c"]] {
            assert!(model.explain(&contents(keys), Crash::PowerCut).is_err(), "{keys:?}");
        }
        let value = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(model.readable("oak", b"a"), [value("a"), value("a+")]);
        assert_eq!(model.readable("oak", b"c"), [None, value("c")]);
    }

    #[test]
    fn a_running_database_has_all_that_was_acknowledged() {
        assert!(model().explain_running(&contents(&["a", "b", "c"])).is_ok());
        assert!(model().explain_running(&contents(&["a", "b", "c", "d"])).is_ok());
        assert!(model().explain_running(&contents(&["a", "c"])).is_err());
    }
}
