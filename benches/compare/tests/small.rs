//! Every workload with every engine of this build, at sizes that take seconds: each run verifies
//! what it reads, so that it ends well is the test. Then the page that is made of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

const SIZES: &str = "run --rows 6000 --changed-rows 4000 --cache-mib 8 --reads 300 --scans 20 \
     --operations 400 --commits 40 --group 100 --quiet-ms 100 --repeat 1 --seconds-max 120";
const WORKLOADS: [&str; 13] = [
    "load",
    "point",
    "scan",
    "sequential",
    "cached",
    "ycsb",
    "counters",
    "overwrite",
    "deletes",
    "range-deletes",
    "commits",
    "reopen",
    "growth",
];

/// A folder of one test, removed when it ends well.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("compare-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// `compare` with these words and paths below the folder.
    fn compare(&self, words: &str, paths: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
        command.args(words.split_whitespace());
        for (word, name) in paths {
            command.arg(word).arg(self.0.join(name));
        }
        command.output().unwrap()
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.0.join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn assert_success(output: &Output) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", output.status);
}

#[test]
fn all_engines_pass_all_workloads() {
    let folder = Folder::new("all");
    let output = folder.compare(SIZES, &[("--dir", "stores"), ("--to", "lines")]);
    assert_success(&output);
    assert!(!folder.0.join("stores").exists(), "stores were left behind");

    let lines = folder.lines("lines");
    let of_kind = |kind| lines.iter().filter(move |line| line["kind"] == kind);
    let settings = of_kind("settings").next().unwrap();
    let engines: Vec<&str> = settings["engines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|engine| engine["engine"].as_str().unwrap())
        .collect();
    assert_eq!(engines[0], "sapwood");
    for engine in &engines {
        for workload in WORKLOADS {
            let is_of = |line: &&Value| line["engine"] == *engine && line["workload"] == workload;
            let outcomes: Vec<_> = of_kind("outcome").filter(is_of).collect();
            assert_eq!(outcomes.len(), 1, "{engine}, {workload}");
            assert_eq!(outcomes[0]["end"], "done", "{engine}, {workload}");
            assert_eq!(outcomes[0]["stopped"].as_array().unwrap().len(), 0);
            assert!(of_kind("sample").any(|line| is_of(&line)), "{engine}, {workload}");
        }
    }
    page_shows_everything(&folder, &engines);
    fs::remove_dir_all(&folder.0).unwrap();
}

fn page_shows_everything(folder: &Folder, engines: &[&str]) {
    assert_success(&folder.compare("report", &[("--from", "lines"), ("--to", "page.html")]));
    let page = fs::read_to_string(folder.0.join("page.html")).unwrap();
    for workload in WORKLOADS {
        assert!(page.contains(&format!("<section id=\"{workload}\">")), "{workload}");
    }
    for engine in engines {
        assert!(page.contains(&format!("<dt>{engine} ")), "{engine}");
    }
    assert!(page.matches("<svg").count() > 30);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(!page.contains("NaN") && !page.contains("inf"), "a figure is no number");
    assert!(!page.contains("<script") && !page.contains("http"), "the page needs nothing else");
}

#[test]
fn what_takes_too_long_is_stopped_and_marked() {
    let folder = Folder::new("stopped");
    let sizes = "run --engines sapwood --workload load,point --rows 200_000_000 --cache-mib 8 \
         --reads 50 --seconds-max 1 --quiet-ms 100";
    assert_success(&folder.compare(sizes, &[("--dir", "stores"), ("--to", "lines")]));
    let lines = folder.lines("lines");
    let outcomes: Vec<_> = lines.iter().filter(|line| line["kind"] == "outcome").collect();
    assert_eq!(outcomes.len(), 2, "what was loaded in time is read");
    assert_eq!(outcomes[0]["stopped"][0], "insert");

    let killed = "run --engines sapwood --workload load,scan,commits --rows 200_000_000 \
         --cache-mib 8 --commits 10 --child-seconds-max 1";
    assert_success(&folder.compare(killed, &[("--dir", "stores"), ("--to", "killed")]));
    let lines = folder.lines("killed");
    let ends: Vec<_> = lines.iter().filter(|line| line["kind"] == "outcome").collect();
    assert_eq!(ends.len(), 2, "nothing reads what was not loaded, and the rest is run");
    assert_eq!(ends[0]["end"]["killed"], 1);
    assert_eq!(ends[1]["end"], "done");
    assert_success(&folder.compare("report", &[("--from", "killed"), ("--to", "page.html")]));
    let page = fs::read_to_string(folder.0.join("page.html")).unwrap();
    assert!(page.contains("was stopped after 1 s"));
    fs::remove_dir_all(&folder.0).unwrap();
}

#[test]
fn stores_that_are_there_already_are_not_touched() {
    let folder = Folder::new("there");
    let theirs = folder.0.join("sapwood-large");
    fs::create_dir_all(&theirs).unwrap();
    let output =
        folder.compare("run --engines sapwood --rows 10", &[("--dir", "."), ("--to", "l")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exists; remove it first"));
    assert!(theirs.exists());
    fs::remove_dir_all(&folder.0).unwrap();
}
