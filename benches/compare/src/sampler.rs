//! What happens while a workload runs: one line of JSON each second, and one where a phase ends.
//!
//! ```text
//! workload thread   record, record, record ...        begin(next phase)
//! ticker                          take        take
//!                                  `- a line about everything since the last one
//! ```
//!
//! Recording takes a mutex that the ticker holds only while it reads a histogram, so it costs some
//! 20 ns a call, outside of what is timed.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::files;
use crate::job::MIB;
use crate::latencies::Latencies;
use crate::meter::{self, Meter};

const PERIOD: Duration = Duration::from_secs(1);

/// What was seen between the last sample and this one; sums are since the start of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken, after the start of the workload.
    pub second: f64,
    pub phase: String,
    pub calls: u64,
    pub per_s: f64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    #[serde(rename = "p99.9_us")]
    pub p999_us: Option<f64>,
    pub max_us: Option<f64>,
    pub resident_mib: f64,
    pub cpu_s: f64,
    pub device_read_mib: f64,
    pub device_written_mib: f64,
    pub calls_written_mib: f64,
    pub disk_mib: f64,
}

/// What is shared by the threads of a workload and the ticker.
pub struct Sampler {
    folder: PathBuf,
    meter: Meter,
    state: Mutex<State>,
    say: fn(&Sample),
}

struct State {
    phase: String,
    since: Instant,
    latencies: Latencies,
    disk_peak_bytes: u64,
}

impl Sampler {
    /// Samples the store below `folder`, and says each sample.
    pub fn new(folder: PathBuf, say: fn(&Sample)) -> Result<Sampler> {
        let (latencies, since) = (Latencies::new()?, Instant::now());
        let state = State { phase: "start".into(), since, latencies, disk_peak_bytes: 0 };
        Ok(Sampler { folder, meter: Meter::new(), state: Mutex::new(state), say })
    }

    /// Counts a call.
    pub fn record(&self, latency: Duration) {
        self.state().latencies.add(latency);
    }

    /// Ends the phase with a sample of what is left of it, and begins the next one. Returns the
    /// most that the store took on disk in any sample of the phase that ends.
    pub fn begin(&self, phase: &str) -> Result<u64> {
        self.take()?;
        let mut state = self.state();
        state.phase = phase.into();
        Ok(std::mem::take(&mut state.disk_peak_bytes))
    }

    fn take(&self) -> Result<()> {
        let disk_bytes = files::disk_bytes(&self.folder)?;
        let cost = self.meter.read();
        let resident_bytes = meter::resident_bytes();
        let mut state = self.state();
        state.disk_peak_bytes = state.disk_peak_bytes.max(disk_bytes);
        let seconds = state.since.elapsed().as_secs_f64();
        let latencies = &state.latencies;
        let sample = Sample {
            second: cost.wall.as_secs_f64(),
            phase: state.phase.clone(),
            calls: latencies.calls(),
            per_s: latencies.calls() as f64 / seconds,
            p50_us: latencies.quantile_us(0.5),
            p99_us: latencies.quantile_us(0.99),
            p999_us: latencies.quantile_us(0.999),
            max_us: latencies.max_us(),
            resident_mib: resident_bytes as f64 / MIB,
            cpu_s: cost.cpu.as_secs_f64(),
            device_read_mib: cost.device_read as f64 / MIB,
            device_written_mib: cost.device_written as f64 / MIB,
            calls_written_mib: cost.calls_written as f64 / MIB,
            disk_mib: disk_bytes as f64 / MIB,
        };
        state.since = Instant::now();
        state.latencies.clear();
        drop(state);
        (self.say)(&sample);
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a sample each second until it is stopped.
pub struct Ticker {
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Ticker {
    pub fn start(sampler: &Arc<Sampler>) -> Ticker {
        let (stop, stopped) = mpsc::channel();
        let sampler = Arc::clone(sampler);
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                sampler.take()?;
            }
            Ok(())
        });
        Ticker { stop, thread }
    }

    pub fn stop(self) -> Result<()> {
        drop(self.stop);
        self.thread.join().map_err(|_| "the ticker panicked")?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_ends_with_a_sample_of_its_own() {
        static SAID: Mutex<Vec<Sample>> = Mutex::new(Vec::new());
        let folder = std::env::temp_dir().join(format!("compare-sampler-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("rows"), [1; 5_000]).unwrap();
        let sampler = Sampler::new(folder.clone(), |sample| {
            SAID.lock().unwrap().push(sample.clone());
        });
        let sampler = sampler.unwrap();
        assert!(sampler.begin("first").unwrap() >= 5_000);
        for micros in 1..=100 {
            sampler.record(Duration::from_micros(micros));
        }
        sampler.begin("second").unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        sampler.begin("third").unwrap();

        let said = SAID.lock().unwrap();
        let seen: Vec<_> = said.iter().map(|one| (one.phase.as_str(), one.calls)).collect();
        assert_eq!(seen, [("start", 0), ("first", 100), ("second", 0)]);
        assert!((49.0..51.0).contains(&said[1].p50_us.unwrap()));
        assert!((98.0..101.0).contains(&said[1].p99_us.unwrap()));
        assert_eq!(said[2].p99_us, None);
        assert!(said[1].resident_mib > 0.0 && said[1].disk_mib > 0.0);
        assert_eq!(said[2].disk_mib, 0.0, "what is gone takes nothing");
    }
}
