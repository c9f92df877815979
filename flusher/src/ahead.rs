//! Runs that are written ahead of their commit: what a transaction or a bulk load has too much of
//! for memory.
//!
//! ```text
//! rows -> segments, written -> kept (reserved) -> named by a commit -> spilled by reference
//! ```

use std::sync::Arc;

use sapwood_cachetable::{Cachetable, Caching, Fault, Reserved};
use sapwood_serialize::Msn;
use sapwood_serialize::catalog_image::PageOptions;
use sapwood_serialize::run::SegmentRef;

use crate::mover::Mover;
use crate::segment_writer::{Draft, SegmentWriter, Space};

/// Puts rows into a [`SegmentWriter`], ascending.
pub type Fill<'f> = dyn FnMut(&mut SegmentWriter<'_, '_>) -> Result<(), Fault> + 'f;

impl Mover {
    /// Writes the rows that `fill` gives in such pages, none older than `base`; returns references
    /// to them, and what keeps them until a spill takes them over. `caching` says whether they
    /// will be read soon.
    ///
    /// # Errors
    /// When the disk is full (what was written is given back), or a write fails.
    pub fn write_ahead(
        &self,
        pages: PageOptions,
        base: Msn,
        caching: Caching,
        fill: &mut Fill<'_>,
    ) -> Result<(Vec<SegmentRef>, Reserved), Fault> {
        let table: &Arc<Cachetable> = &self.table;
        let mut draft = Draft::ahead(table, caching);
        let mut writer = SegmentWriter::new(&mut draft, &self.limits, pages, base, Space::Ask);
        fill(&mut writer)?;
        let parts = writer.finish()?;
        Ok((parts, draft.keep(table.clone())?))
    }
}
