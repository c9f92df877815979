//! Tables in HTML: the headlines, and every figure of a workload.

use std::fmt::Write;

use super::chart::escaped;
use super::headlines::answers;
use super::medians::{self, Row, best, engines, shown, times_as_good};
use crate::job::Workload;
use crate::results::{End, Outcome, Results};
use crate::stores::Engine;

/// The headlines: ours, the best peer, and how many times as good ours is.
pub fn headlines(results: &Results) -> String {
    let mut html = String::from(
        "<table><caption>Medians; a ratio above 1 means that sapwood is better, below 1 that the \
         best peer is.</caption><thead><tr><th scope=\"col\">what</th><th scope=\"col\">sapwood\
         </th><th scope=\"col\">best peer</th><th scope=\"col\">ratio</th></tr></thead><tbody>",
    );
    for answer in answers(results) {
        let ours = answer.ours.map_or_else(|| "–".into(), shown);
        let (peer, times) = match answer.peer {
            Some((engine, value, times)) => {
                (format!("{} <small>{}</small>", shown(value), engine.name()), ratio(times))
            }
            None => ("–".into(), "<td>–</td>".into()),
        };
        let question = escaped(answer.question);
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{question}</th><td>{ours}</td><td>{peer}</td>{times}</tr>"
        );
    }
    html + "</tbody></table>"
}

/// A cell that says in words, too, what its colour says.
fn ratio(times: Option<f64>) -> String {
    match times {
        None => "<td>–</td>".into(),
        Some(times) if times >= 1.0 => {
            format!("<td class=\"won\">{times:.2}× <small>better</small></td>")
        }
        Some(times) => format!("<td class=\"lost\">{times:.2}× <small>worse</small></td>"),
    }
}

/// Every figure of a workload, each with its ratio to the best peer.
pub fn workload(results: &Results, workload: Workload) -> String {
    let engines: Vec<Engine> = engines(results).collect();
    let mut html = String::from("<table><thead><tr><th scope=\"col\">figure</th>");
    for engine in &engines {
        let _ = write!(html, "<th scope=\"col\">{}</th>", engine.name());
    }
    html += "</tr></thead><tbody>";
    for row in medians::rows(results, workload) {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escaped(&row.name));
        html += &cells(&row, &engines);
        html += "</tr>";
    }
    html + "</tbody></table>"
}

fn cells(row: &Row, engines: &[Engine]) -> String {
    let peer = best(row, |index| engines[index] != Engine::Sapwood);
    let peer = peer.and_then(|index| row.values[index]);
    let winner = best(row, |_| true);
    let cell = |(index, value): (usize, &Option<f64>)| {
        let Some(value) = *value else { return "<td>–</td>".to_owned() };
        let times = peer.and_then(|peer| times_as_good(&row.name, value, peer));
        let times = times.map_or_else(String::new, |times| format!(" <small>{times:.2}×</small>"));
        let class = if winner == Some(index) { " class=\"best\"" } else { "" };
        format!("<td{class}>{}{times}</td>", shown(value))
    };
    row.values.iter().enumerate().map(cell).collect()
}

/// What did not go to its end, in sentences.
pub fn notes(results: &Results, workload: Workload) -> String {
    let mut notes: Vec<String> = Vec::new();
    for outcome in results.outcomes.iter().filter(|outcome| outcome.run.workload == workload) {
        for note in notes_of(outcome, results.settings.sizes.seconds_max) {
            let note =
                format!("{}, repeat {}: {note}", outcome.run.engine.name(), outcome.run.repeat);
            notes.push(format!("<li>{}</li>", escaped(&note)));
        }
    }
    if notes.is_empty() {
        String::new()
    } else {
        format!("<ul class=\"notes\">{}</ul>", notes.concat())
    }
}

fn notes_of(outcome: &Outcome, seconds_max: u64) -> Vec<String> {
    let stopped = outcome.stopped.iter().map(|phase| {
        format!("{phase} was stopped after {seconds_max} s; its figures are of what was done")
    });
    let end = match &outcome.end {
        End::Done => None,
        End::Killed(seconds) => Some(format!("was stopped after {seconds} s, without figures")),
        End::Failed(error) => Some(format!("FAILED: {error}")),
    };
    stopped.chain(end).collect()
}
