//! What this process has cost so far: time, CPU time of all its threads, I/O, memory.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Costs up to a moment, or, from [`Cost::since`], between two.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
    /// Bytes that were really read from the device.
    pub device_read: u64,
    /// Bytes that were made to be written to the device, by the pages they dirtied.
    pub device_written: u64,
    /// Bytes given to write calls.
    pub calls_written: u64,
}

/// Measures from when it is made.
pub struct Meter {
    start: Instant,
}

impl Meter {
    pub fn new() -> Meter {
        Meter { start: Instant::now() }
    }

    pub fn read(&self) -> Cost {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        Cost {
            wall: self.start.elapsed(),
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            device_read: field(&io, "read_bytes:"),
            device_written: field(&io, "write_bytes:"),
            calls_written: field(&io, "wchar:"),
        }
    }
}

impl Cost {
    pub fn since(self, earlier: Cost) -> Cost {
        Cost {
            wall: self.wall.saturating_sub(earlier.wall),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            device_read: self.device_read.saturating_sub(earlier.device_read),
            device_written: self.device_written.saturating_sub(earlier.device_written),
            calls_written: self.calls_written.saturating_sub(earlier.calls_written),
        }
    }
}

/// The most memory this process ever had resident, in bytes.
pub fn resident_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmHWM:") * 1024
}

/// The memory that this process has resident, in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmRSS:") * 1024
}

/// The number behind `name` at the start of a line; 0 where the system does not tell it.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let io = "rchar: 7\nread_bytes: 9\ncancelled_write_bytes: 4\nwrite_bytes: 5\n";
        assert_eq!(field(io, "write_bytes:"), 5);
        assert_eq!(field(io, "syscw:"), 0);
        assert_eq!(field("VmHWM:\t  1764 kB\n", "VmHWM:"), 1764);
    }
}
