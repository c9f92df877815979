//! A machine that runs a database on a simulated disk beside its model.
//!
//! ```text
//! Machine::boot -> play actions -> the disk crashes (or not) -> Wreck
//! Wreck::power_cut / kill -> Wreck::recover -> opened, read, judged by the model, verified
//! ```

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use sapwood::{Background, Config, Database, Durability, Error, Isolation, Result, Tree};

use crate::disk::{Cut, SimDisk};
use crate::model::{Change, Contents, Crash, Deed, Fate, Logging, Model, Rows, What};
use crate::operators::{declare, existing};
use crate::workload::{Action, Shape, TREES, key};

/// Opens what is on `disk`, in manual mode and with tiny sizes.
pub fn open(disk: &SimDisk, shape: &Shape) -> Result<Database> {
    config(disk, shape).open()
}

fn config(disk: &SimDisk, shape: &Shape) -> Config {
    Config::on(Arc::new(disk.clone()))
        .tiny()
        .cache_bytes(shape.cache_bytes)
        .checkpoint_bytes(shape.checkpoint_bytes)
        .background(Background::Manual)
}

/// A running database and what it should hold.
pub struct Machine {
    pub disk: SimDisk,
    pub model: Model,
    shape: Shape,
    db: Option<Database>,
    trees: BTreeMap<&'static str, Tree>,
}

impl Machine {
    /// Opens a new database.
    pub fn boot(disk: &SimDisk, shape: Shape) -> Result<Machine> {
        Machine::boot_with(disk, shape, |config| config)
    }

    /// Opens a new database with settings of its own, which last until it is closed.
    pub fn boot_with(
        disk: &SimDisk,
        shape: Shape,
        configure: impl FnOnce(Config) -> Config,
    ) -> Result<Machine> {
        let db = configure(config(disk, &shape)).open()?;
        Ok(Machine::around(db, disk.clone(), Model::default(), shape))
    }

    fn around(db: Database, disk: SimDisk, model: Model, shape: Shape) -> Machine {
        Machine { disk, model, shape, db: Some(db), trees: BTreeMap::new() }
    }

    /// The database, which is open.
    pub fn db(&self) -> &Database {
        self.db.as_ref().expect("the database is open")
    }

    /// Plays all actions; stops at the first error.
    pub fn play_all(&mut self, actions: &[Action]) -> Result<()> {
        actions.iter().try_for_each(|action| self.play(action))
    }

    /// Does one action and notes in the model what it promises.
    pub fn play(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Create(tree) => self.create(tree),
            Action::Drop(tree) => self.drop_tree(tree),
            Action::Single(change) => self.single(change),
            Action::Batch(changes, durability) => self.batch(changes, *durability),
            Action::Transaction(changes, durability) => self.transaction(changes, *durability),
            Action::Sync => {
                self.db().sync()?;
                self.model.synced();
                Ok(())
            }
            Action::Checkpoint => {
                self.db().checkpoint()?;
                self.model.checkpointed();
                Ok(())
            }
            Action::Maintain(steps) => self.db().maintain(*steps).map(|_| ()),
            Action::Drain => self.db().daemon().drain(),
            Action::Compact(tree) => self.trees[tree].compact::<&[u8]>(..),
            Action::Reopen => self.reopen(),
            Action::Get(tree, key) => self.get(tree, key),
            Action::Scan => self.look(),
        }
    }

    fn create(&mut self, tree: &'static str) -> Result<()> {
        let is_new = !self.db().tree_names().iter().any(|name| name == tree);
        let created = self.db().tree(tree);
        if is_new {
            let told = created.as_ref().map(|_| ());
            self.note(Deed::Create(tree), Logging::Logged, told.err());
        }
        created?;
        self.trees.insert(tree, declare(self.db(), tree)?);
        Ok(())
    }

    fn drop_tree(&mut self, tree: &'static str) -> Result<()> {
        let Some(handle) = self.trees.get(tree).cloned() else { return Ok(()) };
        let dropped = self.db().drop_tree(tree);
        self.note(Deed::Drop(tree), Logging::Logged, dropped.as_ref().err());
        dropped?;
        self.trees.remove(tree);
        assert!(handle.get("key").is_err(), "a dropped tree can be read");
        assert!(handle.insert("key", "value").is_err(), "a dropped tree can be written to");
        Ok(())
    }

    fn single(&mut self, change: &Change) -> Result<()> {
        // A tree that could not be created is not written to.
        let Some(tree) = self.trees.get(change.tree) else { return Ok(()) };
        let key = &change.key;
        let done = match &change.what {
            What::Put(value) => tree.insert(key, value),
            What::Remove => tree.remove(key),
            What::Merge(operand) => tree.merge(key, operand),
            What::RemoveRange(upper) => {
                tree.remove_range::<Vec<u8>>((Bound::Included(key), ends(upper)))
            }
        };
        self.note(Deed::Write(vec![change.clone()]), Logging::Logged, done.as_ref().err());
        done
    }

    fn batch(&mut self, changes: &[Change], durability: Durability) -> Result<()> {
        let mut batch = self.db().batch();
        let known = changes.iter().filter(|change| self.trees.contains_key(change.tree));
        let changes: Vec<Change> = known.cloned().collect();
        if changes.is_empty() {
            return Ok(());
        }
        for change in &changes {
            let (tree, key) = (&self.trees[change.tree], &change.key);
            match &change.what {
                What::Put(value) => batch.insert(tree, key, value),
                What::Remove => batch.remove(tree, key),
                What::Merge(operand) => batch.merge(tree, key, operand),
                What::RemoveRange(upper) => {
                    batch.remove_range::<Vec<u8>>(tree, (Bound::Included(key), ends(upper)));
                }
            }
        }
        let done = batch.commit(durability);
        self.note_changes(changes, durability, done)
    }

    fn transaction(&mut self, changes: &[Change], durability: Durability) -> Result<()> {
        let known = changes.iter().filter(|change| self.trees.contains_key(change.tree));
        let changes: Vec<Change> = known.cloned().collect();
        if changes.is_empty() {
            return Ok(());
        }
        let done = self.begin_and_commit(&changes, durability);
        self.note_changes(changes, durability, done)
    }

    fn begin_and_commit(&self, changes: &[Change], durability: Durability) -> Result<()> {
        let mut tx = self.db().begin_with(Isolation::Serializable)?;
        for (index, change) in changes.iter().enumerate() {
            let (tree, key) = (&self.trees[change.tree], &change.key);
            if index % 3 == 1 {
                let before = tx.get(tree, key)?;
                let savepoint = tx.savepoint();
                tx.remove(tree, key)?;
                tx.rollback_to(&savepoint)?;
                assert_eq!(tx.get(tree, key)?, before);
            }
            match &change.what {
                What::Put(value) => tx.insert(tree, key, value)?,
                What::Remove => tx.remove(tree, key)?,
                What::Merge(operand) => tx.merge(tree, key, operand)?,
                What::RemoveRange(upper) => {
                    tx.remove_range::<Vec<u8>>(tree, (Bound::Included(key), ends(upper)))?;
                }
            }
        }
        tx.commit_with(durability).map(|_| ())
    }

    fn note_changes(
        &mut self,
        changes: Vec<Change>,
        durability: Durability,
        done: Result<()>,
    ) -> Result<()> {
        let logging = match durability {
            Durability::NoWal => Logging::Unlogged,
            _ => Logging::Logged,
        };
        self.note(Deed::Write(changes), logging, done.as_ref().err());
        if done.is_ok() && durability == Durability::Synced {
            self.model.synced();
        }
        done
    }

    /// Loads rows, which ascend, into a tree in one step.
    pub fn ingest(&mut self, tree: &'static str, rows: &[(&str, &str)]) -> Result<()> {
        let done = self.trees[tree].ingest(rows.iter().copied()).map(|_| ());
        let changes = rows.iter().map(|(key, value)| Change::put(tree, *key, *value)).collect();
        self.note(Deed::Write(changes), Logging::Logged, done.as_ref().err());
        done
    }

    /// Somebody else has committed this change, logged.
    pub fn note_another(&mut self, change: Change) {
        self.note(Deed::Write(vec![change]), Logging::Logged, None);
    }

    /// A commit that failed is noted too, unless the error says that nothing happened.
    fn note(&mut self, deed: Deed, logging: Logging, error: Option<&Error>) {
        match error {
            None => self.model.commit(deed, logging, Fate::Acknowledged),
            Some(error) if self.disk.is_crashed() || error.is_indeterminate() => {
                self.model.commit(deed, logging, Fate::Unknown);
            }
            Some(_) => {}
        }
    }

    /// Closes and opens again.
    pub fn reopen(&mut self) -> Result<()> {
        self.trees.clear();
        let db = self.db.take().expect("the database is open");
        db.close()?;
        self.model.checkpointed();
        self.db = Some(open(&self.disk, &self.shape)?);
        self.open_trees()
    }

    /// Closes for good.
    pub fn close(mut self) -> (Result<()>, Wreck) {
        self.trees.clear();
        let db = self.db.take().expect("the database is open");
        let closed = db.close();
        if closed.is_ok() {
            self.model.checkpointed();
        }
        (closed, self.end())
    }

    fn open_trees(&mut self) -> Result<()> {
        let names = self.db().tree_names();
        for tree in TREES.into_iter().filter(|tree| names.iter().any(|name| name == tree)) {
            let opened = existing(self.db(), tree)?;
            self.trees.insert(tree, opened);
        }
        Ok(())
    }

    fn get(&mut self, tree: &str, key: &[u8]) -> Result<()> {
        let Some(known) = self.trees.get(tree) else { return Ok(()) };
        let found = known.get(key)?;
        let readable = self.model.readable(tree, key);
        let is_readable = readable.iter().any(|value| value.as_deref() == found.as_deref());
        assert!(is_readable, "{tree}/{key:?} is {found:?}, expected one of {readable:?}");
        Ok(())
    }

    /// Reads everything and compares it.
    pub fn look(&mut self) -> Result<()> {
        let found = read_all(self.db())?;
        if let Err(difference) = self.model.explain_running(&found) {
            panic!("the running database differs; {difference}");
        }
        Ok(())
    }

    /// Ends the process, whatever state it is in; its disk is still to be cut or kept.
    pub fn end(mut self) -> Wreck {
        self.trees.clear();
        if let Some(db) = self.db.take() {
            db.abandon();
        }
        Wreck { model: self.model, ..Wreck::unborn(&self.disk, self.shape) }
    }
}

/// What a process leaves behind: a disk, and what may be found on it.
#[derive(Clone)]
pub struct Wreck {
    pub disk: SimDisk,
    pub model: Model,
    pub shape: Shape,
    crash: Crash,
}

impl Wreck {
    /// The wreck of a machine that did not even boot.
    pub fn unborn(disk: &SimDisk, shape: Shape) -> Wreck {
        Wreck { disk: disk.clone(), model: Model::default(), shape, crash: Crash::Kill }
    }

    /// What would be left if the process ended now; it goes on.
    pub fn of(machine: &Machine) -> Wreck {
        let (disk, model) = (machine.disk.clone(), machine.model.clone());
        Wreck { disk, model, shape: machine.shape, crash: Crash::Kill }
    }

    /// The same on another disk.
    #[must_use]
    pub fn on(&self, disk: SimDisk) -> Wreck {
        Wreck { disk, ..self.clone() }
    }

    /// The same with a disk that was found while the machine was at `action`, which nobody has
    /// acknowledged.
    #[must_use]
    pub fn during(&self, action: &Action, disk: SimDisk) -> Wreck {
        let mut wreck = Wreck { disk, ..self.clone() };
        let (deed, logging) = match action {
            Action::Create(tree) => (Deed::Create(tree), Logging::Logged),
            Action::Drop(tree) => (Deed::Drop(tree), Logging::Logged),
            Action::Single(change) => (Deed::Write(vec![change.clone()]), Logging::Logged),
            Action::Batch(changes, Durability::NoWal)
            | Action::Transaction(changes, Durability::NoWal) => {
                (Deed::Write(changes.clone()), Logging::Unlogged)
            }
            Action::Batch(changes, _) | Action::Transaction(changes, _) => {
                (Deed::Write(changes.clone()), Logging::Logged)
            }
            _ => return wreck,
        };
        wreck.model.commit(deed, logging, Fate::Unknown);
        wreck
    }

    /// The power fails, and comes back.
    #[must_use]
    pub fn power_cut(&self, cut: Cut) -> Wreck {
        Wreck { disk: self.disk.power_cut(cut), crash: Crash::PowerCut, ..self.clone() }
    }

    /// The machine stays up.
    #[must_use]
    pub fn kill(&self) -> Wreck {
        Wreck { disk: self.disk.kill(), ..self.clone() }
    }

    /// Opens the database once more; it must be as the model allows, sound, and work on.
    pub fn recover(&self) -> Machine {
        let db = open(&self.disk, &self.shape);
        let db = db.unwrap_or_else(|error| panic!("the database does not open: {error}"));
        let mut machine = self.settle(db);
        machine.open_trees().unwrap();
        machine
    }

    /// The same with settings of its own, which last until it is closed; an error where it does not
    /// open.
    pub fn recover_with(&self, configure: impl FnOnce(Config) -> Config) -> Result<Machine> {
        let mut machine = self.settle(configure(config(&self.disk, &self.shape)).open()?);
        machine.open_trees()?;
        Ok(machine)
    }

    fn settle(&self, db: Database) -> Machine {
        let found = read_all(&db).unwrap();
        if let Err(difference) = self.model.explain(&found, self.crash) {
            panic!("after {:?} the database is not as promised; {difference}", self.crash);
        }
        db.verify().unwrap();
        // What was found is what everybody relies on from now on, whatever happens.
        Machine::around(db, self.disk.clone(), Model::settled(found), self.shape)
    }

    /// Opens the database and lets the machine crash at this operation of it; `None` when opening
    /// takes fewer.
    pub fn crash_in_recovery(&self, operation: u64) -> Option<Wreck> {
        self.disk.crash_at(operation);
        match open(&self.disk, &self.shape) {
            Ok(db) => {
                db.abandon();
                None
            }
            Err(error) => {
                assert!(self.disk.is_crashed(), "the database does not open: {error}");
                Some(self.clone())
            }
        }
    }

    /// The same, and what recovery has found survives a power cut right after it.
    pub fn check_and_cut(&self) {
        // Recovery may rely on nothing that it merely read back.
        self.recover().end().power_cut(Cut::LoseAll).check();
    }

    /// Recovers, writes on, closes, opens and compares again.
    pub fn check(&self) {
        let mut machine = self.recover();
        let put = |number: u64| Change::put(TREES[0], key(number * 5), "after the crash");
        let merge = |number| Change { what: What::Merge(b"!".to_vec()), ..put(number) };
        let range = Change { what: What::RemoveRange(Some(b"key-4".to_vec())), ..put(3) };
        let rows = (0..4).map(put).chain([range]).chain((0..6).map(merge));
        machine.play(&Action::Create(TREES[0])).unwrap();
        machine.play(&Action::Batch(rows.collect(), Durability::Buffered)).unwrap();
        machine.play(&Action::Reopen).unwrap();
        machine.look().unwrap();
        machine.db().verify().unwrap();
        machine.end();
    }
}

/// Where a range delete ends.
fn ends(upper: &Option<Vec<u8>>) -> Bound<&Vec<u8>> {
    upper.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
}

/// All rows of all trees, each read forward, backward and by its key.
pub fn read_all(db: &Database) -> Result<Contents> {
    let mut contents = Contents::new();
    for name in db.tree_names() {
        let tree = existing(db, &name)?;
        let owned = |row: Result<(sapwood::Slice, sapwood::Slice)>| {
            row.map(|(key, value)| (key.to_vec(), value.to_vec()))
        };
        let forward: Vec<_> = tree.iter().map(owned).collect::<Result<_>>()?;
        let mut backward: Vec<_> = tree.iter().rev().map(owned).collect::<Result<_>>()?;
        backward.reverse();
        assert!(forward.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name} is out of order");
        assert_eq!(forward, backward, "{name} forward and backward");
        let rows = Rows::from_iter(forward);
        for number in 0..32 {
            let key = key(number);
            let found = tree.get(&key)?;
            assert_eq!(found.as_deref(), rows.get(&key).map(Vec::as_slice), "{name} by key");
        }
        contents.insert(name, rows);
    }
    Ok(contents)
}
