//! The walls around a child process, put up one after the other.
//!
//! Responsible for: name spaces, root directory, user, capabilities, Landlock and limits, in the only order that works, which the types
//! enforce. Must not know: which child it is. Follows namespaces(7), pivot_root(2), capabilities(7); docs/threat-model.md, "The jail".
//!
//! The name space of PIDs comes before everything, with the process ([`crate::process`]); the filter of system calls after everything
//! ([`filters`]), for which the types ask for a [`Jail<Confined>`].

mod walls;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use filters::Filter;
use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::process;
use crate::users::{Numbers, Users};

pub use walls::{Reach, become_user, leave_user_namespace};

/// A wall that could not be put up.
#[derive(Debug, thiserror::Error)]
#[error("cannot confine the process: {wall} failed")]
pub struct JailError {
    wall: &'static str,
    #[source]
    cause: io::Error,
}

impl JailError {
    /// Names the wall.
    pub fn of<E: Into<io::Error>>(wall: &'static str) -> impl FnOnce(E) -> Self {
        move |cause| Self { wall, cause: cause.into() }
    }
}

fn failed<E: Into<io::Error>>(wall: &'static str) -> impl FnOnce(E) -> JailError {
    JailError::of(wall)
}

/// What is asked of walls that not every host can put up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Those that can be are put up; which are missing is told.
    WhatTheHostHas,
    /// A process with one missing is refused.
    Everything,
}

/// On what terms a pod's processes are confined.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What has to be there.
    pub demand: Demand,
    /// The host's user that those are who need no file.
    pub user: u32,
}

/// The process shares nothing but file system and privileges with the host any more.
#[derive(Debug)]
pub struct Namespaced;

/// The process sees its own root directory only.
#[derive(Debug)]
pub struct Rooted;

/// The process is who it will be.
#[derive(Debug)]
pub struct Identified;

/// The process holds the capabilities it needs and can gain no others.
#[derive(Debug)]
pub struct Bounded;

/// Nothing is left but the filter of system calls.
#[derive(Debug)]
pub struct Confined;

/// A process on its way into confinement.
#[derive(Debug)]
pub struct Jail<Stage> {
    demand: Demand,
    missing: Vec<String>,
    #[expect(dead_code, reason = "it is a fact about the process")]
    stage: Stage,
}

impl<Stage> Jail<Stage> {
    fn becomes<Next>(self, stage: Next) -> Jail<Next> {
        Jail { demand: self.demand, missing: self.missing, stage }
    }

    /// Puts up a wall that the host may lack.
    fn put_up(
        &mut self,
        wall: &'static str,
        put_up: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), JailError> {
        match (put_up(), self.demand) {
            (Ok(()), _) => Ok(()),
            (Err(cause), Demand::Everything) => Err(JailError { wall, cause }),
            (Err(_), Demand::WhatTheHostHas) => {
                self.missing.push(wall.to_owned());
                Ok(())
            }
        }
    }
}

impl Jail<Namespaced> {
    /// Leaves the host's mount, network, IPC, UTS and cgroup name spaces. Mounts of either side no longer reach the other.
    ///
    /// Must be called while the process has one thread.
    pub fn enter(demand: Demand) -> Result<Self, JailError> {
        Self::leave(demand, UnshareFlags::NEWNET)
    }

    /// The same for a process whose purpose is the host's network, which it stays in.
    pub fn enter_with_network(demand: Demand) -> Result<Self, JailError> {
        Self::leave(demand, UnshareFlags::empty())
    }

    fn leave(demand: Demand, further: UnshareFlags) -> Result<Self, JailError> {
        let flags = UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
        // SAFETY: only CLONE_FILES, which is not among the flags, invalidates descriptors that others hold.
        unsafe { rustix::thread::unshare_unsafe(flags | further) }.map_err(failed("unshare"))?;
        have_own_mounts().map_err(failed("making mounts private"))?;
        Ok(Self { demand, missing: Vec::new(), stage: Namespaced })
    }

    /// Goes without a wall that somebody else has tried to put up.
    pub fn lacking(mut self, wall: Option<String>) -> Self {
        self.missing.extend(wall);
        self
    }

    /// Makes `root`, a detached mount, the root directory, and lets go of the old one with everything mounted there.
    pub fn change_root(self, root: &OwnedFd) -> Result<Jail<Rooted>, JailError> {
        put(root, Path::new("/")).map_err(failed("mounting the new root"))?;
        rustix::process::fchdir(root).map_err(failed("entering the new root"))?;
        // With both arguments the same directory, the old root lands on top of the new one and can be taken off
        // without a directory to put it in (pivot_root(2), NOTES).
        rustix::process::pivot_root(".", ".").map_err(failed("pivot_root"))?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed("leaving the old root"))?;
        rustix::process::chdir("/").map_err(failed("entering the new root"))?;
        Ok(self.becomes(Rooted))
    }

    /// The same with nothing in it.
    pub fn empty_root(self) -> Result<Jail<Rooted>, JailError> {
        let root = empty_tree()?;
        make_read_only(&root, Depth::Single)?;
        self.change_root(&root)
    }
}

impl Jail<Rooted> {
    /// Becomes a user of the host that owns nothing, in a user name space of its own.
    pub fn become_user(mut self, user: u32) -> Result<Jail<Identified>, JailError> {
        become_user(user).map_err(failed("becoming the pod's user"))?;
        self.put_up("a user name space", leave_user_namespace)?;
        // Which becoming somebody else has revoked.
        process::die_with_supervisor().map_err(failed("staying with the supervisor"))?;
        Ok(self.becomes(Identified))
    }

    /// Becomes whom the files of the pod's root belong to, without leaving the host's user name space: root itself, where the pod has no
    /// numbers of its own.
    pub fn become_owner(self, numbers: Numbers) -> Result<Jail<Identified>, JailError> {
        match numbers {
            Numbers::OfThePod(root) => {
                become_user(root).map_err(failed("becoming the pod's root"))?;
                // Which becoming somebody else has revoked.
                process::die_with_supervisor().map_err(failed("staying with the supervisor"))?;
            }
            // Groups of whoever started rkt are none of the pod's.
            Numbers::OfTheHost => rustix::thread::set_thread_groups(&[]).map_err(failed("leaving groups"))?,
        }
        Ok(self.becomes(Identified))
    }

    /// Becomes root among these users, in their user name space, so that its capabilities mean nothing but for their files.
    pub fn become_root_of(mut self, users: Option<&Users>) -> Result<Jail<Identified>, JailError> {
        rustix::thread::set_thread_groups(&[]).map_err(failed("leaving groups"))?;
        match users {
            Some(users) => walls::become_root_of(users).map_err(failed("becoming the pod's root"))?,
            None => self.put_up("a user name space", || Err(io::ErrorKind::Unsupported.into()))?,
        }
        Ok(self.becomes(Identified))
    }
}

impl Jail<Identified> {
    /// Gives up every capability that is not in `kept`, for good.
    pub fn keep_capabilities(self, kept: CapabilitySet) -> Result<Jail<Bounded>, JailError> {
        rustix::thread::set_no_new_privs(true).map_err(failed("no_new_privs"))?;
        for number in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            if kept.contains(capability) {
                continue;
            }
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                // The first number the kernel does not know: there are no more.
                Err(Errno::INVAL) => break,
                Err(errno) => return Err(failed("shrinking the capability bounding set")(errno)),
            }
        }
        rustix::thread::clear_ambient_capability_set().map_err(failed("clearing ambient capabilities"))?;
        let held = rustix::thread::capabilities(None).map_err(failed("reading capabilities"))?;
        let kept = kept & held.permitted;
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        rustix::thread::set_capabilities(None, sets).map_err(failed("dropping capabilities"))?;
        Ok(self.becomes(Bounded))
    }
}

impl Jail<Bounded> {
    /// Takes away what is not in `reach`, and further resources: for each, the most of it from now on. Nobody dumps memory.
    pub fn restrict(
        mut self,
        reach: &Reach,
        limits: &[(Resource, u64)],
    ) -> Result<Jail<Confined>, JailError> {
        self.put_up("Landlock", || walls::restrict(reach))?;
        for (resource, limit) in limits.iter().chain(&[(Resource::Core, 0)]) {
            let held = rustix::process::getrlimit(*resource).maximum;
            let limit = Some(held.map_or(*limit, |held| held.min(*limit)));
            rustix::process::setrlimit(*resource, Rlimit { current: limit, maximum: limit })
                .map_err(failed("limiting resources"))?;
        }
        Ok(self.becomes(Confined))
    }
}

impl Jail<Confined> {
    /// Tells the supervisor which walls this host lacks.
    pub fn tell_missing(&self) {
        if !self.missing.is_empty() {
            process::tell_missing(self.missing.clone());
        }
    }

    /// Puts a filter of system calls around the process. One whose threads differ does so thread by thread.
    pub fn filter(&self, filter: &Filter) -> Result<(), JailError> {
        filter.apply().map_err(failed("filtering system calls"))
    }
}

/// Gives the calling process, which has one thread, mounts of its own. Those of either side no longer reach the other.
pub fn have_own_mounts() -> io::Result<()> {
    // SAFETY: only CLONE_FILES, which is not the flag, invalidates descriptors that others hold.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// A new, empty, detached tmpfs.
pub fn empty_tree() -> Result<OwnedFd, JailError> {
    let context =
        rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("opening a tmpfs"))?;
    rustix::mount::fsconfig_set_string(context.as_fd(), "mode", "0755")
        .map_err(failed("configuring a tmpfs"))?;
    rustix::mount::fsconfig_create(context.as_fd()).map_err(failed("creating a tmpfs"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(failed("mounting a tmpfs"))
}

/// A copy, which is nowhere yet, of the mount that shows what is at a path.
pub fn copy_mount(path: &Path, flags: OpenTreeFlags) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | flags;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// Whether a mount is one of a directory, and not of a file.
pub fn is_directory(mount: &OwnedFd) -> io::Result<bool> {
    let stat = rustix::fs::statat(mount, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Mounts at a path what is nowhere yet.
pub fn put(mount: &OwnedFd, point: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount, "", CWD, point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Which mounts a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The one mount.
    Single,
    /// What is mounted below it as well.
    Recursive,
}

/// Makes a mount read-only. Needs Linux 5.12.
pub fn make_read_only(mount: &OwnedFd, depth: Depth) -> Result<(), JailError> {
    set_attributes(mount, depth, libc::MOUNT_ATTR_RDONLY).map_err(failed("making a mount read-only"))
}

/// Makes a single mount writable. Needs Linux 5.12.
pub fn make_writable(mount: &OwnedFd) -> Result<(), JailError> {
    let attributes = libc::mount_attr { attr_clr: libc::MOUNT_ATTR_RDONLY, ..NO_CHANGE };
    change_attributes(mount, Depth::Single, attributes).map_err(failed("making a mount writable"))
}

/// Takes away what a mount's files could do for a process of this host that was taken over: lead to a device, run, or
/// run with more rights. They can still be read, written and created. What is mounted there from now on stays there, and the host's stays the
/// host's. Needs Linux 5.12.
pub fn make_inert(mount: &OwnedFd) -> Result<(), JailError> {
    let attr_set = libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_NOSUID;
    let attributes = libc::mount_attr { attr_set, ..ALONE };
    change_attributes(mount, Depth::Recursive, attributes).map_err(failed("making a mount inert"))
}

/// Makes the owners of a mount's files, as they are on its disk, the users of that name space. Needs Linux 5.12, and a file system that
/// can do it. Users that have the host's numbers are those already.
pub fn map_users(mount: &OwnedFd, depth: Depth, users: &Users) -> io::Result<()> {
    if users.numbers() == Numbers::OfTheHost {
        return Ok(());
    }
    let userns_fd = u64::try_from(users.as_fd().as_raw_fd()).map_err(io::Error::other)?;
    change_attributes(mount, depth, libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, userns_fd, ..ALONE })
}

fn set_attributes(mount: &OwnedFd, depth: Depth, attributes: u64) -> io::Result<()> {
    change_attributes(mount, depth, libc::mount_attr { attr_set: attributes, ..NO_CHANGE })
}

const NO_CHANGE: libc::mount_attr =
    libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

/// A copy of a shared mount is a peer of it: what is mounted on the one is mounted on the other, in all name spaces.
const ALONE: libc::mount_attr = libc::mount_attr { propagation: libc::MS_PRIVATE, ..NO_CHANGE };

fn change_attributes(mount: &OwnedFd, depth: Depth, attributes: libc::mount_attr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if depth == Depth::Recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated constant and the structure lives through the call, which only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
