//! The arguments: the list of subcommands, and what several of them share.
//!
//! Keys, values and names of trees are given in the escapes of [`crate::escape`]; they are kept as
//! they came, because any bytes may be in them, and decoded by the subcommand.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use sapwood::{Config, Database, Tree};

use crate::escape;
use crate::failure::{Exit, Failure};

/// An embedded, ordered, write-optimized key-value store: a B-epsilon-tree (fractal tree).
///
/// Keys and values may hold any bytes. In arguments, files and output, a tab is written \t, a
/// newline \n and a backslash \\; all other bytes stand for themselves.
///
/// Exit codes: 0 done, 1 not found or differing, 2 usage, 3 corruption, 4 other errors.
#[derive(Parser)]
#[command(name = "sapwood", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    Load(crate::load::Load),
    Get(crate::get::Get),
    Put(crate::put::Put),
    Delete(crate::delete::Delete),
    Scan(crate::scan::Scan),
    Trees(crate::trees::Trees),
    Stats(crate::stats::Stats),
    Verify(crate::verify::Verify),
    Checkpoint(crate::checkpoint::Checkpoint),
    Copy(crate::copy::Copy),
    Salvage(crate::salvage::Salvage),
    Dump(crate::dump::Dump),
    Draw(crate::draw::Draw),
    Bench(crate::bench::Bench),
    Demo(crate::demo::Demo),
}

/// Reads the command line of this process.
pub fn parse() -> Result<Command, HelpOrUsage> {
    Line::try_parse().map(|line| line.command).map_err(HelpOrUsage)
}

/// What is shown instead of running a command: help that was asked for, or what is wrong.
pub struct HelpOrUsage(clap::Error);

impl HelpOrUsage {
    /// Help goes to standard output; a mistake becomes one sentence like every other failure.
    pub fn show(self) -> Result<Exit, Failure> {
        match self.0.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                self.0.print().map_err(Failure::output)?;
                Ok(Exit::Done)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Failure::usage("a subcommand is missing; see 'sapwood --help'"))
            }
            _ => Err(Failure::usage(first_paragraph(&self.0.to_string()))),
        }
    }
}

fn first_paragraph(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let joined = lines.collect::<Vec<_>>().join(" ");
    let sentence = joined.strip_prefix("error: ").unwrap_or(&joined);
    format!("{sentence}; see 'sapwood --help'")
}

/// Which database, and how much memory it may take.
#[derive(Args)]
pub struct Place {
    /// The database's folder
    pub db: PathBuf,

    #[command(flatten)]
    pub cache: Cache,
}

#[derive(Args)]
pub struct Cache {
    /// The memory budget in MiB, at least 8 [default: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(8..=1 << 30))]
    pub cache_mib: Option<u64>,
}

impl Place {
    /// Opens the database, and makes it when there is none.
    pub fn open_or_create(&self) -> Result<Database, Failure> {
        Ok(self.config().open()?)
    }

    /// Opens the database; a failure when there is none, which leaves nothing behind.
    pub fn open(&self) -> Result<Database, Failure> {
        if !self.db.exists() {
            let folder = self.db.display();
            return Err(Failure::other(format!("there is no database {folder}")));
        }
        Ok(self.config().existing().open()?)
    }

    fn config(&self) -> Config {
        // A command is over soon: what it leaves waiting is for the program that lives longer.
        let config = Config::new(&self.db).idle_share(0);
        match self.cache.cache_mib {
            Some(mib) => config.cache_mib(mib),
            None => config,
        }
    }

    /// The budget in bytes.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.cache_mib.unwrap_or(128) << 20
    }
}

/// Which tree.
#[derive(Args)]
pub struct TreeName {
    /// The tree
    #[arg(long = "tree", value_name = "T", default_value = "default", allow_hyphen_values = true)]
    name: OsString,
}

impl TreeName {
    /// The tree; a failure with exit code 1 when there is none.
    pub fn find(&self, db: &Database) -> Result<Tree, Failure> {
        let name = self.decode()?;
        if !db.tree_names().contains(&name) {
            return Err(Failure::absent(format!("there is no tree named {name:?}")));
        }
        Ok(db.existing_tree(&name)?)
    }

    /// The tree, created when absent.
    pub fn find_or_create(&self, db: &Database) -> Result<Tree, Failure> {
        Ok(db.tree(&self.decode()?)?)
    }

    fn decode(&self) -> Result<String, Failure> {
        let name = argument("--tree", &self.name)?;
        String::from_utf8(name).map_err(|_| Failure::usage("the tree's name is not UTF-8"))
    }
}

/// Decodes an argument; the failure names it and the column.
pub fn argument(what: &str, given: &OsString) -> Result<Vec<u8>, Failure> {
    match escape::decode(given.as_bytes()) {
        Ok(bytes) => Ok(bytes.into_owned()),
        Err(broken) => Err(Failure::usage(format!("{what}, column {}: {broken}", broken.column))),
    }
}
