//! `sapwood salvage`: saves what can be read of a damaged database into a new one. Prints the rows
//! kept of each tree, and what could not be read; exit code 3 when something was lost.

use std::path::PathBuf;

use clap::Args;
use sapwood::{Damage, Loss, SalvageReport};

use crate::failure::{Exit, Failure};
use crate::output::{Output, figures};
use crate::stats::to_json;
use crate::words::{counted, key};

/// Save what can be read of a damaged database into a new one
#[derive(Args)]
pub struct Salvage {
    /// The damaged database's folder, which is left as it is
    broken: PathBuf,

    /// The new database's folder, which must be empty or not there yet
    new: PathBuf,

    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Salvage {
    pub fn run(self) -> Result<Exit, Failure> {
        if !self.broken.exists() {
            let folder = self.broken.display();
            return Err(Failure::other(format!("there is no database {folder}")));
        }
        let report = sapwood::salvage(&self.broken, &self.new)?;
        let mut out = Output::new();
        out.text(&if self.json { to_json(&report)? + "\n" } else { in_words(&report) })?;
        out.flush()?;
        Ok(if report.is_whole() { Exit::Done } else { Exit::Corruption })
    }
}

fn in_words(report: &SalvageReport) -> String {
    let mut table = figures(["tree", "rows kept", "rows that could not be merged"]);
    for tree in &report.trees {
        let name = key(tree.name.as_bytes());
        table.add_row([name, tree.rows.to_string(), tree.unmerged.to_string()]);
    }
    let lines: String = report.damages.iter().map(line).collect();
    let verdict = match (report.damages.len(), report.is_whole()) {
        (0, _) => "everything could be read".to_owned(),
        (count, true) => {
            format!("{}, and nothing was lost by it", counted(count as u64, "damage", "damages"))
        }
        (count, false) => counted(count as u64, "damage", "damages"),
    };
    format!("{lines}{table}\n{verdict}\n")
}

fn line(damage: &Damage) -> String {
    let concerned = match &damage.keys {
        None => "the whole database".to_owned(),
        Some(keys) => {
            let to = keys.to.as_ref().map_or("the end".to_owned(), |to| key(to));
            format!("tree {}, keys from {} to {to}", key(keys.tree.as_bytes()), key(&keys.from))
        }
    };
    let loss = match damage.loss {
        Loss::Nothing => "nothing was lost by it".to_owned(),
        Loss::Rows => format!("{concerned}: rows are missing"),
        _ => format!("{concerned}: newer changes may be missing, and older values back"),
    };
    format!("{} at byte {}: {}; {loss}\n", damage.file, damage.offset, damage.what)
}
