//! How a job learns that something else is more urgent.

use sapwood_cachetable::Fault;
use sapwood_cachetable::sync::atomic::{AtomicBool, Ordering};

/// Whether a job should break off because something else is more urgent.
#[derive(Clone, Copy, Debug)]
pub struct Stop<'a>(Option<&'a AtomicBool>);

impl<'a> Stop<'a> {
    /// It never does.
    pub const NEVER: Stop<'static> = Stop(None);

    /// It does when `flag` is raised.
    pub fn when(flag: &'a AtomicBool) -> Stop<'a> {
        Stop(Some(flag))
    }

    /// [`Fault::Stopped`] when it should.
    pub fn check(self) -> Result<(), Fault> {
        match self.0 {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(Fault::Stopped),
            _ => Ok(()),
        }
    }
}
