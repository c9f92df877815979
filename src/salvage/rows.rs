//! The rows that are left, from the mended trees into a new database.
//!
//! Outside of what was lost, rows are read as any reader would, and operands that cannot be merged
//! (because their operator is not at hand, or fails) go over as they are. Within, operators are
//! left aside: a row that would need one may lack an operand or the value below.

use std::collections::VecDeque;
use std::sync::Arc;

use sapwood_cachetable::Cachetable;
use sapwood_serialize::catalog_image::{CatalogTree, OperatorName};
use sapwood_serialize::merge_iter::Direction;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;
use sapwood_serialize::{MergeError, MergeOperator, Msn, Operator, Sight};

use super::{SalvagedTree, without_operators};
use crate::batch::Batch;
use crate::commit::Durability;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::layers::Layers;
use crate::merge;
use crate::read;
use crate::recovery::Opening;
use crate::scan::{self, Request, Row, Wanted};
use crate::tree::Tree;
use crate::view::View;

/// Rows are written in batches of about so many bytes.
const BATCH_BYTES: usize = 32 << 10;

/// What rows are read from.
pub(super) struct Source<'a> {
    table: &'a Arc<Cachetable>,
    view: &'a View,
    plain: View,
    msn: Msn,
}

/// What was lost of a stretch of keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Sound,
    Harmed,
}

impl<'a> Source<'a> {
    pub(super) fn new(opening: &'a Opening, view: &'a View) -> Source<'a> {
        let msn = opening.views.visible();
        Source { table: &opening.table, view, plain: without_operators(view), msn }
    }

    /// Copies a tree of which something was lost between the keys `harmed`.
    pub(super) fn copy(
        &self,
        from: &CatalogTree,
        harmed: &[Bounds],
        db: &Database,
    ) -> Result<SalvagedTree> {
        let name = &*from.options.name;
        let tree = db.tree_with(name, |mut config| {
            config.operator = from.options.operator.as_ref().map(at_hand);
            config
        })?;
        let salvaged = SalvagedTree { name: name.to_owned(), ..SalvagedTree::default() };
        let mut sink = Sink { batch: db.batch(), bytes: 0, db, tree: &tree, salvaged };
        for (bounds, state) in stretches(harmed) {
            self.copy_stretch(from, bounds, state, &mut sink)?;
        }
        sink.hand_over()?;
        Ok(sink.salvaged)
    }

    fn copy_stretch(
        &self,
        tree: &CatalogTree,
        bounds: Bounds,
        state: State,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let view = if state == State::Sound { self.view } else { &self.plain };
        let mut rest = Some(bounds);
        while let Some(bounds) = rest {
            let direction = Direction::Forward;
            let (rows, bytes) = (1024, 256 << 10);
            let sight = Sight::at(self.msn);
            let request = Request {
                tree: tree.id,
                bounds: &bounds,
                direction,
                sight,
                rows,
                bytes,
                wanted: Wanted::Rows,
            };
            let mut batch: VecDeque<Row> = VecDeque::new();
            let left = scan::batch(self.table, &Layers::of(view), &request, &mut batch)?;
            for row in batch {
                match row {
                    Ok((key, value)) => sink.put(&key, &value)?,
                    Err(error) => self.unmerged(tree, &error, state, sink)?,
                }
            }
            rest = left;
        }
        Ok(())
    }

    /// A row whose operands cannot be merged.
    fn unmerged(
        &self,
        tree: &CatalogTree,
        error: &Error,
        state: State,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let Some(key) = error.unmerged_key() else { return Err(error.clone()) };
        if state == State::Harmed || tree.options.operator.is_none() {
            sink.salvaged.unmerged += 1;
            return Ok(());
        }
        let (base, operands) = {
            let (layers, sight) = (Layers::of(self.view), Sight::at(self.msn));
            read::unmerged(self.table, &layers, tree, key, sight)?
        };
        if let Some(base) = base {
            sink.add(key.len() + base.len(), |batch, tree| batch.insert(tree, key, &base))?;
        }
        for operand in operands {
            let bytes = key.len() + operand.len();
            sink.add(bytes, |batch, tree| batch.merge(tree, key, &operand))?;
        }
        sink.salvaged.rows += 1;
        Ok(())
    }
}

/// All keys, in stretches.
fn stretches(harmed: &[Bounds]) -> Vec<(Bounds, State)> {
    let mut all = Vec::new();
    let mut next = Some(Key::from([]));
    for bounds in harmed {
        let Some(lower) = next else { return all };
        let before = Bounds { lower, upper: Some(bounds.lower.clone()) };
        all.extend((!before.is_empty()).then_some((before, State::Sound)));
        all.push((bounds.clone(), State::Harmed));
        next = bounds.upper.clone();
    }
    all.extend(next.map(|lower| (Bounds { lower, upper: None }, State::Sound)));
    all
}

/// The new tree, with what is to be written next.
struct Sink<'a> {
    db: &'a Database,
    tree: &'a Tree,
    batch: Batch,
    bytes: usize,
    salvaged: SalvagedTree,
}

impl Sink<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.add(key.len() + value.len(), |batch, tree| batch.insert(tree, key, value))?;
        self.salvaged.rows += 1;
        Ok(())
    }

    fn add(&mut self, bytes: usize, add: impl FnOnce(&mut Batch, &Tree)) -> Result<()> {
        if self.bytes + bytes > BATCH_BYTES {
            self.hand_over()?;
        }
        add(&mut self.batch, self.tree);
        self.bytes += bytes;
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        self.bytes = 0;
        // The log would be in vain: nobody uses the new database before it is closed.
        std::mem::replace(&mut self.batch, self.db.batch()).commit(Durability::NoWal)
    }
}

/// The operator of that name; where its code is not here, one that keeps operands as they are.
fn at_hand(name: &OperatorName) -> Operator {
    merge::built_in(name).unwrap_or_else(|| Operator::new(Keeper(name.clone())))
}

/// Stands for an operator whose code is elsewhere.
struct Keeper(OperatorName);

impl MergeOperator for Keeper {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn version(&self) -> u32 {
        self.0.version
    }

    fn apply(
        &self,
        _: &[u8],
        _: Option<&[u8]>,
        _: &[u8],
    ) -> std::result::Result<Vec<u8>, MergeError> {
        Err(MergeError::new("its operator is not declared here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_all_keys_once() {
        let bounds = |lower: &str, upper: Option<&str>| Bounds {
            lower: lower.as_bytes().into(),
            upper: upper.map(|upper| upper.as_bytes().into()),
        };
        let found = stretches(&[bounds("b", Some("d")), bounds("f", None)]);
        let expected = [
            (bounds("", Some("b")), State::Sound),
            (bounds("b", Some("d")), State::Harmed),
            (bounds("d", Some("f")), State::Sound),
            (bounds("f", None), State::Harmed),
        ];
        assert!(found == expected);
        assert!(stretches(&[]) == [(Bounds::all(), State::Sound)]);
        assert!(stretches(&[Bounds::all()]) == [(Bounds::all(), State::Harmed)]);
    }
}
