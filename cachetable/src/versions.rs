//! The handles of the internal nodes' current versions, so that there is one for each.
//!
//! ```text
//!   an older view          the current view
//!        A (superseded)         A' (evicted, and read again)
//!          \                   /
//!           C   one handle, found here by its block
//! ```
//!
//! An internal node that is read names its children by block, and they are looked up in the current
//! block table. So one that only an older view reaches must not be read: it would be given children
//! of a newer time. That is why superseded nodes stay resident; but a handle of which the current
//! view knew nothing, because it has one of its own for the same node, would never be told that it
//! was superseded. Whoever reads A' is therefore given the handle that A has.
//!
//! Leaves need no such care: their images name no node.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use sapwood_serialize::BlockId;
use sapwood_serialize::block_table_image::NodePlace;
use sapwood_serialize::node::Handle;

/// The current version's handle of each internal node that somebody holds.
#[derive(Debug, Default)]
pub(crate) struct Versions(BTreeMap<BlockId, Weak<Handle>>);

impl Versions {
    /// A node got a new handle, which is the current version's from now on.
    pub(crate) fn note(&mut self, handle: &Arc<Handle>) {
        if handle.height() > 0 {
            self.0.insert(handle.block(), Arc::downgrade(handle));
        }
    }

    /// The handle of a node that lies at `place`: the one that there is, or a new one.
    pub(crate) fn handle(&mut self, block: BlockId, height: u8, place: NodePlace) -> Arc<Handle> {
        let known = self.0.get(&block).and_then(Weak::upgrade);
        known.filter(|handle| handle.height() == height).unwrap_or_else(|| {
            let handle = Arc::new(Handle::on_disk(block, height, place));
            self.note(&handle);
            handle
        })
    }

    /// The node has left the view for good.
    pub(crate) fn forget(&mut self, block: BlockId) {
        self.0.remove(&block);
    }
}
