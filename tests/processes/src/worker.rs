//! The process that writes: one batch after the other, each acknowledged by a line once it is as
//! durable as asked.
//!
//! ```text
//! writes   opened 17      acknowledged 18      refused 19 retryable: the disk is full ...
//!          readable 18    told: the last error of the background      unopened locked: ...
//! reads    again (after a refusal that can be retried); the end of the input ends it
//! ```

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};
use sapwood::{Background, Config, Durability, Error};

use crate::load::Load;

/// What a worker is to do.
#[derive(clap::Args, Clone, Debug)]
pub struct Orders {
    pub folder: PathBuf,
    /// It closes the database and ends after so many batches.
    #[arg(long, default_value_t = u64::MAX)]
    pub batches: u64,
    /// No thread but one.
    #[arg(long)]
    pub manual: bool,
    /// It syncs nothing: a kill must leave what was acknowledged, a power cut need not.
    #[arg(long)]
    pub buffered: bool,
    /// No more open files than this.
    #[arg(long)]
    pub descriptors: Option<u64>,
    /// No file longer than this.
    #[arg(long)]
    pub file_bytes: Option<u64>,
    /// No more memory than this.
    #[arg(long)]
    pub address_bytes: Option<u64>,
}

impl Orders {
    fn durability(&self) -> Durability {
        if self.buffered { Durability::Buffered } else { Durability::Synced }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be listening any more, who has ended this process by then.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn kind(error: &Error) -> &'static str {
    match error {
        error if error.is_locked() => "locked",
        error if error.is_retryable() => "retryable",
        error if error.is_corruption() => "corrupt",
        error if error.is_indeterminate() => "indeterminate",
        error if error.is_fatal() => "fatal",
        _ => "other",
    }
}

/// Works to the end; the exit code says which: 0 closed, 2 not opened, 3 refused.
pub fn work(orders: &Orders) -> ExitCode {
    limit(orders);
    let background = if orders.manual { Background::Manual } else { Background::Threads(2) };
    let config = Config::new(&orders.folder).cache_mib(8).checkpoint_bytes(256 << 10);
    let opened = config.background(background).open().and_then(Load::open);
    let (load, last) = match opened.and_then(|load| load.last().map(|last| (load, last))) {
        Ok(opened) => opened,
        Err(error) => {
            say(&format!("unopened {}: {error}", kind(&error)));
            return ExitCode::from(2);
        }
    };
    say(&format!("opened {last}"));
    for number in (last + 1..).take(usize::try_from(orders.batches).unwrap_or(usize::MAX)) {
        if !commit(&load, number, orders) {
            return ExitCode::from(3);
        }
    }
    end(&load)
}

fn limit(orders: &Orders) {
    let limits = [
        (Resource::Nofile, orders.descriptors),
        (Resource::Fsize, orders.file_bytes),
        (Resource::As, orders.address_bytes),
    ];
    for (resource, most) in limits {
        if most.is_some() {
            setrlimit(resource, Rlimit { current: most, maximum: most }).unwrap();
        }
    }
}

/// Commits a batch, again and again where that may help; whether it was acknowledged.
fn commit(load: &Load, number: u64, orders: &Orders) -> bool {
    loop {
        let done = load.commit(number, orders.durability()).and_then(|()| {
            // What threads would do otherwise; a failure is the next commit's business, too.
            if orders.manual { load.db().maintain(2).map(|_| ()) } else { Ok(()) }
        });
        // A failed step comes after a commit that is there.
        let error = match done {
            Ok(()) => {
                say(&format!("acknowledged {number}"));
                return true;
            }
            Err(error) => error,
        };
        say(&format!("refused {number} {}: {error}", kind(&error)));
        match load.check() {
            Ok(last) => say(&format!("readable {last}")),
            Err(error) => say(&format!("unreadable {}: {error}", kind(&error))),
        }
        if !error.is_retryable() || !is_told_again() {
            return false;
        }
        if load.last().is_ok_and(|last| last == number) {
            say(&format!("acknowledged {number}"));
            return true;
        }
    }
}

fn is_told_again() -> bool {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok_and(|_| line.trim() == "again")
}

fn end(load: &Load) -> ExitCode {
    let told = load.db().daemon().last_error();
    let closed = load.db().clone().close();
    if let Some(error) = told {
        say(&format!("told {}: {error}", kind(&error)));
    }
    match closed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("unclosed {}: {error}", kind(&error)));
            ExitCode::from(3)
        }
    }
}
