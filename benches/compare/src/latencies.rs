//! How long calls took, one by one.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Result;
use crate::job::Figures;

const NANOSECONDS_MAX: u64 = 600_000_000_000;

pub struct Latencies {
    histogram: Histogram<u64>,
    total: Duration,
}

impl Latencies {
    pub fn new() -> Result<Latencies> {
        let histogram = Histogram::new_with_bounds(1, NANOSECONDS_MAX, 3)?;
        Ok(Latencies { histogram, total: Duration::ZERO })
    }

    pub fn add(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds);
        self.total += latency;
    }

    /// Adds those of another thread.
    pub fn merge(&mut self, other: &Latencies) -> Result<()> {
        self.histogram.add(&other.histogram)?;
        self.total += other.total;
        Ok(())
    }

    pub fn clear(&mut self) {
        self.histogram.reset();
        self.total = Duration::ZERO;
    }

    pub fn calls(&self) -> u64 {
        self.histogram.len()
    }

    /// The time inside the calls, without what lay between them.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// The time that this share of the calls did not exceed; `None` without calls.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let micros = self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        (self.calls() > 0).then_some(micros)
    }

    pub fn max_us(&self) -> Option<f64> {
        (self.calls() > 0).then(|| self.histogram.max() as f64 / 1e3)
    }

    /// Adds mean, percentiles and the longest, each named behind `prefix`.
    pub fn tell(&self, prefix: &str, figures: &mut Figures) {
        let calls = self.calls().max(1) as f64;
        figures.add(format!("{prefix}mean_us"), self.total.as_secs_f64() * 1e6 / calls);
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let value = self.quantile_us(quantile).unwrap_or(0.0);
            figures.add(format!("{prefix}{name}_us"), value);
        }
        figures.add(format!("{prefix}max_ms"), self.max_us().unwrap_or(0.0) / 1e3);
    }
}
