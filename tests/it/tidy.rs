//! The house style that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 700;
const COLUMNS_MAX: usize = 100;
/// Spelt in two parts, so that this file does not hold them.
const BANNED: [(&str, &str); 5] =
    [("todo", "!("), ("unimpl", "emented!("), ("FIX", "ME"), ("XX", "X"), ("db", "g!(")];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut complain = |line: usize, rule: &str| {
        found.push(format!("{}:{line}: {rule}", path.display()));
    };
    if !text.starts_with("//!") {
        complain(1, "a file begins with its contract");
    }
    if text.lines().count() > LINES_MAX {
        complain(LINES_MAX, "a file is one noun, of at most 700 lines");
    }
    for (number, line) in text.lines().enumerate() {
        // The width of code is the formatter's business.
        let is_prose = line.trim_start().starts_with("//");
        if is_prose && line.chars().count() > COLUMNS_MAX {
            complain(number + 1, "a comment has at most 100 columns");
        }
        for (left, right) in BANNED {
            if line.contains(&format!("{left}{right}")) {
                complain(number + 1, "a banned word");
            }
        }
    }
    found
}

#[test]
fn the_house_is_tidy() {
    let mut paths = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut paths);
    assert!(paths.len() > 50, "the sources were not found");
    let complaints: Vec<String> = paths
        .iter()
        .flat_map(|path| complaints(path, &fs::read_to_string(path).unwrap()))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// The files of the four crates that have unsafe code, as docs/testing.md lists them.
fn files_in_the_table(docs: &str) -> Vec<String> {
    let (_, section) = docs.split_once("\n## Unsafe code\n").expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut files: Vec<_> =
        rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}

#[test]
fn all_unsafe_code_is_in_the_table_of_the_docs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "serialize/src", "cachetable/src", "flusher/src"] {
        sources(&root.join(folder), &mut paths);
    }
    let is_unsafe = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .any(|word| word == "unsafe")
    };
    paths.retain(is_unsafe);
    let relative = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
    let mut found: Vec<_> = paths.iter().map(relative).collect();
    found.sort();
    let docs = fs::read_to_string(root.join("docs/testing.md")).unwrap();
    assert_eq!(found, files_in_the_table(&docs), "unsafe code, and the table of docs/testing.md");
}

/// It said 3 for days after there was a fourth.
#[test]
fn the_readme_names_the_present_format() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let version = sapwood_serialize::superblock::FORMAT_VERSION;
    assert!(readme.contains(&format!("The present one is {version}.")));
}

#[test]
fn the_lower_crates_stay_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let forbidden = [
        ("serialize", &["sapwood-cachetable", "sapwood-flusher", "parking_lot", "rayon"][..]),
        ("cachetable", &["sapwood-flusher"][..]),
    ];
    for (crate_name, names) in forbidden {
        let manifest = fs::read_to_string(root.join(crate_name).join("Cargo.toml")).unwrap();
        for name in names {
            assert!(!manifest.contains(name), "{crate_name} must not know {name}");
        }
    }
}
