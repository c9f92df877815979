//! What a simulated user does: a list of actions from a seed.
//!
//! Each seed draws its own mixture, so that some workloads never checkpoint, some sync all the time
//! and some hardly log anything. The trees are created on the way, written to while they exist, and
//! now and then dropped.

use sapwood::Durability;

use crate::model::{Change, What};
use crate::random::Random;

/// The trees that workloads know.
pub const TREES: [&str; 3] = ["oak", "ash", "elm"];

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub actions: usize,
    /// How many different keys a tree can have.
    pub keys: u64,
    /// No value has more bytes.
    pub value_bytes: u64,
    /// No batch has more changes.
    pub changes: u64,
    pub cache_bytes: u64,
    pub checkpoint_bytes: u64,
}

impl Shape {
    /// A few pages of everything: small enough to crash at each operation.
    pub fn small() -> Shape {
        Shape {
            actions: 40,
            keys: 24,
            value_bytes: 300,
            changes: 6,
            cache_bytes: 64 << 10,
            checkpoint_bytes: 12 << 10,
        }
    }

    /// Trees of some height, more than the cache holds.
    pub fn large() -> Shape {
        Shape {
            actions: 400,
            keys: 600,
            value_bytes: 500,
            changes: 16,
            cache_bytes: 96 << 10,
            checkpoint_bytes: 100 << 10,
        }
    }
}

/// One call of the user.
#[derive(Clone, Debug)]
pub enum Action {
    Create(&'static str),
    Drop(&'static str),
    /// One change, buffered.
    Single(Change),
    Batch(Vec<Change>, Durability),
    /// The same in a transaction, with something in it that is taken back.
    Transaction(Vec<Change>, Durability),
    Sync,
    Checkpoint,
    Maintain(usize),
    /// No seed draws it, nor the next.
    Drain,
    Compact(&'static str),
    Reopen,
    Get(&'static str, Vec<u8>),
    Scan,
}

/// The actions of a seed.
pub fn actions(seed: u64, shape: &Shape) -> Vec<Action> {
    Author::new(seed, *shape).write()
}

/// Key number `number`: the empty one, runs of 0xff, and plain ones that share heads.
pub fn key(number: u64) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        1 | 2 => vec![0xff; usize::try_from(number).expect("small")],
        _ => format!("key-{:04}", number.wrapping_mul(2_654_435_761) % 10_000).into_bytes(),
    }
}

struct Author {
    random: Random,
    shape: Shape,
    weights: [u64; 10],
    trees: usize,
    serial: u64,
}

impl Author {
    fn new(seed: u64, shape: Shape) -> Author {
        let mut random = Random::new(seed);
        let most = [20, 20, 8, 3, 3, 8, 2, 4, 1, 4];
        let weights = most.map(|most| random.below(most + 1));
        Author { random, shape, weights, trees: 0, serial: 0 }
    }

    fn write(mut self) -> Vec<Action> {
        let first = Action::Create(TREES[0]);
        self.trees = 1;
        let rest = 1..self.shape.actions;
        let mut actions = vec![first];
        actions.extend(rest.map(|_| self.action()));
        actions
    }

    fn action(&mut self) -> Action {
        if self.trees < TREES.len() && self.random.chance(10) {
            self.trees += 1;
            return Action::Create(TREES[self.trees - 1]);
        }
        match self.kind() {
            0 => Action::Single(self.change()),
            1 => self.batch(Durability::Buffered),
            2 => self.batch(Durability::Synced),
            3 => self.batch(Durability::NoWal),
            4 if self.random.chance(50) => Action::Sync,
            4 => Action::Checkpoint,
            5 => Action::Maintain(1 + self.index(8)),
            6 => Action::Reopen,
            7 => Action::Get(self.tree(), self.key()),
            8 => Action::Scan,
            // As often made anew as dropped; one that is there already stays.
            _ if self.random.chance(50) => Action::Drop(self.tree()),
            _ => Action::Create(self.tree()),
        }
    }

    /// Draws by weight; where all are zero, the first.
    fn kind(&mut self) -> usize {
        let sum: u64 = self.weights.iter().sum();
        let mut place = self.random.below(sum.max(1));
        let passed = self.weights.iter().position(|weight| {
            let here = place < *weight;
            place = place.saturating_sub(*weight);
            here
        });
        passed.unwrap_or(0)
    }

    fn batch(&mut self, durability: Durability) -> Action {
        let count = 1 + self.random.below(self.shape.changes);
        let changes = (0..count).map(|_| self.change()).collect();
        match self.random.chance(40) {
            true => Action::Transaction(changes, durability),
            false => Action::Batch(changes, durability),
        }
    }

    fn change(&mut self) -> Change {
        let (tree, key) = (self.tree(), self.key());
        let what = match self.random.below(100) {
            0..15 => What::Remove,
            15..32 => What::Merge(self.value()),
            32..38 => What::RemoveRange(self.range_end(&key)),
            _ => What::Put(self.value()),
        };
        Change { tree, key, what }
    }

    fn tree(&mut self) -> &'static str {
        let count = self.trees;
        TREES[self.index(count)]
    }

    fn key(&mut self) -> Vec<u8> {
        key(self.random.below(self.shape.keys))
    }

    /// The end of a range from `key` on: mostly of a few keys, now and then of many or none.
    fn range_end(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let number = key.strip_prefix(b"key-").and_then(|digits| str::from_utf8(digits).ok());
        match number.and_then(|digits| digits.parse::<u64>().ok()) {
            Some(number) if !self.random.chance(10) => {
                let end = number + self.random.below(600);
                Some(format!("key-{end:04}").into_bytes())
            }
            _ => self.random.chance(70).then(|| self.key()),
        }
    }

    /// A value unlike any other, half of it compressible; some are empty.
    fn value(&mut self) -> Vec<u8> {
        self.serial += 1;
        if self.random.chance(5) {
            return Vec::new();
        }
        let mut value = format!("{:06} ", self.serial).into_bytes();
        let filler = self.random.below(self.shape.value_bytes);
        value.resize(value.len() + usize::try_from(filler).expect("small"), b'.');
        let half = value.len() / 2;
        let noise = value.get_mut(half.max(7)..).unwrap_or_default();
        self.random.fill(noise);
        value
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("below a usize")
    }
}
