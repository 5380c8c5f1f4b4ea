//! Paths of /proc and /sys that are no app's business.
//!
//! Responsible for: hiding some and write-protecting others, in the app's own mount name space. Must not know: whether an app
//! is protected at all. Follows rkt-reference 6.3, "Path protection". Its read-only paths below /sys need nothing: all of
//! /sys is read-only for apps.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::mount::{self, Reach};
use super::root_dir::RootDir;
use crate::InitError;
use crate::mounts::{NOTHING_DIRECTORY, NOTHING_FILE};

const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sysrq-trigger",
];

const HIDDEN_DIRECTORIES: [&str; 5] =
    ["/sys/firmware", "/sys/fs", "/sys/hypervisor", "/sys/module", "/sys/power"];

const HIDDEN_FILES: [&str; 6] =
    ["/proc/config.gz", "/proc/kallsyms", "/proc/sched_debug", "/proc/kcore", "/proc/kmem", "/proc/mem"];

/// What is mounted over hidden paths, one mount for each.
#[derive(Debug)]
pub struct Covers(Vec<(&'static str, OwnedFd)>);

impl Covers {
    /// Takes them while PID 1's tree is still in sight.
    pub fn collect() -> Result<Self, InitError> {
        let directories = HIDDEN_DIRECTORIES.map(|path| (path, NOTHING_DIRECTORY));
        let files = HIDDEN_FILES.map(|path| (path, NOTHING_FILE));
        let cover = |(path, nothing): (&'static str, &str)| {
            let cover = mount::copy(Path::new(nothing))?;
            mount::set_read_only(&cover, Reach::Mount)?;
            Ok::<_, Errno>((path, cover))
        };
        let covers = directories.into_iter().chain(files).map(cover).collect::<Result<_, _>>();
        covers.map(Self).map_err(InitError::kernel("copy what hides paths from apps"))
    }
}

/// Protects what there is of these paths. The calling process is in `root`, whose /proc and /sys are mounted.
pub fn protect(root: &RootDir, covers: &Covers) -> Result<(), InitError> {
    for path in READ_ONLY {
        over(root, path, || {
            let copy = mount::copy(Path::new(path))?;
            mount::set_read_only(&copy, Reach::Tree)?;
            Ok(copy)
        })?;
    }
    covers
        .0
        .iter()
        .try_for_each(|(path, cover)| over(root, path, || rustix::io::fcntl_dupfd_cloexec(cover, 0)))
}

fn over(root: &RootDir, path: &str, mount: impl FnOnce() -> Result<OwnedFd, Errno>) -> Result<(), InitError> {
    let attach = || match root.open_at(Path::new(path), OFlags::PATH) {
        Ok(target) => mount::attach(&mount()?, &target),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    };
    attach().map_err(InitError::kernel(format!("protect {path}")))
}
