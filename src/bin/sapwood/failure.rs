//! How a command ends: exit codes, and failures with the one sentence that is told.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A key, tree or row is not there, or differs from what it should be.
    Absent = 1,
    /// The command line or the input cannot be understood.
    Usage = 2,
    /// Bytes of the database break a rule of the format.
    Corruption = 3,
    Other = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command has stopped.
#[derive(Debug)]
pub enum Failure {
    /// Whoever read the output has gone, as `head` does. That is no error of anybody.
    ReaderGone,
    Told {
        exit: Exit,
        sentence: String,
    },
}

impl Failure {
    pub fn absent(sentence: impl Into<String>) -> Failure {
        Failure::Told { exit: Exit::Absent, sentence: sentence.into() }
    }

    pub fn usage(sentence: impl Into<String>) -> Failure {
        Failure::Told { exit: Exit::Usage, sentence: sentence.into() }
    }

    pub fn other(sentence: impl Into<String>) -> Failure {
        Failure::Told { exit: Exit::Other, sentence: sentence.into() }
    }

    /// What a failed write to standard output means.
    #[expect(clippy::needless_pass_by_value, reason = "it is used in map_err")]
    pub fn output(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::ReaderGone;
        }
        Failure::other(format!("the output cannot be written: {error}"))
    }

    /// The same failure with a clause at its end.
    pub fn and(self, clause: impl fmt::Display) -> Failure {
        match self {
            Failure::ReaderGone => Failure::ReaderGone,
            Failure::Told { exit, sentence } => {
                Failure::Told { exit, sentence: format!("{sentence}; {clause}") }
            }
        }
    }

    /// The same failure with the place at its start.
    pub fn at(self, place: impl fmt::Display) -> Failure {
        match self {
            Failure::ReaderGone => Failure::ReaderGone,
            Failure::Told { exit, sentence } => {
                Failure::Told { exit, sentence: format!("{place}: {sentence}") }
            }
        }
    }

    /// Tells it on standard error; returns the exit code.
    pub fn tell(self) -> Exit {
        match self {
            Failure::ReaderGone => Exit::Done,
            Failure::Told { exit, sentence } => {
                eprintln!("sapwood: {sentence}");
                exit
            }
        }
    }
}

impl From<sapwood::Error> for Failure {
    fn from(error: sapwood::Error) -> Failure {
        let exit = if error.is_corruption() { Exit::Corruption } else { Exit::Other };
        Failure::Told { exit, sentence: error.to_string() }
    }
}
