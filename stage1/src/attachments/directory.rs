//! Where an app's sockets are, and how others learn of them.
//!
//! Responsible for: `/rkt/iottymux/APP/endpoints` and the sockets beside it in the stage1 root file system. Must not know: who
//! connects. Follows rkt-reference 7.5 and unix(7).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::pod_directory;

/// In the stage1 root file system.
const ROOT: &str = "rkt/iottymux";

/// Name of the file.
const ENDPOINTS: &str = "endpoints";

/// Version of the file's format: rkt's only one.
const VERSION: u32 = 1;

/// Longest file that is read: that of four endpoints with the longest names takes less than 2 KiB.
const MAX_ENDPOINTS_BYTES: u64 = 16 * 1024;

/// Directories of all apps of the pod in the working directory.
pub fn root() -> PathBuf {
    pod_directory::stage1(ROOT)
}

/// What one can attach to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `stdin`, `stdout`, `stderr` or `tty`.
    pub name: String,
    /// Always `unix`.
    pub domain: String,
    /// The socket, seen from the stage1 root file system.
    pub address: String,
}

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// [`VERSION`].
    pub version: u32,
    /// All of them.
    pub targets: Vec<Endpoint>,
}

impl Endpoints {
    /// Of an app.
    pub fn new(app: &str, names: &[&str]) -> Self {
        let target = |name: &&str| Endpoint {
            name: (*name).to_owned(),
            domain: "unix".to_owned(),
            address: format!("/{ROOT}/{app}/{}", socket(name)),
        };
        Self { version: VERSION, targets: names.iter().map(target).collect() }
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.targets.iter().any(|target| target.name == name)
    }
}

fn socket(endpoint: &str) -> String {
    format!("sock-{endpoint}")
}

/// The directory of one app.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
}

impl Directory {
    /// Makes it, or takes over what an earlier start of the app left.
    pub fn create(root: &Path, app: &str) -> io::Result<Self> {
        let path = root.join(app);
        DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        Self::open_path(path)
    }

    /// That of an app which has been started.
    pub fn open(root: &Path, app: &str) -> io::Result<Self> {
        Self::open_path(root.join(app))
    }

    fn open_path(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { path, descriptor })
    }

    /// A path that fits a socket's address however long the app's name is.
    fn address(&self, endpoint: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{}", self.descriptor.as_raw_fd(), socket(endpoint)))
    }

    /// Listens for clients of an endpoint, the pod's owner only.
    pub fn listen(&self, endpoint: &str) -> io::Result<UnixListener> {
        crate::control_socket::server::listen_privately(&self.address(endpoint))
    }

    /// Connects to an endpoint.
    pub fn connect(&self, endpoint: &str) -> io::Result<UnixStream> {
        UnixStream::connect(self.address(endpoint))
    }

    /// Nobody is let in any more. Who is connected stays so.
    pub fn remove_socket(&self, endpoint: &str) {
        // It may never have been there.
        let _ = fs::remove_file(self.address(endpoint));
    }

    /// Says what there is, once it can be used.
    pub fn publish(&self, endpoints: &Endpoints) -> io::Result<()> {
        let (new, path) = (self.path.join(".endpoints.new"), self.path.join(ENDPOINTS));
        let file = File::options().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        serde_json::to_writer(&file, endpoints)?;
        io::Write::write_all(&mut &file, b"\n")?;
        fs::rename(new, path)
    }

    /// What there is.
    pub fn endpoints(&self) -> io::Result<Endpoints> {
        let file = File::open(self.path.join(ENDPOINTS))?;
        Ok(serde_json::from_reader(io::Read::take(file, MAX_ENDPOINTS_BYTES))?)
    }
}
