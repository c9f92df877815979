//! The parent: starts a child for each engine and workload, in turn, and writes down what they say.
//!
//! ```text
//! repeat 1:  A load, point, scan, ...   B load, ...   C load, ...
//! repeat 2:  A ...                      the order again, so that a slow hour hits all alike
//! ```
//!
//! Invariants:
//! 1. one child runs at a time, and one or two stores exist at a time;
//! 2. a child that fails keeps those of its engine from running that need its store, nothing else;
//! 3. a child that takes too long is killed and counts as stopped;
//! 4. only folders that were not there before are removed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::cgroup::Group;
use crate::job::{Job, Sizes, Told, Workload};
use crate::options::Options;
use crate::results::{End, EngineSettings, Line, Outcome, Results, Run, RunSample, Said, Settings};
use crate::sampler::Sample;
use crate::stores::Engine;
use crate::{Error, Result, files, machine, report};

pub fn run(options: &Options) -> Result<()> {
    let was_there = options.folder.exists();
    refuse_leftovers(options)?;
    fs::create_dir_all(&options.folder)?;
    let (group, limit) = make_group(options);
    let group = group.as_ref().map(|group| group.folder().to_owned());
    let mut lines = Lines(File::create(&options.to)?);
    lines.write(&Line::Settings(settings(options, limit)))?;
    for repeat in 1..=options.repeats {
        for engine in &options.engines {
            let mut turn =
                Turn { options, group: &group, lines: &mut lines, engine: *engine, repeat };
            turn.run()?;
        }
    }
    if !was_there {
        fs::remove_dir(&options.folder)?;
    }
    let results = Results::read(&options.to)?;
    print!("{}", report::text(&results));
    println!("\nall figures are in {}; `compare report` makes a page", options.to.display());
    let is_failed = |outcome: &&Outcome| matches!(outcome.end, End::Failed(_));
    match results.outcomes.iter().filter(is_failed).count() {
        0 => Ok(()),
        failures => Err(format!("{failures} workloads failed").into()),
    }
}

fn settings(options: &Options, memory_limit: String) -> Settings {
    let of = |engine: &Engine| EngineSettings {
        engine: *engine,
        version: engine.version(),
        terms: engine.terms().to_owned(),
    };
    Settings {
        machine: machine::describe(),
        memory_limit,
        repeats: options.repeats,
        sizes: options.sizes.clone(),
        engines: options.engines.iter().map(of).collect(),
        workloads: options.workloads.clone(),
    }
}

/// The group, if one was asked for and can be made, and a sentence about it.
fn make_group(options: &Options) -> (Option<Group>, String) {
    let Some(bytes) = options.cgroup_bytes else {
        return (None, "no memory limit: the kernel caches files in what memory is free".into());
    };
    match Group::new(options.cgroup_parent.as_deref(), bytes) {
        Ok(group) => (Some(group), format!("each child is limited to {} MiB", bytes >> 20)),
        Err(error) => {
            let sentence = format!("NO MEMORY LIMIT, though one was asked for: {error}");
            eprintln!("compare: {sentence}");
            (None, sentence)
        }
    }
}

/// The file of what was said.
struct Lines(File);

impl Lines {
    fn write(&mut self, line: &Line) -> Result<()> {
        Ok(self.0.write_all((serde_json::to_string(line)? + "\n").as_bytes())?)
    }
}

/// One engine's part of one repeat.
struct Turn<'a> {
    options: &'a Options,
    group: &'a Option<PathBuf>,
    lines: &'a mut Lines,
    engine: Engine,
    repeat: usize,
}

impl Turn<'_> {
    fn run(&mut self) -> Result<()> {
        let mut sizes = self.options.sizes.clone();
        let mut is_loaded = false;
        for workload in &self.options.workloads {
            let workload = *workload;
            if workload.needs_load() && !is_loaded {
                continue;
            }
            let outcome = self.run_workload(workload, &sizes)?;
            if workload == Workload::Load {
                is_loaded = outcome.end == End::Done;
                // A load that was cut short leaves fewer rows to be read.
                sizes.rows = outcome.figures.get("rows").map_or(sizes.rows, |rows| rows as u64);
            } else if workload == Workload::Scan {
                sizes.rows = self.options.sizes.rows;
            }
            self.lines.write(&Line::Outcome(outcome))?;
            if !workload.needs_load() && workload != Workload::Load {
                files::remove(&folder(self.options, self.engine, workload))?;
            }
        }
        files::remove(&folder(self.options, self.engine, Workload::Load))
    }

    fn run_workload(&mut self, workload: Workload, sizes: &Sizes) -> Result<Outcome> {
        files::settle(&self.options.folder)?;
        let run = Run { repeat: self.repeat, engine: self.engine, workload };
        eprint!("run {}: {}, {}: ", run.repeat, run.engine.name(), workload.name());
        let start = Instant::now();
        let (end, told) = match self.run_child(run, sizes) {
            Ok(ended) => ended,
            Err(error) => (End::Failed(error.to_string()), Told::default()),
        };
        let word = match &end {
            End::Done => "done",
            End::Killed(_) => "killed",
            End::Failed(error) => error,
        };
        eprintln!("{word} after {:.1} s", start.elapsed().as_secs_f64());
        Ok(Outcome { run, end, stopped: told.stopped, figures: told.figures })
    }

    fn run_child(&mut self, run: Run, sizes: &Sizes) -> Result<(End, Told)> {
        let Run { engine, workload, .. } = run;
        let folder = folder(self.options, engine, workload);
        let job =
            Job { engine, workload, sizes: sizes.clone(), folder, cgroup: self.group.clone() };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--job", &serde_json::to_string(&job)?])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let limit = Duration::from_secs(self.options.child_seconds_max);
        let lines = &mut *self.lines;
        let heard = listen(&mut child, limit, |sample| {
            lines.write(&Line::Sample(RunSample { run, sample }))
        });
        if !matches!(heard, Ok(Heard::All { .. })) {
            child.kill()?;
        }
        let status = child.wait()?;
        match heard? {
            Heard::TooLate => Ok((End::Killed(limit.as_secs()), Told::default())),
            Heard::All { told: Some(told), .. } if status.success() => Ok((End::Done, told)),
            Heard::All { errors, .. } => Err(format!("{status}, {}", errors.trim_end()).into()),
        }
    }
}

/// What a child was heard to say.
enum Heard {
    All { told: Option<Told>, errors: String },
    TooLate,
}

/// Listens to a child until it is silent for good, or the time is over.
fn listen(
    child: &mut Child,
    limit: Duration,
    mut take: impl FnMut(Sample) -> Result<()>,
) -> Result<Heard> {
    let missing = || Error::from("a child without a pipe");
    let output = child.stdout.take().ok_or_else(missing)?;
    let mut errors = child.stderr.take().ok_or_else(missing)?;
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        // The last line of a child that dies may be cut; what counts is how it ended.
        for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        errors.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    let deadline = Instant::now() + limit;
    let mut told = None;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Said::Sample(sample)) => take(sample)?,
                Ok(Said::Told(all)) => told = Some(all),
                Err(error) => return Err(format!("a child said {line}: {error}").into()),
            },
            Err(RecvTimeoutError::Timeout) => return Ok(Heard::TooLate),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let errors = errors.join().map_err(|_| "a listener panicked")??;
    Ok(Heard::All { told, errors })
}

/// Where the store of a workload lies.
fn folder(options: &Options, engine: Engine, workload: Workload) -> PathBuf {
    let store = match workload {
        Workload::Load | Workload::Point | Workload::Scan => "large",
        other => other.name(),
    };
    options.folder.join(format!("{}-{store}", engine.name()))
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
