//! Salvaging: of a database with one damaged byte, or a few, every row that is kept is right, or an
//! older one where the report says so; and what is missing is in the report.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood::{
    Background, Config, Database, Loss, MergeError, MergeOperator, Result, SalvageReport, merge,
};
use sapwood_serialize::Storage;

use crate::sim::disk::SimDisk;

const TREES: [&str; 3] = ["leaves", "sums", "texts"];
const KEYS: u64 = 120;
/// At every so manieth byte of a file, one bit is flipped.
const STRIDE: usize = 97;

/// All values that a key of a tree has had, newest last; `None` for none.
type History = BTreeMap<(&'static str, Vec<u8>), Vec<Option<Vec<u8>>>>;

type Files = BTreeMap<String, Vec<u8>>;

/// A database at rest with everything that was ever in it.
struct Specimen {
    files: Files,
    history: History,
}

fn tiny(disk: &SimDisk) -> Config {
    Config::on(Arc::new(disk.clone()))
        .tiny()
        .cache_bytes(256 << 10)
        .background(Background::Manual)
        .checkpoint_bytes(1 << 40)
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number:05}").into_bytes()
}

/// The newest value in a history.
fn newest<'h>(history: &'h History, name: &'static str, key: &[u8]) -> Option<&'h Vec<u8>> {
    history.get(&(name, key.to_vec()))?.last()?.as_ref()
}

/// Changes everything once, each time in another way: puts and removes, sums, and appended texts.
fn play(db: &Database, history: &mut History, round: u64) {
    let leaves = db.tree("leaves").unwrap();
    let sums = db.tree_with("sums", |tree| tree.merge_operator(merge::AddU64)).unwrap();
    let texts = db.tree_with("texts", |tree| tree.merge_operator(merge::Append)).unwrap();
    for number in (0..KEYS).filter(|number| (number + round).is_multiple_of(2) || round == 0) {
        let key = key(number);
        let mut note = |name, value| history.entry((name, key.clone())).or_default().push(value);
        if (number + round).is_multiple_of(7) {
            leaves.remove(&key).unwrap();
            note("leaves", None);
        } else {
            let value = format!("{number} in round {round} {}", "x".repeat(20)).into_bytes();
            leaves.insert(&key, &value).unwrap();
            note("leaves", Some(value));
        }
        let before = newest(history, "sums", &key).map_or(0, |sum| number_in(sum));
        sums.merge(&key, (number + round).to_le_bytes()).unwrap();
        let sum = (before + number + round).to_le_bytes().to_vec();
        history.entry(("sums", key.clone())).or_default().push(Some(sum));
        let before = newest(history, "texts", &key).cloned().unwrap_or_default();
        let operand = format!(",{round}").into_bytes();
        texts.merge(&key, &operand).unwrap();
        let text = [before, operand].concat();
        history.entry(("texts", key.clone())).or_default().push(Some(text));
    }
    let (lower, upper) = (key(20 * round), key(20 * round + 10));
    leaves.remove_range(lower..upper).unwrap();
    for number in 20 * round..20 * round + 10 {
        history.entry(("leaves", key(number))).or_default().push(None);
    }
}

fn number_in(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Killed,
}

impl Specimen {
    /// Messages at every height, and with a kill some in the log, too.
    fn new(end: End) -> Specimen {
        let disk = SimDisk::new(1);
        let mut history = History::new();
        let db = tiny(&disk).open().unwrap();
        for round in 0..4 {
            play(&db, &mut history, round);
            if round == 0 {
                db.daemon().drain().unwrap();
            }
            db.checkpoint().unwrap();
        }
        match end {
            End::Closed => db.close().unwrap(),
            End::Killed => {
                play(&db, &mut history, 4);
                db.sync().unwrap();
                db.maintain(100).unwrap();
                db.abandon();
            }
        }
        let names = disk.list().unwrap();
        let files = names.into_iter().map(|name| (name.clone(), disk.read_file(&name).unwrap()));
        Specimen { files: files.collect(), history }
    }

    /// Salvages the files after `harm` and checks what was kept.
    fn salvage(&self, what: &str, harm: impl FnOnce(&mut Files)) -> Result<SalvageReport> {
        let mut files = self.files.clone();
        harm(&mut files);
        let broken = SimDisk::new(2);
        files.iter().for_each(|(name, bytes)| broken.write_file(name, bytes));
        let (operations, saved) = (broken.operations(), SimDisk::new(3));
        let report = sapwood::salvage_on(Arc::new(broken.clone()), tiny(&saved));
        assert_eq!(broken.operations(), operations, "the broken files were changed");
        let report = report?;
        let db = tiny(&saved).read_only().open()?;
        for name in TREES {
            self.judge(what, name, &rows_of(&db, name)?, &report);
        }
        Ok(report)
    }

    /// Every row kept is right, or an older one where that was said; what is missing was said.
    fn judge(
        &self,
        what: &str,
        name: &'static str,
        rows: &BTreeMap<Vec<u8>, Vec<u8>>,
        report: &SalvageReport,
    ) {
        for ((_, key), values) in self.history.iter().filter(|((tree, _), _)| *tree == name) {
            let (found, expected) = (rows.get(key), values.last().unwrap().as_ref());
            if found == expected {
                continue;
            }
            let place = format!("{what}: {name} {}", key.escape_ascii());
            let told = told(report, name, key);
            match found {
                None => assert!(!told.is_empty(), "{place} is missing, and nobody says so"),
                Some(value) => {
                    assert!(values.contains(&Some(value.clone())), "{place} never was {value:?}");
                    assert!(told.contains(&Loss::Changes), "{place} is old, and nobody says so");
                }
            }
        }
        let known = |key: &Vec<u8>| self.history.contains_key(&(name, key.clone()));
        assert!(rows.keys().all(known), "{what}: {name} has a row that never was");
        let kept = report.trees.iter().find(|tree| tree.name == name).map_or(0, |tree| tree.rows);
        assert_eq!(kept, rows.len() as u64, "{what}: {name}");
    }
}

/// What the report says of a key.
fn told(report: &SalvageReport, name: &str, key: &[u8]) -> Vec<Loss> {
    let concerns = |damage: &&sapwood::Damage| {
        damage.keys.as_ref().is_none_or(|keys| keys.contains(name, key))
    };
    let told = report.damages.iter().filter(concerns).map(|damage| damage.loss);
    told.filter(|loss| *loss != Loss::Nothing).collect()
}

fn rows_of(db: &Database, name: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    if !db.tree_names().iter().any(|known| known == name) {
        return Ok(BTreeMap::new());
    }
    let rows = db.tree(name)?.iter();
    rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
}

#[test]
fn a_sound_database_is_salvaged_whole() {
    for end in [End::Closed, End::Killed] {
        let specimen = Specimen::new(end);
        let report = specimen.salvage("nothing", |_| ()).unwrap();
        assert!(report.is_whole() && report.damages.is_empty(), "{report:?}");
        assert_eq!(report.trees.len(), 3);
        let rows: u64 = report.trees.iter().map(|tree| tree.rows).sum();
        let values = specimen.history.values();
        assert_eq!(rows, values.filter(|values| values.last().unwrap().is_some()).count() as u64);
    }
}

/// Flips a bit here and there, one at a time, in each file. Returns how often something was lost,
/// nothing was, and nothing could be saved.
fn flip_through(end: End) -> [usize; 3] {
    let specimen = Specimen::new(end);
    let mut seen = [0; 3];
    for (name, bytes) in &specimen.files {
        for (step, offset) in (0..bytes.len()).step_by(STRIDE).enumerate() {
            let what = format!("a bit at {offset} of {name}");
            let salvaged = specimen.salvage(&what, |files| {
                files.get_mut(name).unwrap()[offset] ^= 1 << (step % 8);
            });
            match salvaged {
                Ok(report) if report.is_whole() => seen[1] += 1,
                Ok(_) => seen[0] += 1,
                Err(error) => {
                    let sentence = error.to_string();
                    assert!(error.is_corruption(), "{what}: {sentence}");
                    assert!(sentence.starts_with("nothing can be salvaged"), "{what}: {sentence}");
                    seen[2] += 1;
                }
            }
        }
    }
    println!("lost something, nothing, everything: {seen:?}");
    seen
}

#[test]
fn any_damaged_byte_of_a_closed_database_costs_only_what_is_told() {
    let [some, none, all] = flip_through(End::Closed);
    // What lies in the catalog of a closed database stands nowhere else.
    assert!(some > 100 && none > 10 && all < 10, "{some} {none} {all}");
}

#[test]
fn any_damaged_byte_of_a_killed_database_costs_only_what_is_told() {
    let [some, none, all] = flip_through(End::Killed);
    assert!(some > 100 && none > 10 && all == 0, "{some} {none} {all}");
}

/// Where the pages, nodes and tables of the files are, does not matter here: blocks go one by one.
#[test]
fn any_lost_block_costs_only_what_is_told() {
    for end in [End::Closed, End::Killed] {
        let specimen = Specimen::new(end);
        let blocks = specimen.files["sapwood.db"].len() / 4096;
        let mut hopeless = 0;
        for block in 0..blocks {
            let zero = |files: &mut Files| {
                files.get_mut("sapwood.db").unwrap()[block * 4096..][..4096].fill(0);
            };
            if let Err(error) = specimen.salvage(&format!("block {block}"), zero) {
                assert!(error.is_corruption(), "{error}");
                hopeless += 1;
            }
        }
        // The superblock and the catalog; there is no older checkpoint to go back to.
        assert!(hopeless <= 2, "{hopeless} of {blocks}");
    }
}

#[test]
fn a_page_that_is_damaged_takes_its_own_rows_only() {
    let disk = SimDisk::new(4);
    let db = tiny(&disk).open().unwrap();
    let tree = db.tree("t").unwrap();
    for number in 0..5000 {
        tree.insert(key(number), format!("value {number}")).unwrap();
    }
    db.daemon().drain().unwrap();
    db.close().unwrap();
    let bytes = disk.read_file("sapwood.db").unwrap();
    let page = bytes.windows(4).position(|window| window == b"swPg").unwrap();
    disk.flip("sapwood.db", page as u64 + 100, 1);
    let saved = SimDisk::new(5);
    let report = sapwood::salvage_on(Arc::new(disk), tiny(&saved)).unwrap();
    let [damage] = &report.damages[..] else { panic!("{report:?}") };
    let keys = damage.keys.as_ref().unwrap();
    assert_eq!(
        (&*damage.file, damage.offset, damage.loss),
        ("sapwood.db", page as u64, Loss::Rows)
    );
    assert_eq!(damage.what, "corrupt stored page: its checksum differs");
    let rows = rows_of(&tiny(&saved).open().unwrap(), "t").unwrap();
    for number in 0..5000 {
        assert_eq!(rows.contains_key(&key(number)), !keys.contains("t", &key(number)), "{number}");
    }
    let lost = 5000 - rows.len();
    assert!((1..1000).contains(&lost), "{lost} rows were lost by one page");
}

#[test]
fn without_a_superblock_or_a_catalog_it_says_so() {
    let specimen = Specimen::new(End::Closed);
    let slots = specimen.salvage("both slots", |files| {
        files.get_mut("sapwood.db").unwrap()[..8192].fill(0xff);
    });
    let sentence = "nothing can be salvaged from a simulated disk: both superblocks are damaged";
    assert!(slots.unwrap_err().to_string().starts_with(sentence));
    let rest = specimen.salvage("all behind the slots", |files| {
        files.get_mut("sapwood.db").unwrap()[8192..].fill(0xff);
    });
    let rest = rest.unwrap_err();
    assert!(rest.to_string().contains("the catalog, which tells what trees there are"), "{rest}");
    let nothing = specimen.salvage("the block file", |files| {
        files.remove("sapwood.db");
    });
    let nothing = nothing.unwrap_err().to_string();
    assert_eq!(nothing, "there is no database in a simulated disk");
    let newer = specimen.salvage("a newer version", |files| {
        let slot = &mut files.get_mut("sapwood.db").unwrap()[..4096];
        slot[8..12].copy_from_slice(&77u32.to_le_bytes());
        let seed = u64::from_le_bytes(slot[..8].try_into().unwrap());
        let sum = sapwood_serialize::checksum(seed, &slot[..4088]);
        slot[4088..].copy_from_slice(&sum.to_le_bytes());
    });
    assert!(newer.unwrap_err().to_string().contains("77"));
}

/// An operator of the user's, which salvaging does not know.
struct Longest;

impl MergeOperator for Longest {
    fn name(&self) -> &'static str {
        "longest"
    }

    fn apply(
        &self,
        _: &[u8],
        base: Option<&[u8]>,
        operand: &[u8],
    ) -> std::result::Result<Vec<u8>, MergeError> {
        let base = base.unwrap_or_default();
        Ok(if operand.len() > base.len() { operand } else { base }.to_vec())
    }
}

#[test]
fn operands_of_an_unknown_operator_go_over_as_they_are() {
    let disk = SimDisk::new(6);
    let db = tiny(&disk).open().unwrap();
    let tree = db.tree_with("t", |tree| tree.merge_operator(Longest)).unwrap();
    tree.insert("both", "base").unwrap();
    for (key, operand) in [("both", "abc"), ("both", "longest"), ("bare", "x"), ("bare", "yy")] {
        tree.merge(key, operand).unwrap();
    }
    db.abandon();
    let saved = SimDisk::new(7);
    let report = sapwood::salvage_on(Arc::new(disk), tiny(&saved)).unwrap();
    assert!(report.is_whole() && report.trees[0].rows == 2, "{report:?}");
    let db = tiny(&saved).open().unwrap();
    assert!(db.tree("t").unwrap().get("both").unwrap_err().is_merge());
    let tree = db.tree_with("t", |tree| tree.merge_operator(Longest)).unwrap();
    assert_eq!(tree.get("both").unwrap().as_deref(), Some(&b"longest"[..]));
    assert_eq!(tree.get("bare").unwrap().as_deref(), Some(&b"yy"[..]));
}

#[test]
fn a_folder_is_salvaged_into_an_empty_one_only() {
    let parent = tempfile::tempdir().unwrap();
    let (broken, saved) = (parent.path().join("broken"), parent.path().join("saved"));
    let db = Config::new(&broken).open().unwrap();
    db.tree("t").unwrap().insert("a", "1").unwrap();
    assert!(sapwood::salvage(&broken, &saved).unwrap_err().is_locked());
    assert!(!saved.exists(), "nothing is left of what failed");
    db.close().unwrap();
    assert!(sapwood::salvage(&broken, &saved).unwrap().is_whole());
    assert!(sapwood::salvage(&broken, &saved).unwrap_err().to_string().contains("is not empty"));
    assert!(sapwood::salvage(parent.path().join("absent"), parent.path().join("x")).is_err());
    assert!(!parent.path().join("x").exists());
    let db = Config::new(&saved).open().unwrap();
    assert_eq!(db.tree("t").unwrap().get("a").unwrap().as_deref(), Some(&b"1"[..]));
}
