//! Ranges of keys, from what the user says to bounds.

use std::ops::{Bound, RangeBounds};

use sapwood_serialize::KEY_BYTES_MAX;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;

/// The keys in `range`.
pub(crate) fn bounds_of<K: AsRef<[u8]>>(range: &impl RangeBounds<K>) -> Bounds {
    let lower = match range.start_bound() {
        Bound::Unbounded => Key::from([]),
        Bound::Included(key) => Key::from(key.as_ref()),
        Bound::Excluded(key) => successor(key.as_ref()),
    };
    let upper = match range.end_bound() {
        Bound::Unbounded => None,
        Bound::Included(key) => Some(successor(key.as_ref())),
        Bound::Excluded(key) => Some(Key::from(key.as_ref())),
    };
    Bounds { lower, upper }
}

/// The keys that begin with `prefix`.
pub(crate) fn bounds_of_prefix(prefix: &[u8]) -> Bounds {
    Bounds { lower: Key::from(prefix), upper: behind_prefix(prefix) }
}

/// The smallest key above `key`.
pub(crate) fn successor(key: &[u8]) -> Key {
    key.iter().copied().chain([0]).collect()
}

/// Bounds with the same keys whose ends are no longer than keys may be: the key right behind one of
/// full length is the next one that does not begin with it.
pub(crate) fn within_key_length(bounds: Bounds) -> Bounds {
    let is_long = |key: &Key| key.len() > KEY_BYTES_MAX;
    let next = |key: &Key| behind_prefix(key.get(..KEY_BYTES_MAX).unwrap_or(key));
    let nothing = || Bounds { lower: Key::from([]), upper: Some(Key::from([])) };
    let lower = match Some(&bounds.lower).filter(|key| is_long(key)) {
        Some(long) => match next(long) {
            Some(lower) => lower,
            None => return nothing(),
        },
        None => bounds.lower,
    };
    let upper = bounds.upper.and_then(|key| if is_long(&key) { next(&key) } else { Some(key) });
    Bounds { lower, upper }
}

/// The smallest key behind all that begin with `prefix`; `None` when there is none.
fn behind_prefix(prefix: &[u8]) -> Option<Key> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let (kept, _) = prefix.split_at(last + 1);
    let mut upper = kept.to_vec();
    *upper.last_mut()? += 1;
    Some(upper.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key_that_has_it_not() {
        let upper = |prefix: &[u8]| bounds_of_prefix(prefix).upper.map(|upper| upper.to_vec());
        assert_eq!(upper(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(upper(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(upper(b"\xff"), None);
        assert_eq!(upper(b""), None);
    }

    #[test]
    fn ends_behind_keys_of_full_length_are_shortened() {
        let longest = vec![7; KEY_BYTES_MAX];
        let bounds = within_key_length(bounds_of(&(vec![1]..=longest.clone())));
        let upper = bounds.upper.unwrap();
        assert_eq!(upper.len(), KEY_BYTES_MAX);
        assert!(*longest < *upper && *upper > *successor(&longest));
        let last = vec![u8::MAX; KEY_BYTES_MAX];
        assert_eq!(within_key_length(bounds_of(&(vec![1]..=last.clone()))).upper, None);
        let behind = (Bound::Excluded(last), Bound::Unbounded);
        assert!(within_key_length(bounds_of(&behind)).is_empty());
    }
}
