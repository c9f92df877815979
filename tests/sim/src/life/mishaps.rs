//! What goes wrong besides crashes, by the seed's schedule.

use std::io::ErrorKind;
use std::time::Duration;

use super::player::Player;
use super::setting::{Nature, Sabotage};
use crate::disk::{Lie, Repeat};

impl Player<'_> {
    /// Now and then plans a mishap for one of the next operations.
    pub fn mishap(&mut self) {
        if self.random.chance(2) {
            self.disk.advance(Duration::from_secs(self.random.below(1 << 30)));
        }
        if self.is_sabotaged(Sabotage::LosingDisk) && self.random.chance(20) {
            self.disk.lie_at(self.disk.operations() + self.random.below(4), Lie::Lose);
        }
        match self.explorer.setting.nature {
            Nature::Calm => {}
            Nature::Failing => self.plan_fault(),
            Nature::Full => self.fill_up(),
            Nature::Lying => self.plan_lie(),
        }
    }

    fn plan_fault(&mut self) {
        if !self.random.chance(6) {
            return;
        }
        self.explorer.tally.faults += 1;
        let at = self.disk.operations() + self.random.below(12);
        match self.random.below(8) {
            0 | 1 => {
                let read = self.disk.reads() + self.random.below(6);
                self.disk.fail_reads_at(read, ErrorKind::Other);
            }
            2 | 3 => self.disk.fail_halfway_at(at, ErrorKind::Other),
            4 => self.disk.fail_at(at, ErrorKind::Other, Repeat::Forever),
            5 => self.disk.fail_at(at, ErrorKind::StorageFull, Repeat::Once),
            _ => self.disk.fail_at(at, ErrorKind::Other, Repeat::Once),
        }
    }

    /// The disk becomes full, or has space again.
    fn fill_up(&mut self) {
        match self.random.below(20) {
            0 | 1 => {
                self.explorer.tally.faults += 1;
                let scale = self.random.below(16);
                self.disk.limit(self.random.below(1 << scale));
            }
            2 => {
                self.disk.unlimit();
                let written = self.checkpoint();
                assert!(written.is_ok(), "there is space again: {written:?}");
            }
            _ => {}
        }
    }

    fn plan_lie(&mut self) {
        if !self.random.chance(4) {
            return;
        }
        self.explorer.tally.lies += 1;
        let at = self.disk.operations() + self.random.below(12);
        match self.random.below(3) {
            0 => self.disk.lie_at(at, Lie::Lose),
            1 => {
                let by = [-4096, -512, 512, 4096, 12_288][self.random.index(5)];
                self.disk.lie_at(at, Lie::Misdirect(by));
            }
            _ => self.rot(),
        }
    }

    /// A bit of some file turns round.
    fn rot(&mut self) {
        let files = self.disk.files();
        let (name, length) = &files[self.random.index(files.len())];
        if *length > 0 {
            let offset = self.random.below(*length);
            self.disk.flip(name, offset, 1 << self.random.below(8));
        }
    }
}
