//! Steps that change rows and trees.

use std::collections::BTreeMap;
use std::ops::Bound;

use sapwood::{Durability, Result};

use super::player::{Player, logged};
use super::setting::Sabotage;
use super::world::{Deed, LOG, shown};
use crate::model::{Change, What};

impl Player<'_> {
    pub(super) fn single(&mut self) -> Result<()> {
        let Some(name) = self.some_tree() else { return self.create() };
        let change = self.some_change(name);
        let (tree, key) = (&self.trees[name], &change.key);
        let done = match &change.what {
            What::Put(value) => tree.insert(key, value),
            What::Remove => tree.remove(key),
            What::Merge(operand) => tree.merge(key, operand),
            What::RemoveRange(upper) => tree.remove_range::<Vec<u8>>(stretch(key, upper)),
        };
        self.commit(&Deed::Write(vec![change]), Durability::Buffered, done)
    }

    pub(super) fn batch(&mut self) -> Result<()> {
        let mut changes = Vec::new();
        for _ in 0..self.random.below(1 + self.explorer.setting.changes) {
            let Some(name) = self.some_tree() else { return self.create() };
            changes.push(self.some_change(name));
        }
        let mut batch = self.db().batch();
        for change in &changes {
            let (tree, key) = (&self.trees[change.tree], &change.key);
            match &change.what {
                What::Put(value) => batch.insert(tree, key, value),
                What::Remove => batch.remove(tree, key),
                What::Merge(operand) => batch.merge(tree, key, operand),
                What::RemoveRange(_) if self.is_sabotaged(Sabotage::SkippingEngine) => {}
                What::RemoveRange(upper) => {
                    batch.remove_range::<Vec<u8>>(tree, stretch(key, upper));
                }
            }
        }
        let durability = self.some_durability();
        let is_hasty = self.is_sabotaged(Sabotage::HastyEngine) && durability == Durability::Synced;
        let done = batch.commit(if is_hasty { Durability::Buffered } else { durability });
        if self.is_sabotaged(Sabotage::GreedyModel) && !changes.is_empty() {
            changes.push(Change::put(changes[0].tree, b"more".to_vec(), b"more".to_vec()));
        }
        self.commit(&Deed::Write(changes), durability, done)
    }

    /// Many rows at once: ascending ones that are written ahead, or a transaction that is.
    pub(super) fn bulk(&mut self) -> Result<()> {
        let Some(name) = self.some_tree() else { return self.create() };
        let count = 1 + self.random.below(self.explorer.setting.keys.min(200));
        let rows: BTreeMap<Vec<u8>, Vec<u8>> =
            (0..count).map(|_| (self.some_key(), self.some_value())).collect();
        let put = |(key, value): (&Vec<u8>, &Vec<u8>)| Change::put(name, &key[..], &value[..]);
        let deed = Deed::Write(rows.iter().map(put).collect());
        if self.random.chance(50) {
            let done = self.trees[name].ingest(&rows);
            return self.commit(&deed, Durability::Buffered, done);
        }
        let durability = logged(self.some_durability());
        let mut tx = self.db().begin()?;
        rows.iter().try_for_each(|(key, value)| tx.insert(&self.trees[name], key, value))?;
        let done = tx.commit_with(durability);
        self.commit(&deed, durability, done)
    }

    pub(super) fn append(&mut self) -> Result<()> {
        let Some(tree) = self.trees.get(LOG).cloned() else { return self.create_named(LOG) };
        let value = self.some_value();
        let rows = self.history.now().tree(LOG).expect("the tree is there");
        let last = rows.iter().next_back();
        let last = last.map(|(key, _)| u64::from_be_bytes((**key).try_into().unwrap()));
        let done = tree.append(&value);
        let least = self.numbers.max(last).unwrap_or(0) + 1;
        let number = match &done {
            Ok(number) => *number,
            // Nobody has told which number it was; it has been the next one.
            Err(_) => least,
        };
        assert_eq!(number, least, "an append");
        self.numbers = Some(number);
        let change = Change::put(LOG, number.to_be_bytes(), value);
        self.commit(&Deed::Write(vec![change]), Durability::Buffered, done)
    }

    pub(super) fn remove_much(&mut self) -> Result<()> {
        let name = match self.random.chance(20) && self.trees.contains_key(LOG) {
            true => LOG,
            false => match self.some_tree() {
                Some(name) => name,
                None => return self.create(),
            },
        };
        let (from, to, done);
        if name == LOG || self.random.chance(50) {
            (from, to) = (Vec::new(), None);
            done = self.trees[name].truncate();
        } else {
            let digit = self.random.below(10);
            from = format!("key-{digit}").into_bytes();
            to = Some(format!("key-{}", char::from(b'1' + u8::try_from(digit).unwrap())).into());
            done = self.trees[name].remove_prefix(&from);
        }
        let change = Change { tree: name, key: from, what: What::RemoveRange(to) };
        self.commit(&Deed::Write(vec![change]), Durability::Buffered, done)
    }

    /// Reads a row and changes it in one step.
    pub(super) fn update(&mut self) -> Result<()> {
        let Some(name) = self.some_tree() else { return self.create() };
        let (key, value) = (self.some_key(), self.some_value());
        let old = self.history.now().tree(name).and_then(|rows| rows.get(&key)).cloned();
        let tree = &self.trees[name];
        let mut what = Some(What::Put(value.clone()));
        let done = match self.random.below(4) {
            0 => tree.replace(&key, &value),
            1 => {
                what = old.is_some().then_some(What::Remove);
                tree.take(&key)
            }
            2 => {
                let is_put = tree.insert_if_absent(&key, &value);
                if old.is_some() {
                    what = None;
                }
                is_put.inspect(|is_put| assert_eq!(*is_put, old.is_none())).map(|_| None)
            }
            _ => {
                let swapped = tree.compare_and_swap(&key, old.as_deref(), Some(&value));
                swapped
                    .map(|swapped| assert!(swapped.is_ok(), "nobody else has changed it"))
                    .map(|()| None)
            }
        };
        if let Ok(Some(told)) = &done {
            assert_eq!(Some(&told[..]), old.as_deref(), "{name}/{} before", shown(&key));
        }
        let change = what.map(|what| Change { tree: name, key, what });
        match change {
            Some(change) => self.commit(&Deed::Write(vec![change]), Durability::Buffered, done),
            None => done.map(|_| ()),
        }
    }

    pub fn create(&mut self) -> Result<()> {
        let name = ["ash", "elm", "erl", "fir", "oak"][self.random.index(5)];
        self.create_named(name)
    }

    pub(super) fn create_named(&mut self, name: &'static str) -> Result<()> {
        if self.trees.contains_key(name) {
            return Ok(());
        }
        let made = self.explorer.setting.tree(self.db(), name);
        if let Ok(tree) = &made {
            self.trees.insert(name, tree.clone());
        }
        self.commit(&Deed::Create(name), Durability::Buffered, made)
    }

    pub(super) fn drop_tree(&mut self) -> Result<()> {
        let Some(name) = self.some_tree() else { return self.create() };
        let done = self.db().drop_tree(name);
        if done.is_ok() {
            let handle = self.trees.remove(name).expect("it was there");
            assert!(handle.get("key").is_err(), "a dropped tree can be read");
            assert!(handle.insert("key", "value").is_err(), "a dropped tree can be written to");
            for open in &mut self.held.transactions {
                open.dropped.insert(name);
            }
        }
        self.commit(&Deed::Drop(name), Durability::Buffered, done)
    }

    pub(super) fn rename(&mut self) -> Result<()> {
        let Some(old) = self.some_tree() else { return self.create() };
        // The name tells the operator.
        let like: &[&'static str] = match old.starts_with('e') {
            true => &["elm", "erl"],
            false => &["ash", "fir", "oak"],
        };
        let new = like[self.random.index(like.len())];
        if self.trees.contains_key(new) {
            assert!(self.db().rename_tree(old, new).is_err(), "two trees have one name");
            return Ok(());
        }
        self.held.transactions.clear();
        let done = self.db().rename_tree(old, new);
        if done.is_ok() {
            let handle = self.trees.remove(old).expect("it was there");
            self.trees.insert(new, handle);
        }
        self.commit(&Deed::Rename(old, new), Durability::Buffered, done)
    }
}

/// From a key up to but without another one, or up to the end.
fn stretch<'k>(
    key: &'k Vec<u8>,
    upper: &'k Option<Vec<u8>>,
) -> (Bound<&'k Vec<u8>>, Bound<&'k Vec<u8>>) {
    let upper = upper.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(key), upper)
}
