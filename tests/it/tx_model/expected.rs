//! What should be found, and who should lose.
//!
//! The model keeps every change that was committed. A transaction must lose when one of them, made
//! since it began, concerns what it depends on; it must not when none does. Between lies what is
//! left open: a key that was absent when it began and is absent again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use super::steps::{Change, End, Keys, What};

pub(super) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The rows of both trees.
pub(super) type State = [Rows; 2];

/// Keys from one to another; `upper` is not among them.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) lower: Vec<u8>,
    pub(super) upper: Option<Vec<u8>>,
}

pub(super) fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

impl Span {
    pub(super) fn of_range((lower, upper): &Keys) -> Span {
        let lower = match lower {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.clone(),
            Bound::Excluded(key) => successor(key),
        };
        let upper = match upper {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(successor(key)),
            Bound::Excluded(key) => Some(key.clone()),
        };
        Span { lower, upper }
    }

    pub(super) fn of_prefix(prefix: &[u8]) -> Span {
        let mut upper = prefix.to_vec();
        while upper.pop_if(|last| *last == u8::MAX).is_some() {}
        let upper = upper.pop().map(|last| [&prefix[..upper.len()], &[last + 1]].concat());
        Span { lower: prefix.to_vec(), upper }
    }

    pub(super) fn of_key(key: &[u8]) -> Span {
        Span { lower: key.to_vec(), upper: Some(successor(key)) }
    }

    pub(super) fn has(&self, key: &[u8]) -> bool {
        *self.lower <= *key && self.upper.as_ref().is_none_or(|upper| *key < **upper)
    }

    fn meets(&self, other: &Span) -> bool {
        let lower = (&self.lower).max(&other.lower);
        self.has(lower) && other.has(lower)
    }

    pub(super) fn rows_of(&self, rows: &Rows) -> Vec<(Vec<u8>, Vec<u8>)> {
        let within = rows.iter().filter(|(key, _)| self.has(key));
        within.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

impl Change {
    /// The keys that it concerns.
    pub(super) fn span(&self) -> Span {
        match &self.what {
            What::Insert(key, _) | What::Remove(key) | What::Merge(key, _) => Span::of_key(key),
            What::RemoveRange(keys) => Span::of_range(keys),
            What::RemovePrefix(prefix) => Span::of_prefix(prefix),
        }
    }

    /// Whether it changes nothing at all, because its range has no keys.
    pub(super) fn is_nothing(&self) -> bool {
        let span = self.span();
        !span.has(&span.lower)
    }

    pub(super) fn apply(&self, state: &mut State) {
        let rows = &mut state[self.tree];
        match &self.what {
            What::Insert(key, value) => {
                rows.insert(key.clone(), value.clone());
            }
            What::Remove(key) => {
                rows.remove(key);
            }
            What::Merge(key, operand) => rows.entry(key.clone()).or_default().extend(operand),
            What::RemoveRange(_) | What::RemovePrefix(_) => {
                let span = self.span();
                rows.retain(|key, _| !span.has(key));
            }
        }
    }
}

/// How far an iterator of a transaction has come.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    pub(super) tree: usize,
    pub(super) span: Span,
    front: Option<Vec<u8>>,
    back: Option<Vec<u8>>,
    is_whole: bool,
}

impl Passed {
    pub(super) fn new(tree: usize, span: Span) -> Passed {
        Passed { tree, span, front: None, back: None, is_whole: false }
    }

    /// It has given the row of `key`, or said that there is none left.
    pub(super) fn note(&mut self, end: End, key: Option<&[u8]>) {
        match (end, key) {
            (_, None) => self.is_whole = true,
            (End::Front, Some(key)) => self.front = Some(key.to_vec()),
            (End::Back, Some(key)) => self.back = Some(key.to_vec()),
        }
    }

    fn spans(&self) -> Vec<Span> {
        if self.is_whole {
            return vec![self.span.clone()];
        }
        let Span { lower, upper } = self.span.clone();
        let front = self.front.as_ref().map(|key| Span { lower, upper: Some(successor(key)) });
        let back = self.back.as_ref().map(|key| Span { lower: key.clone(), upper });
        front.into_iter().chain(back).collect()
    }
}

/// What must not have changed for a commit.
#[derive(Clone, Default)]
pub(super) struct Dependence {
    pub(super) spans: Vec<(usize, Span)>,
    /// Iterators that may still be pulled.
    pub(super) passed: Vec<Rc<RefCell<Passed>>>,
}

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Commits,
    Loses,
    /// Only keys that are absent again have changed.
    Either,
}

impl Dependence {
    /// What becomes of it after `changes`, which led from `before` to `now`.
    pub(super) fn verdict(&self, changes: &[Change], before: &State, now: &State) -> Verdict {
        let mut spans = self.spans.clone();
        for passed in &self.passed {
            let passed = passed.borrow();
            spans.extend(passed.spans().into_iter().map(|span| (passed.tree, span)));
        }
        let concerned = |change: &&Change| {
            let span = change.span();
            spans.iter().any(|(tree, one)| *tree == change.tree && one.meets(&span))
        };
        let changes: Vec<&Change> = changes.iter().filter(concerned).collect();
        if changes.is_empty() {
            return Verdict::Commits;
        }
        for tree in 0..2 {
            let keys: BTreeSet<_> = before[tree].keys().chain(now[tree].keys()).collect();
            for key in keys {
                let depends = spans.iter().any(|(other, span)| *other == tree && span.has(key));
                let has_changed = |change: &&Change| change.tree == tree && change.span().has(key);
                if depends && changes.iter().any(has_changed) {
                    return Verdict::Loses;
                }
            }
        }
        Verdict::Either
    }
}
