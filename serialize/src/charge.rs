//! Counts the bytes of what is resident.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Adds up the bytes of everything that carries one of its charges.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// A meter at zero.
    pub fn new() -> Meter {
        Meter::default()
    }

    /// The bytes charged now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Charges `bytes` for as long as the returned value lives.
    pub fn charge(&self, bytes: usize) -> Charge {
        let bytes = bytes as u64;
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Charge { meter: self.clone(), bytes }
    }
}

/// Some bytes of a [`Meter`], given back on drop.
#[derive(Debug)]
pub struct Charge {
    meter: Meter,
    bytes: u64,
}

impl Charge {
    /// How many bytes it stands for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
