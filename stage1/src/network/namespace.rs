//! The pod's network name space.
//!
//! Responsible for: making it, under a name that plugins can open; going in and out; removing it, whoever has been killed since, and
//! when. Must not know: what is in it. Follows network_namespaces(7), setns(2) and ip-netns(8), whose directory it uses.
//!
//! A name space without processes lives as long as it is mounted somewhere. Its name follows from the pod's, so that it can be
//! removed even if nobody lived to write it down; after a reboot there is neither name nor name space.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use uuid::Uuid;

use crate::fault;

/// Where ip(8) looks for name spaces.
const DIRECTORY: &str = "/run/netns";

/// The calling thread's name space.
const OWN: &str = "/proc/thread-self/ns/net";

/// In the pod's directory: the path of the name space (rkt-reference 2.2).
const RECORD: &str = "netns";

/// How many mounts one name can have: more than one only if somebody else has mounted there.
const MAX_MOUNTS: usize = 8;

/// What could not be done with the name space.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the pod's network name space {}", path.display())]
pub struct NamespaceError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// A network name space with a name.
#[derive(Debug)]
pub struct Namespace {
    path: PathBuf,
}

/// The name of a pod's name space.
pub fn path_of(uuid: Uuid) -> PathBuf {
    Path::new(DIRECTORY).join(format!("rkt-{uuid}"))
}

impl Namespace {
    /// Makes the pod's name space. The calling thread is in its own again when this returns.
    pub fn make(uuid: Uuid) -> Result<Self, NamespaceError> {
        let path = path_of(uuid);
        let make = || -> io::Result<()> {
            fs::write(RECORD, path.as_os_str().as_encoded_bytes())?;
            fault::point("network.namespace.recorded");
            fs::create_dir_all(DIRECTORY)?;
            File::create(&path)?;
            fault::point("network.namespace.named");
            let home = File::open(OWN)?;
            // SAFETY: only CLONE_FILES, which is not among the flags, invalidates descriptors that others hold.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
            let mounted = rustix::mount::mount_bind(OWN, &path);
            enter(&home)?;
            mounted?;
            fault::point("network.namespace.mounted");
            Ok(())
        };
        match make() {
            Ok(()) => Ok(Self { path }),
            Err(cause) => Err(NamespaceError { doing: "make", path, cause }),
        }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` with the calling thread in the name space.
    pub fn inside<R>(&self, work: impl FnOnce() -> R) -> Result<R, NamespaceError> {
        let failed = |doing| move |cause: io::Error| NamespaceError { doing, path: self.path.clone(), cause };
        let home = File::open(OWN).map_err(failed("come back from"))?;
        let there = File::open(&self.path).map_err(failed("open"))?;
        enter(&there).map_err(failed("enter"))?;
        let result = work();
        enter(&home).map_err(failed("come back from"))?;
        Ok(result)
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// The name space at this path, if it is still one.
pub fn existing(uuid: Uuid) -> Option<PathBuf> {
    let path = path_of(uuid);
    let kind = rustix::fs::statfs(&path).ok()?.f_type;
    (kind == libc::NSFS_MAGIC).then_some(path)
}

/// Removes the pod's name space with all that is still in it; does nothing if there is none.
pub fn remove(uuid: Uuid) -> Result<(), NamespaceError> {
    let path = path_of(uuid);
    let remove = || -> io::Result<()> {
        for _ in 0..MAX_MOUNTS {
            match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOENT) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        fault::point("network.namespace.unmounted");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    };
    remove().map_err(|cause| NamespaceError { doing: "remove", path: path.clone(), cause })
}
