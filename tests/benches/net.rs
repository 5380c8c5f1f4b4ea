//! How quick a virtual machine's network card is, beside QEMU's microvm with virtio-net on the same tap, guest kernel, initramfs and
//! tools, in interleaved rounds of one boot of the machine. Run by `cargo xtask bench net`, on the instruction clock where KVM is not
//! real: there a nanosecond is an instruction, so the ratios compare and the figures do not forecast.
//!
//! Rows: TCP to the guest and from it (iperf3), datagrams of 64 bytes on the wire both ways as many as the card passes, those of them
//! that the guest's program reads, and the round trip of a ping. All in user space on both sides; `vhost` is our card with its queues
//! served by the host's kernel. Figures are medians, ratios above 1 are better than QEMU's.
// A bench that meets something unexpected has nothing better to do than to end with a message.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rkt_tests::dist;
use rkt_tests::microvm::{self, Memory};
use serde_json::Value;

/// How much is done.
struct Amount {
    rounds: usize,
    /// iperf3's measure of TCP, of datagrams.
    tcp: [&'static str; 2],
    udp: [&'static str; 2],
    pings: &'static str,
}

const WHOLE: Amount = Amount { rounds: 3, tcp: ["-t", "2"], udp: ["-t", "1"], pings: "500" };
const SMOKE: Amount = Amount { rounds: 1, tcp: ["-n", "4M"], udp: ["-t", "1"], pings: "20" };

const TAP: &str = "bench0";
const HOST: &str = "10.91.0.1";
const GUEST: &str = "10.91.0.2";
const MEMORY_MIB: u32 = 512;
/// Payload of a frame of 64 bytes, check sequence included.
const DATAGRAM_BYTES: &str = "18";
/// A step that takes longer than this hangs. On the instruction clock that is some minutes of real time.
const LIMIT: Duration = Duration::from_secs(10);
/// How timeout(1) says so.
const TIMED_OUT: i32 = 124;
/// Starts of one machine in one round.
const ATTEMPTS: usize = 3;

/// What the guest runs.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox ip link set lo up
/bin/busybox ip addr add 10.91.0.2/24 dev eth0
/bin/busybox ip link set eth0 up
echo ready
exec /iperf3 -s
";

/// Rows with their figures, in units of which more is better.
type Figures = BTreeMap<&'static str, f64>;

fn main() {
    let has = |flag| env::args().any(|argument| argument == flag);
    let amount = if has("--smoke") { SMOKE } else { WHOLE };
    let with_vhost = has("--vhost-net");
    assert_eq!(kvm_machine::place(), kvm_machine::Place::Host, "run this through `cargo xtask bench net`");
    let directory = tempfile::tempdir().expect("a directory");
    let initramfs = directory.path().join("initramfs");
    fs::write(&initramfs, pack_initramfs()).expect("writing");
    let _tap = Tap::new();

    let mut all: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for round in 1..=amount.rounds {
        let vhost = with_vhost.then(|| ("vhost", ours(&initramfs, &["--vhost-net"])));
        let machines = [("qemu", qemu(&initramfs)), ("rkt", ours(&initramfs, &[]))];
        for (name, command) in machines.into_iter().chain(vhost) {
            let figures = measure_patiently(name, command, &amount);
            println!("round {round} {name:5} {figures:.1?}");
            all.entry(name).or_default().push(figures);
        }
    }

    println!();
    for row in all["qemu"][0].keys() {
        let median = |name: &str| {
            let rounds = all.get(name)?;
            let mut values: Vec<f64> = rounds.iter().map(|figures| figures[row]).collect();
            values.sort_by(f64::total_cmp);
            Some(values[values.len() / 2])
        };
        let (peer, own) = (median("qemu").expect("a figure"), median("rkt").expect("a figure"));
        print!("{row:32} qemu {peer:10.1}  rkt {own:10.1}  ratio {:.2}", own / peer);
        println!(
            "{}",
            median("vhost").map_or(String::new(), |v| format!("  vhost {v:10.1} {:.2}", v / peer))
        );
    }
}

/// QEMU's microvm with its network card as it comes.
fn qemu(initramfs: &Path) -> Command {
    let mut command = Command::new(microvm::QEMU);
    command.args(microvm::arguments(Memory::Private, MEMORY_MIB, initramfs, &command_line()));
    command.arg("-netdev").arg(format!("tap,id=net,ifname={TAP},script=no,downscript=no,vhost=off"));
    command.args(["-device", "virtio-net-device,netdev=net,mac=52:54:00:00:00:01"]);
    command
}

/// Of both VMMs.
fn command_line() -> String {
    format!("{} rdinit=/init", microvm::KERNEL_PARAMETERS)
}

/// Our VMM with nothing around it.
fn ours(initramfs: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(dist::file("vmm-boot"));
    command.args(["--memory-mib", &MEMORY_MIB.to_string(), "--vcpus", "1", "--tap", TAP]);
    command.args(["--cmdline", &command_line()]);
    command.arg("--kernel").arg(dist::file("vmlinux")).arg("--initramfs").arg(initramfs).args(more);
    command
}

/// The emulator stops a guest now and then, ours or QEMU's (docs/performance.md, "Network"); it is started once more.
fn measure_patiently(name: &str, mut command: Command, amount: &Amount) -> Figures {
    for _ in 0..ATTEMPTS {
        match measure(&mut command, amount) {
            Some(figures) => return figures,
            None => println!("        {name:5} has stopped, once more"),
        }
    }
    panic!("{name} has stopped {ATTEMPTS} times")
}

/// `None` if the guest has stopped.
fn measure(command: &mut Command, amount: &Amount) -> Option<Figures> {
    let vm = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut vm = Ended(vm.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}")));
    let output = BufReader::new(vm.0.stdout.take().expect("stdout is piped"));
    let (sender, ready) = mpsc::channel();
    // The rest of the guest's words are read away, so that it never waits for a reader.
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok).filter(|line| line.trim() == "ready") {
            let _ = sender.send(line);
        }
    });
    ready.recv_timeout(LIMIT).ok()?;
    wait_for_server()?;

    let tcp = |direction: &[&str]| {
        let report = iperf(&[&amount.tcp[..], direction].concat())?;
        Some(number(&report, "/end/sum_received/bits_per_second") / 1e6)
    };
    let udp = |direction: &[&str], counter: &str| {
        let datagrams = ["-u", "-b", "0", "-l", DATAGRAM_BYTES];
        let before = passed(counter);
        let report = iperf(&[&datagrams[..], &amount.udp[..], direction].concat())?;
        let rate = |count: f64| count / number(&report, "/end/sum/seconds") / 1e3;
        let read = number(&report, "/end/sum/packets") - number(&report, "/end/sum/lost_packets");
        Some((rate(passed(counter) - before), rate(read)))
    };
    let (to_guest, read_there) = udp(&[], "tx_packets")?;
    let (from_guest, _) = udp(&["-R"], "rx_packets")?;
    Some(BTreeMap::from([
        ("TCP to the guest, Mbit/s", tcp(&[])?),
        ("TCP from the guest, Mbit/s", tcp(&["-R"])?),
        ("small to the guest, thousands/s", to_guest),
        ("small read there, thousands/s", read_there),
        ("small from the guest, thousands/s", from_guest),
        ("round trips/s", round_trips(amount.pings)?),
    ]))
}

fn wait_for_server() -> Option<()> {
    let server = SocketAddr::new(GUEST.parse().expect("an address"), 5201);
    let started = Instant::now();
    while TcpStream::connect_timeout(&server, LIMIT).is_err() {
        if started.elapsed() > LIMIT {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Some(())
}

/// What iperf3 says of one run; `None` if it does not come to its end. The server may still be at the end of the last one.
fn iperf(arguments: &[&str]) -> Option<Value> {
    let started = Instant::now();
    loop {
        let output = in_time(&[&["iperf3", "-J", "-c", GUEST], arguments].concat())?;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        // It may end well and have nothing to say.
        if output.status.success() && report["end"]["cpu_utilization_percent"].is_object() {
            return Some(report);
        }
        assert!(started.elapsed() < LIMIT, "iperf3 {arguments:?}: {}", report["error"]);
        thread::sleep(Duration::from_millis(50));
    }
}

/// Packets that the card has taken from the tap (`tx`) or written to it (`rx`). Of those that it takes, the guest drops what its program
/// does not come to read; the first row says what the card is worth, the second one what the program has of it.
fn passed(counter: &str) -> f64 {
    let path = format!("/sys/class/net/{TAP}/statistics/{counter}");
    fs::read_to_string(path).expect("the tap has statistics").trim().parse().expect("a number")
}

fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("iperf3 reports no {path}: {}", report["end"]))
}

/// What a command says; `None` if it takes too long.
fn in_time(words: &[&str]) -> Option<Output> {
    let output = Command::new("timeout").arg(LIMIT.as_secs().to_string()).args(words).output();
    Some(output.expect("timeout starts")).filter(|output| output.status.code() != Some(TIMED_OUT))
}

/// Pings, each sent when the answer to the last one is there.
fn round_trips(count: &str) -> Option<f64> {
    let output = in_time(&["busybox", "ping", "-A", "-q", "-c", count, GUEST])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let average = text.rsplit_once("= ").and_then(|(_, times)| times.split('/').nth(1)?.parse::<f64>().ok());
    Some(1000.0 / average.unwrap_or_else(|| panic!("ping says {text}")))
}

/// Busybox, iperf3 with the libraries it wants, and what starts them.
fn pack_initramfs() -> Vec<u8> {
    let mut archive = kvm_machine::cpio::Writer::new(Vec::new());
    let mut directories = vec!["bin".to_owned(), "dev".into(), "proc".into(), "tmp".into()];
    let mut files = vec![("bin/busybox".to_owned(), PathBuf::from("/bin/busybox"))];
    let iperf = PathBuf::from("/usr/bin/iperf3");
    let libraries = Command::new("ldd").arg(&iperf).output().expect("ldd starts (cargo xtask setup)");
    for path in
        String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let inside = path.trim_start_matches('/').to_owned();
        for (end, _) in inside.match_indices('/') {
            let directory = inside[..end].to_owned();
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        files.push((inside, path.into()));
    }
    files.push(("iperf3".to_owned(), iperf));
    directories.iter().for_each(|path| archive.directory(path, 0o755).expect("packing"));
    archive.character_device("dev/console", 0o600, 5, 1).expect("packing");
    archive.character_device("dev/null", 0o666, 1, 3).expect("packing");
    archive.character_device("dev/urandom", 0o666, 1, 9).expect("packing");
    archive.file("init", 0o755, INIT.as_bytes()).expect("packing");
    for (inside, path) in files {
        let content = fs::read(&path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
        archive.file(&inside, 0o755, &content).expect("packing");
    }
    archive.finish().expect("packing")
}

/// A tap that outlives the machines behind it.
struct Tap;

impl Tap {
    fn new() -> Self {
        ip(&["tuntap", "add", "dev", TAP, "mode", "tap"]);
        ip(&["addr", "add", &format!("{HOST}/24"), "dev", TAP]);
        ip(&["link", "set", TAP, "up"]);
        Self
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        ip(&["link", "del", TAP]);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip starts (cargo xtask setup)");
    assert!(status.success(), "ip {arguments:?}");
}

/// A process that ends with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
