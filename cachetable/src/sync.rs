//! The only way to locks and threads.
//!
//! Every lock has a [`Rank`]. A thread takes locks in ascending rank, so no two threads can wait
//! for each other:
//!
//! ```text
//! Catalog < Claims < Publish < Snapshots < PageShard < WalBuffer < JobQueue < Storage
//! ```
//!
//! Invariants, checked in builds with debug assertions (a breach panics and names both ranks):
//! 1. a thread that waits for a lock holds only locks of lower rank; equal ranks do not nest;
//! 2. a thread that waits on a [`Condvar`] holds, besides the lock it waits with, nothing but
//!    `Catalog` and `Claims`, because nobody can say how long that wait takes.
//!
//! [`Mutex::try_lock`] never waits and so is free of rule 1, but what it took counts against later
//! calls. Since each waiting thread wants a higher rank than all it holds, a circle of waiting
//! threads would have to ascend for ever. Without debug assertions all of this compiles to nothing.
//!
//! What is below comes from `real`; built with `--cfg shuttle`, as `tests/schedules` does, from
//! `explored`, where a schedule decides who goes on.

#[cfg(shuttle)]
#[path = "sync/explored.rs"]
mod system;
#[cfg(not(shuttle))]
#[path = "sync/real.rs"]
mod system;

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use sapwood_serialize::shared::{ArcSwap, ArcSwapOption, Guard, atomic};

use order::Place;
pub(crate) use system::channel;
use system::thread;
pub use thread::{JoinHandle, current};

/// The place of a lock in the order of acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The creation of trees; held while one is being logged.
    Catalog,
    /// What only one at a time may do, such as growing a file; may be held across I/O.
    Claims,
    /// The current view and what is published with it.
    Publish,
    /// The registered snapshots.
    Snapshots,
    /// One shard of the resident pages.
    PageShard,
    /// The log's buffer of unwritten frames.
    WalBuffer,
    /// The queue of background jobs.
    JobQueue,
    /// The inside of a storage that keeps its files in memory; nothing is ever locked below it.
    Storage,
}

/// A value behind a lock that knows its place in the order.
pub struct Mutex<T> {
    place: Place,
    inner: system::Mutex<T>,
}

impl<T> Mutex<T> {
    /// Puts `value` behind a lock of rank `rank`.
    pub const fn new(rank: Rank, value: T) -> Mutex<T> {
        Mutex { place: Place::new(rank), inner: system::Mutex::new(value) }
    }

    /// Waits for the lock and holds it until the guard is dropped.
    ///
    /// # Panics
    /// With debug assertions, when this thread holds a lock of the same or a higher rank.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.place.check_acquire();
        let inner = self.inner.lock();
        MutexGuard { inner, held: Held::enter(self.place) }
    }

    /// Takes the lock if nobody holds it; allowed at any rank, because it never waits.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        Some(MutexGuard { inner, held: Held::enter(self.place) })
    }

    /// The value, without locking: whoever has `&mut` is alone.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    /// Takes the value out of its lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

/// Holds a [`Mutex`]; dropping it lets go. Guards may be dropped in any order.
pub struct MutexGuard<'a, T> {
    // Declared first, so that the lock is free before its rank is.
    inner: system::MutexGuard<'a, T>,
    held: Held,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Why [`Condvar::wait_for`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// Somebody notified (or nobody did: wakeups can be spurious).
    Notified,
    /// The time was over.
    TimedOut,
}

/// Where threads wait until a condition under a [`Mutex`] may have become true.
///
/// A wakeup promises nothing: the waiter looks at its condition again, in a loop.
#[derive(Default)]
pub struct Condvar {
    inner: system::Condvar,
}

impl Condvar {
    /// A condition that nobody waits for.
    pub const fn new() -> Condvar {
        Condvar { inner: system::Condvar::new() }
    }

    /// Lets go of the lock, waits for a notification, and takes the lock again.
    ///
    /// # Panics
    /// With debug assertions, when this thread holds a lock above `Claims` as well.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.held.pause();
        self.inner.wait(&mut guard.inner);
        guard.held.resume();
    }

    /// As [`Condvar::wait`], for `time` at most.
    ///
    /// # Panics
    /// With debug assertions, when this thread holds a lock above `Claims` as well.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> Wakeup {
        guard.held.pause();
        let result = self.inner.wait_for(&mut guard.inner, time);
        guard.held.resume();
        if result.timed_out() { Wakeup::TimedOut } else { Wakeup::Notified }
    }

    /// Wakes one waiting thread.
    pub fn notify_one(&self) {
        self.inner.notify_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.inner.notify_all();
    }
}

/// Starts a thread that tools and panics show as `name`; the system keeps its first 15 bytes.
///
/// # Errors
/// When the system starts no further thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// That this thread holds a lock at some place, until it is dropped.
struct Held(Place);

impl Held {
    fn enter(place: Place) -> Held {
        place.enter();
        Held(place)
    }

    fn pause(&self) {
        self.0.check_wait();
        self.0.leave();
    }

    fn resume(&self) {
        self.0.enter();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Without debug assertions a place is no bytes and its checks are no instructions.
#[cfg(not(debug_assertions))]
mod order {
    use super::Rank;

    #[derive(Clone, Copy)]
    pub(super) struct Place;

    impl Place {
        pub(super) const fn new(_: Rank) -> Place {
            Place
        }

        pub(super) fn check_acquire(self) {}

        pub(super) fn check_wait(self) {}

        pub(super) fn enter(self) {}

        pub(super) fn leave(self) {}
    }
}

/// With debug assertions each thread counts the locks it holds of every rank.
#[cfg(debug_assertions)]
mod order {
    use std::cell::Cell;

    use super::{Rank, system};

    const RANKS: [Rank; 8] = [
        Rank::Catalog,
        Rank::Claims,
        Rank::Publish,
        Rank::Snapshots,
        Rank::PageShard,
        Rank::WalBuffer,
        Rank::JobQueue,
        Rank::Storage,
    ];

    system::thread_local! {
        // Const and without a destructor, so that locks work while a thread is being torn down.
        static HELD: Cell<[u8; RANKS.len()]> = const { Cell::new([0; RANKS.len()]) };
    }

    #[derive(Clone, Copy)]
    pub(super) struct Place(Rank);

    impl Place {
        pub(super) const fn new(rank: Rank) -> Place {
            Place(rank)
        }

        pub(super) fn check_acquire(self) {
            let highest = held_ranks(HELD.with(Cell::get)).last();
            if let Some(held) = highest.filter(|held| *held >= self.0) {
                panic!(
                    "a lock of rank {:?} was requested while one of rank {held:?} is held",
                    self.0
                );
            }
        }

        pub(super) fn check_wait(self) {
            let mut counts = HELD.with(Cell::get);
            counts[self.0 as usize] -= 1;
            if let Some(held) = held_ranks(counts).find(|held| *held > Rank::Claims) {
                panic!(
                    "a wait under a lock of rank {:?} holds one of rank {held:?} as well",
                    self.0
                );
            }
        }

        pub(super) fn enter(self) {
            self.change(|count| count + 1);
        }

        pub(super) fn leave(self) {
            // Saturating, because a wait that panics has left already.
            self.change(|count| count.saturating_sub(1));
        }

        fn change(self, change: impl FnOnce(u8) -> u8) {
            let mut counts = HELD.with(Cell::get);
            counts[self.0 as usize] = change(counts[self.0 as usize]);
            HELD.with(|held| held.set(counts));
        }
    }

    fn held_ranks(counts: [u8; RANKS.len()]) -> impl Iterator<Item = Rank> {
        RANKS.into_iter().filter(move |rank| counts[*rank as usize] > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;

    /// What `body` panics with.
    fn panic_of(body: impl FnOnce()) -> String {
        let payload = catch_unwind(AssertUnwindSafe(body)).expect_err("it panics");
        *payload.downcast::<String>().expect("a formatted panic")
    }

    #[test]
    fn locks_are_taken_in_ascending_rank() {
        let publish = Mutex::new(Rank::Publish, 1);
        let queue = Mutex::new(Rank::JobQueue, 2);
        let first = publish.lock();
        assert_eq!(*first + *queue.lock(), 3);
        drop(first);
        drop(queue.lock());
        drop(publish.lock());
    }

    #[test]
    #[cfg(debug_assertions)]
    fn out_of_order_acquire_is_caught() {
        let publish = Mutex::new(Rank::Publish, ());
        let queue = Mutex::new(Rank::JobQueue, ());
        let held = queue.lock();
        let sentence = panic_of(|| drop(publish.lock()));
        assert_eq!(
            sentence,
            "a lock of rank Publish was requested while one of rank JobQueue is held"
        );
        drop(held);
        drop(publish.lock());
    }

    #[test]
    #[cfg(debug_assertions)]
    fn equal_ranks_do_not_nest() {
        let shards = [Mutex::new(Rank::PageShard, ()), Mutex::new(Rank::PageShard, ())];
        let _held = shards[0].lock();
        assert!(panic_of(|| drop(shards[1].lock())).contains("PageShard"));
    }

    #[test]
    fn trying_is_allowed_at_any_rank() {
        let publish = Mutex::new(Rank::Publish, ());
        let queue = Mutex::new(Rank::JobQueue, ());
        let held = queue.lock();
        let tried = publish.try_lock().expect("it is free");
        assert!(publish.try_lock().is_none());
        drop((held, tried));
        drop(publish.lock());
    }

    #[test]
    fn a_panic_under_a_lock_releases_its_rank() {
        let queue = Mutex::new(Rank::JobQueue, ());
        let sentence = panic_of(|| {
            let _held = queue.lock();
            panic!("{}", "on purpose");
        });
        assert_eq!(sentence, "on purpose");
        drop(queue.lock());
    }

    #[test]
    fn waiting_releases_the_lock_and_its_rank() {
        let shared = Arc::new((Mutex::new(Rank::WalBuffer, 0), Condvar::new()));
        let other = Arc::clone(&shared);
        let thread = spawn("waits", move || {
            let mut value = other.0.lock();
            while *value == 0 {
                other.1.wait(&mut value);
            }
            *value = 2;
            other.1.notify_all();
        })
        .expect("a thread");
        let mut value = shared.0.lock();
        *value = 1;
        shared.1.notify_one();
        while *value != 2 {
            shared.1.wait(&mut value);
        }
        drop(value);
        thread.join().expect("the thread ends well");
        drop(shared.0.lock());
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        let mutex = Mutex::new(Rank::PageShard, ());
        let mut guard = mutex.lock();
        let wakeup = Condvar::new().wait_for(&mut guard, Duration::from_millis(1));
        assert_eq!(wakeup, Wakeup::TimedOut);
        drop(guard);
        drop(mutex.lock());
    }

    #[test]
    #[cfg(debug_assertions)]
    fn waiting_under_another_lock_is_caught() {
        let claims = Mutex::new(Rank::Claims, ());
        let publish = Mutex::new(Rank::Publish, ());
        let queue = Mutex::new(Rank::JobQueue, ());
        let time = Duration::from_millis(1);
        let _claimed = claims.lock();
        {
            let mut waits = queue.lock();
            Condvar::new().wait_for(&mut waits, time);
        }
        let held = publish.lock();
        let mut waits = queue.lock();
        let sentence = panic_of(|| {
            Condvar::new().wait_for(&mut waits, time);
        });
        assert_eq!(
            sentence,
            "a wait under a lock of rank JobQueue holds one of rank Publish as well"
        );
        drop((waits, held));
        drop(publish.lock());
    }

    #[test]
    fn threads_carry_their_name() {
        let thread = spawn("sapwood-test", || {
            assert_eq!(thread::current().name(), Some("sapwood-test"));
        });
        thread.expect("a thread").join().expect("the name is right");
    }

    #[test]
    fn the_value_can_be_taken_out() {
        let mut mutex = Mutex::new(Rank::PageShard, 1);
        *mutex.get_mut() += 1;
        assert_eq!(mutex.into_inner(), 2);
    }
}
