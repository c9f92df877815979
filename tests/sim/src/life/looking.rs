//! Steps that read, alone and held across others, and steps that change nothing that is read.

use std::time::Duration;

use sapwood::{Result, Tree};

use super::held::{Held, HeldCursor, HeldIter, HeldSnapshot};
use super::player::Player;
use super::reading::{self, Way, all_trees};
use super::setting::Nature;
use super::world::shown;
use crate::disk::SimDisk;

impl Player<'_> {
    /// The handles of all trees.
    pub fn all(&self) -> Vec<(&'static str, Tree)> {
        self.trees.iter().map(|(name, tree)| (*name, tree.clone())).collect()
    }

    pub fn look(&mut self) -> Result<()> {
        self.explorer.tally.reads += 1;
        if self.random.chance(40) || self.history.is_in_doubt() {
            return self.look_at_all();
        }
        let Some(name) = self.some_tree() else { return Ok(()) };
        let keys: Vec<Vec<u8>> = (0..1 + self.random.below(4)).map(|_| self.some_key()).collect();
        let found = self.trees[name].multi_get(&keys)?;
        let rows = self.history.now().tree(name).expect("the tree is there");
        for (key, found) in keys.iter().zip(found) {
            let expected = rows.get(key).map(|value| &value[..]);
            assert_eq!(found.as_deref(), expected, "{name}/{}", shown(key));
        }
        let first = self.trees[name].first()?;
        let expected = rows.iter().next();
        assert_eq!(
            first.as_ref().map(|(key, _)| &key[..]),
            expected.map(|(key, _)| &key[..]),
            "the first key of {name}"
        );
        Ok(())
    }

    /// Reads everything and compares it.
    pub fn look_at_all(&mut self) -> Result<()> {
        let names = self.db().tree_names();
        assert!(names.iter().eq(self.trees.keys()), "there are the trees {names:?}");
        let way = Way::draw(&mut self.random);
        let found = reading::digest(self.db(), &self.all(), way)?;
        if !self.history.is_now(found) {
            let world = reading::world(self.db(), &self.all())?;
            let told = self.history.now().differences(&world);
            panic!("the running database, read {way:?}, differs: {told:?}");
        }
        Ok(())
    }

    pub(super) fn snapshot(&mut self) -> Result<()> {
        let count = self.held.snapshots.len();
        match self.random.below(6) {
            0 | 1 if count < 4 && !self.history.is_in_doubt() => {
                let (snapshot, trees) = (self.db().snapshot(), self.trees.clone());
                let world = self.history.now().clone();
                self.held.snapshots.push(HeldSnapshot { snapshot, world, trees });
            }
            2 if count > 0 => {
                self.held.snapshots.swap_remove(self.random.index(count));
            }
            _ if count > 0 => {
                self.explorer.tally.reads += 1;
                let (at, key) = (self.random.index(count), self.some_key());
                self.held.snapshots[at].read(&key, &mut self.random)?;
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn iterate(&mut self) -> Result<()> {
        let key = self.some_key();
        let (iters, cursors) = (self.held.iters.len(), self.held.cursors.len());
        match self.random.below(8) {
            0 | 1 if iters + cursors < 5 && !self.history.is_in_doubt() => {
                let Some(name) = self.some_tree() else { return Ok(()) };
                let rows = self.history.now().tree(name).expect("the tree is there").clone();
                let tree = &self.trees[name];
                if self.random.chance(50) {
                    let upper = self.random.chance(40).then(|| [&key[..], b"9"].concat());
                    self.held.iters.push(HeldIter::new(tree, rows, key, upper));
                } else {
                    self.held.cursors.push(HeldCursor::new(tree, rows));
                }
            }
            2 if iters > 0 => {
                self.held.iters.swap_remove(self.random.index(iters));
            }
            3 if cursors > 0 => {
                self.held.cursors.swap_remove(self.random.index(cursors));
            }
            _ => {
                self.explorer.tally.reads += 1;
                for _ in 0..1 + self.random.below(40) {
                    if iters > 0 {
                        let at = self.random.index(iters);
                        self.held.iters[at].pull(&mut self.random)?;
                    }
                    if cursors > 0 {
                        let at = self.random.index(cursors);
                        self.held.cursors[at].go(&key, &mut self.random)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.db().sync()?;
        self.show();
        self.history.synced();
        Ok(())
    }

    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.db().checkpoint()?;
        self.show();
        self.history.checkpointed();
        Ok(())
    }

    pub(super) fn maintain(&mut self) -> Result<()> {
        if self.random.chance(20) {
            let scale = self.random.below(40);
            let time = self.random.below(1 << scale);
            self.disk.advance(Duration::from_nanos(time));
        }
        let (now, steps) = (self.disk.time(), 1 + self.random.index(8));
        self.db().maintain(steps)?;
        self.show();
        // What was to be synced by now comes before all other work.
        let due = self.intervals.iter().filter(|(until, _)| *until <= now);
        if let Some(commits) = due.map(|(_, commits)| *commits).max() {
            self.history.synced_up_to(commits);
        }
        self.intervals.retain(|(until, _)| *until > now);
        Ok(())
    }

    pub(super) fn move_on(&mut self) -> Result<()> {
        match self.some_tree() {
            Some(name) if self.random.chance(50) => {
                let (from, to) = (self.some_key(), self.some_key());
                if self.random.chance(50) {
                    return self.trees[name].compact::<&[u8]>(..);
                }
                self.trees[name].compact(from.min(to.clone())..to)
            }
            _ => self.db().daemon().drain(),
        }
    }

    pub(super) fn verify(&mut self) -> Result<()> {
        self.explorer.tally.verifications += 1;
        self.db().verify().map(|_| ())
    }

    /// Closes and opens again, now and then for reading in between.
    pub(super) fn reopen(&mut self) -> Result<()> {
        self.held = Held::default();
        self.trees.clear();
        self.numbers = None;
        self.intervals.clear();
        let db = self.db.take().expect("the database is open");
        let closed = db.close();
        self.show();
        closed?;
        self.history.checkpointed();
        let setting = self.explorer.setting.clone();
        if self.random.chance(25) {
            let operations = self.disk.operations();
            let db = setting.config(&self.disk).read_only().open()?;
            let trees = all_trees(&db)?;
            let found = reading::digest(&db, &trees, Way::draw(&mut self.random))?;
            let is_lost = setting.nature == Nature::Lying && self.history.was_ever(found);
            assert!(self.history.is_now(found) || is_lost, "read-only: another world");
            assert!(trees.iter().all(|(_, tree)| tree.insert("k", "v").is_err()));
            drop((trees, db));
            assert_eq!(self.disk.operations(), operations, "a reader has written");
        }
        let db = setting.open(&self.disk)?;
        self.trees = all_trees(&db)?.into_iter().collect();
        self.db = Some(db);
        if setting.nature == Nature::Lying { self.find_again() } else { Ok(()) }
    }

    /// A disk that loses the newest superblock has the checkpoint before it to show: an older
    /// state, which nothing tells from the newest.
    fn find_again(&mut self) -> Result<()> {
        let way = Way::draw(&mut self.random);
        let found = reading::digest(self.db(), &self.all(), way)?;
        if !self.history.is_now(found) {
            assert!(self.history.was_ever(found), "opened again: another world");
            let world = reading::world(self.db(), &self.all())?;
            self.history = self.history.resettled(world);
        }
        Ok(())
    }

    /// Copies the database and looks at the copy.
    pub(super) fn copy(&mut self) -> Result<()> {
        let target = SimDisk::new(self.random.draw());
        self.db().checkpoint_onto(&target)?;
        let db = self.explorer.setting.open(&target)?;
        let found = reading::digest(&db, &all_trees(&db)?, Way::draw(&mut self.random))?;
        assert!(self.history.is_now(found), "a copy differs");
        db.verify()?;
        db.close()
    }
}
