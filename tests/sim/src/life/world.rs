//! What a database should hold: cheap to copy, with a number that tells two of them apart.
//!
//! The number of a world is put together of one for each row, so that a change costs what it
//! changes, and what was read can be compared with hundreds of worlds at once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::{Change, What};
use crate::operators::merged;

/// A key or a value.
pub type Bytes = Arc<[u8]>;

/// The names that trees can have. A name says which operator its tree has, see `operators`.
pub const NAMES: [&str; 6] = ["ash", "elm", "erl", "fir", "log", "oak"];

/// The tree that is only appended to.
pub const LOG: &str = "log";

/// The number of rows, or of trees: it does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds a row, or takes it out again.
    pub fn add_row(&mut self, key: &[u8], value: &[u8]) {
        self.0 ^= xxh3_64_with_seed(value, xxh3_64(key));
    }

    /// Adds a tree with these rows.
    pub fn add_tree(&mut self, name: &str, rows: Digest) {
        self.0 ^= xxh3_64_with_seed(&rows.0.to_le_bytes(), xxh3_64(name.as_bytes()));
    }

    /// The number, when all trees were added.
    pub fn of_world(self) -> u64 {
        self.0
    }
}

/// The rows of one tree.
#[derive(Clone, Default)]
pub struct Rows {
    map: OrdMap<Bytes, Bytes>,
    digest: Digest,
}

/// The rows of all trees.
#[derive(Clone, Default)]
pub struct World {
    trees: BTreeMap<&'static str, Rows>,
}

impl Rows {
    pub fn get(&self, key: &[u8]) -> Option<&Bytes> {
        self.map.get(key)
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The rows from `lower` on that lie below `upper`.
    pub fn range(
        &self,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Bytes)> {
        let is_empty = upper.is_some_and(|upper| upper <= lower);
        let upper = match upper {
            _ if is_empty => Bound::Excluded(lower),
            Some(upper) => Bound::Excluded(upper),
            None => Bound::Unbounded,
        };
        self.map.range::<_, [u8]>((Bound::Included(lower), upper))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Bytes, &Bytes)> {
        self.map.iter()
    }

    pub fn set(&mut self, key: &Bytes, value: Option<Bytes>) {
        let old = match value {
            Some(value) => {
                self.digest.add_row(key, &value);
                self.map.insert(key.clone(), value)
            }
            None => self.map.remove(key),
        };
        if let Some(old) = old {
            self.digest.add_row(key, &old);
        }
    }

    fn apply(&mut self, change: &Change) {
        let key = &change.key;
        let old = self.map.get(&key[..]);
        let value = match &change.what {
            What::Put(value) => Some(value.as_slice().into()),
            What::Remove => None,
            What::Merge(operand) => {
                Some(merged(change.tree, old.map(|old| &old[..]), operand).into())
            }
            What::RemoveRange(upper) => {
                let doomed = self.range(key, upper.as_deref()).map(|(key, _)| key.clone());
                let doomed: Vec<Bytes> = doomed.collect();
                return doomed.iter().for_each(|key| self.set(key, None));
            }
        };
        self.set(&key.as_slice().into(), value);
    }
}

impl World {
    pub fn tree(&self, name: &str) -> Option<&Rows> {
        self.trees.get(name)
    }

    pub fn trees(&self) -> impl Iterator<Item = (&'static str, &Rows)> {
        self.trees.iter().map(|(name, rows)| (*name, rows))
    }

    /// Puts a tree there, in place of any of that name.
    pub fn plant(&mut self, name: &'static str, rows: Rows) {
        self.trees.insert(name, rows);
    }

    /// Equal for equal worlds, and otherwise hardly ever.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        self.trees.iter().for_each(|(name, rows)| digest.add_tree(name, rows.digest));
        digest.of_world()
    }

    /// Does what a commit does.
    pub fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::Create(name) => {
                self.trees.entry(name).or_default();
            }
            Deed::Drop(name) => {
                self.trees.remove(name);
            }
            Deed::Rename(old, new) => {
                let rows = self.trees.remove(old).expect("a tree is renamed that is there");
                self.trees.insert(new, rows);
            }
            Deed::Write(changes) => changes.iter().for_each(|change| self.change(change)),
        }
    }

    /// Does one change, of a tree that is there.
    pub fn change(&mut self, change: &Change) {
        // A commit that is supposed to be lost may have created the tree of a later one; such
        // a world is never found.
        if let Some(rows) = self.trees.get_mut(change.tree) {
            rows.apply(change);
        }
    }

    /// All rows, shortened.
    pub fn told(&self) -> String {
        let tree = |(name, rows): (&str, &Rows)| {
            let rows = rows.iter().map(|(key, value)| format!("{} {}", shown(key), shown(value)));
            format!("{name}: {}", rows.collect::<Vec<_>>().join("; "))
        };
        self.trees().map(tree).collect::<Vec<_>>().join("\n    ")
    }

    /// In which rows two worlds differ, as sentences; at most a few.
    pub fn differences(&self, other: &World) -> Vec<String> {
        let mut told = Vec::new();
        for name in NAMES {
            match (self.tree(name), other.tree(name)) {
                (None, None) => {}
                (Some(_), None) => told.push(format!("no tree {name}")),
                (None, Some(_)) => told.push(format!("a tree {name} too many")),
                (Some(one), Some(two)) => tell_rows(name, one, two, &mut told),
            }
        }
        told
    }
}

fn tell_rows(name: &str, one: &Rows, two: &Rows, told: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<&Bytes> = one.map.keys().chain(two.map.keys()).collect();
    let differing = keys.into_iter().filter(|key| one.map.get(*key) != two.map.get(*key));
    for key in differing.take(4) {
        let show = |rows: &Rows| {
            let value = rows.map.get(key).map(|value| shown(value));
            value.unwrap_or_else(|| "nothing".to_owned())
        };
        told.push(format!("{name}/{}: {} for {}", shown(key), show(two), show(one)));
    }
}

/// The beginning of some bytes, readable.
pub fn shown(bytes: &[u8]) -> String {
    let some = &bytes[..bytes.len().min(24)];
    format!("\"{}\"({})", some.escape_ascii(), bytes.len())
}

/// What a commit does.
#[derive(Clone, Debug)]
pub enum Deed {
    Create(&'static str),
    Drop(&'static str),
    Rename(&'static str, &'static str),
    Write(Vec<Change>),
}

impl Deed {
    /// Whether it changes nothing whatever there is, and is therefore not even logged.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Deed::Write(changes) if changes.iter().all(Change::is_nothing))
    }

    /// It as a line.
    pub fn told(&self) -> String {
        let Deed::Write(changes) = self else { return format!("{self:?}") };
        let told = changes.iter().take(60).map(|change| {
            let what = match &change.what {
                What::Put(value) => format!("put {}", shown(value)),
                What::Remove => "remove".to_owned(),
                What::Merge(operand) => format!("merge {}", shown(operand)),
                What::RemoveRange(None) => "remove all from here".to_owned(),
                What::RemoveRange(Some(upper)) => format!("remove up to {}", shown(upper)),
            };
            format!("{}/{} {what}", change.tree, shown(&change.key))
        });
        format!("{} changes: {}", changes.len(), told.collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Deed {
        Deed::Write(vec![Change::put("oak", key, value)])
    }

    #[test]
    fn digests_tell_worlds_apart_and_forget_how_they_came_about() {
        let mut one = World::default();
        one.apply(&Deed::Create("oak"));
        let empty = one.digest();
        one.apply(&put("a", "1"));
        one.apply(&put("b", "2"));
        let mut two = World::default();
        two.apply(&Deed::Create("ash"));
        two.apply(&Deed::Rename("ash", "oak"));
        two.apply(&put("b", "2"));
        two.apply(&put("a", "0"));
        assert_ne!(one.digest(), two.digest());
        assert_eq!(one.differences(&two).len(), 1);
        two.apply(&put("a", "1"));
        assert_eq!(one.digest(), two.digest());
        assert!(one.differences(&two).is_empty());
        let range = What::RemoveRange(None);
        two.apply(&Deed::Write(vec![Change { tree: "oak", key: b"".to_vec(), what: range }]));
        assert_eq!(two.digest(), empty);
        two.apply(&Deed::Drop("oak"));
        assert_ne!(two.digest(), empty);
    }
}
