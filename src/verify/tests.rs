//! A database broken on purpose, once for each order rule: what `verify` says of it while it is
//! open, and what is said of the checkpoint that it left.

use std::sync::Arc;

use sapwood_flusher::EdgeName;
use sapwood_flusher::edit::{Above, Edit, Refused, Replacement};
use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::{Content, Key, Segment, SegmentFacts, SegmentPlace};
use sapwood_serialize::{
    BlockId, Compression, Directory, Extent, Filter, KeyBits, MetaPlace, Msn, Op, PageBuilder,
    PageSummary, SegmentMeta, Tombstone, Tombstones, Version,
};

use crate::config::{Background, Config};
use crate::database::Database;
use crate::error::Result;
use crate::merge;
use sapwood_cachetable::storage::MemoryStorage;
use sapwood_flusher::Views;

const ROWS: u64 = 600;

fn open(storage: &Arc<MemoryStorage>) -> Result<Database> {
    let config = Config::on(storage.clone()).existing().tiny().cache_bytes(1 << 20);
    config.background(Background::Manual).open()
}

fn name(number: u64) -> String {
    format!("key-{number:04}")
}

/// A drained tree of height 2 or more with the keys `key-0000` to `key-0599`, whose MSNs ascend.
struct Subject {
    storage: Arc<MemoryStorage>,
    db: Database,
}

/// The height of the node below an edge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    AboveLeaf,
    /// Above the parents of leaves.
    AboveParents,
}

impl Subject {
    fn grown() -> Subject {
        let storage = Arc::new(MemoryStorage::new());
        let config = Config::on(storage.clone()).tiny().cache_bytes(1 << 20);
        let db = config.background(Background::Manual).open().unwrap();
        let tree = db.tree_with("t", |tree| tree.merge_operator(merge::Append)).unwrap();
        for number in 0..ROWS {
            tree.insert(name(number), "a value of some length").unwrap();
        }
        db.daemon().drain().unwrap();
        db.checkpoint().unwrap();
        assert!(db.stats().trees["t"].height > 1);
        let subject = Subject { storage, db };
        subject.db.verify().unwrap();
        subject
    }

    /// What is newest.
    fn newest(&self) -> u64 {
        self.db.engine().views.visible().to_raw()
    }

    /// The path of edges to `key`, from the top down, with their bounds.
    fn path(&self, key: &str) -> Vec<(Arc<Edge>, Bounds)> {
        let engine = self.db.engine();
        let forest = engine.views.forest();
        let mut edge = forest.trees.values().next().unwrap().top.clone();
        let mut bounds = Bounds::all();
        let mut path = Vec::new();
        loop {
            let resident = engine.table.node(&edge.child).unwrap();
            path.push((edge.clone(), bounds.clone()));
            let Node::Internal(node) = &resident.node else { return path };
            let index = node.index_of(key.as_bytes());
            (edge, bounds) = (node.edge(index).clone(), node.bounds_of(index, &bounds));
        }
    }

    fn edge(&self, place: Place, key: &str) -> (Arc<Edge>, Bounds) {
        let path = self.path(key);
        let index = match place {
            Place::Top => 0,
            Place::AboveLeaf => path.len() - 1,
            Place::AboveParents => path.len() - 2,
        };
        path[index].clone()
    }

    /// Publishes another version of the edge that leads to `key`; the ledger hears of it what
    /// `make` tells.
    fn replace(
        &self,
        place: Place,
        key: &str,
        make: impl Fn(&mut Edit<'_>, &Arc<Edge>, &Bounds) -> Edge,
    ) {
        let block = self.edge(place, key).0.child.block();
        self.publish(&|edit| {
            let tree = *edit.forest.trees.keys().next().unwrap();
            let name = EdgeName { tree, key: Key::from(key.as_bytes()), block };
            edit.replace_edge(&name, &mut |edit, edge, bounds| {
                Ok(Replacement::one(make(edit, edge, bounds), Above::Changes))
            })
        });
    }

    fn publish(&self, make: &dyn Fn(&mut Edit<'_>) -> std::result::Result<(), Refused>) {
        let engine = self.db.engine();
        // All of it is in memory already, so the path is.
        let mut ledger = engine.table.ledger();
        let forest = engine.views.forest();
        let mut edit = Edit::new(&engine.table, &mut ledger, &forest);
        make(&mut edit).unwrap();
        let next = edit.finish();
        let old = engine.views.install(next, None);
        drop(ledger);
        drop((old, forest));
    }

    /// Appends runs to the edge that leads to `key`, oldest first.
    fn buffer(&self, place: Place, key: &str, runs: &[Run]) {
        self.replace(place, key, |edit, edge, _| {
            let segments = runs.iter().flat_map(Run::segments);
            edit.buffer_segments(segments.map(|part| part.segment.clone()));
            let add = |edge: Edge, run: &Run| edge.with_run(Arc::new(run.clone()));
            runs.iter().fold((**edge).clone(), add)
        });
    }

    /// Replaces the node below the edge that leads to `key`; its segments stay what they are.
    fn node(&self, place: Place, key: &str, make: impl Fn(&Node, &Bounds) -> Node) {
        self.replace(place, key, |edit, edge, bounds| {
            let node = make(&edge.child.node().unwrap().node, bounds);
            let child = edit.changed(&edge.child, node);
            edge.with_child(child)
        });
    }

    /// Replaces the leaf of `key` by one of these rows and range deletes.
    fn leaf(&self, key: &str, run: &Run) {
        self.replace(Place::AboveLeaf, key, |edit, edge, _| {
            let before = edge.child.node().unwrap();
            edit.left_segments(before.node.segments().map(|part| part.segment.clone()));
            edit.leaf_segments(run.segments().iter().map(|part| part.segment.clone()));
            let child = edit.changed(&edge.child, Node::Leaf(run.clone()));
            edge.with_child(child)
        });
    }

    /// A segment of one page with these rows, each with versions newest first.
    fn part(&self, rows: &[(&str, &[(u64, Op<'_>)])]) -> SegmentRef {
        self.part_with(rows, &|_| {})
    }

    fn part_with(
        &self,
        rows: &[(&str, &[(u64, Op<'_>)])],
        change: &dyn Fn(&mut SegmentFacts),
    ) -> SegmentRef {
        let table = &self.db.engine().table;
        let mut builder = PageBuilder::new();
        for (key, versions) in rows {
            let versions: Vec<_> =
                versions.iter().map(|(msn, op)| Version { msn: *msn, op: *op }).collect();
            builder.push(key.as_bytes(), &versions);
        }
        let page = builder.finish();
        let mut directory = Directory::builder();
        let summary = PageSummary {
            rows: u32::try_from(page.rows()).unwrap(),
            raw_bytes: u32::try_from(page.bytes()).unwrap(),
        };
        directory.push(page.first_key(), page.last_key(), &summary);
        let directory = directory.finish();
        let mut facts = SegmentFacts {
            id: table.name_segment(),
            first: Key::from(directory.first_key()),
            last: Key::from(directory.last_key()),
            rows: directory.rows(),
            bytes: directory.raw_bytes(),
            content: Content::Mixed,
        };
        change(&mut facts);
        let hashes: Vec<u64> = (0..page.rows()).map(|row| Filter::hash(page.key(row))).collect();
        let meta = SegmentMeta { directory, filter: Filter::build(&hashes, KeyBits::LEAF) };
        let promise = table.promise_anyway(1 << 12);
        let segment = table.build_segment(facts, meta, vec![page], promise, Compression::Lz4, 0);
        SegmentRef::whole(segment, Msn::ZERO)
    }

    /// A run of one put.
    fn put(&self, key: &str, msn: u64) -> Run {
        let part = self.part(&[(key, &[(msn, Op::Put(b"value"))])]);
        run(vec![part], Tombstones::default(), msn, msn)
    }

    fn refusal(&self) -> String {
        let error = self.db.verify().unwrap_err();
        assert!(error.is_corruption(), "{error}");
        error.to_string()
    }

    /// Demands that the open database is refused with this sentence, and that the checkpoint of it
    /// is refused with `saved` when it is opened or verified.
    fn refused(self, rule: &str, saved: &str) {
        let told = self.refusal();
        assert!(told.ends_with(rule), "{told}");
        self.db.checkpoint().unwrap();
        self.db.abandon();
        let told = match open(&self.storage) {
            Ok(db) => {
                let told = db.verify().unwrap_err();
                db.abandon();
                told
            }
            Err(error) => error,
        };
        assert!(told.is_corruption(), "{told}");
        assert!(told.to_string().ends_with(saved), "{told}");
    }

    /// The same where no checkpoint would show it.
    fn refused_open(self, rule: &str) {
        let told = self.refusal();
        assert!(told.contains(rule), "{told}");
        self.db.abandon();
    }
}

fn run(parts: Vec<SegmentRef>, tombstones: Tombstones, oldest: u64, newest: u64) -> Run {
    Run::unchecked(parts, tombstones, Msn::from_raw(oldest), Msn::from_raw(newest))
}

fn deleted(lower: &str, upper: &str, msn: u64) -> Tombstones {
    let (lower, upper) = (Key::from(lower.as_bytes()), Some(Key::from(upper.as_bytes())));
    Tombstones::new(vec![Tombstone { lower, upper, msns: [msn].into() }])
}

/// A run of one range delete.
fn range(lower: &str, upper: &str, msn: u64) -> Run {
    run(Vec::new(), deleted(lower, upper, msn), msn, msn)
}

fn internal(node: &Node) -> &Internal {
    let Node::Internal(node) = node else { panic!("a leaf") };
    node
}

const NEWER_BELOW: &str = "for one key, an older message lies above a newer one";

// ----- rule 1 ----------------------------------------------------------------------

#[test]
fn rule_1_a_row_above_a_newer_row() {
    let subject = Subject::grown();
    subject.buffer(Place::AboveLeaf, &name(300), &[subject.put(&name(300), 5)]);
    subject.refused(NEWER_BELOW, NEWER_BELOW);
}

#[test]
fn rule_1_a_range_delete_above_a_newer_row() {
    let subject = Subject::grown();
    subject.buffer(Place::Top, &name(300), &[range(&name(300), &name(301), 5)]);
    subject.refused(NEWER_BELOW, NEWER_BELOW);
}

#[test]
fn rule_1_a_row_above_a_newer_range_delete() {
    let subject = Subject::grown();
    let newest = subject.newest();
    subject.buffer(Place::AboveLeaf, &name(300), &[range(&name(300), &name(301), newest)]);
    subject.db.verify().unwrap();
    subject.buffer(Place::Top, &name(300), &[subject.put(&name(300), newest - 1)]);
    subject.refused(NEWER_BELOW, NEWER_BELOW);
}

#[test]
fn rule_1_a_range_delete_above_a_newer_one_where_no_key_is() {
    let subject = Subject::grown();
    let newest = subject.newest();
    let (lower, upper) = ("key-0300-x", "key-0300-z");
    subject.buffer(Place::AboveLeaf, lower, &[range(lower, upper, newest)]);
    subject.db.verify().unwrap();
    subject.buffer(Place::Top, lower, &[range("key-0300-a", "key-0300-y", newest - 1)]);
    subject.refused(NEWER_BELOW, NEWER_BELOW);
}

#[test]
fn rule_1_a_message_newer_than_all_that_is_visible() {
    let subject = Subject::grown();
    let newest = subject.newest();
    subject.buffer(Place::Top, &name(300), &[subject.put(&name(300), newest + 1)]);
    let rule = "it is newer than all that is visible";
    subject.refused(rule, rule);
}

// ----- rule 2 ----------------------------------------------------------------------

const NOT_IN_ORDER: &str = "overlapping runs of a buffer are not in MSN order";

#[test]
fn rule_2_rows_of_a_newer_run_that_are_older() {
    let subject = Subject::grown();
    let newest = subject.newest();
    let runs = [subject.put(&name(300), newest), subject.put(&name(300), newest - 1)];
    subject.buffer(Place::AboveLeaf, &name(300), &runs);
    subject.refused(NOT_IN_ORDER, NOT_IN_ORDER);
}

#[test]
fn rule_2_a_range_delete_under_an_older_row_of_one_buffer() {
    let subject = Subject::grown();
    let newest = subject.newest();
    let covering = range(&name(300), &name(301), newest);
    let runs = [covering, subject.put(&name(300), newest - 1)];
    subject.buffer(Place::AboveLeaf, &name(300), &runs);
    subject.refused(NOT_IN_ORDER, NOT_IN_ORDER);
}

#[test]
fn rule_2_a_run_whose_interval_is_not_that_of_its_messages() {
    let subject = Subject::grown();
    let newest = subject.newest();
    let mut run = subject.put(&name(300), newest);
    run = Run::unchecked(
        run.segments().to_vec(),
        Tombstones::default(),
        Msn::from_raw(newest - 2),
        Msn::from_raw(newest - 1),
    );
    subject.buffer(Place::AboveLeaf, &name(300), &[run]);
    let rule = "a message lies outside the MSN interval of its run";
    subject.refused(rule, rule);
}

// ----- rule 3 ----------------------------------------------------------------------

#[test]
fn rule_3_pivots_that_do_not_ascend() {
    let subject = Subject::grown();
    subject.node(Place::AboveParents, &name(300), |node, _| {
        let node = internal(node);
        let mut pivots = node.pivots().to_vec();
        pivots[0] = pivots[1].clone();
        Node::Internal(Internal::unchecked(node.height, pivots, node.edges().to_vec()))
    });
    subject.refused(
        "the pivots of a node do not strictly ascend",
        "its pivots do not strictly ascend",
    );
}

#[test]
fn rule_3_a_pivot_outside_the_bounds() {
    let subject = Subject::grown();
    subject.node(Place::AboveParents, &name(300), |node, bounds| {
        let node = internal(node);
        let mut pivots = node.pivots().to_vec();
        pivots[0] = bounds.lower.clone();
        Node::Internal(Internal::unchecked(node.height, pivots, node.edges().to_vec()))
    });
    let rule = "a pivot lies outside its node's bounds";
    subject.refused(rule, rule);
}

#[test]
fn rule_3_a_run_beyond_its_edge() {
    let subject = Subject::grown();
    let newest = subject.newest();
    subject.buffer(Place::AboveLeaf, &name(300), &[subject.put(&name(599), newest)]);
    let rule = "a buffered run reaches beyond its edge";
    subject.refused(rule, rule);
}

#[test]
fn rule_3_a_range_delete_beyond_its_edge() {
    let subject = Subject::grown();
    let newest = subject.newest();
    subject.buffer(Place::AboveLeaf, &name(300), &[range(&name(300), "z", newest)]);
    let rule = "a buffered run reaches beyond its edge";
    subject.refused(rule, rule);
}

#[test]
fn rule_3_a_leaf_beyond_its_bounds() {
    let subject = Subject::grown();
    subject.leaf(&name(300), &subject.put(&name(599), 3));
    let rule = "a leaf reaches beyond its bounds";
    subject.refused(rule, rule);
}

#[test]
fn rule_3_a_key_that_the_reference_to_its_segment_does_not_tell() {
    let subject = Subject::grown();
    let newest = subject.newest();
    let rows: [(&str, &[(u64, Op<'_>)]); 2] =
        [(&name(300), &[(newest, Op::Put(b""))]), ("zzz", &[(newest, Op::Put(b""))])];
    let part = subject.part_with(&rows, &|facts| facts.last = facts.first.clone());
    let run = run(vec![part], Tombstones::default(), newest, newest);
    subject.buffer(Place::AboveLeaf, &name(300), &[run]);
    let saved = "its keys are not those of the reference to it";
    subject.refused("its last key is not that of the reference to it", saved);
}

// ----- rule 4 ----------------------------------------------------------------------

#[test]
fn rule_4_a_leaf_two_levels_below_its_parent() {
    let subject = Subject::grown();
    subject.node(Place::AboveParents, &name(300), |node, _| {
        let node = internal(node);
        let (pivots, edges) = (node.pivots().to_vec(), node.edges().to_vec());
        Node::Internal(Internal::unchecked(node.height + 1, pivots, edges))
    });
    let saved = "its height is not its parent's minus one";
    subject.refused("a child is not one lower than its parent", saved);
}

// ----- rule 5 ----------------------------------------------------------------------

#[test]
fn rule_5_a_range_delete_in_a_leaf() {
    let subject = Subject::grown();
    subject.leaf(&name(300), &range(&name(300), &name(301), 5));
    let rule = "a leaf holds a range delete";
    subject.refused(rule, rule);
}

#[test]
fn rule_5_a_delete_over_nothing() {
    let subject = Subject::grown();
    let part = subject.part(&[(&name(300), &[(7, Op::Put(b"new")), (5, Op::Delete)])]);
    subject.leaf(&name(300), &run(vec![part], Tombstones::default(), 5, 7));
    let rule = "a leaf holds a delete with nothing below it";
    subject.refused(rule, rule);
}

#[test]
fn rule_5_operands_that_the_operator_merges() {
    let subject = Subject::grown();
    let part = subject.part(&[(&name(300), &[(7, Op::Merge(b"new")), (5, Op::Put(b"old"))])]);
    subject.leaf(&name(300), &run(vec![part], Tombstones::default(), 5, 7));
    let rule = "a leaf holds operands that its operator merges";
    subject.refused(rule, rule);
}

#[test]
fn rule_5_what_readers_have_left_behind_is_counted() {
    let subject = Subject::grown();
    let versions = [(9, Op::Put(b"c")), (7, Op::Delete), (5, Op::Put(b"a"))];
    let part = subject.part(&[(&name(300), &versions)]);
    subject.leaf(&name(300), &run(vec![part], Tombstones::default(), 5, 9));
    let report = subject.db.verify().unwrap();
    assert_eq!((report.garbage_versions, report.waiting_operands), (2, 0));
    subject.db.abandon();
}

#[test]
fn rule_5_old_versions_stay_for_a_reader_and_are_garbage_once_it_has_gone() {
    let subject = Subject::grown();
    let tree = subject.db.tree("t").unwrap();
    let reader = tree.iter();
    for number in 0..50 {
        tree.insert(name(number), "a newer value").unwrap();
    }
    subject.db.daemon().drain().unwrap();
    assert_eq!(subject.db.verify().unwrap().garbage_versions, 0);
    drop(reader);
    assert_eq!(subject.db.verify().unwrap().garbage_versions, 50);
    tree.compact::<&str>(..).unwrap();
    assert_eq!(subject.db.verify().unwrap().garbage_versions, 0);
    subject.db.abandon();
}

/// Takes words only, and cannot combine them.
struct Words;

impl merge::MergeOperator for Words {
    fn name(&self) -> &str {
        "words"
    }

    fn apply(
        &self,
        _: &[u8],
        base: Option<&[u8]>,
        operand: &[u8],
    ) -> std::result::Result<Vec<u8>, merge::MergeError> {
        match operand {
            b"" => Err("a word has letters".into()),
            word => Ok([base.unwrap_or_default(), word].concat()),
        }
    }
}

#[test]
fn rule_5_operands_wait_where_the_operator_fails_or_is_not_declared() {
    let subject = Subject::grown();
    let declare = |db: &Database| db.tree_with("words", |tree| tree.merge_operator(Words)).unwrap();
    let tree = declare(&subject.db);
    tree.merge("fails", "one").unwrap();
    tree.merge("fails", "").unwrap();
    tree.merge("works", "two").unwrap();
    subject.db.daemon().drain().unwrap();
    assert_eq!(subject.db.verify().unwrap().waiting_operands, 2);
    tree.merge("works", "three").unwrap();
    drop(tree);
    subject.db.close().unwrap();
    let db = open(&subject.storage).unwrap();
    db.daemon().drain().unwrap();
    assert_eq!(db.verify().unwrap().waiting_operands, 3);
    declare(&db);
    assert_eq!(db.verify().unwrap().waiting_operands, 3);
    db.abandon();
}

// ----- rule 6 ----------------------------------------------------------------------

/// Another version of a node under the image of the one before, as if nothing had changed on disk.
fn change_under_image(subject: &Subject, run: &Run) {
    subject.publish(&|edit| {
        let tree = *edit.forest.trees.keys().next().unwrap();
        let (edge, _) = subject.path(&name(300)).swap_remove(0);
        let node = internal(&edge.child.node().unwrap().node).clone();
        let index = node.index_of(name(300).as_bytes());
        let fuller = node.edge(index).with_run(Arc::new(run.clone()));
        let node = Node::Internal(node.with_edge(index, Arc::new(fuller)));
        let child = edit.next_version(&edge.child, node, Above::Copied);
        edit.set_top(tree, Arc::new(edge.with_child(child)));
        edit.buffer_segments(run.segments().iter().map(|part| part.segment.clone()));
        Ok(())
    });
}

#[test]
fn rule_6_an_image_that_says_something_else() {
    let subject = Subject::grown();
    let newest = subject.newest();
    change_under_image(&subject, &range(&name(300), &name(301), newest));
    subject.refused_open("its image on disk says something else");
}

#[test]
fn rule_6_an_image_whose_node_refers_to_an_unwritten_segment() {
    let subject = Subject::grown();
    let newest = subject.newest();
    change_under_image(&subject, &subject.put(&name(300), newest));
    subject.refused_open("its image is on disk and refers to a segment that is not");
}

#[test]
fn rule_6_a_checkpoint_that_refers_to_space_of_nobody() {
    let subject = Subject::grown();
    let newest = subject.newest();
    let facts = subject.put(&name(300), newest).segments()[0].segment.facts().clone();
    let meta = MetaPlace { offset: 0, bytes: 100, checksum: 7 };
    let extent = Extent { offset: 1 << 30, bytes: 4096 };
    let segment = Arc::new(Segment::written(facts, SegmentPlace { extent, meta }));
    let part = SegmentRef::whole(segment, Msn::ZERO);
    let run = Arc::new(run(vec![part], Tombstones::default(), newest, newest));
    subject.replace(Place::AboveLeaf, &name(300), |_, edge, _| edge.with_run(run.clone()));
    let rule = "it refers to space that the space map lacks";
    subject.refused("it lies beyond the end of the file", rule);
}

#[test]
fn rule_6_a_checkpoint_that_refers_to_a_node_that_is_not_on_disk() {
    let subject = Subject::grown();
    subject.publish(&|edit| {
        let tree = *edit.forest.trees.keys().next().unwrap();
        let top = subject.path(&name(300)).swap_remove(0).0;
        let node = internal(&top.child.node().unwrap().node).clone();
        // Of another name, and the ledger does not hear of it.
        let stranger = node.edge(0).child.clone();
        let stranger = stranger.node().unwrap().node.clone();
        let stranger = subject.db.engine().table.new_node(BlockId::from_raw(99_999), stranger);
        let edge = node.edge(0).with_child(stranger);
        let child = edit.changed(&top.child, Node::Internal(node.with_edge(0, Arc::new(edge))));
        edit.set_top(tree, Arc::new(top.with_child(child)));
        Ok(())
    });
    subject.db.checkpoint().unwrap();
    let told = subject.refusal();
    assert!(told.contains("the view's used-set is not what it reaches"), "{told}");
    subject.db.abandon();
    let told = open(&subject.storage).unwrap().verify().unwrap_err().to_string();
    assert!(told.ends_with("the block table lacks a child"), "{told}");
}

// ----- rule 7 ----------------------------------------------------------------------

#[test]
fn rule_7_an_extent_that_the_view_owns_and_does_not_reach() {
    let subject = Subject::grown();
    subject.replace(Place::AboveLeaf, &name(300), |edit, edge, _| {
        let child = edit.changed(&edge.child, Node::Leaf(Run::default()));
        edge.with_child(child)
    });
    let told = subject.refusal();
    assert!(
        told.contains("the view's used-set is not what it reaches (not reached: Some("),
        "{told}"
    );
    subject.db.checkpoint().unwrap();
    subject.db.abandon();
    let db = open(&subject.storage).unwrap();
    let told = db.verify().unwrap_err().to_string();
    assert!(told.contains("is not what it reaches (not reached: Some("), "{told}");
    db.abandon();
}

#[test]
fn rule_7_a_segment_of_two_nodes() {
    let subject = Subject::grown();
    let (edge, _) = subject.edge(Place::AboveLeaf, &name(300));
    let leaf = edge.child.node().unwrap();
    let Node::Leaf(leaf) = &leaf.node else { panic!("an internal node") };
    let newest = subject.newest();
    let parts = leaf.segments().to_vec();
    let again = Arc::new(run(parts, Tombstones::default(), 1, newest));
    subject.replace(Place::AboveLeaf, &name(300), |_, edge, _| edge.with_run(again.clone()));
    subject.refused("a segment belongs to two nodes", "a segment belongs to two nodes");
}
