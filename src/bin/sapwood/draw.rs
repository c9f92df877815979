//! `sapwood draw`: a picture of all trees, in which a person sees where data waits.
//!
//! ```text
//! legend
//! memtables   [ generation 7 ][ generation 6 ]
//! tree        one row for each level, the highest first:
//!   height 1  [= waiting above the node =====================]   colour: how much of what is due
//!             [ node 9                                       ]   filled from below: how full
//!   leaves    [= waiting =======][= waiting ======][========]
//!             [ leaf 3          ][ leaf 4         ][ leaf 5 ]    width: share of the bytes
//! ```
//!
//! A node lies below its parent. Its title, shown to who points at it, has the figures.

mod layout;
mod picture;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::args::Place;
use crate::failure::{Exit, Failure};
use crate::output::Output;

/// Draw all trees as an SVG picture that shows where data waits
#[derive(Args)]
pub struct Draw {
    #[command(flatten)]
    place: Place,

    /// The picture, replaced if it is there; '-' is standard output
    out: PathBuf,
}

impl Draw {
    pub fn run(self) -> Result<Exit, Failure> {
        if is_within(&self.out, &self.place.db) {
            // A slip of the hand would else put the picture in the place of the data.
            return Err(self.refused("it lies in the database"));
        }
        let db = self.place.open()?;
        let drawn = picture::draw(&db.shape()?);
        if self.out.as_os_str() == "-" {
            let mut out = Output::new();
            out.text(&drawn)?;
            out.flush()?;
        } else {
            fs::write(&self.out, drawn).map_err(|error| self.refused(&error.to_string()))?;
        }
        db.close()?;
        Ok(Exit::Done)
    }

    fn refused(&self, reason: &str) -> Failure {
        let out = self.out.display();
        Failure::other(format!("the picture {out} cannot be written: {reason}"))
    }
}

/// Whether `path`, which need not be there, leads into `folder`.
fn is_within(path: &Path, folder: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let there = path.canonicalize().or_else(|_| parent.unwrap_or(Path::new(".")).canonicalize());
    match (there, folder.canonicalize()) {
        (Ok(there), Ok(folder)) => there.starts_with(folder),
        _ => false,
    }
}
