//! An rkt with a data directory and configuration of its own, so that tests can neither see each other nor the host's
//! pods. Runs the `rkt` of `target/dist` as a user would, and cleans up after itself.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::command::{self, Finished, Running};
use crate::{dist, leaks};

/// Exit code of every failure that is rkt's own.
pub const RKT_FAILED: i32 = 254;

/// An rkt with directories of its own.
#[derive(Debug)]
pub struct TestRkt {
    directory: TempDir,
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Default for TestRkt {
    fn default() -> Self {
        Self::new()
    }
}

impl TestRkt {
    /// Creates the directories.
    pub fn new() -> Self {
        Self::with_program(&dist::file("rkt"))
    }

    /// The same, with another executable.
    pub fn with_program(program: &Path) -> Self {
        let directory =
            tempfile::Builder::new().prefix("rkt-test-").tempdir_in(scratch()).expect("a directory");
        for name in ["data", "local", "system"] {
            fs::create_dir(directory.path().join(name)).expect("creating a directory");
        }
        Self { directory, program: program.to_owned(), environment: Vec::new() }
    }

    /// A directory that goes away with this rkt.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A path in [`Self::directory`].
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// rkt's data directory.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The administrator's configuration directory.
    pub fn local_config(&self) -> PathBuf {
        self.path("local")
    }

    /// Sets an environment variable for every command.
    pub fn set_env(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment.push((name.into(), value.as_ref().to_owned()));
    }

    /// `rkt ARGUMENTS…` with this rkt's directories.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        for (flag, name) in [("--dir", "data"), ("--local-config", "local"), ("--system-config", "system")] {
            command.arg(format!("{flag}={}", self.path(name).display()));
        }
        command.args(arguments).current_dir(self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `rkt ARGUMENTS…` to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        command::run(&mut self.command(arguments), command::limit(60))
    }

    /// Starts `rkt ARGUMENTS…`.
    #[track_caller]
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running::start(&mut self.command(arguments))
    }

    /// `rkt status UUID` as a list of keys and values.
    #[track_caller]
    pub fn status(&self, uuid: &str) -> Vec<(String, String)> {
        let output = self.run(["status", uuid]).expect_code(0).out();
        let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        output.lines().filter_map(pair).collect()
    }

    /// One value of `rkt status UUID`.
    #[track_caller]
    pub fn status_value(&self, uuid: &str, key: &str) -> Option<String> {
        self.status(uuid).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Reads a UUID file, waiting until rkt has written it.
    #[track_caller]
    pub fn wait_for_uuid(&self, file: &Path) -> String {
        let deadline = Instant::now() + command::limit(30);
        loop {
            match fs::read_to_string(file) {
                Ok(uuid) if uuid.trim().len() == 36 => return uuid.trim().to_owned(),
                _ => assert!(Instant::now() < deadline, "no UUID in {}", file.display()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `rkt status` says that the pod is in `state`.
    #[track_caller]
    pub fn wait_for_state(&self, uuid: &str, state: &str) {
        let deadline = Instant::now() + command::limit(60);
        while self.status_value(uuid, "state").as_deref() != Some(state) {
            assert!(Instant::now() < deadline, "the pod is {:?}, not {state}", self.status(uuid));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The pods' UUIDs found in a state directory (`run`, `exited-garbage` …).
    pub fn pods_in(&self, state_directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.data().join("pods").join(state_directory)) else {
            return Vec::new();
        };
        entries.map(|entry| entry.expect("listing").file_name().to_string_lossy().into_owned()).collect()
    }

    /// Checks that nothing below this rkt's directory is mounted, runs or listens.
    #[track_caller]
    pub fn expect_nothing_left(&self) {
        let left = leaks::below(self.directory.path());
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Drop for TestRkt {
    fn drop(&mut self) {
        leaks::end(self.directory.path());
    }
}

/// Where test directories go: a disk that can hold overlays and pods. In the KVM machine that is rkt's own.
pub fn scratch() -> PathBuf {
    let rkt = Path::new("/var/lib/rkt");
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    // A file system of its own below /var/lib/rkt is the KVM machine's disk.
    if device(rkt).is_some() && device(rkt) != device(Path::new("/var/lib")) {
        return rkt.to_owned();
    }
    PathBuf::from("/var/tmp")
}
