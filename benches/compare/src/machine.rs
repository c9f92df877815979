//! A sentence about the machine, for the report.

use std::fs;

/// Processors, memory, kernel; what the system does not tell is left out.
pub fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let name = value(&read("/proc/cpuinfo"), "model name").unwrap_or_default();
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let parts = [format!("{processors} processors"), name, memory, kernel.trim().to_owned()];
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ")
}

/// The text behind `name:` in the first line that begins so.
fn value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processor_names_them_all() {
        let text = "processor\t: 0\nmodel name\t: Oak 9\nprocessor\t: 1\nmodel name\t: Ash\n";
        assert_eq!(value(text, "model name"), Some("Oak 9".into()));
        assert_eq!(value(text, "MemTotal"), None);
    }
}
