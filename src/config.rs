//! How a database is opened.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sapwood_cachetable::budget::Budget;
use sapwood_cachetable::storage::{FileStorage, MemoryStorage};
use sapwood_cachetable::{StepHook, StepPoint, Steps};
use sapwood_flusher::Limits;
use sapwood_serialize::Storage;

use crate::database::Database;
use crate::error::{Error, Kind, Result};

/// Who does the work that nobody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// This many flusher threads (one for each 16 MiB of cache where that is less, at least one);
    /// besides them one thread each for idle work, checkpoints, syncs, log files, space, and for
    /// writing out what the flushers would have to. An opening that has something to recover starts
    /// as many to help with it, and ends them.
    Threads(usize),
    /// Nobody: [`Database::maintain`](crate::Database::maintain) does it on the caller's thread,
    /// and a writer at the limit, or with something large, does what is needed to go on. The whole
    /// engine is then deterministic.
    Manual,
}

enum Place {
    Folder(PathBuf),
    Storage(Arc<dyn Storage>),
}

/// What to open, and how; every setting has a default.
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("sapwood-config-{}", std::process::id()));
/// let db = sapwood::Config::new(&folder).cache_mib(32).open()?;
/// # db.close()?;
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(())
/// # }
/// ```
pub struct Config {
    place: Place,
    pub(crate) cache_bytes: u64,
    pub(crate) background: Background,
    pub(crate) checkpoint_bytes: Option<u64>,
    pub(crate) idle_share: u8,
    pub(crate) step_hook: Option<StepHook>,
    pub(crate) limits: Limits,
    is_sized: bool,
    access: Access,
}

/// What may be done to the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// A missing database is made.
    Create,
    /// A missing database is an error.
    Write,
    /// The same, and nothing is written.
    Read,
}

impl Config {
    /// A database in `folder`, which is created when absent.
    pub fn new(folder: impl AsRef<Path>) -> Config {
        Config::at(Place::Folder(folder.as_ref().to_owned()))
    }

    /// A database in memory alone; it is gone with its last handle.
    pub fn in_memory() -> Config {
        Config::on(Arc::new(MemoryStorage::new()))
    }

    /// A database on any [`Storage`], such as a simulated disk.
    pub fn on(storage: Arc<dyn Storage>) -> Config {
        Config::at(Place::Storage(storage))
    }

    fn at(place: Place) -> Config {
        Config {
            place,
            cache_bytes: 128 << 20,
            background: Background::Threads(default_threads()),
            checkpoint_bytes: None,
            idle_share: 50,
            step_hook: None,
            limits: Limits::default(),
            is_sized: false,
            access: Access::Create,
        }
    }

    /// The one memory budget, in bytes: memtables, pages, directories, work in progress. Resident
    /// memory stays within 1.1 times of it plus 16 MiB, as far as the allocator gives back what was
    /// freed: glibc's keeps some MiB for each thread that reads or writes, unless the environment
    /// sets `MALLOC_ARENA_MAX` to 1 or 2. Default 128 MiB, at least 8 MiB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Config {
        self.cache_bytes = bytes;
        self
    }

    /// [`Config::cache_bytes`] in MiB.
    #[must_use]
    pub fn cache_mib(self, mib: u64) -> Config {
        self.cache_bytes(mib.saturating_mul(1 << 20))
    }

    /// Who does the background work. Default: one thread less than the machine has cores, at least
    /// one, at most eight.
    #[must_use]
    pub fn background(mut self, background: Background) -> Config {
        self.background = background;
        self
    }

    /// A checkpoint is taken each time about this many bytes were written by users. It bounds what
    /// recovery has to replay. Default: twice the cache, within 64 MiB and 1 GiB.
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Config {
        self.checkpoint_bytes = Some(bytes);
        self
    }

    /// How much of one thread's time, in percent, goes into draining while nobody writes; 0 for
    /// none. See [`Daemon`](crate::Daemon). Default: 50.
    #[must_use]
    pub fn idle_share(mut self, percent: u8) -> Config {
        self.idle_share = percent;
        self
    }

    /// Opens only what is there: a missing database is an error instead of a new one.
    #[must_use]
    pub fn existing(mut self) -> Config {
        if self.access == Access::Create {
            self.access = Access::Write;
        }
        self
    }

    /// Opens only what is there, and only for reading: nothing is written to any file, nor by
    /// closing, and every change is refused ([`Error::is_read_only`](crate::Error::is_read_only)).
    /// Any number of readers can have a database open at once; they and a writer exclude each
    /// other.
    ///
    /// Files and folder need no write permission. Where the folder has no lock file and none can be
    /// made, nothing is locked: see to it that nobody writes there meanwhile.
    ///
    /// A database that was closed is opened as it is. One that was not has a log, which is replayed
    /// into memory on each opening; it may fill half the cache, else the database has to be opened
    /// for writing once ([`Error::is_needs_recovery`](crate::Error::is_needs_recovery)). No thread
    /// runs in the background.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # use sapwood::Config;
    /// # let folder = std::env::temp_dir().join(format!("sapwood-read-{}", std::process::id()));
    /// let db = Config::new(&folder).open()?;
    /// db.tree("rings")?.insert("2026", "narrow")?;
    /// db.close()?;
    ///
    /// let db = Config::new(&folder).read_only().open()?;
    /// let rings = db.tree("rings")?; // an error if there is none
    /// assert!(rings.contains_key("2026")?);
    /// assert!(rings.remove("2026").unwrap_err().is_read_only());
    /// # drop((rings, db));
    /// # std::fs::remove_dir_all(&folder).ok();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn read_only(mut self) -> Config {
        self.access = Access::Read;
        self
    }

    /// Sizes so small that a few dozen keys make a tree of height 2, and no idle work, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn tiny(self) -> Config {
        self.sized(Limits::tiny())
    }

    /// Any sizes, any budget, and no idle work, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn sized(mut self, limits: Limits) -> Config {
        self.limits = limits;
        self.is_sized = true;
        self.idle_share = 0;
        self
    }

    /// Calls `hook` with each point that background work comes to, for tests: it may wait there, or
    /// break the work off.
    #[doc(hidden)]
    #[must_use]
    pub fn on_step(
        mut self,
        hook: impl Fn(StepPoint) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Config {
        self.step_hook = Some(Arc::new(hook));
        self
    }

    /// The step points of a database to be opened.
    pub(crate) fn steps(&self) -> Steps {
        let steps = Steps::default();
        if let Some(hook) = &self.step_hook {
            steps.hook(hook.clone());
        }
        steps
    }

    /// Opens the database, recovering it if it was not closed.
    ///
    /// # Errors
    /// When an option is refused, the folder cannot be used, another process has it, its files are
    /// not a database's, are of a newer format or damaged; when it is opened for reading alone and
    /// its log is too large for that.
    pub fn open(self) -> Result<Database> {
        self.check()?;
        let storage = self.storage()?;
        Database::open_on(storage, &self)
    }

    fn check(&self) -> Result<()> {
        let refuse = |option, reason: String| Err(Error::new(Kind::Option { option, reason }));
        if self.cache_bytes < Budget::BYTES_MIN && !self.is_sized {
            let reason = format!("{} bytes are below the least, 8 MiB", self.cache_bytes);
            return refuse("cache_bytes", reason);
        }
        if self.cache_bytes > 1 << 50 {
            return refuse("cache_bytes", "it is more than any machine has".into());
        }
        if self.idle_share > 100 {
            let reason = format!("{} percent are more than the whole of a thread", self.idle_share);
            return refuse("idle_share", reason);
        }
        if self.background == Background::Threads(0) {
            let reason = "0 threads would never flush; use Background::Manual to do it yourself";
            return refuse("background", reason.into());
        }
        Ok(())
    }

    fn storage(&self) -> Result<Arc<dyn Storage>> {
        let folder = match &self.place {
            Place::Storage(storage) => return Ok(storage.clone()),
            Place::Folder(folder) => folder,
        };
        let opened = match self.access {
            Access::Create => FileStorage::open(folder),
            Access::Write | Access::Read => FileStorage::open_existing(folder),
        };
        let failed = |source| Kind::Open { folder: folder.display().to_string(), source };
        Ok(Arc::new(opened.map_err(|source| Error::new(failed(source)))?))
    }

    pub(crate) fn may_create(&self) -> bool {
        self.access == Access::Create
    }

    pub(crate) fn may_write(&self) -> bool {
        self.access != Access::Read
    }

    pub(crate) fn checkpoint_every(&self) -> u64 {
        let default = (2 * self.cache_bytes).clamp(64 << 20, 1 << 30);
        self.checkpoint_bytes.unwrap_or(default)
    }
}

fn default_threads() -> usize {
    // Asking reads half a dozen files of the system, which is a tenth of opening a small database.
    static CORES: OnceLock<usize> = OnceLock::new();
    let ask = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    CORES.get_or_init(ask).saturating_sub(1).clamp(1, 8)
}
