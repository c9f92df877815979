//! `sapwood stats`: the figures of a database, as tables or as JSON.
//!
//! Counters count since the opening, which is this command's own; what is of interest here is the
//! space and the shape of the trees.

use clap::Args;
use comfy_table::Table;
use sapwood::Database;

use crate::args::Place;
use crate::failure::{Exit, Failure};
use crate::output::{Output, figures};

/// Print figures: space, memory, work done, the shape of each tree
#[derive(Args)]
pub struct Stats {
    #[command(flatten)]
    place: Place,

    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub fn run(self) -> Result<Exit, Failure> {
        let db = self.place.open()?;
        let stats = whole_stats(&db)?;
        let mut out = Output::new();
        if self.json {
            out.text(&(to_json(&stats)? + "\n"))?;
        } else {
            out.text(&format!("{}\n{}\n", totals(&stats), trees(&stats)))?;
        }
        out.flush()?;
        db.close()?;
        Ok(Exit::Done)
    }
}

/// The figures with the whole shape of all trees.
pub fn whole_stats(db: &Database) -> Result<sapwood::Stats, Failure> {
    // Statistics count only nodes in memory; a dump reads the others.
    db.dump()?;
    Ok(db.stats())
}

/// Any figures as JSON for people and programs.
pub fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let written = serde_json::to_string_pretty(value);
    written.map_err(|error| Failure::other(format!("the figures cannot be written: {error}")))
}

fn totals(stats: &sapwood::Stats) -> Table {
    let mut table = figures(["database", ""]);
    let rows = [
        ("file bytes", stats.file_bytes),
        ("live bytes", stats.live_bytes),
        ("debt bytes", stats.debt_bytes),
        ("budget bytes", stats.budget_bytes),
        ("resident bytes", stats.resident_bytes),
        ("user bytes since the opening", stats.user_bytes),
        ("bytes written", stats.bytes_written),
        ("bytes read", stats.bytes_read),
        ("pages read", stats.pages_read),
        ("log bytes", stats.wal_bytes),
        ("checkpoints", stats.checkpoints),
    ];
    for (name, figure) in rows {
        table.add_row([name.to_owned(), figure.to_string()]);
    }
    table
}

fn trees(stats: &sapwood::Stats) -> Table {
    let mut table = figures(["tree", "height", "nodes", "leaves", "runs", "buffered bytes"]);
    for (name, tree) in &stats.trees {
        let figures = [tree.height, tree.nodes, tree.leaves, tree.runs, tree.buffered_bytes];
        let figures = figures.map(|figure| figure.to_string());
        table.add_row([name.escape_debug().to_string()].into_iter().chain(figures));
    }
    table
}
