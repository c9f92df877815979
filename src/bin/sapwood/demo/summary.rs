//! The demo's last table.

use std::time::Duration;

use comfy_table::Table;
use sapwood::{Stats, TreeStats};

use crate::demo::{Filled, Memory, Plan, per_second};
use crate::output::figures;

/// Everything that was measured.
pub struct Summary<'a> {
    pub plan: &'a Plan,
    pub filled: Filled,
    /// After the load and a checkpoint.
    pub stats: Stats,
    /// After the closing.
    pub disk_bytes: u64,
    /// Before the database was opened.
    pub before: Memory,
    /// After everything was read back.
    pub memory: Memory,
}

impl Summary<'_> {
    pub fn table(&self) -> Table {
        let mut table = figures(["load", ""]);
        let calls = &self.filled.calls;
        let user_bytes = self.stats.user_bytes;
        let rows = [
            ("rows/s", format!("{:.0}", per_second(self.filled.rows, self.filled.time))),
            ("write call, 99.9 %", micros(calls.value_at_quantile(0.999))),
            ("write call, longest pause", micros(calls.max())),
            ("bytes written per user byte", ratio(self.stats.bytes_written, user_bytes)),
            ("space on disk per user byte", ratio(self.disk_bytes, user_bytes)),
            ("peak memory of the process", self.peak()),
            ("of it before the opening", mib(self.before.resident_bytes)),
            ("allowed for this budget", mib(Some(self.allowed_bytes()))),
        ];
        table.add_rows(rows.map(|(name, figure)| [name.to_owned(), figure]));
        if let Some(tree) = self.stats.trees.get("packages") {
            table.add_rows(shape(tree).map(|(name, figure)| [name.to_owned(), figure.to_string()]));
        }
        table
    }

    fn peak(&self) -> String {
        mib(self.memory.peak_bytes)
    }

    /// 1.1 times the budget and 16 MiB.
    fn allowed_bytes(&self) -> u64 {
        let budget = self.plan.cache_mib << 20;
        budget + budget / 10 + (16 << 20)
    }
}

fn shape(tree: &TreeStats) -> [(&'static str, u64); 5] {
    [
        ("tree height", tree.height),
        ("nodes", tree.nodes),
        ("of them leaves", tree.leaves),
        ("runs waiting in buffers", tree.runs),
        ("bytes waiting in buffers", tree.buffered_bytes),
    ]
}

fn micros(nanos: u64) -> String {
    let time = Duration::from_nanos(nanos);
    if time < Duration::from_millis(10) {
        format!("{} us", time.as_micros())
    } else {
        format!("{} ms", time.as_millis())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(bytes: u64, user_bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / user_bytes.max(1) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn mib(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / 1_048_576.0))
}
