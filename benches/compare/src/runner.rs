//! The parent: starts a child for each engine and workload, in turn, and gathers what they say.
//!
//! ```text
//! repeat 1:  A load, point, scan, cached   B load, ...   C load, ...
//! repeat 2:  A ...                         the order again, so that a slow hour hits all alike
//! ```
//!
//! Invariants:
//! 1. one child runs at a time, and one large and one small store exist at a time;
//! 2. a child that fails ends its engine's part of the repeat, and nothing else;
//! 3. only folders that were not there before are removed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::cgroup::Group;
use crate::engines::Engine;
use crate::files;
use crate::job::{Figures, Job, Sizes, Workload};
use crate::options::Options;
use crate::report::{self, Outcome};
use crate::{Error, Result};

pub fn run(options: &Options) -> Result<()> {
    let was_there = options.folder.exists();
    refuse_leftovers(options)?;
    fs::create_dir_all(&options.folder)?;
    let (group, limit) = make_group(options);
    let group = group.as_ref().map(|group| group.folder().to_owned());
    report::print_terms(options, &limit);
    let mut outcomes = Vec::new();
    for repeat in 1..=options.repeats {
        for engine in &options.engines {
            let turn = Turn { options, group: &group, engine: *engine, repeat };
            turn.run(&mut outcomes)?;
        }
    }
    if !was_there {
        fs::remove_dir(&options.folder)?;
    }
    if let Some(path) = &options.json {
        report::write_json(path, options, &limit, &outcomes)?;
    }
    report::print_tables(options, &outcomes);
    let failures = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    match failures {
        0 => Ok(()),
        _ => Err(format!("{failures} workloads failed").into()),
    }
}

/// The group, if one was asked for and can be made, and a sentence about it.
fn make_group(options: &Options) -> (Option<Group>, String) {
    let Some(bytes) = options.cgroup_bytes else {
        return (None, "no memory limit: the kernel caches files in what memory is free".into());
    };
    match Group::new(options.cgroup_parent.as_deref(), bytes) {
        Ok(group) => (Some(group), format!("each child is limited to {} MiB", bytes >> 20)),
        Err(error) => (None, format!("NO MEMORY LIMIT, though one was asked for: {error}")),
    }
}

/// One engine's part of one repeat.
struct Turn<'a> {
    options: &'a Options,
    group: &'a Option<PathBuf>,
    engine: Engine,
    repeat: usize,
}

impl Turn<'_> {
    fn run(&self, outcomes: &mut Vec<Outcome>) -> Result<()> {
        let mut sizes = self.options.sizes.clone();
        for workload in &self.options.workloads {
            files::settle(&self.options.folder)?;
            eprintln!("run {}: {}, {}", self.repeat, self.engine.name(), workload.name());
            let done = self.run_child(*workload, &sizes);
            let (figures, failure) = match done {
                Ok(figures) => (figures, None),
                Err(error) => (Figures::default(), Some(error.to_string())),
            };
            if let Some(rows) = figures.get("rows") {
                // A load that was cut short leaves fewer rows to be read.
                sizes.rows = rows as u64;
            }
            let is_over = failure.is_some();
            let (engine, repeat) = (self.engine, self.repeat);
            outcomes.push(Outcome { repeat, engine, workload: *workload, figures, failure });
            if is_over {
                break;
            }
        }
        for workload in Workload::ALL {
            files::remove(&folder(self.options, self.engine, workload))?;
        }
        Ok(())
    }

    fn run_child(&self, workload: Workload, sizes: &Sizes) -> Result<Figures> {
        let folder = folder(self.options, self.engine, workload);
        let (engine, sizes, cgroup) = (self.engine, sizes.clone(), self.group.clone());
        let job = Job { engine, workload, sizes, folder, cgroup };
        let child = Command::new(std::env::current_exe()?)
            .args(["--job", &serde_json::to_string(&job)?])
            .output()?;
        let told = String::from_utf8_lossy(&child.stderr);
        eprint!("{told}");
        if !child.status.success() {
            return Err(format!("{}, {}", child.status, told.trim_end()).into());
        }
        let said = String::from_utf8(child.stdout)?;
        let line = said.lines().next_back().ok_or_else(|| Error::from("the child said nothing"))?;
        Ok(serde_json::from_str(line)?)
    }
}

/// Where the store of a workload lies.
fn folder(options: &Options, engine: Engine, workload: Workload) -> PathBuf {
    let size = if workload == Workload::Cached { "small" } else { "large" };
    options.folder.join(format!("{}-{size}", engine.name()))
}

/// A load into what is there already would measure something else, and the stores are removed at
/// the end, so nothing that is not ours may lie where they will.
fn refuse_leftovers(options: &Options) -> Result<()> {
    for engine in &options.engines {
        for workload in Workload::ALL {
            let folder = folder(options, *engine, workload);
            if folder.exists() {
                return Err(format!("{} exists; remove it first", folder.display()).into());
            }
        }
    }
    Ok(())
}
