//! Segments that somebody has written ahead and keeps, until a view has them.

use std::sync::Arc;

use sapwood_serialize::Extent;
use sapwood_serialize::segment::Segment;

use crate::cachetable::Cachetable;
use crate::sync::{Mutex, Rank};

/// Written segments whose extents stay reserved as long as this lives; what no view has taken over
/// by then is given back.
pub struct Reserved {
    table: Arc<Cachetable>,
    segments: Mutex<Vec<Arc<Segment>>>,
}

impl Reserved {
    /// Keeps `segments`, which a job has written and nobody else knows of.
    pub fn new(table: Arc<Cachetable>, segments: Vec<Arc<Segment>>) -> Reserved {
        Reserved { table, segments: Mutex::new(Rank::Storage, segments) }
    }

    /// The segments that are kept.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.lock().clone()
    }

    /// Their extents.
    pub fn extents(&self) -> Vec<Extent> {
        let segments = self.segments();
        segments.iter().filter_map(|segment| Some(segment.place()?.extent)).collect()
    }

    /// Takes over what `other` keeps.
    pub fn absorb(&self, other: &Reserved) {
        let segments = std::mem::take(&mut *other.segments.lock());
        self.segments.lock().extend(segments);
    }

    /// A view has taken over all of them.
    pub fn published(&self) {
        self.segments.lock().clear();
    }

    /// Gives back all segments but those that `stays` names.
    pub fn retain(&self, stays: impl Fn(&Segment) -> bool) {
        let all = std::mem::take(&mut *self.segments.lock());
        let (kept, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|segment| stays(segment));
        self.table.give_back(&left);
        self.segments.lock().extend(kept);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.table.give_back(&std::mem::take(self.segments.get_mut()));
    }
}
