//! What the process takes of memory, and a folder of the disk, as the system counts it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::failure::Failure;

/// The process's resident memory; `None` where the system does not tell.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub resident_bytes: Option<u64>,
    /// The most it ever was.
    pub peak_bytes: Option<u64>,
}

impl Memory {
    pub fn now() -> Memory {
        let Ok(status) = fs::read_to_string("/proc/self/status") else { return Memory::default() };
        Memory {
            resident_bytes: kib_field(&status, "VmRSS:"),
            peak_bytes: kib_field(&status, "VmHWM:"),
        }
    }
}

fn kib_field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What the files in a folder take on the disk; holes take nothing.
pub fn folder_bytes(folder: &Path) -> Result<u64, Failure> {
    let sum = || -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(folder)? {
            // The unit of `blocks` is 512 bytes whatever the file system uses.
            bytes += entry?.metadata()?.blocks() * 512;
        }
        Ok(bytes)
    };
    sum().map_err(|error| Failure::other(format!("the folder cannot be measured: {error}")))
}
