//! A memory limit for a child, the kernel's file cache included, by a control group.
//!
//! ```text
//! the group of this process, or --cgroup-parent
//!    `- sapwood-compare-PID      made by the parent, limited, entered by each child, removed at
//!    the end
//! ```
//!
//! Versions 1 and 2 of control groups; where neither lets us, there is no limit and the report says
//! why.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::Result;

/// A group made for this comparison; removed when dropped.
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes a group limited to `bytes` below `parent`, or below the group of this process.
    pub fn new(parent: Option<&Path>, bytes: u64) -> Result<Group> {
        let parent = match parent {
            Some(parent) => parent.to_owned(),
            None => own_group()?,
        };
        let folder = parent.join(format!("sapwood-compare-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| explain(&folder, &error))?;
        let group = Group { folder };
        group.limit(bytes)?;
        Ok(group)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn limit(&self, bytes: u64) -> Result<()> {
        let names = ["memory.max", "memory.limit_in_bytes"];
        let files = names.map(|name| self.folder.join(name));
        let Some(file) = files.iter().find(|file| file.exists()) else {
            return Err(format!("{} has no memory controller", self.folder.display()).into());
        };
        fs::write(file, bytes.to_string()).map_err(|error| explain(file, &error))?;
        // Without this the kernel may swap instead; it is absent where swap is not counted.
        fs::write(self.folder.join("memory.swap.max"), "0").ok();
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group is busy for a moment after its last process has ended.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        eprintln!("compare: {} could not be removed", self.folder.display());
    }
}

/// Puts this process into a group.
pub fn enter(group: &Path) -> Result<()> {
    let file = group.join("cgroup.procs");
    Ok(fs::write(&file, "0").map_err(|error| explain(&file, &error))?)
}

fn explain(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

fn own_group() -> Result<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let found = find(&groups, &mounts);
    found.ok_or_else(|| "this process is in no memory control group".into())
}

/// The folder of this process's memory group, of version 1 where there is one, else of version 2.
fn find(groups: &str, mounts: &str) -> Option<PathBuf> {
    let group_of = |wanted: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|controller| controller == wanted).then_some(path)
        })
    };
    let mount_of = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let (place, system) = line.split_once(" - ")?;
            let mut system = system.split(' ');
            let is_kind = system.next() == Some(kind);
            let has_option = system.nth(1)?.split(',').any(|known| known == option);
            let mut place = place.split(' ').skip(3);
            let (root, point) = (place.next()?, place.next()?);
            (is_kind && (option.is_empty() || has_option)).then_some((root, point))
        })
    };
    let first = group_of("memory").zip(mount_of("cgroup", "memory"));
    let second = || group_of("").zip(mount_of("cgroup2", ""));
    let (path, (root, point)) = first.or_else(second)?;
    let below = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    Some(Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn the_first_version_is_found_by_its_controller() {
        let found = find("4:memory:/user/one\n0::/\n", MOUNTS);
        assert_eq!(found, Some("/sys/fs/cgroup/memory/user/one".into()));
    }

    #[test]
    fn the_second_version_is_found_below_its_mounted_root() {
        let mounts = "29 23 0:26 /user /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = find("0::/user/one\n", mounts);
        assert_eq!(found, Some("/sys/fs/cgroup/one".into()));
        assert_eq!(find("0::/user\n", ""), None);
    }

    #[test]
    fn a_folder_without_a_controller_is_refused_and_removed() {
        let parent = std::env::temp_dir().join(format!("sapwood-cgroup-{}", std::process::id()));
        fs::create_dir_all(&parent).unwrap();
        assert!(Group::new(Some(&parent), 1 << 20).is_err());
        assert!(fs::remove_dir(&parent).is_ok(), "a group was left behind");
    }
}
