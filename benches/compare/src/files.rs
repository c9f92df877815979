//! The folders of the stores.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, syncfs};

use crate::Result;

/// Bytes that the files below `folder` take on disk; files that vanish meanwhile take none.
pub fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in files(folder)? {
        // st_blocks counts 512 bytes each, whatever the file system's own unit is.
        bytes += unless_gone(fs::metadata(path))?.map_or(0, |file| file.blocks() * 512);
    }
    Ok(bytes)
}

/// The result, or `None` where a file or folder was not there any more.
fn unless_gone<T>(result: std::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the kernel forget what it has cached of the files below `folder`.
pub fn drop_kernel_cache(folder: &Path) -> Result<()> {
    for path in files(folder)? {
        let file = File::open(path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Waits until nothing of the file system of `folder` is left to be written, so that what one
/// engine left behind is not written while the next is measured.
pub fn settle(folder: &Path) -> Result<()> {
    Ok(syncfs(File::open(folder)?)?)
}

pub fn remove(folder: &Path) -> Result<()> {
    unless_gone(fs::remove_dir_all(folder)).map(|_| ())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Some(entries) = unless_gone(fs::read_dir(folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            let Some(kind) = unless_gone(entry.file_type())? else { continue };
            match kind.is_dir() {
                true => folders.push(entry.path()),
                false if kind.is_file() => files.push(entry.path()),
                false => {}
            }
        }
    }
    Ok(files)
}
