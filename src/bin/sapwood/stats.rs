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
            let tables = [totals(&stats), movement(&stats), filters(&stats), trees(&stats)];
            for table in tables {
                out.text(&format!("{table}\n"))?;
            }
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
        ("hollow bytes", stats.hollow_bytes),
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

fn movement(stats: &sapwood::Stats) -> Table {
    let moved = &stats.movement;
    let mut table = figures(["moved since the opening", ""]);
    let rows = [
        ("generations spilled", moved.spills),
        ("flushes in memory", moved.flushes_in_memory),
        ("flushes with input or output", moved.flushes_with_io),
        ("flushes into leaves", moved.reconciles),
        ("gathered runs", moved.gathers),
        ("segments built", moved.segments_built),
        ("segments adopted", moved.segments_adopted),
        ("segments kept", moved.segments_kept),
        ("bytes built", moved.bytes_built),
        ("bytes dropped unread", moved.bytes_dropped),
        ("leaf splits", moved.leaf_splits),
        ("internal splits", moved.internal_splits),
        ("leaf merges", moved.leaf_merges),
        ("internal merges", moved.internal_merges),
        ("leaves balanced", moved.leaf_balances),
        ("internal nodes balanced", moved.internal_balances),
        ("levels lost at the top", moved.shrinks),
        ("nodes of dropped trees", moved.nodes_emptied),
        ("leaf merges started", moved.leaf_merges_started),
        ("leaf merges running", moved.leaf_merges_running),
        ("leaf merges ended", moved.leaf_merges_ended),
        ("nodes dirtied", moved.nodes_dirtied),
        ("jobs broken off", moved.stopped),
        ("cleaner runs", moved.cleaner_runs),
    ];
    for (name, figure) in rows {
        table.add_row([name.to_owned(), figure.to_string()]);
    }
    let spreads = [
        ("cleaner buffer bytes", moved.cleaner_buffer_bytes),
        ("cleaner work bytes", moved.cleaner_work_bytes),
    ];
    for (name, spread) in spreads {
        let figures = format!("{} to {}, {} in all", spread.least, spread.most, spread.total);
        table.add_row([name.to_owned(), figures]);
    }
    table.add_row(["flushes by cascade depth".to_owned(), list(&moved.cascades)]);
    table.add_row(["writers delayed, by 2^n us".to_owned(), list(&stats.write_delay)]);
    table
}

fn list(figures: &[u64]) -> String {
    let figures: Vec<String> = figures.iter().map(u64::to_string).collect();
    figures.join(" ")
}

fn filters(stats: &sapwood::Stats) -> Table {
    let mut table = figures(["filters asked", "denied", "found", "misled"]);
    for (height, met) in stats.filters.iter().enumerate() {
        let place = match height {
            0 => "leaves".to_owned(),
            height => format!("buffers at height {height}"),
        };
        let figures = [met.denied, met.found, met.misled];
        if figures != [0; 3] {
            let figures = figures.map(|figure| figure.to_string());
            table.add_row([place].into_iter().chain(figures));
        }
    }
    table
}

fn trees(stats: &sapwood::Stats) -> Table {
    let columns =
        ["tree", "height", "nodes", "leaves", "runs", "most runs on an edge", "buffered bytes"];
    let mut table = figures(columns);
    for (name, tree) in &stats.trees {
        let (runs, most) = (tree.runs, tree.runs_most);
        let figures = [tree.height, tree.nodes, tree.leaves, runs, most, tree.buffered_bytes];
        let figures = figures.map(|figure| figure.to_string());
        table.add_row([name.escape_debug().to_string()].into_iter().chain(figures));
    }
    table
}
