//! Crashes with a story: the ones that other engines got wrong, or that this design must survive.

use sapwood::Durability;
use sapwood_serialize::Storage;

use crate::sim::disk::{Cut, SimDisk};
use crate::sim::machine::{Machine, Wreck, open};
use crate::sim::model::Change;
use crate::sim::workload::{Action, Shape, TREES};

/// No checkpoint happens unless it is asked for.
fn shape() -> Shape {
    Shape { checkpoint_bytes: 1 << 40, ..Shape::small() }
}

fn boot(disk: &SimDisk) -> Machine {
    let mut machine = Machine::boot(disk, shape()).unwrap();
    TREES.iter().for_each(|tree| machine.play(&Action::Create(tree)).unwrap());
    machine
}

fn row(tree: &'static str, key: &str, value: &str) -> Change {
    Change::put(tree, key, value)
}

fn commit(machine: &mut Machine, changes: &[Change], durability: Durability) {
    machine.play(&Action::Batch(changes.to_vec(), durability)).unwrap();
}

/// Rows in the first tree, `bytes` of value each.
fn fill(machine: &mut Machine, keys: std::ops::Range<u32>, round: u32, bytes: usize) {
    for number in keys {
        let value = format!("{round}-{number} ").repeat(bytes / 6 + 1);
        let change = row(TREES[0], &format!("key-{number:05}"), &value);
        commit(machine, &[change], Durability::Buffered);
    }
}

const CUTS: [Cut; 8] = [
    Cut::LoseAll,
    Cut::KeepAll,
    Cut::KeepLastLoseFirst,
    Cut::Random(1),
    Cut::Random(2),
    Cut::Random(3),
    Cut::Random(4),
    Cut::Random(5),
];

/// Kills the process, and cuts the power in every way; checks each.
fn check_all(wreck: &Wreck) {
    wreck.kill().check_and_cut();
    CUTS.iter().for_each(|cut| wreck.power_cut(*cut).check());
    for change in 0..wreck.disk.pending().min(40) {
        wreck.power_cut(Cut::KeepOne(change)).check();
        wreck.power_cut(Cut::LoseOne(change)).check();
    }
}

#[test]
fn a_batch_over_two_trees_is_whole_after_a_checkpoint_and_a_power_cut() {
    // A memtable and a log per tree would put one half into the checkpoint and lose the other.
    for operation in 0..60 {
        let disk = SimDisk::new(1);
        let mut machine = boot(&disk);
        fill(&mut machine, 0..5, 0, 20);
        let both = [row(TREES[0], "half", "one"), row(TREES[1], "half", "two")];
        commit(&mut machine, &both, Durability::Buffered);
        disk.crash_at(disk.operations() + operation);
        let checkpointed = machine.play(&Action::Checkpoint);
        let rest = [row(TREES[1], "after", "a"), row(TREES[2], "after", "b")];
        let written = machine.play(&Action::Batch(rest.to_vec(), Durability::Buffered));
        let is_over = checkpointed.is_ok() && written.is_ok();
        check_all(&machine.end());
        if is_over {
            return;
        }
    }
    panic!("a checkpoint of a few rows takes more than 60 operations");
}

#[test]
fn a_dirty_leaf_that_was_evicted_is_read_back_after_others_took_space() {
    let disk = SimDisk::new(2);
    let mut machine = boot(&disk);
    for round in 0..12 {
        // Each round rewrites every leaf several times the cache, so that leaves are written out
        // between checkpoints and what they replace is free for the next.
        fill(&mut machine, 0..120, round, 400);
        machine.play(&Action::Maintain(1000)).unwrap();
        machine.look().unwrap();
        if round % 4 == 3 {
            machine.play(&Action::Checkpoint).unwrap();
            machine.db().verify().unwrap();
        }
    }
    assert!(machine.db().stats().pages_read > 0, "the cache was not small enough");
    fill(&mut machine, 30..60, 99, 400);
    check_all(&machine.end());
}

#[test]
fn later_groups_of_the_log_survive_earlier_ones_and_are_not_believed() {
    let disk = SimDisk::new(3);
    let mut machine = boot(&disk);
    machine.play(&Action::Sync).unwrap();
    let synced = disk.pending();
    for number in 0..8 {
        let key = format!("key-{number}");
        let both = [row(TREES[0], &key, "one"), row(TREES[1], &key, "two")];
        commit(&mut machine, &both, Durability::Buffered);
    }
    let wreck = machine.end();
    assert!(wreck.disk.pending() >= synced + 8);
    // Each group but one: what lies behind the missing one must not be replayed, now or ever.
    for lost in synced..wreck.disk.pending() {
        wreck.power_cut(Cut::LoseOne(lost)).check();
        wreck.power_cut(Cut::LoseOne(lost)).check_and_cut();
    }
    check_all(&wreck);
}

#[test]
fn a_superblock_known_to_the_page_cache_alone_is_made_durable_before_anything_relies_on_it() {
    let disk = SimDisk::new(4);
    let mut machine = boot(&disk);
    fill(&mut machine, 0..40, 0, 200);
    machine.play(&Action::Checkpoint).unwrap();
    let (mut flips, begun) = (0, machine.end());
    for operation in 0..200 {
        let mut machine = begun.kill().recover();
        let disk = machine.disk.clone();
        fill(&mut machine, 0..40, 1, 200);
        disk.crash_at(disk.operations() + operation);
        if machine.play(&Action::Checkpoint).is_ok() {
            assert!(flips > 3, "a checkpoint has more operations than {flips}");
            return;
        }
        flips += 1;
        let killed = machine.end().kill();
        // Recovery after the kill is cut off by a power failure at each of its operations.
        for recovery in 0.. {
            let Some(cut_off) = killed.kill().crash_in_recovery(recovery) else { break };
            cut_off.power_cut(Cut::LoseAll).check();
            cut_off.power_cut(Cut::KeepLastLoseFirst).check();
            cut_off.power_cut(Cut::Random(operation * 100 + recovery)).check();
        }
    }
    panic!("the checkpoint never ends");
}

#[test]
fn a_synced_commit_right_after_a_seal_survives() {
    // The log's new file must have its header, and the old one its last groups, on disk as well.
    let mut seals = 0;
    for rows in 1..40 {
        let mut machine = boot(&SimDisk::new(5));
        fill(&mut machine, 0..rows, 0, 900);
        let before = machine.disk.list().unwrap().len();
        let late = [row(TREES[1], "late", "one"), row(TREES[2], "late", "two")];
        commit(&mut machine, &late, Durability::Synced);
        seals += usize::from(machine.disk.list().unwrap().len() > before);
        let wreck = machine.end();
        wreck.power_cut(Cut::LoseAll).check();
        wreck.power_cut(Cut::Random(u64::from(rows))).check();
    }
    assert!(seals > 0, "no commit came right after a seal");
}

#[test]
fn an_image_superseded_before_the_checkpoint_that_wrote_it_is_never_found() {
    // The checkpoint keeps a view; the writes after it replace every node that it holds.
    let disk = SimDisk::new(6);
    let mut machine = boot(&disk);
    for round in 0..6 {
        fill(&mut machine, 0..60, round, 300);
        machine.play(&Action::Checkpoint).unwrap();
        fill(&mut machine, 0..60, round + 100, 300);
        machine.play(&Action::Maintain(500)).unwrap();
        Wreck::of(&machine).kill().check();
        for cut in CUTS {
            Wreck::of(&machine).power_cut(cut).check();
        }
    }
    check_all(&machine.end());
}

#[test]
fn batches_without_a_log_are_lost_wholly_or_kept_wholly() {
    let disk = SimDisk::new(7);
    let mut machine = boot(&disk);
    for number in 0..20 {
        let key = format!("key-{number}");
        let durability = match number % 3 {
            0 => Durability::Buffered,
            1 => Durability::NoWal,
            _ => Durability::Synced,
        };
        let both = [row(TREES[0], &key, "one"), row(TREES[2], &key, "two")];
        commit(&mut machine, &both, durability);
        check_all(&Wreck::of(&machine));
    }
    machine.play(&Action::Checkpoint).unwrap();
    check_all(&Wreck::of(&machine));
    machine.end();
}

#[test]
fn a_database_that_was_closed_survives_any_power_cut() {
    let disk = SimDisk::new(8);
    let mut machine = boot(&disk);
    fill(&mut machine, 0..30, 0, 200);
    let (closed, wreck) = machine.close();
    closed.unwrap();
    check_all(&wreck);
}

/// Every file of the log but the newest must be there, with a header: the newest is only made when
/// the one before it is durable.
#[test]
fn a_log_file_that_is_lost_is_told_though_no_other_knew_it_durable() {
    let disk = SimDisk::new(1);
    let db = open(&disk, &Shape { checkpoint_bytes: 1 << 30, ..Shape::small() }).unwrap();
    let tree = db.tree("oak").unwrap();
    let files = || -> Vec<String> {
        let names = disk.list().unwrap().into_iter();
        names.filter(|name| name.starts_with("wal-")).collect()
    };
    let before = files().len();
    for number in 0.. {
        tree.insert(format!("{number:06}"), [7; 100]).unwrap();
        if files().len() >= before + 2 {
            break;
        }
    }
    db.maintain(1).unwrap();
    let names = files();
    db.abandon();
    for (index, name) in names.iter().enumerate() {
        let is_newest = index + 1 == names.len();
        let (gone, emptied) = (disk.kill(), disk.kill());
        gone.remove(name).unwrap();
        emptied.write_file(name, &[]);
        for harmed in [gone, emptied] {
            let opened = open(&harmed, &Shape::small());
            let told = opened.as_ref().is_err_and(sapwood::Error::is_corruption);
            assert_eq!(told, !is_newest, "without {name}: {:?}", opened.err());
        }
    }
}

/// A frame behind the damage knows that what it has lost was durable: no shorter log, but an error.
#[test]
fn rot_in_a_synced_commit_is_told_by_the_commit_behind_it() {
    let disk = SimDisk::new(1);
    let db = open(&disk, &shape()).unwrap();
    let tree = db.tree("oak").unwrap();
    tree.insert("key", "value").unwrap();
    db.sync().unwrap();
    tree.insert("rotten", "what was synced").unwrap();
    db.sync().unwrap();
    tree.insert("last", "knows the one before it durable").unwrap();
    db.abandon();
    let place = |needle: &[u8]| {
        let is_log = |name: &String| name.starts_with("wal-") || name.starts_with("tail-");
        let files = disk.list().unwrap().into_iter().filter(is_log);
        let mut found = files.filter_map(|name| {
            let bytes = disk.read_file(&name)?;
            let at = bytes.windows(needle.len()).position(|window| window == needle)?;
            Some((name, at as u64))
        });
        found.next_back().unwrap()
    };
    let (name, at) = place(b"what was synced");
    let harmed = disk.kill();
    harmed.flip(&name, at, 1);
    let told = open(&harmed, &shape()).map(drop).unwrap_err();
    assert!(told.is_corruption() && told.to_string().contains(&name), "{told}");
    let (name, at) = place(b"knows the one");
    let torn = disk.kill();
    torn.flip(&name, at, 1);
    let db = open(&torn, &shape()).unwrap();
    assert_eq!(db.tree("oak").unwrap().iter().count(), 2, "nobody knew the last one durable");
}

/// A recovery that finds no space leaves the old log to the next one, made durable: what it shows
/// is there after a power cut, too.
#[test]
fn what_a_recovery_on_a_full_disk_has_shown_survives_a_power_cut() {
    let shape = shape();
    let disk = SimDisk::new(1);
    let db = open(&disk, &shape).unwrap();
    let tree = db.tree("oak").unwrap();
    let logs = |disk: &SimDisk| {
        disk.files().iter().filter(|(name, bytes)| name.starts_with("wal-") && *bytes > 0).count()
    };
    let mut rows = 0;
    while logs(&disk) < 3 {
        tree.insert(format!("{rows:06}"), [7; 100]).unwrap();
        rows += 1;
    }
    db.abandon();
    let full = disk.kill();
    full.limit(0);
    let db = open(&full, &shape).unwrap();
    let tree = db.tree("oak").unwrap();
    assert_eq!(tree.iter().count(), rows);
    let told = tree.insert("key", "value").unwrap_err().to_string();
    assert!(told.contains("the disk is full"), "{told}");
    db.abandon();
    full.unlimit();
    let db = open(&full.power_cut(Cut::LoseAll), &shape).unwrap();
    assert_eq!(db.tree("oak").unwrap().iter().count(), rows);
}

/// The same of what is in the log's tail alone, where a power cut has taken the space that the
/// log's file had for it.
#[test]
fn what_a_recovery_on_a_full_disk_has_shown_of_the_tail_survives_a_power_cut() {
    let disk = SimDisk::new(1);
    let db = open(&disk, &shape()).unwrap();
    let tree = db.tree("oak").unwrap();
    (0..12u8).for_each(|number| tree.insert([number], [7; 30]).unwrap());
    db.abandon();
    let full = disk.kill();
    let newest_log = |name: &&(String, u64)| name.0.starts_with("wal-") && name.1 > 0;
    let (log, _) = disk.files().iter().rfind(newest_log).unwrap().clone();
    let mut bytes = full.read_file(&log).unwrap();
    let own = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    bytes.truncate(own.next_multiple_of(8));
    full.write_file(&log, &bytes);
    let without_tail = full.kill();
    let tail = disk.list().unwrap().into_iter().find(|name| name.starts_with("tail-")).unwrap();
    without_tail.remove(&tail).unwrap();
    let rows = |db: &sapwood::Database| db.tree("oak").unwrap().iter().count();
    assert!(rows(&open(&without_tail, &shape()).unwrap()) < 12, "the tail holds the last rows");

    full.limit(0);
    let db = open(&full, &shape()).unwrap();
    assert_eq!(rows(&db), 12);
    db.abandon();
    full.unlimit();
    assert_eq!(rows(&open(&full.power_cut(Cut::LoseAll), &shape()).unwrap()), 12);
}

/// A recovery that is cut off leaves files of a log that it began; the next one is not misled.
#[test]
fn files_of_a_recovery_that_was_cut_off_are_not_taken_for_lost_ones() {
    let disk = SimDisk::new(1);
    let db = open(&disk, &Shape::small()).unwrap();
    let tree = db.tree("oak").unwrap();
    (0..20).for_each(|number| tree.insert([number], [7; 30]).unwrap());
    db.sync().unwrap();
    db.abandon();
    let mut wrecks = vec![disk.kill()];
    for depth in 0..3u64 {
        let mut later = Vec::new();
        for (number, wreck) in wrecks.iter().enumerate() {
            for operation in 0..40 {
                let attempt = wreck.kill();
                attempt.crash_at(operation);
                if let Ok(db) = open(&attempt, &Shape::small()) {
                    db.abandon();
                }
                for cut in [Cut::LoseAll, Cut::KeepAll, Cut::Random(operation + depth)] {
                    let found = attempt.power_cut(cut);
                    let db = open(&found.kill(), &Shape::small()).unwrap();
                    assert_eq!(db.tree("oak").unwrap().iter().count(), 20);
                    if number < 3 && operation % 5 == depth {
                        later.push(found);
                    }
                }
            }
        }
        wrecks = later;
    }
}

/// Who commits nothing as synced has what came before synced, as with any other batch.
#[test]
fn an_empty_commit_makes_durable_what_came_before() {
    let commits: [fn(&sapwood::Database); 3] = [
        |db| db.batch().commit(Durability::Synced).unwrap(),
        |db| db.batch().commit_async(Durability::Synced).unwrap().wait().unwrap(),
        |db| assert_eq!(db.begin().unwrap().commit_with(Durability::Synced).unwrap().changes, 0),
    ];
    for commit in commits {
        let disk = SimDisk::new(1);
        let db = open(&disk, &shape()).unwrap();
        db.tree("oak").unwrap().insert("key", "value").unwrap();
        commit(&db);
        let db = open(&disk.power_cut(Cut::LoseAll), &shape()).unwrap();
        assert_eq!(db.tree("oak").unwrap().get("key").unwrap().as_deref(), Some(&b"value"[..]));
    }
}
