//! Root file systems of apps, whose files belong to the pod's users.
//!
//! Responsible for: mounts in which an app's root has the numbers of the pod's users, whatever those of its files are on the disk. Must not
//! know: where such a mount goes. Follows mount_setattr(2), `MOUNT_ATTR_IDMAP`; the kernel's Documentation/filesystems/overlayfs.rst.
//!
//! A directory is mounted once more, with a map. An overlay cannot be: it shows the numbers that its layers have. So stage0 leaves it to us
//! to mount it, and its layers have maps. What is on the disk has none, for whoever looks at it when the pod has ended.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::fault;
use crate::jail::{self, Depth};
use crate::process::{self, Company, End};
use crate::users::{Numbers, Users};

/// The first Linux whose overlays take layers with maps and keep their access control lists.
const LINUX_WITH_MAPPED_LAYERS: (u32, u32) = (6, 0);

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// Programs look for the list of mounts there.
const MTAB: (&str, &str) = ("../proc/self/mounts", "mtab");

/// Opens only to have something to name.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is in the way of a root.
#[derive(Debug)]
pub enum Obstacle {
    /// There is none that could be used.
    Root(io::Error),
    /// Its files cannot have these users.
    Users(io::Error),
}

/// A root that can be mounted with the pod's numbers.
#[derive(Debug)]
pub enum AppRoot {
    /// A directory, or what somebody else has mounted there.
    Directory(OwnedFd),
    /// An overlay that is not mounted yet.
    Overlay(Overlay),
}

/// What an overlay is made of, in the pod's directory.
#[derive(Debug)]
pub struct Overlay {
    /// Where it is to be. The tree below is there.
    point: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    /// Where both are.
    changes: PathBuf,
    mapped: Option<Mapped>,
}

/// Mounts of layers with the pod's numbers, which are nowhere yet.
#[derive(Debug)]
struct Mapped {
    tree: OwnedFd,
    changes: OwnedFd,
}

/// Looks at an app's root, which is at `point`, and changes nothing; `changes` is where stage0 has made the rest of its overlay, if it has
/// one.
pub fn prepare(
    app: &str,
    point: &Path,
    changes: Option<PathBuf>,
    users: Option<&Users>,
) -> Result<AppRoot, Obstacle> {
    let mount = clone(point).map_err(Obstacle::Root)?;
    let Some(changes) = changes else { return directory(mount, users) };
    let (upper, work) = (changes.join("upper").join(app), changes.join("work").join(app));
    if is_mounted(point, &work).map_err(Obstacle::Root)? {
        return directory(mount, users);
    }
    let mapped = users.filter(|users| users.numbers() != Numbers::OfTheHost);
    let mapped = mapped.map(|users| Mapped::of(point, &changes, users)).transpose();
    let mapped = mapped.map_err(Obstacle::Users)?;
    Ok(AppRoot::Overlay(Overlay { point: point.to_owned(), upper, work, changes, mapped }))
}

/// Whether another stage0 has mounted the overlay. Its tree may be on an overlay, too, and its layers may have been tried before: that both is so
/// means that it is there.
fn is_mounted(point: &Path, work: &Path) -> io::Result<bool> {
    let kind = u64::try_from(rustix::fs::statfs(point)?.f_type);
    Ok(kind == Ok(OVERLAYFS_MAGIC) && work.join("work").try_exists()?)
}

fn directory(mount: OwnedFd, users: Option<&Users>) -> Result<AppRoot, Obstacle> {
    if let Some(users) = users {
        jail::map_users(&mount, Depth::Recursive, users).map_err(Obstacle::Users)?;
    }
    Ok(AppRoot::Directory(mount))
}

/// Whether overlays of this host's kernel can have users of a pod's own.
pub fn expect_mapped_layers() -> io::Result<()> {
    let (major, minor) = LINUX_WITH_MAPPED_LAYERS;
    if linux() >= LINUX_WITH_MAPPED_LAYERS {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::Unsupported, format!("it takes Linux {major}.{minor}")))
}

/// Makes the overlays among these roots, as mounts that are nowhere yet, in their order. `users` are those that the roots were prepared for.
///
/// Must be called while the process has one thread.
pub fn make_overlays(roots: &[AppRoot], users: Option<&Users>) -> Result<Vec<OwnedFd>, Obstacle> {
    let overlays: Vec<&Overlay> = roots
        .iter()
        .filter_map(|root| match root {
            AppRoot::Overlay(overlay) => Some(overlay),
            AppRoot::Directory(_) => None,
        })
        .collect();
    match users.map(Users::numbers) {
        Some(Numbers::OfThePod(root)) if !overlays.is_empty() => make_elsewhere(&overlays, root),
        _ => {
            let made: io::Result<_> = overlays.iter().map(|overlay| overlay.make()).collect();
            made.map_err(Obstacle::Root)
        }
    }
}

/// In a process that is the pod's root: what whoever mounts an overlay changes in its layers, he changes as himself, and nobody else has
/// a number in layers with maps. It has mounts of its own, as layers are told by paths and so have to be somewhere.
fn make_elsewhere(overlays: &[&Overlay], root: u32) -> Result<Vec<OwnedFd>, Obstacle> {
    let flags = SocketFlags::CLOEXEC;
    let (made, maker) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|errno| Obstacle::Root(errno.into()))?;
    let mapped = overlays.iter().filter_map(|overlay| overlay.mapped.as_ref());
    let layers = mapped.flat_map(|mapped| [mapped.tree.as_raw_fd(), mapped.changes.as_raw_fd()]);
    let keep: Vec<RawFd> = layers.chain([maker.as_raw_fd()]).collect();
    let child = process::spawn("mount", Company::Host, &keep, || {
        let made = jail::have_own_mounts()
            .and_then(|()| jail::become_user(root))
            // Which becoming somebody else has revoked.
            .and_then(|()| process::die_with_supervisor())
            .and_then(|()| overlays.iter().try_for_each(|overlay| send(&maker, &overlay.make_of_mapped()?)));
        made.map_err(|error| error.to_string())
    })
    .map_err(|error| Obstacle::Root(io::Error::other(error)))?;
    drop(maker);
    let mounts: Vec<OwnedFd> = std::iter::from_fn(|| receive(&made)).take(overlays.len()).collect();
    let end = child.wait::<Result<(), String>>().map_err(|error| Obstacle::Root(io::Error::other(error)))?;
    match end {
        End::Done(Ok(())) if mounts.len() == overlays.len() => Ok(mounts),
        End::Done(Err(why)) => Err(Obstacle::Users(io::Error::other(why))),
        end => Err(Obstacle::Root(io::Error::other(end.describe()))),
    }
}

fn send(socket: &OwnedFd, mount: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let mounts = [mount.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&mounts)) {
        return Err(ErrorKind::OutOfMemory.into());
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// `None`: whoever sends has ended.
fn receive(socket: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    })
}

/// Mounts the overlays among these roots where they belong. Returns each root, as a mount that is nowhere yet.
pub fn put_all(roots: Vec<AppRoot>, overlays: Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    let mut overlays = overlays.into_iter();
    let mut put_one = |root| match root {
        AppRoot::Directory(mount) => Ok(mount),
        AppRoot::Overlay(overlay) => {
            let mount = overlays.next().ok_or(ErrorKind::NotFound)?;
            // The tree was there.
            unmount(&overlay.point)?;
            jail::put(&mount, &overlay.point)?;
            fault::point("app_root.mounted");
            clone(&overlay.point)
        }
    };
    roots.into_iter().map(&mut put_one).collect()
}

impl Mapped {
    fn of(tree: &Path, changes: &Path, users: &Users) -> io::Result<Self> {
        expect_mapped_layers()?;
        let mapped = |path: &Path| {
            let mount = jail::copy_mount(path, OpenTreeFlags::empty())?;
            jail::map_users(&mount, Depth::Single, users).map(|()| mount)
        };
        Ok(Self { tree: mapped(tree)?, changes: mapped(changes)? })
    }
}

impl Overlay {
    fn make_of_mapped(&self) -> io::Result<OwnedFd> {
        if let Some(mapped) = &self.mapped {
            jail::put(&mapped.tree, &self.point)?;
            jail::put(&mapped.changes, &self.changes)?;
        }
        self.make()
    }

    fn make(&self) -> io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(context.as_fd(), "source", "overlay")?;
        let mut layers = Vec::new();
        for (option, path) in [("lowerdir", &self.point), ("upperdir", &self.upper), ("workdir", &self.work)]
        {
            // The kernel takes 256 bytes for a value, and old ones no comma in it, which paths may be longer than and have.
            let layer = rustix::fs::open(path, PLACE, Mode::empty())?;
            let name = format!("/proc/self/fd/{}", layer.as_raw_fd());
            rustix::mount::fsconfig_set_string(context.as_fd(), option, name)?;
            layers.push(layer);
        }
        rustix::mount::fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::empty();
        let mount = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        link_mtab(&mount)?;
        Ok(mount)
    }
}

/// Only a real `/etc` of the app is touched: a link could lead anywhere on the host.
fn link_mtab(root: &OwnedFd) -> io::Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let etc = match rustix::fs::openat2(root, "etc", PLACE, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        etc => etc?,
    };
    let (target, name) = MTAB;
    match rustix::fs::symlinkat(target, &etc, name) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A mount, which is nowhere yet, of a directory with what is mounted in it.
fn clone(path: &Path) -> io::Result<OwnedFd> {
    // The root directory comes from an image: it may not be a link to somewhere else.
    let flags = OpenTreeFlags::AT_SYMLINK_NOFOLLOW | OpenTreeFlags::AT_RECURSIVE;
    let mount = jail::copy_mount(path, flags)?;
    if jail::is_directory(&mount)? { Ok(mount) } else { Err(ErrorKind::NotADirectory.into()) }
}

fn unmount(point: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?)
}

/// Version of the host's kernel.
fn linux() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
