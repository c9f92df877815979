//! The folders of the stores.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, syncfs};

use crate::Result;

/// Bytes that the files below `folder` take on disk.
pub fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in files(folder)? {
        // st_blocks counts 512 bytes each, whatever the file system's own unit is.
        bytes += fs::metadata(path)?.blocks() * 512;
    }
    Ok(bytes)
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
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            match kind.is_dir() {
                true => folders.push(entry.path()),
                false if kind.is_file() => files.push(entry.path()),
                false => {}
            }
        }
    }
    Ok(files)
}
