//! The engines, by name.

mod fjall;
mod redb;
mod sapwood;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::store::{Place, Store};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Sapwood,
    Fjall,
    Redb,
}

impl Engine {
    /// In the order in which they are run and shown.
    pub const ALL: [Engine; 3] = [Engine::Sapwood, Engine::Fjall, Engine::Redb];

    pub fn name(self) -> &'static str {
        match self {
            Engine::Sapwood => "sapwood",
            Engine::Fjall => "fjall",
            Engine::Redb => "redb",
        }
    }

    pub fn from_name(name: &str) -> Option<Engine> {
        Engine::ALL.into_iter().find(|engine| engine.name() == name)
    }

    /// What a reader of the figures has to know about how the engine was run.
    pub fn terms(self) -> &'static str {
        match self {
            Engine::Sapwood => sapwood::TERMS,
            Engine::Fjall => fjall::TERMS,
            Engine::Redb => redb::TERMS,
        }
    }

    /// Opens the store in its folder, creating it when absent.
    pub fn open(self, place: &Place) -> Result<Box<dyn Store>> {
        Ok(match self {
            Engine::Sapwood => Box::new(sapwood::Sapwood::open(place)?),
            Engine::Fjall => Box::new(fjall::Fjall::open(place)?),
            Engine::Redb => Box::new(redb::Redb::open(place)?),
        })
    }
}
