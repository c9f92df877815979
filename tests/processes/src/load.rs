//! What a worker writes: batches over three trees, the contents of which follow from the number of
//! the last batch alone.
//!
//! ```text
//! batch n    scattered   24 rows all over the tree; those of batch n - 48 are removed
//!            ordered     24 rows behind all others; what is older than 48 batches goes in one
//!                        range delete
//!            sums        n is merged into "sum"; "last" is n
//! ```

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use sapwood::{Config, Database, Durability, Result, Tree, merge};
use sapwood_sim::random::Random;

const ROWS: u64 = 24;
/// So many batches are there at once.
const WINDOW: u64 = 48;
const VALUE_BYTES: u64 = 600;
const LAST: &str = "last";
const SUM: &str = "sum";

/// The three trees.
pub struct Load {
    db: Database,
    scattered: Tree,
    ordered: Tree,
    sums: Tree,
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn scattered_key(batch: u64, row: u64) -> Vec<u8> {
    let spread = Random::new(batch << 16 | row).draw() >> 40;
    format!("{spread:06x}/{batch}/{row}").into_bytes()
}

fn ordered_key(batch: u64, row: u64) -> Vec<u8> {
    format!("{batch:010}/{row:02}").into_bytes()
}

fn value(batch: u64, row: u64) -> Vec<u8> {
    let mut random = Random::new(batch << 20 | row);
    let mut value = vec![b'.'; usize::try_from(random.below(VALUE_BYTES)).unwrap()];
    let half = value.len() / 2;
    random.fill(&mut value[half..]);
    value
}

/// The rows of all trees after `last` batches.
fn expected(last: u64) -> [Rows; 3] {
    let mut rows = [Rows::new(), Rows::new(), Rows::new()];
    for batch in last.saturating_sub(WINDOW) + 1..=last {
        for row in 0..ROWS {
            rows[0].insert(scattered_key(batch, row), value(batch, row));
            rows[1].insert(ordered_key(batch, row), value(batch, row));
        }
    }
    if last > 0 {
        rows[2].insert(LAST.into(), last.to_le_bytes().into());
        rows[2].insert(SUM.into(), (last * (last + 1) / 2).to_le_bytes().into());
    }
    rows
}

impl Load {
    /// The trees of `db`, created where they are missing.
    pub fn open(db: Database) -> Result<Load> {
        let (scattered, ordered) = (db.tree("scattered")?, db.tree("ordered")?);
        let sums = db.tree_with("sums", |tree| tree.merge_operator(merge::AddU64))?;
        Ok(Load { db, scattered, ordered, sums })
    }

    pub fn db(&self) -> &Database {
        &self.db
    }

    /// The number of the last batch.
    pub fn last(&self) -> Result<u64> {
        let last = self.sums.get(LAST)?;
        Ok(last.map_or(0, |last| u64::from_le_bytes((*last).try_into().unwrap())))
    }

    /// Commits batch `number`, as durable as asked when it returns.
    pub fn commit(&self, number: u64, durability: Durability) -> Result<()> {
        let mut batch = self.db.batch();
        for row in 0..ROWS {
            batch.insert(&self.scattered, scattered_key(number, row), value(number, row));
            batch.insert(&self.ordered, ordered_key(number, row), value(number, row));
            if number > WINDOW {
                batch.remove(&self.scattered, scattered_key(number - WINDOW, row));
            }
        }
        if number > WINDOW {
            batch.remove_range(&self.ordered, ..ordered_key(number - WINDOW + 1, 0));
        }
        batch.insert(&self.sums, LAST, number.to_le_bytes());
        batch.merge(&self.sums, SUM, number.to_le_bytes());
        batch.commit(durability)
    }

    /// Everything is as so many batches leave it; returns how many.
    pub fn check(&self) -> Result<u64> {
        let last = self.last()?;
        let trees = [&self.scattered, &self.ordered, &self.sums];
        for (tree, expected) in trees.into_iter().zip(expected(last)) {
            let mut found = Rows::new();
            for row in tree.iter() {
                let (key, value) = row?;
                found.insert(key.to_vec(), value.to_vec());
            }
            assert!(found == expected, "{tree:?} is not as {last} batches leave it");
        }
        Ok(last)
    }
}

/// How a driver looks at what a worker has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Without a trace, so that the next worker recovers the same.
    ReadOnly,
    /// Recovering and closing it.
    Recover,
}

/// What is in `folder` is sound, has every acknowledged batch, and of all others at most the one
/// that was under way. Returns how many there are.
pub fn check_left(folder: &Path, acknowledged: u64, look: Look) -> u64 {
    check_between(folder, acknowledged..=acknowledged + 1, look)
}

/// The same where so many batches may be there.
pub fn check_between(folder: &Path, range: RangeInclusive<u64>, look: Look) -> u64 {
    let acknowledged = *range.start();
    if acknowledged == 0 && !folder.join("sapwood.db").exists() {
        return 0;
    }
    let config = Config::new(folder).cache_mib(64);
    let config = if look == Look::ReadOnly { config.read_only() } else { config };
    let db = match config.open() {
        Ok(db) => db,
        // A creation that was cut off is none.
        Err(error) if acknowledged == 0 && look == Look::ReadOnly => {
            assert!(!error.is_corruption(), "{error}");
            return 0;
        }
        Err(error) => panic!("{acknowledged} batches were acknowledged, and now: {error}"),
    };
    db.verify().unwrap();
    let load = match Load::open(db) {
        Ok(load) => load,
        Err(error) if acknowledged == 0 && look == Look::ReadOnly => {
            assert!(error.to_string().contains("no tree") || error.is_read_only(), "{error}");
            return 0;
        }
        Err(error) => panic!("{acknowledged} batches were acknowledged, and now: {error}"),
    };
    let last = load.check().unwrap();
    assert!(range.contains(&last), "{range:?} batches should be there, and {last} are");
    if look == Look::Recover {
        let db = load.db.clone();
        drop(load);
        db.close().unwrap();
    }
    last
}
