//! The command line.

use std::path::PathBuf;

use crate::engines::Engine;
use crate::job::{Job, Sizes, Workload};
use crate::row::ROW_BYTES;
use crate::{Error, Result};

pub const USAGE: &str = "\
usage: compare [OPTIONS]

  --engines A,B            of sapwood, fjall, redb; default all
  --workload A,B           of load, point, scan, cached; default all (point and scan load first)
  --rows N                 rows of the large store, default 10000000
  --cached-rows N          rows of the small store, default what fills a quarter of the cache
  --cache-mib M            what each engine may use, default 64
  --reads N                point reads of each kind, default 100000
  --scans N                100-row scans, default 2000
  --seed S                 of keys, values and draws, default 1
  --load-seconds-max S     ends a load after so long, with fewer rows
  --repeat R               runs all engines in turn R times and shows medians, default 1
  --cgroup-mib M           puts each child under this memory limit, the kernel's file cache included
  --cgroup-parent FOLDER   where the group is made, default below this process's own
  --dir FOLDER             where the stores are made, default a new one below TMPDIR
  --json FILE              also writes every figure of every run there";

pub enum Command {
    Compare(Box<Options>),
    Job(Box<Job>),
    Help,
}

pub struct Options {
    pub engines: Vec<Engine>,
    pub workloads: Vec<Workload>,
    pub sizes: Sizes,
    pub repeats: usize,
    pub cgroup_bytes: Option<u64>,
    pub cgroup_parent: Option<PathBuf>,
    pub folder: PathBuf,
    pub json: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        let name = format!("sapwood-compare-{}", std::process::id());
        Options {
            engines: Engine::ALL.into(),
            workloads: Workload::ALL.into(),
            sizes: Sizes {
                rows: 10_000_000,
                cached_rows: 0,
                reads: 100_000,
                scans: 2_000,
                cache_bytes: 64 << 20,
                seed: 1,
                load_seconds_max: None,
            },
            repeats: 1,
            cgroup_bytes: None,
            cgroup_parent: None,
            folder: std::env::temp_dir().join(name),
            json: None,
        }
    }
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Command> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(Command::Help);
        }
        let missing = || Error::from(format!("{word} needs a value"));
        let value = words.next().ok_or_else(missing)?;
        if word == "--job" {
            return Ok(Command::Job(Box::new(serde_json::from_str(&value)?)));
        }
        options.set(&word, &value)?;
    }
    options.complete()?;
    Ok(Command::Compare(Box::new(options)))
}

impl Options {
    fn set(&mut self, word: &str, value: &str) -> Result<()> {
        let number = || number(word, value);
        let sizes = &mut self.sizes;
        match word {
            "--engines" => self.engines = list(value, Engine::from_name)?,
            "--workload" => self.workloads = list(value, Workload::from_name)?,
            "--rows" => sizes.rows = number()?,
            "--cached-rows" => sizes.cached_rows = number()?,
            "--cache-mib" => sizes.cache_bytes = number()? << 20,
            "--reads" => sizes.reads = number()?,
            "--scans" => sizes.scans = number()?,
            "--seed" => sizes.seed = number()?,
            "--load-seconds-max" => sizes.load_seconds_max = Some(number()?),
            "--repeat" => self.repeats = usize::try_from(number()?)?,
            "--cgroup-mib" => self.cgroup_bytes = Some(number()? << 20),
            "--cgroup-parent" => self.cgroup_parent = Some(value.into()),
            "--dir" => self.folder = value.into(),
            "--json" => self.json = Some(value.into()),
            _ => return Err(format!("{word} is no option").into()),
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let sizes = &mut self.sizes;
        if sizes.cached_rows == 0 {
            sizes.cached_rows = sizes.cache_bytes / 4 / ROW_BYTES;
        }
        let numbers = [sizes.rows, sizes.cached_rows, sizes.reads, sizes.scans];
        if numbers.contains(&0) || self.repeats == 0 {
            return Err("rows, reads, scans and repeats cannot be 0".into());
        }
        if self.workloads.iter().any(|workload| workload.needs_load()) {
            self.workloads.push(Workload::Load);
        }
        self.workloads.sort_unstable();
        self.workloads.dedup();
        Ok(())
    }
}

fn number(word: &str, value: &str) -> Result<u64> {
    let digits = value.replace('_', "");
    digits.parse().map_err(|_| format!("{word} needs a number, not {value}").into())
}

/// The things named in a list with commas, in the order of the list.
fn list<T>(names: &str, from_name: fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let known = |name| from_name(name).ok_or_else(|| format!("{name} is not known").into());
    names.split(',').map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Options {
        match parse(line.split_whitespace().map(str::to_owned)) {
            Ok(Command::Compare(options)) => *options,
            _ => panic!("{line} is refused"),
        }
    }

    #[test]
    fn reading_the_large_store_loads_it_first() {
        let options = options("--workload scan --engines redb,sapwood --rows 1_000 --cache-mib 8");
        assert_eq!(options.workloads, [Workload::Load, Workload::Scan]);
        assert_eq!(options.engines, [Engine::Redb, Engine::Sapwood]);
        assert_eq!((options.sizes.rows, options.sizes.cache_bytes), (1_000, 8 << 20));
    }

    #[test]
    fn the_small_store_is_a_quarter_of_the_cache() {
        assert_eq!(options("").sizes.cached_rows, (16 << 20) / 116);
    }

    #[test]
    fn unknown_words_are_refused() {
        for line in ["--rows", "--rows many", "--engines oak", "--sap 1", "--repeat 0"] {
            assert!(parse(line.split_whitespace().map(str::to_owned)).is_err(), "{line}");
        }
    }
}
