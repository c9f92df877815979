//! What a workload measures with: its job, the figures so far, and the parts that workloads share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::files;
use crate::job::{Figures, Job, MIB, Told};
use crate::latencies::Latencies;
use crate::meter::{self, Meter};
use crate::row::Rows;
use crate::sampler::Sampler;
use crate::script::{Done, Sequence, Timed};
use crate::store::Store;

pub struct Bench<'a> {
    pub job: &'a Job,
    pub rows: Rows,
    pub figures: Figures,
    sampler: Arc<Sampler>,
    /// The phases that the time limit ended.
    stopped: Vec<String>,
}

/// Writes, and what they are compared with.
pub struct Writes<'a> {
    pub sequence: &'a mut dyn Sequence,
    /// How many there are to be.
    pub calls: u64,
    /// What each counts as a user's bytes; 0 where that makes no sense.
    pub bytes_per_call: u64,
    /// The phase, and what its figures begin with.
    pub name: &'static str,
}

impl<'a> Bench<'a> {
    pub fn new(job: &'a Job, sampler: Arc<Sampler>) -> Bench<'a> {
        let (rows, figures) = (job.rows(), Figures::default());
        Bench { job, rows, figures, sampler, stopped: Vec::new() }
    }

    pub fn open(&self) -> Result<Box<dyn Store>> {
        self.job.engine.open(&self.job.place())
    }

    /// Opens the store with nothing of it in memory.
    pub fn open_cold(&self) -> Result<Box<dyn Store>> {
        files::drop_kernel_cache(&self.job.folder)?;
        self.open()
    }

    pub fn begin(&self, phase: &str) -> Result<()> {
        self.sampler.begin(phase).map(|_| ())
    }

    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    pub fn seconds_max(&self) -> Duration {
        Duration::from_secs(self.job.sizes.seconds_max)
    }

    /// Notes that the time limit ended a phase, for the report to say.
    pub fn note_stop(&mut self, phase: &str) {
        self.stopped.push(phase.into());
    }

    /// Carries out operations whose time is not asked for, however long they take.
    pub fn set_up(&self, store: &mut dyn Store, sequence: &mut dyn Sequence) -> Result<()> {
        self.begin("setup")?;
        let mut timed = Timed::new(sequence, &self.sampler, 1, None)?;
        store.run(&mut timed)?;
        timed.finish()?;
        store.drain()?;
        Ok(())
    }

    /// Carries out some `calls` within the time limit.
    pub fn run(
        &mut self,
        store: &mut dyn Store,
        sequence: &mut dyn Sequence,
        calls: u64,
        phase: &str,
    ) -> Result<Done> {
        self.begin(phase)?;
        let mut timed = Timed::new(sequence, &self.sampler, calls, Some(self.seconds_max()))?;
        store.run(&mut timed)?;
        let done = timed.finish()?;
        if done.is_stopped {
            self.note_stop(phase);
        }
        Ok(done)
    }

    /// Writes, waits for rest and closes the store; each figure says up to where it counts.
    ///
    /// ```text
    /// |--- writer ---|--- drain ---|- close -|
    /// ```
    pub fn write(&mut self, mut store: Box<dyn Store>, writes: Writes<'_>) -> Result<Done> {
        let Writes { sequence, calls, bytes_per_call, name } = writes;
        let meter = Meter::new();
        let start = meter.read();
        let done = self.run(&mut *store, sequence, calls, name)?;
        let written = meter.read().since(start).wall;
        let disk_peak_bytes = self.sampler.begin("drain")?;
        let quiet = store.drain()?;
        let drained = meter.read().since(start).wall.saturating_sub(quiet);
        let disk_peak_bytes = disk_peak_bytes.max(self.sampler.begin("close")?);
        let own = store.own_figures()?;
        let closing = Instant::now();
        store.close()?;
        let closed = drained + closing.elapsed();
        let all = meter.read().since(start);

        let figures = &mut self.figures;
        let calls = done.latencies.calls();
        figures.add("calls", calls as f64);
        done.latencies.tell(&format!("{name}_"), figures);
        figures.add("last_quarter_to_first_ratio", done.last_quarter_to_first);
        figures.add("writer_s", written.as_secs_f64());
        figures.add("drained_s", drained.as_secs_f64());
        figures.add("closed_s", closed.as_secs_f64());
        figures.add("writer_per_s", calls as f64 / written.as_secs_f64());
        figures.add("drained_per_s", calls as f64 / closed.as_secs_f64());
        figures.add("cpu_s", all.cpu.as_secs_f64());
        figures.add("cpu_per_call_us", all.cpu.as_secs_f64() * 1e6 / calls as f64);
        figures.add("device_read_mib", all.device_read as f64 / MIB);
        figures.add("device_written_mib", all.device_written as f64 / MIB);
        if bytes_per_call > 0 {
            let user_bytes = (calls * bytes_per_call) as f64;
            figures.add("device_written_per_user_byte", all.device_written as f64 / user_bytes);
            figures.add("calls_written_per_user_byte", all.calls_written as f64 / user_bytes);
        }
        figures.add("disk_peak_mib", disk_peak_bytes as f64 / MIB);
        for (name, value) in own {
            figures.add(format!("own_{name}"), value);
        }
        Ok(done)
    }

    /// Adds what the closed store takes on disk, and how much that is for each byte of its rows.
    pub fn tell_space(&mut self, live_bytes: u64) -> Result<()> {
        let disk_bytes = files::disk_bytes(&self.job.folder)? as f64;
        self.figures.add("disk_mib", disk_bytes / MIB);
        self.figures.add("disk_per_live_byte", disk_bytes / live_bytes.max(1) as f64);
        Ok(())
    }

    /// Adds rate and latencies of calls, the rate being that inside the calls.
    pub fn tell_calls(&mut self, prefix: &str, units: u64, latencies: &Latencies) {
        let per_s = units as f64 / latencies.total().as_secs_f64();
        self.figures.add(format!("{prefix}per_s"), per_s);
        latencies.tell(prefix, &mut self.figures);
    }

    /// Adds the peak of resident memory up to now, before a check that needs memory of its own.
    pub fn tell_memory(&mut self) {
        if self.figures.get("resident_peak_mib").is_none() {
            let peak = meter::resident_peak_bytes() as f64 / MIB;
            self.figures.add("resident_peak_mib", peak);
        }
    }

    pub fn finish(mut self) -> Told {
        self.tell_memory();
        Told { figures: self.figures, stopped: self.stopped }
    }
}
