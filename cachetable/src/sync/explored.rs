//! Locks, threads and channels whose order `shuttle` decides; for `tests/schedules` alone.
//!
//! All threads of an execution run on one thread of the system, and change over only where they use
//! something of this module. Time does not pass by itself: a wait with a time may end at any
//! moment, as if the thread had not been let on for so long.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

pub(super) use shuttle::thread;
#[cfg(debug_assertions)]
pub(super) use shuttle::thread_local;

/// As `parking_lot::Mutex`: a panic under it does not poison it.
pub(super) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(super) const fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Some(self.acquire()) }
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = match self.0.try_lock() {
            Ok(held) => held,
            Err(std::sync::TryLockError::Poisoned(held)) => held.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { mutex: self, held: Some(held) })
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` only within a wait.
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("nobody looks within a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("nobody looks within a wait")
    }
}

#[derive(Default)]
pub(super) struct Condvar(shuttle::sync::Condvar);

/// How a wait with a time has ended.
pub(super) struct Ended;

impl Ended {
    /// It always looks so.
    pub(super) fn timed_out(&self) -> bool {
        true
    }
}

impl Condvar {
    pub(super) const fn new() -> Condvar {
        Condvar(shuttle::sync::Condvar::new())
    }

    pub(super) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.held.take() {
            let held = self.0.wait(held).unwrap_or_else(PoisonError::into_inner);
            guard.held = Some(held);
        }
    }

    pub(super) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _time: Duration) -> Ended {
        drop(guard.held.take());
        thread::yield_now();
        guard.held = Some(guard.mutex.acquire());
        Ended
    }

    pub(super) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(super) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// As much of `crossbeam_channel` as the crews use.
pub(crate) mod channel {
    use std::sync::{Arc, PoisonError};
    use std::time::Duration;

    use shuttle::sync::{Mutex, MutexGuard};

    struct Line<T> {
        waiting: Vec<T>,
        most: usize,
        senders: usize,
    }

    type Shared<T> = Arc<Mutex<Line<T>>>;

    fn lock<T>(line: &Mutex<Line<T>>) -> MutexGuard<'_, Line<T>> {
        line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) struct Sender<T>(Shared<T>);

    #[derive(Clone)]
    pub(crate) struct Receiver<T>(Shared<T>);

    #[derive(Debug, PartialEq, Eq)]
    pub(crate) enum RecvTimeoutError {
        Timeout,
        Disconnected,
    }

    /// A channel that holds `most` at a time, and drops what is too much.
    pub(crate) fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
        let line = Arc::new(Mutex::new(Line { waiting: Vec::new(), most, senders: 1 }));
        (Sender(line.clone()), Receiver(line))
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Sender<T> {
            lock(&self.0).senders += 1;
            Sender(self.0.clone())
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            lock(&self.0).senders -= 1;
        }
    }

    impl<T> Sender<T> {
        pub(crate) fn try_send(&self, what: T) -> Result<(), T> {
            let mut line = lock(&self.0);
            if line.waiting.len() >= line.most {
                return Err(what);
            }
            line.waiting.push(what);
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        /// Looks twice, with a moment for the others in between.
        pub(crate) fn recv_timeout(&self, _time: Duration) -> Result<T, RecvTimeoutError> {
            if let Some(found) = self.look() {
                return found;
            }
            shuttle::thread::yield_now();
            self.look().unwrap_or(Err(RecvTimeoutError::Timeout))
        }

        fn look(&self) -> Option<Result<T, RecvTimeoutError>> {
            let mut line = lock(&self.0);
            let first = line.waiting.pop().map(Ok);
            first.or_else(|| (line.senders == 0).then_some(Err(RecvTimeoutError::Disconnected)))
        }
    }
}
