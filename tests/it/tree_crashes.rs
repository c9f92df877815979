//! Crashes at every operation of workloads that create, rename, drop and truncate trees: what is
//! found afterwards is what there was after one of the deeds.
//!
//! A killed process loses nothing that was acknowledged; a power cut loses a tail of what came
//! after the last sync or checkpoint, whole deeds only.

use std::collections::BTreeMap;

use sapwood::{Compression, Database, Result, TreeConfig, merge};

use crate::sim::disk::{Cut, SimDisk};
use crate::sim::machine::open;
use crate::sim::workload::Shape;

/// The rows of all trees, by name.
type World = BTreeMap<String, BTreeMap<String, String>>;

/// What is done to the database.
#[derive(Clone, Debug)]
enum Deed {
    Create(&'static str),
    /// With every option, none of them the default.
    CreateRaw(&'static str),
    Rename(&'static str, &'static str),
    Drop(&'static str),
    Truncate(&'static str),
    /// A row with a value of so many bytes.
    Insert(&'static str, &'static str, usize),
    Sync,
    Checkpoint,
    Drain,
    Maintain,
}

impl Deed {
    fn play(&self, db: &Database) -> Result<()> {
        match self {
            Deed::Create(name) => db.tree(name).map(drop),
            Deed::CreateRaw(name) => db.tree_with(name, raw).map(drop),
            Deed::Rename(old, new) => db.rename_tree(old, new),
            Deed::Drop(name) => db.drop_tree(name),
            Deed::Truncate(name) => db.existing_tree(name)?.truncate(),
            Deed::Insert(name, key, bytes) => {
                db.existing_tree(name)?.insert(key, value(key, *bytes))
            }
            Deed::Sync => db.sync(),
            Deed::Checkpoint => db.checkpoint(),
            Deed::Drain => db.daemon().drain(),
            Deed::Maintain => db.maintain(1000).map(drop),
        }
    }

    /// What the deed makes of the world.
    fn change(&self, world: &mut World) {
        match self {
            Deed::Create(name) | Deed::CreateRaw(name) => {
                world.entry((*name).to_owned()).or_default();
            }
            Deed::Rename(old, new) => {
                let rows = world.remove(*old).unwrap();
                assert!(world.insert((*new).to_owned(), rows).is_none());
            }
            Deed::Drop(name) => {
                world.remove(*name).unwrap();
            }
            Deed::Truncate(name) => world.get_mut(*name).unwrap().clear(),
            Deed::Insert(name, key, bytes) => {
                world.get_mut(*name).unwrap().insert((*key).to_owned(), value(key, *bytes));
            }
            Deed::Sync | Deed::Checkpoint | Deed::Drain | Deed::Maintain => {}
        }
    }

    /// Whether everything before it survives a power cut once it is done.
    fn is_durable(&self) -> bool {
        matches!(self, Deed::Sync | Deed::Checkpoint)
    }
}

fn raw(tree: TreeConfig) -> TreeConfig {
    tree.compression(Compression::None).page_bytes(4096).merge_operator(merge::Append)
}

fn value(key: &str, bytes: usize) -> String {
    key.repeat(bytes / key.len() + 1)
}

/// Names that change places, so that a replay in part finds each of them taken.
fn deeds() -> Vec<Deed> {
    use Deed::*;
    let mut deeds = vec![
        Create("a"),
        Insert("a", "one", 40),
        Rename("a", "b"),
        Create("a"),
        Insert("a", "two", 300),
        Insert("b", "three", 2_000),
        Sync,
        Rename("a", "c"),
        Rename("b", "a"),
        Rename("c", "b"),
        Checkpoint,
        Rename("b", "d"),
        Insert("d", "four", 700),
        Rename("d", "b"),
        Truncate("a"),
        Insert("a", "five", 10),
        Drain,
        CreateRaw("c"),
        Insert("c", "six", 500),
        Rename("c", "raw"),
        Rename("a", "c"),
        Maintain,
        Checkpoint,
        Rename("c", "a"),
        Create("c"),
        Insert("c", "seven", 1_000),
    ];
    deeds.extend([Checkpoint, Rename("a", "e"), Truncate("b"), Sync, Drain, Checkpoint]);
    deeds
}

/// What was played, and what the disk may hold after it.
struct Played {
    disk: SimDisk,
    /// The world after each deed, the empty one first.
    worlds: Vec<World>,
    /// How many deeds were acknowledged.
    done: usize,
    /// How many of them survive a power cut.
    durable: usize,
}

fn shape() -> Shape {
    Shape { checkpoint_bytes: 1 << 40, ..Shape::small() }
}

fn play(seed: u64, deeds: &[Deed], operation: u64) -> Played {
    let disk = SimDisk::new(seed);
    disk.crash_at(operation);
    let mut worlds = vec![World::new()];
    for deed in deeds {
        let mut world = worlds.last().unwrap().clone();
        deed.change(&mut world);
        worlds.push(world);
    }
    let mut played = Played { disk, worlds, done: 0, durable: 0 };
    let Ok(db) = open(&played.disk, &shape()) else { return played };
    for deed in deeds {
        if let Err(error) = deed.play(&db) {
            assert!(played.disk.is_crashed(), "{deed:?} fails on a sound disk: {error}");
            break;
        }
        played.done += 1;
        if deed.is_durable() {
            played.durable = played.done;
        }
    }
    // A killed process does not close anything.
    db.abandon();
    played
}

fn world_of(db: &Database) -> World {
    let rows = |name: &String| {
        let tree = db.existing_tree(name).unwrap();
        let row = |row: Result<(sapwood::Slice, sapwood::Slice)>| {
            let (key, value) = row.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(&key), text(&value))
        };
        let forward: Vec<_> = tree.iter().map(row).collect();
        let mut backward: Vec<_> = tree.iter().rev().map(row).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        forward.into_iter().collect()
    };
    db.tree_names().iter().map(|name| (name.clone(), rows(name))).collect()
}

/// Opens what a crash has left, judges it, and goes on with it.
fn check(disk: &SimDisk, allowed: &[World], context: &str) {
    let db = open(disk, &shape()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found = world_of(&db);
    assert!(allowed.contains(&found), "{context}: found {found:?}");
    db.verify().unwrap_or_else(|error| panic!("{context}: {error}"));
    if found.contains_key("raw") {
        // A tree is there with all its options, or not at all.
        db.tree_with("raw", raw).unwrap_or_else(|error| panic!("{context}: {error}"));
        let other = |tree: TreeConfig| tree.compression(Compression::Lz4);
        assert!(db.tree_with("raw", other).is_err(), "{context}");
        let other = |tree: TreeConfig| tree.merge_operator(merge::AddU64);
        assert!(db.tree_with("raw", other).is_err(), "{context}");
    }
    let extra = db.tree("after the crash").unwrap();
    extra.insert("key", "value").unwrap();
    db.maintain(1000).unwrap();
    db.daemon().drain().unwrap();
    db.checkpoint().unwrap();
    db.verify().unwrap_or_else(|error| panic!("{context}, after a checkpoint: {error}"));
    let before = world_of(&db);
    assert_eq!(before.len(), found.len() + 1);
    db.close().unwrap();
    let db = open(disk, &shape()).unwrap();
    assert_eq!(world_of(&db), before, "{context}");
    db.verify().unwrap();
    db.close().unwrap();
}

const CUTS: [Cut; 5] =
    [Cut::LoseAll, Cut::KeepAll, Cut::KeepLastLoseFirst, Cut::Random(1), Cut::Random(2)];

fn crash_everywhere(deeds: &[Deed]) {
    let whole = play(1, deeds, u64::MAX);
    assert_eq!(whole.done, deeds.len());
    let total = whole.disk.operations();
    for operation in 0..=total {
        let Played { disk, worlds, done, durable } = play(1, deeds, operation);
        let newest = (done + 1).min(deeds.len());
        let context = format!("crash at {operation}, in {:?}", deeds.get(done));
        check(&disk.kill(), &worlds[done..=newest], &format!("{context}, kill"));
        for cut in CUTS {
            let context = format!("{context}, {cut:?}");
            check(&disk.power_cut(cut), &worlds[durable..=newest], &context);
        }
    }
    println!("{total} operations");
}

/// Trees of some height that are dropped before and after they are on disk, and made anew.
fn drops() -> Vec<Deed> {
    use Deed::*;
    const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let fill = |name, bytes| KEYS.map(|key| Insert(name, key, bytes));
    let mut deeds = vec![Create("a"), Create("b")];
    deeds.extend(fill("a", 900));
    deeds.extend([Drain, Insert("b", "one", 20), Checkpoint, Drop("a"), Create("a")]);
    deeds.extend([Insert("a", "two", 30), Sync, Maintain, Checkpoint, Drop("b")]);
    deeds.extend(fill("a", 600));
    deeds.extend([Rename("a", "b"), Checkpoint, Drop("b"), Create("b"), Maintain]);
    deeds.extend([Insert("b", "three", 10), Drop("b"), Create("a"), Sync, Checkpoint]);
    deeds.extend([Insert("a", "four", 40), Drop("a"), Checkpoint, Create("c"), Drop("c")]);
    deeds
}

#[test]
fn every_operation_around_dropped_trees_can_be_the_last() {
    crash_everywhere(&drops());
}

#[test]
fn every_operation_of_changes_of_the_catalog_can_be_the_last() {
    crash_everywhere(&deeds());
}
