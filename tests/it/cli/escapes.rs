//! What goes in comes out: tabs, newlines, backslashes, nothing, and bytes that are no text.

use std::io::Write as _;

use super::{Folder, failure_of};
use crate::sim::random::Random;

/// Unique keys, one of them empty, in no order.
const LINES: &[u8] = b"plain\tvalue
\tthe empty key
an empty value\t
tab\\there\tnew\\nline
back\\\\slash\t\\\\\\\\\\t\\n\\\\n
\xff\xfe no text\t\x00\x01\x80\xff
carriage\rreturn\t\r
";

/// The lines in the order of their bytes, as `LC_ALL=C sort` puts them.
fn sorted(lines: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines.concat()
}

#[test]
fn a_scan_after_a_load_gives_the_same_lines() {
    let folder = Folder::loaded(LINES);
    assert_eq!(sorted(&folder.printed(&["scan", "DB"])), sorted(LINES));
}

#[test]
fn any_bytes_survive_a_round_trip() {
    let mut random = Random::new(1);
    let mut lines = Vec::new();
    for number in 0..2_000u32 {
        for (field, end) in [(0, b'\t'), (1, b'\n')] {
            let mut bytes = vec![0; usize::try_from(random.below(40)).unwrap()];
            random.fill(&mut bytes);
            // Few enough different bytes that the three special ones are met often.
            bytes
                .iter_mut()
                .for_each(|byte| *byte = [b'\t', b'\n', b'\\', 0xff, b'a'][usize::from(*byte % 5)]);
            if field == 0 {
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            for byte in bytes {
                match byte {
                    b'\t' => lines.extend_from_slice(b"\\t"),
                    b'\n' => lines.extend_from_slice(b"\\n"),
                    b'\\' => lines.extend_from_slice(b"\\\\"),
                    other => lines.push(other),
                }
            }
            lines.push(end);
        }
    }
    let folder = Folder::loaded(&lines);
    assert_eq!(sorted(&folder.printed(&["scan", "DB"])), sorted(&lines));
    let again = Folder::loaded(&folder.printed(&["scan", "DB", "--reverse"]));
    assert_eq!(again.printed(&["scan", "DB"]), folder.printed(&["scan", "DB"]));
}

#[test]
fn arguments_and_output_use_the_same_escapes() {
    let folder = Folder::new();
    folder.printed(&["put", "DB", "a\\tb", "c\\nd\\\\"]);
    assert_eq!(folder.printed(&["get", "DB", "a\\tb"]), b"c\\nd\\\\\n");
    assert_eq!(folder.printed(&["scan", "DB", "--keys"]), b"a\\tb\n");
    folder.printed(&["put", "DB", "", ""]);
    assert_eq!(folder.printed(&["get", "DB", ""]), b"\n");
    folder.printed(&["put", "DB", "-k", "--value"]);
    assert_eq!(folder.printed(&["get", "DB", "-k"]), b"--value\n");
}

#[test]
fn arguments_need_not_be_text() {
    let folder = Folder::new();
    let put = folder.run_bytes(&[b"put", b"DB", b"\xff\x80", b"\xfe"]);
    assert!(put.status.success());
    assert_eq!(folder.run_bytes(&[b"get", b"DB", b"\xff\x80"]).stdout, b"\xfe\n");
    let refused = folder.run_bytes(&[b"put", b"DB", b"--tree", b"\xff", b"k", b"v"]);
    assert_eq!(failure_of(&refused), (2, "the tree's name is not UTF-8".into()));
}

#[test]
fn names_of_trees_are_escaped_too() {
    let folder = Folder::new();
    folder.printed(&["put", "DB", "--tree", "two\\nlines", "k", "v"]);
    assert_eq!(folder.printed(&["trees", "DB"]), b"two\\nlines\n");
    assert_eq!(folder.printed(&["get", "DB", "k", "--tree", "two\\nlines"]), b"v\n");
}

#[test]
fn other_backslashes_are_refused_by_line_and_column() {
    let folder = Folder::loaded(b"");
    for (input, expected) in [
        (&b"a\tb\nc\td\\re\n"[..], "line 2, column 4: \\r is no escape"),
        (b"k\\x\tv\n", "line 1, column 2: \\x is no escape"),
        (b"k\tv\\", "line 1, column 4: a backslash ends the field"),
    ] {
        let (exit, sentence) = failure_of(&folder.run_with(&["load", "DB"], input));
        assert_eq!(exit, 2);
        assert!(sentence.starts_with(expected), "{sentence}");
        assert!(sentence.ends_with("; 0 rows committed"), "{sentence}");
    }
    let (exit, sentence) = folder.failure(&["put", "DB", "key", "a\\0"]);
    assert_eq!(exit, 2);
    assert!(sentence.starts_with("VALUE, column 2: \\0 is no escape"), "{sentence}");
}

#[test]
fn the_last_line_needs_no_newline() {
    let folder = Folder::loaded(b"a\t1\nb\t2");
    assert_eq!(folder.printed(&["scan", "DB"]), b"a\t1\nb\t2\n");
}

#[test]
fn a_value_may_hold_a_plain_tab() {
    let folder = Folder::loaded(b"a\t1\t2\n");
    assert_eq!(folder.printed(&["scan", "DB"]), b"a\t1\\t2\n");
}

#[test]
fn compressed_input_is_recognised_in_files_and_pipes() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(LINES).unwrap();
    let compressed = encoder.finish().unwrap();
    let piped = Folder::loaded(&compressed);
    assert_eq!(sorted(&piped.printed(&["scan", "DB"])), sorted(LINES));

    let folder = Folder::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &compressed).unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(folder.printed(&["load", "DB", path]), b"loaded 7 rows\n");
    assert_eq!(sorted(&folder.printed(&["scan", "DB"])), sorted(LINES));

    std::fs::write(file.path(), &compressed[..compressed.len() / 2]).unwrap();
    let (exit, sentence) = folder.failure(&["load", "DB", path]);
    assert_eq!(exit, 4);
    assert!(sentence.contains("of the input cannot be read"), "{sentence}");
}
