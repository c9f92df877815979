//! Curves over time, made of the samples of a workload: of each engine the run that was neither the
//! fastest nor the slowest.

use super::chart::{Line, Scale};
use super::medians::{class, engines};
use crate::job::Workload;
use crate::results::{Results, RunSample};
use crate::sampler::Sample;

/// What a curve has at most.
const POINTS_MAX: usize = 240;
/// The times before and behind what was measured.
const UNMEASURED: [&str; 5] = ["start", "setup", "close", "verify", "end"];

/// Something that is drawn over time.
pub struct Curve {
    pub title: &'static str,
    pub scale: Scale,
    value: fn(&Sample) -> Option<f64>,
    /// What several samples become that share one point.
    join: Join,
}

#[derive(Clone, Copy)]
enum Join {
    Mean,
    Largest,
}

pub const CURVES: [Curve; 6] = [
    Curve {
        title: "calls per second",
        scale: Scale::Linear,
        value: |sample| Some(sample.per_s),
        join: Join::Mean,
    },
    Curve {
        title: "p99.9 of each second, microseconds",
        scale: Scale::Logarithmic,
        value: |sample| sample.p999_us,
        join: Join::Largest,
    },
    Curve {
        title: "MiB written to the device since the start of the process",
        scale: Scale::Linear,
        value: |sample| Some(sample.device_written_mib),
        join: Join::Largest,
    },
    Curve {
        title: "MiB on disk",
        scale: Scale::Linear,
        value: |sample| Some(sample.disk_mib),
        join: Join::Largest,
    },
    Curve {
        title: "MiB resident",
        scale: Scale::Linear,
        value: |sample| Some(sample.resident_mib),
        join: Join::Largest,
    },
    Curve {
        title: "CPU seconds since the start of the process",
        scale: Scale::Linear,
        value: |sample| Some(sample.cpu_s),
        join: Join::Largest,
    },
];

impl Curve {
    /// One line for each engine that has samples.
    pub fn lines(&self, results: &Results, workload: Workload) -> Vec<Line> {
        let mut lines = Vec::new();
        for engine in engines(results) {
            let is_of = |one: &&RunSample| {
                one.run.engine == engine
                    && one.run.workload == workload
                    && !UNMEASURED.contains(&one.sample.phase.as_str())
            };
            let samples: Vec<&RunSample> = results.samples.iter().filter(is_of).collect();
            let points = self.points(&middle_run(&samples));
            let (name, class) = (engine.name().to_owned(), format!("line {}", class(engine)));
            if !points.is_empty() {
                lines.push(Line { name, class, points });
            }
        }
        lines
    }

    fn points(&self, samples: &[&Sample]) -> Vec<(f64, f64)> {
        // The first second lies behind the setup, so time begins a sample earlier at most.
        let start = samples.first().map_or(0.0, |first| first.second - 1.0).max(0.0);
        let each = samples.len().div_ceil(POINTS_MAX).max(1);
        let join = |chunk: &[&Sample]| {
            let values = || chunk.iter().filter_map(|sample| (self.value)(sample));
            let count = values().count();
            let value = match self.join {
                Join::Mean => values().sum::<f64>() / count as f64,
                Join::Largest => values().fold(0.0, f64::max),
            };
            (count > 0).then(|| (chunk[chunk.len() - 1].second - start, value))
        };
        samples.chunks(each).filter_map(join).collect()
    }
}

/// The samples of the run of median length; of two in the middle, the shorter.
fn middle_run<'a>(samples: &[&'a RunSample]) -> Vec<&'a Sample> {
    let mut runs: Vec<(usize, f64)> = Vec::new();
    for one in samples {
        match runs.iter_mut().find(|run| run.0 == one.run.repeat) {
            Some(run) => run.1 = run.1.max(one.sample.second),
            None => runs.push((one.run.repeat, one.sample.second)),
        }
    }
    runs.sort_by(|left, right| left.1.total_cmp(&right.1));
    let Some((repeat, _)) = runs.get(runs.len().saturating_sub(1) / 2) else {
        return Vec::new();
    };
    samples.iter().filter(|one| one.run.repeat == *repeat).map(|one| &one.sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Run;
    use crate::stores::Engine;

    fn sample(repeat: usize, second: f64, per_s: f64) -> RunSample {
        let run = Run { repeat, engine: Engine::Sapwood, workload: Workload::Load };
        let sample = Sample {
            second,
            phase: "insert".into(),
            calls: 1,
            per_s,
            p50_us: None,
            p99_us: None,
            p999_us: None,
            max_us: None,
            resident_mib: 1.0,
            cpu_s: 1.0,
            device_read_mib: 1.0,
            device_written_mib: 1.0,
            calls_written_mib: 1.0,
            disk_mib: 1.0,
        };
        RunSample { run, sample }
    }

    #[test]
    fn the_run_in_the_middle_is_drawn() {
        let all = [sample(1, 9.0, 1.0), sample(2, 1.0, 2.0), sample(3, 5.0, 3.0)];
        let all: Vec<&RunSample> = all.iter().collect();
        assert_eq!(middle_run(&all)[0].per_s, 3.0);
        assert_eq!(middle_run(&all[..2])[0].per_s, 2.0);
        assert!(middle_run(&[]).is_empty());
    }

    #[test]
    fn many_samples_share_points() {
        let all: Vec<RunSample> =
            (0..480).map(|second| sample(1, 1.0 + f64::from(second), f64::from(second))).collect();
        let samples: Vec<&Sample> = all.iter().map(|one| &one.sample).collect();
        let points = CURVES[0].points(&samples);
        assert_eq!(points.len(), POINTS_MAX);
        assert_eq!(points[0], (2.0, 0.5));
        assert!(CURVES[1].points(&samples).is_empty(), "there are no latencies");
    }
}
