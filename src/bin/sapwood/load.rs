//! `sapwood load`: rows from a file or a pipe into a tree, a batch at a time.
//!
//! 1. a batch is committed in one step: after a crash all of it is there or none;
//! 2. a broken line stops the load; nothing of its batch is committed, and the failure says how
//!    many rows were committed before;
//! 3. with `--ack`, a line `acked ROWS` is handed over after each commit, never before it is as
//!    durable as asked. A reader of them that has gone is a failure, because rows would be missing
//!    without a word.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sapwood::{Batch, Database, Durability, Tree};

use crate::args::{Place, TreeName};
use crate::failure::{Exit, Failure};
use crate::lines::Lines;

/// Load lines of key, tab, value into a tree
#[derive(Args)]
pub struct Load {
    #[command(flatten)]
    place: Place,

    /// The file, also one compressed by gzip; '-' is standard input
    #[arg(default_value = "-")]
    file: PathBuf,

    #[command(flatten)]
    tree: TreeName,

    /// Rows per commit; fewer when they fill an eighth of the cache
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,

    /// What a committed batch survives
    #[arg(long, value_enum, default_value_t = Survives::Buffered)]
    durability: Survives,

    /// Print 'acked ROWS', the rows so far, after each commit
    #[arg(long)]
    ack: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Survives {
    /// A crash of this process
    Buffered,
    /// A power cut
    Synced,
    /// Nothing before the end of the load
    NoWal,
}

impl From<Survives> for Durability {
    fn from(survives: Survives) -> Durability {
        match survives {
            Survives::Buffered => Durability::Buffered,
            Survives::Synced => Durability::Synced,
            Survives::NoWal => Durability::NoWal,
        }
    }
}

impl Load {
    pub fn run(self) -> Result<Exit, Failure> {
        // The input first: without one, no database is made.
        let input = open_input(&self.file)?;
        let unreadable = |error| Failure::other(format!("{} {error}", cannot_read(&self.file)));
        let mut lines = Lines::new(input).map_err(unreadable)?;
        let db = self.place.open_or_create()?;
        let tree = self.tree.find_or_create(&db)?;
        let mut loader = Loader::new(&self, &db, &tree);
        let loaded = loader.load(&mut lines);
        let rows = loader.committed;
        drop(loader);
        drop(tree);
        // Closed also after a failure: what was committed is to stay, whatever the durability.
        let closed = db.close();
        loaded.map_err(|failure| failure.and(format_args!("{} committed", count(rows))))?;
        closed?;
        if !self.ack {
            println_if_read(&format!("loaded {}", count(rows)));
        }
        Ok(Exit::Done)
    }
}

fn count(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// The load is complete; that nobody reads of it is no failure.
fn println_if_read(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn cannot_read(file: &Path) -> String {
    format!("the input {} cannot be read:", file.display())
}

/// The input, with a progress bar when somebody watches and its length is known.
fn open_input(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    let failed = |error| Failure::other(format!("{} {error}", cannot_read(path)));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::other(format!("{} it is a folder", cannot_read(path))));
    }
    if !metadata.is_file() || !io::stderr().is_terminal() {
        return Ok(Box::new(file));
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta} left");
    let bar = ProgressBar::new(metadata.len());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    Ok(Box::new(bar.wrap_read(file)))
}

/// A load under way.
struct Loader<'a> {
    options: &'a Load,
    db: &'a Database,
    tree: &'a Tree,
    batch: Batch,
    /// Rows that were put into the batch, refused ones included.
    batch_rows: u64,
    batch_bytes: u64,
    /// Rows committed so far.
    committed: u64,
}

/// What a row costs in a batch besides its key and value, at most.
const ROW_OVERHEAD_BYTES: usize = 32;

impl<'a> Loader<'a> {
    fn new(options: &'a Load, db: &'a Database, tree: &'a Tree) -> Loader<'a> {
        Loader { options, db, tree, batch: db.batch(), batch_rows: 0, batch_bytes: 0, committed: 0 }
    }

    fn load(&mut self, lines: &mut Lines<'_>) -> Result<(), Failure> {
        let bytes_most = self.options.place.cache_bytes() / 8;
        while let Some((key, value)) = lines.next_row()? {
            let bytes = (key.len() + value.len() + ROW_OVERHEAD_BYTES) as u64;
            if self.batch_bytes + bytes > bytes_most {
                self.commit()?;
            }
            self.batch.insert(self.tree, &key, &value);
            self.batch_rows += 1;
            self.batch_bytes += bytes;
            if (self.batch.len() as u64) < self.batch_rows {
                // This row was refused. The commit, which changes nothing then, says why.
                let line = self.committed + self.batch_rows;
                return self.commit().map_err(|failure| failure.at(format_args!("line {line}")));
            }
            if self.batch_rows >= self.options.batch {
                self.commit()?;
            }
        }
        self.commit()
    }

    /// Commits the batch, if there is anything in it.
    fn commit(&mut self) -> Result<(), Failure> {
        if self.batch_rows == 0 {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, self.db.batch());
        let rows = std::mem::take(&mut self.batch_rows);
        self.batch_bytes = 0;
        batch.commit(self.options.durability.into())?;
        self.committed += rows;
        if self.options.ack { acknowledge(self.committed) } else { Ok(()) }
    }
}

fn acknowledge(rows: u64) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let told = writeln!(out, "acked {rows}").and_then(|()| out.flush());
    told.map_err(|error| Failure::other(format!("nobody takes the acknowledgement: {error}")))
}
