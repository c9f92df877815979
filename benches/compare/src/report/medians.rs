//! Medians over repeats, which of two figures is better, and ratios to the best peer.

use crate::job::Workload;
use crate::results::{Outcome, Results};
use crate::stores::Engine;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
    /// It is no merit either way.
    Neither,
}

/// Told by the end of a figure's name, which is its unit.
pub fn better(name: &str) -> Better {
    let is_count = ["calls", "rows", "own_"];
    if is_count.iter().any(|word| name.ends_with(word) || name.starts_with(word)) {
        return Better::Neither;
    }
    if name.ends_with("per_s") || name.ends_with("ratio") { Better::Higher } else { Better::Lower }
}

/// One figure of a workload: the median of each engine that was run, in the order of the settings.
#[derive(Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// All figures of a workload, in the order in which they first came.
pub fn rows(results: &Results, workload: Workload) -> Vec<Row> {
    let outcomes: Vec<&Outcome> =
        results.outcomes.iter().filter(|outcome| outcome.run.workload == workload).collect();
    let mut names: Vec<&str> = Vec::new();
    for figure in outcomes.iter().flat_map(|outcome| &outcome.figures.0) {
        if !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    let engines: Vec<Engine> = engines(results).collect();
    let of = |name: &str| Row {
        name: name.to_owned(),
        values: engines.iter().map(|engine| median_of(&outcomes, *engine, name)).collect(),
    };
    names.into_iter().map(of).collect()
}

pub fn engines(results: &Results) -> impl Iterator<Item = Engine> {
    results.settings.engines.iter().map(|settings| settings.engine)
}

/// The class of an engine's lines and bars in the page's style, alike in every report.
pub fn class(engine: Engine) -> String {
    let place = Engine::ALL.iter().position(|known| *known == engine);
    format!("e{}", place.unwrap_or_default())
}

fn median_of(outcomes: &[&Outcome], engine: Engine, name: &str) -> Option<f64> {
    let of = outcomes.iter().filter(|outcome| outcome.run.engine == engine);
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

/// The index of the best value, of those that `is_counted`.
pub fn best(row: &Row, is_counted: impl Fn(usize) -> bool) -> Option<usize> {
    let direction = better(&row.name);
    let counted = row.values.iter().enumerate().filter(|(index, _)| is_counted(*index));
    let counted = counted.filter_map(|(index, value)| value.map(|value| (index, value)));
    match direction {
        Better::Neither => None,
        Better::Higher => counted.max_by(|left, right| left.1.total_cmp(&right.1)),
        Better::Lower => counted.min_by(|left, right| left.1.total_cmp(&right.1)),
    }
    .map(|(index, _)| index)
}

/// How many times as good as another: above 1 is better, whichever way that is.
pub fn times_as_good(name: &str, value: f64, other: f64) -> Option<f64> {
    let ratio = match better(name) {
        Better::Neither => return None,
        Better::Higher => value / other,
        Better::Lower => other / value,
    };
    ratio.is_finite().then_some(ratio)
}

/// A number with as many digits as are worth reading.
pub fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        large if large >= 1_000.0 => with_spaces(&format!("{value:.0}")),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Narrow spaces between groups of three digits.
fn with_spaces(digits: &str) -> String {
    let mut spaced = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left.is_multiple_of(3) && !spaced.ends_with('-') {
            spaced.push('\u{202f}');
        }
        spaced.push(digit);
    }
    spaced
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
    fn units_say_which_way_is_better() {
        assert_eq!(better("hit_per_s"), Better::Higher);
        assert_eq!(better("insert_p99.9_us"), Better::Lower);
        assert_eq!(better("device_written_per_user_byte"), Better::Lower);
        assert_eq!(better("killed_lost_rows"), Better::Neither);
        assert_eq!(better("own_debt_bytes"), Better::Neither);
        assert_eq!(better("scan_forward_rows_per_s"), Better::Higher);
    }

    #[test]
    fn the_best_is_found_either_way() {
        let row = |name: &str| Row {
            name: name.into(),
            values: vec![Some(2.0), None, Some(3.0), Some(1.0)],
        };
        assert_eq!(best(&row("hit_per_s"), |_| true), Some(2));
        assert_eq!(best(&row("hit_per_s"), |index| index != 2), Some(0));
        assert_eq!(best(&row("hit_p99_us"), |_| true), Some(3));
        assert_eq!(best(&row("calls"), |_| true), None);
    }

    #[test]
    fn above_one_is_better_either_way() {
        assert_eq!(times_as_good("hit_per_s", 4.0, 2.0), Some(2.0));
        assert_eq!(times_as_good("hit_p99_us", 4.0, 2.0), Some(0.5));
        assert_eq!(times_as_good("hit_per_s", 4.0, 0.0), None);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(shown(1_234_567.8), "1\u{202f}234\u{202f}568");
        assert_eq!(shown(-1_234.0), "-1\u{202f}234");
        assert_eq!(shown(123.0), "123.0");
        assert_eq!(shown(0.1234), "0.123");
    }
}
