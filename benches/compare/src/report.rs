//! What is shown and written: the terms of the comparison, a table for each workload, and JSON.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::Result;
use crate::engines::Engine;
use crate::job::{Figures, Sizes, Workload};
use crate::options::Options;

/// What came of one child.
#[derive(Serialize)]
pub struct Outcome {
    pub repeat: usize,
    pub engine: Engine,
    pub workload: Workload,
    pub figures: Figures,
    pub failure: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    sizes: &'a Sizes,
    repeats: usize,
    memory_limit: &'a str,
    terms: Vec<(Engine, &'static str)>,
    outcomes: &'a [Outcome],
}

pub fn print_terms(options: &Options, limit: &str) {
    let sizes = &options.sizes;
    println!("rows {}, small store {}, 16 + 100 bytes each", sizes.rows, sizes.cached_rows);
    println!("budget {} MiB, seed {}", sizes.cache_bytes >> 20, sizes.seed);
    println!("{limit}");
    for engine in &options.engines {
        println!("{}: {}", engine.name(), engine.terms());
    }
}

pub fn print_tables(options: &Options, outcomes: &[Outcome]) {
    for workload in &options.workloads {
        let of: Vec<&Outcome> = outcomes.iter().filter(|one| one.workload == *workload).collect();
        println!("\n{}, medians of {}, and ratios to sapwood", workload.name(), options.repeats);
        print_table(&options.engines, &of);
        for outcome in of {
            if let Some(failure) = &outcome.failure {
                println!("run {}: {} failed: {failure}", outcome.repeat, outcome.engine.name());
            }
        }
    }
}

fn print_table(engines: &[Engine], outcomes: &[&Outcome]) {
    print!("{:34}", "");
    engines.iter().for_each(|engine| print!("{:>14}{:>8}", engine.name(), ""));
    println!();
    for name in names(outcomes) {
        let ours = median_of(outcomes, Engine::Sapwood, name);
        print!("{name:34}");
        for engine in engines {
            let value = median_of(outcomes, *engine, name);
            print!("{:>14}{:>8}", shown(value), ratio(*engine, value, ours));
        }
        println!();
    }
}

/// The names of the figures that the table shows, each once, in the order in which they came.
fn names<'a>(outcomes: &[&'a Outcome]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for outcome in outcomes {
        for figure in &outcome.figures.0 {
            // Three states of a small store have too many figures to read; JSON has the others.
            let is_shown = outcome.workload != Workload::Cached || figure.name.ends_with("_per_s");
            if is_shown && !names.contains(&figure.name.as_str()) {
                names.push(figure.name.as_str());
            }
        }
    }
    names
}

fn median_of(outcomes: &[&Outcome], engine: Engine, name: &str) -> Option<f64> {
    let of = outcomes.iter().filter(|outcome| outcome.engine == engine);
    median(of.filter_map(|outcome| outcome.figures.get(name)).collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn shown(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value.abs() >= 1_000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
    }
}

fn ratio(engine: Engine, value: Option<f64>, ours: Option<f64>) -> String {
    match (value, ours) {
        (Some(value), Some(ours)) if engine != Engine::Sapwood && ours > 0.0 => {
            format!("{:.2}x", value / ours)
        }
        _ => String::new(),
    }
}

pub fn write_json(path: &Path, options: &Options, limit: &str, outcomes: &[Outcome]) -> Result<()> {
    let terms = options.engines.iter().map(|engine| (*engine, engine.terms())).collect();
    let (sizes, repeats) = (&options.sizes, options.repeats);
    let document = Document { sizes, repeats, memory_limit: limit, terms, outcomes };
    Ok(fs::write(path, serde_json::to_string_pretty(&document)? + "\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_to_sapwood() {
        assert_eq!(ratio(Engine::Redb, Some(1.0), Some(2.0)), "0.50x");
        assert_eq!(ratio(Engine::Sapwood, Some(1.0), Some(1.0)), "");
        assert_eq!(ratio(Engine::Redb, Some(1.0), None), "");
    }
}
