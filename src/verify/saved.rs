//! The last checkpoint, which the next opening would start from: order rules 3, 4, 6 and 7 as they
//! show in its tables and in the images of its nodes.

use std::collections::BTreeSet;

use sapwood_cachetable::Cachetable;
use sapwood_cachetable::block_file::BlockFile;
use sapwood_cachetable::ledger::{BlockTable, Opened};
use sapwood_serialize::blob::{BlobKind, open_blob};
use sapwood_serialize::catalog_image::decode_catalog;
use sapwood_serialize::node::{Edge, Node, check_buffer};
use sapwood_serialize::node_image::{children_at, decode_node};
use sapwood_serialize::run::{Bounds, Run};
use sapwood_serialize::{BlockId, Msn, Violation};

use super::damaged;
use super::space::Extents;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// Reads the tables of the last checkpoint and all node images that they lead to.
pub(super) fn check_checkpoint(engine: &Engine) -> Result<()> {
    let _alone = engine.hold_checkpoints();
    let superblock = *engine.superblock.lock();
    let block_file = BlockFile { file: engine.table.file().clone(), superblock };
    let opened = block_file.tables(Vec::new())?;
    let payload = block_file.catalog()?;
    let next_msn = superblock.next_msn;
    let mut saved = Saved {
        table: &engine.table,
        places: &opened.table,
        next_msn,
        nodes: 0,
        extents: Extents::default(),
    };
    if let Some(payload) = payload {
        let resolve = |block: BlockId| opened.table.get(&block).copied();
        let catalog = decode_catalog(&payload, &children_at(&resolve))?;
        let dropped = catalog.dropped.iter().map(|dropped| &dropped.tree);
        for tree in catalog.trees.iter().chain(dropped) {
            saved.owner(tree.top.buffer().iter().map(|run| &**run))?;
            saved.edge(&tree.top, &Bounds::all())?;
        }
    }
    saved.finish(&opened)
}

/// What was reached of a checkpoint.
struct Saved<'a> {
    table: &'a Cachetable,
    places: &'a BlockTable,
    next_msn: Msn,
    nodes: usize,
    extents: Extents,
}

impl Saved<'_> {
    fn edge(&mut self, edge: &Edge, bounds: &Bounds) -> Result<()> {
        let block = edge.child.block();
        let broken = |what: Violation| damaged(&format!("node {block} of the checkpoint"), what);
        check_buffer(edge, bounds).map_err(broken)?;
        let node = self.node(edge)?;
        node.check(bounds).map_err(broken)?;
        match &node {
            Node::Leaf(run) => self.owner([run]),
            Node::Internal(node) => {
                self.owner(node.edges().iter().flat_map(|edge| edge.buffer()).map(|run| &**run))?;
                let mut edges = node.edges().iter().enumerate();
                edges.try_for_each(|(index, edge)| self.edge(edge, &node.bounds_of(index, bounds)))
            }
        }
    }

    /// Reads the node below an edge.
    fn node(&mut self, edge: &Edge) -> Result<Node> {
        let (block, height) = (edge.child.block(), edge.child.height());
        let place = edge.child.image().place();
        let place = place.ok_or_else(|| damaged("a node", Violation("it is not on disk")))?;
        self.nodes += 1;
        self.extents.add(place.extent)?;
        let bytes = self.table.read_node(place)?;
        let within = |broken: sapwood_serialize::Corruption| {
            broken.within(sapwood_cachetable::BLOCK_FILE, place.extent.offset)
        };
        let payload = open_blob(BlobKind::Node, self.table.database(), &bytes).map_err(within)?;
        let resolve = |block: BlockId| self.places.get(&block).copied();
        Ok(decode_node(block, height, payload, &children_at(&resolve)).map_err(within)?)
    }

    /// Takes the extents of one owner's segments, two references to one of which may be there.
    fn owner<'r>(&mut self, runs: impl IntoIterator<Item = &'r Run>) -> Result<()> {
        let mut known = BTreeSet::new();
        for run in runs {
            if run.newest() >= self.next_msn {
                let rule = "it has messages that the log would be replayed for";
                return Err(damaged("a run of the checkpoint", Violation(rule)));
            }
            for segment in run.segments().iter().map(|part| &part.segment) {
                if let Some(place) = segment.place()
                    && known.insert(segment.id())
                {
                    self.extents.add(place.extent)?;
                }
            }
        }
        Ok(())
    }

    /// Checks that what was reached, and the tables, are all that the checkpoint owns.
    fn finish(mut self, opened: &Opened) -> Result<()> {
        if self.nodes != opened.table.len() {
            let rule = "the block table names a node that nothing refers to";
            return Err(damaged("the checkpoint", Violation(rule)));
        }
        for extent in &opened.tables {
            self.extents.add(*extent)?;
        }
        let owned = &opened.checkpointed;
        let lost = owned.iter().find(|(offset, bytes)| self.extents.0.get(offset) != Some(bytes));
        let wild = self.extents.0.iter().find(|(offset, bytes)| owned.get(*offset) != Some(bytes));
        if lost.is_none() && wild.is_none() {
            return Ok(());
        }
        let what = "the checkpoint's space map is not what it reaches";
        let what = format!("{what} (not reached: {lost:?}, not owned: {wild:?})");
        Err(Error::new(Kind::Verify(what)))
    }
}
