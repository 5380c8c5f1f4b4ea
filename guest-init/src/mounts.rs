//! The file systems of PID 1 itself, and the share with the host.
//!
//! Responsible for: what exists before any app does. Must not know: what an app sees of it (`app::root` decides that).
//! Follows mount(2), pivot_root(2) and the kernel's Documentation/filesystems/virtiofs.rst.

use std::ffi::CStr;

use guest_api::SHARE_TAG;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::InitError;
use crate::app::cgroup;

/// Where the share of the host is mounted in PID 1's namespace.
pub const SHARE: &str = "/run/share";

/// Where an app's root is put together before the app moves into it; a directory of the initramfs.
pub const NEW_ROOT: &str = "/newroot";

/// Generated files wait here to be bound into apps.
pub const GENERATED_FILES: &str = "/run/files";

/// Apps' sockets for notifications wait here to be bound into them.
pub const NOTIFY_SOCKETS: &str = "/run/notify";

/// A directory and a file that nobody may do anything with; they are mounted over what apps must not see.
pub const NOTHING_DIRECTORY: &str = "/run/nothing/directory";
/// See [`NOTHING_DIRECTORY`].
pub const NOTHING_FILE: &str = "/run/nothing/file";

/// The root of the control groups.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// One control group per app below it.
pub const APP_CGROUPS: &str = "/sys/fs/cgroup/apps";

/// Puts a mount over the initial RAM file system. pivot_root(2) refuses to replace the initial one, and with a mount in
/// between, every app can leave this tree for its own by one pivot_root, with nothing left to climb back to.
pub fn leave_initial_root() -> Result<(), InitError> {
    let doing = "move off the initial root";
    rustix::mount::mount_bind("/", NEW_ROOT).map_err(InitError::kernel(doing))?;
    rustix::process::chdir(NEW_ROOT).map_err(InitError::kernel(doing))?;
    rustix::mount::mount_move(".", "/").map_err(InitError::kernel(doing))?;
    rustix::process::chroot(".").map_err(InitError::kernel(doing))
}

/// Mounts the kernel's own file systems.
pub fn mount_kernel_file_systems() -> Result<(), InitError> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", quiet, None)?;
    mount("sysfs", "/sys", quiet, None)?;
    mount("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"mode=0755"))?;
    make_directory("/dev/pts")?;
    // Group 5 is `tty` in every distribution; grantpt(3) expects terminals to belong to it.
    mount(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"gid=5,mode=620,ptmxmode=666"),
    )?;
    make_directory("/dev/shm")?;
    mount("tmpfs", "/dev/shm", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=1777"))?;
    mount("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))?;
    make_directory(GENERATED_FILES)?;
    make_directory(NOTIFY_SOCKETS)?;
    make_nothing().map_err(InitError::kernel("make what hides paths from apps"))?;
    mount("cgroup2", CGROUPS, quiet, None)?;
    make_directory(APP_CGROUPS)?;
    cgroup::enable_controllers()
}

/// How far the kernel reads ahead in a file that is read from front to back, and around a place of a mapped one.
const READ_AHEAD_KIB: &str = "512";

/// Mounts the one file system shared with the host. Device nodes and set-user-ID bits in images count, as in rkt: the VM
/// is the wall, not the mount.
pub fn mount_share() -> Result<(), InitError> {
    make_directory(SHARE)?;
    rustix::mount::mount(SHARE_TAG, SHARE, "virtiofs", MountFlags::empty(), None)
        .map_err(InitError::kernel("mount the file system shared with the host"))?;
    // Without it, large files are read all the same.
    let _ = read_ahead_far();
    Ok(())
}

/// A request costs as much as copying some hundred kilobytes, so that the kernel's 128 KiB are too little.
fn read_ahead_far() -> std::io::Result<()> {
    let device = rustix::fs::stat(SHARE)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KIB)
}

/// Writes everything back and lets go of the share. Only useful when no app is left.
pub fn unmount_share() -> Result<(), InitError> {
    rustix::fs::sync();
    match rustix::mount::unmount(SHARE, UnmountFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        // An app's mount namespace may still be on its way out; everything was written back by sync.
        Err(Errno::BUSY) => rustix::mount::unmount(SHARE, UnmountFlags::DETACH)
            .map_err(InitError::kernel("unmount the file system shared with the host")),
        Err(error) => Err(InitError::kernel("unmount the file system shared with the host")(error)),
    }
}

/// Lets go of the parts of the share that no app needs any more: what was written is written back, and the host may put
/// something else under their names.
pub fn release_unused() -> Result<(), InitError> {
    let refreshed = || {
        let share =
            rustix::fs::open(SHARE, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::syncfs(share)?;
        // The kernel remembers names for as long as the host has told it that they are good, which may be for ever. A
        // remount forgets those that nobody uses.
        rustix::mount::mount_remount(SHARE, MountFlags::empty(), "")
    };
    refreshed().map_err(InitError::kernel("refresh the file system shared with the host"))
}

fn make_nothing() -> std::io::Result<()> {
    std::fs::create_dir_all(NOTHING_DIRECTORY)?;
    std::fs::write(NOTHING_FILE, [])?;
    for path in [NOTHING_DIRECTORY, NOTHING_FILE] {
        rustix::fs::chmod(path, Mode::empty())?;
    }
    Ok(())
}

fn mount(kind: &str, target: &str, flags: MountFlags, data: Option<&CStr>) -> Result<(), InitError> {
    rustix::mount::mount(kind, target, kind, flags, data)
        .map_err(InitError::kernel(format!("mount {kind} on {target}")))
}

fn make_directory(path: &str) -> Result<(), InitError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(InitError::kernel(format!("create {path}"))(error)),
    }
}
