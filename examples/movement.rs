//! What movement costs: the figures of `docs/benchmarks.md` that are about bytes and pages.
//!
//! `cargo run --release --example movement -- WHAT [ROWS] [CACHE_MIB]`, where WHAT is `random`,
//! `probes`, `sequential`, `trickle`, `upserts`, `range` or `deletes`. Rows have 16-byte keys and
//! 100-byte values that cannot be compressed, so that bytes written are bytes before compression.

use std::time::Instant;

use sapwood::{Config, Database, Durability, Result, Stats, Tree, merge};

/// A number that looks random and differs for every argument.
fn mixed(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 32)
}

fn key(first: u64, second: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&second.to_be_bytes());
    key
}

fn random_key(number: u64) -> [u8; 16] {
    key(mixed(number), number)
}

fn value(number: u64) -> [u8; 100] {
    let mut value = [0; 100];
    for (index, chunk) in value.chunks_mut(8).enumerate() {
        let bytes = mixed(number * 13 + index as u64).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    value
}

struct Job {
    db: Database,
    rows: u64,
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let what = words.next().unwrap_or_else(|| "random".into());
    let mut numbers = words.map(|word| word.parse::<u64>().expect("a number"));
    let rows = numbers.next().unwrap_or(10_000_000);
    let cache_mib = numbers.next().unwrap_or(64);
    let folder = std::env::temp_dir().join(format!("sapwood-movement-{}", std::process::id()));
    // Draining is timed and counted by itself.
    let share = if what == "trickle" { 50 } else { 0 };
    let db = Config::new(&folder).cache_mib(cache_mib).idle_share(share).open()?;
    let job = Job { db: db.clone(), rows };
    match what.as_str() {
        "random" => job.random()?,
        "probes" => job.probes()?,
        "sequential" => job.sequential()?,
        "trickle" => job.trickle()?,
        "upserts" => job.upserts()?,
        "range" => job.range()?,
        "deletes" => job.deletes()?,
        other => eprintln!("{other} is no figure; see the head of this example"),
    }
    drop(job);
    db.close()?;
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}

impl Job {
    fn tree(&self) -> Result<Tree> {
        self.db.tree_with("rows", |tree| tree.merge_operator(merge::AddU64))
    }

    fn load(&self) -> Result<Tree> {
        let tree = self.tree()?;
        let start = Instant::now();
        for number in 0..self.rows {
            tree.insert(random_key(number), value(number))?;
        }
        println!("{} random rows in {:?}", self.rows, start.elapsed());
        Ok(tree)
    }

    /// Filters asked and pages read by a get right after a load.
    fn probes(&self) -> Result<()> {
        let tree = self.load()?;
        let before = self.db.stats();
        let gets = 100_000;
        for number in 0..gets {
            let number = mixed(number) % self.rows;
            assert!(tree.get(random_key(number))?.is_some(), "row {number} was lost");
        }
        let after = self.db.stats();
        let asked = asked(&after) - asked(&before);
        let pages = after.pages_read - before.pages_read;
        let each = |count: u64| count as f64 / gets as f64;
        println!("a get asked {:.2} filters and read {:.3} pages", each(asked), each(pages));
        println!("by height {:?}", after.filters);
        Ok(())
    }

    /// Bytes written a user byte, right after a load and drained.
    fn random(&self) -> Result<()> {
        let tree = self.load()?;
        self.report("loaded");
        let start = Instant::now();
        self.db.daemon().drain()?;
        println!("drained in {:?}, debt {} bytes", start.elapsed(), self.db.stats().debt_bytes);
        self.db.checkpoint()?;
        self.report("drained");
        let start = Instant::now();
        assert_eq!(tree.iter().count() as u64, self.rows);
        println!("a scan saw all rows in {:?}", start.elapsed());
        Ok(())
    }

    /// Bytes written a user byte for ascending keys in batches of 100.
    fn sequential(&self) -> Result<()> {
        let tree = self.tree()?;
        let start = Instant::now();
        for first in (0..self.rows).step_by(100) {
            let mut batch = self.db.batch();
            for number in first..(first + 100).min(self.rows) {
                batch.insert(&tree, key(0, number), value(number));
            }
            batch.commit(Durability::Buffered)?;
        }
        println!("{} ascending rows in {:?}", self.rows, start.elapsed());
        self.report("loaded");
        self.db.daemon().drain()?;
        self.db.checkpoint()?;
        self.report("drained");
        let shape = self.db.shape()?;
        let mut fills = Vec::new();
        leaf_fills(&shape.trees[0].top, &mut fills);
        let full = fills.iter().filter(|fill| **fill >= 90).count();
        println!("{full} of {} leaves are at least 90 % full", fills.len());
        Ok(())
    }

    /// Bytes written a user byte for one row a second, for ten minutes, into a drained tree.
    fn trickle(&self) -> Result<()> {
        let tree = self.load()?;
        self.db.daemon().wait_idle()?;
        let before = self.db.stats();
        println!("drained, debt {} bytes", before.debt_bytes);
        for second in 0..600 {
            tree.insert(random_key(self.rows + second), value(second))?;
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        let after = self.db.stats();
        let written = after.bytes_written - before.bytes_written;
        let user = after.user_bytes - before.user_bytes;
        println!("{:.2} bytes written a byte", written as f64 / user as f64);
        Ok(())
    }

    /// Pages read by a counter upsert over more counters than fit into memory.
    fn upserts(&self) -> Result<()> {
        let tree = self.tree()?;
        let add = |number: u64| tree.merge(random_key(number), 1u64.to_le_bytes());
        for number in 0..self.rows {
            add(number)?;
        }
        self.db.daemon().drain()?;
        let (before, start) = (self.db.stats(), Instant::now());
        for number in 0..self.rows {
            add(mixed(number) % self.rows)?;
        }
        println!("{} upserts in {:?}", self.rows, start.elapsed());
        let after = self.db.stats();
        let each = (after.pages_read - before.pages_read) as f64 / self.rows as f64;
        println!("{each:.4} pages read an upsert");
        self.db.daemon().drain()?;
        let drained = self.db.stats();
        let each = (drained.pages_read - before.pages_read) as f64 / self.rows as f64;
        println!("{each:.4} pages read an upsert, drained");
        let sum: u64 = tree
            .iter()
            .map(|row| Ok(u64::from_le_bytes(row?.1[..].try_into().expect("8 bytes"))))
            .sum::<Result<u64>>()?;
        assert_eq!(sum, 2 * self.rows, "upserts were lost");
        Ok(())
    }

    /// What the delete of half of all rows costs, and what reads cost after it.
    fn range(&self) -> Result<()> {
        let tree = self.load()?;
        self.db.daemon().drain()?;
        self.db.checkpoint()?;
        let full = self.db.stats();
        let half = key(u64::MAX / 2, 0);
        let start = Instant::now();
        tree.remove_range(..half)?;
        println!("half of all rows removed in {:?}", start.elapsed());
        let start = Instant::now();
        let first = tree.iter().next().expect("half is left")?;
        assert!(*first.0 >= half[..]);
        println!("the first row behind was found in {:?}", start.elapsed());
        let start = Instant::now();
        let gone = (0..100_000).filter(|number| {
            let key = random_key(mixed(*number) % self.rows);
            tree.get(key).is_ok_and(|found| found.is_none() == (key < half))
        });
        let right = gone.count();
        println!("{right} of 100000 gets were right, {:?} each", start.elapsed() / 100_000);
        let start = Instant::now();
        self.db.checkpoint()?;
        self.db.daemon().drain()?;
        self.db.checkpoint()?;
        let half = self.db.stats();
        println!("drained and checkpointed in {:?}", start.elapsed());
        println!(
            "live bytes {} before, {} after; file {} before, {} after; {} bytes dropped unread",
            full.live_bytes,
            half.live_bytes,
            full.file_bytes,
            half.file_bytes,
            half.movement.bytes_dropped
        );
        Ok(())
    }

    /// What is left after everything was deleted one by one, in another order.
    fn deletes(&self) -> Result<()> {
        let tree = self.load()?;
        let start = Instant::now();
        for number in 0..self.rows {
            // A permutation, where the number of rows has no factor in common with it.
            tree.remove(random_key(number * 7_919 % self.rows))?;
        }
        println!("removed one by one in {:?}", start.elapsed());
        self.db.daemon().drain()?;
        self.db.checkpoint()?;
        let stats = self.db.stats();
        println!(
            "{:?}, {} rows, file {} bytes",
            stats.trees["rows"],
            tree.iter().count(),
            stats.file_bytes
        );
        Ok(())
    }

    fn report(&self, when: &str) {
        let stats = self.db.stats();
        println!(
            "{when}: {:.2} bytes written a byte ({:.2} log), {:?}",
            stats.bytes_written as f64 / stats.user_bytes as f64,
            stats.wal_bytes as f64 / stats.user_bytes as f64,
            stats.trees["rows"]
        );
        let moved = &stats.movement;
        println!(
            "{} spills, {} flushes, {} of them into leaves, {:.2} bytes built a byte",
            moved.spills,
            moved.flushes,
            moved.reconciles,
            moved.bytes_built as f64 / stats.user_bytes as f64
        );
    }
}

fn asked(stats: &Stats) -> u64 {
    stats.filters.iter().map(|filter| filter.denied + filter.found + filter.misled).sum()
}

fn leaf_fills(node: &sapwood::NodeShape, fills: &mut Vec<u64>) {
    if node.height == 0 {
        fills.push(node.fill_percent);
    }
    node.children.iter().for_each(|child| leaf_fills(child, fills));
}
