//! Reading whole databases, as numbers that can be compared with worlds, and as worlds.

use sapwood::{Database, Read, Result, Slice, Tree};

use super::world::{Digest, NAMES, Rows, World};
use crate::operators::existing;
use crate::random::Random;

/// How a tree is read.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Forward,
    Backward,
    Cursor,
    CursorBackward,
    /// From both ends at once, until they meet.
    BothEnds,
}

impl Way {
    pub fn draw(random: &mut Random) -> Way {
        match random.below(8) {
            0..3 => Way::Forward,
            3 => Way::Backward,
            4 => Way::BothEnds,
            5 => Way::CursorBackward,
            _ => Way::Cursor,
        }
    }
}

/// The number of everything that `state` holds of these trees.
pub fn digest(state: &impl Read, trees: &[(&'static str, Tree)], way: Way) -> Result<u64> {
    let mut all = Digest::default();
    for (name, tree) in trees {
        all.add_tree(name, digest_of_tree(state, tree, way)?);
    }
    Ok(all.of_world())
}

/// The number of the rows of one tree, which must come in order.
pub fn digest_of_tree(state: &impl Read, tree: &Tree, way: Way) -> Result<Digest> {
    let mut digest = Digest::default();
    match way {
        Way::Forward => {
            let mut order = Order::default();
            for row in state.iter(tree) {
                let (key, value) = row?;
                order.ascends(&key);
                digest.add_row(&key, &value);
            }
        }
        Way::Backward => {
            let mut order = Order::default();
            for row in state.iter(tree).rev() {
                let (key, value) = row?;
                order.descends(&key);
                digest.add_row(&key, &value);
            }
        }
        Way::Cursor => {
            let (mut order, mut cursor) = (Order::default(), state.cursor(tree));
            while let Some((key, value)) = cursor.next()? {
                order.ascends(key);
                digest.add_row(key, value);
            }
        }
        Way::CursorBackward => {
            let (mut order, mut cursor) = (Order::default(), state.cursor(tree));
            while let Some((key, value)) = cursor.prev()? {
                order.descends(key);
                digest.add_row(key, value);
            }
        }
        Way::BothEnds => {
            let (mut front, mut back) = (Order::default(), Order::default());
            let mut rows = state.iter(tree);
            while let Some(row) = rows.next() {
                let (key, value) = row?;
                front.ascends(&key);
                digest.add_row(&key, &value);
                if let Some(row) = rows.next_back() {
                    let (key, value) = row?;
                    back.descends(&key);
                    digest.add_row(&key, &value);
                }
            }
        }
    }
    Ok(digest)
}

/// Sees to it that keys come in order.
#[derive(Default)]
struct Order {
    last: Option<Vec<u8>>,
}

impl Order {
    fn ascends(&mut self, key: &[u8]) {
        assert!(self.last.as_ref().is_none_or(|last| **last < *key), "rows are out of order");
        self.note(key);
    }

    fn descends(&mut self, key: &[u8]) {
        assert!(self.last.as_ref().is_none_or(|last| **last > *key), "rows are out of order");
        self.note(key);
    }

    fn note(&mut self, key: &[u8]) {
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }
}

/// All trees of a database that was just opened, with their operators.
pub fn all_trees(db: &Database) -> Result<Vec<(&'static str, Tree)>> {
    let opened = db.tree_names().into_iter().map(|found| {
        let name = NAMES.into_iter().find(|name| *name == found);
        let name = name.unwrap_or_else(|| panic!("there is a tree {found:?}"));
        Ok((name, existing(db, name)?))
    });
    opened.collect()
}

/// Everything that `state` holds of these trees, to be explained.
pub fn world(state: &impl Read, trees: &[(&'static str, Tree)]) -> Result<World> {
    let mut world = World::default();
    for (name, tree) in trees {
        let mut rows = Rows::default();
        for row in state.iter(tree) {
            let (key, value): (Slice, Slice) = row?;
            rows.set(&(&key[..]).into(), Some((&value[..]).into()));
        }
        world.plant(name, rows);
    }
    Ok(world)
}
