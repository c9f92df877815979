//! How a tree is opened.

use std::fmt;

use sapwood_serialize::catalog_image::{PageOptions, TreeOptions};
use sapwood_serialize::{MergeOperator, Operator};

use crate::error::{Error, Kind, Result};

/// How the pages of a tree are compressed when they are written. In memory they never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// With lz4, page by page, where it saves an eighth.
    #[default]
    Lz4,
    /// Not at all: for values that are compressed or encrypted already.
    None,
}

impl Compression {
    fn stored(self) -> sapwood_serialize::Compression {
        match self {
            Compression::Lz4 => sapwood_serialize::Compression::Lz4,
            Compression::None => sapwood_serialize::Compression::None,
        }
    }
}

/// The settings of one tree, for [`Database::tree_with`](crate::Database::tree_with); every one has
/// a default.
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// use sapwood::Compression;
///
/// let photos = db.tree_with("photos", |tree| {
///     tree.compression(Compression::None).page_bytes(32 << 10)
/// })?;
/// photos.insert("oak", [0xff, 0xd8])?;
/// assert_eq!(db.tree("photos")?.iter().count(), 1); // opened as it was created
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct TreeConfig {
    pub(crate) operator: Option<Operator>,
    compression: Option<Compression>,
    page_bytes: Option<usize>,
}

impl TreeConfig {
    /// The smallest pages that a tree can be given.
    const PAGE_BYTES_MIN: usize = 4 << 10;

    /// How [`Tree::merge`](crate::Tree::merge) changes values. Its name and version are stored when
    /// it is declared for the first time; from then on the tree takes no other. A built-in one need
    /// not be declared again, your own must be before its operands can be read. Default: none.
    #[must_use]
    pub fn merge_operator(mut self, operator: impl MergeOperator) -> TreeConfig {
        self.operator = Some(Operator::new(operator));
        self
    }

    /// How the tree's pages are compressed. Fixed when the tree is created. Default:
    /// [`Compression::Lz4`].
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> TreeConfig {
        self.compression = Some(compression);
        self
    }

    /// How large the tree's pages are before they are compressed: 4 KiB to 64 KiB. A point read
    /// that finds nothing in memory reads and unpacks one page; a scan and the compression gain
    /// from larger ones. Fixed when the tree is created. Default: 8 KiB.
    #[must_use]
    pub fn page_bytes(mut self, bytes: usize) -> TreeConfig {
        self.page_bytes = Some(bytes);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |option, reason| Err(Error::new(Kind::Option { option, reason }));
        let most = PageOptions::BYTES_MAX as usize;
        let least = TreeConfig::PAGE_BYTES_MIN;
        if let Some(bytes) = self.page_bytes.filter(|bytes| !(least..=most).contains(bytes)) {
            let reason = format!("it is {bytes}; {least} to {most} bytes are allowed");
            return refuse("page_bytes", reason);
        }
        match self.operator.as_ref().map_or(1, |operator| operator.name().len()) {
            0 => refuse("merge_operator", "its name is empty".to_owned()),
            1..=255 => Ok(()),
            _ => refuse("merge_operator", "its name has more than 255 bytes".to_owned()),
        }
    }

    /// What a new tree stores; `default` where nothing is given.
    pub(crate) fn pages(&self, default: PageOptions) -> PageOptions {
        let page_bytes = self.page_bytes.and_then(|bytes| u32::try_from(bytes).ok());
        PageOptions {
            compression: self.compression.map_or(default.compression, Compression::stored),
            page_bytes: page_bytes.unwrap_or(default.page_bytes),
        }
    }

    /// Refuses what is given and differs from what the tree was created with.
    pub(crate) fn check_stored(&self, stored: &TreeOptions) -> Result<()> {
        let given = self.pages(stored.pages);
        let (stored, name) = (stored.pages, &stored.name);
        let codec = |pages: PageOptions| match pages.compression {
            sapwood_serialize::Compression::Lz4 => "lz4",
            sapwood_serialize::Compression::None => "none",
        };
        same(name, "compression", &codec(stored), &codec(given))?;
        same(name, "page_bytes", &stored.page_bytes, &given.page_bytes)
    }
}

fn same<T: PartialEq + fmt::Display>(
    tree: &str,
    option: &'static str,
    stored: &T,
    given: &T,
) -> Result<()> {
    if stored == given {
        return Ok(());
    }
    let (tree, stored, given) = (tree.to_owned(), stored.to_string(), given.to_string());
    Err(Error::new(Kind::TreeOption { tree, option, stored, given }))
}
