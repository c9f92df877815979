//! A node as bytes: what a handle's image on disk says.
//!
//! ```text
//! node     block id, height, then
//!   leaf       run
//!   internal   edge count, pivots (edge count - 1), edges
//! edge     child block id, run count, runs oldest to newest
//! run      oldest MSN, newest MSN, segment count, references, piece count, pieces
//! piece    of range deletes: lower key, flag u8, [upper key], MSN count,
//!          MSNs newest first as the distance from the newest MSN of the run
//! ref      segment id, base MSN, extent, meta place, rows, bytes, content,
//!          first key, last key, clip flags, [lower], [upper], rows and bytes referred to
//! ```
//!
//! Everything is written with the codec's varints and lies in a blob envelope. Images name children
//! by [`BlockId`] alone: where a child lies, and what its checksum is, stands in the block table.
//! That is why a node that was copied only because a child changed is unchanged on disk.

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may fail so")]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::block_table_image::NodePlace;
use crate::codec::{COUNTER_END, COUNTER_RULE, Decoder, Encode};
use crate::node::{Edge, Handle, Internal, Node};
use crate::run::{Bounds, Run, SegmentRef};
use crate::segment::{Content, Key, Segment, SegmentFacts, SegmentPlace};
use crate::segment_image::MetaPlace;
use crate::tombstone::{Tombstone, Tombstones};
use crate::{BlockId, Corruption, Extent, KEY_BYTES_MAX, Msn, SegmentId};

/// More edges than any node has, even right after a bulk load into it; bounds what a decoder
/// believes.
const EDGES_MAX: usize = 1 << 20;
/// More levels than any tree has.
pub(crate) const HEIGHT_MAX: u8 = 32;

/// Writes `node`, named `block`.
///
/// # Panics
/// When a segment of it is not written yet: an image on disk refers only to what is on disk.
pub fn encode_node(block: BlockId, node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_varint(block.to_raw());
    out.put_u8(node.height());
    match node {
        Node::Leaf(run) => encode_run(&mut out, run),
        Node::Internal(node) => {
            out.put_varint(node.edges().len() as u64);
            node.pivots().iter().for_each(|pivot| out.put_bytes(pivot));
            node.edges().iter().for_each(|edge| encode_edge(&mut out, edge));
        }
    }
    out
}

/// Finds the handle of a child by its block and its height; `None` for a block that is nowhere.
pub type ChildOf<'a> = dyn Fn(BlockId, u8) -> Option<Arc<Handle>> + 'a;

/// Makes a new handle for each child, which lies where `place_of` says.
pub fn children_at<'a>(
    place_of: &'a dyn Fn(BlockId) -> Option<NodePlace>,
) -> impl Fn(BlockId, u8) -> Option<Arc<Handle>> + 'a {
    |block, height| place_of(block).map(|place| Arc::new(Handle::on_disk(block, height, place)))
}

/// Reads the node that is named `block`; `child_of` finds its children.
pub fn decode_node(
    block: BlockId,
    height: u8,
    payload: &[u8],
    child_of: &ChildOf<'_>,
) -> Result<Node, Corruption> {
    let mut decoder = Decoder::new("node", payload);
    if decoder.varint()? != block.to_raw() {
        return Err(decoder.broken("it is another node's image"));
    }
    if decoder.u8()? != height {
        return Err(decoder.broken("its height is not its parent's minus one"));
    }
    let mut segments = SegmentPool::default();
    let node = if height == 0 {
        Node::Leaf(decode_run(&mut decoder, &mut segments)?)
    } else {
        Node::Internal(decode_internal(height, &mut decoder, &mut segments, child_of)?)
    };
    let end = decoder.broken("");
    decoder.finish()?;
    // The bounds are the parent's knowledge; what can be checked without them is checked here.
    node.check(&Bounds::all()).map_err(|broken| Corruption { rule: broken.0, ..end })?;
    Ok(node)
}

fn decode_internal(
    height: u8,
    decoder: &mut Decoder<'_>,
    segments: &mut SegmentPool,
    child_of: &ChildOf<'_>,
) -> Result<Internal, Corruption> {
    let count = decoder.count(EDGES_MAX.min(decoder.remaining()))?;
    if count == 0 {
        return Err(decoder.broken("it has no edge"));
    }
    let pivots: Vec<Key> = (1..count).map(|_| decode_key(decoder)).collect::<Result<_, _>>()?;
    if pivots.windows(2).any(|pair| matches!(pair, [a, b] if a >= b)) {
        return Err(decoder.broken("its pivots do not strictly ascend"));
    }
    let edges =
        (0..count).map(|_| decode_edge(height - 1, decoder, segments, child_of).map(Arc::new));
    let edges: Vec<_> = edges.collect::<Result<_, _>>()?;
    // What it says is checked by the caller; nothing is to be asserted of bytes.
    Ok(Internal::unchecked(height, pivots, edges))
}

/// Writes an edge; the catalog uses it for the top edges.
pub fn encode_edge(out: &mut Vec<u8>, edge: &Edge) {
    out.put_varint(edge.child.block().to_raw());
    out.put_varint(edge.buffer().len() as u64);
    edge.buffer().iter().for_each(|run| encode_run(out, run));
}

/// Reads an edge to a child of `height`.
pub fn decode_edge(
    height: u8,
    decoder: &mut Decoder<'_>,
    segments: &mut SegmentPool,
    child_of: &ChildOf<'_>,
) -> Result<Edge, Corruption> {
    let block = BlockId::from_raw(decoder.varint()?);
    let child = child_of(block, height);
    let child = child.ok_or_else(|| decoder.broken("the block table lacks a child"))?;
    let count = decoder.count(decoder.remaining())?;
    let runs = (0..count).map(|_| decode_run(decoder, segments).map(Arc::new));
    let runs = runs.collect::<Result<_, _>>()?;
    Ok(Edge::new(child, runs))
}

pub(crate) fn encode_run(out: &mut Vec<u8>, run: &Run) {
    out.put_varint(run.oldest().to_raw());
    out.put_varint(run.newest().to_raw());
    out.put_varint(run.segments().len() as u64);
    run.segments().iter().for_each(|part| encode_segment_ref(out, part));
    out.put_varint(run.tombstones().pieces().len() as u64);
    run.tombstones().pieces().iter().for_each(|piece| encode_piece(out, run.newest(), piece));
}

fn encode_piece(out: &mut Vec<u8>, newest: Msn, piece: &Tombstone) {
    out.put_bytes(&piece.lower);
    out.put_u8(u8::from(piece.upper.is_some()));
    piece.upper.iter().for_each(|upper| out.put_bytes(upper));
    out.put_varint(piece.msns.len() as u64);
    piece.msns.iter().for_each(|msn| out.put_varint(newest.to_raw() - msn));
}

fn decode_piece(decoder: &mut Decoder<'_>, newest: Msn) -> Result<Tombstone, Corruption> {
    let lower = decode_key(decoder)?;
    let upper = match decoder.u8()? {
        0 => None,
        1 => Some(decode_key(decoder)?),
        _ => return Err(decoder.broken("a range delete has unknown flags")),
    };
    let count = decoder.count(decoder.remaining())?;
    let broken = decoder.broken("a range delete is newer than its run");
    let msn = |decoder: &mut Decoder<'_>| {
        newest.to_raw().checked_sub(decoder.varint()?).ok_or_else(|| broken.clone())
    };
    let msns = (0..count).map(|_| msn(decoder)).collect::<Result<_, _>>()?;
    Ok(Tombstone { lower, upper, msns })
}

pub(crate) fn decode_run(
    decoder: &mut Decoder<'_>,
    pool: &mut SegmentPool,
) -> Result<Run, Corruption> {
    let oldest = Msn::from_raw(decoder.varint()?);
    let newest = Msn::from_raw(decoder.varint()?);
    // Runs that a log record names have numbers of their own, from the end of all others on.
    if newest.to_raw() >= 2 * COUNTER_END {
        return Err(decoder.broken(COUNTER_RULE));
    }
    let count = decoder.count(decoder.remaining())?;
    let parts: Vec<_> =
        (0..count).map(|_| decode_segment_ref(decoder, pool)).collect::<Result<_, _>>()?;
    let ascends = |pair: &[SegmentRef]| matches!(pair, [left, right] if left.is_before(right));
    if !parts.windows(2).all(ascends) {
        return Err(decoder.broken("the segments of a run overlap or do not ascend"));
    }
    if oldest > newest || parts.iter().any(|part| part.base > newest) {
        return Err(decoder.broken("the MSN interval of a run is not one"));
    }
    if parts.iter().any(|part| part.is_below(part.first())) {
        return Err(decoder.broken("a reference to a segment is clipped to nothing"));
    }
    let count = decoder.count(decoder.remaining())?;
    let pieces = (0..count).map(|_| decode_piece(decoder, newest)).collect::<Result<_, _>>()?;
    let tombstones = Tombstones::new(pieces);
    if tombstones.interval().is_some_and(|(first, _)| first < oldest) {
        return Err(decoder.broken("a range delete is older than its run"));
    }
    tombstones.check().map_err(|broken| decoder.broken(broken.0))?;
    Ok(Run::new(parts, oldest, newest).with_tombstones(tombstones))
}

const CLIPPED_BELOW: u8 = 1;
const CLIPPED_ABOVE: u8 = 2;

fn encode_segment_ref(out: &mut Vec<u8>, part: &SegmentRef) {
    let facts = part.segment.facts();
    let place = part.segment.place().expect("an image refers only to segments that are written");
    out.put_varint(facts.id.to_raw());
    out.put_varint(part.base.to_raw());
    out.put_varint(place.extent.offset / Extent::UNIT);
    out.put_varint(place.extent.bytes / Extent::UNIT);
    out.put_varint(u64::from(place.meta.offset));
    out.put_varint(u64::from(place.meta.bytes));
    out.put_u64(place.meta.checksum);
    out.put_varint(facts.rows);
    out.put_varint(facts.bytes);
    out.put_u8(match facts.content {
        Content::Plain => 0,
        Content::Mixed => 1,
    });
    out.put_bytes(&facts.first);
    out.put_bytes(&facts.last);
    let below = if part.lower.is_some() { CLIPPED_BELOW } else { 0 };
    let above = if part.upper.is_some() { CLIPPED_ABOVE } else { 0 };
    out.put_u8(below | above);
    part.lower.iter().chain(&part.upper).for_each(|key| out.put_bytes(key));
    out.put_varint(part.rows);
    out.put_varint(part.bytes);
}

/// Makes two references to one segment share one [`Segment`].
#[derive(Debug, Default)]
pub struct SegmentPool(BTreeMap<SegmentId, Arc<Segment>>);

impl SegmentPool {
    /// The segment of this description, which has to be that of its other references.
    fn take(
        &mut self,
        facts: SegmentFacts,
        place: SegmentPlace,
    ) -> Result<Arc<Segment>, &'static str> {
        let Some(known) = self.0.get(&facts.id) else {
            let id = facts.id;
            let new = Arc::new(Segment::written(facts, place));
            self.0.insert(id, new.clone());
            return Ok(new);
        };
        if known.place() != Some(place) {
            return Err("one segment lies in two places");
        }
        if *known.facts() != facts {
            return Err("one segment is described in two ways");
        }
        Ok(known.clone())
    }
}

fn decode_segment_ref(
    decoder: &mut Decoder<'_>,
    pool: &mut SegmentPool,
) -> Result<SegmentRef, Corruption> {
    let id = SegmentId::from_raw(decoder.counter()?);
    let base = Msn::from_raw(decoder.varint()?);
    let place = decode_place(decoder)?;
    let (rows, bytes) = (decoder.varint()?, decoder.varint()?);
    let content = match decoder.u8()? {
        0 => Content::Plain,
        1 => Content::Mixed,
        _ => return Err(decoder.broken("a segment's content is of no known kind")),
    };
    let (first, last) = (decode_key(decoder)?, decode_key(decoder)?);
    if first > last {
        return Err(decoder.broken("a segment's last key is below its first"));
    }
    let flags = decoder.u8()?;
    if flags & !(CLIPPED_BELOW | CLIPPED_ABOVE) != 0 {
        return Err(decoder.broken("a reference has unknown flags"));
    }
    let mut clip = |flag| (flags & flag != 0).then(|| decode_key(decoder)).transpose();
    let (lower, upper) = (clip(CLIPPED_BELOW)?, clip(CLIPPED_ABOVE)?);
    let (rows_referred, bytes_referred) = (decoder.varint()?, decoder.varint()?);
    let facts = SegmentFacts { id, first, last, rows, bytes, content };
    let segment = pool.take(facts, place).map_err(|rule| decoder.broken(rule))?;
    Ok(SegmentRef { segment, base, lower, upper, bytes: bytes_referred, rows: rows_referred })
}

fn decode_place(decoder: &mut Decoder<'_>) -> Result<SegmentPlace, Corruption> {
    let extent = decode_extent(decoder)?;
    let field = |decoder: &mut Decoder<'_>| {
        u32::try_from(decoder.varint()?).map_err(|_| decoder.broken("a length exceeds 32 bits"))
    };
    let (offset, bytes) = (field(decoder)?, field(decoder)?);
    let meta = MetaPlace { offset, bytes, checksum: decoder.u64()? };
    if u64::from(offset) + u64::from(bytes) > extent.bytes {
        return Err(decoder.broken("a segment's meta block lies outside its extent"));
    }
    Ok(SegmentPlace { extent, meta })
}

/// Reads an extent that was written in units.
pub(crate) fn decode_extent(decoder: &mut Decoder<'_>) -> Result<Extent, Corruption> {
    let broken = decoder.broken("an extent is empty or beyond all files");
    let (offset, bytes) = (decoder.varint()?, decoder.varint()?);
    let offset = offset.checked_mul(Extent::UNIT);
    let bytes = bytes.checked_mul(Extent::UNIT).filter(|bytes| *bytes > 0);
    let (Some(offset), Some(bytes)) = (offset, bytes) else { return Err(broken) };
    if offset.checked_add(bytes).is_none() { Err(broken) } else { Ok(Extent { offset, bytes }) }
}

fn decode_key(decoder: &mut Decoder<'_>) -> Result<Key, Corruption> {
    let length = decoder.count(KEY_BYTES_MAX.min(decoder.remaining()))?;
    decoder.take(length).map(Key::from)
}
