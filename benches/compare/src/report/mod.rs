//! What is made of the lines that runs have left: one HTML page, or a few lines of text.
//!
//! ```text
//! Results -> medians -> tables and headlines -> page
//!        `-> samples -> curves -> SVG ---------^
//! ```

mod chart;
mod curves;
mod growth;
mod headlines;
mod medians;
mod page;
mod tables;

use std::fs;

use crate::Result;
use crate::options::Paths;
use crate::results::Results;

/// Writes the page.
pub fn write(paths: &Paths) -> Result<()> {
    let results = Results::read(&paths.from)?;
    fs::write(&paths.to, page::page(&results))?;
    println!("{}", paths.to.display());
    Ok(())
}

/// The headlines as text, for a terminal.
pub fn text(results: &Results) -> String {
    headlines::text(results)
}
