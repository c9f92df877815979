//! `reopen`: how long a store takes to be opened and to give its first row, after it was closed at
//! rest, and after the process that loaded it was killed.
//!
//! ```text
//! child            load, drain, close; open; verify
//!   `- grandchild  load, say how many rows were taken, kill itself
//! child            open; verify that only what the engine may lose is lost
//! ```

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::changed::{self, Puts};
use super::verify::verify;
use crate::Result;
use crate::bench::Bench;
use crate::files;
use crate::job::{Job, Workload};
use crate::sampler::Sampler;
use crate::script::Timed;

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let store = changed::set_up(bench)?;
    store.close()?;
    let count = bench.job.sizes.changed_rows;
    open(bench, "clean", count, 0)?;
    files::remove(&bench.job.folder)?;

    bench.begin("load")?;
    let taken = load_in_a_process_that_is_killed(bench)?;
    bench.figures.add("killed_rows", taken as f64);
    open(bench, "killed", taken, bench.job.engine.kill_loses_rows_max())
}

/// Opens the store, times that, and checks that it holds the first `count` rows but the last few.
fn open(bench: &mut Bench<'_>, name: &str, count: u64, lost_max: u64) -> Result<()> {
    bench.begin(name)?;
    files::drop_kernel_cache(&bench.job.folder)?;
    let start = Instant::now();
    let store = bench.open()?;
    bench.figures.add(format!("{name}_open_ms"), start.elapsed().as_secs_f64() * 1e3);
    let (key, mut value) = (bench.rows.key(0), Vec::new());
    let mut is_found = false;
    store.read(&mut |reader| {
        is_found = reader.get(&key, &mut value)?;
        Ok(())
    })?;
    bench.figures.add(format!("{name}_first_read_ms"), start.elapsed().as_secs_f64() * 1e3);
    if count > lost_max && !is_found {
        return Err("the first row is gone".into());
    }
    let (rows, mut last) = (bench.rows, None);
    let found = verify(&*store, rows, &mut |number, value| {
        last = last.max(Some(number));
        number < count && value == rows.value(number)
    })?;
    let is_prefix = last.map_or(0, |last| last + 1) == found;
    if !is_prefix || found + lost_max < count {
        return Err(format!("of {count} rows {found} are there, the last being {last:?}").into());
    }
    bench.figures.add(format!("{name}_lost_rows"), (count - found) as f64);
    store.close()
}

/// Returns how many rows the process had stored when it was killed.
fn load_in_a_process_that_is_killed(bench: &Bench<'_>) -> Result<u64> {
    // It is in the control group already, as a child of this process.
    let job = Job { workload: Workload::Killed, cgroup: None, ..bench.job.clone() };
    let job = serde_json::to_string(&job)?;
    let output = Command::new(std::env::current_exe()?).args(["--job", &job]).output()?;
    let said = String::from_utf8(output.stdout)?;
    match (output.status.signal(), said.trim().parse()) {
        (Some(signal), Ok(rows)) if signal == Signal::KILL.as_raw() => Ok(rows),
        _ => {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(format!("the loading process: {}, {}", output.status, told.trim_end()).into())
        }
    }
}

/// Loads rows at random and ends as nobody expects.
pub fn load_and_die(job: &Job) -> Result<()> {
    let mut store = job.engine.open(&job.place())?;
    let sampler = Sampler::new(job.folder.clone(), |_| ())?;
    let calls = job.sizes.changed_rows;
    let mut puts = Puts::new(job.rows(), calls);
    let longest = Duration::from_secs(job.sizes.seconds_max);
    let mut timed = Timed::new(&mut puts, &sampler, calls, Some(longest))?;
    store.run(&mut timed)?;
    timed.finish()?;
    println!("{}", puts.given);
    std::io::stdout().flush()?;
    Ok(kill_process(getpid(), Signal::KILL)?)
}
