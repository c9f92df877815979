//! The workloads, each a child process of its own, and what they share.

mod cached;
mod load;
mod point;
mod reads;
mod scan;

use crate::job::{Figures, Job, Workload};
use crate::{Result, cgroup, meter};

/// Does a job in this process and prints its figures as one line of JSON.
pub fn run(job: &Job) -> Result<()> {
    if let Some(group) = &job.cgroup {
        cgroup::enter(group)?;
    }
    let mut figures = Figures::default();
    match job.workload {
        Workload::Load => load::run(job, &mut figures)?,
        Workload::Point => point::run(job, &mut figures)?,
        Workload::Scan => scan::run(job, &mut figures)?,
        Workload::Cached => cached::run(job, &mut figures)?,
    }
    figures.add("resident_peak_mib", meter::resident_peak_bytes() as f64 / MIB);
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

const MIB: f64 = 1_048_576.0;
