//! The engines, by name. All names are known to every build, for reports of runs of other builds;
//! only those with their feature can be opened.

#[cfg(feature = "canopydb")]
mod canopydb;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "heed")]
mod heed;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "rusqlite")]
mod rusqlite;
mod sapwood;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::store::{Place, Store};

/// Rows that a kill may lose of what an engine without cheap commits has taken.
pub const KILL_LOSES_ROWS_MAX: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    Sapwood,
    RocksdbLeveled,
    RocksdbUniversal,
    Fjall,
    Redb,
    Heed,
    Rusqlite,
    Canopydb,
}

impl Engine {
    /// In the order in which they are run and shown.
    pub const ALL: [Engine; 8] = [
        Engine::Sapwood,
        Engine::RocksdbLeveled,
        Engine::RocksdbUniversal,
        Engine::Fjall,
        Engine::Redb,
        Engine::Heed,
        Engine::Rusqlite,
        Engine::Canopydb,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Engine::Sapwood => "sapwood",
            Engine::RocksdbLeveled => "rocksdb-leveled",
            Engine::RocksdbUniversal => "rocksdb-universal",
            Engine::Fjall => "fjall",
            Engine::Redb => "redb",
            Engine::Heed => "heed",
            Engine::Rusqlite => "rusqlite",
            Engine::Canopydb => "canopydb",
        }
    }

    pub fn from_name(name: &str) -> Option<Engine> {
        Engine::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// Those that this build can open.
    pub fn built() -> Vec<Engine> {
        Engine::ALL.into_iter().filter(|engine| engine.is_built()).collect()
    }

    pub fn is_built(self) -> bool {
        match self {
            Engine::Sapwood => true,
            Engine::RocksdbLeveled | Engine::RocksdbUniversal => cfg!(feature = "rocksdb"),
            Engine::Fjall => cfg!(feature = "fjall"),
            Engine::Redb => cfg!(feature = "redb"),
            Engine::Heed => cfg!(feature = "heed"),
            Engine::Rusqlite => cfg!(feature = "rusqlite"),
            Engine::Canopydb => cfg!(feature = "canopydb"),
        }
    }

    /// Which version this build has, as `Cargo.lock` pins it.
    pub fn version(self) -> String {
        let package = match self {
            Engine::RocksdbLeveled | Engine::RocksdbUniversal => "rocksdb",
            other => other.name(),
        };
        locked_version(include_str!("../../Cargo.lock"), package).unwrap_or_default()
    }

    /// What a reader of the figures has to know about how the engine was run.
    pub fn terms(self) -> &'static str {
        match self {
            Engine::Sapwood => sapwood::TERMS,
            #[cfg(feature = "rocksdb")]
            Engine::RocksdbLeveled => rocksdb::LEVELED_TERMS,
            #[cfg(feature = "rocksdb")]
            Engine::RocksdbUniversal => rocksdb::UNIVERSAL_TERMS,
            #[cfg(feature = "fjall")]
            Engine::Fjall => fjall::TERMS,
            #[cfg(feature = "redb")]
            Engine::Redb => redb::TERMS,
            #[cfg(feature = "heed")]
            Engine::Heed => heed::TERMS,
            #[cfg(feature = "rusqlite")]
            Engine::Rusqlite => rusqlite::TERMS,
            #[cfg(feature = "canopydb")]
            Engine::Canopydb => canopydb::TERMS,
            #[allow(unreachable_patterns, reason = "reached where a feature is off")]
            _ => "not in this build",
        }
    }

    /// Opens the store in its folder, creating it when absent.
    pub fn open(self, place: &Place) -> Result<Box<dyn Store>> {
        Ok(match self {
            Engine::Sapwood => Box::new(sapwood::Sapwood::open(place)?),
            #[cfg(feature = "rocksdb")]
            Engine::RocksdbLeveled => Box::new(rocksdb::Rocksdb::leveled(place)?),
            #[cfg(feature = "rocksdb")]
            Engine::RocksdbUniversal => Box::new(rocksdb::Rocksdb::universal(place)?),
            #[cfg(feature = "fjall")]
            Engine::Fjall => Box::new(fjall::Fjall::open(place)?),
            #[cfg(feature = "redb")]
            Engine::Redb => Box::new(redb::Redb::open(place)?),
            #[cfg(feature = "heed")]
            Engine::Heed => Box::new(heed::Heed::open(place)?),
            #[cfg(feature = "rusqlite")]
            Engine::Rusqlite => Box::new(rusqlite::Rusqlite::open(place)?),
            #[cfg(feature = "canopydb")]
            Engine::Canopydb => Box::new(canopydb::Canopydb::open(place)?),
            #[allow(unreachable_patterns, reason = "reached where a feature is off")]
            _ => return Err(format!("{} is not in this build", self.name()).into()),
        })
    }

    /// How many of the rows that were taken a kill may lose; the others keep their word.
    pub fn kill_loses_rows_max(self) -> u64 {
        if self == Engine::Redb { KILL_LOSES_ROWS_MAX } else { 0 }
    }
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    let version = lines.next()?.strip_prefix("version = \"")?;
    Some(version.trim_end_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_engines() {
        for engine in Engine::ALL {
            assert_eq!(Engine::from_name(engine.name()), Some(engine));
            assert!(!engine.version().is_empty(), "{} is not in Cargo.lock", engine.name());
        }
        assert_eq!(Engine::from_name("oak"), None);
        assert!(Engine::Sapwood.is_built());
    }
}
