//! Asks the processor for entries before somebody who goes along the list comes to them.
//!
//! ```text
//! list   a -> b -> c -> d -> e -> f -> g -> h      neighbours lie anywhere in memory
//!        ^ who goes along            ^ asked for: the guides tell where it lies
//! ```
//!
//! Along the list alone each entry would be waited for, since nothing else says where the next one
//! is. What is asked for here is a hint and no more: where a writer is at work it may lie beside
//! what is needed.

use super::entry::Entry;
use super::guide::Guide;

/// So many entries before they are needed. A guide has eight to sixteen of them.
const DISTANCE: usize = 8;

/// See the module's head.
pub(super) struct Ahead<'a> {
    /// From the root to the slot that was asked for last.
    path: Vec<(&'a Guide, usize)>,
}

impl<'a> Ahead<'a> {
    /// Ahead of somebody who begins at the end of `path`, which leads from the root to a slot of
    /// the lowest level.
    pub(super) fn new(path: Vec<(&'a Guide, usize)>) -> Ahead<'a> {
        let mut ahead = Ahead { path };
        ahead.pass(DISTANCE);
        ahead
    }

    /// The one ahead of whom this is has passed so many entries.
    pub(super) fn pass(&mut self, entries: usize) {
        for _ in 0..entries {
            if let Some(entry) = self.next() {
                entry.prefetch_all();
            }
        }
    }

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let (guide, at) = self.path.last_mut()?;
            *at += 1;
            if *at < guide.len() {
                break;
            }
            self.path.pop();
        }
        loop {
            let (guide, at) = *self.path.last()?;
            if guide.level() == 0 {
                return Some(guide.entry(at));
            }
            if at + 1 < guide.len() {
                guide.prefetch_child(at + 1);
            }
            self.path.push((guide.child(at), 0));
        }
    }
}
