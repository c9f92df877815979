//! Saving what can be read of a damaged database into a new one.
//!
//! ```text
//! superblocks -> tables        newest that can be read                        root
//!   -> nodes, segments, pages  what is broken is cut out of the runs          mend
//!   -> log                     up to the first break
//!   -> rows                    read as ever, written into the new database    rows
//! ```
//!
//! The old files are only read. What is cut out is noted with its place and keys. In front of a
//! cut, a row is what the newest message says that is left: a value is right, or an older one where
//! changes were cut out, and that is noted; but the sum of operands would be neither, so where a
//! cut may have taken one of them, or the value below them, the row is left out.

mod mend;
mod root;
mod rows;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sapwood_cachetable::budget::Budget;
use sapwood_cachetable::ledger::{Change, Opened};
use sapwood_cachetable::storage::{FileStorage, ReadOnlyStorage};
use sapwood_cachetable::{BLOCK_FILE, Cachetable};
use sapwood_flusher::{Forest, Limits};
use sapwood_serialize::catalog_image::CatalogImage;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::superblock::SLOTS_BYTES;
use sapwood_serialize::{Corruption, Storage, Superblock, VALUE_BYTES_MAX};
use serde::Serialize;

use crate::config::Config;
use crate::copy::open_empty;
use crate::error::{Error, Kind, Result};
use crate::generation::{Generation, Written};
use crate::recovery::{Opening, logged_in, with_built_in};
use crate::view::View;
use crate::wal::{ReadLog, read_log_so_far};
use mend::Mender;
use root::Root;
use rows::Source;

/// What became of a damaged database; from [`salvage`].
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The trees of the new database.
    pub trees: Vec<SalvagedTree>,
    /// What could not be read.
    pub damages: Vec<Damage>,
}

/// A tree that was salvaged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SalvagedTree {
    /// Its name.
    pub name: String,
    /// The rows that were kept.
    pub rows: u64,
    /// Rows that were left out: merge operands on top of something that could not be read.
    pub unmerged: u64,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The file that holds it.
    pub file: String,
    /// The byte at which it was noticed.
    pub offset: u64,
    /// What is wrong, in words.
    pub what: String,
    /// The tree and the keys that it concerns; the whole database where that is not known.
    pub keys: Option<KeyRange>,
    /// What it means for them.
    pub loss: Loss,
}

/// A stretch of keys of one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyRange {
    /// The tree's name.
    pub tree: String,
    /// The first key.
    pub from: Vec<u8>,
    /// The first key behind; `None` for no end.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// Whether a key of a tree is in it.
    pub fn contains(&self, tree: &str, key: &[u8]) -> bool {
        let is_below = self.to.as_ref().is_none_or(|to| key < to.as_slice());
        self.tree == tree && self.from.as_slice() <= key && is_below
    }
}

/// What damage means for the rows that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Loss {
    /// Nothing: it was not needed, or could be made up for.
    Nothing,
    /// Rows may be missing; those that are there are right.
    Rows,
    /// Newer changes may be missing: rows may be missing, have older values, or be there again
    /// though they were removed.
    Changes,
}

impl SalvageReport {
    /// Whether nothing was lost.
    pub fn is_whole(&self) -> bool {
        self.damages.iter().all(|damage| damage.loss == Loss::Nothing)
    }
}

/// Makes a new database in the folder `to`, which must be empty or not there yet, of all that can
/// still be read of the damaged one in `from`. Nothing in `from` is changed.
///
/// Every row is kept whose newest value can be read. Where only an older one can, that is kept, and
/// the report says for which keys this may have happened. Rows with merge operands are left out
/// where one of these, or the value below, may be missing. The log is replayed up to its first
/// break.
///
/// It reads everything twice, writes it once, and may take some 600 MiB of memory besides the log.
///
/// ```no_run
/// # fn main() -> sapwood::Result<()> {
/// let report = sapwood::salvage("broken.db", "saved.db")?;
/// for damage in &report.damages {
///     println!("{} at byte {}: {}", damage.file, damage.offset, damage.what);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When somebody has the database open for writing; when neither superblock can be read, or none
/// leads to a catalog that can ([`Error::is_corruption`]); when `to` is not empty or cannot be
/// written. What was written to `to` is then of no use.
pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<SalvageReport> {
    /// So that every value fits that any database may hold.
    const CACHE_MIB: u64 = 512;
    let (from, to) = (from.as_ref(), to.as_ref());
    let failed = |source| Error::new(Kind::Open { folder: from.display().to_string(), source });
    let source = FileStorage::open_existing(from).map_err(failed)?;
    let was_there = to.exists();
    let target = open_empty(to)?;
    let config = Config::on(Arc::new(target)).cache_mib(CACHE_MIB).idle_share(0);
    let salvaged = salvage_on(Arc::new(source), config);
    if salvaged.is_err() && !was_there {
        let _ = fs::remove_dir_all(to);
    }
    salvaged
}

/// The same from any storage to a new database of any configuration.
///
/// # Errors
/// As for [`salvage`].
#[doc(hidden)]
pub fn salvage_on(from: Arc<dyn Storage>, to: Config) -> Result<SalvageReport> {
    let from: Arc<dyn Storage> = Arc::new(ReadOnlyStorage::new(from));
    let lock = from.lock_shared();
    let _lock = lock.map_err(|error| Error::from_lock(from.describe(), error))?;
    let mut damages = Damages::default();
    let root = Root::find(&*from, &mut damages)?;
    let (log, loss) = read_log_so_far(&*from, &root.block_file.superblock)?;
    let opening = mended(from, &root, &log, &mut damages)?;
    replay(&opening, &log, loss, &mut damages);
    mend_generations(&opening, &root, &mut damages);
    let db = to.open()?;
    let trees = {
        let view = opening.views.load();
        let source = Source::new(&opening, &view);
        let trees = view.forest.trees.values();
        let trees = trees.map(|tree| source.copy(tree, &damages.of(&tree.options.name), &db));
        trees.collect::<Result<Vec<_>>>()?
    };
    db.close()?;
    Ok(SalvageReport { trees, damages: damages.all })
}

/// Leaves out what cannot be read of the runs that log records name.
fn mend_generations(opening: &Opening, root: &Root, damages: &mut Damages) {
    let view = opening.views.load();
    let mut mender = Mender::new(&opening.table, &root.places, damages);
    let mend = |generation: &Arc<Generation>| {
        if !generation.has_runs() {
            return generation.clone();
        }
        let known = |tree| view.forest.trees.get(&tree).map(|known| (tree, &*known.options.name));
        let trees = generation.trees_of_runs().filter_map(known);
        let runs = trees.map(|(tree, name)| {
            let mended = mender.logged_runs(name, generation.runs(tree));
            (tree, mended)
        });
        let written = Written { runs: runs.collect(), reserved: Vec::new() };
        let (id, oldest) = (generation.id, generation.first_msn());
        Arc::new(Generation::holding(id, oldest, &opening.table, written))
    };
    let sealed = view.sealed.iter().map(mend).collect();
    let (forest, active) = (view.forest.clone(), view.active.clone());
    // What was replaced kept the runs in place; a salvage frees nothing.
    drop(opening.views.store(View { forest, sealed, active }));
}

/// The trees of the checkpoint without what cannot be read.
fn mended(
    from: Arc<dyn Storage>,
    root: &Root,
    log: &ReadLog,
    damages: &mut Damages,
) -> Result<Opening> {
    const CACHE_BYTES: u64 = 64 << 20;
    let superblock = &root.block_file.superblock;
    let logged = logged_in(&*from, log).map_or_else(|_| Vec::new(), |logged| logged.extents);
    let opened = Opened {
        allocator: sapwood_cachetable::allocator::Allocator::new(SLOTS_BYTES),
        file_bytes: superblock.file_bytes,
        checkpointed: Default::default(),
        tables: Vec::new(),
        logged,
        table: Default::default(),
        next_block: superblock.next_block,
        next_segment: superblock.next_segment,
    };
    let budget = Budget { total: CACHE_BYTES };
    let file = root.block_file.file.clone();
    let table = Arc::new(Cachetable::new(from, file, superblock.database, budget, None, opened));
    let token = table.ledger().publish(Change::default());
    let image = root.trees()?;
    let mut mender = Mender::new(&table, &root.places, damages);
    let mended =
        image.trees.into_iter().map(|tree| with_built_in(mender.tree(tree), VALUE_BYTES_MAX));
    // What was dropped needs no saving.
    let image = CatalogImage { trees: mended.collect(), dropped: Vec::new(), ..image };
    // The superblock's word may be damaged; each run has its own.
    let superblock = Superblock { next_msn: mender.newest().next(), ..*superblock };
    let forest = Forest::new(image, token);
    Ok(Opening::over(table.clone(), forest, &superblock, Limits::default()))
}

/// Replays what can be read of the log.
fn replay(opening: &Opening, log: &ReadLog, loss: Option<Corruption>, damages: &mut Damages) {
    let replayed = opening.replay_what_can_be(log);
    let broken = replayed.err().map(|error| match error.corruption() {
        Some(corruption) => corruption.clone(),
        None => Corruption::new("log", log.end.to_raw(), "it cannot be read"),
    });
    if let Some(broken) = broken.or(loss) {
        damages.note(&broken, None, Loss::Changes);
    }
}

/// The damage met so far.
#[derive(Default)]
struct Damages {
    all: Vec<Damage>,
}

impl Damages {
    fn note(&mut self, broken: &Corruption, keys: Option<(&str, &Bounds)>, loss: Loss) {
        let file = broken.file.clone().unwrap_or_else(|| BLOCK_FILE.to_owned());
        let what = format!("corrupt {}: {}", broken.what, broken.rule);
        let keys = keys.map(|(tree, bounds)| KeyRange {
            tree: tree.to_owned(),
            from: bounds.lower.to_vec(),
            to: bounds.upper.as_ref().map(|upper| upper.to_vec()),
        });
        let damage = Damage { file, offset: broken.offset, what, keys, loss };
        if !self.all.contains(&damage) {
            self.all.push(damage);
        }
    }

    /// The keys of a tree that may not be what they were: ascending, not overlapping.
    fn of(&self, tree: &str) -> Vec<Bounds> {
        let ours = self.all.iter().filter_map(|damage| damage.keys.as_ref());
        let ours = ours.filter(|keys| keys.tree == tree);
        let mut all: Vec<Bounds> = ours
            .map(|keys| Bounds {
                lower: keys.from.as_slice().into(),
                upper: keys.to.as_deref().map(Into::into),
            })
            .filter(|bounds| !bounds.is_empty())
            .collect();
        all.sort_unstable_by(|one, other| one.lower.cmp(&other.lower));
        joined(all)
    }
}

/// Bounds that meet or overlap, as one.
fn joined(ascending: Vec<Bounds>) -> Vec<Bounds> {
    let mut joined: Vec<Bounds> = Vec::new();
    for bounds in ascending {
        match joined.last_mut() {
            Some(last) if last.upper.as_ref().is_none_or(|upper| bounds.lower <= *upper) => {
                last.upper = match (last.upper.take(), bounds.upper) {
                    (Some(one), Some(other)) => Some(one.max(other)),
                    _ => None,
                };
            }
            _ => joined.push(bounds),
        }
    }
    joined
}

/// The views that rows are read from: with operators, and without.
fn without_operators(view: &View) -> View {
    let plain = view.forest.trees.values().cloned().map(|mut tree| {
        tree.operator = None;
        (tree.id, tree)
    });
    let mut forest = Forest::clone(&view.forest);
    forest.trees = plain.collect();
    View { forest: Arc::new(forest), sealed: view.sealed.clone(), active: view.active.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(lower: &str, upper: Option<&str>) -> Bounds {
        let key = |text: &str| text.as_bytes().into();
        Bounds { lower: key(lower), upper: upper.map(key) }
    }

    #[test]
    fn stretches_of_keys_are_joined() {
        let some = [("a", Some("c")), ("b", Some("e")), ("e", Some("f")), ("g", Some("h"))];
        let some = some.map(|(lower, upper)| bounds(lower, upper)).to_vec();
        assert_eq!(joined(some), [bounds("a", Some("f")), bounds("g", Some("h"))]);
        let open = vec![bounds("a", None), bounds("b", Some("c"))];
        assert_eq!(joined(open), [bounds("a", None)]);
        assert_eq!(joined(Vec::new()), []);
    }

    #[test]
    fn damage_is_noted_once_and_found_by_tree() {
        let mut damages = Damages::default();
        let broken = Corruption::new("page", 17, "its checksum differs");
        let (left, right) = (bounds("a", Some("c")), bounds("b", None));
        damages.note(&broken, Some(("t", &left)), Loss::Rows);
        damages.note(&broken, Some(("t", &left)), Loss::Rows);
        damages.note(&broken, Some(("u", &right)), Loss::Changes);
        assert_eq!(damages.all.len(), 2);
        assert_eq!(damages.of("t"), [left]);
        assert_eq!(damages.of("u"), [right]);
        assert_eq!(damages.of("v"), []);
        let keys = damages.all[0].keys.as_ref().unwrap();
        assert!(keys.contains("t", b"a") && keys.contains("t", b"bz"));
        assert!(!keys.contains("t", b"c") && !keys.contains("u", b"b"));
    }
}
