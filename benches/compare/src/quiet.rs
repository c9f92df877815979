//! Telling when an engine has come to rest, from the outside.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Result;

const STEP: Duration = Duration::from_millis(20);

/// What an engine is seen to do.
#[derive(PartialEq, Eq)]
pub enum Activity {
    /// It says so itself.
    Busy,
    /// Nothing that it tells; it has done this much so far, in whatever unit.
    Done(u64),
}

/// Waits until the same amount of work was done for `quiet`; returns how long nothing was seen.
pub fn wait(quiet: Duration, mut look: impl FnMut() -> Result<Activity>) -> Result<Duration> {
    let (mut last, mut since) = (Activity::Busy, Instant::now());
    loop {
        let now = look()?;
        if now == Activity::Busy || now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() >= quiet {
            return Ok(since.elapsed());
        }
        sleep(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_is_counted_from_the_last_change() {
        let mut looks = 0;
        let start = Instant::now();
        let quiet = Duration::from_millis(200);
        let seen = wait(quiet, || {
            looks += 1;
            Ok(if looks < 10 { Activity::Busy } else { Activity::Done(looks.min(20)) })
        });
        let seen = seen.unwrap();
        assert!(seen >= quiet);
        assert!(start.elapsed() >= seen + STEP * 15);
    }
}
