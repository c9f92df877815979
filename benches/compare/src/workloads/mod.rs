//! The workloads, each a child process of its own, and what they share.

mod cached;
mod changed;
mod commits;
mod counters;
mod deletes;
pub mod growth;
mod load;
mod overwrite;
mod point;
mod range_deletes;
mod reads;
mod reopen;
mod scan;
mod verify;
mod ycsb;

use std::fs;
use std::sync::Arc;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::bench::Bench;
use crate::job::{Job, Workload};
use crate::results::Said;
use crate::sampler::{Sampler, Ticker};
use crate::{Result, cgroup};

/// Does a job in this process and says samples and figures, a line of JSON each.
pub fn run(job: &Job) -> Result<()> {
    // So that no child outlives a parent that is interrupted.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if let Some(group) = &job.cgroup {
        cgroup::enter(group)?;
    }
    if job.workload == Workload::Killed {
        return reopen::load_and_die(job);
    }
    fs::create_dir_all(&job.folder)?;
    let sampler = Arc::new(Sampler::new(job.folder.clone(), |sample| {
        Said::Sample(sample.clone()).print();
    })?);
    let ticker = Ticker::start(&sampler);
    let mut bench = Bench::new(job, Arc::clone(&sampler));
    measure(&mut bench)?;
    bench.begin("end")?;
    ticker.stop()?;
    Said::Told(bench.finish()).print();
    Ok(())
}

fn measure(bench: &mut Bench<'_>) -> Result<()> {
    match bench.job.workload {
        Workload::Load | Workload::Sequential => load::run(bench),
        Workload::Point => point::run(bench),
        Workload::Scan => scan::run(bench),
        Workload::Cached => cached::run(bench),
        Workload::Ycsb => ycsb::run(bench),
        Workload::Counters => counters::run(bench),
        Workload::Overwrite => overwrite::run(bench),
        Workload::Deletes => deletes::run(bench),
        Workload::RangeDeletes => range_deletes::run(bench),
        Workload::Commits => commits::run(bench),
        Workload::Reopen => reopen::run(bench),
        Workload::Growth => growth::run(bench),
        Workload::Killed => Err("has nothing to measure".into()),
    }
}
