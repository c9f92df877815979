//! The page: headlines first, then each workload with its plots and all figures, then the terms.

use std::fmt::Write;

use super::chart::{self, escaped};
use super::curves::CURVES;
use super::growth;
use super::headlines::HEADLINES;
use super::medians::{self, class, engines};
use super::tables;
use crate::job::Workload;
use crate::results::{Results, Settings};

const STYLE: &str = include_str!("style.css");

/// One file without script, font or picture from elsewhere.
pub fn page(results: &Results) -> String {
    let workloads = &results.settings.workloads;
    let links: String = workloads
        .iter()
        .map(|workload| format!("<a href=\"#{0}\">{0}</a>", workload.name()))
        .collect();
    let sections: String = workloads.iter().map(|workload| section(results, *workload)).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>sapwood beside other stores</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <main>\n<h1>sapwood beside other stores</h1>\n{}\n<nav aria-label=\"workloads\">{links}\
         <a href=\"#terms\">terms</a></nav>\n<h2>In short</h2>\n<div class=\"wide\">{}</div>\n\
         {sections}{}\n</main>\n</body>\n</html>\n",
        lead(&results.settings),
        tables::headlines(results),
        terms(&results.settings),
    )
}

fn lead(settings: &Settings) -> String {
    let sizes = &settings.sizes;
    let lines = [
        format!(
            "The same rows, the same budget of {} MiB, one engine after the other, each in a \
             process of its own; {} interleaved runs, of which medians are shown.",
            sizes.cache_bytes >> 20,
            settings.repeats,
        ),
        format!(
            "{} rows of 16 + 100 bytes in the large store, {} in the changed one, {} in the small \
             one; transactions of {} where commits are not made to be small; seed {}.",
            sizes.rows, sizes.changed_rows, sizes.cached_rows, sizes.group, sizes.seed,
        ),
        format!("{}; {}.", settings.machine, settings.memory_limit),
    ];
    lines.iter().map(|line| format!("<p class=\"soft\">{}</p>", escaped(line))).collect()
}

fn section(results: &Results, workload: Workload) -> String {
    let name = workload.name();
    let mut html = format!(
        "<section id=\"{name}\">\n<h2>{name}</h2>\n<p>{}</p>\n{}",
        about(workload),
        tables::notes(results, workload),
    );
    let figures = figures(results, workload);
    if !figures.is_empty() {
        let _ = writeln!(html, "{}\n<div class=\"charts\">{figures}</div>", legend(results));
    }
    let _ = write!(
        html,
        "<details><summary>all figures of {name}; small: how many times as good as the best peer\
         </summary><div class=\"wide\">{}</div></details>\n</section>\n",
        tables::workload(results, workload),
    );
    html
}

fn figures(results: &Results, workload: Workload) -> String {
    let mut html = String::new();
    let mut add = |title: &str, svg: String| {
        if !svg.is_empty() {
            let title = escaped(title);
            let _ = writeln!(html, "<figure>{svg}<figcaption>{title}</figcaption></figure>");
        }
    };
    if is_over_time(workload) {
        for curve in &CURVES {
            let title = format!("{}: {}", workload.name(), curve.title);
            let lines = curve.lines(results, workload);
            add(curve.title, chart::lines(&title, "seconds", curve.scale, &lines));
        }
        return html;
    }
    if workload == Workload::Growth {
        for curve in &growth::CURVES {
            let lines = curve.lines(results);
            add(curve.title, chart::lines(curve.title, "times the cache", curve.scale, &lines));
        }
        return html;
    }
    let rows = medians::rows(results, workload);
    for headline in HEADLINES.iter().filter(|headline| headline.workload == workload) {
        let Some(row) = rows.iter().find(|row| row.name == headline.figure) else { continue };
        let bars: Vec<_> = engines(results)
            .zip(&row.values)
            .filter_map(|(engine, value)| {
                Some((engine.name().to_owned(), class(engine), (*value)?))
            })
            .collect();
        add(headline.question, chart::bars(headline.question, &bars));
    }
    html
}

/// Whether it is of one kind of calls, so that a curve of them says something.
fn is_over_time(workload: Workload) -> bool {
    matches!(
        workload,
        Workload::Load
            | Workload::Sequential
            | Workload::Counters
            | Workload::Overwrite
            | Workload::Deletes
    )
}

fn legend(results: &Results) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for engine in engines(results) {
        let _ = write!(
            html,
            "<li><svg viewBox=\"0 0 40 12\" aria-hidden=\"true\"><polyline class=\"line {}\" \
             points=\"0,6 40,6\"/></svg>{}</li>",
            class(engine),
            engine.name(),
        );
    }
    html + "</ul>"
}

fn terms(settings: &Settings) -> String {
    let mut html = String::from("<section id=\"terms\">\n<h2>Terms</h2>\n<dl>");
    for engine in &settings.engines {
        let _ = write!(
            html,
            "<dt>{} {}</dt><dd>{}</dd>",
            engine.engine.name(),
            escaped(&engine.version),
            escaped(&engine.terms),
        );
    }
    html + "</dl>\n</section>"
}

fn about(workload: Workload) -> &'static str {
    match workload {
        Workload::Load => {
            "Rows in random order of their keys, one by one, into an empty store that outgrows its \
             cache. A curve that runs along the ground is an engine that still works in the \
             background when its writer is done."
        }
        Workload::Point => "Random point reads of the loaded store, nothing of it in memory.",
        Workload::Scan => "Scans of the loaded store: all of it both ways, and 100 rows at a time.",
        Workload::Sequential => "Rows in ascending order of their keys into an empty store.",
        Workload::Cached => "A store of a quarter of the cache: fresh, at rest, and reopened.",
        Workload::Ycsb => {
            "The six workloads of YCSB on one store of several times the cache, rows drawn by \
             Zipf's law."
        }
        Workload::Counters => "Each call adds to one of many counters, drawn at random.",
        Workload::Overwrite => {
            "Rows of a store of several times the cache are written over at random, three times \
             each on average: does space hold?"
        }
        Workload::Deletes => "Every second row is removed in random order, and the rest is read.",
        Workload::RangeDeletes => {
            "Every second range of some 1000 rows is removed in random order, and the rest is read."
        }
        Workload::Commits => "Each row is on the disk before its writer goes on.",
        Workload::Reopen => {
            "Opened after a close at rest, and after the loading process was killed."
        }
        Workload::Growth => {
            "A store grows by random puts to 1, 2, 4, 8 and 16 times its cache; at each size it \
             comes to rest, is closed, opened with nothing of it in memory, and read at random."
        }
        Workload::Killed => "",
    }
}
