//! The lines of JSON that a child says, and those of the file that a comparison leaves.
//!
//! ```text
//! {"kind":"settings", ...}                            first
//! {"kind":"sample", "engine":..., "second":..., ...}  each second of each child
//! {"kind":"outcome", "engine":..., "figures":[...]}   at the end of each child
//! ```

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::job::{Figures, Sizes, Told, Workload};
use crate::sampler::Sample;
use crate::stores::Engine;

/// What a child says to its parent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    Sample(Sample),
    Told(Told),
}

impl Said {
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("plain numbers and words"));
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    Settings(Settings),
    Sample(RunSample),
    Outcome(Outcome),
}

/// How everything was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub machine: String,
    pub memory_limit: String,
    pub repeats: usize,
    pub sizes: Sizes,
    pub engines: Vec<EngineSettings>,
    pub workloads: Vec<Workload>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSettings {
    pub engine: Engine,
    pub version: String,
    pub terms: String,
}

/// One child.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub repeat: usize,
    pub engine: Engine,
    pub workload: Workload,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSample {
    #[serde(flatten)]
    pub run: Run,
    #[serde(flatten)]
    pub sample: Sample,
}

/// What came of one child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    #[serde(flatten)]
    pub run: Run,
    pub end: End,
    /// The phases that the time limit ended.
    pub stopped: Vec<String>,
    pub figures: Figures,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Done,
    /// Ended by the parent after so many seconds.
    Killed(u64),
    Failed(String),
}

/// Everything that was run.
#[derive(Debug)]
pub struct Results {
    pub settings: Settings,
    pub samples: Vec<RunSample>,
    pub outcomes: Vec<Outcome>,
}

impl Results {
    pub fn read(path: &Path) -> Result<Results> {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}; `compare run` writes it", path.display()))?;
        Results::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Results> {
        let (mut settings, mut samples, mut outcomes) = (None, Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = serde_json::from_str(line);
            match line.map_err(|error| format!("line {}: {error}", index + 1))? {
                Line::Settings(line) => settings = Some(line),
                Line::Sample(line) => samples.push(line),
                Line::Outcome(line) => outcomes.push(line),
            }
        }
        let settings = settings.ok_or("there is no line with settings")?;
        Ok(Results { settings, samples, outcomes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_as_they_were_written() {
        let run = Run { repeat: 1, engine: Engine::RocksdbLeveled, workload: Workload::Load };
        let mut figures = Figures::default();
        figures.add("writer_per_s", 7.5);
        let (stopped, end) = (vec!["insert".to_owned()], End::Killed(9));
        let outcome = Line::Outcome(Outcome { run, end, stopped, figures });
        let text = serde_json::to_string(&outcome).unwrap();
        assert!(text.contains(r#""kind":"outcome""#) && text.contains(r#""rocksdb-leveled""#));
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), outcome);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line() {
        let error = Results::parse("{\"kind\":\"oak\"}").unwrap_err().to_string();
        assert!(error.starts_with("line 1: "), "{error}");
        assert!(Results::parse("").is_err());
    }
}
