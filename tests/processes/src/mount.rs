//! File systems of our own, where the system lets us have them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, Skipped};

/// A mounted file system; unmounted when dropped.
pub struct Mount {
    folder: PathBuf,
}

/// Runs a program of the system; its own words when it is not there or fails.
pub fn run(program: &str, arguments: &[&str]) -> Outcome<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| Skipped(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Skipped(format!("{program} {}: {}", arguments.join(" "), words.trim())))
}

impl Mount {
    /// An empty file system in memory, of so many bytes.
    pub fn tmpfs(folder: &Path, bytes: u64) -> Outcome<Mount> {
        let size = format!("size={bytes}");
        run("mount", &["-t", "tmpfs", "-o", &size, "none", text(folder)])?;
        Ok(Mount { folder: folder.to_owned() })
    }

    /// The file system in an image.
    pub fn image(image: &Path, folder: &Path) -> Outcome<Mount> {
        run("mount", &["-o", "loop", text(image), text(folder)])?;
        Ok(Mount { folder: folder.to_owned() })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Another size from now on.
    pub fn resize(&self, bytes: u64) {
        let size = format!("remount,size={bytes}");
        run("mount", &["-o", &size, text(&self.folder)]).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that was just killed may still hold it for a moment.
        for _ in 0..200 {
            if run("umount", &[text(&self.folder)]).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// A path that we have made ourselves.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}
