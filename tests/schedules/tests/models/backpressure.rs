//! Writers that are faster than what moves their messages: they wait, and always get on.

use sapwood_schedules::disk::Disk;
use sapwood_schedules::explore::explore;
use sapwood_sim::random::Random;

use crate::stage::{self, key, spawn, value};

const WRITERS: u64 = 3;
const ROWS: u64 = 30;

fn writers_at_the_limit_get_on_on(random: &mut Random) {
    let db = stage::tight(&Disk::new(random.draw()));
    let tree = db.tree("t").unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let tree = tree.clone();
        spawn(move || {
            for row in 0..ROWS {
                tree.insert(key(writer * ROWS + row), value(row, 700)).unwrap();
            }
        })
    });
    stage::join(writers.collect::<Vec<_>>());
    assert!(db.stats().write_delay.iter().sum::<u64>() > 0, "no writer had to wait");
    assert_eq!(tree.iter().map(Result::unwrap).count() as u64, WRITERS * ROWS);
    db.close().unwrap();
}

#[test]
fn writers_at_the_limit_get_on() {
    explore("backpressure::writers_at_the_limit_get_on", 60, writers_at_the_limit_get_on_on);
}
