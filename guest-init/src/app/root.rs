//! The file systems an app sees.
//!
//! Responsible for: moving the calling process into the app's root, with everything in it that rkt promises and no way
//! back to the share. Must not know: users, programs. Follows rkt-reference 6.3 and 6.5, pivot_root(2).
//!
//! Everything that comes from outside is copied as a detached mount first; then the process moves into the app's root,
//! and only there are targets resolved. A symbolic link in an image can therefore lead nowhere else.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use guest_api::{AppId, AppSpec, FileMount, MountSpec};
use nix::sched::CloneFlags;
use rustix::fs::{CWD, FileType, Mode, makedev, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};

use super::mount::{self, Reach};
use super::notify;
use super::protection::{self, Covers};
use super::root_dir::{Kind, RootDir};
use crate::InitError;
use crate::mounts::{GENERATED_FILES, NEW_ROOT, SHARE};

/// Device nodes every app has: name, major, minor (the kernel's Documentation/admin-guide/devices.txt).
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links every app has in its /dev. /dev/console is the app's own output: in rkt it is the pod's console, whose text
/// ends up on rkt's stdout, and so does what is written to this one. Images made for docker log to /dev/stdout.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("console", "/proc/self/fd/1"),
    ("ptmx", "pts/ptmx"),
];

const TUN: (&str, u32, u32) = ("net/tun", 10, 200);

/// Directories every app has, whatever its image holds.
const DIRECTORIES: [(&str, u32); 4] = [("/etc", 0o755), ("/run", 0o755), ("/tmp", 0o1777), ("/dev", 0o755)];

/// Removes what [`enter`] has generated for the app.
pub fn remove_generated_files(app: AppId) -> std::io::Result<()> {
    match std::fs::remove_dir_all(generated_files_of(app)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn generated_files_of(app: AppId) -> PathBuf {
    PathBuf::from(GENERATED_FILES).join(app.0.to_string())
}

/// Gives the calling process (one that has never had threads) a mount name space of its own, and returns it.
pub fn make_namespace() -> Result<OwnedFd, InitError> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)
        .map_err(InitError::kernel("give the app a mount namespace of its own"))?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(InitError::kernel("make the app's mounts its own"))?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty())
        .map_err(InitError::kernel("open the app's mount namespace"))
}

/// Moves the calling process into the root of an app that has one, and to its top.
pub fn join(namespace: &OwnedFd) -> Result<RootDir, InitError> {
    nix::sched::setns(namespace, CloneFlags::CLONE_NEWNS)
        .map_err(InitError::kernel("enter the app's mount namespace"))?;
    RootDir::open(Path::new("/")).map_err(InitError::kernel("open the app's root"))
}

/// Moves the calling process, which is in a name space of its own, into the app's root.
pub fn enter(app: &AppSpec) -> Result<RootDir, InitError> {
    let sources = Sources::collect(app)?;
    move_into(&sources.rootfs)?;
    let root = RootDir::open(Path::new("/")).map_err(InitError::kernel("open the app's root"))?;
    prepare_directories(&root)?;
    mount_devices(&root, &sources)?;
    mount_kernel_views(&root, app, &sources)?;
    if let Some(covers) = &sources.covers {
        protection::protect(&root, covers)?;
    }
    for (volume, source) in app.mounts.iter().zip(&sources.volumes) {
        attach_volume(&root, volume, source)?;
    }
    // Not a copy: a name that is changed later shows (rkt-reference 6.6).
    attach_own_file(&root, &sources.host_name, "/etc/hostname")?;
    for (file, source) in app.files.iter().zip(&sources.files) {
        attach_file(&root, file, source)?;
    }
    if let Some(socket) = &sources.notify {
        attach_at(&root, socket, notify::TARGET, Kind::File)?;
    }
    if app.read_only_rootfs {
        let here = root.open_at(Path::new("/"), rustix::fs::OFlags::PATH);
        here.and_then(|root| mount::set_read_only(root, Reach::Mount))
            .map_err(InitError::kernel("make the app's root file system read-only"))?;
    }
    Ok(root)
}

/// Detached mounts, taken while PID 1's tree is still in sight.
struct Sources {
    rootfs: OwnedFd,
    volumes: Vec<OwnedFd>,
    files: Vec<OwnedFd>,
    host_name: OwnedFd,
    sys: OwnedFd,
    pts: OwnedFd,
    shm: OwnedFd,
    covers: Option<Covers>,
    has_tun: bool,
    /// Where the app says that it has started.
    notify: Option<OwnedFd>,
}

impl Sources {
    fn collect(app: &AppSpec) -> Result<Self, InitError> {
        let copy = |path: &str| {
            mount::copy(Path::new(path)).map_err(InitError::kernel(format!("copy the mount of {path}")))
        };
        let sys = copy("/sys")?;
        mount::set_read_only(&sys, Reach::Tree).map_err(InitError::kernel("make /sys read-only"))?;
        Ok(Self {
            rootfs: copy_from_share(&app.rootfs)?,
            volumes: app.mounts.iter().map(volume_source).collect::<Result<_, _>>()?,
            files: generated_files(app)?,
            host_name: copy("/proc/sys/kernel/hostname")?,
            sys,
            pts: copy("/dev/pts")?,
            shm: copy("/dev/shm")?,
            covers: app.isolation.protect_paths.then(Covers::collect).transpose()?,
            has_tun: Path::new("/dev/net/tun").exists(),
            notify: app.lifecycle.says_when_ready.then(|| notify_socket(app.id)).transpose()?,
        })
    }
}

fn copy_from_share(relative: &str) -> Result<OwnedFd, InitError> {
    let path = Path::new(relative);
    let plain = path.components().all(|component| matches!(component, Component::Normal(_)));
    if relative.is_empty() || !plain {
        return Err(InitError::Specification(format!("{relative:?} is no path within the share")));
    }
    mount::copy(&Path::new(SHARE).join(path))
        .map_err(InitError::kernel(format!("find {relative:?} in the file system shared with the host")))
}

fn volume_source(volume: &MountSpec) -> Result<OwnedFd, InitError> {
    let source = copy_from_share(&volume.source)?;
    if volume.read_only {
        mount::set_read_only(&source, Reach::Tree)
            .map_err(InitError::kernel(format!("make the volume for {:?} read-only", volume.target)))?;
    }
    Ok(source)
}

fn notify_socket(app: AppId) -> Result<OwnedFd, InitError> {
    mount::copy(&notify::path(app)).map_err(InitError::kernel("copy the app's socket for notifications"))
}

fn generated_files(app: &AppSpec) -> Result<Vec<OwnedFd>, InitError> {
    let directory = generated_files_of(app.id);
    let prepare = |index: usize, file: &FileMount| {
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(index.to_string());
        std::fs::write(&path, &file.content)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o644))?;
        let copy = mount::copy(&path)?;
        if file.read_only {
            mount::set_read_only(&copy, Reach::Mount)?;
        }
        Ok(copy)
    };
    let failed =
        |file: &FileMount| InitError::kernel::<std::io::Error>(format!("generate {:?}", file.target));
    app.files.iter().enumerate().map(|(index, file)| prepare(index, file).map_err(failed(file))).collect()
}

fn move_into(rootfs: &OwnedFd) -> Result<(), InitError> {
    let move_in = || {
        let place = rustix::fs::open(NEW_ROOT, rustix::fs::OFlags::PATH, Mode::empty())?;
        mount::attach(rootfs, &place)?;
        rustix::process::chdir(NEW_ROOT)?;
        // The old root ends up mounted over the new one, and goes from there (pivot_root(2), NOTES).
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    move_in().map_err(InitError::kernel("move into the app's root file system"))
}

fn prepare_directories(root: &RootDir) -> Result<(), InitError> {
    for (path, mode) in DIRECTORIES {
        if root.stat(Path::new(path)).is_ok() {
            continue;
        }
        let doing = || InitError::kernel(format!("create {path} in the app's root"));
        match root.ensure(Path::new(path), Kind::Directory) {
            Ok(_) => {
                rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), rustix::fs::AtFlags::empty())
                    .map_err(doing())?;
            }
            // An image on read-only storage that lacks /tmp is the author's choice; mount points are looked at below.
            Err(Errno::ROFS) => {}
            Err(error) => return Err(doing()(error)),
        }
    }
    Ok(())
}

fn attach_at(root: &RootDir, mount: &OwnedFd, target: &str, kind: Kind) -> Result<(), InitError> {
    root.ensure(Path::new(target), kind)
        .and_then(|place| mount::attach(mount, &place))
        .map_err(InitError::kernel(format!("mount over {target:?} in the app's root")))
}

fn mount_devices(root: &RootDir, sources: &Sources) -> Result<(), InitError> {
    let options = [("mode", "0755"), ("size", "64k")];
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let devices =
        mount::new("tmpfs", &options, attributes).map_err(InitError::kernel("make the app's /dev"))?;
    populate(&devices, sources.has_tun).map_err(InitError::kernel("fill the app's /dev"))?;
    attach_at(root, &devices, "/dev", Kind::Directory)?;
    attach_at(root, &sources.pts, "/dev/pts", Kind::Directory)?;
    attach_at(root, &sources.shm, "/dev/shm", Kind::Directory)
}

fn populate(devices: &OwnedFd, has_tun: bool) -> Result<(), Errno> {
    for directory in ["net", "pts", "shm"] {
        mkdirat(devices, directory, Mode::from_raw_mode(0o755))?;
    }
    for (name, major, minor) in DEVICES.into_iter().chain(has_tun.then_some(TUN)) {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(devices, name, FileType::CharacterDevice, mode, makedev(major, minor))?;
    }
    LINKS.into_iter().try_for_each(|(name, target)| symlinkat(target, devices, name))
}

fn mount_kernel_views(root: &RootDir, app: &AppSpec, sources: &Sources) -> Result<(), InitError> {
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = mount::new("proc", &[], quiet).map_err(InitError::kernel("make the app's /proc"))?;
    attach_at(root, &proc, "/proc", Kind::Directory)?;
    // A volume on or below /sys means that the app wants its own (rkt-reference 6.3, step 6).
    if app.mounts.iter().any(|volume| Path::new(&volume.target).starts_with("/sys")) {
        return Ok(());
    }
    attach_at(root, &sources.sys, "/sys", Kind::Directory)
}

fn attach_volume(root: &RootDir, volume: &MountSpec, source: &OwnedFd) -> Result<(), InitError> {
    let kind = kind(source).map_err(InitError::kernel(format!("look at {:?}", volume.source)))?;
    let target = &volume.target;
    let doing = || InitError::kernel(format!("mount a volume over {target:?} in the app's root"));
    let place = root.ensure(Path::new(target), kind).map_err(doing())?;
    let (volume, there) = match (kind, self::kind(&place).map_err(doing())?) {
        (Kind::Directory, Kind::File) => ("directory", "file"),
        (Kind::File, Kind::Directory) => ("file", "directory"),
        _ => return mount::attach(source, &place).map_err(doing()),
    };
    Err(InitError::Specification(format!(
        "the volume for {target:?} is a {volume}, and the app has a {there} there"
    )))
}

fn kind(file: &OwnedFd) -> Result<Kind, Errno> {
    Ok(match FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    })
}

fn attach_file(root: &RootDir, file: &FileMount, source: &OwnedFd) -> Result<(), InitError> {
    if file.only_if_missing && root.lstat(Path::new(&file.target)).is_ok() {
        return Ok(());
    }
    attach_own_file(root, source, &file.target)
}

/// Attaches a file that rkt adds. Where it is missing and cannot be made, in a read-only volume, it is left out.
fn attach_own_file(root: &RootDir, source: &OwnedFd, target: &str) -> Result<(), InitError> {
    match root.ensure(Path::new(target), Kind::File) {
        Err(Errno::ROFS) => Ok(()),
        place => place
            .and_then(|place| mount::attach(source, &place))
            .map_err(InitError::kernel(format!("mount over {target:?} in the app's root"))),
    }
}
