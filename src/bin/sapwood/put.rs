//! `sapwood put`: one row, synced, because nobody is left to sync it later.

use std::ffi::OsString;

use clap::Args;
use sapwood::Durability;

use crate::args::{Place, TreeName, argument};
use crate::failure::{Exit, Failure};

/// Set a key to a value; survives a power cut
#[derive(Args)]
pub struct Put {
    #[command(flatten)]
    place: Place,

    /// The key
    #[arg(allow_hyphen_values = true)]
    key: OsString,

    /// The value
    #[arg(allow_hyphen_values = true)]
    value: OsString,

    #[command(flatten)]
    tree: TreeName,
}

impl Put {
    pub fn run(self) -> Result<Exit, Failure> {
        let key = argument("KEY", &self.key)?;
        let value = argument("VALUE", &self.value)?;
        let db = self.place.open_or_create()?;
        let tree = self.tree.find_or_create(&db)?;
        let mut batch = db.batch();
        batch.insert(&tree, key, value);
        batch.commit(Durability::Synced)?;
        db.close()?;
        Ok(Exit::Done)
    }
}
