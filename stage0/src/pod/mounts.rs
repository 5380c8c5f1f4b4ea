//! Mounts below a pod's directory.
//!
//! Responsible for: finding and undoing them. Must not know: who made them. Follows proc(5), `mountinfo`, and
//! rkt-reference.md 2.7.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::{FileContext, Result};
use crate::fault;

/// File systems shut down at the same time, each by a thread of its own.
const MAX_DETACHED: usize = 32;

/// The mount points of this process's mount namespace, in the order they were mounted.
#[derive(Debug, Default)]
pub struct MountTable {
    points: Vec<PathBuf>,
}

impl MountTable {
    /// Reads the table as it is now.
    pub fn read() -> Result<Self> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read(path).file("read", path)?;
        Ok(Self::parse(&text))
    }

    /// Parses the fifth field of each line.
    pub fn parse(text: &[u8]) -> Self {
        let points = text
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
            .map(unescape)
            .collect();
        MountTable { points }
    }

    /// Whether something is mounted exactly here.
    pub fn contains(&self, point: &Path) -> bool {
        self.points.iter().any(|other| other.as_os_str() == point.as_os_str())
    }

    /// The mount points at or below `directory`, last mounted first. A thousand pods have thousands of mounts, and `gc` asks
    /// for each pod, so bytes are compared before components are (`cargo xtask bench list`).
    pub fn below(&self, directory: &Path) -> impl Iterator<Item = &PathBuf> {
        let prefix = directory.as_os_str().as_bytes();
        let may_be_below = move |point: &&PathBuf| point.as_os_str().as_bytes().starts_with(prefix);
        self.points.iter().rev().filter(may_be_below).filter(move |point| point.starts_with(directory))
    }
}

/// Takes mounts out of the tree at once, and shuts their file systems down side by side.
///
/// Shutting an overlay down waits for the disk (the kernel syncs the whole file system below it) and for the kernel's
/// own grace periods, 7 to 90 ms a mount, and many can wait for the same. So the file systems are kept alive, detached,
/// until enough of them have come together. A killed process closes its descriptors too: nothing depends on how this
/// ends.
#[derive(Debug, Default)]
pub struct Unmounter {
    detached: Vec<OwnedFd>,
}

impl Unmounter {
    /// Unmounts everything the table knows at or below `directory`.
    pub fn unmount_below(&mut self, table: &MountTable, directory: &Path) -> Result<()> {
        for point in table.below(directory) {
            self.unmount(point)?;
        }
        Ok(())
    }

    /// Unmounts one mount point; one that is not mounted (any more) is no error. What is busy vanishes when its last
    /// user does.
    pub fn unmount(&mut self, point: &Path) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(point, flags, Mode::empty());
        match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            Ok(()) => {
                fault::point("delete.mount.detached");
                self.detached.extend(root.ok());
            }
            Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error).file("unmount", point),
        }
        if self.detached.len() >= MAX_DETACHED {
            self.shut_down();
        }
        Ok(())
    }

    fn shut_down(&mut self) {
        std::thread::scope(|scope| {
            for root in self.detached.drain(..) {
                // Without another thread it is closed here and now, when the closure is dropped.
                drop(std::thread::Builder::new().spawn_scoped(scope, move || drop(root)));
            }
        });
    }
}

impl Drop for Unmounter {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = (*byte == b'\\').then(|| tail.get(..3).and_then(octal)).flatten();
        match escaped {
            Some(value) => {
                bytes.push(value);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw - ext4 /dev/root rw\n\
        60 22 0:50 / /pods/run/u/stage1/rootfs rw - overlay overlay rw\n\
        61 60 0:51 / /pods/run/u/stage1/rootfs/opt/stage2/a\\040b/rootfs rw - overlay overlay rw\n\
        62 22 0:52 / /pods/run/ux rw - tmpfs none rw\n";

    #[test]
    fn mounts_below_a_pod_are_found_deepest_first_and_those_of_its_neighbours_are_not() {
        let table = MountTable::parse(TABLE);

        let below: Vec<_> =
            table.below(Path::new("/pods/run/u")).map(|point| point.to_str().unwrap()).collect();

        assert_eq!(below, ["/pods/run/u/stage1/rootfs/opt/stage2/a b/rootfs", "/pods/run/u/stage1/rootfs"]);
    }

    #[test]
    fn a_mount_point_is_compared_as_a_whole() {
        let table = MountTable::parse(TABLE);

        assert!(table.contains(Path::new("/pods/run/u/stage1/rootfs")));
        assert!(!table.contains(Path::new("/pods/run/u/stage1")));
    }
}
