//! Runs a command with its output captured and a limit on its time, so that a test that hangs ends as a failure that
//! shows what was printed so far. Does not know what the command is.

use std::fmt;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::evidence;

/// How long the output may stay open after the command's end; what holds it longer is a process left behind.
const OUTPUT_GRACE: Duration = Duration::from_secs(20);

/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(10);

/// A time limit that suits the place. An emulated machine is ten times slower and more; but a wait must end before the
/// runner's limit on the whole test (five minutes), or nobody learns what was waited for.
pub fn limit(seconds: u64) -> Duration {
    let factor = if emulated() { 8 } else { 1 };
    Duration::from_secs(seconds * factor)
}

/// Whether this CPU is QEMU's emulation.
fn emulated() -> bool {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpuinfo.contains("QEMU TCG")
}

/// Which of a command's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A command that ended.
#[derive(Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub stdout: Vec<u8>,
    /// What it printed on standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Finished {
    /// The exit code; 128 + N after signal N.
    pub fn code(&self) -> i32 {
        self.status.code().or_else(|| self.status.signal().map(|number| 128 + number)).unwrap_or(-1)
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:?}");
        self
    }

    /// Checks that standard output holds `text`.
    #[track_caller]
    pub fn expect_out(self, text: &str) -> Self {
        assert!(self.out().contains(text), "no {text:?} on stdout of {self:?}");
        self
    }

    /// Checks that standard error holds `text`.
    #[track_caller]
    pub fn expect_err(self, text: &str) -> Self {
        assert!(self.err().contains(text), "no {text:?} on stderr of {self:?}");
        self
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, err) = (excerpt(&self.stdout), excerpt(&self.stderr));
        write!(f, "{} after {:?}\n--- stdout\n{out}\n--- stderr\n{err}\n---", self.status, self.elapsed)
    }
}

/// Enough of an output to understand a failure.
fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 8192;
    let start = bytes.len().saturating_sub(MOST);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}

/// Runs the command to its end.
#[track_caller]
pub fn run(command: &mut Command, limit: Duration) -> Finished {
    Running::start(command).finish(limit)
}

/// The same command where `directory`, which is a mount point like `/dev` and `/proc`, is empty. Nobody else sees that, even if
/// the root directory is none, as in a chroot.
pub fn with_an_empty(directory: &str, command: &Command) -> Command {
    let script = "mount --make-private \"$0\" && mount -t tmpfs none \"$0\" && exec \"$@\"";
    let mut hiding = Command::new("unshare");
    hiding.args(["--mount", "--propagation", "unchanged", "sh", "-c", script, directory]);
    hiding.arg(command.get_program()).args(command.get_args());
    hiding.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(place) = command.get_current_dir() {
        hiding.current_dir(place);
    }
    hiding
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    program: String,
    started: Instant,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts the command in a process group of its own, without input.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let program = format!("{command:?}");
        // A test that is killed at its time limit must not leave the command behind.
        let die_with_parent = || prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into);
        // SAFETY: between fork and exec the closure makes one system call and touches no memory that other threads share.
        unsafe { command.pre_exec(die_with_parent) };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {program}: {error}"));
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().expect("stdout is piped"), &stdout),
            collect(child.stderr.take().expect("stderr is piped"), &stderr),
        ];
        Self { child, program, started: Instant::now(), stdout, stderr, readers }
    }

    /// The process ID.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process ID fits i32"))
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What a stream holds so far.
    pub fn so_far(&self, stream: Stream) -> String {
        let buffer = match stream {
            Stream::Out => &self.stdout,
            Stream::Err => &self.stderr,
        };
        String::from_utf8_lossy(&buffer.lock().expect("the reader does not panic")).into_owned()
    }

    /// Waits until a stream holds `text`.
    #[track_caller]
    pub fn wait_for(&mut self, stream: Stream, text: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.so_far(stream).contains(text) {
            let ended = self.child.try_wait().expect("waiting for a child works");
            if let Some(status) = ended {
                thread::sleep(Duration::from_millis(200));
                if self.so_far(stream).contains(text) {
                    return;
                }
                panic!("{} ended with {status} before it said {text:?}{}", self.program, self.said());
            }
            assert!(
                Instant::now() < deadline,
                "{} did not say {text:?} in {limit:?}{}\n{}",
                self.program,
                self.said(),
                evidence::of(self.pid().as_raw())
            );
            thread::sleep(POLL);
        }
    }

    /// Sends a signal to the process alone.
    pub fn send(&self, signal: Signal) {
        signal::kill(self.pid(), signal)
            .unwrap_or_else(|error| panic!("signalling {}: {error}", self.program));
    }

    /// Sends a signal to its process group, as a terminal does on Ctrl-C.
    pub fn send_group(&self, signal: Signal) {
        signal::killpg(self.pid(), signal)
            .unwrap_or_else(|error| panic!("signalling {}: {error}", self.program));
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Finished {
        let deadline = self.started + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting for a child works") {
                break status;
            }
            if Instant::now() >= deadline {
                let (said, evidence) = (self.said(), evidence::of(self.pid().as_raw()));
                self.kill();
                panic!("{} did not end in {limit:?}{said}\n{evidence}", self.program);
            }
            thread::sleep(POLL);
        };
        let elapsed = self.started.elapsed();
        let deadline = Instant::now() + OUTPUT_GRACE;
        while !self.readers.iter().all(JoinHandle::is_finished) {
            assert!(Instant::now() < deadline, "{} ended, but something holds its output open", self.program);
            thread::sleep(POLL);
        }
        let take = |buffer: &Mutex<Vec<u8>>| std::mem::take(&mut *buffer.lock().expect("the reader is done"));
        Finished { status, stdout: take(&self.stdout), stderr: take(&self.stderr), elapsed }
    }

    fn said(&self) -> String {
        let (out, err) = (self.so_far(Stream::Out), self.so_far(Stream::Err));
        format!(
            "\n--- stdout so far\n{}\n--- stderr so far\n{}\n---",
            excerpt(out.as_bytes()),
            excerpt(err.as_bytes())
        )
    }

    fn kill(&mut self) {
        // The group may be gone already.
        let _ = signal::killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

/// Collects a stream in the background.
fn collect(mut stream: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut chunk = vec![0; 1 << 16];
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            into.lock().expect("nobody panics with the lock").extend_from_slice(&chunk[..length]);
        }
    })
}
