//! `ycsb`: the six workloads of the Yahoo! Cloud Serving Benchmark, one after the other on one
//! store, from one thread.
//!
//! ```text
//! a   50 % reads, 50 % updates                    of rows drawn by Zipf's law
//! b   95 % reads,  5 % updates
//! c  100 % reads
//! f   50 % reads, 50 % reads each with an update of the row that was read
//! d   95 % reads of the latest rows, 5 % inserts
//! e   95 % scans of 1 to 100 rows, 5 % inserts
//! ```
//!
//! An engine that groups operations in transactions reads inside them what it has just written.

use std::collections::HashMap;

use super::changed;
use super::verify::verify_all;
use crate::Result;
use crate::answer::Answer;
use crate::bench::Bench;
use crate::row::{Draws, Rows, Value};
use crate::script::Sequence;
use crate::store::Operation;
use crate::zipf::Zipf;

const SCAN_ROWS_MAX: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Update,
    Insert,
    Scan,
    ReadWithUpdate,
}

/// Which rows are drawn most often.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hot {
    Some,
    Latest,
}

/// One of the six.
struct Mix {
    phase: &'static str,
    /// In percent.
    shares: &'static [(u64, Kind)],
    hot: Hot,
}

/// Those that insert come last, so that the others work on what was loaded.
const MIXES: [Mix; 6] = [
    Mix { phase: "a", shares: &[(50, Kind::Read), (50, Kind::Update)], hot: Hot::Some },
    Mix { phase: "b", shares: &[(95, Kind::Read), (5, Kind::Update)], hot: Hot::Some },
    Mix { phase: "c", shares: &[(100, Kind::Read)], hot: Hot::Some },
    Mix { phase: "f", shares: &[(50, Kind::Read), (50, Kind::ReadWithUpdate)], hot: Hot::Some },
    Mix { phase: "d", shares: &[(95, Kind::Read), (5, Kind::Insert)], hot: Hot::Latest },
    Mix { phase: "e", shares: &[(95, Kind::Scan), (5, Kind::Insert)], hot: Hot::Some },
];

impl Mix {
    /// The kind of operation that a number below 100 stands for.
    fn kind(&self, mut number: u64) -> Kind {
        for (percent, kind) in self.shares {
            match number.checked_sub(*percent) {
                None => return *kind,
                Some(rest) => number = rest,
            }
        }
        Kind::Read
    }
}

pub fn run(bench: &mut Bench<'_>) -> Result<()> {
    let mut store = changed::set_up(bench)?;
    let mut model = Model {
        rows: bench.rows,
        count: bench.job.sizes.changed_rows,
        versions: HashMap::new(),
        writes: 0,
    };
    let mut zipf = Zipf::new(model.count);
    let operations = bench.job.sizes.operations;
    for (index, mix) in MIXES.into_iter().enumerate() {
        let draws = Draws::new(bench.job.sizes.seed ^ (8 + index as u64));
        let prefix = format!("{}_", mix.phase);
        let (model, zipf) = (&mut model, &mut zipf);
        let mut sequence =
            Session { mix: &mix, model, zipf, draws, left: operations, done: 0, expected: None };
        let done = bench.run(&mut *store, &mut sequence, operations, mix.phase)?;
        let units = sequence.done;
        bench.tell_calls(&prefix, units, &done.latencies);
    }
    bench.begin("drain")?;
    store.drain()?;
    store.close()?;
    bench.tell_memory();
    bench.begin("verify")?;
    let store = bench.open()?;
    verify_all(&*store, bench.rows, model.count, &mut |number, value| {
        number < model.count && value == model.value(number)
    })?;
    store.close()
}

/// What the store must hold.
struct Model {
    rows: Rows,
    count: u64,
    /// Of rows that were updated; a row's version is the number of the write that made it.
    versions: HashMap<u64, u64>,
    writes: u64,
}

impl Model {
    fn value(&self, number: u64) -> Value {
        let version = self.versions.get(&number).copied().unwrap_or(0);
        self.rows.version(number, version)
    }

    fn update(&mut self, number: u64) -> Operation {
        self.writes += 1;
        self.versions.insert(number, self.writes);
        Operation::Put(self.rows.key(number), self.value(number))
    }

    fn insert(&mut self) -> Operation {
        self.count += 1;
        let number = self.count - 1;
        Operation::Put(self.rows.key(number), self.value(number))
    }
}

struct Session<'a> {
    mix: &'a Mix,
    model: &'a mut Model,
    zipf: &'a mut Zipf,
    draws: Draws,
    left: u64,
    done: u64,
    expected: Option<Expected>,
}

/// What the answer to the last operation must be.
enum Expected {
    Row(u64),
    /// The same, and then the row is updated.
    RowToUpdate(u64),
    Scan(u64, usize),
}

impl Session<'_> {
    fn draw(&mut self) -> u64 {
        let rank = self.zipf.rank(&mut self.draws);
        if self.mix.hot == Hot::Latest { self.model.count - 1 - rank } else { rank }
    }

    fn read(&mut self) -> Operation {
        let number = self.draw();
        self.expected = Some(Expected::Row(number));
        Operation::Get(self.model.rows.key(number))
    }

    fn read_with_update(&mut self) -> Operation {
        let number = self.draw();
        self.expected = Some(Expected::RowToUpdate(number));
        Operation::Get(self.model.rows.key(number))
    }

    fn scan(&mut self) -> Operation {
        let number = self.draw();
        let rows = 1 + self.draws.below(SCAN_ROWS_MAX) as usize;
        self.expected = Some(Expected::Scan(number, rows));
        Operation::Scan(self.model.rows.key(number), rows)
    }

    fn insert(&mut self) -> Operation {
        let operation = self.model.insert();
        self.zipf.grow(self.model.count);
        operation
    }
}

impl Sequence for Session<'_> {
    fn next(&mut self) -> Option<Operation> {
        if let Some(Expected::RowToUpdate(number)) = self.expected.take() {
            self.done += 1;
            return Some(self.model.update(number));
        }
        self.left = self.left.checked_sub(1)?;
        let kind = self.mix.kind(self.draws.below(100));
        if kind != Kind::ReadWithUpdate {
            self.done += 1;
        }
        Some(match kind {
            Kind::Read => self.read(),
            Kind::Update => {
                let number = self.draw();
                self.model.update(number)
            }
            Kind::Insert => self.insert(),
            Kind::Scan => self.scan(),
            Kind::ReadWithUpdate => self.read_with_update(),
        })
    }

    fn check(&mut self, answer: &Answer) -> Result<()> {
        let is_right = match self.expected {
            None => true,
            Some(Expected::Row(number) | Expected::RowToUpdate(number)) => {
                answer.is_found && answer.value == self.model.value(number)
            }
            Some(Expected::Scan(number, rows)) => {
                let is_first = answer.first == Some(self.model.rows.key(number));
                is_first && answer.is_in_order && answer.count <= rows
            }
        };
        if !matches!(self.expected, Some(Expected::RowToUpdate(_))) {
            self.expected = None;
        }
        match is_right {
            true => Ok(()),
            false => Err(format!("a wrong answer in ycsb {}", self.mix.phase).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mix_has_its_shares() {
        for mix in &MIXES {
            for (percent, kind) in mix.shares {
                let drawn = (0..100).filter(|number| mix.kind(*number) == *kind).count() as u64;
                assert_eq!(drawn, *percent, "of {}", mix.phase);
            }
        }
    }
}
