//! The data set: packages of a Linux distribution, key, tab, value, in no order.
//!
//! The large one lies beside the project's folder where the project is developed. Elsewhere there
//! is a part of it, which the program carries.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::lines::Lines;

/// Where the large one lies, seen from the project's folder.
const LARGE: &str = "../shared/data/debian-packages.tsv.gz";

/// A part of it.
static SAMPLE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/data/sample.tsv.gz"));

/// A file of rows.
pub struct DataSet {
    path: PathBuf,
    name: &'static str,
}

impl DataSet {
    /// The large one if it is there, else the sample, unpacked from the program into `folder`.
    pub fn find(folder: &Path) -> Result<DataSet, Failure> {
        let projects = [Path::new(env!("CARGO_MANIFEST_DIR")), Path::new(".")];
        let candidates = projects.map(|project| project.join(LARGE));
        if let Some(path) = candidates.into_iter().find(|path| path.is_file()) {
            return Ok(DataSet { path, name: "64 thousand Debian packages" });
        }
        let path = folder.join("sample.tsv.gz");
        fs::write(&path, SAMPLE)
            .map_err(|error| Failure::other(format!("the sample cannot be unpacked: {error}")))?;
        Ok(DataSet { path, name: "a sample of 12 thousand Debian packages" })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn describe(&self) -> &'static str {
        self.name
    }

    /// Its rows, from the first on.
    pub fn lines(&self) -> Result<Lines<'static>, Failure> {
        let failed = |error| {
            Failure::other(format!("the data set {} cannot be read: {error}", self.path.display()))
        };
        Lines::new(File::open(&self.path).map_err(failed)?).map_err(failed)
    }
}
