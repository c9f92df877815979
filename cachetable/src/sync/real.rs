//! Locks, threads and channels as the system has them.

pub(crate) use crossbeam_channel as channel;
pub(super) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(super) use std::thread;
#[cfg(debug_assertions)]
pub(super) use std::thread_local;
