//! The simulated disk does what its rules say.

use std::io::ErrorKind;

use sapwood_serialize::{LockError, Storage, StorageFile};

use super::*;

fn create_durable(disk: &SimDisk, name: &str) -> Arc<dyn StorageFile> {
    let file = disk.create(name).unwrap();
    disk.sync_names().unwrap();
    file
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.err().expect("it fails").kind()
}

#[test]
fn synced_bytes_survive_and_unsynced_do_not() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    file.write_at(b"synced", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"later!", 0).unwrap();
    file.write_at(b"more", 10).unwrap();
    let read = |disk: &SimDisk| disk.read_file("a").unwrap();
    assert_eq!(read(&disk), b"later!\0\0\0\0more");
    assert_eq!(read(&disk.power_cut(Cut::LoseAll)), b"synced");
    assert_eq!(read(&disk.power_cut(Cut::KeepAll)), read(&disk));
    assert_eq!(read(&disk.power_cut(Cut::KeepLastLoseFirst)), b"synced\0\0\0\0more");
    assert_eq!(disk.pending(), 2);
    assert_eq!(read(&disk.power_cut(Cut::KeepOne(0))), b"later!");
    assert_eq!(read(&disk.power_cut(Cut::LoseOne(0))), b"synced\0\0\0\0more");
    let newest = |kept, others| read(&disk.power_cut(Cut::Newest { kept, others }));
    assert_eq!(newest(0b01, Others::Kept), b"synced\0\0\0\0more");
    assert_eq!(newest(0b10, Others::Lost), b"later!");
    for number in 0..4 {
        file.write_at(&[number], 20 + u64::from(number)).unwrap();
    }
    assert_eq!(newest(0, Others::Kept), b"later!\0\0\0\0more");
    assert_eq!(newest(0, Others::Lost), b"synced");
    assert_eq!(disk.power_cut(Cut::KeepAll).pending(), 0);
}

#[test]
fn random_cuts_reorder_across_files_and_repeat_by_seed() {
    let disk = SimDisk::new(1);
    let files = ["a", "b"].map(|name| create_durable(&disk, name));
    files[0].write_at(&[1; 4096], 0).unwrap();
    files[1].write_at(&[2; 4096], 0).unwrap();
    let lengths = |seed| {
        let found = disk.power_cut(Cut::Random(seed));
        ["a", "b"].map(|name| found.read_file(name).unwrap().len())
    };
    let all: Vec<_> = (0..200).map(lengths).collect();
    assert!([[0, 0], [0, 4096], [4096, 0], [4096, 4096]].iter().all(|case| all.contains(case)));
    assert_eq!(all, (0..200).map(lengths).collect::<Vec<_>>());
}

#[test]
fn a_file_without_a_durable_name_is_lost() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_at(b"synced", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.power_cut(Cut::LoseAll).list().unwrap(), [""; 0]);
    assert_eq!(disk.power_cut(Cut::KeepAll).read_file("a").unwrap(), b"synced");
    let listed: Vec<usize> =
        (0..50).map(|seed| disk.power_cut(Cut::Random(seed)).list().unwrap().len()).collect();
    assert!(listed.contains(&0) && listed.contains(&1));
    disk.sync_names().unwrap();
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"synced");
}

#[test]
fn a_removed_file_comes_back_until_its_removal_is_durable() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    file.write_at(b"old", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"unsynced", 0).unwrap();
    disk.remove("a").unwrap();
    let fresh = disk.create("a").unwrap();
    fresh.write_at(b"new", 0).unwrap();
    fresh.sync().unwrap();
    assert_eq!(disk.read_file("a").unwrap(), b"new");
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"old");
    disk.sync_names().unwrap();
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"new");
    let mut bytes = [0; 8];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"unsynced");
}

#[test]
fn files_that_nobody_can_reach_are_dropped() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    disk.remove("a").unwrap();
    disk.sync_names().unwrap();
    assert_eq!(disk.kill().state().files.len(), 0);
    assert_eq!(disk.state().files.len(), 1);
    drop(file);
    assert_eq!(disk.state().files.len(), 0);
}

#[test]
fn a_failing_sync_forgets_what_was_pending() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    file.write_at(b"lost", 0).unwrap();
    disk.fail_at(disk.operations(), ErrorKind::Other, Repeat::Once);
    assert_eq!(kind(file.sync()), ErrorKind::Other);
    file.write_at(b"kept", 8).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read_file("a").unwrap(), b"lost\0\0\0\0kept");
    assert_eq!(disk.kill().read_file("a").unwrap(), b"lost\0\0\0\0kept");
    for cut in [Cut::LoseAll, Cut::KeepAll] {
        assert_eq!(disk.power_cut(cut).read_file("a").unwrap(), b"\0\0\0\0\0\0\0\0kept");
    }
}

#[test]
fn a_failing_sync_of_names_forgets_them() {
    let disk = SimDisk::new(1);
    disk.create("a").unwrap();
    disk.fail_at(1, ErrorKind::Other, Repeat::Once);
    assert_eq!(kind(disk.sync_names()), ErrorKind::Other);
    disk.sync_names().unwrap();
    assert_eq!(disk.list().unwrap(), ["a"]);
    assert_eq!(disk.power_cut(Cut::KeepAll).list().unwrap(), [""; 0]);
}

#[test]
fn a_kill_loses_nothing_and_syncs_nothing() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    file.write_at(b"bytes", 0).unwrap();
    disk.create("b").unwrap();
    let found = disk.kill();
    assert_eq!(found.operations(), 0);
    assert_eq!(found.list().unwrap(), ["a", "b"]);
    assert_eq!(found.read_file("a").unwrap(), b"bytes");
    let after = found.power_cut(Cut::LoseAll);
    assert_eq!((after.list().unwrap(), after.read_file("a")), (vec!["a".into()], Some(vec![])));
    found.open("a").unwrap().sync().unwrap();
    assert_eq!(found.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"bytes");
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"", "disks are apart");
}

#[test]
fn nothing_happens_from_a_crash_on() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    let _held = disk.lock().unwrap();
    disk.crash_at(3);
    file.write_at(b"done", 0).unwrap();
    assert!(!disk.is_crashed());
    assert!(file.sync().is_err() && disk.is_crashed());
    let refused = [file.write_at(b"x", 0), file.set_len(0), file.read_at(&mut [0; 4], 0)];
    assert!(refused.iter().all(Result::is_err));
    assert!(disk.list().is_err() && disk.open("a").is_err() && disk.create("b").is_err());
    assert!(matches!(disk.lock(), Err(LockError::Io(_))));
    assert_eq!(disk.operations(), 3);
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"");
    let found = disk.kill();
    assert_eq!(found.read_file("a").unwrap(), b"done");
    found.lock().unwrap();
}

#[test]
fn errors_follow_their_schedule() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    disk.fail_at(2, ErrorKind::StorageFull, Repeat::Once);
    disk.fail_at(4, ErrorKind::Other, Repeat::Forever);
    assert_eq!(kind(file.write_at(b"x", 0)), ErrorKind::StorageFull);
    file.write_at(b"y", 0).unwrap();
    assert_eq!(kind(file.allocate(0, 10)), ErrorKind::Other);
    assert_eq!(kind(file.punch(0, 1)), ErrorKind::Other);
    assert_eq!(kind(disk.remove("a")), ErrorKind::Other);
    assert_eq!(disk.read_file("a").unwrap(), b"y");
    disk.fail_reads_at(1, ErrorKind::Other);
    let mut byte = [0];
    file.read_at(&mut byte, 0).unwrap();
    assert_eq!(kind(file.read_at(&mut byte, 0)), ErrorKind::Other);
    file.read_at(&mut byte, 0).unwrap();
    assert_eq!(disk.reads(), 3);
    disk.heal();
    file.allocate(0, 10).unwrap();
    assert_eq!(kind(file.read_at(&mut byte, 10)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(disk.open("b")), ErrorKind::NotFound);
    assert_eq!(kind(disk.create("../b")), ErrorKind::InvalidInput);
    assert_eq!(kind(file.set_len(u64::MAX)), ErrorKind::FileTooLarge);
}

#[test]
fn a_full_disk_refuses_what_takes_space() {
    let disk = SimDisk::new(1).with_capacity(4 * 4096);
    let [file, other] = ["a", "b"].map(|name| create_durable(&disk, name));
    file.allocate(0, 2 * 4096).unwrap();
    other.write_at(&[1; 2 * 4096], 0).unwrap();
    file.write_at(&[2; 2 * 4096], 0).unwrap();
    other.write_at(&[3; 4096], 4096).unwrap();
    assert_eq!(kind(file.write_at(b"x", 8192)), ErrorKind::StorageFull);
    assert_eq!(kind(file.allocate(0, 8193)), ErrorKind::StorageFull);
    assert_eq!(kind(file.set_len(8193)), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 8192);
    other.punch(0, 4096).unwrap();
    file.write_at(b"x", 8192).unwrap();
    assert_eq!(kind(other.write_at(b"x", 0)), ErrorKind::StorageFull);
    disk.remove("a").unwrap();
    other.write_at(b"x", 0).unwrap();
    let _larger = disk.clone().with_capacity(1 << 20);
    other.set_len(1 << 19).unwrap();
}

#[test]
fn rot_and_replaced_files_are_durable() {
    let disk = SimDisk::new(1);
    disk.write_file("a", &[1, 2, 3]);
    disk.flip("a", 1, 0x81);
    assert_eq!(disk.read_file("a").unwrap(), [1, 0x83, 3]);
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), [1, 0x83, 3]);
    disk.write_file("a", b"new");
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"new");
    assert_eq!((disk.operations(), disk.read_file("b")), (0, None));
    assert_eq!(disk.state().files.len(), 1);
}

#[test]
fn emptying_an_existing_file_is_pending_like_a_write() {
    let disk = SimDisk::new(1);
    let file = create_durable(&disk, "a");
    file.write_at(b"old", 0).unwrap();
    file.sync().unwrap();
    disk.create("a").unwrap();
    assert!(file.is_empty().unwrap());
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"old");
    file.sync().unwrap();
    assert_eq!(disk.power_cut(Cut::LoseAll).read_file("a").unwrap(), b"");
}

#[test]
fn equal_runs_are_equal() {
    let run = |byte| {
        let disk = SimDisk::new(7);
        let file = create_durable(&disk, "a");
        file.write_at(&[byte], 5).unwrap();
        file.start_writeback(0, 1);
        disk.sleep(Duration::from_secs(1));
        (disk.digest(), disk.random(), disk.now(), disk.kill().random())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    assert_eq!(run(1).2, Duration::from_micros(1_000_003));
    let disk = SimDisk::new(7);
    assert_ne!(disk.random(), disk.random());
    assert_eq!(disk.describe(), "a simulated disk");
}

#[test]
fn the_lock_is_exclusive_until_it_is_dropped() {
    let disk = SimDisk::new(1);
    let held = disk.lock().unwrap();
    assert!(matches!(disk.lock(), Err(LockError::Held(_))));
    disk.power_cut(Cut::KeepAll).lock().unwrap();
    drop(held);
    disk.lock().unwrap();
}
