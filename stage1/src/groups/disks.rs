//! The disks behind directories.
//!
//! Responsible for: numbers of whole block devices, as the kernel wants them in limits. Must not know: limits. Follows
//! sysfs, /sys/dev/block; /proc/PID/mountinfo for file systems with device numbers of their own, such as btrfs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

/// `MAJOR:MINOR` of each disk that one of the paths is on. What is on no disk of this host has none.
pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    paths.into_iter().filter_map(|path| disk(fs::metadata(path).ok()?.dev(), &mounts)).collect()
}

fn disk(device: u64, mounts: &str) -> Option<String> {
    let number = |device| format!("{}:{}", major(device), minor(device));
    let own = number(device);
    let own = if major(device) == 0 {
        number(fs::metadata(source(mounts, &own)?).ok().filter(|source| source.rdev() != 0)?.rdev())
    } else {
        own
    };
    let sys = fs::canonicalize(format!("/sys/dev/block/{own}")).ok()?;
    let whole = if sys.join("partition").exists() { sys.parent()?.to_owned() } else { sys };
    Some(fs::read_to_string(whole.join("dev")).ok()?.trim().to_owned())
}

/// What is mounted with this number.
fn source<'a>(mounts: &'a str, number: &str) -> Option<&'a str> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(number))?;
    line.split_once(" - ")?.1.split(' ').nth(1)
}
