//! What threads share without a lock: atomics and swapped pointers.
//!
//! They are those of the standard library and of `arc_swap`. Built with `--cfg shuttle`, as
//! `tests/schedules` does, they do the same, and at each use the schedule may go on with another
//! thread. What only counts, and orders nothing, takes the real ones by itself.

#[cfg(not(shuttle))]
pub use arc_swap::{ArcSwap, ArcSwapOption, Guard};
#[cfg(shuttle)]
pub use explored::{ArcSwap, ArcSwapOption, Guard};

/// Numbers and flags that order something.
pub mod atomic {
    #[cfg(shuttle)]
    pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    #[cfg(not(shuttle))]
    pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}

/// All threads of a schedule run on one thread of the system, one at a time: the real pointers are
/// right, and only lack the moments at which another thread may come in between.
#[cfg(shuttle)]
mod explored {
    use std::sync::Arc;

    pub use arc_swap::Guard;

    /// Another thread may go on here.
    fn switch() {
        shuttle::thread::sleep(std::time::Duration::ZERO);
    }

    /// As `arc_swap::ArcSwap`.
    #[derive(Debug)]
    pub struct ArcSwap<T>(arc_swap::ArcSwap<T>);

    impl<T> ArcSwap<T> {
        /// Holds `value`.
        pub fn from_pointee(value: T) -> ArcSwap<T> {
            ArcSwap(arc_swap::ArcSwap::from_pointee(value))
        }

        /// What it holds, for a moment.
        pub fn load(&self) -> Guard<Arc<T>> {
            switch();
            self.0.load()
        }

        /// Holds `new`; returns what it held.
        pub fn swap(&self, new: Arc<T>) -> Arc<T> {
            switch();
            self.0.swap(new)
        }
    }

    /// As `arc_swap::ArcSwapOption`.
    #[derive(Debug)]
    pub struct ArcSwapOption<T>(arc_swap::ArcSwapOption<T>);

    impl<T> ArcSwapOption<T> {
        /// Holds `value`.
        pub fn from_pointee(value: impl Into<Option<T>>) -> ArcSwapOption<T> {
            ArcSwapOption(arc_swap::ArcSwapOption::from_pointee(value))
        }

        /// Holds `value`.
        pub fn new(value: Option<Arc<T>>) -> ArcSwapOption<T> {
            ArcSwapOption(arc_swap::ArcSwapOption::new(value))
        }

        /// Holds nothing.
        pub fn empty() -> ArcSwapOption<T> {
            ArcSwapOption(arc_swap::ArcSwapOption::empty())
        }

        /// What it holds, for a moment.
        pub fn load(&self) -> Guard<Option<Arc<T>>> {
            switch();
            self.0.load()
        }

        /// What it holds.
        pub fn load_full(&self) -> Option<Arc<T>> {
            switch();
            self.0.load_full()
        }

        /// Holds `new`.
        pub fn store(&self, new: Option<Arc<T>>) {
            switch();
            self.0.store(new);
        }

        /// Holds `new` if it held `current`; returns what it held.
        pub fn compare_and_swap(
            &self,
            current: &Option<Arc<T>>,
            new: Option<Arc<T>>,
        ) -> Guard<Option<Arc<T>>> {
            switch();
            self.0.compare_and_swap(current, new)
        }
    }
}
