//! An rkt with a data directory and configuration of its own, so that tests can neither see each other nor the host's
//! pods. Runs the `rkt` of `target/dist` as a user would, and cleans up after itself.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::command::{self, Finished, Running, Stream};
use crate::{dist, leaks};

/// Exit code of every failure that is rkt's own.
pub const RKT_FAILED: i32 = 254;

/// An rkt with directories of its own.
#[derive(Debug)]
pub struct TestRkt {
    directory: Directory,
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// Where an rkt's directories are.
#[derive(Debug)]
enum Directory {
    /// In one that goes away with this value.
    Own(TempDir),
    /// In one that other processes use as well.
    Shared(PathBuf),
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
        Self::at(Directory::Own(directory), program)
    }

    /// An rkt whose directories outlive this process, for tests that each run in a process of their own and would
    /// otherwise all have to fill a store. `fill` is called when they are new; they are new whenever the product is.
    pub fn shared(fill: impl FnOnce(&Self)) -> Self {
        let prefix = "rkt-tests-shared-";
        let name = format!("{prefix}{:016x}", dist::state());
        let lock = File::create(scratch().join(".rkt-tests-shared.lock")).expect("a lock file");
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("a lock");
        for entry in fs::read_dir(scratch()).expect("listing").flatten() {
            let outdated =
                entry.file_name().to_string_lossy().starts_with(prefix) && entry.file_name() != *name;
            if outdated {
                leaks::end(&entry.path());
                fs::remove_dir_all(entry.path()).expect("removing the directories of an earlier build");
            }
        }
        let directory = scratch().join(&name);
        let filled = directory.join("filled");
        fs::create_dir_all(&directory).expect("a directory");
        let rkt = Self::at(Directory::Shared(directory), &dist::file("rkt"));
        if !filled.exists() {
            fill(&rkt);
            File::create(filled).expect("a mark");
        }
        drop(lock);
        rkt
    }

    fn at(directory: Directory, program: &Path) -> Self {
        let rkt = Self { directory, program: program.to_owned(), environment: Vec::new() };
        for name in ["data", "local", "system"] {
            fs::create_dir_all(rkt.path(name)).expect("creating a directory");
        }
        rkt
    }

    /// The directory that holds this rkt's own.
    pub fn directory(&self) -> &Path {
        match &self.directory {
            Directory::Own(directory) => directory.path(),
            Directory::Shared(directory) => directory,
        }
    }

    /// A path in [`Self::directory`].
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
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
        command.args(arguments).current_dir(self.directory());
        record(&command);
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

    /// Reads the UUID file of a pod that is being started, waiting until rkt has written it.
    #[track_caller]
    pub fn wait_for_uuid(&self, pod: &mut Running, file: &Path) -> String {
        let deadline = Instant::now() + command::limit(30);
        loop {
            let ended = pod.has_ended();
            if let Ok(uuid) = fs::read_to_string(file)
                && uuid.len() == 36
            {
                return uuid;
            }
            let said = pod.so_far(Stream::Err);
            assert!(!ended && Instant::now() < deadline, "no UUID in {}; rkt said {said}", file.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads the UUID file of a pod that was started.
    #[track_caller]
    pub fn uuid(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).expect("rkt wrote the pod's UUID")
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
        let left = leaks::below(self.directory());
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Drop for TestRkt {
    fn drop(&mut self) {
        if let Directory::Own(directory) = &self.directory {
            leaks::end(directory.path());
        }
    }
}

/// Appends the command's arguments to the file that the runner of the tests names, which tells by them what the tests use of
/// rkt.
fn record(command: &Command) {
    let Some(file) = env::var_os("RKT_TEST_COMMANDS") else { return };
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let line = format!("{}\n", serde_json::json!(arguments));
    let mut file = File::options().append(true).open(file).expect("the runner made the file");
    file.write_all(line.as_bytes()).expect("recording a command");
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
