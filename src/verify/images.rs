//! Order rule 6 for the view: a node's image on disk says what the node says, and names only what
//! is on disk.
//!
//! Of children only the last checkpoint's images can be asked, see `saved`: in the view a child may
//! be newer than the checkpoint that wrote its parent, and an image of it not be due yet.

use sapwood_serialize::Violation;
use sapwood_serialize::blob::{BlobKind, open_blob};
use sapwood_serialize::node::{Handle, Node};
use sapwood_serialize::node_image::encode_node;

use super::{Walk, damaged};
use crate::error::Result;

impl Walk<'_> {
    /// Checks that the block table leads to the node's image, if it has one.
    pub(super) fn place(&self, handle: &Handle) -> Result<()> {
        // Place and entry change in one step, under the publish mutex.
        let ledger = self.table.ledger();
        let place = handle.image().place();
        if place.is_some() && place != ledger.place_of(handle.block()) {
            return broken(handle, "the block table leads elsewhere");
        }
        Ok(())
    }

    /// Compares a node that was in memory with its image, if it has one.
    pub(super) fn image(&self, handle: &Handle, node: &Node) -> Result<()> {
        let Some(place) = handle.image().place() else { return Ok(()) };
        if !node.segments().all(|part| part.segment.place().is_some()) {
            return broken(handle, "its image is on disk and refers to a segment that is not");
        }
        let bytes = self.table.read_node(place)?;
        let payload = open_blob(BlobKind::Node, self.table.database(), &bytes)?;
        if *payload != *encode_node(handle.block(), node) {
            return broken(handle, "its image on disk says something else");
        }
        Ok(())
    }
}

fn broken(handle: &Handle, rule: &'static str) -> Result<()> {
    Err(damaged(&format!("node {}", handle.block()), Violation(rule)))
}
