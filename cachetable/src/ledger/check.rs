//! The checks of the ledger.

use std::collections::BTreeMap;

use sapwood_serialize::Extent;
use sapwood_serialize::superblock::SLOTS_BYTES;

use super::Ledger;

impl Ledger {
    /// Checks invariant 1, and that `reachable` (of the current view) is its used-set.
    pub fn check(&self, reachable: &BTreeMap<u64, u64>) -> Result<(), String> {
        let owned: BTreeMap<u64, u64> = self.used.iter().map(|(o, b)| (*o, *b)).collect();
        if owned != *reachable {
            let lost = owned.iter().find(|(offset, _)| !reachable.contains_key(offset));
            let wild = reachable.iter().find(|(offset, _)| !owned.contains_key(offset));
            return Err(format!(
                "the view's used-set is not what it reaches (not reached: {lost:?}, not owned: {wild:?})"
            ));
        }
        self.allocator.check()?;
        let mut taken = owned;
        let cut = self.in_progress.iter().flat_map(|cut| cut.used.iter());
        taken.extend(self.checkpointed.iter().chain(cut).map(|(o, b)| (*o, *b)));
        taken.extend(self.reserved.iter().chain(&self.waiting).map(|(o, b)| (*o, *b)));
        taken.extend(self.logged.iter().map(|(offset, logged)| (*offset, logged.bytes)));
        let mut all: Vec<Extent> = self.allocator.free_extents().collect();
        all.extend(self.allocator.hollow_extents());
        all.extend(taken.into_iter().map(|(offset, bytes)| Extent { offset, bytes }));
        all.sort_unstable();
        let mut end = SLOTS_BYTES;
        for extent in all {
            if extent.offset != end {
                return Err(format!("the space at byte {end} is lost or has two owners"));
            }
            end = extent.end();
        }
        if end == self.allocator.end() { Ok(()) } else { Err("the end of the file is lost".into()) }
    }
}
