//! The vhost-user file server that shares a pod's files with its VM.
//!
//! Responsible for: answering the FUSE requests of one virtio-fs device from the process's own file system, in one thread,
//! until the VMM hangs up. Must not know: pods, mounts, the VMM, or how this process was confined; the caller
//! made its root directory the tree to share and dropped what it may not do. Follows the vhost-user protocol
//! (qemu.org, interop/vhost-user) and virtio 1.2, 5.11; docs/architecture.md, "Files".

mod acl;
mod device;
#[doc(hidden)]
pub mod fuzzing;
mod numbers;
mod ring;
mod set_id;

#[cfg(test)]
mod numbers_test;
#[cfg(test)]
mod serve_test;
#[cfg(test)]
mod set_id_test;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use vhost::vhost_user::{BackendReqHandler, Error as VhostError};
use virtiofsd::passthrough::{CachePolicy, Config, NegotiationMode, PassthroughFs};
use virtiofsd::server::Server;

use device::FsDevice;
use numbers::NumberedFs;

/// Why the file server ended before the VMM hung up.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The tree could not be opened.
    #[error("cannot open the shared tree")]
    OpenTree(#[source] io::Error),
    /// The queues could not be made.
    #[error("cannot create the request queues")]
    CreateQueues(#[source] virtio_queue::Error),
    /// Waiting for requests failed.
    #[error("cannot wait for requests")]
    Wait(#[source] io::Error),
    /// The VMM sent a message that breaks the vhost-user protocol.
    #[error("vhost-user request failed")]
    Request(#[source] VhostError),
    /// The guest's driver wrote something into its queue that is no descriptor chain.
    #[error("queue {queue} of the guest is malformed")]
    Queue {
        /// Index of the queue.
        queue: usize,
        /// What is wrong with it.
        #[source]
        cause: RingError,
    },
}

pub use ring::RingError;

/// Who else may change the shared files while the guest runs. It decides for how long the guest may trust what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Only the guest: names, attributes and contents stay valid in its caches for as long as it likes.
    GuestOnly,
    /// The guest and programs on the host: a change on the host is seen within a second, contents at the next open.
    GuestAndHost,
}

/// What to serve.
#[derive(Debug)]
pub struct Tree {
    /// Directory whose content is the file system; `/` in a process that has been confined to the tree.
    pub root: String,
    /// The directory `/proc/self/fd` of this very process (`O_PATH` will do): opened files are re-opened through it, because
    /// the tree itself has no /proc.
    pub own_descriptors: File,
    /// Who else writes.
    pub writers: Writers,
    /// How many descriptors the guest's open and remembered files may occupy; below the process's limit, so that
    /// serving a request never fails for lack of one.
    pub guest_descriptors: u64,
}

/// How long the guest believes attributes and names that the host may change too.
const SHARED_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the guest believes what only it can change: a day stands for ever, as in virtiofsd's `cache=always`.
const EXCLUSIVE_TIMEOUT: Duration = Duration::from_secs(86_400);

fn configuration(tree: Tree) -> Config {
    let (cache_policy, timeout) = match tree.writers {
        Writers::GuestOnly => (CachePolicy::Always, EXCLUSIVE_TIMEOUT),
        Writers::GuestAndHost => (CachePolicy::Auto, SHARED_TIMEOUT),
    };
    Config {
        entry_timeout: timeout,
        attr_timeout: timeout,
        cache_policy,
        root_dir: tree.root,
        proc_sfd_rawfd: Some(tree.own_descriptors),
        xattr: true,
        posix_acl: NegotiationMode::Auto,
        // A write by somebody without CAP_FSETID takes set-ID bits away by itself: no request of its own for that.
        killpriv_v2: true,
        // Apps and volumes are different file systems with overlapping inode numbers: `numbers` keeps them apart.
        announce_submounts: true,
        guest_fd_limit: tree.guest_descriptors,
        ..Config::default()
    }
}

/// Serves `tree` to the VMM at the other end of `frontend` and returns when it hangs up.
///
/// Runs in the calling thread and starts no other; changes the process's umask and, during a request, the
/// thread's effective user and group.
pub fn serve(frontend: UnixStream, tree: Tree) -> Result<(), ServeError> {
    let writers = tree.writers;
    let file_system = PassthroughFs::new(configuration(tree)).map_err(ServeError::OpenTree)?;
    let server = Server::new(NumberedFs::new(file_system, writers));
    let device = FsDevice::new(server).map_err(ServeError::CreateQueues)?;
    // The request handler wants shared ownership; there is one thread, so the lock is never contended.
    let device = Arc::new(Mutex::new(device));
    let socket = frontend.try_clone().map_err(ServeError::Wait)?;
    let mut requests = BackendReqHandler::from_stream(frontend, Arc::clone(&device));
    loop {
        let kicks = device.lock().unwrap_or_else(PoisonError::into_inner).kicks();
        let mut ready = vec![PollFd::new(&socket, PollFlags::IN)];
        ready.extend(kicks.iter().map(|(_, kick)| PollFd::new(kick, PollFlags::IN)));
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(ServeError::Wait(errno.into())),
        }
        let mut ready = ready.into_iter().map(|entry| !entry.revents().is_empty());
        let message_waits = ready.next().unwrap_or(false);
        for ((queue, _), kicked) in kicks.iter().zip(ready) {
            if kicked {
                device.lock().unwrap_or_else(PoisonError::into_inner).serve_queue(*queue)?;
            }
        }
        if message_waits {
            match requests.handle_request() {
                Ok(()) => {}
                Err(VhostError::Disconnected | VhostError::PartialMessage | VhostError::SocketBroken(_)) => {
                    return Ok(());
                }
                Err(error) => return Err(ServeError::Request(error)),
            }
        }
    }
}
