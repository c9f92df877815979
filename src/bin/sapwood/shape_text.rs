//! A database's shape as text: a line for each node, indented by depth.
//!
//! ```text
//!   waits above          holds
//!    20% [##........]     8% [#.........]  node 9 from the start: 2 edges; 1 run of 40 bytes waits
//!     0% [..........]    50% [#####.....]    leaf 3 from the start: 20 rows, 1024 bytes; ...
//! ```
//!
//! The bars stand in front, below one another, so that what is full catches the eye. A bar has a
//! mark where there is anything, and is full only from 100 percent on.

use std::fmt::Write as _;

use sapwood::{NodeShape, Shape, TreeShape};

use crate::words::{counted, from, heading, name};

/// How many leaves below one node get a line of their own.
#[derive(Clone, Copy)]
pub enum Leaves {
    All,
    AtMost(usize),
}

/// The whole shape, each line ended.
pub fn text(shape: &Shape, leaves: Leaves) -> String {
    let mut text = Text { out: String::new(), leaves };
    for (index, generation) in shape.generations.iter().enumerate() {
        let state = if index == 0 { "takes messages" } else { "sealed" };
        let messages = counted(generation.messages, "message waits", "messages wait");
        let bytes = counted(generation.bytes, "byte", "bytes");
        text.line(format_args!("generation {}, {state}: {messages}, {bytes}", generation.id));
    }
    if shape.trees.is_empty() {
        text.line(format_args!("no trees"));
    }
    for tree in &shape.trees {
        text.tree(tree);
    }
    text.out
}

struct Text {
    out: String,
    leaves: Leaves,
}

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{line}");
    }

    fn tree(&mut self, tree: &TreeShape) {
        let bytes = |bytes| counted(bytes, "byte", "bytes");
        self.line(format_args!("{}", heading(&format!("{:?}", tree.name), tree, bytes)));
        self.line(format_args!("  {:<21}holds", "waits above"));
        self.node(0, &tree.top);
    }

    fn node(&mut self, depth: usize, node: &NodeShape) {
        let figures = figures(std::slice::from_ref(node));
        let what = format!("{} {}: {figures}", name(node), from(node));
        self.bars(depth, node.buffer.fill_percent, node.fill_percent, &what);
        let most = match self.leaves {
            Leaves::AtMost(most) if node.height == 1 => most.min(node.children.len()),
            _ => node.children.len(),
        };
        let (shown, left_out) = node.children.split_at(most);
        for child in shown {
            self.node(depth + 1, child);
        }
        if !left_out.is_empty() {
            self.left_out(depth + 1, left_out);
        }
    }

    /// One line for several leaves. Its bars are those of the fullest, so that nothing is hidden.
    fn left_out(&mut self, depth: usize, leaves: &[NodeShape]) {
        let fullest_buffer = leaves.iter().map(|leaf| leaf.buffer.fill_percent).max();
        let fullest = leaves.iter().map(|leaf| leaf.fill_percent).max();
        let count = counted(leaves.len() as u64, "more leaf", "more leaves");
        let first = leaves.first().map(from).unwrap_or_default();
        let what = format!("and {count} {first}, the fullest shown: {}", figures(leaves));
        self.bars(depth, fullest_buffer.unwrap_or(0), fullest.unwrap_or(0), &what);
    }

    fn bars(&mut self, depth: usize, waiting: u64, held: u64, what: &str) {
        let (above, own, indent) = (bar(waiting), bar(held), depth * 2);
        self.line(format_args!("  {waiting:>3}% {above}   {held:>3}% {own}  {:indent$}{what}", ""));
    }
}

/// What nodes of one height hold, and what waits above them.
fn figures(nodes: &[NodeShape]) -> String {
    let sum = |figure: &dyn Fn(&NodeShape) -> u64| -> u64 {
        nodes.iter().map(figure).fold(0, u64::saturating_add)
    };
    let held = if nodes.iter().all(|node| node.height == 0) {
        let rows = counted(sum(&|node| node.rows), "row", "rows");
        format!("{rows}, {}", counted(sum(&|node| node.bytes), "byte", "bytes"))
    } else {
        counted(sum(&|node| node.children.len() as u64), "edge", "edges")
    };
    let runs = match sum(&|node| node.buffer.runs) {
        0 => return format!("{held}; nothing waits"),
        runs => counted(runs, "run", "runs"),
    };
    let verb = if runs == "1 run" { "waits" } else { "wait" };
    format!("{held}; {runs} of {} {verb}", counted(sum(&|node| node.buffer.bytes), "byte", "bytes"))
}

/// Ten characters.
fn bar(percent: u64) -> String {
    const WIDTH: usize = 10;
    let marks = usize::try_from(percent / 10).unwrap_or(WIDTH).min(WIDTH);
    let marks = if percent > 0 { marks.max(1) } else { 0 };
    format!("[{}{}]", "#".repeat(marks), ".".repeat(WIDTH - marks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sapwood::GenerationShape;

    fn leaf(number: u64, buffered: u64) -> NodeShape {
        let mut leaf = NodeShape::default();
        leaf.block = number;
        leaf.lower = format!("k{number}\t").into_bytes();
        (leaf.rows, leaf.bytes, leaf.fill_percent) = (20 * number, 1000 * number, 10 * number);
        leaf.buffer.runs = u64::from(buffered > 0);
        (leaf.buffer.bytes, leaf.buffer.fill_percent) = (buffered, buffered / 10);
        leaf.subtree_bytes = leaf.bytes + buffered;
        leaf
    }

    fn shape() -> Shape {
        let mut top = NodeShape::default();
        (top.block, top.height, top.fill_percent) = (9, 1, 16);
        top.children = vec![leaf(1, 0), leaf(2, 90), leaf(3, 1234), leaf(11, 5)];
        top.children[0].lower = Vec::new();
        (top.buffer.runs, top.buffer.bytes, top.buffer.fill_percent) = (2, 400, 52);
        top.subtree_bytes = 17_000 + 1_329 + 400;
        let mut generations = [GenerationShape::default(), GenerationShape::default()];
        (generations[0].id, generations[0].messages, generations[0].bytes) = (7, 1, 1);
        (generations[1].id, generations[1].messages, generations[1].bytes) = (6, 12, 340);
        let (mut tree, mut shape) = (TreeShape::default(), Shape::default());
        (tree.id, tree.name, tree.top) = (1, "a \"name\"".into(), top);
        (shape.generations, shape.trees) = (generations.into(), vec![tree]);
        shape
    }

    const HEAD: &str = "\
generation 7, takes messages: 1 message waits, 1 byte
generation 6, sealed: 12 messages wait, 340 bytes
tree 1 \"a \\\"name\\\"\": height 1, 1 internal node, 4 leaves, 18729 bytes, 1729 bytes of it waiting
  waits above          holds
   52% [#####.....]    16% [#.........]  node 9 from the start: 4 edges; 2 runs of 400 bytes wait
    0% [..........]    10% [#.........]    leaf 1 from the start: 20 rows, 1000 bytes; nothing waits
";

    #[test]
    fn each_node_has_a_line() {
        let rest = r#"
    9% [#.........]    20% [##........]    leaf 2 from "k2\t": 40 rows, 2000 bytes; 1 run of 90 bytes waits
  123% [##########]    30% [###.......]    leaf 3 from "k3\t": 60 rows, 3000 bytes; 1 run of 1234 bytes waits
    0% [..........]   110% [##########]    leaf 11 from "k11\t": 220 rows, 11000 bytes; 1 run of 5 bytes waits
"#;
        let expected = format!("{HEAD}{}", rest.trim_start_matches('\n'));
        assert_eq!(text(&shape(), Leaves::All), expected);
        assert_eq!(text(&shape(), Leaves::AtMost(4)), expected);
    }

    #[test]
    fn leaves_that_are_left_out_are_told_with_the_fullest() {
        let rest = r#"
  123% [##########]   110% [##########]    and 3 more leaves from "k2\t", the fullest shown: 320 rows, 16000 bytes; 3 runs of 1329 bytes wait
"#;
        let expected = format!("{HEAD}{}", rest.trim_start_matches('\n'));
        assert_eq!(text(&shape(), Leaves::AtMost(1)), expected);
    }

    #[test]
    fn nothing_is_told_in_words() {
        assert_eq!(text(&Shape::default(), Leaves::All), "no trees\n");
    }
}
