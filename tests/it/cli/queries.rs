//! What the commands print when all is well.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use super::{Folder, error_of, failure_of};

fn fruit() -> Folder {
    Folder::loaded(b"apple\t1\nbanana\t2\ncherry\t3\nblueberry\t4\n")
}

fn keys(folder: &Folder, options: &[&str]) -> String {
    let arguments = [&["scan", "DB", "--keys"][..], options].concat();
    String::from_utf8(folder.printed(&arguments)).unwrap().replace('\n', " ")
}

#[test]
fn a_scan_gives_the_range_that_is_asked_for() {
    let folder = fruit();
    let check = |options: &[&str], expected| assert_eq!(keys(&folder, options), expected);
    check(&[], "apple banana blueberry cherry ");
    check(&["--reverse"], "cherry blueberry banana apple ");
    check(&["--from", "banana"], "banana blueberry cherry ");
    check(&["--to", "cherry"], "apple banana blueberry ");
    check(&["--from", "b", "--to", "bb"], "banana ");
    check(&["--prefix", "b"], "banana blueberry ");
    check(&["--prefix", "b", "--reverse", "--limit", "1"], "blueberry ");
    check(&["--prefix", "b", "--from", "bb"], "blueberry ");
    check(&["--prefix", "b", "--to", "bb"], "banana ");
    check(&["--limit", "2"], "apple banana ");
    check(&["--limit", "0"], "");
    check(&["--from", "x", "--to", "a"], "");
    check(&["--prefix", "x"], "");
    assert_eq!(folder.printed(&["scan", "DB", "--prefix", "c"]), b"cherry\t3\n");
}

#[test]
fn a_prefix_of_the_largest_bytes_has_no_end() {
    let folder = Folder::loaded(b"a\t1\n\xff\t2\n\xff\xff\t3\n");
    let found = folder.run_bytes(&[b"scan", b"DB", b"--prefix", b"\xff"]);
    assert_eq!(found.stdout, b"\xff\t2\n\xff\xff\t3\n");
}

#[test]
fn trees_are_apart() {
    let folder = fruit();
    let loaded = folder.run_with(&["load", "DB", "-", "--tree", "nuts"], b"walnut\t1\n");
    assert_eq!((loaded.status.code(), &*loaded.stdout), (Some(0), &b"loaded 1 row\n"[..]));
    assert_eq!(folder.printed(&["trees", "DB"]), b"default\nnuts\n");
    assert_eq!(folder.printed(&["scan", "DB", "--tree", "nuts"]), b"walnut\t1\n");
    assert_eq!(folder.printed(&["get", "DB", "walnut", "--tree", "nuts"]), b"1\n");
    assert_eq!(folder.run(&["get", "DB", "walnut"]).status.code(), Some(1));
}

#[test]
fn a_put_replaces_and_a_delete_removes() {
    let folder = fruit();
    folder.printed(&["put", "DB", "apple", "green"]);
    assert_eq!(folder.printed(&["get", "DB", "apple"]), b"green\n");
    folder.printed(&["delete", "DB", "apple"]);
    folder.printed(&["delete", "DB", "never there"]);
    let absent = folder.run(&["get", "DB", "apple"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(absent.stdout.is_empty() && absent.stderr.is_empty());
}

#[test]
fn figures_come_as_tables_and_as_json() {
    let folder = fruit();
    folder.printed(&["checkpoint", "DB"]);
    let json = |command| -> serde_json::Value {
        serde_json::from_slice(&folder.printed(&[command, "DB", "--json"])).unwrap()
    };
    let stats = json("stats");
    for name in ["user_bytes", "bytes_written", "bytes_read", "pages_read", "resident_bytes"]
        .into_iter()
        .chain(["budget_bytes", "debt_bytes", "file_bytes", "live_bytes", "wal_bytes"])
        .chain(["checkpoints", "write_delay"])
    {
        assert!(!stats[name].is_null(), "{name} is missing");
    }
    assert_eq!(stats["budget_bytes"], 8 << 20);
    for name in ["height", "nodes", "leaves", "runs", "buffered_bytes"] {
        assert!(stats["trees"]["default"][name].is_u64(), "{name} is missing");
    }
    assert_eq!(json("verify")["rows"], 4);
    let text = |command| String::from_utf8(folder.printed(&[command, "DB"])).unwrap();
    assert!(text("stats").contains("buffered bytes"));
    assert!(text("verify").starts_with("everything is sound\n"));
    assert!(text("dump").contains("tree 1 \"default\""));
}

#[test]
fn acknowledgements_count_all_rows_so_far() {
    let folder = Folder::new();
    let lines = b"a\t\nb\t\nc\t\nd\t\ne\t\n";
    for durability in ["buffered", "synced", "no-wal"] {
        let arguments = ["load", "DB", "-", "--ack", "--batch", "2", "--durability", durability];
        let loaded = folder.run_with(&arguments, lines);
        assert_eq!(loaded.stdout, b"acked 2\nacked 4\nacked 5\n", "{durability}");
        assert!(loaded.status.success());
    }
    assert_eq!(folder.printed(&["scan", "DB", "--keys"]), b"a\nb\nc\nd\ne\n");
}

#[test]
fn a_batch_that_would_not_fit_is_cut() {
    let value = vec![b'v'; 300_000];
    let rows = (0..8).map(|number| [format!("{number}\t").as_bytes(), &value, b"\n"].concat());
    let lines = rows.collect::<Vec<_>>().concat();
    let folder = Folder::new();
    let loaded = folder.run_with(&["load", "DB", "--ack"], &lines);
    assert_eq!(loaded.stdout, b"acked 3\nacked 6\nacked 8\n", "{}", error_of(&loaded));
    assert!(folder.printed(&["scan", "DB"]) == lines);
}

#[test]
fn a_broken_line_keeps_what_was_committed_before() {
    let folder = Folder::new();
    let lines = b"a\t1\nb\t2\nc\t3\nno tab\n";
    let failed = folder.run_with(&["load", "DB", "--batch", "2"], lines);
    let expected = "line 4 has no tab between key and value; 2 rows committed";
    assert_eq!(failure_of(&failed), (2, expected.into()));
    assert_eq!(folder.printed(&["scan", "DB"]), b"a\t1\nb\t2\n");
}

#[test]
fn a_reader_that_goes_away_ends_a_scan_quietly() {
    let rows = (0..20_000).map(|number| format!("{number:020}\t{number:020}\n"));
    let folder = Folder::loaded(rows.collect::<String>().as_bytes());
    let mut command = folder.command(["scan", "DB"].iter().map(std::ffi::OsStr::new));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, format!("{0:020}\t{0:020}\n", 0));
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!((child.wait().unwrap().code(), error.as_str()), (Some(0), ""));
}

#[test]
fn help_and_version_are_printed() {
    let folder = Folder::new();
    let help = super::program().arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"An embedded"));
    let version = super::program().arg("--version").output().unwrap();
    assert_eq!(version.stdout, format!("sapwood {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    assert!(!folder.db.exists());
}

#[test]
fn a_copy_holds_what_the_original_holds() {
    let folder = Folder::loaded(b"a\t1\nb\t2\n");
    let copy = folder.db.with_file_name("copy");
    let copy = copy.to_str().unwrap();
    assert_eq!(folder.printed(&["copy", "DB", copy]), b"");
    assert_eq!(folder.printed(&["scan", copy]), b"a\t1\nb\t2\n");
    let (exit, sentence) = folder.failure(&["copy", "DB", copy]);
    assert!(exit == 4 && sentence.starts_with(&format!("{copy} is not empty; ")), "{sentence}");
    assert_eq!(folder.failure(&["copy", "DB"]).0, 2);
}

#[test]
fn what_can_be_read_of_a_damaged_database_is_salvaged() {
    let run = |arguments: &[&str]| {
        let output = super::program().args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        (output.status.code(), text, String::from_utf8(output.stderr).unwrap())
    };
    let rows: String = (0..2000).map(|number| format!("key-{number:05}\tvalue\n")).collect();
    let folder = Folder::loaded(rows.as_bytes());
    let (broken, parent) = (folder.db.to_str().unwrap(), folder.db.parent().unwrap());
    let [first, second, third] = ["first", "second", "third"].map(|name| parent.join(name));
    let (exit, text, error) = run(&["salvage", broken, first.to_str().unwrap()]);
    assert_eq!((exit, error.as_str()), (Some(0), ""));
    assert!(text.ends_with("everything could be read\n") && text.contains("2000"), "{text}");
    let copied = super::program().arg("scan").arg(&first).output().unwrap();
    assert_eq!(String::from_utf8(copied.stdout).unwrap(), rows);

    let file = super::block_file(&folder.db);
    let mut bytes = std::fs::read(&file).unwrap();
    let page = bytes.windows(4).position(|window| window == b"swPg").unwrap();
    bytes[page + 60] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (exit, text, error) = run(&["salvage", broken, second.to_str().unwrap()]);
    assert_eq!((exit, error.as_str()), (Some(3), ""), "{text}");
    let place = format!("sapwood.db at byte {page}: corrupt stored page: its checksum differs; ");
    assert!(text.starts_with(&place) && text.contains("changes may be missing"), "{text}");
    let (exit, text, _) = run(&["salvage", broken, third.to_str().unwrap(), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((exit, &report["damages"][0]["loss"]), (Some(3), &"Changes".into()));
    let (exit, _, error) = run(&["salvage", broken, third.to_str().unwrap()]);
    assert!(exit == Some(4) && error.contains("is not empty"), "{error}");
    let (exit, _, error) = run(&["salvage", "/nowhere/db", "/nowhere/new"]);
    assert_eq!((exit, error.as_str()), (Some(4), "sapwood: there is no database /nowhere/db\n"));
}
