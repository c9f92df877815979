//! The command line.

use std::path::PathBuf;

use crate::job::{Job, Sizes, Workload};
use crate::row::ROW_BYTES;
use crate::stores::Engine;
use crate::{Error, Result};

pub const USAGE: &str = "\
usage: compare run [OPTIONS]      runs engines and workloads, leaves lines of JSON
       compare report [OPTIONS]   makes one HTML page of them

run:
  --engines A,B            of sapwood, rocksdb-leveled, rocksdb-universal, fjall, redb, heed,
                           rusqlite, canopydb; default all that this build has
  --workload A,B           of load, point, scan, sequential, cached, ycsb, counters, overwrite,
                           deletes, range-deletes, commits, reopen, growth; default all (point
                           and scan load first)
  --rows N                 rows of the large store, default 10000000
  --changed-rows N         rows of the store that is changed, default what is 4 times the cache,
                           and not above --rows
  --cached-rows N          rows of the small store, default what fills a quarter of the cache
  --cache-mib M            what each engine may use, default 64
  --reads N                point reads of each kind, default 100000
  --scans N                100-row scans, default 2000
  --operations N           operations of each YCSB workload, default 200000
  --commits N              synced commits for each number of threads, default 2000
  --group N                operations in a transaction of redb, heed, rusqlite, canopydb,
                           default 1000
  --seed S                 of keys, values and draws, default 1
  --seconds-max S          ends each timed part after so long, with less done, default 1800
  --child-seconds-max S    kills an engine in a workload after so long, default 7200
  --quiet-ms M             how long an engine must do nothing to be at rest, default 1000
  --repeat R               runs all engines in turn R times, for medians, default 1
  --cgroup-mib M           puts each child under this memory limit, the kernel's file cache included
  --cgroup-parent FOLDER   where the group is made, default below this process's own
  --dir FOLDER             where the stores are made, default a new one below TMPDIR
  --to FILE                where the lines go, default compare.jsonl

report:
  --from FILE              the lines, default compare.jsonl
  --to FILE                the page, default compare.html";

pub enum Command {
    Run(Box<Options>),
    Report(Paths),
    Job(Box<Job>),
    Help,
}

/// What a report is made of, and where it goes.
pub struct Paths {
    pub from: PathBuf,
    pub to: PathBuf,
}

pub struct Options {
    pub engines: Vec<Engine>,
    pub workloads: Vec<Workload>,
    pub sizes: Sizes,
    pub repeats: usize,
    pub child_seconds_max: u64,
    pub cgroup_bytes: Option<u64>,
    pub cgroup_parent: Option<PathBuf>,
    pub folder: PathBuf,
    pub to: PathBuf,
}

const LINES: &str = "compare.jsonl";
/// The changed store has so many times the bytes of the cache.
const CHANGED_TO_CACHE: u64 = 4;
/// The cache has so many times the bytes of the small store.
const CACHE_TO_CACHED: u64 = 4;

impl Default for Options {
    fn default() -> Options {
        let name = format!("sapwood-compare-{}", std::process::id());
        Options {
            engines: Engine::built(),
            workloads: Workload::ALL.into(),
            sizes: Sizes {
                rows: 10_000_000,
                cached_rows: 0,
                changed_rows: 0,
                reads: 100_000,
                scans: 2_000,
                operations: 200_000,
                commits: 2_000,
                group: 1_000,
                cache_bytes: 64 << 20,
                seed: 1,
                seconds_max: 1_800,
                quiet_ms: 1_000,
            },
            repeats: 1,
            child_seconds_max: 7_200,
            cgroup_bytes: None,
            cgroup_parent: None,
            folder: std::env::temp_dir().join(name),
            to: LINES.into(),
        }
    }
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Command> {
    let command = words.next().unwrap_or_default();
    let mut words: Vec<String> = words.collect();
    if words.iter().chain([&command]).any(|word| word == "--help" || word == "-h") {
        return Ok(Command::Help);
    }
    match command.as_str() {
        "run" => run(&words),
        "report" => report(&words),
        "--job" if words.len() == 1 => {
            Ok(Command::Job(Box::new(serde_json::from_str(&words.remove(0))?)))
        }
        _ => Err("run or report?".into()),
    }
}

fn run(words: &[String]) -> Result<Command> {
    let mut options = Options::default();
    for (word, value) in pairs(words)? {
        options.set(word, value)?;
    }
    options.complete()?;
    Ok(Command::Run(Box::new(options)))
}

fn report(words: &[String]) -> Result<Command> {
    let mut paths = Paths { from: LINES.into(), to: "compare.html".into() };
    for (word, value) in pairs(words)? {
        match word {
            "--from" => paths.from = value.into(),
            "--to" => paths.to = value.into(),
            _ => return Err(format!("{word} is no option of report").into()),
        }
    }
    Ok(Command::Report(paths))
}

/// Options with their values.
fn pairs<'a>(words: &'a [String]) -> Result<Vec<(&'a str, &'a str)>> {
    let pair = |pair: &'a [String]| match pair {
        [word, value] => Ok((word.as_str(), value.as_str())),
        _ => Err(Error::from(format!("{} needs a value", pair[0]))),
    };
    words.chunks(2).map(pair).collect()
}

impl Options {
    fn set(&mut self, word: &str, value: &str) -> Result<()> {
        let number = || number(word, value);
        let sizes = &mut self.sizes;
        match word {
            "--engines" => self.engines = list(value, Engine::from_name)?,
            "--workload" => self.workloads = list(value, Workload::from_name)?,
            "--rows" => sizes.rows = number()?,
            "--changed-rows" => sizes.changed_rows = number()?,
            "--cached-rows" => sizes.cached_rows = number()?,
            "--cache-mib" => sizes.cache_bytes = number()? << 20,
            "--reads" => sizes.reads = number()?,
            "--scans" => sizes.scans = number()?,
            "--operations" => sizes.operations = number()?,
            "--commits" => sizes.commits = number()?,
            "--group" => sizes.group = usize::try_from(number()?)?,
            "--seed" => sizes.seed = number()?,
            "--seconds-max" => sizes.seconds_max = number()?,
            "--child-seconds-max" => self.child_seconds_max = number()?,
            "--quiet-ms" => sizes.quiet_ms = number()?,
            "--repeat" => self.repeats = usize::try_from(number()?)?,
            "--cgroup-mib" => self.cgroup_bytes = Some(number()? << 20),
            "--cgroup-parent" => self.cgroup_parent = Some(value.into()),
            "--dir" => self.folder = value.into(),
            "--to" => self.to = value.into(),
            _ => return Err(format!("{word} is no option of run").into()),
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let sizes = &mut self.sizes;
        if sizes.cached_rows == 0 {
            sizes.cached_rows = sizes.cache_bytes / CACHE_TO_CACHED / ROW_BYTES;
        }
        if sizes.changed_rows == 0 {
            let wanted = sizes.cache_bytes * CHANGED_TO_CACHE / ROW_BYTES;
            sizes.changed_rows = wanted.min(sizes.rows);
        }
        let numbers = [sizes.rows, sizes.cached_rows, sizes.changed_rows, sizes.seconds_max];
        let calls = [sizes.reads, sizes.scans, sizes.operations, sizes.commits];
        if numbers.contains(&0) || calls.contains(&0) || self.repeats == 0 || sizes.group == 0 {
            return Err("numbers of rows, calls, seconds and repeats cannot be 0".into());
        }
        if let Some(engine) = self.engines.iter().find(|engine| !engine.is_built()) {
            let name = engine.name();
            return Err(format!("{name} needs a build with its feature; see README.md").into());
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

    fn parsed(line: &str) -> Result<Command> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn options(line: &str) -> Options {
        match parsed(line) {
            Ok(Command::Run(options)) => *options,
            _ => panic!("{line} is refused"),
        }
    }

    #[test]
    fn reading_the_large_store_loads_it_first() {
        let options = options("run --workload scan --engines sapwood --rows 1_000 --cache-mib 8");
        assert_eq!(options.workloads, [Workload::Load, Workload::Scan]);
        assert_eq!(options.engines, [Engine::Sapwood]);
        assert_eq!((options.sizes.rows, options.sizes.cache_bytes), (1_000, 8 << 20));
    }

    #[test]
    fn stores_are_sized_by_the_cache() {
        let sizes = options("run").sizes;
        assert_eq!((sizes.cached_rows, sizes.changed_rows), ((16 << 20) / 116, (256 << 20) / 116));
        assert_eq!(options("run --rows 10").sizes.changed_rows, 10);
    }

    #[test]
    fn unknown_words_are_refused() {
        for line in [
            "",
            "sprint",
            "run --rows",
            "run --rows many",
            "run --engines oak",
            "run --sap 1",
            "run --repeat 0",
            "run --group 0",
            "report --rows 1",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_report_has_its_paths() {
        let Ok(Command::Report(paths)) = parsed("report --from a --to b") else {
            panic!("is refused");
        };
        assert_eq!((paths.from, paths.to), ("a".into(), "b".into()));
    }
}
