//! A tree with types: encodes on the way in, decodes on the way out.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use super::codec_error::CodecError;
use super::key_codec::{AsKey, KeyCodec, KeyPrefix};
use super::rows::Rows;
use super::value_codec::ValueCodec;
use crate::batch::Batch;
use crate::error::{Error, Kind, Result, RowPart};
use crate::tree::Tree;

/// An ordered map from keys of type `K` to the values of a codec `V`; see the [module](super).
///
/// It has the methods of [`Tree`], with types. Where a row is decoded, each can also fail because
/// the bytes do not fit the types ([`Error::is_decode`]); where one is encoded, because the codec
/// refuses the value.
///
/// A key is looked up by a reference to it; a `String` also by a `str`, a byte vector by a byte
/// slice.
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// let ages = db.tree("ages")?.typed::<String, u32>();
/// ages.insert("oak", &800)?;
/// ages.insert("beech", &300)?;
/// ages.update("oak", |age| age.map(|age| age + 1))?;
/// assert_eq!(ages.get("oak")?, Some(801));
/// assert_eq!(ages.first()?, Some(("beech".to_owned(), 300)));
/// # Ok(())
/// # }
/// ```
///
/// Whatever else takes the bytes of keys and values is used through [`TypedTree::untyped`],
/// [`TypedTree::encode_key`], [`TypedTree::decode_value`] and the like:
///
/// ```
/// # fn main() -> sapwood::Result<()> {
/// # let db = sapwood::Config::in_memory().open()?;
/// # let ages = db.tree("ages")?.typed::<String, u32>();
/// let key = ages.encode_key("oak");
/// let swapped = ages.untyped().compare_and_swap(&key, None, Some(&ages.encode_value(&1)?))?;
/// assert!(swapped.is_ok());
/// # Ok(())
/// # }
/// ```
pub struct TypedTree<K, V> {
    tree: Tree,
    types: PhantomData<fn(K) -> V>,
}

impl Tree {
    /// This tree with types: keys are `K`s, values what the codec `V` makes of them. Nothing is
    /// read, and nothing of the types is stored.
    #[must_use]
    pub fn typed<K: KeyCodec, V: ValueCodec>(&self) -> TypedTree<K, V> {
        TypedTree::new(self.clone())
    }
}

impl<K: KeyCodec, V: ValueCodec> TypedTree<K, V> {
    /// `tree` with types; the same as [`Tree::typed`].
    pub fn new(tree: Tree) -> TypedTree<K, V> {
        TypedTree { tree, types: PhantomData }
    }

    /// The same tree without types.
    pub fn untyped(&self) -> &Tree {
        &self.tree
    }

    /// Sets `key` to `value`. One message, no read.
    ///
    /// # Errors
    /// When the codec refuses the value, and as for [`Tree::insert`].
    pub fn insert<Q: AsKey<K> + ?Sized>(&self, key: &Q, value: &V::Value) -> Result<()> {
        self.tree.insert(self.encode_key(key), self.encode_value(value)?)
    }

    /// Sets `key` to `value` when `batch` is committed.
    ///
    /// ```
    /// # use sapwood::Durability;
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let ages = db.tree("ages")?.typed::<String, u32>();
    /// let names = db.tree("names")?.typed::<(u32, String), ()>();
    /// let mut batch = db.batch();
    /// ages.insert_in(&mut batch, "oak", &800)?;
    /// names.insert_in(&mut batch, &(800, "oak".to_owned()), &())?;
    /// batch.commit(Durability::Buffered)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the codec refuses the value; the batch is as it was then.
    pub fn insert_in<Q>(&self, batch: &mut Batch, key: &Q, value: &V::Value) -> Result<()>
    where
        Q: AsKey<K> + ?Sized,
    {
        batch.insert(&self.tree, self.encode_key(key), self.encode_value(value)?);
        Ok(())
    }

    /// Removes `key`, which need not be there. One message, no read.
    ///
    /// # Errors
    /// As for [`Tree::remove`].
    pub fn remove<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<()> {
        self.tree.remove(self.encode_key(key))
    }

    /// Removes `key` when `batch` is committed.
    pub fn remove_in<Q: AsKey<K> + ?Sized>(&self, batch: &mut Batch, key: &Q) {
        batch.remove(&self.tree, self.encode_key(key));
    }

    /// Merges `operand` into the value of `key`; it has the bytes that the tree's merge operator
    /// takes. One message, no read.
    ///
    /// ```
    /// # use sapwood::merge;
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let visits = db.tree_with("visits", |tree| tree.merge_operator(merge::AddU64))?;
    /// let visits = visits.typed::<String, u64>();
    /// visits.merge("home", 2u64.to_le_bytes())?;
    /// visits.merge("home", 3u64.to_le_bytes())?;
    /// assert_eq!(visits.get("home")?, Some(5));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Tree::merge`].
    pub fn merge<Q: AsKey<K> + ?Sized>(&self, key: &Q, operand: impl AsRef<[u8]>) -> Result<()> {
        self.tree.merge(self.encode_key(key), operand)
    }

    /// Removes all keys in `range`. One message, no read, like [`Tree::remove_range`].
    ///
    /// # Errors
    /// As for [`Tree::remove_range`].
    pub fn remove_range<Q: AsKey<K>>(&self, range: impl RangeBounds<Q>) -> Result<()> {
        self.tree.remove_range(self.encode_range(range))
    }

    /// Removes all keys that begin with `prefix`; see [`TypedTree::prefix`]. One message, no read.
    ///
    /// # Errors
    /// As for [`Tree::remove_prefix`].
    pub fn remove_prefix<P: KeyPrefix<K> + ?Sized>(&self, prefix: &P) -> Result<()> {
        self.tree.remove_prefix(encode_prefix(prefix))
    }

    /// The value of `key`. Costs what [`Tree::get`] costs.
    ///
    /// # Errors
    /// When the value cannot be decoded, and as for [`Tree::get`].
    pub fn get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V::Value>> {
        let key = self.encode_key(key);
        self.decode_found(&key, self.tree.get(&key)?.as_deref())
    }

    /// Whether `key` is there. Costs what [`Tree::get`] costs; the value is not decoded.
    ///
    /// # Errors
    /// As for [`Tree::get`].
    pub fn contains_key<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.tree.contains_key(self.encode_key(key))
    }

    /// The smallest key with its value.
    ///
    /// # Errors
    /// When the row cannot be decoded, and as for [`Tree::first`].
    pub fn first(&self) -> Result<Option<(K, V::Value)>> {
        self.tree.first()?.map(|(key, value)| self.decode_row(&key, &value)).transpose()
    }

    /// The largest key with its value.
    ///
    /// # Errors
    /// When the row cannot be decoded, and as for [`Tree::last`].
    pub fn last(&self) -> Result<Option<(K, V::Value)>> {
        self.tree.last()?.map(|(key, value)| self.decode_row(&key, &value)).transpose()
    }

    /// All rows in key order, as they are now; also backwards.
    pub fn iter(&self) -> Rows<K, V> {
        Rows::new(self, self.tree.iter())
    }

    /// The rows whose keys lie in `range`, in key order, as they are now; also backwards.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let tree = db.tree("t")?.typed::<i8, String>();
    /// for number in [-2, -1, 0, 1, 2] {
    ///     tree.insert(&number, &number.to_string())?;
    /// }
    /// let keys = tree.range(-1..=1).rev().map(|row| Ok(row?.0));
    /// assert_eq!(keys.collect::<sapwood::Result<Vec<_>>>()?, [1, 0, -1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn range<Q: AsKey<K>>(&self, range: impl RangeBounds<Q>) -> Rows<K, V> {
        Rows::new(self, self.tree.range(self.encode_range(range)))
    }

    /// The rows whose keys begin with `prefix`, in key order, as they are now; also backwards. A
    /// prefix of a tuple is a tuple of its first parts, `(a,)` or `(a, b)` and so on; a prefix of
    /// a string is a string.
    ///
    /// ```
    /// # fn main() -> sapwood::Result<()> {
    /// # let db = sapwood::Config::in_memory().open()?;
    /// let tree = db.tree("t")?.typed::<(u8, u8, String), ()>();
    /// for key in [(1, 1, "a"), (1, 2, "b"), (2, 1, "c")] {
    ///     tree.insert(&(key.0, key.1, key.2.to_owned()), &())?;
    /// }
    /// assert_eq!(tree.prefix(&(1,)).count(), 2);
    /// assert_eq!(tree.prefix(&(1, 2)).count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefix<P: KeyPrefix<K> + ?Sized>(&self, prefix: &P) -> Rows<K, V> {
        Rows::new(self, self.tree.prefix(encode_prefix(prefix)))
    }

    /// The bytes of `key`, as they are in the untyped tree.
    pub fn encode_key<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode_as_key(&mut out);
        out
    }

    /// The bytes of `range`'s ends, as the untyped tree takes them.
    pub fn encode_range<Q: AsKey<K>>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let end = |bound: Bound<&Q>| bound.map(|key| self.encode_key(key));
        (end(range.start_bound()), end(range.end_bound()))
    }

    /// The bytes of `value`, as they are in the untyped tree.
    ///
    /// # Errors
    /// When the codec refuses it.
    pub fn encode_value(&self, value: &V::Value) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        V::encode(value, &mut out).map_err(|reason| {
            let (tree, type_name) = (self.tree.name().to_owned(), type_name::<V>());
            Error::new(Kind::Encode { tree, type_name, reason })
        })?;
        Ok(out)
    }

    /// The key of which the untyped tree has these bytes.
    ///
    /// # Errors
    /// When they are not those of a `K` ([`Error::is_decode`]).
    pub fn decode_key(&self, key: &[u8]) -> Result<K> {
        K::from_key(key)
            .map_err(|reason| self.undecoded(RowPart::Key, type_name::<K>(), key, reason))
    }

    /// The value of which the untyped tree has these bytes. `key` are the bytes of its key; an
    /// error names it.
    ///
    /// # Errors
    /// When the codec cannot decode them ([`Error::is_decode`]).
    pub fn decode_value(&self, key: &[u8], value: &[u8]) -> Result<V::Value> {
        V::decode(value)
            .map_err(|reason| self.undecoded(RowPart::Value, type_name::<V>(), key, reason))
    }

    /// The row of which the untyped tree has these bytes.
    ///
    /// # Errors
    /// As for [`TypedTree::decode_key`] and [`TypedTree::decode_value`].
    pub fn decode_row(&self, key: &[u8], value: &[u8]) -> Result<(K, V::Value)> {
        Ok((self.decode_key(key)?, self.decode_value(key, value)?))
    }

    /// What was found at a key, if anything.
    pub(super) fn decode_found(
        &self,
        key: &[u8],
        found: Option<&[u8]>,
    ) -> Result<Option<V::Value>> {
        found.map(|value| self.decode_value(key, value)).transpose()
    }

    fn undecoded(
        &self,
        part: RowPart,
        type_name: &'static str,
        key: &[u8],
        reason: CodecError,
    ) -> Error {
        let tree = self.tree.name().to_owned();
        Error::new(Kind::Decode { tree, key: key.into(), part, type_name, reason })
    }
}

fn encode_prefix<K, P: KeyPrefix<K> + ?Sized>(prefix: &P) -> Vec<u8> {
    let mut out = Vec::new();
    prefix.encode_prefix(&mut out);
    out
}

/// For any types, also those that cannot be cloned.
impl<K, V> Clone for TypedTree<K, V> {
    fn clone(&self) -> TypedTree<K, V> {
        TypedTree { tree: self.tree.clone(), types: PhantomData }
    }
}

impl<K, V> fmt::Debug for TypedTree<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedTree")
            .field("name", &self.tree.name())
            .field("key", &type_name::<K>())
            .field("value", &type_name::<V>())
            .finish_non_exhaustive()
    }
}
