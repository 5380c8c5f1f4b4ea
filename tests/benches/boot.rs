//! How long it takes to get into a VM, beside QEMU's microvm with the same kernel and initramfs, in interleaved rounds of
//! one boot of the machine. Run by `cargo xtask bench boot`, on the instruction clock where KVM is not real: there a
//! nanosecond is an instruction, so the figures compare and do not forecast.
//!
//! Phases: `qemu_init` and `vmm_init` from exec of the VMM to the first write of guest-init on the serial console;
//! `run_first_byte` from exec of `rkt run` to the first byte of the app's output on rkt's stdout, the image rendered before;
//! `run_exit` to the end of `rkt run`. They are without a network; `net_first_byte` and `net_exit` are the same two on the network `default`, and
//! `net_set_up` is the part of the former in which CNI's programs and stage1 make that network. What `run_exit` consists of is printed step by
//! step, each named by the phase of docs/metrics.md that it ends with.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rkt_tests::dist;
use rkt_tests::microvm::{self, Memory};
use rkt_tests::rkt::TestRkt;
use serde_json::Value;

/// Rounds that count; the first one, with a cold page cache, comes before them.
const ROUNDS: usize = 11;

/// The least from which medians and quartiles mean something.
const LEAST_ROUNDS: usize = 9;

/// A boot that takes longer than this hangs. On the instruction clock that is some minutes of real time.
const BOOT_LIMIT: Duration = Duration::from_secs(20);

/// For what the run before leaves to the kernel: name spaces and control groups are taken apart after their last process has ended.
const SETTLING: Duration = Duration::from_millis(100);

/// Guest memory of every VM here: what a pod gets that asks for nothing.
const MEMORY_MIB: u32 = 512;

/// What ends a boot: guest-init's first act.
const INIT_SAYS: &[u8] = b"guest-init ";

/// The steps of `rkt run`, which together take all of its time: those between are the pod's own phases.
const STEPS: [&str; 10] =
    ["exec", "stage1", "networks", "machine", "kernel", "init", "app", "first_byte", "exit", "end"];

/// One phase's times, in milliseconds.
struct Phase {
    name: &'static str,
    times: Vec<f64>,
}

impl Phase {
    fn new(name: &'static str) -> Self {
        Self { name, times: Vec::new() }
    }

    /// The value below which `share` of the times lie, between two of them if need be.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.times.clone();
        sorted.sort_by(f64::total_cmp);
        let position = share * (sorted.len() - 1) as f64;
        let below = position.floor();
        let (low, high) = (sorted[below as usize], sorted[position.ceil() as usize]);
        low + (high - low) * (position - below)
    }

    fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn print(&self) {
        let (low, median, high) = (self.quantile(0.25), self.median(), self.quantile(0.75));
        println!(
            "{:15} {median:9.2} ms   quartiles {low:9.2} {high:9.2}   n={}",
            self.name,
            self.times.len()
        );
    }
}

fn main() {
    let smoke = env::args().any(|argument| argument == "--smoke");
    assert_eq!(kvm_machine::place(), kvm_machine::Place::Host, "run this through `cargo xtask bench boot`");
    let rounds = if smoke { 1 } else { ROUNDS.max(LEAST_ROUNDS) };
    let rkt = TestRkt::new();
    let echo = dist::image("echo");
    let fetch = ["--insecure-options=image", "fetch", echo.to_str().expect("UTF-8")];
    rkt.run(fetch).expect_code(0);

    let mut phases =
        ["qemu_init", "vmm_init", "run_first_byte", "run_exit", "net_set_up", "net_first_byte", "net_exit"]
            .map(Phase::new);
    let mut steps = STEPS.map(Phase::new);
    let mut exits = Vec::new();
    for round in 0..=rounds {
        let qemu = boot(&mut qemu());
        let (vmm, vm_exits) = boot_counting(&mut vmm_boot());
        let Run { first_byte, exit, steps: taken } = run_pod(&rkt, "none");
        let net = run_pod(&rkt, "default");
        let net_set_up = net.steps[2];
        if round == 0 {
            println!(
                "cold            qemu_init {qemu:.2} vmm_init {vmm:.2} run_first_byte {first_byte:.2} \
                 net_first_byte {:.2} ms",
                net.first_byte
            );
            continue;
        }
        println!(
            "round {round:2}        qemu_init {qemu:.2} vmm_init {vmm:.2} run_first_byte {first_byte:.2} \
             run_exit {exit:.2} net_set_up {net_set_up:.2} net_first_byte {:.2} net_exit {:.2} ms, {vm_exits} exits",
            net.first_byte, net.exit
        );
        let times = [qemu, vmm, first_byte, exit, net_set_up, net.first_byte, net.exit];
        for (phase, time) in phases.iter_mut().zip(times).chain(steps.iter_mut().zip(taken)) {
            phase.times.push(time);
        }
        exits.push(vm_exits);
    }

    println!();
    phases.iter().for_each(Phase::print);
    println!("\nof run_exit, up to");
    steps.iter().for_each(Phase::print);
    let [qemu, vmm, first_byte, _, _, net_first_byte, _] = phases.each_ref().map(Phase::median);
    exits.sort_unstable();
    println!("ratio run_first_byte/qemu_init {:.2}", first_byte / qemu);
    println!("ratio net_first_byte/run_first_byte {:.2}", net_first_byte / first_byte);
    println!("ratio vmm_init/qemu_init {:.2}", vmm / qemu);
    println!("vm_exits_to_init {}", exits[exits.len() / 2]);
}

/// QEMU's microvm.
fn qemu() -> Command {
    let mut command = Command::new(microvm::QEMU);
    let initramfs = dist::file("initramfs");
    command.args(microvm::arguments(Memory::Private, MEMORY_MIB, &initramfs, &command_line()));
    command
}

/// Of both VMMs.
fn command_line() -> String {
    format!("{} rdinit=/init", microvm::KERNEL_PARAMETERS)
}

/// Our VMM with nothing around it.
fn vmm_boot() -> Command {
    let mut command = Command::new(dist::file("vmm-boot"));
    command.args(["--memory-mib", &MEMORY_MIB.to_string(), "--vcpus", "1", "--cmdline", &command_line()]);
    command.arg("--kernel").arg(dist::file("vmlinux")).arg("--initramfs").arg(dist::file("initramfs"));
    command
}

/// Milliseconds from exec to guest-init's first write.
fn boot(command: &mut Command) -> f64 {
    let (started, mut child) = start(command);
    let (ended, _) = await_text(&mut child, INIT_SAYS);
    end(child);
    milliseconds(started, ended)
}

/// The same, and how often the guest left for the host meanwhile.
fn boot_counting(command: &mut Command) -> (f64, u64) {
    let (started, mut child) = start(command);
    let (ended, _) = await_text(&mut child, INIT_SAYS);
    let exits = vm_exits(child.id());
    end(child);
    (milliseconds(started, ended), exits)
}

/// Milliseconds from exec of `rkt run`.
struct Run {
    /// To the app's first byte.
    first_byte: f64,
    /// To the end.
    exit: f64,
    /// What each of [`STEPS`] took.
    steps: [f64; STEPS.len()],
}

/// Runs a pod of the echo app on this network.
fn run_pod(rkt: &TestRkt, network: &str) -> Run {
    let net = format!("--net={network}");
    let arguments = ["--insecure-options=image", "run", &net, "--uuid-file-save=uuid", "example.com/echo"];
    let (started, mut child) = start(&mut rkt.command(arguments));
    let (first, _) = await_text(&mut child, b"[");
    let status = child.wait().expect("waiting for a child works");
    let ended = Instant::now();
    assert!(status.success(), "rkt run ended with {status}");
    let uuid = rkt.uuid("uuid");
    let status = rkt.run(["status", "--format=json", &uuid]).expect_code(0).out();
    let status: Value = serde_json::from_str(&status).expect("JSON");
    rkt.run(["rm", &uuid]).expect_code(0);
    let (first_byte, exit) = (milliseconds(started, first), milliseconds(started, ended));
    // Phases count from rkt's own beginning, a moment after its exec.
    let phase = |name: &str| status["phases"][name].as_f64().expect("microseconds") / 1000.0;
    let begun = first_byte - phase("first_byte");
    let mut reached = 0.0;
    let steps = STEPS.map(|step| {
        let until = match step {
            "exec" => begun,
            "end" => exit,
            _ => begun + phase(step),
        };
        until - std::mem::replace(&mut reached, until)
    });
    Run { first_byte, exit, steps }
}

fn start(command: &mut Command) -> (Instant, Child) {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    thread::sleep(SETTLING);
    let started = Instant::now();
    (started, command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}")))
}

/// Waits until the child has printed `text`; returns when that was, and the reader of everything it prints.
fn await_text(child: &mut Child, text: &'static [u8]) -> (Instant, JoinHandle<Vec<u8>>) {
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = mpsc::channel();
    // Reads on to the end, so that the child never meets a closed pipe.
    let reader = thread::spawn(move || {
        let (mut seen, mut chunk, mut found) = (Vec::new(), [0; 4096], false);
        while let Ok(length @ 1..) = stdout.read(&mut chunk) {
            let now = Instant::now();
            seen.extend_from_slice(&chunk[..length]);
            if !found && seen.windows(text.len()).any(|window| window == text) {
                found = true;
                let _ = sender.send(now);
            }
        }
        drop(sender);
        seen
    });
    let when = receiver.recv_timeout(BOOT_LIMIT).unwrap_or_else(|error| {
        let _ = child.kill();
        panic!("no {:?} in {BOOT_LIMIT:?}: {error}", String::from_utf8_lossy(text))
    });
    (when, reader)
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn milliseconds(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64() * 1000.0
}

/// KVM's count of all exits of the VM of process `pid` (Documentation/virt/kvm/api.rst and the debugfs directory of each
/// VM, named PID-FD).
fn vm_exits(pid: u32) -> u64 {
    let directory = PathBuf::from("/sys/kernel/debug/kvm");
    let entries = fs::read_dir(&directory).expect("debugfs is mounted");
    let ours =
        entries.flatten().find(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{pid}-")));
    let file = ours.expect("the VM still runs").path().join("exits");
    fs::read_to_string(file).expect("KVM counts exits").trim().parse().expect("a number")
}
