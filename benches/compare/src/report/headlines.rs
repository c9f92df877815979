//! The few figures that come first: one line for each question that a user asks.

use super::medians::{self, best, engines, shown, times_as_good};
use crate::job::Workload;
use crate::results::Results;
use crate::stores::Engine;

/// A question, and the figure that answers it.
pub struct Headline {
    pub workload: Workload,
    pub figure: &'static str,
    pub question: &'static str,
}

const fn ask(workload: Workload, figure: &'static str, question: &'static str) -> Headline {
    Headline { workload, figure, question }
}

pub const HEADLINES: [Headline; 31] = [
    ask(Workload::Load, "writer_per_s", "random load, rows/s until the last was taken"),
    ask(Workload::Load, "drained_per_s", "random load, rows/s until all work is done"),
    ask(Workload::Load, "insert_p99.9_us", "random load, p99.9 of an insert, us"),
    ask(Workload::Load, "device_written_per_user_byte", "random load, bytes written per byte"),
    ask(Workload::Load, "disk_per_live_byte", "random load, bytes on disk per byte"),
    ask(Workload::Sequential, "drained_per_s", "ascending load, rows/s until all work is done"),
    ask(Workload::Point, "hit_per_s", "reads, larger than the cache, hits/s"),
    ask(Workload::Point, "miss_per_s", "reads, larger than the cache, misses/s"),
    ask(Workload::Cached, "drained_hit_per_s", "reads, cached, hits/s"),
    ask(Workload::Cached, "drained_miss_per_s", "reads, cached, misses/s"),
    ask(Workload::Scan, "scan_forward_rows_per_s", "full scan, larger than the cache, rows/s"),
    ask(Workload::Scan, "scan100_forward_per_s", "100-row scans, larger than the cache, scans/s"),
    ask(Workload::Cached, "drained_scan_forward_rows_per_s", "full scan, cached, rows/s"),
    ask(Workload::Cached, "drained_scan100_forward_per_s", "100-row scans, cached, scans/s"),
    ask(Workload::Ycsb, "a_per_s", "YCSB A, half updates, operations/s"),
    ask(Workload::Ycsb, "b_per_s", "YCSB B, few updates, operations/s"),
    ask(Workload::Ycsb, "c_per_s", "YCSB C, only reads, operations/s"),
    ask(Workload::Ycsb, "d_per_s", "YCSB D, reads of the latest, operations/s"),
    ask(Workload::Ycsb, "e_per_s", "YCSB E, short scans, operations/s"),
    ask(Workload::Ycsb, "f_per_s", "YCSB F, read-modify-write, operations/s"),
    ask(Workload::Counters, "drained_per_s", "counters, additions/s until all work is done"),
    ask(Workload::Overwrite, "drained_per_s", "overwrites/s until all work is done"),
    ask(Workload::Overwrite, "disk_per_live_byte", "bytes on disk per byte after overwrites"),
    ask(Workload::Overwrite, "disk_peak_mib", "most MiB on disk during overwrites"),
    ask(Workload::Deletes, "drained_per_s", "random deletes/s until all work is done"),
    ask(Workload::RangeDeletes, "writer_per_s", "range deletes/s, of some 1000 rows each"),
    ask(Workload::RangeDeletes, "after_scan_forward_rows_per_s", "scan after those, rows/s"),
    ask(Workload::Commits, "threads_1_per_s", "synced commits/s, 1 thread"),
    ask(Workload::Commits, "threads_4_per_s", "synced commits/s, 4 threads"),
    ask(Workload::Reopen, "clean_first_read_ms", "reopened after a close, ms to the first row"),
    ask(Workload::Reopen, "killed_first_read_ms", "reopened after a kill, ms to the first row"),
];

/// An answered question.
pub struct Answer {
    pub question: &'static str,
    pub ours: Option<f64>,
    /// The best peer, its figure, and how many times as good ours is.
    pub peer: Option<(Engine, f64, Option<f64>)>,
}

/// The questions to which there are figures.
pub fn answers(results: &Results) -> Vec<Answer> {
    let engines: Vec<Engine> = engines(results).collect();
    let of = |headline: &Headline| {
        let rows = medians::rows(results, headline.workload);
        let row = rows.into_iter().find(|row| row.name == headline.figure)?;
        let index = engines.iter().position(|engine| *engine == Engine::Sapwood);
        let ours = index.and_then(|index| row.values[index]);
        let best = best(&row, |index| engines[index] != Engine::Sapwood);
        let peer = best.and_then(|index| {
            let value = row.values[index]?;
            let times = ours.and_then(|ours| times_as_good(&row.name, ours, value));
            Some((engines[index], value, times))
        });
        Some(Answer { question: headline.question, ours, peer })
    };
    HEADLINES.iter().filter_map(of).collect()
}

pub fn text(results: &Results) -> String {
    let mut text = format!("{:47}{:>12}  {:>12} best peer\n", "", "sapwood", "x as good");
    for answer in answers(results) {
        let ours = answer.ours.map_or_else(|| "-".into(), shown);
        let (times, peer) = match answer.peer {
            Some((engine, value, times)) => {
                let times = times.map_or_else(|| "-".into(), |times| format!("{times:.2}"));
                (times, format!("{} {}", engine.name(), shown(value)))
            }
            None => ("-".into(), "-".into()),
        };
        text += &format!("{:47}{ours:>12}  {times:>12} {peer}\n", answer.question);
    }
    text
}
