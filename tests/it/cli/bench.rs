//! `sapwood bench`: its figures, and that it leaves nothing behind.

use std::collections::HashMap;
use std::fs;

use super::{error_of, failure_of, output_of, program};

#[test]
fn a_bench_tells_rates_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args([
        "bench",
        "--rows",
        "3000",
        "--reads",
        "200",
        "--scans",
        "10",
        "--cache-mib",
        "8",
    ]);
    command.arg("--dir").arg(parent.path());
    let output = output_of(command, b"");
    assert_eq!((output.status.code(), error_of(&output).as_str()), (Some(0), ""));

    let table = String::from_utf8(output.stdout).unwrap();
    let figures: HashMap<&str, f64> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.trim_matches(['│', ' ']).split_whitespace();
            Some((words.next()?, words.next()?.parse().ok()?))
        })
        .collect();
    for name in [
        "writer_rows_per_s",
        "drained_rows_per_s",
        "insert_p99.9_us",
        "written_per_user_byte",
        "hit_per_s",
        "miss_per_s",
        "scan_forward_rows_per_s",
        "scan_backward_rows_per_s",
        "scan100_per_s",
        "scan100_max_us",
        "disk_per_user_byte",
    ] {
        assert!(figures.get(name).is_some_and(|figure| *figure > 0.0), "{name} in\n{table}");
    }
    assert!(figures["drained_rows_per_s"] <= figures["writer_rows_per_s"]);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn a_bench_of_nothing_is_refused() {
    let mut command = program();
    command.args(["bench", "--rows", "0"]);
    let (code, sentence) = failure_of(&output_of(command, b""));
    assert_eq!(code, 2);
    assert!(sentence.contains("--rows"), "{sentence}");
}

#[test]
fn a_bench_needs_a_folder_that_is_there() {
    let mut command = program();
    command.args(["bench", "--rows", "1", "--dir", "/nowhere/at/all"]);
    let (code, sentence) = failure_of(&output_of(command, b""));
    assert_eq!(code, 4);
    assert!(sentence.contains("temporary folder"), "{sentence}");
}
