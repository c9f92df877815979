//! A worker as its driver sees it: a process with lines that come out of it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A running worker; it is killed when dropped.
pub struct Worker {
    process: Child,
    lines: Receiver<String>,
    /// The last batch that it has acknowledged, or found when it was opened.
    pub acknowledged: u64,
    /// Everything else that it has said.
    pub said: Vec<String>,
}

impl Worker {
    /// Starts the worker of `program` on `folder`.
    pub fn start(program: &Path, folder: &Path, orders: &[&str]) -> Worker {
        let mut command = Command::new(program);
        command.arg("worker").arg(folder).args(orders);
        Worker::run(&mut command)
    }

    /// Starts what is a worker in the end.
    pub fn run(command: &mut Command) -> Worker {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        Worker { process, lines, acknowledged: 0, said: Vec::new() }
    }

    /// The next line that it says; `None` once it has ended.
    pub fn listen(&mut self) -> Option<String> {
        let line = self.lines.recv().ok()?;
        self.note(&line);
        Some(line)
    }

    /// Notes what it has said so far, and waits for nothing.
    pub fn hear_now(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.note(&line);
        }
    }

    fn note(&mut self, line: &str) {
        let number = |word| line.strip_prefix(word).and_then(|rest: &str| rest.parse().ok());
        match number("acknowledged ").or_else(|| number("opened ")) {
            Some(number) => self.acknowledged = number,
            None => self.said.push(line.to_owned()),
        }
    }

    /// Listens until it says something that begins so; `None` when it ends before.
    pub fn listen_for(&mut self, word: &str) -> Option<String> {
        loop {
            let line = self.listen()?;
            if line.starts_with(word) {
                return Some(line);
            }
        }
    }

    /// Whether it has said something that begins so.
    pub fn has_said(&self, word: &str) -> bool {
        self.said.iter().any(|line| line.starts_with(word))
    }

    /// Lets it try again what was refused.
    pub fn tell_again(&mut self) {
        writeln!(self.process.stdin.as_mut().unwrap(), "again").unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Kills it, and hears what it had said before.
    pub fn kill(&mut self) -> u64 {
        // One that has ended already cannot be killed.
        let _ = self.process.kill();
        while self.listen().is_some() {}
        self.process.wait().unwrap();
        self.acknowledged
    }

    /// Hears everything, and how it ends; nobody tells it to try anything again.
    pub fn end(&mut self) -> ExitStatus {
        drop(self.process.stdin.take());
        while self.listen().is_some() {}
        self.process.wait().unwrap()
    }

    /// Stops all its threads, and returns when they stand still: what was asked of the system is
    /// done by then.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.process.id());
        let stands = |task: std::fs::DirEntry| {
            // One that has just ended stands still, too.
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
        };
        while !std::fs::read_dir(&tasks).unwrap().all(|task| stands(task.unwrap())) {
            thread::yield_now();
        }
    }

    /// Lets it work on for a while, so that what is done to it next comes at any moment.
    pub fn work_on(&self, time: Duration) {
        thread::sleep(time);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The whole lines that come out of a process, until it ends; one that a kill has cut short was not
/// said.
fn lines_of(out: ChildStdout) -> Receiver<String> {
    let (say, lines) = channel();
    thread::spawn(move || {
        let mut out = BufReader::new(out);
        let mut line = String::new();
        while out.read_line(&mut line).is_ok() && line.ends_with('\n') {
            if say.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}
