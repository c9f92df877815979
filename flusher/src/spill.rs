//! Spill: a sealed generation moves into the trees, all of them at once.
//!
//! ```text
//! generation (sorted)   a b c | d e f | g h          cut at the pivots of the goals
//!                         |       |      |
//! goals              edge -> C0  edge -> C1 ...      the deepest edges where a piece is still
//! large
//! ```
//!
//! A piece goes to the deepest edge at which the pieces beside it have [`Limits::piece_bytes`] on
//! average and above which nothing older waits: random keys stop high up, ascending ones go
//! straight to the last leaf. At publication each piece takes the way down again in the view
//! that is current then, and stays higher where something has come in between; the top edge always
//! takes it. So a spill never starts over.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;

use sapwood_cachetable::{Caching, Fault, Reserved, StepPoint};
use sapwood_serialize::catalog_image::CatalogTree;
use sapwood_serialize::fold::{Floor, Rules};
use sapwood_serialize::merge_iter::{Direction, Merge, Stream};
use sapwood_serialize::node::{Edge, Internal, Node};
use sapwood_serialize::run::{Bounds, Run, SegmentRef};
use sapwood_serialize::segment::{Key, Segment};
use sapwood_serialize::{GenerationId, Msn, SegmentId, Tombstones, TreeId};

use crate::edit::{Above, Edit};
use crate::forest::{Forest, JobResult, Outcome};
use crate::mover::{Mover, top_of};
use crate::segment_writer::{Draft, SegmentWriter, Space};
use crate::stop::Stop;

/// What a spill needs to know of a generation.
pub trait Generation {
    /// The messages of one tree.
    type Messages<'a>: Stream<Error = Infallible>
    where
        Self: 'a;

    /// Its number.
    fn id(&self) -> GenerationId;
    /// No message is older.
    fn oldest(&self) -> Msn;
    /// No message is newer.
    fn newest(&self) -> Msn;
    /// The trees that it has messages of, ascending.
    fn trees(&self) -> Vec<TreeId>;
    /// The messages of `tree`, at the first.
    fn messages(&self, tree: TreeId) -> Self::Messages<'_>;
    /// About how many bytes of `tree` there are from each of these keys, which ascend, up to the
    /// next one.
    fn weights(&self, tree: TreeId) -> Vec<(&[u8], u64)>;
    /// Whether there is a message of `tree` within `bounds`; a search.
    fn has_messages(&self, tree: TreeId, bounds: &Bounds) -> bool;
    /// The range deletes of `tree`.
    fn tombstones(&self, tree: TreeId) -> Tombstones;
    /// Runs of `tree` that were written before, oldest first; they are older than its messages.
    fn runs(&self, tree: TreeId) -> &[Arc<Run>];
    /// What keeps the segments of those runs.
    fn reserved(&self) -> &[Arc<Reserved>];
}

/// What a spill has for one tree.
struct Portion<'g> {
    tree: TreeId,
    runs: &'g [Arc<Run>],
    pieces: Vec<Piece>,
}

/// Messages for one edge.
pub(crate) struct Piece {
    pub(crate) run: Arc<Run>,
    /// The height of the child under the edge that the piece was cut for.
    pub(crate) goal: u8,
}

/// Where a piece should end: at an edge with these bounds, above a child of this height.
struct Goal {
    upper: Option<Key>,
    height: u8,
}

/// An edge that a piece could go to, and those below it if it could pass.
struct Candidate {
    bounds: Bounds,
    height: u8,
    /// About what the generation has for it; nothing only where it has nothing.
    bytes: u64,
    below: Vec<Candidate>,
}

impl Candidate {
    fn new(edge: &Arc<Edge>, bounds: &Bounds) -> Candidate {
        let resident = edge.child.node();
        let below = match resident.as_ref().map(|resident| &resident.node) {
            // A piece may pass when nothing older waits and the child is in memory.
            Some(Node::Internal(node)) if edge.buffer().is_empty() => {
                let edges = node.edges().iter().enumerate();
                let candidate =
                    |(index, edge)| Candidate::new(edge, &node.bounds_of(index, bounds));
                edges.map(candidate).collect()
            }
            _ => Vec::new(),
        };
        let (bounds, height) = (bounds.clone(), edge.child.height());
        Candidate { bounds, height, bytes: 0, below }
    }

    /// Takes what it has of the weights; returns the others, which are behind it. Weights come from
    /// samples: of an edge without one, `has_any` tells whether there is anything for it.
    fn weigh<'w>(
        &mut self,
        weights: &'w [(&'w [u8], u64)],
        has_any: &dyn Fn(&Bounds) -> bool,
    ) -> &'w [(&'w [u8], u64)] {
        let mut rest = weights;
        for below in &mut self.below {
            rest = below.weigh(rest, has_any);
            self.bytes += below.bytes;
        }
        let is_ours = |key: &[u8]| self.bounds.upper.as_ref().is_none_or(|upper| *key < **upper);
        let (ours, behind) = rest.split_at(rest.partition_point(|(key, _)| is_ours(key)));
        self.bytes += ours.iter().map(|(_, bytes)| bytes).sum::<u64>();
        if self.bytes == 0 && has_any(&self.bounds) {
            self.bytes = 1;
        }
        behind
    }

    /// The goals: this edge, or those below it if pieces are worth it there.
    fn settle(&self, piece_bytes: u64, goals: &mut Vec<Goal>) {
        let pieces = self.below.iter().filter(|below| below.bytes > 0).count() as u64;
        if pieces > 0 && self.bytes / pieces >= piece_bytes {
            self.below.iter().for_each(|below| below.settle(piece_bytes, goals));
        } else {
            goals.push(Goal { upper: self.bounds.upper.clone(), height: self.height });
        }
    }
}

impl Mover {
    /// Whether the edges that a spill would feed have room for another run.
    pub fn has_room_for_spill(&self) -> bool {
        self.views.forest().trees.values().all(|tree| {
            let few = |edge: &Edge| edge.buffer().len() < self.limits.runs_hard;
            let resident = tree.top.child.peek();
            let below = resident.as_ref().map(|resident| &resident.node);
            few(&tree.top)
                && match below {
                    Some(Node::Internal(node)) => node.edges().iter().all(|edge| few(edge)),
                    _ => true,
                }
        })
    }

    /// Whether so much waits above a tree's only leaf that moving it down would be one long job, in
    /// which writers find no room.
    pub fn is_swamped(&self) -> bool {
        const LEAVES: u64 = 8;
        let most = LEAVES * self.limits.leaf_bytes;
        let is_swamped = |top: &Edge| {
            let bytes: u64 = top.buffer().iter().map(|run| run.bytes()).sum();
            top.child.height() == 0 && bytes >= most
        };
        self.views.forest().trees.values().any(|tree| is_swamped(&tree.top))
    }

    /// Moves `generation`, the oldest, of which everything is visible, into the trees.
    ///
    /// One spill at a time, which the caller sees to.
    pub fn spill<G: Generation>(&self, generation: &G) -> JobResult {
        self.spill_from(generation, Draft::new(&self.table, Stop::NEVER))
    }

    /// The same where a checkpoint is going to follow: what was built is compressed and written by
    /// other threads, and on its way to the disk, while more is built.
    pub fn spill_and_write<G: Generation>(&self, generation: &G) -> JobResult {
        match self.spill_from(generation, Draft::ahead(&self.table, Caching::Keep)) {
            // The disk is full: it stays in memory, as far as that goes.
            Err(fault) if fault.is_retryable() => self.spill(generation),
            spilled => spilled,
        }
    }

    fn spill_from<G: Generation>(&self, generation: &G, mut draft: Draft<'_>) -> JobResult {
        let forest = self.views.forest();
        self.table.steps().reach(StepPoint::SpillBegun)?;
        let mut portions: Vec<Portion<'_>> = Vec::new();
        for tree in generation.trees() {
            let Some(known) = self.needing(&forest, tree) else { continue };
            let goals = self.goals(generation, known);
            let pieces = self.cut(generation, known, &goals, &mut draft)?;
            portions.push(Portion { tree, runs: generation.runs(tree), pieces });
        }
        drop(forest);
        draft.finish_writing()?;
        self.count_built(&draft);
        self.table.steps().reach(StepPoint::SpillBuilt)?;
        let mut placed = Placed::default();
        let outcome = self.publish(Some(generation.id()), &mut |edit| {
            placed = place_all(edit, &portions);
            let built = draft.segments().iter().filter(|built| !placed.lost.contains(&built.id()));
            edit.buffer_segments(built.chain(&placed.adopted).cloned());
            Ok(())
        })?;
        if outcome == Outcome::Done {
            draft.published_but(&placed.lost);
            // What was meant for a tree that is gone is nobody's.
            let adopted: BTreeSet<SegmentId> = placed.adopted.iter().map(|one| one.id()).collect();
            for reserved in generation.reserved() {
                reserved.retain(|segment| adopted.contains(&segment.id()));
                reserved.published();
            }
            self.counters.spills.add(1);
            self.table.steps().pass(StepPoint::SpillPublished);
            self.tend_spilled(&portions);
        }
        Ok(outcome)
    }

    /// The tree, if anybody needs its messages: one that was dropped has use for them only as long
    /// as somebody reads what was before.
    fn needing<'f>(&self, forest: &'f Forest, tree: TreeId) -> Option<&'f CatalogTree> {
        forest.trees.get(&tree).or_else(|| {
            let dropped = forest.dropped.get(&tree)?;
            self.views.horizon().sees_before(dropped.at).then_some(&dropped.tree)
        })
    }

    /// Where the pieces of a tree's messages should go.
    fn goals<G: Generation>(&self, generation: &G, tree: &CatalogTree) -> Vec<Goal> {
        let mut top = Candidate::new(&tree.top, &Bounds::all());
        if !top.below.is_empty() {
            let has_any = |bounds: &Bounds| generation.has_messages(tree.id, bounds);
            top.weigh(&generation.weights(tree.id), &has_any);
        }
        let mut goals = Vec::new();
        top.settle(self.limits.piece_bytes, &mut goals);
        goals
    }

    fn cut<G: Generation>(
        &self,
        generation: &G,
        tree: &CatalogTree,
        goals: &[Goal],
        draft: &mut Draft<'_>,
    ) -> Result<Vec<Piece>, Fault> {
        let horizon = self.views.horizon();
        let rules =
            Rules { horizon: &horizon, floor: Floor::Buffer, operator: tree.operator.as_ref() };
        // What was written before is older than all of these messages.
        let before = generation.runs(tree.id).iter().map(|run| run.newest()).max();
        let oldest = before.map_or(generation.oldest(), Msn::next);
        let newest = generation.newest();
        if oldest > newest {
            return Ok(Vec::new());
        }
        let tombstones = generation.tombstones(tree.id);
        let kept = tombstones.folded(&horizon);
        let mut pieces = Vec::new();
        let mut merge = Merge::new(vec![generation.messages(tree.id)], Direction::Forward);
        let mut lower = Bounds::all().lower;
        for goal in goals {
            let bounds = Bounds { lower, upper: goal.upper.clone() };
            let pages = tree.options.pages;
            let mut writer =
                SegmentWriter::new(draft, &self.limits, pages, oldest, Space::Promised);
            while let Some(key) = merge.key() {
                if !bounds.contains(key) {
                    break;
                }
                let folded = merge.fold(key, tombstones.covers(key), rules);
                writer.push(key, &folded.versions())?;
                let Ok(()) = merge.advance();
            }
            let run = Run::new(writer.finish()?, oldest, newest);
            let run = Arc::new(run.with_tombstones(kept.clip(&bounds)));
            if !run.is_empty() {
                pieces.push(Piece { run, goal: goal.height });
            }
            lower = bounds.upper.unwrap_or(bounds.lower);
        }
        Ok(pieces)
    }

    /// Every node that may have got a piece on one of its edges wants a look.
    fn tend_spilled(&self, portions: &[Portion<'_>]) {
        let forest = self.views.forest();
        for portion in portions {
            let Some(known) = forest.trees.get(&portion.tree) else { continue };
            if !portion.runs.is_empty() {
                self.due.tend(top_of(portion.tree, &known.top));
            }
            let runs = portion.runs.iter().chain(portion.pieces.iter().map(|piece| &piece.run));
            for run in runs {
                let key = run.first().map_or_else(|| Bounds::all().lower, Key::from);
                self.tend_path(portion.tree, &known.top, &key);
            }
        }
    }
}

/// What became of the segments of a spill.
#[derive(Default)]
struct Placed {
    /// Those that were written before and are now the view's.
    adopted: Vec<Arc<Segment>>,
    /// Those that were built for a tree that is gone by now.
    lost: BTreeSet<SegmentId>,
}

/// Puts everything into its tree.
fn place_all(edit: &mut Edit<'_>, portions: &[Portion<'_>]) -> Placed {
    let mut placed = Placed::default();
    for portion in portions {
        let dropped = edit.forest.dropped.get(&portion.tree).map(|dropped| &dropped.tree);
        let Some(known) = edit.forest.trees.get(&portion.tree).or(dropped) else {
            let parts = portion.pieces.iter().flat_map(|piece| piece.run.segments());
            placed.lost.extend(parts.map(|part| part.segment.id()));
            continue;
        };
        let top = known.top.clone();
        let top = adopt(edit, &top, portion.runs);
        let parts = portion.runs.iter().flat_map(|run| run.segments());
        placed.adopted.extend(parts.map(|part| part.segment.clone()));
        let pieces: Vec<&Piece> = portion.pieces.iter().collect();
        let top = place(edit, &top, &Bounds::all(), &pieces);
        edit.set_top(portion.tree, top);
    }
    placed
}

/// The top edge with `runs` by reference: on it, or cut to the edges of its child when nothing
/// older waits, so that they need not move down in one piece.
pub(crate) fn adopt(edit: &mut Edit<'_>, top: &Arc<Edge>, runs: &[Arc<Run>]) -> Arc<Edge> {
    if runs.is_empty() {
        return top.clone();
    }
    let resident = top.child.node();
    match resident.as_ref().map(|resident| &resident.node) {
        Some(Node::Internal(node)) if top.buffer().is_empty() => {
            let next = Node::Internal(Edit::append(node, &Bounds::all(), runs));
            let child = edit.next_version(&top.child, next, Above::Changes);
            Arc::new(top.with_child(child))
        }
        _ => {
            let buffer = top.buffer().iter().chain(runs).cloned().collect();
            Arc::new(top.with_buffer(buffer))
        }
    }
}

/// Appends the pieces, which ascend and lie within `bounds`, at or below `edge`.
///
/// Either all of them pass the edge or none does: what waits on an edge stays newer than everything
/// below it, whatever the keys.
pub(crate) fn place(
    edit: &mut Edit<'_>,
    edge: &Arc<Edge>,
    bounds: &Bounds,
    pieces: &[&Piece],
) -> Arc<Edge> {
    let resident = edge.child.node();
    let node = match resident.as_ref().map(|resident| &resident.node) {
        Some(Node::Internal(node)) if edge.buffer().is_empty() => node,
        _ => return append(edge, pieces),
    };
    let Some(portions) = portions(node, bounds, pieces) else { return append(edge, pieces) };
    let (mut next, mut above) = (node.clone(), Above::Copied);
    for (index, portion) in portions {
        let old = node.edge(index);
        let below = place(edit, old, &node.bounds_of(index, bounds), portion);
        if below.buffer().len() != old.buffer().len() {
            above = Above::Changes;
        }
        next = next.with_edge(index, below);
    }
    let child = edit.next_version(&edge.child, Node::Internal(next), above);
    Arc::new(edge.with_child(child))
}

/// Which pieces go to which edge of `node`; `None` when one of them is meant to stay above, or lies
/// across a pivot that has come in between.
fn portions<'p, 'r>(
    node: &Internal,
    bounds: &Bounds,
    pieces: &'p [&'r Piece],
) -> Option<Vec<(usize, &'p [&'r Piece])>> {
    let mut portions = Vec::new();
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let index = first.run.first().map_or(0, |key| node.index_of(key));
        let inner = node.bounds_of(index, bounds);
        let fits = |piece: &&&Piece| piece.goal < node.height && piece.run.is_within(&inner);
        let count = rest.iter().take_while(fits).count();
        if count == 0 {
            return None;
        }
        let (portion, behind) = rest.split_at(count);
        portions.push((index, portion));
        rest = behind;
    }
    Some(portions)
}

/// The edge with all pieces as one new run.
fn append(edge: &Arc<Edge>, pieces: &[&Piece]) -> Arc<Edge> {
    let Some(first) = pieces.first() else { return edge.clone() };
    let segments: Vec<SegmentRef> =
        pieces.iter().flat_map(|piece| piece.run.segments()).cloned().collect();
    let run = Run::new(segments, first.run.oldest(), first.run.newest());
    let tombstones = Tombstones::merged(pieces.iter().map(|piece| piece.run.tombstones()));
    Arc::new(edge.with_run(Arc::new(run.with_tombstones(tombstones))))
}
