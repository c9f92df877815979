//! Node and catalog images: what was written is read back, and any bytes are read or refused.

use proptest::prelude::*;

use super::*;
use crate::catalog_image::{
    CatalogImage, CatalogTree, DroppedTree, OperatorName, PageOptions, TreeOptions, decode_catalog,
    encode_catalog,
};
use crate::{Compression, TreeId};

fn place_of(block: BlockId) -> Option<NodePlace> {
    let block = Some(block.to_raw()).filter(|block| *block < 1000)?;
    let extent = Extent { offset: 8192 + 4096 * block, bytes: 4096 };
    Some(NodePlace { extent, bytes: 100, checksum: block })
}

fn part(id: u64, first: &[u8], last: &[u8]) -> SegmentRef {
    let facts = SegmentFacts {
        id: SegmentId::from_raw(id),
        first: Key::from(first),
        last: Key::from(last),
        rows: 7,
        bytes: 700,
        content: if id.is_multiple_of(2) { Content::Plain } else { Content::Mixed },
    };
    let extent = Extent { offset: 1 << 20, bytes: 8192 };
    let meta = MetaPlace { offset: 5000, bytes: 300, checksum: id };
    let segment = Arc::new(Segment::written(facts, SegmentPlace { extent, meta }));
    SegmentRef::whole(segment, Msn::from_raw(3))
}

fn run(parts: Vec<SegmentRef>) -> Arc<Run> {
    run_of(parts, 6, 9)
}

fn run_of(parts: Vec<SegmentRef>, oldest: u64, newest: u64) -> Arc<Run> {
    Arc::new(Run::new(parts, Msn::from_raw(oldest), Msn::from_raw(newest)))
}

fn edge(block: u64, height: u8, runs: Vec<Arc<Run>>) -> Arc<Edge> {
    let block = BlockId::from_raw(block);
    let place = place_of(block).unwrap();
    Arc::new(Edge::new(Arc::new(Handle::on_disk(block, height, place)), runs))
}

/// A run of nothing but range deletes.
fn deletes(lower: &[u8], upper: Option<&[u8]>) -> Arc<Run> {
    let upper = upper.map(Key::from);
    let piece = Tombstone { lower: Key::from(lower), upper, msns: Arc::new([8, 7]) };
    let (oldest, newest) = (Msn::from_raw(6), Msn::from_raw(9));
    Arc::new(Run::new(Vec::new(), oldest, newest).with_tombstones(Tombstones::new(vec![piece])))
}

/// Two edges that share a clipped segment, and one below which everything was deleted.
fn internal() -> Node {
    let shared = part(4, b"a", b"z");
    let low = Bounds { lower: Key::from([]), upper: Some(Key::from(&b"m"[..])) };
    let high = Bounds { lower: Key::from(&b"m"[..]), upper: Some(Key::from(&b"t"[..])) };
    let edges = vec![
        edge(
            11,
            0,
            vec![run_of(vec![part(2, b"b", b"c")], 3, 5), run(vec![shared.clip(&low).unwrap()])],
        ),
        edge(12, 0, vec![run(vec![shared.clip(&high).unwrap()])]),
        edge(13, 0, vec![deletes(b"u", None)]),
    ];
    let pivots = vec![Key::from(&b"m"[..]), Key::from(&b"t"[..])];
    Node::Internal(Internal::new(1, pivots, edges))
}

fn leaf() -> Node {
    Node::Leaf(Run::new(
        vec![part(6, b"", b"f"), part(7, b"g", b"g")],
        Msn::from_raw(3),
        Msn::from_raw(9),
    ))
}

fn decode(node: &Node, payload: &[u8]) -> Result<Node, Corruption> {
    decode_node(BlockId::from_raw(5), node.height(), payload, &children_at(&place_of))
}

#[test]
fn a_node_is_read_back_as_it_was_written() {
    for node in [internal(), leaf()] {
        let image = encode_node(BlockId::from_raw(5), &node);
        let read = decode(&node, &image).unwrap();
        assert_eq!(encode_node(BlockId::from_raw(5), &read), image);
        assert_eq!(read.check(&Bounds::all()), Ok(()));
    }
}

#[test]
fn a_segment_whose_number_leaves_no_next_one_is_refused() {
    for (id, is_one) in [(COUNTER_END - 1, true), (COUNTER_END, false), (u64::MAX, false)] {
        let leaf =
            Node::Leaf(Run::new(vec![part(id, b"a", b"b")], Msn::from_raw(3), Msn::from_raw(9)));
        assert_eq!(
            decode(&leaf, &encode_node(BlockId::from_raw(5), &leaf)).is_ok(),
            is_one,
            "{id}"
        );
    }
}

#[test]
fn a_node_that_breaks_its_own_order_is_refused_and_not_asserted() {
    // The run reaches over the pivot behind its edge.
    let edges = vec![edge(11, 0, vec![run(vec![part(2, b"b", b"x")])]), edge(12, 0, Vec::new())];
    let node = Node::Internal(Internal::unchecked(1, vec![Key::from(&b"m"[..])], edges));
    assert!(decode(&node, &encode_node(BlockId::from_raw(5), &node)).is_err());
}

#[test]
fn a_shared_segment_is_one_segment_after_reading() {
    let node = internal();
    let Node::Internal(read) = decode(&node, &encode_node(BlockId::from_raw(5), &node)).unwrap()
    else {
        panic!("an internal node was read as a leaf")
    };
    let segments: Vec<_> = read.edges().iter().flat_map(|edge| edge.segments()).collect();
    assert!(Arc::ptr_eq(&segments[1].segment, &segments[2].segment));
}

#[test]
fn a_segment_that_is_described_in_two_ways_is_refused() {
    let two = |other: SegmentRef| {
        let runs = vec![run_of(vec![part(2, b"b", b"c")], 3, 5), run(vec![other])];
        let edges = vec![edge(11, 0, runs), edge(12, 0, Vec::new())];
        let node = Node::Internal(Internal::new(1, vec![Key::from(&b"m"[..])], edges));
        decode(&node, &encode_node(BlockId::from_raw(5), &node))
    };
    assert!(two(part(2, b"b", b"c")).is_ok());
    let refused = two(part(2, b"b", b"d")).unwrap_err();
    assert_eq!(refused.rule, "one segment is described in two ways");
    let mut elsewhere = part(2, b"b", b"c");
    let mut place = elsewhere.segment.place().unwrap();
    place.extent.offset *= 2;
    let facts = elsewhere.segment.facts().clone();
    elsewhere.segment = Arc::new(Segment::written(facts, place));
    assert_eq!(two(elsewhere).unwrap_err().rule, "one segment lies in two places");
}

#[test]
fn an_image_of_another_node_or_height_is_refused() {
    let image = encode_node(BlockId::from_raw(5), &leaf());
    assert!(decode_node(BlockId::from_raw(6), 0, &image, &children_at(&place_of)).is_err());
    assert!(decode_node(BlockId::from_raw(5), 1, &image, &children_at(&place_of)).is_err());
}

#[test]
fn a_child_that_the_block_table_lacks_is_refused() {
    let image = encode_node(BlockId::from_raw(5), &internal());
    let refused = decode_node(BlockId::from_raw(5), 1, &image, &|_, _| None).unwrap_err();
    assert_eq!(refused.rule, "the block table lacks a child");
}

fn tree(id: u64, name: &str) -> CatalogTree {
    CatalogTree {
        id: TreeId::from_raw(id),
        options: Arc::new(TreeOptions {
            name: name.to_owned(),
            pages: PageOptions { compression: Compression::None, page_bytes: 4096 },
            operator: Some(OperatorName { name: "sum".to_owned(), version: 3 }),
        }),
        top: edge(20 + id, 2, vec![run(vec![part(8, b"x", b"y")]), deletes(b"a", Some(b"b"))]),
        operator: None,
    }
}

fn catalog(second: &str) -> CatalogImage {
    let trees = vec![tree(1, "one"), tree(4, second)];
    let dropped = |id, at| DroppedTree { tree: tree(id, "one"), at: Msn::from_raw(at) };
    let dropped = vec![dropped(2, 7), dropped(3, 5)];
    CatalogImage { next_tree: TreeId::from_raw(5), changed: Msn::from_raw(9), trees, dropped }
}

#[test]
fn a_catalog_is_read_back_as_it_was_written() {
    let image = encode_catalog(&catalog("four"));
    let read = decode_catalog(&image, &children_at(&place_of)).unwrap();
    assert_eq!((read.next_tree, read.changed), (TreeId::from_raw(5), Msn::from_raw(9)));
    assert_eq!(encode_catalog(&read), image);
    let twice = encode_catalog(&catalog("one"));
    assert_eq!(
        decode_catalog(&twice, &children_at(&place_of)).unwrap_err().rule,
        "two trees have one name"
    );
}

#[test]
fn a_dropped_tree_is_no_other_and_not_of_the_future() {
    let rule = |change: &dyn Fn(&mut DroppedTree)| {
        let mut catalog = catalog("four");
        change(catalog.dropped.last_mut().unwrap());
        decode_catalog(&encode_catalog(&catalog), &children_at(&place_of)).unwrap_err().rule
    };
    let name = |id| move |dropped: &mut DroppedTree| dropped.tree.id = TreeId::from_raw(id);
    assert_eq!(rule(&name(4)), "a tree is there and dropped");
    assert_eq!(rule(&name(2)), "the tree ids do not ascend below the next one");
    assert_eq!(rule(&name(5)), "the tree ids do not ascend below the next one");
    let pages = |page_bytes| {
        move |dropped: &mut DroppedTree| {
            let pages = PageOptions { page_bytes, ..PageOptions::default() };
            let options = TreeOptions { pages, ..(*dropped.tree.options).clone() };
            dropped.tree.options = Arc::new(options);
        }
    };
    let size = "the pages of a tree are of no size that they can have";
    assert_eq!((rule(&pages(0)), rule(&pages((64 << 10) + 1))), (size, size));
    let late = |dropped: &mut DroppedTree| dropped.at = Msn::from_raw(10);
    assert_eq!(rule(&late), "a tree was dropped after the newest change");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_a_node_or_a_corruption(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for height in 0..3 {
            let _ = decode_node(BlockId::from_raw(5), height, &bytes, &children_at(&place_of));
        }
        let _ = decode_catalog(&bytes, &children_at(&place_of));
    }

    #[test]
    fn a_changed_catalog_is_read_or_a_corruption(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in any::<usize>(),
    ) {
        let mut image = encode_catalog(&catalog("four"));
        for (place, byte) in changes {
            let place = place % image.len();
            image[place] = byte;
        }
        let _ = decode_catalog(&image[..cut % image.len()], &children_at(&place_of));
        if let Ok(read) = decode_catalog(&image, &children_at(&place_of)) {
            let again = encode_catalog(&read);
            prop_assert!(decode_catalog(&again, &children_at(&place_of)).is_ok());
        }
    }

    /// Every piece of a run of range deletes may be anything: out of order, inverted, too new.
    #[test]
    fn any_range_deletes_are_sound_or_a_corruption(
        pieces in proptest::collection::vec(
            (
                proptest::collection::vec(0u8..3, 0..3),
                proptest::option::of(proptest::collection::vec(0u8..3, 0..3)),
                proptest::collection::vec(0u64..12, 0..4),
            ),
            0..4,
        ),
    ) {
        let mut image = Vec::new();
        for number in [5, 1, 1, 11, 1, 6, 9, 0, pieces.len() as u64] {
            image.put_varint(number);
        }
        for (lower, upper, distances) in &pieces {
            image.put_bytes(lower);
            image.put_u8(u8::from(upper.is_some()));
            upper.iter().for_each(|upper| image.put_bytes(upper));
            image.put_varint(distances.len() as u64);
            distances.iter().for_each(|distance| image.put_varint(*distance));
        }
        let read = decode_node(BlockId::from_raw(5), 1, &image, &children_at(&place_of));
        let is_sorted = pieces.windows(2).all(|pair| match pair {
            [(_, Some(upper), _), (lower, ..)] => upper <= lower,
            _ => false,
        });
        let is_sound = is_sorted && pieces.iter().all(|(lower, upper, distances)| {
            upper.as_ref().is_none_or(|upper| lower < upper)
                && !distances.is_empty()
                && distances.iter().all(|distance| *distance <= 3)
                && distances.is_sorted_by(|newer, older| newer < older)
        });
        prop_assert_eq!(read.is_ok(), is_sound, "{:?}", read);
    }

    /// The envelope's checksum is computed anew in such an attack, so decoding itself must hold.
    #[test]
    fn a_changed_image_is_a_sound_node_or_a_corruption(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        which in any::<bool>(),
    ) {
        let node = if which { internal() } else { leaf() };
        let mut image = encode_node(BlockId::from_raw(5), &node);
        for (place, byte) in changes {
            let place = place % image.len();
            image[place] = byte;
        }
        if let Ok(read) = decode(&node, &image) {
            prop_assert_eq!(read.check(&Bounds::all()), Ok(()));
        }
    }
}
