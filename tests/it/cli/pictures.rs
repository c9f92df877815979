//! The shape of a database as text and as a picture.

use std::fs;

use super::Folder;

/// Some hundred kilobytes, so that there is something to be seen, in two trees.
fn two_trees() -> Folder {
    let rows = (0..5_000).map(|number| format!("key {number:06}\tvalue {number:060}\n"));
    let folder = Folder::loaded(rows.collect::<String>().as_bytes());
    let loaded = folder.run_with(&["load", "DB", "-", "--tree", "<nuts>"], b"walnut\t1\n");
    assert!(loaded.status.success());
    folder
}

fn shape(folder: &Folder) -> String {
    String::from_utf8(folder.printed(&["dump", "DB", "--shape"])).unwrap()
}

#[test]
fn a_shape_has_a_line_for_each_node() {
    let folder = two_trees();
    let text = shape(&folder);
    for part in [
        ", takes messages: 0 messages wait, 0 bytes\n",
        "tree 1 \"default\": height 0, 0 internal nodes, 1 leaf, ",
        "tree 2 \"<nuts>\": height 0, 0 internal nodes, 1 leaf, ",
        " from the start: ",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let bars = text.lines().filter(|line| line.matches(['[', ']']).count() == 4);
    assert_eq!(bars.count(), 2, "{text}");
    let all = String::from_utf8(folder.printed(&["dump", "DB", "--shape", "--all"])).unwrap();
    // Each opening begins another generation, which has the first line.
    assert!(all.lines().skip(1).eq(text.lines().skip(1)), "{all}");
}

#[test]
fn a_picture_is_made_and_replaced() {
    let folder = two_trees();
    let path = folder.db.with_extension("svg");
    let draw = || {
        assert!(folder.printed(&["draw", "DB", path.to_str().unwrap()]).is_empty());
        fs::read_to_string(&path).unwrap()
    };
    let file = draw();
    assert!(file.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns="), "{file}");
    assert!(file.ends_with("</svg>\n"));
    assert!(file.contains("tree 2 &quot;&lt;nuts&gt;&quot;: height 0"), "{file}");
    fs::write(&path, "x".repeat(1 << 20)).unwrap();
    let again = draw();
    assert!(again.starts_with("<?xml") && again.ends_with("</svg>\n"));
    assert!(folder.printed(&["draw", "DB", "-"]).ends_with(b"</svg>\n"));
    assert_eq!(folder.printed(&["get", "DB", "key 000007"]).len(), 67);
}

#[test]
fn an_empty_database_has_a_shape_and_a_picture() {
    let folder = Folder::loaded(b"");
    assert!(shape(&folder).contains("generation "));
    let file = String::from_utf8(folder.printed(&["draw", "DB", "-"])).unwrap();
    assert!(file.starts_with("<?xml") && file.ends_with("</svg>\n"));
}

#[test]
fn a_picture_that_cannot_be_written_is_told() {
    let folder = two_trees();
    let before = fs::read_dir(&folder.db).unwrap().count();
    let check = |path: &str, reason: &str| {
        let (exit, sentence) = folder.failure(&["draw", "DB", path]);
        let expected = format!("the picture {path} cannot be written: {reason}");
        assert!(exit == 4 && sentence.starts_with(&expected), "{exit}: {sentence}");
    };
    check("/nowhere/out.svg", "No such file");
    check("/", "Is a directory");
    // What lies in the database is never replaced by a picture of it.
    check(folder.path("sapwood.db").to_str().unwrap(), "it lies in the database");
    check(folder.path("out.svg").to_str().unwrap(), "it lies in the database");
    check(folder.db.to_str().unwrap(), "it lies in the database");
    assert_eq!(fs::read_dir(&folder.db).unwrap().count(), before);
    assert_eq!(folder.printed(&["get", "DB", "walnut", "--tree", "<nuts>"]), b"1\n");
}

#[test]
fn a_missing_database_leaves_no_picture() {
    let folder = Folder::new();
    let path = folder.db.with_extension("svg");
    let (exit, sentence) = folder.failure(&["draw", "DB", path.to_str().unwrap()]);
    assert_eq!(exit, 4);
    assert!(sentence.starts_with("there is no database"), "{sentence}");
    assert!(!path.exists());
}
