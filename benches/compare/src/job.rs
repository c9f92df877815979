//! What a child is told to do, and what it says it measured.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engines::Engine;
use crate::row::Rows;
use crate::store::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    Load,
    Point,
    Scan,
    Cached,
}

impl Workload {
    /// In the order in which they are run: what reads the large store comes behind what loads it.
    pub const ALL: [Workload; 4] =
        [Workload::Load, Workload::Point, Workload::Scan, Workload::Cached];

    pub fn name(self) -> &'static str {
        match self {
            Workload::Load => "load",
            Workload::Point => "point",
            Workload::Scan => "scan",
            Workload::Cached => "cached",
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sizes {
    pub rows: u64,
    pub cached_rows: u64,
    /// Point reads of each kind.
    pub reads: u64,
    /// Scans of 100 rows.
    pub scans: u64,
    pub cache_bytes: u64,
    pub seed: u64,
    /// A load ends after this long, with fewer rows.
    pub load_seconds_max: Option<u64>,
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
        Rows::new(self.sizes.seed)
    }

    pub fn place(&self) -> Place {
        Place { folder: self.folder.clone(), cache_bytes: self.sizes.cache_bytes }
    }
}

/// One measured number; its unit is the last word of its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
}

/// What a child measured, in the order in which it is shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures(pub Vec<Figure>);

impl Figures {
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.push(Figure { name: name.into(), value });
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }
}
