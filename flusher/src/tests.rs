//! What can be told of movement without a database: decisions as values, and how runs are cut,
//! grouped, shared out and appended.

use std::sync::Arc;

use proptest::prelude::*;
use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::budget::Budget;
use sapwood_cachetable::ledger::Change;
use sapwood_cachetable::storage::MemoryStorage;
use sapwood_cachetable::{Cachetable, Caching, Ownership, ReadAhead, RunCursor};
use sapwood_serialize::catalog_image::CatalogImage;
use sapwood_serialize::fold::Horizon;
use sapwood_serialize::merge_iter::{Direction, Stream};
use sapwood_serialize::node::{Edge, Handle, Image, Internal, Node, ResidentNode};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::Key;
use sapwood_serialize::{BlockId, Meter, Msn, Op, Storage, Tombstones, Version};

use crate::edit::Edit;
use crate::flush::hand_down;
use crate::forest::Forest;
use crate::limits::Limits;
use crate::merge::join_pair;
use crate::policy::{Pick, pick};
use crate::reconcile::{Cut, cut_into_leaves};
use crate::remedy::{Need, Remedy, need, remedy};
use crate::segment_writer::{Draft, SegmentWriter, Space};
use crate::spill::{Piece, adopt, place};
use crate::split::pivot_to_split;
use crate::stop::Stop;
use crate::taken::Taken;

fn table() -> Cachetable {
    table_of(1 << 26)
}

/// With a budget of so many bytes.
fn table_of(total: u64) -> Cachetable {
    let storage = MemoryStorage::new();
    let block_file = BlockFile::create(&storage).unwrap();
    let opened = block_file.tables(Vec::new()).unwrap();
    let (file, database) = (block_file.file, block_file.superblock.database);
    let storage: Arc<dyn Storage> = Arc::new(storage);
    Cachetable::new(storage, file, database, Budget { total }, None, opened)
}

/// The references to what is built of `keys`.
fn parts(table: &Cachetable, limits: &Limits, keys: &[String]) -> Vec<SegmentRef> {
    let mut draft = Draft::new(table, Stop::NEVER);
    let (pages, base) = (limits.pages(), Msn::from_raw(1));
    let mut writer = SegmentWriter::new(&mut draft, limits, pages, base, Space::Ask);
    for key in keys {
        writer.push(key.as_bytes(), &[Version { msn: 1, op: Op::Put(b"some value") }]).unwrap();
    }
    writer.finish().unwrap()
}

fn run(table: &Cachetable, keys: &[&str]) -> Arc<Run> {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let limits = Limits { segment_bytes: 1, ..Limits::tiny() };
    Arc::new(Run::new(parts(table, &limits, &keys), Msn::from_raw(1), Msn::from_raw(1)))
}

/// A run of one message.
fn run_at(table: &Cachetable, keys: &[&str], msn: u64) -> Arc<Run> {
    let parts = run(table, keys).segments().to_vec();
    Arc::new(Run::new(parts, Msn::from_raw(msn), Msn::from_raw(msn)))
}

/// A run of a third of a tiny leaf.
fn big_run(table: &Cachetable, first: &str, msn: u64) -> Arc<Run> {
    let keys: Vec<String> = (0..10).map(|number| format!("{first}{number:02}")).collect();
    let parts = parts(table, &Limits::tiny(), &keys);
    Arc::new(Run::new(parts, Msn::from_raw(msn), Msn::from_raw(msn)))
}

fn child(block: u64, node: Node) -> Arc<Handle> {
    let node = ResidentNode::new(node, Meter::new().charge(1));
    Arc::new(Handle::resident(BlockId::from_raw(block), node, Arc::new(Image::default())))
}

fn node(pivots: &[&str], buffers: Vec<Vec<Arc<Run>>>) -> Internal {
    let pivots: Vec<Key> = pivots.iter().map(|pivot| Key::from(pivot.as_bytes())).collect();
    let leaf = |(block, buffer)| {
        let child = child(block, Node::Leaf(Run::default()));
        Arc::new(Edge::new(child, buffer))
    };
    Internal::new(1, pivots, (1..).zip(buffers).map(leaf).collect())
}

fn keys_of(edge: &Edge) -> Vec<String> {
    let firsts = edge.segments().map(|part| String::from_utf8(part.first().to_vec()).unwrap());
    firsts.collect()
}

#[test]
fn a_run_that_skips_an_edge_keeps_what_lies_behind_it() {
    let table = table();
    let empty = node(&["c", "f", "j"], vec![Vec::new(); 4]);
    let (low, high) = (run(&table, &["a", "b"]), run(&table, &["k", "z"]));
    let both = low.segments().iter().chain(high.segments()).cloned().collect();
    let both = Arc::new(Run::new(both, Msn::from_raw(1), Msn::from_raw(1)));
    let fuller = Edit::append(&empty, &Bounds::all(), &[both]);
    let kept: Vec<_> = fuller.edges().iter().map(|edge| keys_of(edge)).collect();
    assert_eq!(kept, [vec!["a"], vec![], vec![], vec!["k"]]);
}

#[test]
fn a_run_within_one_edge_is_appended_whole() {
    let table = table();
    let run = run(&table, &["d", "e"]);
    let fuller = Edit::append(
        &node(&["c", "f"], vec![Vec::new(); 3]),
        &Bounds::all(),
        std::slice::from_ref(&run),
    );
    assert!(Arc::ptr_eq(&fuller.edge(1).buffer()[0], &run));
}

#[test]
fn a_node_with_too_many_edges_is_split_before_anything_else() {
    let table = table();
    let limits = Limits::tiny();
    let heavy = vec![run(&table, &["a"]); 9];
    let five = node(&["b", "c", "d", "e"], vec![heavy, vec![], vec![], vec![], vec![]]);
    assert_eq!(remedy(&Node::Internal(five), &limits), Remedy::Split);
}

#[test]
fn each_way_to_pick_has_its_edge() {
    let table = table();
    let limits = Limits::tiny();
    let light = vec![run_at(&table, &["a"], 1)];
    let many = vec![big_run(&table, "c", 1), big_run(&table, "d", 2)];
    let due: Vec<_> = (1..5).map(|msn| big_run(&table, "f", msn)).collect();
    let four = node(&["b", "e", "g"], vec![light, many, due, vec![]]);
    let all = Bounds::all();
    let chosen = |way| pick(&four, &all, way, &limits);
    assert_eq!(chosen(Pick::Due), Some(2));
    four.edge(1).charge_work(1 << 20);
    assert_eq!(chosen(Pick::Due), Some(1), "readers' work weighs like bytes");
    assert_eq!(chosen(Pick::Toward(b"h")), Some(3));
    assert_eq!(chosen(Pick::Within(&all)), Some(0));
    let late = Bounds { lower: Key::from(&b"g"[..]), upper: None };
    assert_eq!(chosen(Pick::Within(&late)), None);
    let calm = node(&["b"], vec![vec![run(&table, &["a"])], vec![]]);
    assert_eq!(pick(&calm, &all, Pick::Due, &limits), None);
}

#[test]
fn many_small_runs_are_gathered_and_much_is_flushed() {
    let table = table();
    let limits = Limits::tiny();
    let small: Vec<_> = (1..6).map(|msn| run_at(&table, &["a"], msn)).collect();
    let edge = |buffer| Edge::new(child(1, Node::Leaf(Run::default())), buffer);
    assert_eq!(need(&edge(small[..3].to_vec()), &Bounds::all(), &limits), Need::Nothing);
    assert_eq!(need(&edge(small[..4].to_vec()), &Bounds::all(), &limits), Need::Gather(0));
    let mut behind_a_large_one = vec![big_run(&table, "a", 1)];
    behind_a_large_one.extend((2..6).map(|msn| run_at(&table, &["a"], msn)));
    let wide = Limits { leaf_bytes: 1 << 20, ..limits };
    assert_eq!(need(&edge(behind_a_large_one), &Bounds::all(), &wide), Need::Gather(1));
    let large: Vec<_> = (1..5).map(|msn| big_run(&table, "a", msn)).collect();
    assert_eq!(need(&edge(large), &Bounds::all(), &limits), Need::Flush);
    let read = edge(vec![big_run(&table, "a", 1), big_run(&table, "b", 2)]);
    assert_eq!(need(&read, &Bounds::all(), &limits), Need::Nothing);
    read.charge_work(1 << 20);
    assert_eq!(need(&read, &Bounds::all(), &limits), Need::Flush, "what is read much moves early");
    let mut interleaved = small[..4].to_vec();
    interleaved[0] =
        Arc::new(Run::new(small[0].segments().to_vec(), Msn::from_raw(1), Msn::from_raw(3)));
    assert_ne!(
        need(&edge(interleaved), &Bounds::all(), &limits),
        Need::Gather(1),
        "the MSNs would overlap"
    );
}

#[test]
fn a_small_leaf_wants_to_be_merged_and_a_large_one_split() {
    let table = table();
    let limits = Limits::tiny();
    assert_eq!(remedy(&Node::Leaf(Run::default()), &limits), Remedy::Merge);
    let keys: Vec<String> = (0..200).map(|number| format!("{number:05}")).collect();
    let large = Run::new(parts(&table, &limits, &keys), Msn::from_raw(1), Msn::from_raw(1));
    assert!(large.bytes() > limits.leaf_bytes);
    assert_eq!(remedy(&Node::Leaf(large), &limits), Remedy::Split);
}

#[test]
fn what_is_merged_is_not_split_again_at_once() {
    for amount in 0..100 {
        if Limits::fits_merged(amount, 100) {
            assert!(amount <= 100 && !Limits::is_undersize(100, amount.max(1)));
        }
    }
    assert!(Limits::is_undersize(24, 100) && !Limits::is_undersize(25, 100));
    assert!(Limits::fits_merged(75, 100) && !Limits::fits_merged(76, 100));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_tail_is_tiny_and_every_row_is_there(rows in 1usize..600, length in 1usize..60) {
        let table = table();
        let limits = Limits::tiny();
        let keys: Vec<String> = (0..rows).map(|row| format!("{row:05}{}", "x".repeat(length))).collect();
        let parts = parts(&table, &limits, &keys);
        prop_assert_eq!(parts.iter().map(|part| part.rows).sum::<u64>(), rows as u64);
        prop_assert!(parts.windows(2).all(|pair| pair[0].is_before(&pair[1])));
        if parts.len() > 1 {
            let least = parts.iter().map(|part| part.bytes).min().unwrap();
            prop_assert!(least * 4 >= limits.segment_bytes, "{least} of {}", limits.segment_bytes);
        }
        for part in &parts {
            let resident = part.segment.resident().unwrap();
            let directory = &resident.meta().directory;
            let bytes = (0..directory.pages()).map(|page| directory.summary(page).raw_bytes as usize);
            let bytes: Vec<usize> = bytes.collect();
            prop_assert!(bytes.iter().all(|bytes| *bytes <= limits.page_bytes as usize + 128));
        }
    }

    #[test]
    fn leaves_are_cut_evenly_and_in_order(rows in 1usize..900) {
        let table = table();
        let limits = Limits::tiny();
        let keys: Vec<String> = (0..rows).map(|row| format!("{row:05}")).collect();
        let parts = parts(&table, &limits, &keys);
        let (count, total) = (parts.len(), parts.iter().map(|part| part.bytes).sum::<u64>());
        let leaves = cut_into_leaves(parts, limits.leaf_bytes, Cut::Even);
        prop_assert_eq!(leaves.iter().map(Vec::len).sum::<usize>(), count);
        prop_assert!(leaves.iter().all(|leaf| !leaf.is_empty()));
        let sizes: Vec<u64> =
            leaves.iter().map(|leaf| leaf.iter().map(|part| part.bytes).sum()).collect();
        let fair = total / leaves.len() as u64;
        prop_assert!(sizes.iter().all(|size| *size <= fair + limits.segment_bytes + 512), "{sizes:?}");
    }
}

/// A segment that is referred to twice on one edge leaves the view once.
#[test]
fn a_segment_that_leaves_twice_is_retired_once() {
    let table = table();
    let part = run(&table, &["a"]).segments()[0].clone();
    let segment = part.segment;
    table.write_segment(&segment, Ownership::Job).unwrap();
    let mut ledger = table.ledger();
    let token = ledger.publish(Change::default());
    let forest = Forest::new(CatalogImage::default(), token);
    let mut edit = Edit::new(&table, &mut ledger, &forest);
    edit.buffer_segments([segment.clone()]);
    let forest = edit.finish();
    let mut edit = Edit::new(&table, &mut ledger, &forest);
    edit.left_segments([segment.clone(), segment]);
    edit.finish();
    assert_eq!(ledger.live_bytes(), 0);
}

/// A segment that is written after it has left the view has no place to be read from again.
#[test]
fn what_was_written_too_late_is_not_evicted() {
    let table = table();
    let segment = run(&table, &["a"]).segments()[0].segment.clone();
    let publish = |change| table.ledger().publish(change);
    publish(Change { buffer_segments: vec![segment.clone()], ..Change::default() });
    publish(Change { left_segments: vec![segment.clone()], ..Change::default() });
    table.write_segment(&segment, Ownership::View).unwrap();
    assert!(segment.place().is_none());
    let _crowd = table.meters().memtables.charge(1 << 30);
    table.make_room();
    let part = table.part(&segment).unwrap();
    assert!(table.page(&segment, &part, 0, Caching::Keep).is_ok());
}

/// What was unwritten of leaves took all memory: each lookup beside an idle drain read a directory
/// again that had been driven out.
#[test]
fn leaves_that_are_not_written_leave_memory_to_readers() {
    let table = table_of(1 << 20);
    let keys: Vec<String> = (0..15_500).map(|number| format!("{number:06}")).collect();
    let limits = Limits { segment_bytes: 16 << 10, ..Limits::tiny() };
    let built = |keys| parts(&table, &limits, keys).into_iter().map(|part| part.segment).collect();
    let (low, high) = keys.split_at(8000);
    let (leaves, buffers): (Vec<_>, Vec<_>) = (built(low), built(high));
    let buffered = buffers.iter().map(|segment| segment.facts().bytes).sum::<u64>();
    table.ledger().publish(Change { buffer_segments: buffers, ..Change::default() });
    table.ledger().publish(Change { leaf_segments: leaves, ..Change::default() });
    let most = table.budget().unwritten_leaves();
    assert!(table.ledger().unwritten_bytes() > buffered + most, "there is too much of leaves");
    assert!(table.make_room(), "there is room for all of it");
    table.make_room_by_writing().unwrap();
    let left = table.ledger().unwritten_bytes() - buffered;
    assert!(left <= most && left + (32 << 10) > most, "{left} of {most} stay");
}

/// A flusher compressed and wrote what stood in its way itself, while another core was idle.
#[test]
fn what_a_job_would_have_to_write_is_written_before() {
    let table = table_of(1 << 20);
    let keys: Vec<String> = (0..8000).map(|number| format!("{number:06}")).collect();
    let limits = Limits { segment_bytes: 8 << 10, ..Limits::tiny() };
    let segments = parts(&table, &limits, &keys).into_iter().map(|part| part.segment);
    table.ledger().publish(Change { buffer_segments: segments.collect(), ..Change::default() });
    assert!(!table.write_due().unwrap(), "memory is not short, and most of it may die yet");
    let (budget, meters) = (table.budget(), table.meters());
    let crowd = |bytes: u64| meters.memtables.charge(usize::try_from(bytes).unwrap());
    let _most = crowd(budget.resident() - meters.resident() - budget.spare() / 2);
    let before = table.ledger().unwritten_bytes();
    while table.write_due().unwrap() {}
    let written = before - table.ledger().unwritten_bytes();
    assert!(written > 0 && written < budget.spare() + (32 << 10), "{written} bytes");
    let _rest = crowd(budget.spare());
    assert!(table.make_room(), "a job finds room without writing");
}

/// A segment has one owner: a node is not split between two edges that refer to it.
#[test]
fn a_split_does_not_separate_what_two_edges_share() {
    let table = table();
    let wide = Limits { segment_bytes: 1 << 20, ..Limits::tiny() };
    let keys: Vec<String> = ["c", "e"].map(str::to_owned).to_vec();
    let across =
        Arc::new(Run::new(parts(&table, &wide, &keys), Msn::from_raw(1), Msn::from_raw(1)));
    let four = node(&["b", "d", "f"], vec![Vec::new(); 4]);
    assert_eq!(pivot_to_split(&four), Some(2));
    let fuller = Edit::append(&four, &Bounds::all(), &[across]);
    let counts: Vec<usize> = fuller.edges().iter().map(|edge| edge.segments().count()).collect();
    assert_eq!(counts, [0, 1, 1, 0]);
    assert_ne!(pivot_to_split(&fuller), Some(2));
}

/// An edit that can be tried out, of a view without trees.
fn with_edit<T>(table: &Cachetable, try_out: impl FnOnce(&mut Edit<'_>) -> T) -> T {
    let mut ledger = table.ledger();
    let token = ledger.publish(Change::default());
    let forest = Forest::new(CatalogImage::default(), token);
    let mut edit = Edit::new(table, &mut ledger, &forest);
    let made = try_out(&mut edit);
    edit.finish();
    made
}

/// Runs that arrive while a flush merges what it took stay where they are.
#[test]
fn a_flush_leaves_what_came_after_it_had_begun() {
    let table = table();
    let below = node(&["m"], vec![Vec::new(); 2]);
    let (old, new) = (run_at(&table, &["a"], 1), run_at(&table, &["b"], 2));
    let before = Edge::new(child(9, Node::Internal(below)), vec![old.clone()]);
    let after = Arc::new(Edge::new(before.child.clone(), vec![old.clone(), new.clone()]));
    let taken = Taken {
        edge: Arc::new(before),
        bounds: Bounds::all(),
        horizon: Horizon::default(),
        operator: None,
        pages: Limits::tiny().pages(),
        covers: Tombstones::default(),
    };
    let made = with_edit(&table, |edit| {
        hand_down(edit, &after, &Bounds::all(), &taken, std::slice::from_ref(&old))
    });
    let made = made.expect("the edge has what was taken");
    let [edge] = &made.edges[..] else { panic!("one edge for one") };
    assert!(Arc::ptr_eq(&edge.buffer()[0], &new) && edge.buffer().len() == 1);
}

/// What waits above an internal node is newer than all below it, so neighbours are joined only when
/// nothing waits: what came since the job was picked has to move down first.
#[test]
fn internal_nodes_are_not_joined_under_a_buffer() {
    let table = table();
    let below = |block, pivot| child(block, Node::Internal(node(&[pivot], vec![Vec::new(); 2])));
    let waiting = vec![run_at(&table, &["x"], 7)];
    for (buffer, is_joined) in [(Vec::new(), true), (waiting, false)] {
        let low = Arc::new(Edge::new(below(7, "b"), Vec::new()));
        let high = Arc::new(Edge::new(below(8, "t"), buffer));
        let parent = Internal::new(2, vec![Key::from(&b"m"[..])], vec![low, high]);
        let above = Arc::new(Edge::new(child(9, Node::Internal(parent)), Vec::new()));
        let pair = (BlockId::from_raw(7), BlockId::from_raw(8));
        let limits = Limits { fanout: 16, ..Limits::tiny() };
        let joined = with_edit(&table, |edit| {
            join_pair(edit, &above, &Bounds::all(), pair, &limits).is_ok()
        });
        assert_eq!(joined, is_joined);
    }
}

/// What is newer stays above what waits on an edge, whether it was cut for the node below or is
/// taken over as it is; only when nothing waits does it go past the edge.
#[test]
fn nothing_newer_goes_below_what_waits() {
    let table = table();
    let waiting = vec![run_at(&table, &["b"], 1)];
    for buffer in [Vec::new(), waiting] {
        let goes_below = buffer.is_empty();
        let below = node(&["m"], vec![Vec::new(); 2]);
        let edge = Arc::new(Edge::new(child(9, Node::Internal(below)), buffer));
        let newer = run_at(&table, &["a"], 2);
        let piece = Piece { run: newer.clone(), goal: 0 };
        let spilled = with_edit(&table, |edit| place(edit, &edge, &Bounds::all(), &[&piece]));
        let adopted = with_edit(&table, |edit| adopt(edit, &edge, &[newer]));
        for made in [spilled, adopted] {
            let child = made.child.node().expect("it is resident");
            let Node::Internal(child) = &child.node else { panic!("it stays an internal node") };
            assert_eq!(child.edge(0).buffer().len(), usize::from(goes_below));
            assert_eq!(
                made.buffer().last().is_some_and(|run| run.newest().to_raw() == 2),
                !goes_below
            );
        }
    }
}

/// Each scan held a quarter of a MiB of every run that it merges, which nobody could evict: eight
/// of them took a process with the smallest cache to twice what it may take.
#[test]
fn scans_hold_little_of_a_small_cache() {
    let table = table_of(Budget::BYTES_MIN);
    let keys: Vec<String> = (0..20_000).map(|number| format!("{number:06}")).collect();
    let limits = Limits { segment_bytes: 256 << 10, ..Limits::default() };
    let parts = parts(&table, &limits, &keys);
    for part in &parts {
        table.write_segment(&part.segment, Ownership::Load).unwrap();
    }
    let run = Arc::new(Run::new(parts, Msn::ZERO, Msn::from_raw(1)));
    let (all, way) = (Bounds::all(), Direction::Forward);
    let mut cursor = RunCursor::new(&table, run, all, way, ReadAhead::LONG_SCAN).unwrap();
    let page_bytes = u64::from(limits.page_bytes);
    let held = table.counters().pages_read.get() * page_bytes;
    assert!((page_bytes..=40 << 10).contains(&held), "{held} bytes at once");
    let rows = std::iter::from_fn(|| {
        cursor.key()?;
        cursor.advance().ok()
    });
    assert_eq!(rows.count(), keys.len());
}

/// Values of an eighth of the cache took a process beyond twice its cache: up to three of them
/// waited to be shared out with their neighbours, and were nobody's memory.
#[test]
fn large_rows_are_accounted_for_at_once() {
    let (table, limits) = (table(), Limits::tiny());
    let mut draft = Draft::new(&table, Stop::NEVER);
    let (pages, base) = (limits.pages(), Msn::from_raw(1));
    let mut writer = SegmentWriter::new(&mut draft, &limits, pages, base, Space::Ask);
    let large = vec![7; 5 * 1024];
    for (key, all) in [("a", 1), ("b", 2), ("c", 3)] {
        writer.push(key.as_bytes(), &[Version { msn: 1, op: Op::Put(&large) }]).unwrap();
        let accounted = usize::try_from(table.meters().pages.bytes()).unwrap();
        assert_eq!(accounted / large.len(), all, "when {key} has come");
    }
    assert_eq!(writer.finish().unwrap().len(), 3);
}
