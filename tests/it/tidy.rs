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
