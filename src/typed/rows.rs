//! Iterators over typed rows.

use std::fmt;

use super::key_codec::KeyCodec;
use super::typed_tree::TypedTree;
use super::value_codec::ValueCodec;
use crate::error::Result;
use crate::iter::Iter;
use crate::slice::Slice;

/// Typed rows in key order, from both ends, as they were when the iterator was made.
///
/// It is an [`Iter`] that decodes. A row that cannot be decoded is an error
/// ([`Error::is_decode`](crate::Error::is_decode)) in its place among the others.
pub struct Rows<K, V> {
    tree: TypedTree<K, V>,
    rows: Iter,
}

impl<K: KeyCodec, V: ValueCodec> Rows<K, V> {
    pub(super) fn new(tree: &TypedTree<K, V>, rows: Iter) -> Rows<K, V> {
        Rows { tree: tree.clone(), rows }
    }

    fn decode(&self, row: Result<(Slice, Slice)>) -> Result<(K, V::Value)> {
        let (key, value) = row?;
        self.tree.decode_row(&key, &value)
    }
}

impl<K: KeyCodec, V: ValueCodec> Iterator for Rows<K, V> {
    type Item = Result<(K, V::Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(self.decode(row))
    }
}

impl<K: KeyCodec, V: ValueCodec> DoubleEndedIterator for Rows<K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let row = self.rows.next_back()?;
        Some(self.decode(row))
    }
}

impl<K, V> fmt::Debug for Rows<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("tree", &self.tree).finish_non_exhaustive()
    }
}
