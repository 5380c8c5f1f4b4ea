//! The private mount tree whose root is what the VM sees as its one shared file system.
//!
//! Responsible for: `apps/NAME` and `volumes/NAME`, assembled from the pod's directory and the host's, each a mount of its own
//! that exists in the file server's name space only. Must not know: how files are served. Follows open_tree(2),
//! move_mount(2), rkt-reference 6.5.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags};
use rustix::thread::ThreadNameSpaceType;

use crate::app_root::{self, AppRoot, Obstacle};
use crate::fault;
use crate::jail::{self, Demand, Depth, Jail, JailError, Namespaced, Rooted};
use crate::plan::SharePlan;
use crate::pod_directory;
use crate::prefill::prefill;
use crate::users::{Numbers, Users};
use crate::volumes::{SharedVolume, VolumeSource};

/// Directories that may wait for stage0 to remove them. It does so with every app that is removed.
const MAX_ASIDE: u32 = 4096;

/// Why the tree could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// A volume's source is missing or unusable.
    #[error("volume {name:?}: cannot use {}", path.display())]
    Volume {
        /// The volume.
        name: String,
        /// Its source.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: io::Error,
    },
    /// An app's root is missing or no directory.
    #[error("root file system of app {name:?}: cannot use {}", path.display())]
    App {
        /// The app.
        name: String,
        /// Its root.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: io::Error,
    },
    /// Files cannot belong to users of the pod's own.
    #[error("files of {whose} cannot have users of the pod's own on this host")]
    Users {
        /// Whose they are.
        whose: String,
        /// What is in the way.
        #[source]
        cause: io::Error,
    },
    /// There is nobody whom they could belong to.
    #[error("there are no users of the pod's own on this host")]
    NoUsers(#[source] io::Error),
    /// Overlays could not be mounted.
    #[error("cannot mount the root file systems of apps")]
    Overlays(#[source] io::Error),
    /// The tree's own directories could not be made.
    #[error("cannot build the shared tree")]
    Build(#[source] io::Error),
    /// The process could not be confined to it.
    #[error(transparent)]
    Jail(#[from] JailError),
}

/// Creates the pod's empty volumes and checks that those of the host exist, before anything is booted for them.
pub fn prepare_volumes(plan: &SharePlan) -> Result<(), ShareError> {
    for volume in &plan.volumes {
        let path = source_path(volume);
        prepare_volume(volume, &path).map_err(|cause| ShareError::Volume {
            name: volume.name.clone(),
            path,
            cause,
        })?;
    }
    Ok(())
}

fn prepare_volume(volume: &SharedVolume, path: &Path) -> io::Result<()> {
    match &volume.source {
        VolumeSource::Host { .. } => usable(&fs::metadata(path)?),
        VolumeSource::Empty { mode, uid, gid, content, .. } => {
            fs::create_dir_all(path)?;
            std::os::unix::fs::chown(path, Some(*uid), Some(*gid))?;
            // After chown, which clears the set-ID bits.
            fs::set_permissions(path, Permissions::from_mode(*mode))?;
            if let Some(content) = content {
                prefill(&pod_directory::app_rootfs(&content.app), &content.path, path)?;
            }
            Ok(())
        }
    }
}

/// What leads to a program or a device of the host means nothing to another kernel: there a socket has no listener, a FIFO
/// no other end, and a device's numbers are somebody else's.
fn usable(source: &Metadata) -> io::Result<()> {
    let kind = source.file_type();
    let what = match () {
        () if kind.is_socket() => "a socket",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => return Ok(()),
    };
    Err(io::Error::other(format!("it is {what} of the host, which does not reach into a virtual machine")))
}

fn source_path(volume: &SharedVolume) -> PathBuf {
    match &volume.source {
        VolumeSource::Host { path, .. } => path.clone(),
        VolumeSource::Empty { directory, .. } => pod_directory::shared_volume(directory),
    }
}

/// Everything in a plan, as mounts that are nowhere yet.
#[derive(Debug)]
pub struct Shares {
    /// Where in the tree they belong.
    mounts: Vec<(String, OwnedFd)>,
    users: Option<Users>,
    /// What this host lacks for them.
    lacking: Option<String>,
    host_may_write: bool,
}

/// Mounts what is in the plan, with users of the pod's own if all of it can have them, else with the host's.
///
/// Must be called while the process has one thread.
pub fn collect(plan: &SharePlan, wanted: Numbers, demand: Demand) -> Result<Shares, ShareError> {
    let host_may_write = plan.host_may_write();
    let own = Users::make(wanted).map_err(ShareError::NoUsers);
    let cause = match own.and_then(|users| Ok((mount_all(plan, Some(&users))?, users))) {
        Ok((mounts, users)) => {
            return Ok(Shares { mounts, users: Some(users), lacking: None, host_may_write });
        }
        Err(cause @ (ShareError::Users { .. } | ShareError::NoUsers(_))) => cause,
        Err(error) => return Err(error),
    };
    // Without any user name space, that is what is said.
    let users = Users::make(Numbers::OfTheHost).ok();
    if demand == Demand::Everything && users.is_some() {
        return Err(cause);
    }
    let lacking = users.is_some().then(|| match cause {
        ShareError::Users { whose, cause } => format!("users of its own for files of {whose} ({cause})"),
        _ => "users of its own".to_owned(),
    });
    Ok(Shares { mounts: mount_all(plan, users.as_ref())?, users, lacking, host_may_write })
}

impl Shares {
    /// Who is who in them, if there can be user name spaces.
    pub fn users(&self) -> Option<&Users> {
        self.users.as_ref()
    }

    /// Whether programs on the host may change them.
    pub fn host_may_write(&self) -> bool {
        self.host_may_write
    }

    /// All descriptors.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mounts = self.mounts.iter().map(|(_, mount)| mount.as_raw_fd());
        mounts.chain(self.users.iter().map(|users| users.as_fd().as_raw_fd())).collect()
    }

    /// Builds the tree and confines the process to it.
    pub fn enter(&self, jail: Jail<Namespaced>) -> Result<Jail<Rooted>, ShareError> {
        let jail = jail.lacking(self.lacking.clone());
        let tree = jail::empty_tree()?;
        rustix::fs::mkdirat(&tree, "apps", DIRECTORY_MODE).map_err(|e| ShareError::Build(e.into()))?;
        rustix::fs::mkdirat(&tree, "volumes", DIRECTORY_MODE).map_err(|e| ShareError::Build(e.into()))?;
        for (target, mount) in &self.mounts {
            place(&tree, target, mount).map_err(ShareError::Build)?;
        }
        jail::make_read_only(&tree, Depth::Single)?;
        let jail = jail.change_root(&tree)?;
        // Only now is the tree part of a name space, and can take mounts.
        for (target, mount) in &self.mounts {
            jail::put(mount, Path::new(target)).map_err(ShareError::Build)?;
        }
        Ok(jail)
    }
}

/// Detached mounts of everything in the plan, and where in the tree they belong.
fn mount_all(plan: &SharePlan, users: Option<&Users>) -> Result<Vec<(String, OwnedFd)>, ShareError> {
    let volumes = plan.volumes.iter().map(|volume| {
        let mount = volume_mount(volume, users)?;
        Ok((volume_target(&volume.name), mount))
    });
    let mut mounts = volumes.collect::<Result<Vec<_>, ShareError>>()?;
    if plan.may_grow {
        expect_users(&plan.later_volumes, users)?;
    }
    // Nothing is changed before everything is known to be possible.
    let roots = plan.apps.iter().map(|name| prepare_root(name, users));
    let roots = roots.collect::<Result<Vec<_>, _>>()?;
    let overlays = app_root::make_overlays(&roots, users).map_err(|obstacle| match obstacle {
        Obstacle::Root(cause) => ShareError::Overlays(cause),
        Obstacle::Users(cause) => ShareError::Users { whose: "apps".to_owned(), cause },
    })?;
    let roots = app_root::put_all(roots, overlays).map_err(ShareError::Overlays)?;
    mounts.extend(plan.apps.iter().map(|name| app_target(name)).zip(roots));
    for (_, mount) in &mounts {
        // Images hold device nodes and set-user-ID programs, and the guest makes more: they are for the guest only.
        jail::make_inert(mount)?;
    }
    Ok(mounts)
}

fn prepare_root(name: &str, users: Option<&Users>) -> Result<AppRoot, ShareError> {
    let path = pod_directory::app_rootfs(name);
    let changes = pod_directory::app_changes(name).map_err(Obstacle::Root);
    let root = changes.and_then(|changes| app_root::prepare(name, &path, changes, users));
    root.map_err(|obstacle| match obstacle {
        Obstacle::Root(cause) => ShareError::App { name: name.to_owned(), path, cause },
        Obstacle::Users(cause) => ShareError::Users { whose: format!("app {name:?}"), cause },
    })
}

/// Who is who is settled for all apps of a pod: those that come later are to find users that they can have, too.
fn expect_users(volumes: &[SharedVolume], users: Option<&Users>) -> Result<(), ShareError> {
    let Some(users) = users.filter(|users| users.numbers() != Numbers::OfTheHost) else { return Ok(()) };
    let refused = |cause| ShareError::Users { whose: "apps that are added".to_owned(), cause };
    if pod_directory::has_overlays() {
        app_root::expect_mapped_layers().map_err(refused)?;
    }
    let pod = jail::copy_mount(Path::new("."), OpenTreeFlags::empty()).map_err(ShareError::Build)?;
    jail::map_users(&pod, Depth::Single, users).map_err(refused)?;
    for volume in volumes {
        // One that is missing is missed by the app that wants it.
        if let Err(error @ ShareError::Users { .. }) = volume_mount(volume, Some(users)) {
            return Err(error);
        }
    }
    Ok(())
}

/// Where in the tree an app's root file system is.
pub fn app_target(name: &str) -> String {
    format!("apps/{name}")
}

/// Where in the tree a volume is.
pub fn volume_target(name: &str) -> String {
    format!("volumes/{name}")
}

/// Adds everything in the plan to the tree of a running file server, or nothing. The process that calls it, which has one
/// thread, stays in the file server's name space. Paths of the plan are those of the host before.
///
/// Their users are the file server's. What an earlier app left in `own`, directories of volumes that are one app's alone, is none of the new one's.
pub fn extend(
    plan: &SharePlan,
    users: Option<&Users>,
    own: &[String],
    server: &OwnedFd,
) -> Result<(), ShareError> {
    put_aside(directory_of_volumes()?.as_ref(), own).map_err(ShareError::Build)?;
    prepare_volumes(plan)?;
    let mounts = mount_all(plan, users)?;
    let tree = join(server)?;
    let added = mounts.iter().try_for_each(|(target, mount)| {
        // Nobody uses what is there: a process like this one was killed before it could say that it had added it.
        take_away(&tree, target).and_then(|()| place(&tree, target, mount)).map_err(ShareError::Build)?;
        jail::put(mount, Path::new(target)).map_err(ShareError::Build)
    });
    if added.is_err() {
        // Why it failed is what counts.
        let _ = mounts.iter().try_for_each(|(target, _)| take_away(&tree, target));
    }
    fault::point("shares.extended");
    added
}

/// Takes parts of the tree of a running file server away. What the guest still has open of them stays readable for as long as
/// it is open. `own` are the directories of volumes that go with them: they are put aside for stage0, which removes them. The process
/// that calls it, which has one thread, stays in the file server's name space.
pub fn withdraw(targets: &[String], own: &[String], server: &OwnedFd) -> Result<(), ShareError> {
    // Out of reach behind the next line.
    let volumes = directory_of_volumes()?;
    let tree = join(server)?;
    targets.iter().try_for_each(|target| take_away(&tree, target)).map_err(ShareError::Build)?;
    put_aside(volumes.as_ref(), own).map_err(ShareError::Build)?;
    fault::point("shares.withdrawn");
    Ok(())
}

/// The directory of the pod's empty volumes, if it ever had one.
fn directory_of_volumes() -> Result<Option<OwnedFd>, ShareError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(pod_directory::shared_volume(""), flags, Mode::empty()) {
        Ok(volumes) => Ok(Some(volumes)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(ShareError::Build(errno.into())),
    }
}

/// Gives these directories names that no volume has: a dot and a number. They are not removed here, because a guest can nest
/// directories deeper than a simple walk can follow.
pub fn put_aside(volumes: Option<&OwnedFd>, directories: &[String]) -> io::Result<()> {
    let Some(volumes) = volumes else { return Ok(()) };
    for directory in directories {
        let free = |number: u32| {
            let aside = format!(".{number}");
            match rustix::fs::renameat_with(volumes, directory, volumes, aside, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => None,
                Ok(()) | Err(Errno::NOENT) => Some(Ok(())),
                Err(errno) => Some(Err(errno)),
            }
        };
        (0..MAX_ASIDE).find_map(free).unwrap_or(Err(Errno::EXIST))?;
    }
    Ok(())
}

/// Enters the file server's name space. Returns its tree as a mount that only this process can write to.
fn join(server: &OwnedFd) -> Result<OwnedFd, ShareError> {
    let failed = |errno: Errno| ShareError::Build(errno.into());
    rustix::thread::move_into_thread_name_spaces(server.as_fd(), ThreadNameSpaceType::MOUNT)
        .map_err(failed)?;
    let tree = jail::copy_mount(Path::new("/"), OpenTreeFlags::empty()).map_err(ShareError::Build)?;
    jail::make_writable(&tree)?;
    Ok(tree)
}

fn take_away(tree: &OwnedFd, target: &str) -> io::Result<()> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    let removed = match rustix::fs::unlinkat(tree, target, AtFlags::REMOVEDIR) {
        Err(Errno::NOTDIR) => rustix::fs::unlinkat(tree, target, AtFlags::empty()),
        other => other,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

fn volume_mount(volume: &SharedVolume, users: Option<&Users>) -> Result<OwnedFd, ShareError> {
    let path = source_path(volume);
    let (flags, depth) = match volume.source {
        VolumeSource::Host { recursive: true, .. } => (OpenTreeFlags::AT_RECURSIVE, Depth::Recursive),
        VolumeSource::Host { recursive: false, .. } | VolumeSource::Empty { .. } => {
            (OpenTreeFlags::empty(), Depth::Single)
        }
    };
    let mount = jail::copy_mount(&path, flags).map_err(|cause| ShareError::Volume {
        name: volume.name.clone(),
        path,
        cause,
    })?;
    if volume.read_only {
        jail::make_read_only(&mount, depth)?;
    }
    if let Some(users) = users {
        let whose = format!("volume {:?}", volume.name);
        jail::map_users(&mount, depth, users).map_err(|cause| ShareError::Users { whose, cause })?;
    }
    Ok(mount)
}

/// Makes the directory or file that `mount` will cover.
fn place(tree: &OwnedFd, target: &str, mount: &OwnedFd) -> io::Result<()> {
    if jail::is_directory(mount)? {
        rustix::fs::mkdirat(tree, target, DIRECTORY_MODE)?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(tree.as_fd(), target, flags, Mode::from_raw_mode(0o644))?;
    }
    Ok(())
}
