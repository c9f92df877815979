//! A stretch of keys.

use crate::segment::Key;

/// A stretch of keys: from `lower` on, up to but without `upper`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The smallest key that can be in it; the empty key is the smallest of all.
    pub lower: Key,
    /// The first key behind it; `None` for no end.
    pub upper: Option<Key>,
}

impl Bounds {
    /// All keys.
    pub fn all() -> Bounds {
        Bounds { lower: Key::from([]), upper: None }
    }

    /// Whether `key` lies within.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.lower <= *key && self.upper.as_ref().is_none_or(|upper| *key < **upper)
    }

    /// Whether no key lies within.
    pub fn is_empty(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| *upper <= self.lower)
    }

    /// The keys that lie within both.
    #[must_use]
    pub fn intersection(&self, other: &Bounds) -> Bounds {
        let upper = match (&self.upper, &other.upper) {
            (Some(one), Some(other)) => Some(one.min(other).clone()),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        Bounds { lower: (&self.lower).max(&other.lower).clone(), upper }
    }
}
