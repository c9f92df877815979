//! `sapwood copy`: copies a database into a new folder, as one that was closed.

use std::path::PathBuf;

use clap::Args;

use crate::args::Place;
use crate::failure::{Exit, Failure};

/// Copy the database into a new folder
#[derive(Args)]
pub struct Copy {
    #[command(flatten)]
    place: Place,

    /// The copy's folder, which must be empty or not there yet
    new: PathBuf,
}

impl Copy {
    pub fn run(self) -> Result<Exit, Failure> {
        let db = self.place.open()?;
        db.checkpoint_to(&self.new)?;
        db.close()?;
        Ok(Exit::Done)
    }
}
