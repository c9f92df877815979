//! A soak of a few seconds; `sapwood-sim soak --minutes N` is a longer one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sapwood_sim::soak::Soak;

#[test]
fn a_short_soak_finds_everything_as_it_should_be() {
    let folder = std::env::temp_dir().join(format!("sapwood-short-soak-{}", std::process::id()));
    let time = Duration::from_secs(4);
    let soak = Soak { folder: folder.clone(), time, cache_bytes: 16 << 20, seed: 1 };
    let counts = soak.run(&|line| println!("{line}"));
    std::fs::remove_dir_all(&folder).unwrap();
    for count in [&counts.writes, &counts.transactions, &counts.reads, &counts.scans] {
        assert!(count.load(Ordering::Relaxed) > 0);
    }
}
