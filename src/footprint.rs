//! Which keys something depends on: single ones, and stretches.

use sapwood_serialize::TreeId;
use sapwood_serialize::run::Bounds;
use sapwood_serialize::segment::Key;

/// Keys and stretches of keys of any trees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Footprint {
    /// Sorted by [`Footprint::sort`].
    keys: Vec<(TreeId, Key)>,
    ranges: Vec<(TreeId, Bounds)>,
}

impl Footprint {
    /// One key.
    pub(crate) fn one(tree: TreeId, key: &[u8]) -> Footprint {
        Footprint { keys: vec![(tree, key.into())], ranges: Vec::new() }
    }

    pub(crate) fn push_key(&mut self, tree: TreeId, key: &[u8]) {
        self.keys.push((tree, key.into()));
    }

    pub(crate) fn push_range(&mut self, tree: TreeId, bounds: Bounds) {
        if !bounds.is_empty() {
            self.ranges.push((tree, bounds));
        }
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: Footprint) {
        self.keys.extend(other.keys);
        self.ranges.extend(other.ranges);
    }

    /// Sorts it, and forgets what it has twice. To be done before it is asked.
    pub(crate) fn sort(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        self.ranges.sort_unstable_by(|(left, one), (right, other)| {
            left.cmp(right).then_with(|| one.lower.cmp(&other.lower))
        });
        self.ranges.dedup_by(|(next_tree, next), (tree, bounds)| {
            let joins = next_tree == tree && bounds.upper.as_ref().is_none_or(|u| next.lower <= *u);
            if joins && let Some(upper) = &bounds.upper {
                bounds.upper = next.upper.clone().map(|next| next.max(upper.clone()));
            }
            joins
        });
    }

    /// Makes it coarser: every eight neighbouring keys and stretches of a tree become one stretch.
    pub(crate) fn coarsen(&mut self) {
        for (tree, key) in std::mem::take(&mut self.keys) {
            let upper = Some(crate::keys::successor(&key));
            self.ranges.push((tree, Bounds { lower: key, upper }));
        }
        self.sort();
        let ranges = std::mem::take(&mut self.ranges);
        for some in ranges.chunk_by(|(one, _), (other, _)| one == other) {
            for group in some.chunks(8) {
                let [(tree, first), ..] = group else { continue };
                // None overlaps another, so the last one reaches farthest.
                let upper = group.last().and_then(|(_, last)| last.upper.clone());
                self.push_range(*tree, Bounds { lower: first.lower.clone(), upper });
            }
        }
    }

    /// How many keys and stretches it has.
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.ranges.len()
    }

    pub(crate) fn keys(&self) -> &[(TreeId, Key)] {
        &self.keys
    }

    pub(crate) fn ranges(&self) -> &[(TreeId, Bounds)] {
        &self.ranges
    }

    /// Whether it has `key`.
    pub(crate) fn has(&self, tree: TreeId, key: &[u8]) -> bool {
        let is_before = |(other, one): &(TreeId, Key)| (*other, &**one) < (tree, key);
        let at = self.keys.partition_point(is_before);
        let found = self.keys.get(at).is_some_and(|(other, one)| *other == tree && **one == *key);
        found || self.has_in_range(tree, key)
    }

    fn has_in_range(&self, tree: TreeId, key: &[u8]) -> bool {
        let begins = |(other, bounds): &(TreeId, Bounds)| (*other, &*bounds.lower) <= (tree, key);
        let behind = self.ranges.partition_point(begins);
        let last = behind.checked_sub(1).and_then(|at| self.ranges.get(at));
        last.is_some_and(|(other, bounds)| *other == tree && bounds.contains(key))
    }

    /// A key that it has within `bounds`, or the first one of a stretch that overlaps them.
    pub(crate) fn within(&self, tree: TreeId, bounds: &Bounds) -> Option<Key> {
        let is_before = |(other, one): &(TreeId, Key)| (*other, one) < (tree, &bounds.lower);
        let at = self.keys.partition_point(is_before);
        let key = self.keys.get(at).filter(|(other, key)| *other == tree && bounds.contains(key));
        let ends_before = |(other, one): &(TreeId, Bounds)| match &one.upper {
            _ if *other != tree => *other < tree,
            upper => upper.as_ref().is_some_and(|upper| *upper <= bounds.lower),
        };
        // They are apart, so that their ends ascend as well.
        let at = self.ranges.partition_point(ends_before);
        let overlaps = |(other, one): &&(TreeId, Bounds)| {
            *other == tree && !one.intersection(bounds).is_empty()
        };
        let range = || self.ranges.get(at).filter(overlaps).map(|(_, one)| one.lower.clone());
        key.map(|(_, key)| key.clone()).or_else(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(lower: &[u8], upper: &[u8]) -> Bounds {
        Bounds { lower: lower.into(), upper: Some(upper.into()) }
    }

    #[test]
    fn it_has_its_keys_and_stretches() {
        let (one, two) = (TreeId::from_raw(1), TreeId::from_raw(2));
        let mut footprint = Footprint::one(one, b"k");
        footprint.push_key(one, b"a");
        footprint.push_key(one, b"k");
        footprint.push_range(two, bounds(b"d", b"f"));
        footprint.push_range(two, bounds(b"b", b"e"));
        footprint.push_range(two, bounds(b"x", b"x"));
        footprint.sort();
        assert_eq!(footprint.len(), 3);
        let has = |tree, keys: &[&str]| {
            keys.iter().map(|key| footprint.has(tree, key.as_bytes())).collect::<Vec<_>>()
        };
        assert_eq!(has(one, &["a", "b", "k"]), [true, false, true]);
        assert_eq!(has(two, &["a", "b", "e", "f", "k"]), [false, true, true, false, false]);
        assert_eq!(footprint.within(one, &bounds(b"b", b"z")).as_deref(), Some(&b"k"[..]));
        assert_eq!(footprint.within(one, &bounds(b"b", b"k")), None);
        assert_eq!(footprint.within(two, &bounds(b"e", b"z")).as_deref(), Some(&b"b"[..]));
        assert_eq!(footprint.within(two, &bounds(b"f", b"z")), None);
    }

    #[test]
    fn a_coarse_one_has_no_key_less() {
        let tree = TreeId::from_raw(1);
        let mut footprint = Footprint::default();
        (0u8..100).for_each(|byte| footprint.push_key(tree, &[byte * 2]));
        footprint.coarsen();
        assert!(footprint.len() < 20);
        assert!((0u8..100).all(|byte| footprint.has(tree, &[byte * 2])));
        assert!(!footprint.has(tree, &[199]));
    }

    #[test]
    fn a_coarse_one_has_no_stretch_less_and_stays_small() {
        let tree = TreeId::from_raw(1);
        let all = || (0u16..4000).map(|number| (number * 10).to_be_bytes());
        let mut footprint = Footprint::default();
        for (at, lower) in all().enumerate() {
            footprint.push_range(tree, bounds(&lower, &(at as u16 * 10 + 5).to_be_bytes()));
            if footprint.len() >= 100 {
                footprint.coarsen();
            }
        }
        assert!(footprint.len() <= 100);
        footprint.sort();
        assert!(all().all(|lower| footprint.has(tree, &lower)));
        let within = |lower: &[u8], upper: &[u8]| footprint.within(tree, &bounds(lower, upper));
        assert!(all().all(|lower| within(&lower, &[&lower[..], b"x"].concat()).is_some()));
        assert_eq!(within(&40_000u16.to_be_bytes(), &[255; 3]), None);
    }
}
