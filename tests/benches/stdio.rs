//! How fast an app's standard streams are, beside the same program writing into a pipe on the host. Run by `cargo xtask bench
//! stdio`, on the instruction clock where KVM is not real: there a nanosecond is an instruction, so the ratios count.
//!
//! Rows: `log` is what every pod does, lines with labels on rkt's own output and records in the log on disk; `binary` the same
//! without a line end; `raw` is `--interactive` into a pipe, without labels and log; `stream` is a program attached to
//! `--stdout=stream`, with labels and log beside it; `stdin` is a program that writes to an app's `--stdin=stream`. Every rate is
//! that of the app's own bytes, from the first one to arrive to the last.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::Cell;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use rkt_tests::dist;
use rkt_tests::rkt::TestRkt;

/// What passes in one round: more than all buffers on the way hold together.
const BYTES: u64 = 256 << 20;
const SMOKE_BYTES: u64 = 2 << 20;

/// Where every instruction is emulated, fewer do.
const EMULATED_BYTES: u64 = 16 << 20;

/// The longest that a pod lives there, which takes half of it. The emulator stops one in fifty for good (`tests/machine/src/emulator.rs`),
/// and its clock hardly moves then: it is killed, and its work done by another one.
const EMULATED_LIMIT: Duration = Duration::from_secs(1);

/// The same for the first one, for which the image is unpacked.
const FIRST_LIMIT: Duration = Duration::from_secs(4);

/// Pods in a row that may stop for good.
const ATTEMPTS: usize = 3;

/// A line of a talkative server's log.
const LINE: &str = "128";

/// Rounds; the best one counts, since everything else that runs only ever slows one down.
const ROUNDS: usize = 3;

const IMAGE: &str = "example.com/inspect";

fn main() {
    let smoke = env::args().any(|argument| argument == "--smoke");
    assert_eq!(kvm_machine::place(), kvm_machine::Place::Host, "run this through `cargo xtask bench stdio`");
    let emulated = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"));
    let (bytes, rounds) = match (smoke, emulated) {
        (true, _) => (SMOKE_BYTES, 1),
        (false, true) => (EMULATED_BYTES, ROUNDS),
        (false, false) => (BYTES, ROUNDS),
    };
    let rkt = TestRkt::new();
    let image = dist::image("inspect");
    rkt.run(["--insecure-options=image", "fetch", image.to_str().expect("UTF-8")]).expect_code(0);
    let extracted = rkt.path("extracted");
    let target = extracted.to_str().expect("UTF-8");
    rkt.run(["image", "extract", "--rootfs-only", IMAGE, target]).expect_code(0);
    let program = extracted.join("inspect");

    println!("{} MiB a round, lines of {LINE} bytes", bytes >> 20);
    let best = |row: &dyn Fn() -> f64| (0..rounds).map(|_| attempt(row)).fold(0.0, f64::max);
    let pipe = best(&|| pipe(&program, bytes));
    let pipe_in = best(&|| pipe_in(&program, bytes));
    println!("pipe      {:9.1} MB/s", pipe / 1e6);
    println!("pipe_in   {:9.1} MB/s", pipe_in / 1e6);
    let limit = Cell::new(None);
    let bench = Bench { rkt: &rkt, limit: &limit };
    if emulated && !smoke {
        limit.set(Some(FIRST_LIMIT));
        attempt(&|| bench.own_output(SMOKE_BYTES, &[], LINE));
        limit.set(Some(EMULATED_LIMIT));
    }
    let rows: [(&str, f64, &dyn Fn() -> f64); 5] = [
        ("log", pipe, &|| bench.own_output(bytes, &[], LINE)),
        ("binary", pipe, &|| bench.own_output(bytes, &[], "0")),
        ("raw", pipe, &|| bench.own_output(bytes, &["--interactive"], LINE)),
        ("stream", pipe, &|| bench.stream(bytes)),
        ("stdin", pipe_in, &|| bench.stdin(bytes)),
    ];
    for (name, beside, row) in rows {
        let rate = best(row);
        println!("{name:9} {:9.1} MB/s   ratio {:.2} of a pipe", rate / 1e6, rate / beside);
    }
}

/// Bytes a second of the program into a pipe.
fn pipe(program: &Path, bytes: u64) -> f64 {
    let mut child = Command::new(program)
        .args(["pour", &bytes.to_string(), LINE])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let rate = rate(&mut child.stdout.take().expect("piped"), bytes);
    assert!(child.wait().expect("waiting works").success());
    rate
}

/// Bytes a second of a pipe into the program.
fn pipe_in(program: &Path, bytes: u64) -> f64 {
    let mut child = Command::new(program)
        .arg("swallow")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let started = Instant::now();
    fill(&mut child.stdin.take().expect("piped"), bytes);
    let output = child.wait_with_output().expect("waiting works");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("swallowed={bytes}\n"));
    bytes as f64 / started.elapsed().as_secs_f64()
}

/// What the rows have in common.
struct Bench<'a> {
    rkt: &'a TestRkt,
    /// How long a pod may live.
    limit: &'a Cell<Option<Duration>>,
}

/// A pod that runs, and is killed when its time is over.
struct Pod {
    process: Child,
    uuid: String,
    _watch: Option<Sender<()>>,
}

impl Bench<'_> {
    /// Bytes a second of an app that arrive on rkt's standard output.
    fn own_output(&self, bytes: u64, flags: &[&str], line: &str) -> f64 {
        let count = bytes.to_string();
        let words = [flags, &[IMAGE, "--", "pour", &count, line][..]].concat();
        let mut pod = self.run(&words);
        let rate = rate(&mut pod.process.stdout.take().expect("piped"), bytes);
        self.end(pod);
        rate
    }

    /// Bytes a second of an app that reach an attached program.
    fn stream(&self, bytes: u64) -> f64 {
        let count = bytes.to_string();
        let words = ["--stdin=stream", "--stdout=stream", "--", "swallow", "pour", &count, LINE];
        let mut pod = self.run(&[&[IMAGE], &words[..]].concat());
        let mut output = self.connect(&pod, "sock-stdout");
        let swallow = swallow(&mut pod.process);
        // The app's own turn comes when its input ends.
        let input = self.connect(&pod, "sock-stdin");
        input.shutdown(std::net::Shutdown::Write).expect("shutting down works");
        let rate = rate(&mut output, bytes);
        self.end(pod);
        swallow.join().expect("the reader does not panic");
        rate
    }

    /// Bytes a second that reach an app from an attached program.
    fn stdin(&self, bytes: u64) -> f64 {
        let mut pod = self.run(&[IMAGE, "--stdin=stream", "--", "swallow"]);
        let mut input = self.connect(&pod, "sock-stdin");
        let started = Instant::now();
        fill(&mut input, bytes);
        input.shutdown(std::net::Shutdown::Write).expect("shutting down works");
        let mut output = pod.process.stdout.take().expect("piped");
        let mut first = [0];
        output.read_exact(&mut first).expect("the app says how much it got");
        let rate = bytes as f64 / started.elapsed().as_secs_f64();
        let mut said = String::new();
        output.read_to_string(&mut said).expect("reading works");
        assert!(said.contains(&format!("swallowed={bytes}")), "{said}");
        self.end(pod);
        rate
    }

    /// Starts a pod; returns it when its control socket can be connected to.
    fn run(&self, words: &[&str]) -> Pod {
        let file = self.rkt.path("uuid");
        let _ = fs::remove_file(&file);
        let save = format!("--uuid-file-save={}", file.display());
        let flags = ["--insecure-options=image", "run", "--net=none", &save];
        let mut command = self.rkt.command([&flags[..], words].concat());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let process = command.spawn().expect("rkt starts");
        let watch = self.limit.get().map(|limit| kill_after(&process, limit));
        let uuid = wait(|| fs::read_to_string(&file).ok().filter(|uuid| !uuid.trim().is_empty()));
        Pod { process, uuid: uuid.trim().to_owned(), _watch: watch }
    }

    fn end(&self, mut pod: Pod) {
        let status = pod.process.wait().expect("waiting works");
        assert!(status.success(), "rkt run ended with {status}");
        self.rkt.run(["rm", &pod.uuid]).expect_code(0);
    }

    fn connect(&self, pod: &Pod, socket: &str) -> UnixStream {
        let directory: PathBuf =
            self.rkt.data().join("pods/run").join(&pod.uuid).join("stage1/rootfs/rkt/iottymux/inspect");
        wait(|| {
            let directory = File::open(&directory).ok()?;
            UnixStream::connect(format!("/proc/self/fd/{}/{socket}", directory.as_raw_fd())).ok()
        })
    }
}

/// Does a row's work, once more if its pod did not live to the end of it.
fn attempt(row: &dyn Fn() -> f64) -> f64 {
    let tried = |_| panic::catch_unwind(AssertUnwindSafe(row)).ok();
    (0..ATTEMPTS).find_map(tried).expect("a pod gets to its end")
}

/// Kills the process after that time, unless what is returned is dropped before.
fn kill_after(process: &Child, limit: Duration) -> Sender<()> {
    let pid = Pid::from_raw(i32::try_from(process.id()).expect("a process ID"));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        if receiver.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            println!("a pod has stopped");
            let _ = signal::kill(pid, Signal::SIGKILL);
        }
    });
    sender
}

/// Reads what comes on rkt's own output beside.
fn swallow(pod: &mut Child) -> thread::JoinHandle<()> {
    let mut output = pod.stdout.take().expect("piped");
    thread::spawn(move || drop(std::io::copy(&mut output, &mut std::io::sink())))
}

fn wait<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(it) = attempt() {
            return it;
        }
        assert!(Instant::now() < deadline, "the pod does not start");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads to the end; returns how many of the app's bytes came a second. What comes with them are labels.
fn rate(source: &mut impl Read, of_app: u64) -> f64 {
    let mut chunk = vec![0; 1 << 16];
    let (mut count, mut at_first) = (0, 0);
    let mut times = None;
    loop {
        let length = source.read(&mut chunk).expect("reading works");
        if length == 0 {
            break;
        }
        count += length as u64;
        let now = Instant::now();
        let (first, _) = *times.get_or_insert((now, now));
        times = Some((first, now));
        if first == now {
            at_first = count;
        }
    }
    assert!(count >= of_app, "ended after {count} of {of_app} bytes");
    let (first, last) = times.expect("something came");
    let share = (count - at_first) as f64 / count as f64;
    of_app as f64 * share / (last - first).as_secs_f64()
}

/// Writes so many bytes.
fn fill(sink: &mut impl Write, bytes: u64) {
    let block = vec![b'x'; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        sink.write_all(&block[..count]).expect("somebody reads");
        left -= count as u64;
    }
}
