//! Who reads: at which moment, and through which changes of its own.

use std::sync::Arc;

use sapwood_cachetable::ledger::ViewToken;
use sapwood_serialize::Sight;

use crate::engine::Engine;
use crate::error::Result;
use crate::generation::Generation;
use crate::layers::Layers;
use crate::read;
use crate::slice::Slice;
use crate::transaction::ReadSet;
use crate::tree::Tree;
use crate::view::Registration;

/// A moment to read at: a registered MSN and, in a transaction, its own changes and the list of
/// what it has read. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    /// While it lives, nothing is forgotten that can be seen at this moment.
    _registration: Arc<Registration>,
    _token: Option<Arc<ViewToken>>,
    /// Newest first.
    own: Vec<Arc<Generation>>,
    sight: Sight,
    /// Where a serializable transaction notes what it reads.
    pub(crate) noted: Option<Arc<ReadSet>>,
}

impl Reader {
    /// Reads what was committed when `registration` was made.
    pub(crate) fn at(registration: Arc<Registration>) -> Reader {
        let sight = Sight::at(registration.msn());
        Reader { _registration: registration, _token: None, own: Vec::new(), sight, noted: None }
    }

    /// The same with a transaction's own changes on top, newest first.
    /// `token` keeps their place on disk, if they have one.
    pub(crate) fn with_own(
        self,
        own: Vec<Arc<Generation>>,
        sight: Sight,
        token: Option<Arc<ViewToken>>,
    ) -> Reader {
        Reader { own, sight, _token: token, ..self }
    }

    /// The same, noting what is read.
    pub(crate) fn noting(self, noted: Option<Arc<ReadSet>>) -> Reader {
        Reader { noted, ..self }
    }

    /// What the reader sees.
    pub(crate) fn sight(&self) -> Sight {
        self.sight
    }

    /// Does `work` on the layers that the reader looks through; none is held afterwards.
    pub(crate) fn on_layers<T>(&self, engine: &Engine, work: impl FnOnce(&Layers<'_>) -> T) -> T {
        let view = engine.views.load();
        work(&Layers { own: &self.own, view: &view })
    }

    /// The value of `key`.
    pub(crate) fn get(&self, tree: &Tree, key: &[u8]) -> Result<Option<Slice>> {
        let engine = tree.db().engine();
        engine.check_open()?;
        if let Some(noted) = &self.noted {
            noted.note_key(tree.id(), key);
        }
        self.on_layers(engine, |layers| {
            let known = tree.seen(layers.view, self.sight.committed())?;
            read::get(&engine.table, layers, known, key, self.sight)
        })
    }
}
