//! `sapwood dump`: the structure of all trees as text: nodes, buffers and segments, a line each; or
//! their shape alone, with bars that show what is full.

use clap::Args;

use crate::args::Place;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::shape_text::{self, Leaves};

/// Print the structure of all trees
#[derive(Args)]
pub struct Dump {
    #[command(flatten)]
    place: Place,

    /// A line for each node, with bars for what it holds and what waits above it
    #[arg(long)]
    shape: bool,

    /// With '--shape': each leaf, not only the first 8 below a node
    #[arg(long, requires = "shape")]
    all: bool,
}

impl Dump {
    pub fn run(self) -> Result<Exit, Failure> {
        let db = self.place.open()?;
        let leaves = if self.all { Leaves::All } else { Leaves::AtMost(8) };
        let mut out = Output::new();
        out.text(&if self.shape { shape_text::text(&db.shape()?, leaves) } else { db.dump()? })?;
        out.flush()?;
        db.close()?;
        Ok(Exit::Done)
    }
}
