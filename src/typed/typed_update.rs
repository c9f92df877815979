//! Changes that read first, with types: what was found is decoded, what is put is encoded.

use std::borrow::Cow;

use super::key_codec::{AsKey, KeyCodec};
use super::typed_tree::TypedTree;
use super::value_codec::ValueCodec;
use crate::error::Result;
use crate::slice::Slice;
use crate::update::Decision;

/// Changes that read. Each costs what it costs in the untyped tree: a read and, if it changes
/// something, a message; when another thread changes the same key meanwhile, both again.
impl<K: KeyCodec, V: ValueCodec> TypedTree<K, V> {
    /// Sets `key` to `value` and returns the value it had. The change is made even if that cannot
    /// be decoded.
    ///
    /// # Errors
    /// As for [`TypedTree::insert`] and [`TypedTree::get`].
    pub fn replace<Q>(&self, key: &Q, value: &V::Value) -> Result<Option<V::Value>>
    where
        Q: AsKey<K> + ?Sized,
    {
        let key = self.encode_key(key);
        let old = self.untyped().replace(&key, self.encode_value(value)?)?;
        self.decode_found(&key, old.as_deref())
    }

    /// Removes `key` and returns the value it had. The change is made even if that cannot be
    /// decoded.
    ///
    /// # Errors
    /// As for [`TypedTree::remove`] and [`TypedTree::get`].
    pub fn take<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V::Value>> {
        let key = self.encode_key(key);
        let old = self.untyped().take(&key)?;
        self.decode_found(&key, old.as_deref())
    }

    /// Sets `key` to `value` if it is absent; whether it was.
    ///
    /// # Errors
    /// As for [`TypedTree::insert`] and [`Tree::get`](crate::Tree::get).
    pub fn insert_if_absent<Q>(&self, key: &Q, value: &V::Value) -> Result<bool>
    where
        Q: AsKey<K> + ?Sized,
    {
        self.untyped().insert_if_absent(self.encode_key(key), self.encode_value(value)?)
    }

    /// Sets `key` to what `change` makes of its value (`None` removes it), and returns the value
    /// that it has afterwards. `change` may be called several times.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let ages = db.tree("ages")?.typed::<String, u32>();
    /// let one_more = |age: Option<u32>| Some(age.unwrap_or(0) + 1);
    /// assert_eq!(ages.update("oak", one_more)?, Some(1));
    /// assert_eq!(ages.update("oak", one_more)?, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`TypedTree::insert`] and [`TypedTree::get`]; nothing is changed then.
    pub fn update<Q>(
        &self,
        key: &Q,
        change: impl FnMut(Option<V::Value>) -> Option<V::Value>,
    ) -> Result<Option<V::Value>>
    where
        Q: AsKey<K> + ?Sized,
    {
        Ok(self.change(&self.encode_key(key), change)?.1)
    }

    /// Like [`TypedTree::update`], but returns the value that the key had before.
    ///
    /// # Errors
    /// As for [`TypedTree::update`].
    pub fn fetch_update<Q>(
        &self,
        key: &Q,
        change: impl FnMut(Option<V::Value>) -> Option<V::Value>,
    ) -> Result<Option<V::Value>>
    where
        Q: AsKey<K> + ?Sized,
    {
        let key = self.encode_key(key);
        let (old, _) = self.change(&key, change)?;
        self.decode_found(&key, old.as_deref())
    }

    /// Changes the value of `key`; returns the old one as it was read, and the new one.
    fn change(
        &self,
        key: &[u8],
        mut change: impl FnMut(Option<V::Value>) -> Option<V::Value>,
    ) -> Result<(Option<Slice>, Option<V::Value>)> {
        let mut outcome = Ok(None);
        let (old, _) = self.untyped().decide(key, &mut |old| {
            let new = self.decode_found(key, old).map(&mut change);
            let (decision, next) = self.decision(new);
            outcome = next;
            decision
        })?;
        Ok((old, outcome?))
    }

    /// What is to become of a key that is to have the value `new`, and that value again; where
    /// there is an error, the key stays as it is.
    fn decision(
        &self,
        new: Result<Option<V::Value>>,
    ) -> (Decision<'static>, Result<Option<V::Value>>) {
        match new {
            Ok(Some(value)) => match self.encode_value(&value) {
                Ok(bytes) => (Decision::Put(Cow::Owned(bytes)), Ok(Some(value))),
                Err(error) => (Decision::Keep, Err(error)),
            },
            Ok(None) => (Decision::Remove, Ok(None)),
            Err(error) => (Decision::Keep, Err(error)),
        }
    }
}
