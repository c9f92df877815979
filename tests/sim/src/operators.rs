//! How the operands of the simulated user are merged: each tree has an operator of its own.

use sapwood::merge::{self, MergeError, MergeOperator};
use sapwood::{Database, Result, Tree, TreeConfig};

/// Whether a tree's operator is the user's and must be declared whenever the database was opened:
/// that of elms and their like is.
fn is_own(tree: &str) -> bool {
    tree.starts_with('e')
}

/// Joins operands with a bar, and has no way to combine them.
struct Bars;

impl MergeOperator for Bars {
    fn name(&self) -> &str {
        "bars"
    }

    fn apply(
        &self,
        _: &[u8],
        base: Option<&[u8]>,
        operand: &[u8],
    ) -> std::result::Result<Vec<u8>, MergeError> {
        Ok([base.unwrap_or(b"none"), b"|", operand].concat())
    }
}

/// The value after a merge into `tree`.
pub fn merged(tree: &str, base: Option<&[u8]>, operand: &[u8]) -> Vec<u8> {
    let merged = match is_own(tree) {
        true => Bars.apply(b"", base, operand),
        false => merge::Append.apply(b"", base, operand),
    };
    merged.unwrap()
}

/// Gives a tree its operator.
pub fn declare(db: &Database, tree: &str) -> Result<Tree> {
    db.tree_with(tree, |config| with_operator(config, tree))
}

/// The settings of a tree with its operator.
pub fn with_operator(config: TreeConfig, tree: &str) -> TreeConfig {
    if is_own(tree) { config.merge_operator(Bars) } else { config.merge_operator(merge::Append) }
}

/// A tree that is there. Where it cannot be declared anew, because nothing can be written, it has
/// no operands either.
pub fn existing(db: &Database, tree: &str) -> Result<Tree> {
    let existing = db.existing_tree(tree)?;
    Ok(declare(db, tree).unwrap_or(existing))
}
