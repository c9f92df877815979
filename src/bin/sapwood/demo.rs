//! `sapwood demo`: a database several times larger than its cache, filled with real data, read
//! back, and crashed, before your eyes.
//!
//! ```text
//! load  each row under several prefixes, timing each write call
//! read  random keys; everything forward; everything backward; every row is compared
//! crash a second load in a child process, killed in the middle; every acknowledged row is compared
//! tell  the figures, and what to try next
//! ```
//!
//! It all happens in a temporary folder, which is removed at the end, also after a failure. Exit
//! code 1 when a row differs.

mod crash;
mod data;
mod expected;
mod fill;
pub mod memory;
mod read_back;
mod summary;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sapwood::Config;

use crate::args::Cache;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::scratch;
use crate::stats::whole_stats;
use data::DataSet;
use expected::Expected;
use fill::Filled;
use memory::Memory;
use summary::Summary;

/// Show it all: load real data larger than the cache, check it, crash, recover
#[derive(Args)]
pub struct Demo {
    /// How much to load
    #[arg(long, value_enum, default_value_t = Size::Full)]
    size: Size,

    #[command(flatten)]
    cache: Cache,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// 5 times a cache of 8 MiB, in some seconds
    Small,
    /// 8 times a cache of 32 MiB
    Full,
}

/// How large everything is.
struct Plan {
    cache_mib: u64,
    /// Prefixes under which the data set is repeated.
    copies: u64,
    random_reads: u64,
}

impl Demo {
    pub fn run(self) -> Result<Exit, Failure> {
        scratch::within(&std::env::temp_dir(), "sapwood-demo-", |folder| self.show(folder))
    }

    fn show(&self, folder: &Path) -> Result<Exit, Failure> {
        let data = DataSet::find(folder)?;
        let expected = Expected::of(&data)?;
        let plan = self.plan(&expected);
        let before = Memory::now();
        say(&plan.describe(&data, &expected))?;
        let path = folder.join("db");
        let db = Config::new(&path).cache_mib(plan.cache_mib).open()?;
        let filled = fill::fill(&db, &data, &expected, &plan)?;
        db.checkpoint()?;
        let stats = whole_stats(&db)?;
        say(&filled.describe())?;
        let read_back = read_back::read_back(&db, &expected, &plan)?;
        say(&read_back.describe())?;
        db.close()?;
        let memory = Memory::now();
        let disk_bytes = memory::folder_bytes(&path)?;
        let crashed = crash::crash(&path, &data, &expected, &plan)?;
        say(&crashed.describe())?;
        let summary = Summary { plan: &plan, filled, stats, disk_bytes, before, memory };
        say(&format!("\n{}\n\n{}", summary.table(), what_next()))?;
        Ok(Exit::Done)
    }

    fn plan(&self, expected: &Expected) -> Plan {
        let (cache_mib, times, random_reads) = match self.size {
            Size::Small => (8, 5, 5_000),
            Size::Full => (32, 8, 30_000),
        };
        let cache_mib = self.cache.cache_mib.unwrap_or(cache_mib);
        let copies = (times * (cache_mib << 20)).div_ceil(expected.bytes()).max(1);
        Plan { cache_mib, copies, random_reads }
    }
}

impl Plan {
    fn describe(&self, data: &DataSet, expected: &Expected) -> String {
        let rows = expected.rows() * self.copies;
        let mib = (expected.bytes() * self.copies) >> 20;
        format!(
            "loading {} under {} prefixes: {rows} rows, {mib} MiB, into a cache of {} MiB",
            data.describe(),
            self.copies,
            self.cache_mib
        )
    }
}

/// The key of a row in one of the copies.
fn key_in_copy(out: &mut Vec<u8>, copy: u64, key: &[u8]) {
    out.clear();
    // Writing into memory cannot fail.
    let _ = write!(out, "{copy:03}/");
    out.extend_from_slice(key);
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = Output::new();
    out.text(text)?;
    out.text("\n")?;
    out.flush()
}

/// A bar for somebody who watches; nothing otherwise.
pub fn progress(rows: u64, doing: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:<18} {wide_bar} {percent:>3} %, {eta} left");
    let bar = ProgressBar::new(rows).with_message(doing);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

fn what_next() -> &'static str {
    "Try next:
  sapwood load  /tmp/my-db my-rows.tsv      key, tab, value; or 'zcat rows.gz | sapwood load /tmp/my-db'
  sapwood put   /tmp/my-db oak 'ring-porous'
  sapwood get   /tmp/my-db oak
  sapwood scan  /tmp/my-db --prefix o --limit 10
  sapwood stats /tmp/my-db; sapwood verify /tmp/my-db
  sapwood demo  --cache-mib 8               the same with less memory
Here 'sapwood' is this program: 'cargo install --path .' puts it on your path; without that, write
'cargo run --release --' instead. How to use the library is in README.md."
}
