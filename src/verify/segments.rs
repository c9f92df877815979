//! Segments as they lie on disk: directories and filters against the rows, and what references and
//! runs say of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapwood_cachetable::{BLOCK_FILE, Caching};
use sapwood_serialize::fold::Floor;
use sapwood_serialize::run::{Run, SegmentRef};
use sapwood_serialize::segment::{ResidentSegment, Segment};
use sapwood_serialize::{Corruption, Filter, Page, SegmentId, Violation};

use super::leaves::LeafRules;
use super::{Walk, damaged};
use crate::error::{Error, Result};

/// A segment of one node, and the least and the greatest MSN offset in it.
struct Looked {
    segment: Arc<Segment>,
    least: u64,
    greatest: u64,
}

impl Walk<'_> {
    /// Checks the runs of one owner: of a leaf, of all edges of an internal node, or of a top edge.
    /// Two of its references may share a segment.
    pub(super) fn owner<'r>(
        &mut self,
        runs: impl IntoIterator<Item = &'r Run>,
        leaves: &LeafRules,
        floor: Floor,
    ) -> Result<()> {
        let mut known: BTreeMap<SegmentId, Looked> = BTreeMap::new();
        for run in runs {
            if run.newest() > self.visible {
                return Err(damaged("a run", Violation("it is newer than all that is visible")));
            }
            for part in run.segments() {
                let id = part.segment.id();
                let looked = match known.remove(&id) {
                    Some(looked) => looked,
                    None => {
                        let looked = self.segment(part, leaves, floor)?;
                        self.seen.segment(&part.segment)?;
                        looked
                    }
                };
                check_reference(part, run, &looked)?;
                known.insert(id, looked);
            }
        }
        Ok(())
    }

    /// Reads a segment as it lies on disk, and checks directory and filter against the rows.
    fn segment(&mut self, part: &SegmentRef, leaves: &LeafRules, floor: Floor) -> Result<Looked> {
        self.report.segments += 1;
        let segment = part.segment.clone();
        let resident = self.table.part(&segment)?;
        let mut rows = Rows { segment: &segment, resident: &resident, last: Vec::new(), count: 0 };
        let (mut least, mut greatest) = (u64::MAX, 0);
        for index in 0..resident.meta().directory.pages() {
            self.report.pages += 1;
            let page = self.page(&segment, &resident, index)?;
            for row in 0..page.rows() {
                rows.check(&page, row, index)?;
                for version in page.versions(row) {
                    least = least.min(version.msn);
                    greatest = greatest.max(version.msn);
                }
                if floor == Floor::Leaf {
                    self.leaf_row(&page, row, part.base, leaves)
                        .or_else(|rule| rows.broken(rule))?;
                }
            }
        }
        rows.finish()?;
        Ok(Looked { segment, least, greatest })
    }

    /// A page as it lies on disk, or from memory where it is not written.
    fn page(
        &self,
        segment: &Arc<Segment>,
        resident: &Arc<ResidentSegment>,
        index: usize,
    ) -> Result<Arc<Page>> {
        // The part that was looked up knows where its pages lie, or has them all.
        let page = match resident.meta().directory.place(index) {
            Some(_) => {
                self.table.fetch_pages(segment, resident, index..index + 1, Caching::Pass)?.pop()
            }
            None => resident.slot(index).page(),
        };
        page.ok_or_else(|| corruption(segment, "a page of it is nowhere"))
    }
}

/// The rows of one segment, in order.
struct Rows<'a> {
    segment: &'a Segment,
    resident: &'a ResidentSegment,
    last: Vec<u8>,
    count: u64,
}

impl Rows<'_> {
    /// Checks the next row, which lies on page `index`.
    fn check(&mut self, page: &Page, row: usize, index: usize) -> Result<()> {
        let (key, meta) = (page.key(row), self.resident.meta());
        if self.count == 0 && *key != *self.segment.facts().first {
            return self.broken("its first key is not that of the reference to it");
        }
        if self.count > 0 && *self.last >= *key {
            return self.broken("its keys do not ascend");
        }
        if meta.directory.find(key) != index {
            return self.broken("its directory leads to another page");
        }
        if !meta.filter.may_contain(Filter::hash(key)) {
            return self.broken("its filter denies a key");
        }
        let mut msns = page.versions(row).map(|version| version.msn);
        if !msns.by_ref().is_sorted_by(|newer, older| newer > older) {
            return self.broken("the versions of a key are not newest first");
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.count += 1;
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let facts = self.segment.facts();
        if *self.last != *facts.last {
            return self.broken("its last key is not that of the reference to it");
        }
        if self.count != facts.rows {
            return self.broken("it has not as many rows as the reference to it says");
        }
        Ok(())
    }

    fn broken(&self, rule: &'static str) -> Result<()> {
        Err(corruption(self.segment, rule))
    }
}

fn corruption(segment: &Segment, rule: &'static str) -> Error {
    let offset = segment.place().map_or(0, |place| place.extent.offset);
    Corruption::new("segment", 0, rule).within(BLOCK_FILE, offset).into()
}

/// Checks what a reference to a segment, and the run that it is part of, say of it.
fn check_reference(part: &SegmentRef, run: &Run, looked: &Looked) -> Result<()> {
    if part.segment.place() != looked.segment.place() {
        return Err(damaged("a segment", Violation("it lies in two places")));
    }
    let whole = |offset| part.base.to_raw().saturating_add(offset);
    let (oldest, newest) = (run.oldest().to_raw(), run.newest().to_raw());
    if whole(looked.least) < oldest || whole(looked.greatest) > newest {
        return Err(corruption(
            &part.segment,
            "a message lies outside the MSN interval of its run",
        ));
    }
    Ok(())
}
