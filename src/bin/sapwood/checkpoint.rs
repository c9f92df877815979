//! `sapwood checkpoint`: moves everything into the trees, so that the next opening replays nothing.

use clap::Args;

use crate::args::Place;
use crate::failure::{Exit, Failure};

/// Move everything from the log into the trees
#[derive(Args)]
pub struct Checkpoint {
    #[command(flatten)]
    place: Place,
}

impl Checkpoint {
    pub fn run(self) -> Result<Exit, Failure> {
        let db = self.place.open()?;
        db.checkpoint()?;
        db.close()?;
        Ok(Exit::Done)
    }
}
