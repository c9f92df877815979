//! Real processes, really killed, at random moments of a load with synced batches: while the
//! database is opened, recovered from the kill before, or written.
//!
//! Each row names its load, its batch and its place there, so that what is found can be counted:
//! 1. `verify` finds everything sound;
//! 2. every acknowledged batch is there, whole, with the right values;
//! 3. no batch is there in part, and none without those before it;
//! 4. what earlier loads had left is still there.
//!
//! `SAPWOOD_SEED=N` replays the choices, though not the moments at which the system stops a
//! process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use sapwood::Config;

use super::Folder;
use crate::sim::random::Random;

const KILLS: u64 = 64;
/// A new database is begun after so many kills, so that looking at all rows stays quick.
const KILLS_PER_DATABASE: u64 = 8;

/// One killed load.
struct Load {
    number: u64,
    batch_rows: u64,
    value_bytes: u64,
    /// Batches that were acknowledged.
    acknowledged: u64,
    /// Batches that were found; known once somebody looked.
    found: Option<u64>,
}

impl Load {
    fn key(&self, batch: u64, row: u64) -> String {
        // What comes first is spread, so that a load writes all over the tree.
        let spread = Random::new(self.number << 40 | batch << 16 | row).draw() >> 48;
        format!("{spread:04x}/{}/{batch}/{row}", self.number)
    }

    fn value(&self, batch: u64, row: u64) -> Vec<u8> {
        let mut random = Random::new(batch << 20 | row);
        let length = usize::try_from(random.below(self.value_bytes)).unwrap();
        // Letters, so that nothing needs an escape.
        (0..length).map(|_| b'a' + u8::try_from(random.below(26)).unwrap()).collect()
    }
}

#[test]
fn what_was_acknowledged_survives_every_kill() {
    let seed = std::env::var("SAPWOOD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("replay with SAPWOOD_SEED={seed} cargo test --test it cli::kill");
    let mut random = Random::new(seed);
    let mut killed = 0;
    let mut acknowledged = 0;
    while killed < KILLS {
        let folder = Folder::new();
        let mut loads = Vec::new();
        for _ in 0..KILLS_PER_DATABASE {
            loads.push(load_and_kill(&folder, killed, &mut random));
            killed += 1;
            // One time in four the next load meets what the kill has left, and recovers it.
            if !random.chance(25) {
                check(&folder, &mut loads);
            }
        }
        check(&folder, &mut loads);
        acknowledged += loads.iter().map(|load| load.acknowledged).sum::<u64>();
    }
    assert!(acknowledged > KILLS, "hardly anything was written before the kills");
}

/// Loads rows without end, until the kill.
fn load_and_kill(folder: &Folder, number: u64, random: &mut Random) -> Load {
    let batch_rows = [1, 4, 40][usize::try_from(random.below(3)).unwrap()];
    let value_bytes = [20, 200, 2000][usize::try_from(random.below(3)).unwrap()];
    let mut load = Load { number, batch_rows, value_bytes, acknowledged: 0, found: None };
    let batch = batch_rows.to_string();
    let arguments = ["load", "DB", "-", "--durability", "synced", "--ack", "--batch", &batch];
    let mut command = folder.command(arguments.iter().map(std::ffi::OsStr::new));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // Now and then before the first batch, in the opening or the recovery.
    let most = if random.chance(20) { 500 } else { 60 };
    let wanted = if random.chance(20) { 0 } else { 1 + random.below(most) };
    let moment = Duration::from_micros(random.below(if wanted == 0 { 15_000 } else { 1_500 }));
    let fed = &load;
    let rows = thread::scope(|scope| {
        scope.spawn(move || feed(&mut input, fed));
        let mut rows = 0;
        while rows < wanted * batch_rows {
            rows = next_acknowledgement(&mut output).expect("the load has ended by itself");
        }
        thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(more) = next_acknowledgement(&mut output) {
            rows = more;
        }
        rows
    });
    assert_eq!(rows % batch_rows, 0, "a part of a batch was acknowledged");
    load.acknowledged = rows / batch_rows;
    load
}

/// Writes batches until nobody reads them any more.
fn feed(input: &mut impl Write, load: &Load) {
    for batch in 0.. {
        let mut lines = Vec::new();
        for row in 0..load.batch_rows {
            lines.extend_from_slice(load.key(batch, row).as_bytes());
            lines.push(b'\t');
            lines.extend_from_slice(&load.value(batch, row));
            lines.push(b'\n');
        }
        if input.write_all(&lines).is_err() {
            return;
        }
    }
}

fn next_acknowledgement(output: &mut impl BufRead) -> Option<u64> {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.strip_prefix("acked ")?.strip_suffix('\n')?.parse().ok()
}

/// Opens the database as the kill has left it, and looks at every row.
fn check(folder: &Folder, loads: &mut [Load]) {
    // A kill may have come before there was a database.
    let db = Config::new(&folder.db).cache_mib(8).open().unwrap();
    db.verify().unwrap();
    let mut batches = BTreeMap::<(u64, u64), u64>::new();
    if let Ok(tree) = db.existing_tree("default") {
        for row in tree.iter() {
            let (key, value) = row.unwrap();
            let key = String::from_utf8(key.to_vec()).unwrap();
            let numbers = key.split('/').skip(1).map(|number| number.parse().unwrap());
            let [number, batch, row] = numbers.collect::<Vec<u64>>().try_into().unwrap();
            let load = loads.iter().find(|load| load.number == number).unwrap();
            assert_eq!(key, load.key(batch, row));
            assert_eq!(&*value, load.value(batch, row), "the value of {key}");
            *batches.entry((number, batch)).or_default() += 1;
        }
    }
    for load in loads {
        let found: Vec<_> = batches.range((load.number, 0)..=(load.number, u64::MAX)).collect();
        for (index, ((_, batch), rows)) in found.iter().enumerate() {
            assert_eq!(*batch, index as u64, "a batch is missing before another one");
            assert_eq!(**rows, load.batch_rows, "batch {batch} is there in part");
        }
        let found = found.len() as u64;
        assert!(found >= load.acknowledged, "{found} of {} batches", load.acknowledged);
        assert_eq!(*load.found.get_or_insert(found), found, "an older load has changed");
    }
    db.close().unwrap();
}
