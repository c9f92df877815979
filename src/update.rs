//! Changes that read first: atomic on one key, whoever else writes.
//!
//! ```text
//! read at msn -> decide -> commit, if nobody has changed the key since msn -> else again
//! ```
//!
//! Nothing is locked while the value is read and while the caller decides. Whoever leads the commit
//! looks for a newer message of the key, which can only be in a memtable: the leader is the only
//! one who adds any.

use std::borrow::Cow;

use sapwood_serialize::{Op, Record, Sight, encode_record};

use crate::batch::check;
use crate::commit::{Logging, Proposal, Settled};
use crate::conflict::Guard;
use crate::error::Result;
use crate::footprint::Footprint;
use crate::layers::Layers;
use crate::read;
use crate::slice::Slice;
use crate::tree::Tree;

/// What is to become of a key.
pub(crate) enum Decision<'v> {
    Keep,
    Put(Cow<'v, [u8]>),
    Remove,
}

/// Why [`Tree::compare_and_swap`] changed nothing: the value was another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompareAndSwapError {
    /// The value that is there; `None` when the key is absent.
    pub current: Option<Slice>,
}

impl std::fmt::Display for CompareAndSwapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the key has another value than expected")
    }
}

impl std::error::Error for CompareAndSwapError {}

/// Changes that read. Each costs a [`Tree::get`] and, if it changes something, a message; when
/// another thread changes the same key meanwhile, both again. They are
/// [`Durability::Buffered`](crate::Durability::Buffered).
impl Tree {
    /// Sets `key` to `value` and returns the value it had.
    ///
    /// # Errors
    /// As for [`Tree::insert`] and [`Tree::get`].
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        let put = |_: Option<&[u8]>| Decision::Put(Cow::Borrowed(value.as_ref()));
        Ok(self.decide(key.as_ref(), &mut { put })?.0)
    }

    /// Removes `key` and returns the value it had.
    ///
    /// # Errors
    /// As for [`Tree::remove`] and [`Tree::get`].
    pub fn take(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        Ok(self.decide(key.as_ref(), &mut |_| Decision::Remove)?.0)
    }

    /// Sets `key` to `value` if it is absent; whether it was.
    ///
    /// # Errors
    /// As for [`Tree::insert`] and [`Tree::get`].
    pub fn insert_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        let mut put = |old: Option<&[u8]>| match old {
            Some(_) => Decision::Keep,
            None => Decision::Put(Cow::Borrowed(value.as_ref())),
        };
        Ok(self.decide(key.as_ref(), &mut put)?.0.is_none())
    }

    /// Sets `key` to what `change` makes of its value (`None` removes it), and returns the value it
    /// had. `change` may be called several times.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// tree.insert("oak", "a")?;
    /// let old = tree.fetch_update("oak", |old| Some([old.unwrap_or_default(), b"b"].concat()))?;
    /// assert_eq!(old.as_deref(), Some(&b"a"[..]));
    /// assert_eq!(tree.get("oak")?.as_deref(), Some(&b"ab"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Tree::insert`] and [`Tree::get`].
    pub fn fetch_update<V: Into<Vec<u8>>>(
        &self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<V>,
    ) -> Result<Option<Slice>> {
        Ok(self.decide(key.as_ref(), &mut |old| decision(change(old)))?.0)
    }

    /// Like [`Tree::fetch_update`], but returns the value that the key has afterwards.
    ///
    /// # Errors
    /// As for [`Tree::insert`] and [`Tree::get`].
    pub fn update<V: Into<Vec<u8>>>(
        &self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<V>,
    ) -> Result<Option<Slice>> {
        let (_, decided) = self.decide(key.as_ref(), &mut |old| decision(change(old)))?;
        Ok(match decided {
            Decision::Put(value) => Some(Slice::from(value.into_owned())),
            Decision::Keep | Decision::Remove => None,
        })
    }

    /// Sets `key` to `new` (`None` removes it) if its value is `expected` (`None`: if it is
    /// absent). The inner error tells the value that was found instead.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let tree = sapwood::Config::in_memory().open()?.tree("t")?;
    /// assert!(tree.compare_and_swap("oak", None, Some(b"1"))?.is_ok());
    /// let found = tree.compare_and_swap("oak", None, Some(b"2"))?.unwrap_err();
    /// assert_eq!(found.current.as_deref(), Some(&b"1"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Tree::insert`] and [`Tree::get`].
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<std::result::Result<(), CompareAndSwapError>> {
        let mut is_expected = false;
        let mut swap = |old: Option<&[u8]>| {
            is_expected = old == expected;
            match new {
                _ if !is_expected => Decision::Keep,
                Some(new) => Decision::Put(Cow::Borrowed(new)),
                None => Decision::Remove,
            }
        };
        let (current, _) = self.decide(key.as_ref(), &mut swap)?;
        Ok(if is_expected { Ok(()) } else { Err(CompareAndSwapError { current }) })
    }

    /// Reads `key`, and does what `decide` says unless the key has changed meanwhile; then again.
    pub(crate) fn decide<'v>(
        &self,
        key: &[u8],
        decide: &mut dyn FnMut(Option<&[u8]>) -> Decision<'v>,
    ) -> Result<(Option<Slice>, Decision<'v>)> {
        let engine = self.db().engine();
        loop {
            engine.check_open()?;
            // Before the view: what is visible only later may lie in a generation that the view
            // lacks, and is to be met as a change.
            let msn = engine.views.visible();
            let old = {
                let view = engine.views.load();
                let visible = engine.views.visible();
                let known = self.seen(&view, visible)?;
                let (layers, sight) = (Layers::of(&view), Sight::at(visible));
                read::get(&engine.table, &layers, known, key, sight)?
            };
            let decided = decide(old.as_deref());
            let op = match &decided {
                Decision::Put(value) => Op::Put(value),
                Decision::Remove if old.is_some() => Op::Delete,
                Decision::Keep | Decision::Remove => return Ok((old, decided)),
            };
            check(self, key, op)?;
            let guard = Guard::new(Footprint::one(self.id(), key), msn);
            let record = Record::Write { tree: self.id(), key, op };
            let proposal = Proposal {
                bytes: key.len() + op.payload().len() + 32,
                logging: Logging::Logged,
                guard: Some(&guard),
                encode: &|out| encode_record(out, &record),
            };
            let settled = match engine.propose(&proposal)? {
                // Reading again would end the same way for as long as a bulk load or a large
                // transaction is not spilled.
                Settled::Unknown => engine.propose_slowly(&guard, &proposal)?,
                settled => settled,
            };
            if let Settled::Committed(_) = settled {
                return Ok((old, decided));
            }
        }
    }
}

fn decision<'v, V: Into<Vec<u8>>>(value: Option<V>) -> Decision<'v> {
    value.map_or(Decision::Remove, |value| Decision::Put(Cow::Owned(value.into())))
}
