//! `sapwood delete`: removes one key, synced. Like every write it is blind: a key that is not there
//! is no failure. A missing tree or database is, because it is most likely misspelt.

use std::ffi::OsString;

use clap::Args;
use sapwood::Durability;

use crate::args::{Place, TreeName, argument};
use crate::failure::{Exit, Failure};

/// Remove a key, which need not be there; survives a power cut
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    place: Place,

    /// The key
    #[arg(allow_hyphen_values = true)]
    key: OsString,

    #[command(flatten)]
    tree: TreeName,
}

impl Delete {
    pub fn run(self) -> Result<Exit, Failure> {
        let key = argument("KEY", &self.key)?;
        let db = self.place.open()?;
        let tree = self.tree.find(&db)?;
        let mut batch = db.batch();
        batch.remove(&tree, key);
        batch.commit(Durability::Synced)?;
        db.close()?;
        Ok(Exit::Done)
    }
}
