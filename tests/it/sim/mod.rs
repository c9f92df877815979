//! A simulated machine for crash tests: a disk that forgets what was not synced.
//!
//! | file | owns |
//! |---|---|
//! | `disk` | what the running process sees; faults and crashes by schedule |
//! | `power_cut` | what the machine finds after the power came back |
//! | `image` | the bytes of one file, cheap to clone |
//! | `random` | numbers from a seed |

pub mod disk;
mod image;
pub mod power_cut;
pub mod random;
