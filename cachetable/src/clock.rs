//! Which resident thing goes next.
//!
//! ```text
//!  fetched -> [ small: first in, first out ] --used since--> [ main: first in, first out ]
//!                      |                                        |  used since: once round again
//!                      '-- not used since: out                  '-- not: out
//! ```
//!
//! S3-FIFO (Yang, Qiu, Zhang, Yue, Rashmi, SOSP 2023) without its ghost queue: a scan passes
//! through the small queue and leaves the main one alone. A use costs the reader one relaxed store;
//! the queues are touched only when something is fetched or evicted.
//!
//! There are two classes. Pages go first; directories, filters and nodes only when they take more
//! than their share, since a page is of no use without them. But when a job needs room, those that
//! nobody has used since they came go before pages: jobs build many. See note 28.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use sapwood_serialize::node::Handle;
use sapwood_serialize::segment::{ResidentSegment, Segment};

/// Something that was made resident and can be evicted.
#[derive(Clone, Debug)]
pub enum Entry {
    /// One page of a segment's resident part.
    Page(Weak<ResidentSegment>, u32),
    /// The resident part of a segment: directory, filter, slots.
    Part(Weak<Segment>),
    /// A node.
    Node(Weak<Handle>),
}

/// What the evictor should do about an entry.
enum Verdict {
    Gone,
    Warm,
    Cold,
}

impl Entry {
    fn verdict(&self) -> Verdict {
        let warm = match self {
            Entry::Page(part, index) => part.upgrade().and_then(|part| {
                let slot = part.slot(*index as usize);
                slot.is_resident().then(|| slot.heat().cool())
            }),
            Entry::Part(segment) => segment
                .upgrade()
                .and_then(|segment| segment.resident().map(|part| part.heat().cool())),
            Entry::Node(handle) => {
                handle.upgrade().and_then(|handle| handle.node().map(|node| node.heat.cool()))
            }
        };
        match warm {
            None => Verdict::Gone,
            Some(true) => Verdict::Warm,
            Some(false) => Verdict::Cold,
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Entry::Page(part, index) => {
                part.upgrade().is_none_or(|part| !part.slot(*index as usize).is_resident())
            }
            Entry::Part(segment) => {
                segment.upgrade().is_none_or(|segment| segment.peek().is_none())
            }
            Entry::Node(handle) => handle.upgrade().is_none_or(|handle| handle.peek().is_none()),
        }
    }
}

/// The two queues of one class.
#[derive(Debug, Default)]
pub struct Clock {
    small: VecDeque<Entry>,
    main: VecDeque<Entry>,
    /// How many entries were alive when the dead ones were last swept out.
    alive: usize,
}

impl Clock {
    /// Enters what was just made resident.
    pub fn enter(&mut self, entry: Entry) {
        self.small.push_back(entry);
        if self.len() > 1024 && self.len() > 2 * self.alive {
            self.sweep();
        }
    }

    fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    /// Forgets entries whose thing has gone by itself, at most once per doubling.
    fn sweep(&mut self) {
        self.small.retain(|entry| !entry.is_gone());
        self.main.retain(|entry| !entry.is_gone());
        self.alive = self.len();
    }

    /// The oldest entry that nobody has used since it came; `None` when few came lately.
    pub fn take_unused(&mut self) -> Option<Entry> {
        while self.is_small_due() {
            let entry = self.small.pop_front()?;
            match entry.verdict() {
                Verdict::Gone => {}
                Verdict::Warm => self.main.push_back(entry),
                Verdict::Cold => return Some(entry),
            }
        }
        None
    }

    fn is_small_due(&self) -> bool {
        self.small.len() * 10 >= self.len() || self.main.is_empty()
    }

    /// The next cold entry; `None` when a whole round found none.
    pub fn take_cold(&mut self) -> Option<Entry> {
        for _ in 0..4 * self.len() {
            let queue = if self.is_small_due() { &mut self.small } else { &mut self.main };
            let entry = queue.pop_front()?;
            match entry.verdict() {
                Verdict::Gone => {}
                Verdict::Warm => self.main.push_back(entry),
                Verdict::Cold => return Some(entry),
            }
        }
        None
    }

    /// Puts an entry that cannot be evicted yet behind those that came since.
    pub fn put_off(&mut self, entry: Entry) {
        self.small.push_back(entry);
    }

    /// Puts back an entry that could not be evicted.
    pub fn keep(&mut self, entry: Entry) {
        self.main.push_back(entry);
    }
}

impl Entry {
    /// The entry for page `index` of `part`.
    pub fn page(part: &Arc<ResidentSegment>, index: usize) -> Entry {
        let index = u32::try_from(index).expect("a segment has fewer than 2^32 pages");
        Entry::Page(Arc::downgrade(part), index)
    }
}

#[cfg(test)]
mod tests {
    use sapwood_serialize::node::{Node, ResidentNode};
    use sapwood_serialize::run::Run;
    use sapwood_serialize::{BlockId, Meter};

    use super::*;

    /// Leaves in memory, and a clock that they have entered in turn.
    fn entered(count: u64) -> (Vec<Arc<Handle>>, Clock) {
        let leaf = |number| {
            let node = ResidentNode::new(Node::Leaf(Run::default()), Meter::new().charge(1));
            Arc::new(Handle::resident(BlockId::from_raw(number), node, Arc::default()))
        };
        let handles: Vec<_> = (0..count).map(leaf).collect();
        let mut clock = Clock::default();
        handles.iter().for_each(|handle| clock.enter(Entry::Node(Arc::downgrade(handle))));
        (handles, clock)
    }

    fn use_it(handle: &Handle) {
        handle.node().unwrap().heat.warm();
    }

    fn number(entry: Option<Entry>) -> Option<u64> {
        match entry? {
            Entry::Node(handle) => Some(handle.upgrade()?.block().to_raw()),
            other => panic!("{other:?} never entered"),
        }
    }

    #[test]
    fn what_nobody_used_is_taken_in_turn() {
        let (mut handles, mut clock) = entered(4);
        use_it(&handles[1]);
        handles.remove(2);
        let taken: Vec<_> = std::iter::from_fn(|| number(clock.take_unused())).collect();
        assert_eq!(taken, [0, 3], "one was used, one has gone");
        assert_eq!(number(clock.take_cold()), Some(1), "it was used long ago");
    }

    #[test]
    fn what_was_used_is_kept_before_what_was_not() {
        let (handles, mut clock) = entered(3);
        use_it(&handles[0]);
        let taken: Vec<_> = std::iter::from_fn(|| number(clock.take_cold())).collect();
        assert_eq!(taken, [1, 2, 0]);
    }

    #[test]
    fn a_tenth_may_wait_to_be_used() {
        let (handles, mut clock) = entered(20);
        handles.iter().for_each(|handle| use_it(handle));
        assert_eq!(number(clock.take_unused()), None, "all have been used");
        let late = entered(2);
        late.0.iter().for_each(|handle| clock.enter(Entry::Node(Arc::downgrade(handle))));
        assert_eq!(number(clock.take_unused()), None);
        let more = entered(1);
        clock.enter(Entry::Node(Arc::downgrade(&more.0[0])));
        assert_eq!(number(clock.take_unused()), Some(0));
    }
}
