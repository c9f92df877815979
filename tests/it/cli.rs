//! The program: what it prints, its exit codes, its error sentences; and in [`kill`] what is left
//! of a load that was killed.

mod bench;
mod escapes;
mod failures;
mod kill;
mod pictures;
mod queries;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

/// A folder for a database that is not there yet.
struct Folder {
    _parent: tempfile::TempDir,
    db: PathBuf,
}

impl Folder {
    fn new() -> Folder {
        let parent = tempfile::tempdir().unwrap();
        let db = parent.path().join("db");
        Folder { _parent: parent, db }
    }

    /// One with the rows of `lines`.
    fn loaded(lines: &[u8]) -> Folder {
        let folder = Folder::new();
        folder.load(lines);
        folder
    }

    fn load(&self, lines: &[u8]) {
        let loaded = self.run_with(&["load", "DB"], lines);
        assert!(loaded.status.success(), "{}", error_of(&loaded));
    }

    /// Runs the program; the argument `DB` stands for the folder.
    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, b"")
    }

    fn run_bytes(&self, arguments: &[&[u8]]) -> Output {
        output_of(self.command(arguments.iter().map(|bytes| OsStr::from_bytes(bytes))), b"")
    }

    /// Runs the program with an input, which is written while the output is read.
    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        output_of(self.command(arguments.iter().map(OsStr::new)), input)
    }

    fn command<'a>(&self, arguments: impl Iterator<Item = &'a OsStr>) -> Command {
        let mut command = program();
        command.args(arguments.map(|word| if word == "DB" { self.db.as_os_str() } else { word }));
        command.args(["--cache-mib", "8"]);
        command
    }

    /// Standard output of a run that must succeed without a word on standard error.
    fn printed(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        assert_eq!((output.status.code(), error_of(&output).as_str()), (Some(0), ""));
        output.stdout
    }

    /// Exit code and sentence of a run that must fail and print nothing else.
    fn failure(&self, arguments: &[&str]) -> (i32, String) {
        failure_of(&self.run(arguments))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.db.join(name)
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sapwood"))
}

fn output_of(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // A program that fails early does not read all of it.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    })
}

fn error_of(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The exit code, and the sentence without `sapwood: `; checks that it is one line.
fn failure_of(output: &Output) -> (i32, String) {
    let error = error_of(output);
    let sentence = error.strip_prefix("sapwood: ").and_then(|rest| rest.strip_suffix('\n'));
    let sentence = sentence.unwrap_or_else(|| panic!("no sentence: {error:?}"));
    assert!(!sentence.contains('\n'), "more than one line: {sentence}");
    (output.status.code().unwrap(), sentence.to_owned())
}

/// The file of a database that holds everything but the log.
fn block_file(db: &Path) -> PathBuf {
    db.join("sapwood.db")
}
