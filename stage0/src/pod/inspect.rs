//! Reading what a pod's files say.
//!
//! Responsible for: manifest, times, pid, networks, exit codes of a pod in any state. Must not know: how any of it is
//! shown. Follows rkt-reference.md 2.2 and 2.3.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use appc::{ImageManifest, PodManifest};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::locate::FoundPod;
use super::state::{Stage, State};
use crate::error::{Context, FileContext, Result};

/// A pid, an exit code or a tree store ID with its newline.
const MAX_VALUE_BYTES: u64 = 256;
/// Networks of one pod; each takes a few hundred bytes.
const MAX_NETWORKS_BYTES: u64 = 1024 * 1024;

/// One network of a pod, as stage1 wrote it to `net-info.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Network {
    /// Name of the network.
    pub net_name: String,
    /// Its configuration file.
    pub net_conf: String,
    /// The plugin that made it.
    pub plugin_path: String,
    /// Its interface.
    pub if_name: String,
    /// The pod's address.
    pub ip: String,
    /// Arguments given by `--net`.
    pub args: String,
    /// Network mask in dotted form.
    pub mask: String,
}

impl FoundPod {
    /// The pod manifest.
    pub fn manifest(&self) -> Result<PodManifest> {
        PodManifest::from_json(&self.manifest_json()?).context("invalid pod manifest")
    }

    /// The same, byte for byte.
    pub fn manifest_json(&self) -> Result<Vec<u8>> {
        self.read("pod", appc::MAX_MANIFEST_BYTES as u64 + 1)
    }

    /// The manifest of an app's image.
    pub fn image_manifest(&self, app: &str) -> Result<ImageManifest> {
        let bytes = self.image_manifest_json(app)?;
        ImageManifest::from_json(&bytes).context(format!("invalid image manifest of app {app:?}"))
    }

    /// The same, byte for byte.
    pub fn image_manifest_json(&self, app: &str) -> Result<Vec<u8>> {
        let path = Path::new("appsinfo").join(app).join("manifest");
        self.read(path, appc::MAX_MANIFEST_BYTES as u64 + 1)
    }

    /// The manifest of the pod's stage1.
    pub fn stage1_manifest(&self) -> Result<ImageManifest> {
        let bytes = self.read("stage1/manifest", appc::MAX_MANIFEST_BYTES as u64 + 1)?;
        ImageManifest::from_json(&bytes).context("invalid stage1 manifest")
    }

    /// When the pod was prepared, in the states where that is known.
    pub fn creation_time(&self) -> Option<SystemTime> {
        if !self.state().has_creation_time() {
            return None;
        }
        let stat = self.stat("pod-created").or_else(|_| self.stat("pod")).ok()?;
        Some(modification_time(&stat))
    }

    /// When stage1 said the pod was started.
    pub fn start_time(&self) -> Option<SystemTime> {
        let stat = self.stat("pid").or_else(|_| self.stat("ppid")).ok()?;
        Some(modification_time(&stat))
    }

    /// When the pod was marked for collection.
    pub fn marked_time(&self) -> Option<SystemTime> {
        match self.stage() {
            Stage::ExitedGarbage | Stage::Garbage => self.changed_time().ok(),
            _ => None,
        }
    }

    /// When the pod's directory was last changed; moving it to another stage counts.
    pub fn changed_time(&self) -> Result<SystemTime> {
        let stat = rustix::fs::fstat(self.directory()).file("inspect", self.path())?;
        Ok(time(stat.st_ctime, stat.st_ctime_nsec))
    }

    /// Content of `pid`, else of `ppid`.
    pub fn pid(&self) -> Option<i32> {
        self.number_in("pid").or_else(|| self.number_in("ppid"))
    }

    /// The number that is all of a file's content; `None` while it is not there or not written to its end.
    pub fn number_in(&self, path: &str) -> Option<i32> {
        self.read_value(path).ok()?.parse().ok()
    }

    /// The pod's networks, in the states in which they are shown.
    pub fn networks(&self) -> Result<Vec<Network>> {
        if !matches!(self.state(), State::Running | State::Exited) {
            return Ok(Vec::new());
        }
        let path = "net-info.json";
        if self.stat(path).is_err_and(|error| error == Errno::NOENT) {
            return Ok(Vec::new());
        }
        let bytes = self.read(path, MAX_NETWORKS_BYTES)?;
        serde_json::from_slice::<Option<Vec<Network>>>(&bytes)
            .context("invalid net-info.json")
            .map(Option::unwrap_or_default)
    }

    /// Exit code of an app; `None` as long as it has none.
    pub fn exit_code(&self, app: &str) -> Option<i32> {
        let path = self.status_path().ok()?.join(app);
        self.read_value(path).ok()?.parse().ok()
    }

    /// When a file of the pod was last changed; `None` if it is not there.
    pub fn modified(&self, path: &Path) -> Option<SystemTime> {
        let stat = rustix::fs::statat(self.directory().as_fd(), path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(modification_time(&stat))
    }

    /// Where apps' exit codes turn up, relative to the pod.
    pub fn status_path(&self) -> Result<PathBuf> {
        Ok(self.stage1_path()?.join("rkt/status"))
    }

    /// Whether stage1 said that the apps are started.
    pub fn is_ready(&self) -> bool {
        let Ok(stage1) = self.stage1_path() else { return false };
        let link = rustix::fs::readlinkat(self.directory(), stage1.join("rkt/supervisor-status"), Vec::new());
        link.is_ok_and(|target| target.as_bytes() == b"ready")
    }

    /// Whether the pod's trees are overlays.
    pub fn uses_overlay(&self) -> bool {
        self.stat("overlay-prepared").is_ok()
    }

    /// The ID of stage1's rendered tree.
    pub fn stage1_tree(&self) -> Result<String> {
        self.read_value("stage1TreeStoreID")
    }

    /// The ID of an app's rendered tree, in a pod that uses overlays.
    pub fn app_tree(&self, app: &str) -> Result<String> {
        self.read_value(Path::new("appsinfo").join(app).join("treeStoreID"))
    }

    /// First host ID and number of IDs of a pod that was prepared with `--private-users`.
    pub fn private_users(&self) -> Result<Option<String>> {
        let path = "private-users-prepared";
        match self.stat(path) {
            Err(Errno::NOENT) => Ok(None),
            _ => self.read_value(path).map(Some),
        }
    }

    /// Where stage1's own changes to its root are found, relative to the pod: in the upper layer of the overlay, because that
    /// can be read when nothing is mounted, after a reboot for example.
    fn stage1_path(&self) -> Result<PathBuf> {
        if !self.uses_overlay() {
            return Ok(PathBuf::from("stage1/rootfs"));
        }
        Ok(Path::new("overlay").join(self.stage1_tree()?).join("upper"))
    }

    /// A short text without the white space around it.
    pub(super) fn read_value(&self, path: impl AsRef<Path>) -> Result<String> {
        let bytes = self.read(&path, MAX_VALUE_BYTES)?;
        let text = String::from_utf8(bytes).context(format!("{:?} is not text", path.as_ref()))?;
        Ok(text.trim().to_owned())
    }

    /// A regular file of the pod, at most `limit` bytes. It is opened without following a link at its end and without
    /// waiting: a fifo in its place must not stop `rkt list`.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let shown = self.path().join(path);
        let file = self.open_file(path).file("open", &shown)?;
        let mut bytes = Vec::new();
        std::fs::File::from(file).take(limit).read_to_end(&mut bytes).file("read", &shown)?;
        Ok(bytes)
    }

    /// The names in a directory of the pod, in no order; none if it is not there.
    pub fn names_in(&self, directory: &str) -> Result<Vec<OsString>> {
        let shown = || self.path().join(directory);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let found = match rustix::fs::openat(self.directory(), directory, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            found => found.file("open", &shown())?,
        };
        crate::extract::names_in(&found).file("read", &shown())
    }

    /// Whether the pod has a file of this name.
    pub fn has(&self, path: &Path) -> bool {
        rustix::fs::statat(self.directory().as_fd(), path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn open_file(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::openat(self.directory(), path, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind == FileType::RegularFile { Ok(file) } else { Err(Errno::INVAL) }
    }

    fn stat(&self, path: &str) -> rustix::io::Result<Stat> {
        rustix::fs::statat(self.directory().as_fd(), path, AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn modification_time(stat: &Stat) -> SystemTime {
    time(stat.st_mtime, stat.st_mtime_nsec)
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let fraction = Duration::from_nanos(nanoseconds);
    match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + fraction,
        Err(_) => UNIX_EPOCH,
    }
}
