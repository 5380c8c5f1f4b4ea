//! The apps' output in files where Kubernetes looks for it.
//!
//! Responsible for: which file an app's annotation means, never one outside of the pod's directory of such files; its lines.
//! Must not know: other logs. Follows rkt-reference 7.5 (`logmode=k8s-plain`: `<RFC 3339 time> stdout|stderr <text>`).

use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use appc::{PodManifest, RuntimeApp};
use guest_api::{AppId, StdioStream};
use jiff::Timestamp;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::line_cutter::LineCutter;
use crate::stdio::MAX_LINE_BYTES;

const MODE: &str = "coreos.com/rkt/experiment/logmode";
const MODE_PLAIN: &str = "k8s-plain";
const DIRECTORY: &str = "coreos.com/rkt/experiment/kubernetes-log-dir";
const PATH: &str = "coreos.com/rkt/experiment/kubernetes-log-path";

/// As of the pod's own log files.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// Why the annotations cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KubernetesLogError {
    /// Nobody knows the mode.
    #[error("annotation {MODE} is {0:?} (want {MODE_PLAIN})")]
    Mode(String),
    /// The directory has no name, or one that depends on where rkt was started.
    #[error("annotation {DIRECTORY} is {0:?} (want an absolute path)")]
    Directory(String),
    /// The file is elsewhere.
    #[error("app {app:?}: annotation {PATH} is {path:?} (want a path below {DIRECTORY}, without \"..\")")]
    Path {
        /// The app.
        app: String,
        /// What it says.
        path: String,
    },
}

/// What the manifest wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesPlan {
    directory: PathBuf,
    /// File below it, by app.
    files: Vec<(String, PathBuf)>,
}

impl KubernetesPlan {
    /// That of a pod; an empty one if it does not ask for such logs.
    pub fn of(pod: &PodManifest) -> Result<Self, KubernetesLogError> {
        match pod.annotations.get(MODE) {
            None => return Ok(Self::default()),
            Some(MODE_PLAIN) => {}
            Some(other) => return Err(KubernetesLogError::Mode(other.to_owned())),
        }
        let directory = pod.annotations.get(DIRECTORY).unwrap_or_default();
        if !directory.starts_with('/') {
            return Err(KubernetesLogError::Directory(directory.to_owned()));
        }
        let files = pod.apps.iter().filter_map(|app| file(app).transpose()).collect::<Result<_, _>>()?;
        Ok(Self { directory: directory.into(), files })
    }

    /// The file of one of the pod's apps, if it is to have one.
    pub fn file_of(pod: &PodManifest, app: &RuntimeApp) -> Result<Option<PathBuf>, KubernetesLogError> {
        if pod.annotations.get(MODE).is_none() {
            return Ok(None);
        }
        Ok(file(app)?.map(|(_, path)| path))
    }
}

fn file(app: &RuntimeApp) -> Result<Option<(String, PathBuf)>, KubernetesLogError> {
    let Some(text) = app.annotations.get(PATH) else { return Ok(None) };
    let path = Path::new(text);
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
    if text.is_empty() || text.contains('\0') || !is_below {
        return Err(KubernetesLogError::Path { app: app.name.to_string(), path: text.to_owned() });
    }
    Ok(Some((app.name.to_string(), path.to_owned())))
}

#[derive(Debug)]
struct Log {
    app: AppId,
    path: PathBuf,
    file: File,
    stdout: LineCutter,
    stderr: LineCutter,
}

/// The files of a pod.
#[derive(Debug)]
pub struct KubernetesLogs {
    plan: KubernetesPlan,
    logs: Vec<Log>,
    complained: bool,
}

impl KubernetesLogs {
    /// Nothing is opened before an app starts.
    pub fn new(plan: KubernetesPlan) -> Self {
        Self { plan, logs: Vec::new(), complained: false }
    }

    /// An app that comes later has this file, whatever one of its name had before it.
    pub fn add(&mut self, name: &str, file: Option<PathBuf>) {
        self.plan.files.retain(|(known, _)| known != name);
        self.plan.files.extend(file.map(|path| (name.to_owned(), path)));
    }

    /// From now on the app writes. Returns what goes wrong first, as all of these do.
    pub fn started(&mut self, app: AppId, name: &str) -> Option<String> {
        let (_, path) = self.plan.files.iter().find(|(known, _)| known == name)?;
        let shown = self.plan.directory.join(path);
        let opened = open(&self.plan.directory, path);
        self.logs.retain(|log| log.app != app);
        match opened {
            Ok(file) => {
                let cutter = || LineCutter::new(MAX_LINE_BYTES);
                self.logs.push(Log { app, path: shown, file, stdout: cutter(), stderr: cutter() });
                None
            }
            Err(errno) => self.complain(&shown, &errno.into()),
        }
    }

    /// The app writes nothing any more.
    pub fn forget(&mut self, app: AppId) {
        self.logs.retain(|log| log.app != app);
    }

    /// The next bytes of a stream.
    pub fn push(&mut self, app: AppId, stream: StdioStream, data: &[u8]) -> Option<String> {
        self.write(app, stream, |cutter, line| cutter.push(data, line))
    }

    /// Nothing more comes from the stream.
    pub fn close(&mut self, app: AppId, stream: StdioStream) -> Option<String> {
        self.write(app, stream, |cutter, line| cutter.finish(line))
    }

    /// Nothing more comes from any stream.
    pub fn close_all(&mut self) -> Option<String> {
        let apps: Vec<AppId> = self.logs.iter().map(|log| log.app).collect();
        let mut problem = None;
        for app in apps {
            for stream in [StdioStream::Stdout, StdioStream::Stderr] {
                problem = problem.or(self.close(app, stream));
            }
        }
        problem
    }

    fn write(
        &mut self,
        app: AppId,
        stream: StdioStream,
        cut: impl FnOnce(&mut LineCutter, &mut dyn FnMut(&[u8])),
    ) -> Option<String> {
        let log = self.logs.iter_mut().find(|log| log.app == app)?;
        let (cutter, stream) = match stream {
            StdioStream::Stdout => (&mut log.stdout, "stdout"),
            StdioStream::Stderr => (&mut log.stderr, "stderr"),
        };
        let prefix = format!("{:.9} {stream} ", Timestamp::now());
        let mut records = Vec::new();
        cut(cutter, &mut |line| {
            for part in [prefix.as_bytes(), line, b"\n"] {
                records.extend_from_slice(part);
            }
        });
        let written = log.file.write_all(&records);
        let path = log.path.clone();
        written.err().and_then(|error| self.complain(&path, &error))
    }

    fn complain(&mut self, path: &Path, error: &std::io::Error) -> Option<String> {
        let first = !std::mem::replace(&mut self.complained, true);
        first.then(|| {
            format!("warning: Kubernetes' logs are incomplete: cannot write {}: {error}", path.display())
        })
    }
}

/// Opens the file for appending, whatever links lie below the directory.
fn open(directory: &Path, path: &Path) -> Result<File, rustix::io::Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(directory, path, flags, FILE_MODE, resolve).map(File::from)
}
