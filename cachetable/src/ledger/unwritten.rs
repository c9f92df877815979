//! What the view has in memory alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_serialize::node::Handle;
use sapwood_serialize::segment::Segment;
use sapwood_serialize::{BlockId, SegmentId};

/// The segments and nodes of the view that are on no disk yet, oldest first.
#[derive(Default)]
pub(super) struct Unwritten {
    leaves: Segments,
    buffers: Segments,
    nodes: BTreeMap<BlockId, Arc<Handle>>,
}

/// Segments, and the memory that they take together.
#[derive(Default)]
struct Segments {
    by_id: BTreeMap<SegmentId, Arc<Segment>>,
    bytes: u64,
}

impl Segments {
    fn insert(&mut self, segment: Arc<Segment>) {
        self.bytes += segment.facts().bytes;
        if let Some(before) = self.by_id.insert(segment.id(), segment) {
            self.bytes -= before.facts().bytes;
        }
    }

    fn remove(&mut self, id: SegmentId) {
        if let Some(segment) = self.by_id.remove(&id) {
            self.bytes -= segment.facts().bytes;
        }
    }

    /// The oldest that nobody is writing.
    fn next(&self) -> Option<&Arc<Segment>> {
        self.by_id.values().find(|segment| !segment.standing().is_being_written())
    }
}

impl Unwritten {
    /// A segment of a leaf; it may have been one of a buffer before.
    pub fn insert_leaf(&mut self, segment: Arc<Segment>) {
        self.buffers.remove(segment.id());
        self.leaves.insert(segment);
    }

    pub fn insert_buffer(&mut self, segment: Arc<Segment>) {
        self.buffers.insert(segment);
    }

    pub fn insert_node(&mut self, handle: Arc<Handle>) {
        self.nodes.insert(handle.block(), handle);
    }

    /// Another handle for a node that is here, if it is.
    pub fn replace_node(&mut self, handle: Arc<Handle>) {
        if let Some(unwritten) = self.nodes.get_mut(&handle.block()) {
            *unwritten = handle;
        }
    }

    /// It was written, or has left the view.
    pub fn remove(&mut self, segment: SegmentId) {
        self.leaves.remove(segment);
        self.buffers.remove(segment);
    }

    /// The same for a node.
    pub fn remove_node(&mut self, block: BlockId) {
        self.nodes.remove(&block);
    }

    /// What should be written first: what leaves own lives longest, and the oldest has had the best
    /// chance to die unwritten.
    pub fn next(&self) -> Option<&Arc<Segment>> {
        self.leaves.next().or_else(|| self.buffers.next())
    }

    /// The leaf's segment that should be written first, when leaves have more than `most` bytes.
    pub fn next_leaf_beyond(&self, most: u64) -> Option<&Arc<Segment>> {
        if self.leaves.bytes > most { self.leaves.next() } else { None }
    }

    /// The memory of all segments.
    pub fn bytes(&self) -> u64 {
        self.leaves.bytes + self.buffers.bytes
    }

    /// How many segments and nodes there are.
    pub fn count(&self) -> usize {
        self.leaves.by_id.len() + self.buffers.by_id.len() + self.nodes.len()
    }

    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.leaves.by_id.values().chain(self.buffers.by_id.values())
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.nodes.values()
    }
}
