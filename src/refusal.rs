//! Why a row is not changed as it was asked for.

use std::fmt;

/// See the module's head.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A key that must not be overwritten is there.
    AlreadyExists { tree: String, key: Box<[u8]> },
    /// A row that is to be changed is no longer there.
    NotFound { tree: String, key: Box<[u8]> },
    /// A cursor that is to change its row stands at none.
    NoRow { tree: String },
    /// The last key of a tree that is to be appended to is no record number.
    NoRecordNumber { tree: String, key: Box<[u8]> },
    /// The last key of a tree that is to be appended to is the largest record number.
    NumbersUsedUp { tree: String },
}

impl Refusal {
    pub(crate) fn is_already_exists(&self) -> bool {
        matches!(self, Refusal::AlreadyExists { .. })
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Refusal::NotFound { .. } | Refusal::NoRow { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::AlreadyExists { tree, key } => write!(
                f,
                "the key \"{}\" is in the tree {tree:?} already; update it, or allow overwriting",
                key.escape_ascii()
            ),
            Refusal::NotFound { tree, key } => write!(
                f,
                "the key \"{}\" is no longer in the tree {tree:?}; insert it instead",
                key.escape_ascii()
            ),
            Refusal::NoRow { tree } => write!(
                f,
                "the cursor of the tree {tree:?} stands at no row; seek one before changing it"
            ),
            Refusal::NoRecordNumber { tree, key } => write!(
                f,
                "the last key \"{}\" of the tree {tree:?} is no record number of 8 bytes; append to \
                 a tree whose keys are such numbers",
                key.escape_ascii()
            ),
            Refusal::NumbersUsedUp { tree } => write!(
                f,
                "the last key of the tree {tree:?} is the largest record number; nothing can be \
                 appended behind it"
            ),
        }
    }
}
