//! The picture of a shape; what it looks like stands at the head of `draw`.

use sapwood::{GenerationShape, Shape, TreeShape};

use super::layout::{Group, Layout};
use super::svg::{Area, Svg};
use crate::words::{counted, from, heading, name, size};

/// More boxes on a level would neither be seen nor leave the file small.
const BOXES_MAX: usize = 2000;
/// More trees are not drawn, but counted.
const TREES_MAX: usize = 200;

const MARGIN: f64 = 16.0;
/// Where the rows begin; their names stand left of it.
const LEFT: f64 = 96.0;
const WIDTH_MIN: f64 = 1200.0;
/// Wide enough for the boxes to differ in width even where there are many.
const WIDTH_PER_BOX: f64 = 4.0;
const LINE_HEIGHT: f64 = 18.0;
const BAND_HEIGHT: f64 = 16.0;
const NODE_HEIGHT: f64 = 26.0;
const ROW_GAP: f64 = 10.0;
/// About what a letter takes.
const LETTER_WIDTH: f64 = 6.2;

/// How much of what makes a buffer move is in it: the class, the percent below which it holds, and
/// its name. From light to dark, also without colours.
const SCALE: [(&str, u64, &str); 6] = [
    ("wait0", 1, "nothing"),
    ("wait1", 25, "below 25%"),
    ("wait2", 50, "below 50%"),
    ("wait3", 75, "below 75%"),
    ("wait4", 100, "below 100%"),
    ("wait5", u64::MAX, "due"),
];

const STYLE: &str = "
text { font: 11px sans-serif; fill: #222 }
.head { font-weight: bold; font-size: 13px }
.light { fill: #fff }
.page { fill: #fff }
.node { fill: #e3eaf2; stroke: #8294a8; stroke-width: 0.3 }
.held { fill: #9db7d3 }
.memtable { fill: #cfe3c8; stroke: #7d9a74; stroke-width: 0.3 }
.wait0 { fill: #f1f1f1 }
.wait1 { fill: #fff0b3 }
.wait2 { fill: #fecc5c }
.wait3 { fill: #fd8d3c }
.wait4 { fill: #e0301e }
.wait5 { fill: #7a0026 }
";

/// The whole file.
pub fn draw(shape: &Shape) -> String {
    let drawn = shape.trees.iter().take(TREES_MAX);
    let layouts: Vec<_> = drawn.map(|tree| (tree, Layout::new(&tree.top, BOXES_MAX))).collect();
    let boxes = layouts.iter().map(|(_, layout)| layout.boxes()).max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "no level has so many boxes")]
    let width = (boxes as f64 * WIDTH_PER_BOX).max(WIDTH_MIN);
    let mut picture = Picture { svg: Svg::default(), y: MARGIN, width };
    picture.legend();
    picture.memtables(&shape.generations);
    if shape.trees.is_empty() {
        picture.line("head", "no trees");
    }
    for (tree, layout) in layouts {
        picture.tree(tree, layout);
    }
    let left_out = shape.trees.get(TREES_MAX..).unwrap_or_default();
    if !left_out.is_empty() {
        let trees = counted(left_out.len() as u64, "more tree", "more trees");
        let bytes = left_out.iter().map(|tree| tree.top.subtree_bytes);
        let bytes = size(bytes.fold(0, u64::saturating_add));
        picture.line("head", &format!("{trees} of {bytes} not drawn; 'dump --shape' prints them"));
    }
    picture.finish()
}

/// A picture that grows downwards.
struct Picture {
    svg: Svg,
    /// Where the next thing begins.
    y: f64,
    /// Of the rows.
    width: f64,
}

impl Picture {
    fn finish(self) -> String {
        let (width, height) = (LEFT + self.width + MARGIN, self.y + MARGIN);
        self.svg.finish(width, height, STYLE)
    }

    /// A line of text of its own.
    fn line(&mut self, class: &str, text: &str) {
        self.svg.text(class, MARGIN, self.y + 12.0, text);
        self.y += LINE_HEIGHT;
    }

    fn legend(&mut self) {
        self.line("head", "Where data waits");
        self.line(
            "label",
            "Each row is a level of the tree, the leaves last. A box is as wide as its share of the \
             tree's bytes, waiting ones included; point at it for figures.",
        );
        let mut x = self.sample_text(MARGIN, "Waiting above a node, of what makes it move down:");
        for (class, _, meaning) in SCALE {
            self.svg.rect(class, Area { left: x, top: self.y, width: 24.0, height: 14.0 });
            x = self.sample_text(x + 28.0, meaning);
        }
        let node = Area { left: x + 16.0, top: self.y, width: 24.0, height: 14.0 };
        self.svg.rect("node", node);
        self.svg.rect("held", filled(node, 50));
        self.sample_text(x + 44.0, "a node, filled by half");
        self.y += LINE_HEIGHT + ROW_GAP;
    }

    /// A text within the current line; returns where the next thing may begin.
    fn sample_text(&mut self, left: f64, text: &str) -> f64 {
        self.svg.text("label", left, self.y + 11.0, text);
        left + text_width(text) + 12.0
    }

    fn memtables(&mut self, generations: &[GenerationShape]) {
        self.svg.text("label", MARGIN, self.y + 17.0, "memtables");
        let bytes: u64 = generations.iter().map(|generation| generation.bytes).sum();
        let mut x = LEFT;
        #[expect(clippy::cast_precision_loss, reason = "a width for the eye")]
        for (index, generation) in generations.iter().enumerate() {
            // Half of the width by bytes, half evenly, so that an empty one has room for its text.
            let part = generation.bytes as f64 / bytes.max(1) as f64;
            let even = 1.0 / generations.len() as f64;
            let part = if bytes == 0 { even } else { (part + even) / 2.0 };
            let width = part * self.width;
            let state = if index == 0 { "takes messages" } else { "sealed" };
            let messages = counted(generation.messages, "message", "messages");
            let (id, bytes) = (generation.id, size(generation.bytes));
            let title = format!("generation {id}, {state}: {messages}, {bytes}");
            let area = Area { left: x, top: self.y, width: width - 1.0, height: NODE_HEIGHT };
            self.svg.titled(&title, |svg| {
                svg.rect("memtable", area);
                label(svg, "label", area, &[&title, &bytes]);
            });
            x += width;
        }
        self.y += NODE_HEIGHT + 2.0 * ROW_GAP;
    }

    fn tree(&mut self, tree: &TreeShape, mut layout: Layout<'_>) {
        let heading = heading(&short(&format!("{:?}", tree.name)), tree, size);
        self.line("head", &heading);
        layout.place(LEFT, self.width);
        for level in &layout.levels {
            self.level(level);
        }
        self.y += ROW_GAP;
    }

    fn level(&mut self, level: &[Group<'_>]) {
        let height = level.first().map_or(0, |group| group.most(|node| u64::from(node.height)));
        let row = if height == 0 { "leaves".to_owned() } else { format!("height {height}") };
        self.svg.text("label", MARGIN, self.y + 12.0, "waiting");
        self.svg.text("label", MARGIN, self.y + BAND_HEIGHT + 17.0, &row);
        for group in level {
            self.group(group);
        }
        self.y += BAND_HEIGHT + NODE_HEIGHT + ROW_GAP;
    }

    fn group(&mut self, group: &Group<'_>) {
        let Group { left, width, .. } = *group;
        let band = Area { left, top: self.y, width, height: BAND_HEIGHT };
        let node = Area { left, top: self.y + BAND_HEIGHT, width, height: NODE_HEIGHT };
        let words = Words::of(group);
        let waiting = group.most(|node| node.buffer.fill_percent);
        let class = class_of(waiting, group.sum(|node| node.buffer.bytes));
        let average = group.sum(|node| node.fill_percent) / group.members.len().max(1) as u64;
        self.svg.titled(&words.title, |svg| {
            svg.rect(class, band);
            svg.rect("node", node);
            if average > 0 {
                svg.rect("held", filled(node, average));
            }
            let on_band = if matches!(class, "wait4" | "wait5") { "light" } else { "label" };
            let percent = format!("{waiting}%");
            if class != "wait0" {
                label(svg, on_band, band, &[&words.waits, &percent]);
            }
            label(svg, "label", node, &[&words.holds, &words.name]);
        });
    }
}

/// What is said about a box.
struct Words {
    name: String,
    waits: String,
    holds: String,
    title: String,
}

impl Words {
    fn of(group: &Group<'_>) -> Words {
        let (first, count) = (group.first(), group.members.len() as u64);
        let name = match (count, first.height) {
            (1, _) => name(first),
            (_, 0) => format!("{count} leaves"),
            _ => format!("{count} nodes"),
        };
        let held = group.sum(|node| node.fill_percent) / count;
        let holds = if first.height == 0 {
            let rows = counted(group.sum(|node| node.rows), "row", "rows");
            format!("{rows}, {}, {held}% full", size(group.sum(|node| node.bytes)))
        } else {
            let edges = group.sum(|node| node.children.len() as u64);
            format!("{}, {held}% full", counted(edges, "edge", "edges"))
        };
        let waits = match group.sum(|node| node.buffer.runs) {
            0 => "nothing".to_owned(),
            runs => {
                let bytes = size(group.sum(|node| node.buffer.bytes));
                let percent = group.most(|node| node.buffer.fill_percent);
                let fullest = if count == 1 { "" } else { "the fullest " };
                format!("{}, {bytes}, {fullest}{percent}% of due", counted(runs, "run", "runs"))
            }
        };
        let (note, above) = if count == 1 { ("", "it") } else { (" drawn as one", "them") };
        let all = size(group.sum(|node| node.subtree_bytes));
        let from = from(first);
        let title = format!(
            "{name}{note}, {from}\nholds {holds}\nabove {above}: {waits}\nwith all below: {all}"
        );
        Words { holds: format!("{name}: {holds}"), waits, title, name }
    }
}

/// The colour of a buffer. Only an empty one has the first.
fn class_of(percent: u64, bytes: u64) -> &'static str {
    let [(nothing, ..), some @ ..] = SCALE;
    if percent == 0 && bytes == 0 {
        return nothing;
    }
    let class = some.iter().find(|(_, below, _)| percent < *below).map(|(class, ..)| *class);
    class.unwrap_or("wait5")
}

/// The part of an area that is full, from below.
fn filled(area: Area, percent: u64) -> Area {
    let part = f64::from(u32::try_from(percent.min(100)).unwrap_or(100)) / 100.0;
    let height = area.height * part;
    Area { top: area.top + area.height - height, height, ..area }
}

/// The first of `texts` for which there is room, if there is for one.
fn label(svg: &mut Svg, class: &str, area: Area, texts: &[&str]) {
    const PADDING: f64 = 4.0;
    if let Some(text) = texts.iter().find(|text| text_width(text) + 2.0 * PADDING <= area.width) {
        svg.text(class, area.left + PADDING, area.top + area.height / 2.0 + 4.0, text);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a text is short")]
fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER_WIDTH
}

/// A name of a tree as a heading can hold it.
fn short(name: &str) -> String {
    const MOST: usize = 60;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::svg::tests::check_well_formed;
    use super::*;
    use sapwood::NodeShape;

    fn tree(height: u8, fanout: usize) -> NodeShape {
        let mut node = NodeShape::default();
        (node.height, node.block) = (height, 7);
        (node.buffer.runs, node.buffer.bytes, node.buffer.fill_percent) = (2, 3000, 60);
        if height == 0 {
            (node.rows, node.bytes, node.fill_percent) = (20, 2000, 40);
        } else {
            node.children = (0..fanout).map(|_| tree(height - 1, fanout)).collect();
            node.fill_percent = 50;
        }
        let below: u64 = node.children.iter().map(|child| child.subtree_bytes).sum();
        node.subtree_bytes = below + node.bytes + node.buffer.bytes;
        node
    }

    fn shape(tops: impl IntoIterator<Item = NodeShape>) -> Shape {
        let mut shape = Shape::default();
        for id in [9, 8] {
            let mut generation = GenerationShape::default();
            (generation.id, generation.messages, generation.bytes) = (id, id, 1000 * id);
            shape.generations.push(generation);
        }
        for (top, id) in tops.into_iter().zip(1..) {
            let mut tree = TreeShape::default();
            (tree.id, tree.top) = (id, top);
            tree.name = format!("tree {id}");
            shape.trees.push(tree);
        }
        shape
    }

    fn attribute(line: &str, name: &str) -> f64 {
        let start = line.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
        line[start..].split('"').next().unwrap().parse().unwrap()
    }

    /// Draws, and checks what is true of every picture.
    fn drawn(shape: &Shape) -> String {
        let file = draw(shape);
        check_well_formed(&file);
        let canvas = file.lines().find(|line| line.starts_with("<svg")).unwrap();
        let (width, height) = (attribute(canvas, "width"), attribute(canvas, "height"));
        for line in file.lines().filter(|line| line.starts_with("<rect class=") && !is_page(line)) {
            let (left, top) = (attribute(line, "x"), attribute(line, "y"));
            assert!(left >= 0.0 && left + attribute(line, "width") <= width, "{line}");
            assert!(top >= 0.0 && top + attribute(line, "height") <= height, "{line}");
            assert!(attribute(line, "width") >= 1.0 && attribute(line, "height") > 0.0, "{line}");
        }
        file
    }

    fn is_page(line: &str) -> bool {
        line.contains("\"page\"")
    }

    fn count(file: &str, what: &str) -> usize {
        file.matches(what).count()
    }

    #[test]
    fn each_node_is_a_box_with_its_figures() {
        let file = drawn(&shape([tree(2, 4)]));
        // One of each kind is in the legend.
        assert_eq!(count(&file, "class=\"node\""), 1 + 1 + 4 + 16);
        assert_eq!(count(&file, "class=\"wait3\""), 1 + 1 + 4 + 16);
        assert_eq!(count(&file, "class=\"memtable\""), 2);
        let leaf = "<title>leaf 7, from the start\nholds 20 rows, 1.9 KiB, 40% full\n\
                    above it: 2 runs, 2.9 KiB, 60% of due\nwith all below: 4.8 KiB</title>";
        assert_eq!(count(&file, leaf), 16);
        assert!(file.contains("generation 9, takes messages: 9 messages, 8.7 KiB"));
        assert!(file.contains("generation 8, sealed: 8 messages, 7.8 KiB"));
        for row in [">height 2<", ">height 1<", ">leaves<"] {
            assert_eq!(count(&file, row), 1, "{row}");
        }
    }

    #[test]
    fn the_smallest_databases_are_drawn() {
        let empty = drawn(&Shape::default());
        assert!(empty.contains(">no trees<"));
        let mut leaf = NodeShape::default();
        leaf.block = 1;
        let file = drawn(&shape([leaf]));
        assert!(file.contains("leaf 1, from the start\nholds 0 rows, 0 bytes, 0% full"));
        assert!(file.contains("above it: nothing"));
    }

    #[test]
    fn what_is_not_drawn_alone_is_told() {
        let file = drawn(&shape([tree(4, 12)]));
        assert!(file.contains("<title>12 leaves drawn as one, from the start\nholds 240 rows"));
        assert!(file.contains("above them: 24 runs, 35.1 KiB, the fullest 60% of due"));
        assert!(count(&file, "class=\"node\"") <= 1 + 5 * BOXES_MAX);
        assert!(file.len() < 4 << 20, "{} bytes", file.len());
        let file = drawn(&shape((0..205).map(|_| tree(0, 0))));
        assert!(file.contains("5 more trees of 24.4 KiB not drawn"));
    }

    #[test]
    fn hostile_keys_and_names_are_text() {
        let mut top = tree(0, 0);
        top.lower = b"</title>&\"'\0\xff\n]]>".to_vec();
        let mut shape = shape([top]);
        shape.trees[0].name = "</text><script>\0\u{1b}\u{ffff}".repeat(9);
        let file = drawn(&shape);
        assert!(
            file.contains("from &quot;&lt;/title&gt;&amp;\\&quot;\\&#39;\\x00\\xff\\n]]&gt;&quot;")
        );
        assert!(!file.contains("<script>"));
    }

    #[test]
    fn a_colour_means_one_thing() {
        let classes = [0, 1, 24, 25, 99, 100, u64::MAX].map(|percent| class_of(percent, 1));
        assert_eq!(classes, ["wait1", "wait1", "wait1", "wait2", "wait4", "wait5", "wait5"]);
        assert_eq!(class_of(0, 0), "wait0");
    }
}
