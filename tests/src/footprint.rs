//! Idle virtual machines, ours and QEMU's, and what their processes hold of the host's memory.
//!
//! Follows proc(5), `smaps`: the proportional set size, in which every page counts once, however many processes share it.

use std::fs;
use std::iter::Sum;
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::command::{Running, Stream, limit};
use crate::leaks;
use crate::microvm::{self, Memory};
use crate::rkt::TestRkt;

/// What an idle guest says when it has come to rest.
const READY: &str = "ready-to-idle";

/// What it does.
const STEPS: [&str; 4] = ["print-msg", READY, "sleep", "100000"];

/// For what a start leaves behind to be given back: page reporting waits two seconds.
pub const SETTLING: Duration = Duration::from_secs(5);

/// Memory of each guest.
pub const GUEST_MIB: u32 = 128;

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Guest memory that was touched.
    pub guest: u64,
    /// Everything else.
    pub rest: u64,
}

impl Footprint {
    /// Of a process, whose guest memory is its mappings of memory files.
    pub fn of(pid: Pid) -> Self {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("root may read it");
        let mut guest_memory = false;
        let mut sum = Footprint::default();
        for line in smaps.lines() {
            if let Some(size) = line.strip_prefix("Pss:") {
                let kib: u64 = size.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
                *(if guest_memory { &mut sum.guest } else { &mut sum.rest }) += kib * 1024;
            } else if line.split(' ').next().is_some_and(|word| word.contains('-') && !word.ends_with(':')) {
                guest_memory = line.contains("/memfd:");
            }
        }
        sum
    }

    /// Mebibytes of both.
    pub fn mebibytes(self) -> f64 {
        (self.guest + self.rest) as f64 / f64::from(1 << 20)
    }
}

impl Add for Footprint {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Footprint { guest: self.guest + other.guest, rest: self.rest + other.rest }
    }
}

impl Sum for Footprint {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// A pod that does nothing.
pub struct IdlePod {
    process: Running,
    uuid: String,
}

impl IdlePod {
    /// Starts it; `name` is that of its UUID file. The image is in the store.
    pub fn start(rkt: &TestRkt, name: &str) -> Self {
        let memory = format!("--vm-memory={GUEST_MIB}Mi");
        let save = format!("--uuid-file-save={name}");
        let run = ["--insecure-options=image", "run", "--net=none", "--vm-cpus=1", &memory, &save];
        let file = rkt.path(name);
        // That of a pod before it.
        let _ = fs::remove_file(&file);
        let process = rkt.start([&run[..], &["example.com/inspect", "--"], &STEPS].concat());
        let mut pod = IdlePod { process, uuid: String::new() };
        pod.uuid = rkt.wait_for_uuid(&mut pod.process, &file);
        pod
    }

    /// Waits until it is idle.
    pub fn wait(&mut self) {
        self.process.wait_for(Stream::Out, READY, limit(120));
    }

    /// Whether it is.
    pub fn rests(&self) -> bool {
        self.process.so_far(Stream::Out).contains(READY)
    }

    /// What its processes hold: the supervisor, then its helpers.
    pub fn footprints(&self) -> Vec<Footprint> {
        let supervisor = self.process.pid();
        let all = leaks::processes(&self.uuid).into_iter().map(|(pid, _)| pid);
        let helpers = all.filter(|pid| *pid != supervisor);
        std::iter::once(supervisor).chain(helpers).map(Footprint::of).collect()
    }

    /// Ends it.
    pub fn end(self) {
        self.process.send(Signal::SIGTERM);
        self.process.finish(limit(120));
    }

    /// The same, of one that does not listen.
    pub fn kill(self) {
        self.process.send(Signal::SIGKILL);
        self.process.finish(limit(60));
    }
}

/// QEMU's microvm with the same kernel and the same program as its first process.
pub struct IdleQemu(Running);

impl IdleQemu {
    /// Packs what all of them boot from. The image is in the store.
    pub fn initramfs(rkt: &TestRkt) -> PathBuf {
        let extracted = rkt.path("inspect-root");
        let arguments = ["image", "extract", "--rootfs-only", "example.com/inspect"];
        rkt.run([&arguments[..], &[extracted.to_str().expect("UTF-8")]].concat()).expect_code(0);
        let program = fs::read(extracted.join("inspect")).expect("reading");
        let mut archive = kvm_machine::cpio::Writer::new(Vec::new());
        archive.directory("dev", 0o755).expect("packing");
        archive.character_device("dev/console", 0o600, 5, 1).expect("packing");
        archive.file("inspect", 0o755, &program).expect("packing");
        let path = rkt.path("idle-initramfs");
        fs::write(&path, archive.finish().expect("packing")).expect("writing");
        path
    }

    /// Starts it.
    pub fn start(initramfs: &Path) -> Self {
        let line = format!("{} rdinit=/inspect rest={READY}", microvm::KERNEL_PARAMETERS);
        let mut command = Command::new(microvm::QEMU);
        command.args(microvm::arguments(Memory::File, GUEST_MIB, initramfs, &line));
        IdleQemu(Running::start(command.stdin(Stdio::null())))
    }

    /// Waits until it is idle.
    pub fn wait(&mut self) {
        self.0.wait_for(Stream::Out, READY, limit(120));
    }

    /// Whether it is.
    pub fn rests(&self) -> bool {
        self.0.so_far(Stream::Out).contains(READY)
    }

    /// What it holds.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.0.pid())
    }

    /// Ends it.
    pub fn end(self) {
        self.0.send(Signal::SIGKILL);
        self.0.finish(limit(60));
    }
}
