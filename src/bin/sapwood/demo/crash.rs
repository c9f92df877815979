//! Kills a load in the middle and looks what is left.
//!
//! The load is this program again, in a process of its own, so that it can be killed as the system
//! would: without a last word. Promised is
//! 1. every row that was acknowledged before the kill is there;
//! 2. what is there besides is a whole number of batches.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use sapwood::{Config, Database, Tree};

use crate::demo::Plan;
use crate::demo::data::DataSet;
use crate::demo::expected::Expected;
use crate::failure::Failure;

/// Rows of a batch of the load that is killed.
const BATCH_ROWS: u64 = 100;

const TREE: &str = "second";

/// What was left.
pub struct Crashed {
    acknowledged: u64,
    found: u64,
    recovery: Duration,
}

impl Crashed {
    pub fn describe(&self) -> String {
        format!(
            "killed a second load after {} acknowledged rows; recovered in {:.0} ms, all of them are \
             there, and {} more in whole batches",
            self.acknowledged,
            self.recovery.as_secs_f64() * 1e3,
            self.found - self.acknowledged,
        )
    }
}

/// Loads the data set into another tree, kills that load, and compares.
pub fn crash(
    folder: &Path,
    data: &DataSet,
    expected: &Expected,
    plan: &Plan,
) -> Result<Crashed, Failure> {
    let acknowledged = load_and_kill(folder, data, plan, expected.rows() / 3)?;
    let start = Instant::now();
    let db = Config::new(folder).cache_mib(plan.cache_mib).existing().open()?;
    let recovery = start.elapsed();
    db.verify()?;
    let found = compare(&db, data)?;
    if found < acknowledged {
        let sentence = format!("{acknowledged} rows were acknowledged, {found} are there");
        return Err(Failure::absent(sentence));
    }
    if found % BATCH_ROWS != 0 && found != expected.rows() {
        let sentence = format!("{found} rows are there: a batch of {BATCH_ROWS} was torn");
        return Err(Failure::absent(sentence));
    }
    db.close()?;
    Ok(Crashed { acknowledged, found, recovery })
}

/// Kills the load once `enough` rows are acknowledged; returns how many were in the end.
fn load_and_kill(folder: &Path, data: &DataSet, plan: &Plan, enough: u64) -> Result<u64, Failure> {
    let failed = |error| Failure::other(format!("the second load cannot be run: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("load").arg(folder).arg(data.path());
    command.args(["--tree", TREE, "--durability", "synced", "--ack"]);
    command.args(["--batch", &BATCH_ROWS.to_string()]);
    command.args(["--cache-mib", &plan.cache_mib.to_string()]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Killed(child.map_err(failed)?);
    let Some(output) = child.0.stdout.take() else { return Ok(0) };
    let mut output = BufReader::new(output);
    let mut acknowledged = 0;
    while acknowledged < enough {
        let Some(rows) = next_acknowledgement(&mut output)? else { break };
        acknowledged = rows;
    }
    child.kill().map_err(failed)?;
    // What it had told before it died counts too.
    while let Some(rows) = next_acknowledgement(&mut output)? {
        acknowledged = rows;
    }
    if acknowledged == 0 {
        return Err(Failure::other("the second load has failed"));
    }
    Ok(acknowledged)
}

/// The number in the next line; `None` at the end, or when the kill has cut the line.
fn next_acknowledgement(output: &mut BufReader<ChildStdout>) -> Result<Option<u64>, Failure> {
    let mut line = String::new();
    output
        .read_line(&mut line)
        .map_err(|error| Failure::other(format!("the second load cannot be followed: {error}")))?;
    let rows = line.strip_suffix('\n').and_then(|line| line.strip_prefix("acked "));
    Ok(rows.and_then(|rows| rows.parse().ok()))
}

/// A child that does not outlive this value, whatever happens meanwhile.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) -> std::io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(|_| ())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.kill();
    }
}

/// Compares the rows that are there with the first rows of the data set; returns how many.
fn compare(db: &Database, data: &DataSet) -> Result<u64, Failure> {
    let tree: Tree = db.tree(TREE)?;
    let mut found = 0;
    for row in tree.iter() {
        row?;
        found += 1;
    }
    let mut lines = data.lines()?;
    for number in 1..=found {
        let Some((key, value)) = lines.next_row()? else { break };
        if tree.get(&key)?.as_deref() != Some(&*value) {
            let sentence = format!("row {number} of the killed load is lost or differs");
            return Err(Failure::absent(sentence));
        }
    }
    Ok(found)
}
