//! Order rule 7 for the view: what it reaches is what the ledger says that it owns.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_flusher::Forest;
use sapwood_serialize::node::{Handle, Image};
use sapwood_serialize::segment::Segment;
use sapwood_serialize::{Extent, Violation};

use super::{Report, damaged};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// What the walk has met: places where it is written, which never change, and the thing itself
/// where it is not. No more than the ledger holds anyway.
#[derive(Default)]
pub(super) struct Seen {
    extents: Extents,
    images: Vec<Arc<Image>>,
    /// By name; `None` for one that is written.
    segments: BTreeMap<u64, Option<Arc<Segment>>>,
}

impl Seen {
    pub(super) fn image(&mut self, handle: &Handle) -> Result<()> {
        match handle.image().place() {
            Some(place) => self.extents.add(place.extent),
            None => {
                self.images.push(handle.image().clone());
                Ok(())
            }
        }
    }

    /// Notes a segment of one node; a second node may not have it.
    pub(super) fn segment(&mut self, segment: &Arc<Segment>) -> Result<()> {
        let place = segment.place();
        let unwritten = place.is_none().then(|| segment.clone());
        if self.segments.insert(segment.id().to_raw(), unwritten).is_some() {
            return Err(damaged("the space", Violation("a segment belongs to two nodes")));
        }
        place.map_or(Ok(()), |place| self.extents.add(place.extent))
    }

    /// Everything that lies on disk by now.
    fn reached(&self) -> Result<Extents> {
        let mut extents = self.extents.clone();
        for place in self.images.iter().filter_map(|image| image.place()) {
            extents.add(place.extent)?;
        }
        for place in self.segments.values().flatten().filter_map(|segment| segment.place()) {
            extents.add(place.extent)?;
        }
        Ok(extents)
    }
}

/// Extents by offset.
#[derive(Clone, Default)]
pub(super) struct Extents(pub(super) BTreeMap<u64, u64>);

impl Extents {
    pub(super) fn add(&mut self, extent: Extent) -> Result<()> {
        if self.0.insert(extent.offset, extent.bytes).is_some() {
            return Err(damaged("the space", Violation("two blocks lie in one place")));
        }
        Ok(())
    }
}

/// Compares what was reached with what the ledger owns, in one moment; `None` when the view has
/// changed since the walk began.
pub(super) fn check_space(
    engine: &Engine,
    forest: &Arc<Forest>,
    seen: &Seen,
    mut report: Report,
) -> Result<Option<Report>> {
    let mut ledger = engine.table.ledger();
    if !Arc::ptr_eq(&engine.views.load().forest, forest) {
        return Ok(None);
    }
    ledger.reclaim();
    let Extents(reached) = seen.reached()?;
    report.live_bytes = reached.values().sum();
    report.file_bytes = ledger.file_bytes();
    ledger.check(&reached).map_err(|what| Error::new(Kind::Verify(what)))?;
    Ok(Some(report))
}
