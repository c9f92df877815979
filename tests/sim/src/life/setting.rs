//! What a life is like: sizes, settings and mishaps, all drawn from its seed.

use std::sync::Arc;
use std::time::Duration;

use sapwood::{Background, Compression, Config, Database, Durability, Result, Tree};
use sapwood_flusher::Limits;

use crate::disk::SimDisk;
use crate::operators::with_operator;
use crate::random::Random;

/// What goes wrong in a life besides crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Nothing.
    Calm,
    /// Reads, writes and syncs fail, now and then half-done.
    Failing,
    /// The disk is full for a while.
    Full,
    /// Writes and syncs are lost or go astray though they are reported done, and bits rot.
    Lying,
}

/// What is wrong on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    Nothing,
    /// The disk ignores every sync.
    DeafDisk,
    /// The disk loses a write now and then, and nobody is supposed to know.
    LosingDisk,
    /// The engine does not sync what it should.
    HastyEngine,
    /// The engine leaves range deletes of batches out.
    SkippingEngine,
    /// The model expects a row more than was put in.
    GreedyModel,
}

/// Everything that is the same for a whole life.
#[derive(Clone, Debug)]
pub struct Setting {
    pub nature: Nature,
    pub sabotage: Sabotage,
    pub limits: Limits,
    pub cache_bytes: u64,
    pub checkpoint_bytes: u64,
    pub compression: Compression,
    /// How many different keys a tree can have.
    pub keys: u64,
    /// No value has more bytes, save a few large ones.
    pub value_bytes: u64,
    /// No batch has more changes.
    pub changes: u64,
    /// Steps of each era, and how many eras there are.
    pub steps: u64,
    pub eras: u64,
    /// About how many operations lie between two photographs.
    pub gap: u64,
    /// How often each sort of step comes.
    pub weights: [u64; Setting::SORTS],
    /// How often each durability comes.
    pub durabilities: [u64; 4],
}

impl Setting {
    /// How many sorts of steps there are.
    pub const SORTS: usize = 20;

    /// Draws everything.
    pub fn draw(random: &mut Random) -> Setting {
        let nature = match random.below(10) {
            0..5 => Nature::Calm,
            5..7 => Nature::Failing,
            7 => Nature::Full,
            _ => Nature::Lying,
        };
        let limits = limits(random);
        let value_bytes = pick(random, &[12, 80, 300, 900]);
        // More leaves cost more than they find.
        let keys_most = (150 * limits.leaf_bytes / value_bytes).max(12);
        let most = [24, 20, 10, 4, 4, 12, 10, 4, 4, 6, 6, 4, 4, 3, 3, 3, 4, 3, 2, 3];
        Setting {
            nature,
            sabotage: Sabotage::Nothing,
            limits,
            cache_bytes: pick(random, &[48 << 10, 64 << 10, 96 << 10, 192 << 10, 1 << 20]),
            checkpoint_bytes: pick(random, &[4 << 10, 12 << 10, 64 << 10, 1 << 20]),
            compression: pick(random, &[Compression::Lz4, Compression::None]),
            keys: pick(random, &[12, 40, 150, 600]).min(keys_most),
            value_bytes,
            changes: pick(random, &[3, 8, 24]),
            steps: 20 + random.below(70),
            eras: 1 + random.below(4),
            gap: 4 + random.below(12),
            weights: most.map(|most| random.below(most + 1)),
            durabilities: [6, 4, 2, 3].map(|most| random.below(most + 1)),
        }
    }

    /// How the database of this life is opened.
    pub fn config(&self, disk: &SimDisk) -> Config {
        Config::on(Arc::new(disk.clone()))
            .sized(self.limits)
            .cache_bytes(self.cache_bytes)
            .checkpoint_bytes(self.checkpoint_bytes)
            .background(Background::Manual)
    }

    pub fn open(&self, disk: &SimDisk) -> Result<Database> {
        self.config(disk).open()
    }

    /// A tree with the settings of this life, created when absent.
    pub fn tree(&self, db: &Database, name: &str) -> Result<Tree> {
        db.tree_with(name, |tree| with_operator(tree, name).compression(self.compression))
    }

    pub fn durability(&self, random: &mut Random) -> Durability {
        match random.weighted(&self.durabilities) {
            0 => Durability::Buffered,
            1 => Durability::Synced,
            2 => Durability::Interval(Duration::from_micros(random.below(400))),
            _ => Durability::NoWal,
        }
    }
}

fn pick<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[random.index(choices.len())]
}

/// Mostly tiny, so that a few dozen keys make some height.
fn limits(random: &mut Random) -> Limits {
    if random.chance(30) {
        return Limits::tiny();
    }
    let page_bytes = pick(random, &[128, 256, 512, 1024, 4096]);
    let segment_bytes = u64::from(page_bytes) * (1 + random.below(6));
    let piece_bytes = 64 + random.below(600);
    Limits {
        page_bytes,
        segment_bytes,
        leaf_bytes: segment_bytes * (1 + random.below(4)),
        fanout: 4 + random.index(6),
        piece_bytes,
        flush_piece_bytes: piece_bytes,
        runs: 1 + random.index(5),
        leaf_runs: 1 + random.index(5),
        runs_hard: 8,
        leaf_due_percent: 25 + random.below(100),
        holes_bytes: 4 << random.below(14),
    }
}
