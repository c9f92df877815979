//! Snapshots and transactions against ordered maps, on histories that proptest makes up and
//! shortens: what every reader sees, and which commits succeed, whatever is moved meanwhile.

mod expected;
mod steps;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use sapwood::{
    Background, Config, Database, Durability, Isolation, Iter, Read, Savepoint, Slice, Snapshot,
    Transaction, Tree, merge,
};

use self::expected::{Dependence, Passed, Span, State, Verdict};
use self::steps::{At, Change, End, Inside, Leaving, Look, Step, Then, What, number, step};
use crate::sim::disk::SimDisk;

const CACHE_BYTES: u64 = 96 << 10;
const OPEN_MOST: usize = 4;

/// A database beside the maps that it should equal.
struct Pair {
    disk: SimDisk,
    db: Option<Database>,
    trees: Vec<Tree>,
    now: Rc<State>,
    /// All that was committed since the database was opened.
    changes: Vec<Change>,
    open: Vec<Open>,
    snapshots: Vec<(Snapshot, Rc<State>)>,
    held: Vec<Held>,
    tally: Tally,
}

/// How transactions ended.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    committed: u64,
    lost: u64,
}

/// A transaction that goes on.
struct Open {
    tx: Transaction,
    isolation: Isolation,
    before: Rc<State>,
    /// How many changes had been committed when it began.
    since: usize,
    own: Vec<Change>,
    seen: State,
    /// What it has read; that matters when it is serializable.
    read: Dependence,
    /// What it has read to change it; that matters always.
    guarded: Vec<(usize, Span)>,
    /// Each with how many changes there were.
    savepoints: Vec<(Savepoint, usize)>,
    gone: Vec<Savepoint>,
}

/// An iterator that was left standing.
struct Held {
    iter: Iter,
    rest: VecDeque<(Vec<u8>, Vec<u8>)>,
    passed: Rc<RefCell<Passed>>,
}

impl Held {
    fn take(&mut self, end: End) -> bool {
        let (found, wanted) = match end {
            End::Front => (self.iter.next(), self.rest.pop_front()),
            End::Back => (self.iter.next_back(), self.rest.pop_back()),
        };
        let found =
            found.map(|row| row.unwrap()).map(|(key, value)| (key.to_vec(), value.to_vec()));
        assert_eq!(found, wanted, "at the {end:?}");
        self.passed.borrow_mut().note(end, wanted.as_ref().map(|(key, _)| &key[..]));
        wanted.is_some()
    }

    fn take_all(&mut self, ends: &[End]) {
        for end in ends {
            self.take(*end);
        }
    }
}

impl Open {
    fn begin(pair: &Pair, isolation: Isolation) -> Open {
        Open {
            tx: pair.db().begin_with(isolation).unwrap(),
            isolation,
            before: pair.now.clone(),
            since: pair.changes.len(),
            own: Vec::new(),
            seen: State::clone(&pair.now),
            read: Dependence::default(),
            guarded: Vec::new(),
            savepoints: Vec::new(),
            gone: Vec::new(),
        }
    }

    fn change(&mut self, trees: &[Tree], change: Change) {
        let (tx, tree) = (&mut self.tx, &trees[change.tree]);
        let done = match &change.what {
            What::Insert(key, value) => tx.insert(tree, key, value),
            What::Remove(key) => tx.remove(tree, key),
            What::Merge(key, operand) => tx.merge(tree, key, operand),
            What::RemoveRange(keys) => tx.remove_range(tree, keys.clone()),
            What::RemovePrefix(prefix) => tx.remove_prefix(tree, prefix),
        };
        done.unwrap();
        if !change.is_nothing() {
            change.apply(&mut self.seen);
            self.own.push(change);
        }
        assert_eq!(tx.len(), self.own.len() as u64);
    }

    fn go_back(&mut self, which: usize) {
        for gone in &self.gone {
            assert!(self.tx.rollback_to(gone).is_err(), "it lies behind one that was gone back to");
        }
        let Some(which) = which.checked_rem(self.savepoints.len()) else { return };
        self.gone.extend(self.savepoints.drain(which + 1..).map(|(savepoint, _)| savepoint));
        let (savepoint, count) = &self.savepoints[which];
        self.tx.rollback_to(savepoint).unwrap();
        self.own.truncate(*count);
        self.seen = State::clone(&self.before);
        self.own.iter().for_each(|change| change.apply(&mut self.seen));
        assert_eq!(self.tx.len(), *count as u64);
    }

    /// What its commit depends on.
    fn dependence(&self) -> Dependence {
        let mut all = match self.isolation {
            Isolation::Snapshot => Dependence::default(),
            Isolation::Serializable => self.read.clone(),
        };
        all.spans.extend(self.guarded.iter().cloned());
        all.spans.extend(self.own.iter().map(|change| (change.tree, change.span())));
        all
    }
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair {
            disk: SimDisk::new(1),
            db: None,
            trees: Vec::new(),
            now: Rc::default(),
            changes: Vec::new(),
            open: Vec::new(),
            snapshots: Vec::new(),
            held: Vec::new(),
            tally: Tally::default(),
        };
        pair.open_database();
        pair
    }

    fn open_database(&mut self) {
        let config = Config::on(Arc::new(self.disk.clone())).tiny().cache_bytes(CACHE_BYTES);
        let db = config.background(Background::Manual).checkpoint_bytes(64 << 10).open().unwrap();
        let tree = |name| db.tree_with(name, |tree| tree.merge_operator(merge::Append)).unwrap();
        self.trees = vec![tree("one"), tree("two")];
        self.db = Some(db);
        self.changes.clear();
    }

    fn db(&self) -> &Database {
        self.db.as_ref().unwrap()
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Write(change) => self.write(change),
            Step::Batch(changes) => self.batch(changes),
            Step::Fill(from, count) => {
                let row = |at| What::Insert(number(at), format!("a row, the {at}th").into());
                let both =
                    (from..from + count).map(|at| Change { tree: at as usize % 2, what: row(at) });
                let all: Vec<Change> = both.collect();
                all.chunks(40).for_each(|some| self.batch(some.to_vec()));
            }
            Step::Begin(is_serializable) => {
                if self.open.len() < OPEN_MOST {
                    let levels = [Isolation::Snapshot, Isolation::Serializable];
                    let open = Open::begin(self, levels[usize::from(is_serializable)]);
                    self.open.push(open);
                }
            }
            Step::In(which, inside) => self.play_inside(which, inside),
            Step::Snapshot => self.take_snapshot(),
            Step::DropSnapshot(which) => {
                if which < self.snapshots.len() {
                    self.snapshots.remove(which);
                }
            }
            Step::ReadSnapshot(which, look) => {
                if let Some((snapshot, state)) = self.snapshots.get(which) {
                    let held =
                        looked(snapshot, &self.trees, state, &look, &mut Dependence::default());
                    self.held.extend(held);
                }
            }
            Step::Pull(which, ends) => {
                if let Some(held) = self.held.get_mut(which) {
                    held.take_all(&ends);
                }
            }
            Step::DropIter(which) => {
                if which < self.held.len() {
                    self.held.remove(which);
                }
            }
            Step::Maintain(steps) => drop(self.db().maintain(steps).unwrap()),
            Step::Checkpoint => self.db().checkpoint().unwrap(),
            Step::Drain => self.db().daemon().drain().unwrap(),
            Step::Compact(tree) => self.trees[tree].compact::<&str>(..).unwrap(),
            Step::Verify => drop(self.db().verify().unwrap()),
            Step::Reopen(leaving) => self.reopen(leaving),
        }
        while self.held.len() > 6 {
            self.finish(0);
        }
    }

    fn write(&mut self, change: Change) {
        let tree = &self.trees[change.tree];
        let done = match &change.what {
            What::Insert(key, value) => tree.insert(key, value),
            What::Remove(key) => tree.remove(key),
            What::Merge(key, operand) => tree.merge(key, operand),
            What::RemoveRange(keys) => tree.remove_range(keys.clone()),
            What::RemovePrefix(prefix) => tree.remove_prefix(prefix),
        };
        done.unwrap();
        self.note(vec![change]);
    }

    fn batch(&mut self, changes: Vec<Change>) {
        let mut batch = self.db().batch();
        for change in &changes {
            let tree = &self.trees[change.tree];
            match &change.what {
                What::Insert(key, value) => batch.insert(tree, key, value),
                What::Remove(key) => batch.remove(tree, key),
                What::Merge(key, operand) => batch.merge(tree, key, operand),
                What::RemoveRange(keys) => batch.remove_range(tree, keys.clone()),
                What::RemovePrefix(prefix) => batch.remove_prefix(tree, prefix),
            }
        }
        batch.commit(Durability::Buffered).unwrap();
        self.note(changes);
    }

    /// These were committed.
    fn note(&mut self, changes: Vec<Change>) {
        let changes = changes.into_iter().filter(|change| !change.is_nothing());
        for change in changes {
            change.apply(Rc::make_mut(&mut self.now));
            self.changes.push(change);
        }
    }

    fn take_snapshot(&mut self) {
        let snapshot = match self.snapshots.first() {
            Some((first, state)) if self.snapshots.len() > 3 => (first.clone(), state.clone()),
            _ => (self.db().snapshot(), self.now.clone()),
        };
        self.snapshots.truncate(3);
        self.snapshots.push(snapshot);
    }

    fn play_inside(&mut self, which: usize, inside: Inside) {
        let Some(which) = which.checked_rem(self.open.len()) else { return };
        let open = &mut self.open[which];
        match inside {
            Inside::Change(change) => open.change(&self.trees, change),
            Inside::Fill(from, count) => {
                for at in from..from + count {
                    let value = [&at.to_le_bytes()[..], &[b'.'; 300]].concat();
                    let (tree, what) = (at as usize % 2, What::Insert(number(at), value));
                    open.change(&self.trees, Change { tree, what });
                }
            }
            Inside::Look(look) => {
                let held = looked(&open.tx, &self.trees, &open.seen, &look, &mut open.read);
                self.held.extend(held);
            }
            Inside::GetForUpdate(tree, key) => {
                let found = open.tx.get_for_update(&self.trees[tree], &key).unwrap();
                assert_eq!(found.as_deref(), open.seen[tree].get(&key).map(Vec::as_slice));
                open.guarded.push((tree, Span::of_key(&key)));
            }
            Inside::Savepoint => {
                let savepoint = open.tx.savepoint();
                open.savepoints.push((savepoint, open.own.len()));
            }
            Inside::RollBackTo(which) => open.go_back(which),
            Inside::Commit => {
                let open = self.open.remove(which);
                self.commit(open);
            }
            Inside::Drop => self.open.remove(which).tx.rollback(),
        }
    }

    fn commit(&mut self, open: Open) {
        let since = &self.changes[open.since..];
        let verdict = match open.own.is_empty() {
            true => Verdict::Commits,
            false => open.dependence().verdict(since, &open.before, &self.now),
        };
        let committed = open.tx.commit();
        match &committed {
            Ok(commit) => {
                assert_ne!(verdict, Verdict::Loses, "it has missed one of {since:?}");
                assert_eq!(commit.changes, open.own.len() as u64);
                assert!(commit.sequence <= self.db().snapshot().sequence());
                self.tally.committed += u64::from(!open.own.is_empty());
                self.note(open.own);
            }
            Err(error) => {
                assert!(error.is_conflict(), "{error}");
                assert_ne!(verdict, Verdict::Commits, "{error}");
                self.tally.lost += 1;
            }
        }
    }

    /// Takes the rest of an iterator.
    fn finish(&mut self, which: usize) {
        let mut held = self.held.remove(which);
        let end = if held.rest.len().is_multiple_of(2) { End::Front } else { End::Back };
        while held.take(end) {}
    }

    fn reopen(&mut self, leaving: Leaving) {
        while !self.held.is_empty() {
            self.finish(0);
        }
        let db = self.db.take().unwrap();
        match leaving {
            Leaving::Crash => db.abandon(),
            Leaving::Close => db.close().unwrap(),
        }
        for open in self.open.drain(..) {
            let error = open.tx.commit().unwrap_err();
            assert!(error.is_fatal() && !error.is_conflict(), "{error}");
        }
        for (snapshot, _) in self.snapshots.drain(..) {
            assert!(snapshot.first(&self.trees[0]).is_err());
        }
        self.open_database();
        self.check_all();
    }

    /// Everything, latest and in every reader.
    fn check_all(&mut self) {
        let all = (Bound::Unbounded, Bound::Unbounded);
        for tree in 0..2 {
            for end in [End::Front, End::Back] {
                let look = Look { tree, at: At::Whole(all.clone(), end) };
                let none = &mut Dependence::default();
                looked(self.db(), &self.trees, &self.now, &look, none);
                for (snapshot, state) in &self.snapshots {
                    looked(snapshot, &self.trees, state, &look, none);
                }
                for open in &mut self.open {
                    looked(&open.tx, &self.trees, &open.seen, &look, &mut open.read);
                }
            }
            for (key, value) in &self.now[tree] {
                assert_eq!(self.trees[tree].get(key).unwrap().as_deref(), Some(&value[..]));
            }
        }
        self.db().verify().unwrap();
    }

    fn end(mut self) -> Tally {
        self.check_all();
        while let Some(mut open) = self.open.pop() {
            // So that there is something to commit.
            open.change(&self.trees, Change { tree: 0, what: What::Remove(b"the end".to_vec()) });
            self.commit(open);
        }
        self.snapshots.clear();
        self.check_all();
        self.reopen(Leaving::Crash);
        self.reopen(Leaving::Close);
        self.tally
    }
}

fn owned(slice: Option<Slice>) -> Option<Vec<u8>> {
    slice.map(|slice| slice.to_vec())
}

/// Reads, compares with `rows`, and adds to `read` what was read; an iterator that is left standing
/// comes back.
fn looked(
    state: &impl Read,
    trees: &[Tree],
    rows: &State,
    look: &Look,
    read: &mut Dependence,
) -> Option<Held> {
    let (tree, rows) = (&trees[look.tree], &rows[look.tree]);
    let mut iterate = |iter: Iter, span: Span, ends: &[End]| {
        let passed = Rc::new(RefCell::new(Passed::new(look.tree, span)));
        let rest = passed.borrow().span.rows_of(rows).into();
        read.passed.push(passed.clone());
        let mut held = Held { iter, rest, passed };
        held.take_all(ends);
        held
    };
    match &look.at {
        At::Key(key) => {
            assert_eq!(owned(state.get(tree, key).unwrap()).as_ref(), rows.get(key));
            assert_eq!(state.contains_key(tree, key).unwrap(), rows.contains_key(key));
            read.spans.push((look.tree, Span::of_key(key)));
            None
        }
        At::Keys(keys) => {
            let found: Vec<_> =
                state.multi_get(tree, keys).unwrap().into_iter().map(owned).collect();
            let wanted: Vec<_> = keys.iter().map(|key| rows.get(key).cloned()).collect();
            assert_eq!(found, wanted);
            read.spans.extend(keys.iter().map(|key| (look.tree, Span::of_key(key))));
            None
        }
        At::Range(keys, ends, then) => {
            let held = iterate(state.range(tree, keys.clone()), Span::of_range(keys), ends);
            (*then == Then::Hold).then_some(held)
        }
        At::Prefix(prefix, ends, then) => {
            let held = iterate(state.prefix(tree, prefix), Span::of_prefix(prefix), ends);
            (*then == Then::Hold).then_some(held)
        }
        At::Whole(keys, end) => {
            let mut held = iterate(state.range(tree, keys.clone()), Span::of_range(keys), &[]);
            while held.take(*end) {}
            None
        }
        At::First | At::Last => {
            let is_first = matches!(look.at, At::First);
            let end = if is_first { End::Front } else { End::Back };
            let found = if is_first { state.first(tree) } else { state.last(tree) }.unwrap();
            let wanted = if is_first { rows.iter().next() } else { rows.iter().next_back() };
            let mut passed = Passed::new(look.tree, Span { lower: Vec::new(), upper: None });
            passed.note(end, wanted.map(|(key, _)| &key[..]));
            read.passed.push(Rc::new(RefCell::new(passed)));
            let found = found.map(|(key, value)| (key.to_vec(), value.to_vec()));
            assert_eq!(found.as_ref().map(|(key, value)| (key, value)), wanted);
            None
        }
    }
}

/// `PROPTEST_CASES` makes a soak of it.
fn cases() -> u32 {
    let told = std::env::var("PROPTEST_CASES").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(768)
}

#[test]
fn transactions_see_what_they_should_and_lose_when_they_must() {
    let config =
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) };
    let total = Cell::new(Tally::default());
    let outcome = TestRunner::new(config).run(&vec(step(), 1..200), |steps| {
        let mut pair = Pair::new();
        steps.into_iter().for_each(|step| pair.play(step));
        let (all, one) = (total.get(), pair.end());
        total.set(Tally { committed: all.committed + one.committed, lost: all.lost + one.lost });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let Tally { committed, lost } = total.get();
    println!("{committed} transactions committed, {lost} lost");
    assert!(committed > 0 && lost > 0, "the model was not asked about both");
}
