//! Which boxes a tree is drawn with, and how wide they are.
//!
//! ```text
//! level 0   [             top              ]
//! level 1   [      a      ][  b  ][   c    ]     children share the width of their parent
//! level 2   [a0][a1..a2][ ][ b0 ] [c0][c1 ]      neighbours may share a box
//! ```
//!
//! Invariants:
//! 1. each node is in exactly one box of its level, and boxes ascend by key;
//! 2. the nodes of a box have their parents in one box, and lie below it;
//! 3. no level has more boxes than asked for;
//! 4. no box is narrower than [`WIDTH_MIN`]; boxes of a level do not touch.

use std::ops::Range;

use sapwood::NodeShape;

/// No box is narrower: it could not be seen.
pub const WIDTH_MIN: f64 = 1.0;
/// What is left free between two boxes.
const GAP: f64 = 1.0;

/// One node, or neighbours that are drawn as one.
pub struct Group<'a> {
    pub members: Vec<&'a NodeShape>,
    pub left: f64,
    pub width: f64,
    /// Its children in the next level.
    children: Range<usize>,
}

/// The boxes of a tree, a list for each level, the top first.
pub struct Layout<'a> {
    pub levels: Vec<Vec<Group<'a>>>,
}

impl<'a> Layout<'a> {
    /// Groups the nodes so that no level has more than `most` boxes.
    pub fn new(top: &'a NodeShape, most: usize) -> Layout<'a> {
        let mut levels = Vec::new();
        let mut level = vec![Group::new(vec![top])];
        while !level.is_empty() {
            let next = next_level(&mut level, most);
            levels.push(level);
            level = next;
        }
        Layout { levels }
    }

    /// How many boxes the widest level has.
    pub fn boxes(&self) -> usize {
        self.levels.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Gives each box its place between `left` and `left + width`, by its share of the bytes.
    pub fn place(&mut self, left: f64, width: f64) {
        let least = self.least_widths();
        if let Some(top) = self.levels.first_mut().and_then(|level| level.first_mut()) {
            (top.left, top.width) = (left, width);
        }
        for (index, least) in least.iter().enumerate().skip(1) {
            let (above, below) = self.levels.split_at_mut(index);
            let (Some(parents), Some(children)) = (above.last(), below.first_mut()) else { return };
            for parent in parents {
                let range = parent.children.clone();
                share(parent, &mut children[range.clone()], &least[range]);
            }
        }
    }

    /// What each box needs for everything below it to be seen.
    fn least_widths(&self) -> Vec<Vec<f64>> {
        let mut least: Vec<Vec<f64>> = Vec::new();
        for level in self.levels.iter().rev() {
            let below = least.last();
            let width = |group: &Group<'_>| match below {
                Some(below) => needed(&below[group.children.clone()]).max(WIDTH_MIN),
                None => WIDTH_MIN,
            };
            least.push(level.iter().map(width).collect());
        }
        least.reverse();
        least
    }
}

impl<'a> Group<'a> {
    fn new(members: Vec<&'a NodeShape>) -> Group<'a> {
        Group { members, left: 0.0, width: 0.0, children: 0..0 }
    }

    /// Its leftmost node.
    pub fn first(&self) -> &'a NodeShape {
        self.members.first().expect("a box has a node")
    }

    /// The sum of a figure over its nodes.
    pub fn sum(&self, figure: impl Fn(&NodeShape) -> u64) -> u64 {
        self.members.iter().map(|node| figure(node)).fold(0, u64::saturating_add)
    }

    /// The largest of a figure among its nodes.
    pub fn most(&self, figure: impl Fn(&NodeShape) -> u64) -> u64 {
        self.members.iter().map(|node| figure(node)).max().unwrap_or(0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a width for the eye")]
    fn subtree_bytes(&self) -> f64 {
        self.sum(|node| node.subtree_bytes) as f64
    }

    fn child_count(&self) -> usize {
        self.members.iter().map(|node| node.children.len()).sum()
    }
}

/// Groups the children of a level, and tells each box of it which are its own.
fn next_level<'a>(level: &mut [Group<'a>], most: usize) -> Vec<Group<'a>> {
    let boxes = |size: usize| -> usize {
        level.iter().map(|group| group.child_count().div_ceil(size)).sum()
    };
    // It ends: with one box for each parent there are no more than there are parents.
    let mut size = 1;
    while boxes(size) > most.max(level.len()) {
        size += 1;
    }
    let mut next = Vec::new();
    for group in level {
        let first = next.len();
        let children: Vec<_> = group.members.iter().flat_map(|node| &node.children).collect();
        next.extend(children.chunks(size).map(|members| Group::new(members.to_vec())));
        group.children = first..next.len();
    }
    next
}

/// What boxes of these widths need side by side.
#[expect(clippy::cast_precision_loss, reason = "no level has so many boxes")]
fn needed(widths: &[f64]) -> f64 {
    widths.iter().sum::<f64>() + GAP * widths.len().saturating_sub(1) as f64
}

/// Shares a parent's width: to each child the least that it needs, and of the rest its part.
#[expect(clippy::cast_precision_loss, reason = "no level has so many boxes")]
fn share(parent: &Group<'_>, children: &mut [Group<'_>], least: &[f64]) {
    let rest = (parent.width - needed(least)).max(0.0);
    let even = 1.0 / children.len().max(1) as f64;
    let total: f64 = children.iter().map(Group::subtree_bytes).sum();
    let mut left = parent.left;
    for (child, least) in children.iter_mut().zip(least) {
        let part = if total > 0.0 { child.subtree_bytes() / total } else { even };
        child.left = left;
        child.width = least + rest * part;
        left += child.width + GAP;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(height: u8, fanout: usize, bytes: &mut dyn FnMut() -> u64) -> NodeShape {
        let mut node = NodeShape::default();
        node.height = height;
        if height == 0 {
            node.bytes = bytes();
        } else {
            node.children = (0..fanout).map(|_| tree(height - 1, fanout, bytes)).collect();
        }
        let below = node.children.iter().map(|child| child.subtree_bytes);
        node.subtree_bytes = below.sum::<u64>() + node.bytes;
        node
    }

    fn check(top: &NodeShape, most: usize, width: f64) -> Vec<usize> {
        let mut layout = Layout::new(top, most);
        layout.place(100.0, width);
        for pair in layout.levels.windows(2) {
            let (parents, children) = (&pair[0], &pair[1]);
            let mut next = 0;
            for parent in parents {
                assert_eq!(parent.children.start, next);
                next = parent.children.end;
                let below: Vec<_> = parent.members.iter().flat_map(|node| &node.children).collect();
                let mut members = Vec::new();
                let mut free = parent.left;
                for child in &children[parent.children.clone()] {
                    assert!(child.left >= free - 1e-6 && child.width >= WIDTH_MIN - 1e-6);
                    free = child.left + child.width + GAP;
                    members.extend(child.members.iter().copied());
                }
                assert!(free - GAP <= parent.left + parent.width + 1e-6);
                assert!(below.len() == members.len());
                assert!(below.iter().zip(members).all(|(one, other)| std::ptr::eq(*one, other)));
            }
            assert_eq!(next, children.len());
        }
        layout.levels.iter().map(Vec::len).collect()
    }

    #[test]
    fn boxes_lie_below_their_parents_and_beside_each_other() {
        let mut number = 0;
        let mut bytes = || {
            number = (number * 7_919 + 13) % 1_000_003;
            number
        };
        assert_eq!(check(&tree(0, 0, &mut bytes), 2000, 1200.0), [1]);
        assert_eq!(check(&tree(2, 4, &mut bytes), 2000, 1200.0), [1, 4, 16]);
        assert_eq!(check(&tree(3, 12, &mut || 0), 2000, 8000.0), [1, 12, 144, 1728]);
        assert_eq!(check(&tree(3, 12, &mut || u64::MAX / 5000), 2000, 8000.0).len(), 4);
    }

    #[test]
    fn a_long_level_is_drawn_with_fewer_boxes() {
        let mut one = || 1;
        assert_eq!(check(&tree(3, 24, &mut one), 2000, 8000.0), [1, 24, 576, 1728]);
        assert_eq!(check(&tree(3, 24, &mut one), 500, 2000.0), [1, 24, 288, 288]);
        assert_eq!(check(&tree(3, 8, &mut one), 1, 10.0), [1, 1, 1, 1]);
    }

    #[test]
    fn a_box_is_as_wide_as_its_bytes() {
        let mut bytes = [300, 100, 0].into_iter();
        let top = tree(1, 3, &mut || bytes.next().unwrap());
        let mut layout = Layout::new(&top, 10);
        layout.place(0.0, 405.0);
        let widths: Vec<f64> = layout.levels[1].iter().map(|group| group.width).collect();
        assert_eq!(widths, [301.0, 101.0, 1.0]);
    }
}
