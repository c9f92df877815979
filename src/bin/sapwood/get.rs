//! `sapwood get`: the value of one key, as one escaped line; exit code 1 and nothing when it is
//! not there.

use std::ffi::OsString;

use clap::Args;

use crate::args::{Place, TreeName, argument};
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Print the value of a key
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    place: Place,

    /// The key
    #[arg(allow_hyphen_values = true)]
    key: OsString,

    #[command(flatten)]
    tree: TreeName,
}

impl Get {
    pub fn run(self) -> Result<Exit, Failure> {
        let key = argument("KEY", &self.key)?;
        let db = self.place.open()?;
        let value = self.tree.find(&db)?.get(key)?;
        let Some(value) = value else {
            db.close()?;
            return Ok(Exit::Absent);
        };
        let mut out = Output::new();
        out.field(&value)?;
        out.flush()?;
        db.close()?;
        Ok(Exit::Done)
    }
}
