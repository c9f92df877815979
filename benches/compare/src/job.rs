//! What a child is told to do, and what it says it measured.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::row::{Layout, Rows};
use crate::store::Place;
use crate::stores::Engine;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    Load,
    Point,
    Scan,
    Sequential,
    Cached,
    Ycsb,
    Counters,
    Overwrite,
    Deletes,
    RangeDeletes,
    Commits,
    Reopen,
    Growth,
    /// A part of [`Workload::Reopen`]: a process that is killed.
    Killed,
}

impl Workload {
    /// In the order in which they are run: what reads the large store comes behind what loads it.
    pub const ALL: [Workload; 13] = [
        Workload::Load,
        Workload::Point,
        Workload::Scan,
        Workload::Sequential,
        Workload::Cached,
        Workload::Ycsb,
        Workload::Counters,
        Workload::Overwrite,
        Workload::Deletes,
        Workload::RangeDeletes,
        Workload::Commits,
        Workload::Reopen,
        Workload::Growth,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Workload::Load => "load",
            Workload::Point => "point",
            Workload::Scan => "scan",
            Workload::Sequential => "sequential",
            Workload::Cached => "cached",
            Workload::Ycsb => "ycsb",
            Workload::Counters => "counters",
            Workload::Overwrite => "overwrite",
            Workload::Deletes => "deletes",
            Workload::RangeDeletes => "range-deletes",
            Workload::Commits => "commits",
            Workload::Reopen => "reopen",
            Workload::Growth => "growth",
            Workload::Killed => "killed",
        }
    }

    pub fn from_name(name: &str) -> Option<Workload> {
        Workload::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// Whether it works on the store that [`Workload::Load`] leaves behind.
    pub fn needs_load(self) -> bool {
        matches!(self, Workload::Point | Workload::Scan)
    }
}

/// The sizes of a comparison, alike for all engines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// Rows of the large store, and operations that are counted by it.
    pub rows: u64,
    /// Rows of the store that fits into the cache.
    pub cached_rows: u64,
    /// Rows of the store that is changed after its load.
    pub changed_rows: u64,
    /// Point reads of each kind.
    pub reads: u64,
    /// Scans of 100 rows.
    pub scans: u64,
    /// Operations of each YCSB workload.
    pub operations: u64,
    /// Synced commits for each number of threads.
    pub commits: u64,
    /// Operations in a transaction, for engines whose commits are not made to be small.
    pub group: usize,
    pub cache_bytes: u64,
    pub seed: u64,
    /// A timed part ends after so long, with less done.
    pub seconds_max: u64,
    /// How long nothing must happen before an engine counts as at rest.
    pub quiet_ms: u64,
}

/// One engine, one workload, one child process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub engine: Engine,
    pub workload: Workload,
    pub sizes: Sizes,
    pub folder: PathBuf,
    /// The group whose memory limit the child puts itself under.
    pub cgroup: Option<PathBuf>,
}

impl Job {
    pub fn rows(&self) -> Rows {
        let layout = match self.workload {
            Workload::Sequential => Layout::Ascending,
            _ => Layout::Scattered,
        };
        Rows::new(self.sizes.seed, layout)
    }

    pub fn place(&self) -> Place {
        Place {
            folder: self.folder.clone(),
            cache_bytes: self.sizes.cache_bytes,
            group: self.sizes.group,
            quiet: Duration::from_millis(self.sizes.quiet_ms),
            is_ordered: matches!(self.workload, Workload::Scan | Workload::Sequential),
        }
    }
}

/// What figures in MiB are divided by.
pub const MIB: f64 = 1_048_576.0;

/// One measured number; its unit is the last word of its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
}

/// What a child measured, in the order in which it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures(pub Vec<Figure>);

impl Figures {
    /// Adds a figure; what comes of dividing by nothing is none.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.0.push(Figure { name: name.into(), value });
        }
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}

/// All that a child says at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub figures: Figures,
    /// The phases that the time limit ended.
    pub stopped: Vec<String>,
}
