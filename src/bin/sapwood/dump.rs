//! `sapwood dump`: the structure of all trees as text: nodes, buffers and segments, a line each.

use clap::Args;

use crate::args::Place;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Print the structure of all trees
#[derive(Args)]
pub struct Dump {
    #[command(flatten)]
    place: Place,
}

impl Dump {
    pub fn run(self) -> Result<Exit, Failure> {
        let db = self.place.open()?;
        let mut out = Output::new();
        out.text(&db.dump()?)?;
        out.flush()?;
        db.close()?;
        Ok(Exit::Done)
    }
}
