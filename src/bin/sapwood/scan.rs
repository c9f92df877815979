//! `sapwood scan`: the rows of a range as escaped lines, which `load` reads back.

use std::ffi::OsString;
use std::ops::Bound;

use clap::Args;
use sapwood::{Iter, Slice, Tree};

use crate::args::{Place, TreeName, argument};
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Print rows in key order, as 'load' reads them
#[derive(Args)]
pub struct Scan {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    tree: TreeName,

    /// The first key
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    from: Option<OsString>,

    /// The key before which to stop
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    to: Option<OsString>,

    /// Only keys that begin so
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    prefix: Option<OsString>,

    /// From the last key to the first
    #[arg(long)]
    reverse: bool,

    /// At most so many rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Keys alone
    #[arg(long)]
    keys: bool,
}

impl Scan {
    pub fn run(self) -> Result<Exit, Failure> {
        let range = self.range()?;
        let db = self.place.open()?;
        let tree = self.tree.find(&db)?;
        let printed = match range.rows(&tree) {
            Some(rows) if self.reverse => self.print(rows.rev()),
            Some(rows) => self.print(rows),
            None => Ok(()),
        };
        drop(tree);
        let closed = db.close();
        printed?;
        closed?;
        Ok(Exit::Done)
    }

    fn range(&self) -> Result<Range, Failure> {
        let decode = |what, given: &Option<OsString>| {
            given.as_ref().map(|given| argument(what, given)).transpose()
        };
        let from = decode("--from", &self.from)?.unwrap_or_default();
        let to = decode("--to", &self.to)?;
        let prefix = decode("--prefix", &self.prefix)?.unwrap_or_default();
        let behind = behind_prefix(&prefix);
        let to = match (to, behind) {
            (Some(to), Some(behind)) => Some(to.min(behind)),
            (to, behind) => to.or(behind),
        };
        Ok(Range { from: from.max(prefix), to })
    }

    fn print(
        &self,
        rows: impl Iterator<Item = sapwood::Result<(Slice, Slice)>>,
    ) -> Result<(), Failure> {
        let limit = usize::try_from(self.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut out = Output::new();
        for row in rows.take(limit) {
            let (key, value) = row?;
            if self.keys { out.field(&key)? } else { out.row(&key, &value)? }
        }
        out.flush()
    }
}

/// What is asked for by `--from`, `--to` and `--prefix` together.
struct Range {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

impl Range {
    /// `None` when no key can be in it.
    fn rows(&self, tree: &Tree) -> Option<Iter> {
        let upper = match &self.to {
            Some(to) if *to <= self.from => return None,
            Some(to) => Bound::Excluded(to),
            None => Bound::Unbounded,
        };
        Some(tree.range::<Vec<u8>>((Bound::Included(&self.from), upper)))
    }
}

/// The smallest key behind all that begin with `prefix`; `None` when there is none.
fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut behind = prefix.to_vec();
    while let Some(last) = behind.pop() {
        if last < u8::MAX {
            behind.push(last + 1);
            return Some(behind);
        }
    }
    None
}
