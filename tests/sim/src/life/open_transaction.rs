//! A transaction beside what it should see, and the check of whether it may commit.

use std::collections::BTreeSet;
use std::ops::Bound;

use sapwood::{Commit, Durability, Isolation, Overwrite, Result, Savepoint, Seek, Transaction};

use super::player::Trees;
use super::world::{World, shown};
use crate::model::{Change, What};
use crate::random::Random;

/// A stretch of keys of a tree, of which the transaction's fate depends.
struct Stretch {
    tree: &'static str,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
}

/// A transaction that was begun and has not ended.
pub struct OpenTransaction {
    tx: Transaction,
    isolation: Isolation,
    pub trees: Trees,
    base: World,
    world: World,
    changes: Vec<Change>,
    read: Vec<Stretch>,
    savepoints: Vec<(Savepoint, World, usize)>,
    /// How many commits there were when it began.
    pub begun: usize,
    /// Trees that were dropped meanwhile.
    pub dropped: BTreeSet<&'static str>,
    /// Trees that it has written to, be it in vain or taken back.
    touched: BTreeSet<&'static str>,
}

impl OpenTransaction {
    pub fn new(
        tx: Transaction,
        isolation: Isolation,
        trees: Trees,
        base: World,
        begun: usize,
    ) -> OpenTransaction {
        OpenTransaction {
            tx,
            isolation,
            trees,
            world: base.clone(),
            base,
            changes: Vec::new(),
            read: Vec::new(),
            savepoints: Vec::new(),
            begun,
            dropped: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Whether it can write to the tree.
    pub fn has(&self, tree: &str) -> bool {
        self.trees.contains_key(tree) && !self.dropped.contains(tree)
    }

    /// Whether a tree that it has written to is gone.
    pub fn is_orphaned(&self) -> bool {
        self.changes.iter().any(|change| self.dropped.contains(change.tree))
    }

    /// Whether it may be told that a tree is gone: what it wrote there need not be left.
    pub fn may_be_orphaned(&self) -> bool {
        !self.touched.is_disjoint(&self.dropped)
    }

    /// Whether nothing of it can have been written ahead.
    pub fn is_small(&self) -> bool {
        self.savepoints.is_empty() && self.changes.len() < 5
    }

    /// Makes one change.
    pub fn change(&mut self, change: Change) -> Result<()> {
        let (tree, key) = (&self.trees[change.tree], &change.key);
        self.touched.insert(change.tree);
        match &change.what {
            What::Put(value) => self.tx.insert(tree, key, value)?,
            What::Remove => self.tx.remove(tree, key)?,
            What::Merge(operand) => self.tx.merge(tree, key, operand)?,
            What::RemoveRange(upper) => {
                let upper = upper.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                self.tx.remove_range::<Vec<u8>>(tree, (Bound::Included(key), upper))?;
            }
        }
        self.note(change);
        Ok(())
    }

    fn note(&mut self, change: Change) {
        if change.is_nothing() {
            return;
        }
        self.world.change(&change);
        self.changes.push(change);
    }

    /// Reads a row, for a change or not.
    pub fn get(&mut self, tree: &'static str, key: &[u8], random: &mut Random) -> Result<()> {
        let is_for_update = random.chance(20);
        let handle = &self.trees[tree];
        let found = match is_for_update {
            true => self.tx.get_for_update(handle, key)?,
            false => self.tx.get(handle, key)?,
        };
        let expected = self.world.tree(tree).and_then(|rows| rows.get(key));
        assert_eq!(
            found.as_deref(),
            expected.map(|value| &value[..]),
            "{tree}/{} in a transaction",
            shown(key)
        );
        if is_for_update || self.isolation == Isolation::Serializable {
            let upper = Some([key, &[0]].concat());
            self.read.push(Stretch { tree, lower: key.to_vec(), upper });
        }
        Ok(())
    }

    /// Reads some rows from `key` on.
    pub fn scan(&mut self, tree: &'static str, key: &[u8], random: &mut Random) -> Result<()> {
        let most = 1 + random.index(40);
        let rows = self.world.tree(tree).expect("the tree is there");
        let mut expected = rows.range(key, None);
        let mut upper = None;
        let mut found = self.tx.range(&self.trees[tree], key..);
        for _ in 0..most {
            let row = found.next().transpose()?;
            let wanted = expected.next();
            assert_eq!(
                row.as_ref().map(|(key, value)| (&key[..], &value[..])),
                wanted.map(|(key, value)| (&key[..], &value[..])),
                "{tree} from {} in a transaction",
                shown(key)
            );
            let Some((key, _)) = row else {
                upper = None;
                break;
            };
            upper = Some([&key[..], &[0]].concat());
        }
        drop(expected);
        if self.isolation == Isolation::Serializable {
            self.read.push(Stretch { tree, lower: key.to_vec(), upper });
        }
        Ok(())
    }

    /// Walks some rows with a cursor, and changes what it meets.
    pub fn walk(&mut self, tree: &'static str, key: &[u8], random: &mut Random) -> Result<()> {
        let mut made = Vec::new();
        self.touched.insert(tree);
        let mut cursor = self.tx.cursor_mut(&self.trees[tree]);
        let mut is_there = cursor.seek(key, Seek::AtOrAfter)?;
        for _ in 0..1 + random.below(4) {
            let Some(at) = cursor.key().filter(|_| is_there).map(<[u8]>::to_vec) else { break };
            let what = match random.below(3) {
                0 => What::Remove,
                1 => What::Put(b"by a cursor".to_vec()),
                _ => What::Put(Vec::new()),
            };
            match &what {
                What::Put(value) if random.chance(50) => cursor.update(value)?,
                What::Put(value) => cursor.insert(&at, value, Overwrite::Allowed)?,
                _ => cursor.remove()?,
            }
            made.push(Change { tree, key: at, what });
            is_there = cursor.next()?.is_some();
        }
        made.into_iter().for_each(|change| self.note(change));
        if self.isolation == Isolation::Serializable {
            // How far it has come need not be known: nothing is claimed about that.
            self.read.push(Stretch { tree, lower: key.to_vec(), upper: Some(key.to_vec()) });
        }
        Ok(())
    }

    pub fn save(&mut self) {
        let savepoint = self.tx.savepoint();
        self.savepoints.push((savepoint, self.world.clone(), self.changes.len()));
    }

    /// Goes back to one of the savepoints, if there are any.
    pub fn go_back(&mut self, random: &mut Random) -> Result<()> {
        if self.savepoints.is_empty() {
            return Ok(());
        }
        let at = random.index(self.savepoints.len());
        self.savepoints.truncate(at + 1);
        let (savepoint, world, changes) = &self.savepoints[at];
        self.tx.rollback_to(savepoint)?;
        self.world = world.clone();
        self.changes.truncate(*changes);
        Ok(())
    }

    /// Ends it; what was changed comes back with what became of it.
    pub fn commit(self, durability: Durability) -> (Ended, Result<Commit>) {
        let OpenTransaction { tx, isolation, base, changes, read, begun, dropped, .. } = self;
        let done = tx.commit_with(durability);
        (Ended { isolation, base, changes, read, begun, dropped }, done)
    }
}

/// A transaction that was ended.
pub struct Ended {
    isolation: Isolation,
    base: World,
    pub changes: Vec<Change>,
    read: Vec<Stretch>,
    pub begun: usize,
    dropped: BTreeSet<&'static str>,
}

impl Ended {
    /// Whether it could commit, where everybody else's changes make `now` of what it began with.
    ///
    /// What it has changed, and what it has read if that matters, must be what it was. Keys that
    /// were changed and changed back would be told by their numbers, which nobody sees here.
    pub fn check(&self, now: &World) {
        if self.changes.is_empty() {
            return;
        }
        let written = self.changes.iter().map(|change| {
            let lower = change.key.clone();
            let upper = match &change.what {
                What::RemoveRange(upper) => upper.clone(),
                _ => Some([&lower[..], &[0]].concat()),
            };
            Stretch { tree: change.tree, lower, upper }
        });
        let written: Vec<Stretch> = written.collect();
        let all = written.iter().chain(&self.read);
        for stretch in all.filter(|stretch| !self.dropped.contains(stretch.tree)) {
            let rows = |world: &World| -> Vec<_> {
                let rows = world.tree(stretch.tree).map(|rows| {
                    let rows = rows.range(&stretch.lower, stretch.upper.as_deref());
                    rows.map(|(key, value)| (key.clone(), value.clone())).collect()
                });
                rows.unwrap_or_default()
            };
            let (before, after) = (rows(&self.base), rows(now));
            assert_eq!(
                before,
                after,
                "a transaction ({:?}) commits though {} changed from {} on",
                self.isolation,
                stretch.tree,
                shown(&stretch.lower)
            );
        }
    }
}
