//! The background threads: flushers that loop over the engine's steps, and one for checkpoints.
//!
//! A panic in a step is caught, told to everyone who writes from then on, and ends the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sapwood_cachetable::Fault;
use sapwood_cachetable::sync::{JoinHandle, spawn};
use sapwood_flusher::Outcome;
use sapwood_serialize::superblock::Session;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};

/// How long a thread with nothing to do waits for the bell.
const IDLE: Duration = Duration::from_millis(100);

/// The running threads.
pub(crate) struct Threads {
    stop: Arc<AtomicBool>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts `flushers` flusher threads and the checkpointer.
    pub(crate) fn start(engine: &Arc<Engine>, flushers: usize) -> Result<Threads> {
        let mut threads = Threads { stop: Arc::default(), handles: Vec::new() };
        for number in 1..=flushers {
            threads.spawn(engine, format!("sapwood-flush-{number}"), flusher_step)?;
        }
        threads.spawn(engine, "sapwood-checkpoint".to_owned(), checkpointer_step)?;
        Ok(threads)
    }

    fn spawn(
        &mut self,
        engine: &Arc<Engine>,
        name: String,
        step: fn(&Engine) -> std::result::Result<Outcome, Fault>,
    ) -> Result<()> {
        let (engine, stop) = (engine.clone(), self.stop.clone());
        let handle = spawn(&name, move || run(&engine, &stop, step));
        let failed = |source: std::io::Error| Kind::Option {
            option: "background",
            reason: format!("a thread could not be started: {source}"),
        };
        self.handles.push(handle.map_err(|source| Error::new(failed(source)))?);
        Ok(())
    }

    /// Tells the threads to stop, and waits until they have.
    pub(crate) fn stop(self, engine: &Engine) {
        self.stop.store(true, Ordering::Release);
        for handle in self.handles {
            while !handle.is_finished() {
                engine.bell.ring();
                std::thread::yield_now();
            }
            // A panic was caught inside and is told by the engine.
            let _ = handle.join();
        }
    }
}

fn run(
    engine: &Engine,
    stop: &AtomicBool,
    step: fn(&Engine) -> std::result::Result<Outcome, Fault>,
) {
    while !stop.load(Ordering::Acquire) {
        let rings = engine.bell.count();
        let done = catch_unwind(AssertUnwindSafe(|| step(engine)));
        match done {
            Ok(Ok(Outcome::Done)) => {}
            Ok(Ok(Outcome::Nothing | Outcome::Busy)) => engine.bell.wait_since(rings, IDLE),
            // A full disk is tried again later; after any other fault the poison tells the writers.
            Ok(Err(_)) => engine.bell.wait(IDLE),
            Err(panic) => {
                *engine.panicked.lock() = Some(message_of(&*panic));
                engine.bell.ring();
                return;
            }
        }
    }
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}

fn flusher_step(engine: &Engine) -> std::result::Result<Outcome, Fault> {
    let outcome = engine.step()?;
    if outcome != Outcome::Done {
        engine.table.make_room_by_writing()?;
        engine.mark_idle()?;
    }
    Ok(outcome)
}

fn checkpointer_step(engine: &Engine) -> std::result::Result<Outcome, Fault> {
    if engine.is_paused() || !engine.checkpoint_is_due() {
        return Ok(Outcome::Nothing);
    }
    engine.checkpoint_step(Session::Open)?;
    Ok(Outcome::Done)
}
