//! Steps of transactions, several of which are open at once.

use sapwood::{Isolation, Result};

use super::open_transaction::OpenTransaction;
use super::player::{Player, logged};
use super::world::Deed;

impl Player<'_> {
    /// Begins a transaction, goes on with one, or ends one.
    pub(super) fn transact(&mut self) -> Result<()> {
        let count = self.held.transactions.len();
        if count == 0 || count < 3 && self.random.chance(25) {
            let isolation = match self.random.chance(50) {
                true => Isolation::Snapshot,
                false => Isolation::Serializable,
            };
            let tx = self.db().begin_with(isolation)?;
            let (trees, base) = (self.trees.clone(), self.history.now().clone());
            let begun = self.history.acknowledged();
            self.held.transactions.push(OpenTransaction::new(tx, isolation, trees, base, begun));
            return Ok(());
        }
        let at = self.random.index(count);
        for _ in 0..1 + self.random.below(5) {
            self.go_on_with(at)?;
        }
        match self.random.below(10) {
            0 => drop(self.held.transactions.swap_remove(at)),
            1..4 => {
                let open = self.held.transactions.swap_remove(at);
                self.end_transaction(open)?;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn go_on_with(&mut self, at: usize) -> Result<()> {
        let Some(name) = self.some_tree() else { return Ok(()) };
        let change = self.some_change(name);
        let (open, random) = (&mut self.held.transactions[at], &mut self.random);
        if !open.has(name) {
            return Ok(());
        }
        match random.below(12) {
            0..5 => open.change(change),
            5 | 6 => open.get(name, &change.key, random),
            7 | 8 => open.scan(name, &change.key, random),
            9 => open.walk(name, &change.key, random),
            10 => {
                open.save();
                Ok(())
            }
            _ => open.go_back(random),
        }
    }

    pub(super) fn end_transaction(&mut self, open: OpenTransaction) -> Result<()> {
        let durability = self.some_durability();
        let durability = if open.is_small() { durability } else { logged(durability) };
        let (is_orphaned, may_be_orphaned) = (open.is_orphaned(), open.may_be_orphaned());
        let (ended, done) = open.commit(durability);
        match &done {
            Ok(commit) => {
                assert!(!is_orphaned, "a change of a dropped tree is committed");
                assert_eq!(commit.changes, ended.changes.len() as u64, "changes of a commit");
                ended.check(self.history.now());
                if ended.changes.is_empty() {
                    return Ok(());
                }
            }
            Err(error) if error.is_conflict() => {
                self.explorer.tally.conflicts += 1;
                assert!(self.history.acknowledged() > ended.begun, "nobody else has committed");
                return Ok(());
            }
            Err(error) if may_be_orphaned && !error.is_indeterminate() => return Ok(()),
            Err(_) => {}
        }
        self.commit(&Deed::Write(ended.changes), durability, done)
    }
}
