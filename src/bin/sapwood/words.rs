//! Figures and keys in words, for people.

use sapwood::{NodeShape, TreeShape};

/// No key takes more characters, since the longest have 64 KiB.
const KEY_CHARACTERS_MAX: usize = 40;

/// `1 run`, `2 runs`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `812 bytes`, `1.5 MiB`; rounded down.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 5] =
        [(50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = UNITS.iter().find(|(shift, _)| bytes >> shift > 0) else {
        return counted(bytes, "byte", "bytes");
    };
    let tenths = ((u128::from(bytes) * 10) >> shift) % 10;
    format!("{}.{tenths} {unit}", bytes >> shift)
}

/// A key in quotes, escaped to plain ASCII; what is cut off shows as three dots behind it.
pub fn key(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        let escaped = byte.escape_ascii().to_string();
        if text.len() + escaped.len() > KEY_CHARACTERS_MAX + 1 {
            return text + "\"...";
        }
        text += &escaped;
    }
    text + "\""
}

/// What kind of node it is, and its name.
pub fn name(node: &NodeShape) -> String {
    let kind = if node.height == 0 { "leaf" } else { "node" };
    format!("{kind} {}", node.block)
}

/// Where a node's bounds begin.
pub fn from(node: &NodeShape) -> String {
    if node.lower.is_empty() {
        return "from the start".to_owned();
    }
    format!("from {}", key(&node.lower))
}

/// A tree's name, as it is to be shown, with its figures; `amount` words its bytes.
pub fn heading(name: &str, tree: &TreeShape, amount: impl Fn(u64) -> String) -> String {
    let (nodes, leaves) = node_counts(&tree.top);
    let nodes = counted(nodes, "internal node", "internal nodes");
    let leaves = counted(leaves, "leaf", "leaves");
    let (all, waiting) = (amount(tree.top.subtree_bytes), amount(waiting_bytes(&tree.top)));
    let (id, height) = (tree.id, tree.top.height);
    format!("tree {id} {name}: height {height}, {nodes}, {leaves}, {all}, {waiting} of it waiting")
}

/// How many internal nodes and leaves there are.
fn node_counts(node: &NodeShape) -> (u64, u64) {
    if node.height == 0 {
        return (0, 1);
    }
    node.children
        .iter()
        .map(node_counts)
        .fold((1, 0), |(nodes, leaves), (more, more_leaves)| (nodes + more, leaves + more_leaves))
}

fn waiting_bytes(node: &NodeShape) -> u64 {
    node.children.iter().map(waiting_bytes).fold(node.buffer.bytes, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let expected = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            ((3 << 20) / 2, "1.5 MiB"),
            (u64::MAX, "16383.9 PiB"),
        ];
        for (bytes, text) in expected {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn keys_are_plain_and_short() {
        assert_eq!(key(b""), "\"\"");
        assert_eq!(key(b"a\"\n\xff"), r#""a\"\n\xff""#);
        assert_eq!(key(&[b'k'; 40]), format!("\"{}\"", "k".repeat(40)));
        assert_eq!(key(&[b'k'; 65_535]), format!("\"{}\"...", "k".repeat(40)));
        // No escape is cut in two.
        assert_eq!(key(&[0xff; 11]), format!("\"{}\"...", "\\xff".repeat(10)));
    }
}
