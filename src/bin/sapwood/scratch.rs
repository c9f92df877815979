//! A temporary folder for the length of a command, removed also after a failure.

use std::path::Path;

use crate::failure::Failure;

/// Does `work` in a new folder below `parent`.
pub fn within<T>(
    parent: &Path,
    prefix: &str,
    work: impl FnOnce(&Path) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(parent)
        .map_err(|error| Failure::other(format!("a temporary folder cannot be made: {error}")))?;
    let done = work(folder.path());
    let removed = folder.close();
    let done = done?;
    removed.map_err(|error| {
        Failure::other(format!("the temporary folder cannot be removed: {error}"))
    })?;
    Ok(done)
}
