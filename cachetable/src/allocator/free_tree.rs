//! Extents by offset, each subtree knowing its longest.
//!
//! ```text
//!                 offset 40, bytes 2, longest 9
//!                /                             \
//!    offset 10, bytes 9, longest 9     offset 50, bytes 1, longest 1
//! ```
//!
//! The search for the first extent that fits goes left wherever the left side holds one long
//! enough, and so finds the lowest without looking at any that is too short. The tree is a treap:
//! a search tree by offset and a heap by a pseudo-random priority, which makes its expected height
//! logarithmic whatever the order of the changes. Priorities come from a counter, so that equal
//! histories give equal trees.
//!
//! Invariants, checked by [`FreeTree::check`]:
//! 1. offsets ascend from left to right;
//! 2. no priority is larger than its parent's;
//! 3. `longest` is the largest length in the subtree.

use sapwood_serialize::Extent;

/// A set of extents that do not overlap.
#[derive(Clone, Default)]
pub(super) struct FreeTree {
    root: Link,
    insertions: u64,
}

impl FreeTree {
    /// The length of the longest extent; zero when there is none.
    pub(super) fn longest(&self) -> u64 {
        longest(&self.root)
    }

    /// Takes `bytes` from the front of the lowest extent that has them, and says where.
    pub(super) fn take_first(&mut self, bytes: u64) -> Option<u64> {
        take_first(&mut self.root, bytes)
    }

    /// The lowest extent that has `bytes`.
    pub(super) fn first(&self, bytes: u64) -> Option<Extent> {
        let mut node = self.root.as_ref().filter(|node| node.longest >= bytes)?;
        loop {
            if longest(&node.left) >= bytes {
                node = node.left.as_ref()?;
            } else if node.extent.bytes >= bytes {
                return Some(node.extent);
            } else {
                node = node.right.as_ref()?;
            }
        }
    }

    /// The last extent that starts before `offset`.
    pub(super) fn last_before(&self, offset: u64) -> Option<Extent> {
        let mut found = None;
        let mut link = &self.root;
        while let Some(node) = link {
            if node.extent.offset < offset {
                found = Some(node.extent);
                link = &node.right;
            } else {
                link = &node.left;
            }
        }
        found
    }

    /// The extent that starts at `offset`.
    pub(super) fn at(&self, offset: u64) -> Option<Extent> {
        let last = self.last_before(offset.checked_add(1)?);
        last.filter(|extent| extent.offset == offset)
    }

    /// Adds an extent that overlaps none.
    pub(super) fn insert(&mut self, extent: Extent) {
        self.insertions += 1;
        let priority = scramble(self.insertions);
        let node = Node { extent, longest: extent.bytes, priority, left: None, right: None };
        let (left, right) = split(self.root.take(), extent.offset);
        self.root = join(join(left, Some(Box::new(node))), right);
    }

    /// Takes out the extent that starts at `offset`.
    pub(super) fn remove(&mut self, offset: u64) {
        remove(&mut self.root, offset);
    }

    /// All extents in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Extent> {
        let mut path = Vec::new();
        push_left(&mut path, &self.root);
        std::iter::from_fn(move || {
            let node = path.pop()?;
            push_left(&mut path, &node.right);
            Some(node.extent)
        })
    }

    /// Walks the whole tree.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        check(&self.root)?;
        if self.iter().is_sorted_by(|left, right| left.offset < right.offset) {
            return Ok(());
        }
        Err("offsets in the free tree ascend")
    }
}

type Link = Option<Box<Node>>;

#[derive(Clone)]
struct Node {
    extent: Extent,
    longest: u64,
    priority: u64,
    left: Link,
    right: Link,
}

impl Node {
    fn update(&mut self) {
        self.longest = self.extent.bytes.max(longest(&self.left)).max(longest(&self.right));
    }
}

fn longest(link: &Link) -> u64 {
    link.as_ref().map_or(0, |node| node.longest)
}

fn take_first(link: &mut Link, bytes: u64) -> Option<u64> {
    let node = link.as_mut().filter(|node| node.longest >= bytes)?;
    let lower = take_first(&mut node.left, bytes);
    let offset = match lower {
        Some(offset) => offset,
        None if node.extent.bytes >= bytes => {
            let offset = node.extent.offset;
            if node.extent.bytes == bytes {
                *link = join(node.left.take(), node.right.take());
                return Some(offset);
            }
            // What remains stays between the same neighbours, so the node keeps its place.
            node.extent = Extent { offset: offset + bytes, bytes: node.extent.bytes - bytes };
            offset
        }
        None => take_first(&mut node.right, bytes)?,
    };
    node.update();
    Some(offset)
}

fn remove(link: &mut Link, offset: u64) {
    let node = link.as_mut().expect("only what was found is removed");
    if node.extent.offset == offset {
        *link = join(node.left.take(), node.right.take());
        return;
    }
    let side = if offset < node.extent.offset { &mut node.left } else { &mut node.right };
    remove(side, offset);
    node.update();
}

/// Cuts a tree into what starts before `offset` and the rest.
fn split(link: Link, offset: u64) -> (Link, Link) {
    let Some(mut node) = link else { return (None, None) };
    if node.extent.offset < offset {
        let (left, right) = split(node.right.take(), offset);
        node.right = left;
        node.update();
        (Some(node), right)
    } else {
        let (left, right) = split(node.left.take(), offset);
        node.left = right;
        node.update();
        (left, Some(node))
    }
}

/// Puts two trees together of which the first lies wholly before the second.
fn join(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, link) | (link, None) => link,
        (Some(mut left), Some(mut right)) => {
            if left.priority >= right.priority {
                left.right = join(left.right.take(), Some(right));
                left.update();
                Some(left)
            } else {
                right.left = join(Some(left), right.left.take());
                right.update();
                Some(right)
            }
        }
    }
}

fn push_left<'a>(path: &mut Vec<&'a Node>, mut link: &'a Link) {
    while let Some(node) = link {
        path.push(node);
        link = &node.left;
    }
}

fn check(link: &Link) -> Result<(), &'static str> {
    let Some(node) = link else { return Ok(()) };
    let sides = [&node.left, &node.right];
    for child in sides.into_iter().flatten() {
        if child.priority > node.priority {
            return Err("no priority in the free tree is larger than its parent's");
        }
    }
    let children = sides.map(longest).into_iter().max().unwrap_or(0);
    if node.longest != node.extent.bytes.max(children) {
        return Err("the free tree knows the longest extent of each subtree");
    }
    sides.into_iter().try_for_each(check)
}

/// Spreads a counter over all 64 bits: two rounds of multiplying by an odd number and folding the
/// high half onto the low one.
fn scramble(counter: u64) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let once = counter.wrapping_mul(ODD);
    let twice = (once ^ (once >> 32)).wrapping_mul(ODD);
    twice ^ (twice >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn height(link: &Link) -> usize {
        link.as_ref().map_or(0, |node| 1 + height(&node.left).max(height(&node.right)))
    }

    #[test]
    fn ascending_insertions_stay_balanced() {
        let mut tree = FreeTree::default();
        for number in 0..100_000 {
            tree.insert(Extent { offset: number * 3, bytes: 1 + number % 2 });
        }
        tree.check().unwrap();
        assert!(height(&tree.root) < 60, "height {}", height(&tree.root));
        assert_eq!(tree.first(2), Some(Extent { offset: 3, bytes: 2 }));
        assert_eq!(tree.first(3), None);
        assert_eq!(tree.take_first(2), Some(3));
        assert_eq!(tree.at(6).map(|extent| extent.bytes), Some(1));
        assert_eq!((tree.at(7), tree.last_before(0)), (None, None));
    }
}
