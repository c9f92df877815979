//! A sequence of operations, timed one by one, sampled, and ended when it takes too long.
//!
//! ```text
//! store        next_operation                      next_operation
//! script       |- latency of the last one ends     |- ...
//!              |- its answer is checked
//!              |- the next one is drawn
//!              `- its latency begins
//! ```
//!
//! What the harness does itself counts in no latency.

use std::time::{Duration, Instant};

use crate::answer::Answer;
use crate::latencies::Latencies;
use crate::sampler::Sampler;
use crate::store::{Operation, Script};
use crate::{Error, Result};

/// Operations of a workload, and what is right about their answers.
pub trait Sequence {
    fn next(&mut self) -> Option<Operation>;

    /// Judges the answer to the operation that came last.
    fn check(&mut self, _answer: &Answer) -> Result<()> {
        Ok(())
    }
}

/// Times are kept at up to so many places of a whole sequence.
const MARKS: u64 = 1_000;

pub struct Timed<'a> {
    sequence: &'a mut dyn Sequence,
    sampler: &'a Sampler,
    answer: Answer,
    latencies: Latencies,
    start: Instant,
    deadline: Option<Instant>,
    /// When the last operation was handed out.
    handed: Option<Instant>,
    mark_every: u64,
    marks: Vec<Duration>,
    is_stopped: bool,
    wrong: Option<Error>,
}

/// What became of a sequence.
pub struct Done {
    pub latencies: Latencies,
    /// Whether it was ended by the time limit.
    pub is_stopped: bool,
    /// The rate over the last quarter of the calls, in units of that over the first.
    pub last_quarter_to_first: f64,
}

impl<'a> Timed<'a> {
    /// A sequence of some `calls`, which may take `longest`.
    pub fn new(
        sequence: &'a mut dyn Sequence,
        sampler: &'a Sampler,
        calls: u64,
        longest: Option<Duration>,
    ) -> Result<Timed<'a>> {
        let start = Instant::now();
        Ok(Timed {
            sequence,
            sampler,
            answer: Answer::new(),
            latencies: Latencies::new()?,
            start,
            deadline: longest.map(|longest| start + longest),
            handed: None,
            mark_every: calls.div_ceil(MARKS).max(1),
            marks: vec![Duration::ZERO],
            is_stopped: false,
            wrong: None,
        })
    }

    /// What was measured, or what was wrong.
    pub fn finish(self) -> Result<Done> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let (latencies, is_stopped) = (self.latencies, self.is_stopped);
        let last_quarter_to_first = last_to_first_quarter(&self.marks);
        Ok(Done { latencies, is_stopped, last_quarter_to_first })
    }

    /// Counts and judges the operation that was handed out last.
    fn finish_operation(&mut self, now: Instant) -> Result<()> {
        let Some(handed) = self.handed.take() else { return Ok(()) };
        self.latencies.add(now - handed);
        self.sampler.record(now - handed);
        if self.latencies.calls().is_multiple_of(self.mark_every) {
            self.marks.push(now - self.start);
        }
        self.sequence.check(&self.answer)
    }
}

impl Script for Timed<'_> {
    fn next_operation(&mut self) -> Option<Operation> {
        let now = Instant::now();
        if let Err(wrong) = self.finish_operation(now) {
            self.wrong = Some(wrong);
        }
        if self.wrong.is_some() || self.is_stopped {
            return None;
        }
        // Before the next one is drawn, so that a sequence can count what it has drawn as done.
        if self.deadline.is_some_and(|deadline| now > deadline) {
            self.is_stopped = true;
            return None;
        }
        let operation = self.sequence.next()?;
        self.handed = Some(Instant::now());
        Some(operation)
    }

    fn answer(&mut self) -> &mut Answer {
        &mut self.answer
    }
}

/// The marks lie the same number of calls apart.
fn last_to_first_quarter(marks: &[Duration]) -> f64 {
    let steps = marks.len() - 1;
    let quarter = (steps / 4).max(1);
    match (marks.get(quarter), marks.get(steps.saturating_sub(quarter))) {
        (Some(first), Some(third)) if steps > 0 => {
            first.as_secs_f64() / (marks[steps] - *third).as_secs_f64()
        }
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_halves_its_rate_is_told() {
        let marks = [0, 1, 2, 3, 4, 5, 6, 8, 10].map(Duration::from_secs);
        assert_eq!(last_to_first_quarter(&marks), 0.5);
        assert_eq!(last_to_first_quarter(&marks[..1]), 1.0);
    }

    /// Gets without end, of which one is answered wrongly.
    struct Gets {
        asked: u64,
        wrong_at: u64,
    }

    impl Sequence for Gets {
        fn next(&mut self) -> Option<Operation> {
            self.asked += 1;
            Some(Operation::Get([0; 16]))
        }

        fn check(&mut self, _: &Answer) -> Result<()> {
            if self.asked == self.wrong_at { Err("wrong".into()) } else { Ok(()) }
        }
    }

    fn asked(mut gets: Gets, longest: Option<Duration>) -> (u64, Result<Done>) {
        let sampler = Sampler::new(std::env::temp_dir().join("none"), |_| ()).unwrap();
        let mut timed = Timed::new(&mut gets, &sampler, 1, longest).unwrap();
        while timed.next_operation().is_some() {}
        let done = timed.finish();
        (gets.asked, done)
    }

    #[test]
    fn a_wrong_answer_ends_the_sequence() {
        let (asked, done) = asked(Gets { asked: 0, wrong_at: 5 }, None);
        assert_eq!(asked, 5);
        assert!(done.is_err());
    }

    #[test]
    fn the_time_limit_ends_the_sequence() {
        let limit = Duration::from_millis(5);
        let (asked, done) = asked(Gets { asked: 0, wrong_at: u64::MAX }, Some(limit));
        let done = done.unwrap();
        assert!(done.is_stopped);
        assert_eq!(done.latencies.calls(), asked);
    }
}
