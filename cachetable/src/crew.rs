//! Named threads that do one kind of work over and over.
//!
//! ```text
//! wake --> [ bounded channel ] --> thread: work, work, work ... nothing to do: wait for a wake
//! stop --> channel closed      --> thread: ends after what it is at
//! ```
//!
//! A wake that finds the channel full is dropped: enough threads are about to look anyway. A panic
//! in the work is caught, told, and ends the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::sync::{JoinHandle, current, spawn};

/// What a thread should do after a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on at once.
    Again,
    /// Wait for a wake, or for this time.
    Wait(Duration),
}

/// What a crew does, and whom it tells when that panics.
pub trait Work: Send + Sync + 'static {
    /// Does a piece of it.
    fn work(&self) -> Next;

    /// The work has panicked with this message; its thread ends.
    fn panicked(&self, message: String);
}

/// Threads that share one kind of work.
pub struct Crew {
    wake: Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts `count` threads named `name`, with a number behind it when there are several.
    ///
    /// # Errors
    /// When the system gives no thread; those that were started are stopped again.
    pub fn start(name: &str, count: usize, work: &Arc<dyn Work>) -> std::io::Result<Crew> {
        let (wake, woken) = bounded(count);
        let mut crew = Crew { wake, threads: Vec::with_capacity(count) };
        for number in 1..=count {
            let name = if count == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let (woken, work) = (woken.clone(), work.clone());
            match spawn(&name, move || run(&woken, &*work)) {
                Ok(thread) => crew.threads.push(thread),
                Err(error) => {
                    crew.stop();
                    return Err(error);
                }
            }
        }
        Ok(crew)
    }

    /// Something that wakes a waiting thread.
    pub fn waker(&self) -> Waker {
        Waker(self.wake.clone())
    }

    /// Tells the threads to stop, and returns when they have. Every [`Waker`] must be gone.
    /// A thread of the crew itself may call it, and stops once it is back from its work.
    pub fn stop(self) {
        drop(self.wake);
        let caller = current().id();
        for thread in self.threads.into_iter().filter(|one| one.thread().id() != caller) {
            // A panic was caught and told inside.
            let _ = thread.join();
        }
    }
}

/// Wakes a thread of a [`Crew`]. While one lives, the crew cannot be stopped.
#[derive(Clone)]
pub struct Waker(Sender<()>);

impl Waker {
    /// Wakes one thread that waits, if any does.
    pub fn wake(&self) {
        let _ = self.0.try_send(());
    }
}

fn run(woken: &Receiver<()>, work: &dyn Work) {
    loop {
        let wait = match catch_unwind(AssertUnwindSafe(|| work.work())) {
            Ok(Next::Again) => Duration::ZERO,
            Ok(Next::Wait(time)) => time,
            Err(panic) => return work.panicked(message_of(&*panic)),
        };
        if woken.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// What a panic says.
pub fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting {
        pieces: AtomicUsize,
        told: Mutex<Option<String>>,
    }

    impl Work for Counting {
        fn work(&self) -> Next {
            match self.pieces.fetch_add(1, Ordering::SeqCst) {
                0..100 => Next::Again,
                100 => Next::Wait(Duration::from_secs(3600)),
                _ => panic!("the work has broken"),
            }
        }

        fn panicked(&self, message: String) {
            *self.told.lock().unwrap() = Some(message);
        }
    }

    #[test]
    fn work_goes_on_until_it_waits_and_a_panic_is_told() {
        let work = Arc::new(Counting::default());
        let shared: Arc<dyn Work> = work.clone();
        let crew = Crew::start("counting", 1, &shared).unwrap();
        while work.pieces.load(Ordering::SeqCst) <= 100 {
            std::thread::yield_now();
        }
        assert_eq!(*work.told.lock().unwrap(), None);
        crew.waker().wake();
        while work.told.lock().unwrap().is_none() {
            std::thread::yield_now();
        }
        crew.stop();
        assert_eq!(work.told.lock().unwrap().as_deref(), Some("the work has broken"));
    }

    #[test]
    fn stopping_does_not_wait_for_a_sleeper() {
        let work = Arc::new(Counting::default());
        let shared: Arc<dyn Work> = work.clone();
        let crew = Crew::start("counting", 1, &shared).unwrap();
        while work.pieces.load(Ordering::SeqCst) <= 100 {
            std::thread::yield_now();
        }
        crew.stop();
        assert_eq!(work.pieces.load(Ordering::SeqCst), 101);
    }
}
