//! The catalog as bytes: every tree with its name, its options and its top edge.
//!
//! ```text
//! catalog   next tree id, newest change, tree count, trees by ascending id,
//!           dropped count, dropped trees by ascending id
//! dropped   MSN of the drop, tree
//! tree      tree id, height of the top edge's child, top edge, options (bincode, length before)
//! ```
//!
//! It lies in a blob envelope. The options are cold metadata, so serde and bincode write them:
//! fixed integers, a size limit, no trailing bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use crate::codec::{Decoder, Encode};
use crate::node::Edge;
use crate::node_image::{ChildOf, HEIGHT_MAX, SegmentPool, decode_edge, encode_edge};
use crate::{Compression, Corruption, Msn, Operator, TreeId};

/// No options of a tree take more bytes.
const OPTIONS_BYTES_MAX: u64 = 128 * 1024;

/// What is kept of a tree besides its messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeOptions {
    /// The name under which it is opened; unique in the database.
    pub name: String,
    /// How its pages are made.
    pub pages: PageOptions,
    /// The merge operator that it was declared with.
    pub operator: Option<OperatorName>,
}

/// A merge operator, as far as it can be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorName {
    /// The operator's name.
    pub name: String,
    /// The operator's version.
    pub version: u32,
}

impl OperatorName {
    /// What is stored of `operator`.
    pub fn of(operator: &Operator) -> OperatorName {
        OperatorName { name: operator.name().to_owned(), version: operator.version() }
    }
}

/// How the pages of a tree are made; fixed when the tree is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageOptions {
    /// How they are compressed when they are written, where it saves an eighth.
    pub compression: Compression,
    /// A page is closed when the next cell would take it beyond this.
    pub page_bytes: u32,
}

impl PageOptions {
    /// No tree has larger pages, but for those of one large cell.
    pub const BYTES_MAX: u32 = 64 << 10;

    /// Whether a tree can have them.
    pub fn is_sound(&self) -> bool {
        (1..=PageOptions::BYTES_MAX).contains(&self.page_bytes)
    }
}

impl Default for PageOptions {
    fn default() -> PageOptions {
        PageOptions { compression: Compression::Lz4, page_bytes: 8 << 10 }
    }
}

/// A tree as the catalog keeps it.
#[derive(Clone, Debug)]
pub struct CatalogTree {
    /// Its name in the log and in the memtable; never reused.
    pub id: TreeId,
    /// Its user-visible properties.
    pub options: Arc<TreeOptions>,
    /// The edge above its highest node.
    pub top: Arc<Edge>,
    /// The operator itself, once somebody has declared it; never stored.
    pub operator: Option<Operator>,
}

/// A tree that was dropped, and still has nodes.
#[derive(Clone, Debug)]
pub struct DroppedTree {
    /// As it was, with what readers from before the drop may still need of it.
    pub tree: CatalogTree,
    /// The drop: whoever sees what was before it sees the tree.
    pub at: Msn,
}

/// The catalog as one value.
#[derive(Clone, Debug)]
pub struct CatalogImage {
    /// The id that the next tree gets.
    pub next_tree: TreeId,
    /// When the catalog was changed last: a replay passes over what is not newer.
    pub changed: Msn,
    /// The trees, ascending by id.
    pub trees: Vec<CatalogTree>,
    /// Dropped trees that are not empty yet, ascending by id.
    pub dropped: Vec<DroppedTree>,
}

impl Default for CatalogImage {
    /// The catalog of a new database.
    fn default() -> CatalogImage {
        let (next_tree, changed) = (TreeId::from_raw(1), Msn::ZERO);
        CatalogImage { next_tree, changed, trees: Vec::new(), dropped: Vec::new() }
    }
}

/// Writes the catalog.
///
/// # Panics
/// When a segment of a top edge is not written yet.
pub fn encode_catalog(catalog: &CatalogImage) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_varint(catalog.next_tree.to_raw());
    out.put_varint(catalog.changed.to_raw());
    out.put_varint(catalog.trees.len() as u64);
    catalog.trees.iter().for_each(|tree| encode_tree(&mut out, tree));
    out.put_varint(catalog.dropped.len() as u64);
    for dropped in &catalog.dropped {
        out.put_varint(dropped.at.to_raw());
        encode_tree(&mut out, &dropped.tree);
    }
    out
}

fn encode_tree(out: &mut Vec<u8>, tree: &CatalogTree) {
    out.put_varint(tree.id.to_raw());
    out.put_u8(tree.top.child.height());
    encode_edge(out, &tree.top);
    let options = format().serialize(&*tree.options);
    out.put_bytes(&options.expect("options are plain data within the limit"));
}

/// Reads the catalog; `child_of` finds the trees' highest nodes.
pub fn decode_catalog(payload: &[u8], child_of: &ChildOf<'_>) -> Result<CatalogImage, Corruption> {
    let mut decoder = Decoder::new("catalog", payload);
    let next_tree = TreeId::from_raw(decoder.counter()?);
    let changed = Msn::from_raw(decoder.counter()?);
    let count = decoder.count(decoder.remaining())?;
    let mut trees: Vec<CatalogTree> = Vec::new();
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..count {
        let tree = decode_tree(&mut decoder, child_of)?;
        check_id(&decoder, tree.id, trees.last().map(|last| last.id), next_tree)?;
        if !names.insert(tree.options.name.clone()) {
            return Err(decoder.broken("two trees have one name"));
        }
        ids.insert(tree.id);
        trees.push(tree);
    }
    let count = decoder.count(decoder.remaining())?;
    let mut dropped: Vec<DroppedTree> = Vec::new();
    for _ in 0..count {
        let at = Msn::from_raw(decoder.varint()?);
        let tree = decode_tree(&mut decoder, child_of)?;
        check_id(&decoder, tree.id, dropped.last().map(|last| last.tree.id), next_tree)?;
        if at > changed {
            return Err(decoder.broken("a tree was dropped after the newest change"));
        }
        if !ids.insert(tree.id) {
            return Err(decoder.broken("a tree is there and dropped"));
        }
        dropped.push(DroppedTree { tree, at });
    }
    decoder.finish()?;
    Ok(CatalogImage { next_tree, changed, trees, dropped })
}

fn check_id(
    decoder: &Decoder<'_>,
    id: TreeId,
    before: Option<TreeId>,
    next: TreeId,
) -> Result<(), Corruption> {
    if id >= next || before.is_some_and(|before| before >= id) {
        return Err(decoder.broken("the tree ids do not ascend below the next one"));
    }
    Ok(())
}

fn decode_tree(
    decoder: &mut Decoder<'_>,
    child_of: &ChildOf<'_>,
) -> Result<CatalogTree, Corruption> {
    let id = TreeId::from_raw(decoder.counter()?);
    let height = decoder.u8()?;
    if height > HEIGHT_MAX {
        return Err(decoder.broken("a tree is higher than any can be"));
    }
    let top = decode_edge(height, decoder, &mut SegmentPool::default(), child_of)?;
    let broken = decoder.broken("the options of a tree cannot be read");
    let options: TreeOptions = format().deserialize(decoder.bytes()?).map_err(|_| broken)?;
    if !options.pages.is_sound() {
        return Err(decoder.broken("the pages of a tree are of no size that they can have"));
    }
    Ok(CatalogTree { id, options: Arc::new(options), top: Arc::new(top), operator: None })
}

fn format() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(OPTIONS_BYTES_MAX)
        .reject_trailing_bytes()
}
