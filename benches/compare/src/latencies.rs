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

    /// The time inside the calls, without what lay between them.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// Adds mean, percentiles and the longest, each named behind `prefix`.
    pub fn tell(&self, prefix: &str, figures: &mut Figures) {
        let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let calls = self.histogram.len().max(1) as f64;
        figures.add(format!("{prefix}mean_us"), self.total.as_secs_f64() * 1e6 / calls);
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let value = micros(self.histogram.value_at_quantile(quantile));
            figures.add(format!("{prefix}{name}_us"), value);
        }
        figures.add(format!("{prefix}max_ms"), micros(self.histogram.max()) / 1e3);
    }
}
