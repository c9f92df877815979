//! `sapwood trees`: the names of all trees, a line each, in alphabetical order.

use clap::Args;

use crate::args::Place;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Print the names of all trees
#[derive(Args)]
pub struct Trees {
    #[command(flatten)]
    place: Place,
}

impl Trees {
    pub fn run(self) -> Result<Exit, Failure> {
        let db = self.place.open()?;
        let mut out = Output::new();
        for name in db.tree_names() {
            out.field(name.as_bytes())?;
        }
        out.flush()?;
        db.close()?;
        Ok(Exit::Done)
    }
}
