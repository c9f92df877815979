//! The handle to an open database.

use std::path::Path;
use std::sync::Arc;

use sapwood_cachetable::sync::{Mutex, Rank};
use sapwood_flusher::{Cleaned, Outcome};
use sapwood_serialize::catalog_image::OperatorName;
use sapwood_serialize::superblock::Session;
use sapwood_serialize::{Operator, Record, Storage, encode_record};

use crate::background::Threads;
use crate::batch::Batch;
use crate::commit::Durability;
use crate::config::{Background, Config};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::recovery;
use crate::space::Worth;
use crate::tree::Tree;
use crate::tree_config::TreeConfig;

/// An open database: named trees, one log, one folder.
///
/// A handle is cheap to clone and can be sent anywhere. The database is closed by
/// [`Database::close`], or, without a word about errors, when the last handle (trees and iterators
/// included) is dropped. One process has a database open at a time.
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// let db = sapwood::Config::in_memory().open()?;
/// let tree = db.tree("default")?;
/// tree.insert("key", "value")?;
/// assert_eq!(tree.get("key")?.as_deref(), Some(&b"value"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Database(pub(crate) Arc<Shared>);

/// What all handles share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    threads: Mutex<Option<Threads>>,
    /// The catalog is changed by one at a time, so that no two trees get one id or one name.
    cataloging: Mutex<()>,
}

impl Database {
    /// Opens the database in `folder` with default settings; creates it when absent.
    ///
    /// # Errors
    /// See [`Config::open`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Database> {
        Config::new(folder).open()
    }

    pub(crate) fn open_on(storage: Arc<dyn Storage>, config: &Config) -> Result<Database> {
        let engine = Arc::new(recovery::open(storage, config)?);
        let threads = match engine.background {
            Background::Manual => {
                engine.remove_old_log()?;
                None
            }
            Background::Threads(count) => Some(Threads::start(&engine, count)?),
        };
        Ok(Database(Arc::new(Shared {
            engine,
            threads: Mutex::new(Rank::Storage, threads),
            cataloging: Mutex::new(Rank::Catalog, ()),
        })))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The tree `name`, created when absent. Creating is logged like a buffered write.
    ///
    /// # Errors
    /// When the name is empty, longer than 255 bytes, or the creation cannot be logged; when there
    /// is no such tree in a database that was opened read-only.
    pub fn tree(&self, name: &str) -> Result<Tree> {
        self.tree_with(name, |config| config)
    }

    /// The tree `name` with settings of its own, such as a merge operator; created when absent.
    /// What is not given is what the tree was created with, or the default.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// # use sapwood::merge;
    /// let counters = db.tree_with("counters", |tree| tree.merge_operator(merge::AddU64))?;
    /// counters.merge("rings", 1u64.to_le_bytes())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Database::tree`]; when a setting is not allowed; when the tree was created with
    /// another one, or has another operator or another version of it.
    pub fn tree_with(
        &self,
        name: &str,
        configure: impl FnOnce(TreeConfig) -> TreeConfig,
    ) -> Result<Tree> {
        self.engine().check_open()?;
        let config = configure(TreeConfig::default());
        config.check()?;
        if config.operator.is_none()
            && let Some(tree) = self.find_tree_like(name, &config)?
        {
            return Ok(tree);
        }
        check_name(name)?;
        let _alone = self.0.cataloging.lock();
        let tree = match self.find_tree_like(name, &config)? {
            Some(tree) => tree,
            None if self.engine().is_read_only() => {
                return Err(Error::new(Kind::NoSuchTree(name.to_owned())));
            }
            None => self.create_tree(name, &config)?,
        };
        if let Some(operator) = &config.operator {
            self.declare(&tree, operator)?;
        }
        Ok(tree)
    }

    /// Creates a tree with all that is stored of `config`, in one step.
    fn create_tree(&self, name: &str, config: &TreeConfig) -> Result<Tree> {
        let tree = self.engine().views.load().forest.next_tree;
        let pages = config.pages(self.engine().mover.limits().pages());
        let operator = config.operator.as_ref().map(OperatorName::of);
        let bytes = name.len() + operator.as_ref().map_or(0, |it| it.name.len()) + 48;
        self.engine().commit(bytes, Durability::Buffered, &|out| {
            encode_record(out, &Record::CreateTree { tree, name, pages });
            if let Some(OperatorName { name, version }) = &operator {
                encode_record(out, &Record::Operator { tree, name, version: *version });
            }
        })?;
        Ok(Tree::new(self.clone(), tree, name))
    }

    /// Gives `tree` its operator; the first time it is logged.
    fn declare(&self, tree: &Tree, operator: &Operator) -> Result<()> {
        let declared = OperatorName::of(operator);
        let stored = || {
            let view = self.engine().views.load();
            view.forest.trees.get(&tree.id()).and_then(|known| known.options.operator.clone())
        };
        if stored().is_none() {
            let (name, version, tree) = (&*declared.name, declared.version, tree.id());
            self.engine().commit(name.len() + 32, Durability::Buffered, &|out| {
                encode_record(out, &Record::Operator { tree, name, version });
            })?;
        }
        // Another thread may have declared another one meanwhile: the first one logged stays.
        if let Some(stored) = stored().filter(|stored| *stored != declared) {
            let tree = tree.name().to_owned();
            return Err(Error::new(Kind::Operator { tree, stored, declared }));
        }
        self.engine().catalog().set_operator(tree.id(), operator);
        Ok(())
    }

    /// The tree `name`; an error when there is none.
    ///
    /// # Errors
    /// When there is no such tree.
    pub fn existing_tree(&self, name: &str) -> Result<Tree> {
        self.engine().check_open()?;
        self.find_tree(name).ok_or_else(|| Error::new(Kind::NoSuchTree(name.to_owned())))
    }

    /// The tree `name`, unless `config` asks for something that it has not.
    fn find_tree_like(&self, name: &str, config: &TreeConfig) -> Result<Option<Tree>> {
        let view = self.engine().views.load();
        let Some(known) = view.forest.named(name) else { return Ok(None) };
        config.check_stored(&known.options)?;
        Ok(Some(Tree::new(self.clone(), known.id, name)))
    }

    fn find_tree(&self, name: &str) -> Option<Tree> {
        let view = self.engine().views.load();
        view.forest.named(name).map(|tree| Tree::new(self.clone(), tree.id, name))
    }

    /// The names of all trees, in alphabetical order.
    pub fn tree_names(&self) -> Vec<String> {
        self.engine().views.load().forest.names().cloned().collect()
    }

    /// Gives the tree `old` the name `new`. One record in the log, like a buffered write; nothing
    /// is read or moved. Handles that are open stay with the tree, and go on telling the name under
    /// which they were opened.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let staging = db.tree("staging")?;
    /// staging.insert("oak", "ring-porous")?;
    /// db.rename_tree("staging", "woods")?;
    /// staging.insert("beech", "diffuse-porous")?;
    /// assert_eq!(db.existing_tree("woods")?.iter().count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no tree `old`; when there is a tree `new`; when the new name is empty or
    /// longer than 255 bytes; when the change cannot be logged.
    pub fn rename_tree(&self, old: &str, new: &str) -> Result<()> {
        self.engine().check_open()?;
        check_name(new)?;
        let _alone = self.0.cataloging.lock();
        let tree = self.existing_tree(old)?.id();
        if self.find_tree(new).is_some() {
            return Err(Error::new(Kind::TreeExists(new.to_owned())));
        }
        self.engine().commit(new.len() + 16, Durability::Buffered, &|out| {
            encode_record(out, &Record::RenameTree { tree, name: new });
        })
    }

    /// Drops the tree `name` with all its rows. One record in the log, like a buffered write;
    /// nothing is read. Handles to the tree then fail, also when a new tree gets its name;
    /// snapshots and iterators that are older go on seeing it. Once there is no such reader, its
    /// nodes are let go in the background, and by [`Database::checkpoint`], which reads the headers
    /// of its leaves for that; the space is free after the checkpoint.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let woods = db.tree("woods")?;
    /// woods.insert("oak", "ring-porous")?;
    /// db.drop_tree("woods")?;
    /// assert_eq!(
    ///     woods.get("oak").unwrap_err().to_string(),
    ///     "the tree \"woods\" was dropped; open the tree of that name again to make a new one"
    /// );
    /// assert_eq!(db.tree("woods")?.get("oak")?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no tree `name`, or the change cannot be logged.
    pub fn drop_tree(&self, name: &str) -> Result<()> {
        self.engine().check_open()?;
        let _alone = self.0.cataloging.lock();
        let tree = self.existing_tree(name)?.id();
        self.engine().commit(16, Durability::Buffered, &|out| {
            encode_record(out, &Record::DropTree { tree });
        })?;
        self.engine().wake();
        Ok(())
    }

    /// An empty batch; what is put into it is committed in one step, over any trees.
    pub fn batch(&self) -> Batch {
        Batch::new(self.clone())
    }

    /// Makes every commit that has returned survive a power cut. One sync of the log; commits
    /// without a log ([`Durability::NoWal`]) need [`Database::checkpoint`].
    ///
    /// # Errors
    /// When the sync fails; the database then takes no more writes.
    pub fn sync(&self) -> Result<()> {
        self.engine().check_open()?;
        let engine = self.engine();
        Ok(engine.sync_log_to(engine.log.end())?)
    }

    /// Moves everything into the trees and makes it the state that the next opening finds, without
    /// a replay. Writes go on meanwhile. Costs the writing of what is not on disk yet, and two
    /// syncs. Range deletes move on to where they let rows go unread, and dropped trees are
    /// emptied, so that the space of what was removed so is free after it. Where less than half of
    /// the file is in use, its space goes back to the system: the file is shortened, or gets holes.
    ///
    /// # Errors
    /// When the disk is full (the previous checkpoint stays), a write or sync fails, or the
    /// database was opened read-only.
    pub fn checkpoint(&self) -> Result<()> {
        self.engine().check_writable()?;
        self.engine().spill_all()?;
        self.engine().let_go()?;
        self.engine().checkpoint_step(Session::Open)?;
        self.engine().punch_holes(Worth::Beside, &|| false);
        Ok(())
    }

    /// Does up to `steps` steps of background work on this thread; returns how many there were to
    /// do. For [`Background::Manual`], where nobody else does it.
    ///
    /// # Errors
    /// When a step fails; one that found the disk full can be tried again.
    pub fn maintain(&self, steps: usize) -> Result<usize> {
        self.engine().check_open()?;
        for done in 0..steps {
            if self.engine().step()? == Outcome::Done {
                continue;
            }
            if self.engine().clean_step()? != Cleaned::Flushed {
                self.engine().mark_idle()?;
                return Ok(done);
            }
        }
        Ok(steps)
    }

    /// Moves what is in memory into the trees, takes a last checkpoint, removes the log and lets go
    /// of the folder. Every later use of any handle fails.
    ///
    /// # Errors
    /// When something cannot be written; what was durable before stays so.
    pub fn close(self) -> Result<()> {
        self.0.stop_threads();
        self.0.engine.close()
    }

    /// Lets go of the folder without writing anything more, as if the process had been killed.
    #[doc(hidden)]
    pub fn abandon(self) {
        self.0.stop_threads();
        self.0.engine.abandon();
    }
}

impl Shared {
    fn stop_threads(&self) {
        let threads = self.threads.lock().take();
        if let Some(threads) = threads {
            threads.stop(&self.engine);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop_threads();
        if !self.engine.is_closed() && !std::thread::panicking() {
            // Nobody is left to tell; the log has what a later opening needs.
            let _ = self.engine.close();
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folder = self.engine().table.storage().describe();
        f.debug_struct("Database").field("folder", &folder).finish_non_exhaustive()
    }
}

fn check_name(name: &str) -> Result<()> {
    let refuse = |reason: &str| Err(Error::new(Kind::TreeName(reason.to_owned())));
    match name.len() {
        0 => refuse("it is empty"),
        1..=255 => Ok(()),
        _ => refuse("it has more than 255 bytes"),
    }
}
