//! What was done and found, counted.

use std::ops::AddAssign;
use std::time::Duration;

/// Counts of one life, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub lives: u64,
    /// Steps of the simulated users.
    pub steps: u64,
    /// Operations of the disks that were played on.
    pub operations: u64,
    /// Disks that were opened after a crash, each unlike any other of its life.
    pub states: u64,
    /// Disks that were like one that had been opened.
    pub repeats: u64,
    pub power_cuts: u64,
    pub kills: u64,
    /// Crashes inside of a recovery, and inside of the recovery of that, by depth.
    pub depths: [u64; 3],
    /// Lives that went on behind a crash.
    pub crashes_lived_through: u64,
    pub faults: u64,
    pub lies: u64,
    /// Damage that was told as such.
    pub corruptions: u64,
    pub full_disks: u64,
    pub verifications: u64,
    /// Disks that were opened for reading alone first.
    pub peeks: u64,
    /// Databases that were written on, emptied, and found small again.
    pub emptied: u64,
    pub conflicts: u64,
    pub commits: u64,
    pub reads: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        let Tally { depths, .. } = other;
        self.lives += other.lives;
        self.steps += other.steps;
        self.operations += other.operations;
        self.states += other.states;
        self.repeats += other.repeats;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.depths.iter_mut().zip(depths).for_each(|(sum, one)| *sum += one);
        self.crashes_lived_through += other.crashes_lived_through;
        self.faults += other.faults;
        self.lies += other.lies;
        self.corruptions += other.corruptions;
        self.full_disks += other.full_disks;
        self.verifications += other.verifications;
        self.peeks += other.peeks;
        self.emptied += other.emptied;
        self.conflicts += other.conflicts;
        self.commits += other.commits;
        self.reads += other.reads;
    }
}

impl Tally {
    /// All counts as lines, with what a state has cost of this time.
    pub fn told(&self, cpu: Duration) -> String {
        let micros = cpu.as_micros() / u128::from(self.states.max(1));
        let [once, twice, thrice] = self.depths;
        let lines = [
            format!("{} lives, {} eras ended by a crash", self.lives, self.crashes_lived_through),
            format!(
                "{} crash states ({} power cuts, {} kills), {} more were like others",
                self.states, self.power_cuts, self.kills, self.repeats
            ),
            format!(
                "    depth 1: {once}, in a recovery: {twice}, in the recovery of that: {thrice}"
            ),
            format!(
                "{} steps, {} commits, {} conflicts, {} storage operations, {} reads compared",
                self.steps, self.commits, self.conflicts, self.operations, self.reads
            ),
            format!(
                "{} faults, {} lies, {} corruptions told, {} full disks told",
                self.faults, self.lies, self.corruptions, self.full_disks
            ),
            format!(
                "{} verified, {} emptied and found small, {} read without a recovery first",
                self.verifications, self.emptied, self.peeks
            ),
            format!("{:.1} s of CPU time, {micros} us for each state", cpu.as_secs_f64()),
        ];
        lines.join("\n")
    }
}
