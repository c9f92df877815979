//! Reads random keys, then everything forward and backward, and compares every row.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use sapwood::{Database, Slice, Tree};

use crate::demo::expected::{Expected, hash};
use crate::demo::{Plan, key_in_copy, per_second, progress};
use crate::failure::Failure;

/// How long it took.
pub struct ReadBack {
    rows: u64,
    random_reads: u64,
    random: Duration,
    forward: Duration,
    backward: Duration,
}

impl ReadBack {
    pub fn describe(&self) -> String {
        format!(
            "read {} random keys, {:.0} keys/s; scanned {} rows forward, {:.0} rows/s, and backward, \
             {:.0} rows/s; every row is as it was written",
            self.random_reads,
            per_second(self.random_reads, self.random),
            self.rows,
            per_second(self.rows, self.forward),
            per_second(self.rows, self.backward),
        )
    }
}

/// Reads and compares; a failure with exit code 1 names the first row that differs.
pub fn read_back(db: &Database, expected: &Expected, plan: &Plan) -> Result<ReadBack, Failure> {
    let tree = db.existing_tree("packages")?;
    let random = timed(|| read_random(&tree, expected, plan))?;
    let rows = expected.rows() * plan.copies;
    let forward = timed(|| {
        let positions = (0..plan.copies).flat_map(|copy| positions(expected, copy));
        scan(tree.iter(), positions, expected, &progress(rows, "scanning forward"))
    })?;
    let backward = timed(|| {
        let copies = (0..plan.copies).rev();
        let positions = copies.flat_map(|copy| positions(expected, copy).rev());
        scan(tree.iter().rev(), positions, expected, &progress(rows, "scanning backward"))
    })?;
    Ok(ReadBack { rows, random_reads: plan.random_reads, random, forward, backward })
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// A row of a copy: its number, and its index in the key order.
type Position = (u64, usize);

fn positions(expected: &Expected, copy: u64) -> impl DoubleEndedIterator<Item = Position> {
    let rows = usize::try_from(expected.rows()).unwrap_or(usize::MAX);
    (0..rows).map(move |index| (copy, index))
}

fn read_random(tree: &Tree, expected: &Expected, plan: &Plan) -> Result<(), Failure> {
    let bar = progress(plan.random_reads, "reading");
    let mut random = Random(0x5a9_0000_0001);
    let mut key = Vec::new();
    for _ in 0..plan.random_reads {
        let copy = random.below(plan.copies);
        let index = usize::try_from(random.below(expected.rows())).unwrap_or(0);
        let (name, value_hash) = expected.row(index);
        key_in_copy(&mut key, copy, name);
        let value = tree.get(&key)?;
        if value.is_none_or(|value| hash(&value) != value_hash) {
            return Err(differs(&key));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Compares rows with what should stand at `positions`.
fn scan(
    mut rows: impl Iterator<Item = sapwood::Result<(Slice, Slice)>>,
    positions: impl Iterator<Item = Position>,
    expected: &Expected,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut key = Vec::new();
    for (copy, index) in positions {
        let (name, value_hash) = expected.row(index);
        key_in_copy(&mut key, copy, name);
        let row = rows.next().transpose()?;
        let same = row.is_some_and(|(found, value)| *found == *key && hash(&value) == value_hash);
        if !same {
            return Err(differs(&key));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    match rows.next().transpose()? {
        Some((key, _)) => Err(differs(&key)),
        None => Ok(()),
    }
}

fn differs(key: &[u8]) -> Failure {
    Failure::absent(format!("the row \"{}\" is not as it was written", key.escape_ascii()))
}

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
