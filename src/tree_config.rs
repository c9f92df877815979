//! How a tree is opened.

use sapwood_serialize::{MergeOperator, Operator};

use crate::error::{Error, Kind, Result};

/// The settings of one tree, for [`Database::tree_with`](crate::Database::tree_with); every one has
/// a default.
#[derive(Clone, Debug, Default)]
pub struct TreeConfig {
    pub(crate) operator: Option<Operator>,
}

impl TreeConfig {
    /// How [`Tree::merge`](crate::Tree::merge) changes values. Its name and version are stored when
    /// it is declared for the first time; from then on the tree takes no other. A built-in one need
    /// not be declared again, your own must be before its operands can be read. Default: none.
    #[must_use]
    pub fn merge_operator(mut self, operator: impl MergeOperator) -> TreeConfig {
        self.operator = Some(Operator::new(operator));
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let Some(operator) = &self.operator else { return Ok(()) };
        let reason = match operator.name().len() {
            0 => "its name is empty",
            1..=255 => return Ok(()),
            _ => "its name has more than 255 bytes",
        };
        Err(Error::new(Kind::Option { option: "merge_operator", reason: reason.into() }))
    }
}
