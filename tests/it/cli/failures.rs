//! Exit codes and sentences of what goes wrong.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use super::{Folder, block_file, failure_of, program};

const READING: [&[&str]; 9] = [
    &["get", "DB", "k"],
    &["scan", "DB"],
    &["trees", "DB"],
    &["stats", "DB"],
    &["verify", "DB"],
    &["dump", "DB"],
    &["dump", "DB", "--shape"],
    &["draw", "DB", "-"],
    &["checkpoint", "DB"],
];

#[test]
fn a_missing_database_is_named_and_not_made() {
    let folder = Folder::new();
    for arguments in READING.into_iter().chain([&["delete", "DB", "k"][..]]) {
        let expected = format!("there is no database {}", folder.db.display());
        assert_eq!(folder.failure(arguments), (4, expected));
        assert!(!folder.db.exists(), "{arguments:?}");
    }
    fs::create_dir(&folder.db).unwrap();
    for arguments in READING {
        let expected = format!("there is no database in {}", folder.db.display());
        assert_eq!(folder.failure(arguments), (4, expected));
        assert_eq!(fs::read_dir(&folder.db).unwrap().count(), 0, "{arguments:?}");
    }
}

#[test]
fn a_missing_tree_is_named_and_not_made() {
    let folder = Folder::loaded(b"k\tv\n");
    for arguments in [&["get", "DB", "k"][..], &["scan", "DB"], &["delete", "DB", "k"]] {
        let arguments = [arguments, &["--tree", "oak"]].concat();
        assert_eq!(folder.failure(&arguments), (1, "there is no tree named \"oak\"".into()));
    }
    assert_eq!(folder.printed(&["trees", "DB"]), b"default\n");
}

#[test]
fn what_cannot_be_understood_is_a_usage_error() {
    let folder = Folder::new();
    for (arguments, part) in [
        (&["lod", "DB"][..], "unrecognized subcommand 'lod'"),
        (&["get", "DB"], "required arguments were not provided: <KEY>"),
        (&["load", "DB", "-", "--durability", "maybe"], "invalid value 'maybe'"),
        (&["load", "DB", "-", "--batch", "0"], "invalid value '0'"),
        (&["scan", "DB", "--limit", "few"], "invalid value 'few'"),
        (&["scan", "DB", "--cache-mib", "7"], "'--cache-mib <N>'"),
        (&["dump", "DB", "--all"], "required arguments were not provided: --shape"),
        (&["draw", "DB"], "required arguments were not provided: <OUT>"),
    ] {
        let (exit, sentence) = folder.failure(arguments);
        assert_eq!(exit, 2, "{sentence}");
        assert!(sentence.contains(part), "{sentence}");
    }
    let nothing = program().output().unwrap();
    assert_eq!(failure_of(&nothing), (2, "a subcommand is missing; see 'sapwood --help'".into()));
    assert!(!folder.db.exists());
}

#[test]
fn an_input_that_cannot_be_read_makes_no_database() {
    let folder = Folder::new();
    let (exit, sentence) = folder.failure(&["load", "DB", "/nowhere/rows.tsv"]);
    assert_eq!(exit, 4);
    assert!(sentence.starts_with("the input /nowhere/rows.tsv cannot be read: No such file"));
    let (exit, sentence) = folder.failure(&["load", "DB", "/"]);
    assert_eq!((exit, sentence.as_str()), (4, "the input / cannot be read: it is a folder"));
    assert!(!folder.db.exists());
}

#[test]
fn a_path_that_cannot_be_a_folder_is_refused() {
    let folder = Folder::new();
    fs::write(&folder.db, "a file").unwrap();
    let path = folder.db.display();
    let below = folder.path("below");
    for db in [folder.db.to_str().unwrap(), below.to_str().unwrap()] {
        let (exit, sentence) = folder.failure(&["put", db, "k", "v"]);
        assert_eq!(exit, 4);
        assert!(sentence.starts_with(&format!("the database {path}")), "{sentence}");
        assert!(sentence.to_lowercase().contains("not a directory"), "{sentence}");
    }
    let (exit, sentence) = folder.failure(&["get", "DB", "k"]);
    assert_eq!(exit, 4);
    assert!(sentence.contains("not a directory"), "{sentence}");
}

#[test]
fn a_folder_without_permission_is_refused() {
    let folder = Folder::new();
    fs::create_dir(&folder.db).unwrap();
    fs::set_permissions(&folder.db, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.path("probe"), "").is_ok() {
        // Root may write everywhere, so there is nothing to be seen.
        return;
    }
    let (exit, sentence) = folder.failure(&["put", "DB", "k", "v"]);
    assert_eq!(exit, 4);
    assert!(sentence.contains("Permission denied"), "{sentence}");
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = Folder::new();
    fs::create_dir(&folder.db).unwrap();
    fs::write(folder.path("letter.txt"), "dear").unwrap();
    for arguments in [&["put", "DB", "k", "v"][..], &["get", "DB", "k"], &["load", "DB"]] {
        let (exit, sentence) = folder.failure(arguments);
        assert_eq!(exit, 4);
        let expected = format!("{} is no sapwood database", folder.db.display());
        assert!(sentence.starts_with(&expected), "{sentence}");
        assert_eq!(fs::read_dir(&folder.db).unwrap().count(), 1);
    }
}

#[test]
fn a_database_in_use_names_its_holder() {
    let folder = Folder::new();
    let arguments = ["load", "DB", "-", "--ack", "--batch", "1"];
    let mut command = folder.command(arguments.iter().map(std::ffi::OsStr::new));
    let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = holder.stdin.take().unwrap();
    input.write_all(b"key\tvalue\n").unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "acked 1\n");
    for arguments in READING.into_iter().chain([&["put", "DB", "k", "v"][..]]) {
        let (exit, sentence) = folder.failure(arguments);
        assert_eq!(exit, 4);
        let expected = format!(
            "the database {} is in use by process {} (sapwood)",
            folder.db.display(),
            holder.id()
        );
        assert!(sentence.starts_with(&expected), "{sentence}");
    }
    drop(input);
    assert!(holder.wait().unwrap().success());
    assert_eq!(folder.printed(&["get", "DB", "key"]), b"value\n");
}

#[test]
fn a_reader_of_acknowledgements_that_goes_away_stops_the_load() {
    let folder = Folder::new();
    let arguments = ["load", "DB", "-", "--ack", "--batch", "1"];
    let mut command = folder.command(arguments.iter().map(std::ffi::OsStr::new));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(b"a\t1\nb\t2\n").unwrap();
    let (exit, sentence) = failure_of(&child.wait_with_output().unwrap());
    assert_eq!(exit, 4);
    assert!(sentence.starts_with("nobody takes the acknowledgement"), "{sentence}");
    assert!(sentence.ends_with("; 1 row committed"), "{sentence}");
}

#[test]
fn an_output_that_is_full_is_told() {
    let folder = Folder::loaded(b"k\tv\n");
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let mut command = folder.command(["get", "DB", "k"].iter().map(std::ffi::OsStr::new));
    let (exit, sentence) = failure_of(&command.stdout(full).output().unwrap());
    assert_eq!(exit, 4);
    assert!(sentence.starts_with("the output cannot be written: No space left"), "{sentence}");
}

#[test]
fn keys_and_values_that_are_too_large_are_refused_with_their_batch() {
    let folder = Folder::new();
    let line = |key: usize, value: usize| {
        [vec![b'k'; key], b"\t".to_vec(), vec![b'v'; value], b"\n".to_vec()].concat()
    };
    folder.load(&line(65_535, 1 << 20));
    let (rows, exit) = (line(65_535, 1 << 20), 4);
    assert!(folder.printed(&["scan", "DB"]) == rows);
    let key = failure_of(&folder.run_with(&["load", "DB"], &line(65_536, 1)));
    let expected = "line 1: the key has 65536 bytes; at most 65535 are allowed";
    assert_eq!(key, (exit, format!("{expected}; 0 rows committed")));
    let lines = [line(1, (1 << 20) + 1), line(3, 3)].concat();
    let (found, sentence) = failure_of(&folder.run_with(&["load", "DB"], &lines));
    assert_eq!(found, exit);
    assert!(
        sentence.starts_with("line 1: the value has 1048577 bytes; at most 1048576"),
        "{sentence}"
    );
    assert!(folder.printed(&["scan", "DB"]) == rows);
}

/// A database whose block file has some pages, cleanly closed.
fn some_rows() -> Folder {
    let rows = (0..5_000).map(|number| format!("key {number:06}\tvalue {number:060}\n"));
    Folder::loaded(rows.collect::<String>().as_bytes())
}

fn damage(db: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(block_file(db)).unwrap();
    change(&mut bytes);
    fs::write(block_file(db), bytes).unwrap();
}

#[test]
fn a_file_that_is_not_ours_is_corruption() {
    let folder = some_rows();
    fs::write(block_file(&folder.db), "dear diary\n".repeat(10_000)).unwrap();
    for arguments in READING {
        let (exit, sentence) = folder.failure(arguments);
        assert_eq!((exit, sentence.as_str()), (3, "sapwood.db: this is not a sapwood database"));
    }
}

#[test]
fn a_newer_format_is_named() {
    let folder = some_rows();
    damage(&folder.db, |bytes| {
        for slot in bytes.chunks_mut(4096).take(2) {
            slot[8..12].copy_from_slice(&99u32.to_le_bytes());
            let seed = u64::from_le_bytes(*b"sapwood\x1b");
            let sum = sapwood_serialize::checksum(seed, &slot[..4088]);
            slot[4088..].copy_from_slice(&sum.to_le_bytes());
        }
    });
    let (exit, sentence) = folder.failure(&["get", "DB", "k"]);
    assert_eq!(exit, 4);
    assert!(sentence.contains("99"), "{sentence}");
}

#[test]
fn a_truncated_file_is_corruption() {
    let folder = some_rows();
    let whole = fs::read(block_file(&folder.db)).unwrap();
    for bytes in [whole.len() - 1, whole.len() / 2, 8192, 4096, 100] {
        fs::write(block_file(&folder.db), &whole[..bytes]).unwrap();
        let (exit, sentence) = folder.failure(&["verify", "DB"]);
        assert_eq!(exit, 3, "{bytes} bytes: {sentence}");
    }
}

#[test]
fn a_changed_byte_anywhere_is_found_or_harmless() {
    let folder = some_rows();
    let whole = fs::read(block_file(&folder.db)).unwrap();
    let rows = folder.printed(&["scan", "DB"]);
    let mut found = 0;
    for offset in (0..whole.len()).step_by(whole.len() / 40) {
        let mut changed = whole.clone();
        changed[offset] ^= 0x10;
        fs::write(block_file(&folder.db), changed).unwrap();
        let verified = folder.run(&["verify", "DB"]);
        match verified.status.code() {
            Some(3) => found += 1,
            // Free space and an old superblock may hold anything.
            Some(0) => assert!(folder.printed(&["scan", "DB"]) == rows, "byte {offset}"),
            _ => panic!("byte {offset}: {}", super::error_of(&verified)),
        }
    }
    assert!(found > 20, "only {found} of 40 changes were found");
}
