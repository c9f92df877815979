//! One thing that happens to the files of a database, and all the things that can.

use std::fmt;

use crate::files::{BLOCK, BLOCK_FILE, Files};
use crate::specimen::Specimen;

/// What happens; a file is meant by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    Nothing,
    Flip {
        file: String,
        offset: usize,
        bit: u32,
    },
    Set {
        file: String,
        offset: usize,
        byte: u8,
    },
    Cut {
        file: String,
        length: usize,
    },
    /// Bytes behind the end that nobody wrote.
    Grow {
        file: String,
        byte: u8,
    },
    Zero {
        file: String,
        offset: usize,
        length: usize,
    },
    Copy {
        file: String,
        from: usize,
        to: usize,
        length: usize,
    },
    Swap {
        file: String,
        one: usize,
        other: usize,
        length: usize,
    },
    Remove {
        file: String,
    },
    Rename {
        file: String,
        to: String,
    },
    Exchange {
        file: String,
        other: String,
    },
    /// A write that never came: a block as it was at an earlier moment.
    StaleBlock {
        offset: usize,
        moment: usize,
    },
    /// A whole file as it was at an earlier moment.
    StaleFile {
        file: String,
        moment: usize,
    },
    /// All files but the block file are those of an earlier moment, or the other way round.
    StaleLog {
        moment: usize,
    },
    StaleBlockFile {
        moment: usize,
    },
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Harm::Nothing => write!(f, "nothing"),
            Harm::Flip { file, offset, bit } => write!(f, "flip {file} {offset}.{bit}"),
            Harm::Set { file, offset, byte } => write!(f, "set {file} {offset} {byte}"),
            Harm::Cut { file, length } => write!(f, "cut {file} {length}"),
            Harm::Grow { file, byte } => write!(f, "grow {file} {byte}"),
            Harm::Zero { file, offset, length } => write!(f, "zero {file} {offset}+{length}"),
            Harm::Copy { file, from, to, length } => {
                write!(f, "copy {file} {from} {to}+{length}")
            }
            Harm::Swap { file, one, other, length } => {
                write!(f, "swap {file} {one} {other}+{length}")
            }
            Harm::Remove { file } => write!(f, "remove {file}"),
            Harm::Rename { file, to } => write!(f, "rename {file} {to}"),
            Harm::Exchange { file, other } => write!(f, "exchange {file} {other}"),
            Harm::StaleBlock { offset, moment } => write!(f, "stale block {offset} of {moment}"),
            Harm::StaleFile { file, moment } => write!(f, "stale {file} of {moment}"),
            Harm::StaleLog { moment } => write!(f, "stale log of {moment}"),
            Harm::StaleBlockFile { moment } => write!(f, "stale block file of {moment}"),
        }
    }
}

/// Which states may be read after a harm, where no error tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legal {
    /// The newest alone.
    Newest,
    /// With the end of the log goes the mark that tells how far it was durable: the newest, or an
    /// earlier one that is no older than the last checkpoint.
    SinceCheckpoint,
    /// Any that ever was, as a whole.
    Any,
}

impl Harm {
    /// The files after it.
    pub fn apply(&self, specimen: &Specimen) -> Files {
        let mut files = specimen.files.clone();
        match self {
            Harm::Nothing => {}
            Harm::Flip { file, offset, bit } => files.bytes_mut(file)[*offset] ^= 1 << bit,
            Harm::Set { file, offset, byte } => files.bytes_mut(file)[*offset] = *byte,
            Harm::Cut { file, length } => files.bytes_mut(file).truncate(*length),
            Harm::Grow { file, byte } => files.bytes_mut(file).extend([*byte; BLOCK + 8]),
            Harm::Zero { file, offset, length } => {
                files.bytes_mut(file)[*offset..][..*length].fill(0);
            }
            Harm::Copy { file, from, to, length } => {
                files.bytes_mut(file).copy_within(*from..from + length, *to);
            }
            Harm::Swap { file, one, other, length } => {
                let (low, high) = files.bytes_mut(file).split_at_mut(*other);
                low[*one..one + length].swap_with_slice(&mut high[..*length]);
            }
            Harm::Remove { file } => drop(files.0.remove(file)),
            Harm::Rename { file, to } => {
                let bytes = files.0.remove(file).unwrap();
                files.0.insert(to.clone(), bytes);
            }
            Harm::Exchange { file, other } => {
                let (one, two) = (files.0[file].clone(), files.0[other].clone());
                files.0.insert(file.clone(), two);
                files.0.insert(other.clone(), one);
            }
            Harm::StaleBlock { offset, moment } => {
                let old = &specimen.moments[*moment].1.bytes(BLOCK_FILE)[*offset..][..BLOCK];
                files.bytes_mut(BLOCK_FILE)[*offset..][..BLOCK].copy_from_slice(old);
            }
            Harm::StaleFile { file, moment } => {
                let old = specimen.moments[*moment].1.bytes(file).to_vec();
                files.0.insert(file.clone(), old);
            }
            Harm::StaleLog { moment } => {
                let mut old = specimen.moments[*moment].1.clone();
                old.0.insert(BLOCK_FILE.to_owned(), files.bytes(BLOCK_FILE).to_vec());
                files = old;
            }
            Harm::StaleBlockFile { moment } => {
                let old = specimen.moments[*moment].1.bytes(BLOCK_FILE).to_vec();
                files.0.insert(BLOCK_FILE.to_owned(), old);
            }
        }
        files
    }

    pub fn legal(&self) -> Legal {
        match self {
            Harm::Nothing
            | Harm::Flip { .. }
            | Harm::Set { .. }
            | Harm::Grow { .. }
            | Harm::StaleBlock { .. } => Legal::Newest,
            Harm::Cut { .. }
            | Harm::Zero { .. }
            | Harm::Copy { .. }
            | Harm::Swap { .. }
            | Harm::Remove { .. }
            | Harm::Rename { .. }
            | Harm::Exchange { .. } => Legal::SinceCheckpoint,
            Harm::StaleFile { .. } | Harm::StaleLog { .. } | Harm::StaleBlockFile { .. } => {
                Legal::Any
            }
        }
    }

    /// Whether there is no block file after it, or none with more than a superblock.
    pub fn takes_the_block_file(&self, specimen: &Specimen) -> bool {
        match self {
            Harm::Remove { file } => file == BLOCK_FILE,
            Harm::Rename { file, to } => {
                file == BLOCK_FILE || to == BLOCK_FILE && specimen.files.bytes(file).is_empty()
            }
            Harm::Exchange { file, other } => {
                file == BLOCK_FILE && specimen.files.bytes(other).is_empty()
            }
            Harm::Cut { file, length } => file == BLOCK_FILE && *length <= BLOCK,
            _ => false,
        }
    }
}

/// Every bit of every file.
pub fn flips(specimen: &Specimen) -> impl Iterator<Item = Harm> {
    places(specimen).flat_map(|(file, offset)| {
        (0..8).map(move |bit| Harm::Flip { file: file.to_owned(), offset, bit })
    })
}

/// Every byte of every file: to none, to all ones, and one more than it was.
pub fn bytes(specimen: &Specimen) -> impl Iterator<Item = Harm> {
    places(specimen).flat_map(|(file, offset)| {
        let was = specimen.files.bytes(file)[offset];
        let others = [0, 0xff, was.wrapping_add(1)].into_iter().filter(move |byte| *byte != was);
        others.map(move |byte| Harm::Set { file: file.to_owned(), offset, byte })
    })
}

/// Every file at every length that is less than it has, and with more.
pub fn lengths(specimen: &Specimen) -> impl Iterator<Item = Harm> {
    let cuts = places(specimen).map(|(file, length)| Harm::Cut { file: file.to_owned(), length });
    let grown = specimen.files.names().flat_map(|file| {
        [0, 0xff, b's'].into_iter().map(|byte| Harm::Grow { file: file.to_owned(), byte })
    });
    grown.chain(cuts)
}

/// Every unit of this many bytes: zeroed, written where another one is, and exchanged with it.
pub fn units(specimen: &Specimen, length: usize) -> Vec<Harm> {
    let mut harms = Vec::new();
    for (name, bytes) in &specimen.files.0 {
        let (file, starts) = (name.clone(), (0..bytes.len() / length).map(|unit| unit * length));
        for here in starts.clone() {
            harms.push(Harm::Zero { file: file.clone(), offset: here, length });
            for there in starts.clone().filter(|there| *there != here) {
                harms.push(Harm::Copy { file: file.clone(), from: here, to: there, length });
                if here < there {
                    let (one, other) = (here, there);
                    harms.push(Harm::Swap { file: file.clone(), one, other, length });
                }
            }
        }
    }
    harms
}

/// Files that are gone, have another one's name, or are older than the others.
pub fn names(specimen: &Specimen) -> Vec<Harm> {
    let mut harms = Vec::new();
    let names: Vec<String> = specimen.files.names().map(str::to_owned).collect();
    for file in &names {
        harms.push(Harm::Remove { file: file.clone() });
        for to in ["wal-0000000001", "wal-0000000090", "wal-1", "notes.txt", "sapwood.db.old"] {
            harms.push(Harm::Rename { file: file.clone(), to: to.to_owned() });
        }
        for other in names.iter().filter(|other| file < *other) {
            harms.push(Harm::Exchange { file: file.clone(), other: other.clone() });
            harms.push(Harm::Rename { file: file.clone(), to: other.clone() });
            harms.push(Harm::Rename { file: other.clone(), to: file.clone() });
        }
    }
    harms
}

/// Old copies: of each block, of each file, of the log, of the block file.
pub fn copies(specimen: &Specimen) -> Vec<Harm> {
    let mut harms = Vec::new();
    let now = specimen.files.bytes(BLOCK_FILE);
    for (moment, (_, files)) in specimen.moments.iter().enumerate() {
        harms.extend([Harm::StaleLog { moment }, Harm::StaleBlockFile { moment }]);
        for file in files.logs().map(str::to_owned) {
            harms.push(Harm::StaleFile { file, moment });
        }
        let common = now.len().min(files.bytes(BLOCK_FILE).len()) / BLOCK;
        let changed = (0..common).map(|block| block * BLOCK).filter(|offset| {
            now[*offset..][..BLOCK] != files.bytes(BLOCK_FILE)[*offset..][..BLOCK]
        });
        harms.extend(changed.map(|offset| Harm::StaleBlock { offset, moment }));
    }
    harms
}

fn places(specimen: &Specimen) -> impl Iterator<Item = (&str, usize)> {
    let files = specimen.files.0.iter();
    files.flat_map(|(name, bytes)| (0..bytes.len()).map(move |offset| (name.as_str(), offset)))
}
