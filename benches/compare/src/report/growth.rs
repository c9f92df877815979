//! Curves over the size of a store, and what the model of a tree with buffers says beside them.

use super::chart::{Line, Scale};
use super::medians::{self, class, engines};
use crate::job::Workload;
use crate::results::Results;
use crate::workloads::growth::{SIZES, at};

/// Something that is drawn over size.
pub struct Curve {
    pub title: &'static str,
    pub scale: Scale,
    /// The figure of each size.
    figure: &'static str,
    model: Option<fn(u64) -> f64>,
}

pub const CURVES: [Curve; 5] = [
    Curve {
        title: "bytes written per user byte since the store was empty; thin: the model",
        scale: Scale::Linear,
        figure: "written_per_user_byte",
        model: Some(written_by_model),
    },
    Curve {
        title: "bytes read from the device per point read",
        scale: Scale::Linear,
        figure: "hit_device_read_bytes",
        model: None,
    },
    Curve {
        title: "rows per second, until all work is done",
        scale: Scale::Linear,
        figure: "drained_per_s",
        model: None,
    },
    Curve { title: "MiB resident", scale: Scale::Linear, figure: "resident_mib", model: None },
    Curve {
        title: "milliseconds to open, from the device",
        scale: Scale::Logarithmic,
        figure: "open_ms",
        model: None,
    },
];

/// What sapwood's tree should write for each user byte, at so many times the cache: the log once,
/// with its frame; then once for each level that a row passes, and three times in its leaf, as much
/// as compression leaves.
fn written_by_model(size: u64) -> f64 {
    /// A brief frame of one row of 116 bytes takes 144.
    const LOG: f64 = 144.0 / 116.0;
    /// What lz4 leaves of the rows of this harness.
    const COMPRESSED: f64 = 0.6;
    const FANOUT: f64 = 16.0;
    const LEAF: f64 = 3.0;
    LOG + COMPRESSED * ((size as f64).log(FANOUT) + LEAF)
}

impl Curve {
    /// One line for each engine that has figures.
    pub fn lines(&self, results: &Results) -> Vec<Line> {
        let rows = medians::rows(results, Workload::Growth);
        let value = |engine: usize, size: u64| {
            let name = format!("{}{}", at(size), self.figure);
            rows.iter().find(|row| row.name == name)?.values.get(engine).copied()?
        };
        let mut lines = Vec::new();
        for (index, engine) in engines(results).enumerate() {
            let point = |size: u64| Some((size as f64, value(index, size)?));
            let points: Vec<_> = SIZES.into_iter().filter_map(point).collect();
            if !points.is_empty() {
                let class = format!("line {}", class(engine));
                lines.push(Line { name: engine.name().to_owned(), class, points });
            }
        }
        let model = self.model.filter(|_| !lines.is_empty());
        lines.extend(model.map(|model| Line {
            name: "model".to_owned(),
            class: "line model".to_owned(),
            points: SIZES.map(|size| (size as f64, model(size))).to_vec(),
        }));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_grows_with_the_logarithm_of_size() {
        let steps = [4, 16, 64].map(|size| written_by_model(4 * size) - written_by_model(size));
        assert!(steps.iter().all(|step| (step - steps[0]).abs() < 1e-9), "{steps:?}");
        assert!((written_by_model(1) - 3.317).abs() < 0.001);
    }
}
