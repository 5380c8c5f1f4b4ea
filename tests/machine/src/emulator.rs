//! Boots the emulated machine and follows it to the command's exit status.
//!
//! Responsible for QEMU's command line, for the three channels out of the machine (control, stdout, stderr; unix
//! sockets here, virtio-serial ports there) and for giving up on a boot that hangs. It must not know what the stages
//! inside do beyond the words they say on the control channel.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::kernel::{self, Kernel};
use crate::scratch::Scratch;
use crate::{Clock, Job, MachineError, Outcome, Place, initramfs, place};

const EMULATOR: &str = "qemu-system-x86_64";

/// A boot that says nothing for this long is hung. It takes 2 s to the first word on an idle host; hosts are not
/// always idle, and the loser of a race against a compiler must not be given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How often a boot is tried: a rare hang of the emulated kernel's timers is not the test's fault, two in a row are ours.
const ATTEMPTS: u32 = 2;

/// The emulator leaves by itself after the machine's reset; it is ended when it does not.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// One, whatever the host has: with two, QEMU 7.2 hangs a pod or the whole machine within some dozens of pods on a busy
/// host, and ten pods take 113 s instead of 70. Two of its faults need a second processor, or are much rarer without:
///
/// - A processor may translate code while another one patches it, and then goes on running what is no longer in memory:
///   a breakpoint, which comes and goes whenever Linux patches a branch of its scheduler because a VM starts or ends.
/// - An interrupt that KVM injects is delivered once more, even to a guest that has interrupts disabled, when the
///   processor is called away right after, by another one or by a timer of the emulator's own. A timer interrupt then waits for the lock
///   it holds itself, which one pod in thirty did on the instruction clock (a way around that is in xtask's `machine.rs`).
const PROCESSORS: &str = "1";

/// Size of the sparse disk for rkt's data.
const DISK_BYTES: u64 = 32 << 30;

/// How much of the console an error shows.
const CONSOLE_TAIL_LINES: usize = 30;

const CHANNELS: [&str; 3] = ["control", "stdout", "stderr"];

/// A step of the machine's life and when it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// Since the emulator was started.
    pub reached: Duration,
}

enum Attempt {
    Ended(Outcome),
    Hung { after: &'static str, console: String },
}

pub(crate) fn run(job: &Job, notice: &dyn Fn(&str)) -> Result<Outcome, MachineError> {
    if job.command.is_empty() {
        return Err(MachineError::NoCommand);
    }
    let kernel = kernel::ensure(&job.cache, notice)?;
    let scratch = Scratch::create(&job.cache)?;
    let initramfs = initramfs::build(job, &kernel)?;
    let path = scratch.file("initramfs");
    fs::write(&path, initramfs).map_err(|source| MachineError::File { action: "write", path, source })?;
    let mut hung_boots = 0;
    loop {
        match attempt(job, &kernel, &scratch)? {
            Attempt::Ended(outcome) => return Ok(Outcome { hung_boots, ..outcome }),
            Attempt::Hung { after, console } => {
                hung_boots += 1;
                if hung_boots == ATTEMPTS {
                    return Err(MachineError::Hung { after, attempts: ATTEMPTS, console });
                }
                notice(&format!("the machine hung while booting (after {after}); trying once more"));
            }
        }
    }
}

fn attempt(job: &Job, kernel: &Kernel, scratch: &Scratch) -> Result<Attempt, MachineError> {
    make_disk(&scratch.file("disk"))?;
    let mut listeners = Vec::new();
    for name in CHANNELS {
        let path = scratch.file(name);
        let _ = fs::remove_file(&path);
        listeners.push(UnixListener::bind(&path).map_err(|source| MachineError::File {
            action: "listen on",
            path,
            source,
        })?);
    }
    let log = scratch.file("emulator.log");
    let started = Instant::now();
    let mut child = start(job, kernel, scratch, &log)?;
    let result = follow(job, scratch, &mut child, listeners, started);
    // Whatever happened, no emulator survives its job.
    let _ = child.kill();
    let _ = child.wait();
    // The last console stays readable until the next run.
    let _ = fs::copy(scratch.file("console"), job.cache.join("last-console.log"));
    result
}

fn follow(
    job: &Job,
    scratch: &Scratch,
    child: &mut Child,
    listeners: Vec<UnixListener>,
    started: Instant,
) -> Result<Attempt, MachineError> {
    let mut streams = listeners.into_iter().map(|listener| connect(&listener, child));
    let mut next = || {
        streams
            .next()
            .flatten()
            .ok_or_else(|| MachineError::Died { after: "start", console: console(scratch) })
    };
    let (control, stdout, stderr) = (next()?, next()?, next()?);
    let relays = [relay(stdout, io::stdout()), relay(stderr, io::stderr())];
    let (sender, words) = mpsc::channel();
    thread::spawn(move || listen(control, &sender));

    let mut phases = Vec::new();
    let mut after = "start";
    let mut running_since = None;
    loop {
        match words.recv_timeout(patience(job, running_since)) {
            Ok(Word::Phase(name)) => {
                phases.push(Phase { name, reached: started.elapsed() });
                after = name;
                if name == RUNNING {
                    running_since = Some(Instant::now());
                }
            }
            Ok(Word::Exit(code)) => {
                phases.push(Phase { name: "exit", reached: started.elapsed() });
                leave(child, &words);
                for relay in relays {
                    let _ = relay.join();
                }
                let outcome = Outcome { code, place: Place::Emulated, phases, hung_boots: 0 };
                return Ok(Attempt::Ended(outcome));
            }
            Ok(Word::Failed(reason)) => {
                return Err(MachineError::Died { after, console: format!("{reason}\n{}", console(scratch)) });
            }
            Err(RecvTimeoutError::Disconnected) => {
                for relay in relays {
                    let _ = relay.join();
                }
                return Err(MachineError::Died { after, console: console(scratch) });
            }
            Err(RecvTimeoutError::Timeout) if running_since.is_some() => {
                return Err(MachineError::TimeLimit(job.time_limit.unwrap_or_default()));
            }
            Err(RecvTimeoutError::Timeout) => {
                return Ok(Attempt::Hung { after, console: console(scratch) });
            }
        }
    }
}

/// How long to wait for the next word: a boot must go on, a command may take its time.
fn patience(job: &Job, running_since: Option<Instant>) -> Duration {
    match (running_since, job.time_limit) {
        (None, _) => SILENCE_LIMIT,
        (Some(since), Some(limit)) => limit.saturating_sub(since.elapsed()),
        (Some(_), None) => Duration::MAX,
    }
}

const RUNNING: &str = "running";

/// What the stages inside say on the control channel.
enum Word {
    Phase(&'static str),
    Exit(u8),
    Failed(String),
}

fn listen(control: UnixStream, sender: &Sender<Word>) {
    for line in BufReader::new(control).lines() {
        let Ok(line) = line else { return };
        let word = match line.split_once(' ') {
            Some(("exit", code)) => Word::Exit(code.parse().unwrap_or(255)),
            Some(("failed", reason)) => Word::Failed(reason.to_owned()),
            _ if line == "kernel" => Word::Phase("kernel"),
            _ if line == "mounted" => Word::Phase("mounted"),
            _ if line == RUNNING => Word::Phase(RUNNING),
            _ => continue,
        };
        if sender.send(word).is_err() {
            return;
        }
    }
}

/// Passes one of the command's streams on as it comes.
fn relay(mut from: UnixStream, mut to: impl Write + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let Some(bytes) = buffer.get(..count) else { return };
            // A closed terminal must not stop the machine in the middle: the bytes are dropped, the command goes on.
            let _ = to.write_all(bytes).and_then(|()| to.flush());
        }
    })
}

/// Waits for the emulator to connect; `None` when it ends instead.
fn connect(listener: &UnixListener, child: &mut Child) -> Option<UnixStream> {
    listener.set_nonblocking(true).ok()?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).ok()?;
                return Some(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !matches!(child.try_wait(), Ok(None)) {
                    return None;
                }
                thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}

/// Waits for the emulator to end after the machine's last word.
fn leave(child: &mut Child, words: &Receiver<Word>) {
    let deadline = Instant::now() + LEAVE_LIMIT;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        let _ = words.recv_timeout(Duration::from_millis(10));
    }
    let _ = child.kill();
}

fn make_disk(path: &Path) -> Result<(), MachineError> {
    let failed = |source| MachineError::File { action: "make", path: path.into(), source };
    fs::File::create(path).and_then(|file| file.set_len(DISK_BYTES)).map_err(failed)?;
    let mut format = Command::new("/sbin/mkfs.ext4");
    format.args(["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]).arg(path);
    kernel::output(format).map(|_| ())
}

fn start(job: &Job, kernel: &Kernel, scratch: &Scratch, log: &Path) -> Result<Child, MachineError> {
    let file = |name: &str| scratch.file(name).to_string_lossy().into_owned();
    let (accelerator, clock): (_, &[&str]) = match job.clock {
        Clock::Wall => ("tcg,thread=multi,tb-size=1024", &[]),
        Clock::Instructions => ("tcg,thread=single,tb-size=1024", &["-icount", "shift=0,sleep=off"]),
    };
    let writable = job.writable.to_string_lossy();
    let share = |id: &str, path: &str, readonly: &str| {
        format!("local,id={id},path={path},security_model=passthrough,multidevs=remap{readonly}")
    };
    // setpriv: the emulator does not outlive this process, even when that is killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", EMULATOR]);
    // microvm boots quicker than a PC and has every device the machine needs.
    command.args(["-machine", "microvm,acpi=on,pit=on,pic=on,rtc=on,isa-serial=on"]);
    command.args(["-accel", accelerator, "-smp", PROCESSORS, "-m", &job.memory_mib.to_string()]);
    command.args(clock);
    // Without erms and fsrm the kernel copies with loops that the emulator translates to faster code.
    command.args(["-cpu", "max,+svm,-erms,-fsrm"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&kernel.image);
    command.arg("-initrd").arg(scratch.file("initramfs"));
    command.args(["-append", &kernel_arguments(job.clock)]);
    command.args(["-serial", &format!("file:{}", file("console"))]);
    command.args(["-fsdev", &share("root", "/", ",readonly=on")]);
    command.args(["-device", "virtio-9p-device,fsdev=root,mount_tag=root"]);
    command.args(["-fsdev", &share("writable", &writable, "")]);
    command.args(["-device", "virtio-9p-device,fsdev=writable,mount_tag=writable"]);
    command.args(["-drive", &format!("id=disk,file={},format=raw,if=none,cache=unsafe", file("disk"))]);
    command.args(["-device", "virtio-blk-device,drive=disk"]);
    command.args(["-object", "rng-random,id=entropy,filename=/dev/urandom"]);
    command.args(["-device", "virtio-rng-device,rng=entropy"]);
    command.args(["-device", "virtio-serial-device"]);
    for (index, name) in CHANNELS.iter().enumerate() {
        command.args(["-chardev", &format!("socket,id={name},path={}", file(name))]);
        command.args(["-device", &format!("virtserialport,nr={},chardev={name},name={name}", index + 1)]);
    }
    let output = fs::File::create(log).map_err(|source| MachineError::File {
        action: "make",
        path: log.into(),
        source,
    })?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    command
        .spawn()
        .map_err(|error| MachineError::Tool { program: EMULATOR.into(), message: error.to_string() })
}

/// The rate of the TSC must be told: measuring it against an emulated timer hangs about half of the boots on a busy
/// host. The instruction clock's TSC counts virtual nanoseconds. It leaps to the next timer whenever the processor halts, so that a
/// wait of microseconds for the host's disk would count as anything up to seconds; one that polls has its time go on at an even pace.
fn kernel_arguments(clock: Clock) -> String {
    let (khz, idle) = match clock {
        Clock::Wall => (fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| place::tsc_khz(&text)), ""),
        Clock::Instructions => (Some(1_000_000), " idle=poll"),
    };
    let tsc = khz.map(|khz| format!(" tsc_early_khz={khz}")).unwrap_or_default();
    format!(
        "console=ttyS0 quiet panic=-1 reboot=t tsc=reliable{tsc} no_timer_check mitigations=off nowatchdog \
         random.trust_cpu=on cryptomgr.notests rcupdate.rcu_expedited=1 net.ifnames=0{idle}"
    )
}

/// The end of the machine's console and of what the emulator said.
fn console(scratch: &Scratch) -> String {
    let mut text = String::new();
    for name in ["console", "emulator.log"] {
        let bytes = fs::read(scratch.file(name)).unwrap_or_default();
        let all = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = all.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(CONSOLE_TAIL_LINES)) {
            text.push_str("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}
