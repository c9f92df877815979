//! `sapwood verify`: reads and checks everything; exit code 3 and a sentence when something is
//! damaged, else what was looked at, as a table or as JSON.

use clap::Args;
use sapwood::Report;

use crate::args::Place;
use crate::failure::{Exit, Failure};
use crate::output::{Output, figures};
use crate::stats::to_json;

/// Check every byte, every order rule and every extent
#[derive(Args)]
pub struct Verify {
    #[command(flatten)]
    place: Place,

    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self) -> Result<Exit, Failure> {
        let db = self.place.open()?;
        let report = db.verify()?;
        let mut out = Output::new();
        out.text(&if self.json { to_json(&report)? + "\n" } else { sentence_and_table(&report) })?;
        out.flush()?;
        db.close()?;
        Ok(Exit::Done)
    }
}

fn sentence_and_table(report: &Report) -> String {
    let mut table = figures(["checked", ""]);
    let rows = [
        ("trees", report.trees),
        ("nodes", report.nodes),
        ("leaves", report.leaves),
        ("runs", report.runs),
        ("segments", report.segments),
        ("pages", report.pages),
        ("rows", report.rows),
        ("old versions that nobody needs", report.garbage_versions),
        ("operands that wait in leaves", report.waiting_operands),
        ("live bytes", report.live_bytes),
        ("file bytes", report.file_bytes),
    ];
    for (name, figure) in rows {
        table.add_row([name.to_owned(), figure.to_string()]);
    }
    format!("everything is sound\n{table}\n")
}
