//! What hot operations cost in instructions, for `benches/guard`: one operation, named by the
//! argument, on a database in memory whose background work is done by hand.
//!
//! ```text
//! prepare   the rows that the operation needs, not counted
//! measured  the operation, many times: callgrind counts in this function alone
//! print     how often it was done
//! ```
//!
//! Seeds are fixed and there is one thread, so that counts are the same from run to run.

use std::hint::black_box;

use sapwood::{Background, Config, Database, Durability, Result, Tree, merge};

const ROWS: u64 = 20_000;
const VALUE: [u8; 100] = [7; 100];

/// One operation: its name, how many rows there are before, and what is counted.
struct Operation {
    name: &'static str,
    rows: u64,
    /// Moves all rows into the leaves first.
    is_drained: bool,
    /// Returns how often it was done.
    work: fn(&Database, &Tree) -> Result<u64>,
}

const fn at_rest(name: &'static str, work: fn(&Database, &Tree) -> Result<u64>) -> Operation {
    Operation { name, rows: ROWS, is_drained: true, work }
}

const OPERATIONS: [Operation; 14] = [
    Operation { name: "insert", rows: 0, is_drained: false, work: insert },
    Operation { name: "insert_and_drain", rows: 0, is_drained: false, work: insert_and_drain },
    Operation { name: "insert_in_batches", rows: 0, is_drained: false, work: insert_in_batches },
    Operation { name: "upsert", rows: 0, is_drained: false, work: upsert },
    Operation { name: "get_from_memtable", rows: ROWS, is_drained: false, work: get_present },
    at_rest("get_present", get_present),
    at_rest("get_absent", get_absent),
    at_rest("scan_forward", scan_forward),
    at_rest("scan_backward", scan_backward),
    at_rest("scan_100_rows", scan_100_rows),
    at_rest("range_delete", range_delete),
    at_rest("snapshot", snapshot),
    at_rest("transaction_empty", transaction_empty),
    at_rest("transaction_of_one_row", transaction_of_one_row),
];

fn key(number: u64) -> [u8; 16] {
    let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((u128::from(mixed ^ (mixed >> 31)) << 64) | u128::from(number)).to_be_bytes()
}

fn put_rows(tree: &Tree, rows: u64) -> Result<u64> {
    (0..rows).try_for_each(|number| tree.insert(key(number), VALUE))?;
    Ok(rows)
}

fn insert(_: &Database, tree: &Tree) -> Result<u64> {
    put_rows(tree, ROWS)
}

fn insert_and_drain(db: &Database, tree: &Tree) -> Result<u64> {
    put_rows(tree, ROWS)?;
    db.daemon().drain()?;
    db.checkpoint()?;
    Ok(ROWS)
}

fn insert_in_batches(db: &Database, tree: &Tree) -> Result<u64> {
    for first in (0..ROWS).step_by(100) {
        let mut batch = db.batch();
        (first..first + 100).for_each(|number| {
            batch.insert(tree, key(number), VALUE);
        });
        batch.commit(Durability::Buffered)?;
    }
    Ok(ROWS)
}

fn upsert(_: &Database, tree: &Tree) -> Result<u64> {
    (0..ROWS).try_for_each(|number| tree.merge(key(number), 1u64.to_le_bytes()))?;
    Ok(ROWS)
}

fn get_present(_: &Database, tree: &Tree) -> Result<u64> {
    for number in 0..ROWS {
        assert!(tree.get(black_box(key(number)))?.is_some());
    }
    Ok(ROWS)
}

fn get_absent(_: &Database, tree: &Tree) -> Result<u64> {
    for number in ROWS..2 * ROWS {
        assert!(tree.get(black_box(key(number)))?.is_none());
    }
    Ok(ROWS)
}

fn scan_forward(_: &Database, tree: &Tree) -> Result<u64> {
    let mut cursor = tree.cursor();
    let mut rows = 0;
    while let Some(row) = cursor.next()? {
        black_box(row);
        rows += 1;
    }
    Ok(rows)
}

fn scan_backward(_: &Database, tree: &Tree) -> Result<u64> {
    let mut cursor = tree.cursor();
    let mut rows = 0;
    while let Some(row) = cursor.prev()? {
        black_box(row);
        rows += 1;
    }
    Ok(rows)
}

fn scan_100_rows(_: &Database, tree: &Tree) -> Result<u64> {
    const SCANS: u64 = 200;
    for number in 0..SCANS {
        for row in tree.range(key(number)..).take(100) {
            black_box(row?);
        }
    }
    Ok(SCANS)
}

fn range_delete(_: &Database, tree: &Tree) -> Result<u64> {
    const RANGES: u64 = 100;
    for number in 0..RANGES {
        let first = key(number);
        let mut end = first;
        end[8..].fill(0xff);
        tree.remove_range(first..end)?;
    }
    Ok(RANGES)
}

fn snapshot(db: &Database, _: &Tree) -> Result<u64> {
    (0..ROWS).for_each(|_| drop(black_box(db.snapshot())));
    Ok(ROWS)
}

fn transaction_empty(db: &Database, _: &Tree) -> Result<u64> {
    for _ in 0..ROWS {
        db.begin()?.commit()?;
    }
    Ok(ROWS)
}

fn transaction_of_one_row(db: &Database, tree: &Tree) -> Result<u64> {
    for number in 0..ROWS / 4 {
        let mut transaction = db.begin()?;
        transaction.insert(tree, key(number), VALUE)?;
        transaction.commit()?;
    }
    Ok(ROWS / 4)
}

/// Callgrind counts in here: the name is known to `benches/guard`.
#[inline(never)]
fn measured(operation: &Operation, db: &Database, tree: &Tree) -> Result<u64> {
    (operation.work)(db, tree)
}

fn run(operation: &Operation) -> Result<u64> {
    let db = Config::in_memory().cache_mib(64).background(Background::Manual).open()?;
    let tree = db.tree_with("rows", |tree| tree.merge_operator(merge::AddU64))?;
    put_rows(&tree, operation.rows)?;
    if operation.is_drained {
        db.daemon().drain()?;
        db.checkpoint()?;
        assert_eq!(tree.iter().count() as u64, operation.rows);
    }
    measured(operation, &db, &tree)
}

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(operation) = OPERATIONS.iter().find(|operation| operation.name == name) else {
        OPERATIONS.iter().for_each(|operation| println!("{}", operation.name));
        return Ok(());
    };
    println!("{}", run(operation)?);
    Ok(())
}
